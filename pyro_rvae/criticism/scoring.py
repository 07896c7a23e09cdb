"""Proper scores of draws, element by element and frame by frame."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pyro.ops.stats import crps_empirical, energy_score_empirical
from torch import Tensor

__all__ = ["ElementScores", "clustered", "fair", "randomised_pit", "score"]

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class ElementScores:
    """Scores of R draws against F frames of D elements; NaN where an element is missing or was given.

    Attributes:
        crps: ``(F, D)``; of categories summed over the indicators of the classes (then it is the Brier score).
        energy: ``(F,)``, of whole frames.
        absolute_error: ``(F, D)``, ``|x - median|``; of categories 1 where the class drawn most often isn't x.
        squared_error: ``(F, D)``, ``(x - mean)^2``; None for categories.
        pit: ``(F, D)``, where x stands among the draws, in (0, 1); None for categories.
        lower, upper: ``(L, F, D)``, ends of the central intervals; None for categories.
    """

    crps: Array
    energy: Array
    absolute_error: Array
    squared_error: Array | None
    pit: Array | None
    lower: Array | None
    upper: Array | None

    def map(self, change: Any) -> ElementScores:
        """The same with ``change`` applied to each array there is."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: change(value) for name, value in given.items() if value is not None})


def fair(score: Tensor, distance: Tensor, num: int) -> Tensor:
    r"""From a score over all ``num^2`` pairs of draws to the one over pairs of different draws, which is unbiased.

    Pyro's ``crps_empirical`` and ``energy_score_empirical`` divide :math:`\sum_{ij} |x_i - x_j|` by :math:`R^2`, so
    that they score the empirical law of the R draws: on average :math:`E|X - X'| / (2 R)` more than the law they come
    from. With :math:`R (R - 1)` the bias is gone: Ferro (2014), "Fair scores for ensemble forecasts"; Gneiting &
    Raftery (2007), eq. 20-22. A fair score of an element may be negative; only its mean is a cost.

    Arguments:
        score: the library's, ``distance - spread``.
        distance: the mean of ``|x_i - x|`` over draws.
        num: R, at least 2.
    """
    return (num * score - distance) / (num - 1)


def randomised_pit(draws: Tensor, x: Tensor, noise: Tensor) -> Tensor:
    r"""``(below + v (ties + 1)) / (R + 1)``: x's rank among R draws, ties broken at random.

    If x and the draws have one law it is exactly uniform, for every R, discrete data too (v uniform; Czado, Gneiting &
    Held 2009, "Predictive model assessment for count data").
    """
    below, ties = (draws < x).sum(0), (draws == x).sum(0)
    return (below + noise * (ties + 1)) / (len(draws) + 1)


def score(draws: Array, x: Array, levels: tuple[float, ...], *, classes: int | None = None, scale: Array | None = None,
          seed: int = 0, max_bytes: int = 2**28) -> ElementScores:
    """Score draws against what was seen, in blocks of frames that take about ``max_bytes``.

    Arguments:
        draws: ``(R, F, D)``, R at least 2.
        x: ``(F, D)``, NaN where an element shall not be scored.
        levels: of the central intervals.
        classes: for codes, the number of classes.
        scale: ``(D,)``, what each element is divided by in the energy score.
        seed: of the ranks of ties.
    """
    num, total, width = draws.shape
    wide = width * (classes or 1)
    size = max(1, max_bytes // (8 * num * max(6 * wide, num)))
    noise = np.random.default_rng(seed).random((total, width))
    unit = torch.from_numpy(np.ones(width) if scale is None else np.asarray(scale, dtype=np.float64))
    parts = []
    for start in range(0, total, size):
        rows = slice(start, start + size)
        block, truth = (torch.from_numpy(np.asarray(a, dtype=np.float64)) for a in (draws[:, rows], x[rows]))
        block = torch.where(truth.isnan(), torch.nan, block)
        parts.append(_numbers(block, truth, levels, torch.from_numpy(noise[rows]), unit) if classes is None
                     else _codes(block, truth, classes))
    return _joined(parts)


def _numbers(draws: Tensor, x: Tensor, levels: tuple[float, ...], noise: Tensor, unit: Tensor) -> ElementScores:
    tails = [0.5 * (1 - level) for level in levels]
    at = [*tails, *(1 - tail for tail in tails), 0.5]
    # Weibull's positions k / (R + 1): what a new draw of the same law falls below with just that probability
    quantiles = np.quantile(draws.numpy(), at, axis=0, method="weibull")
    missing = x.isnan()
    median = quantiles[-1]
    return ElementScores(
        crps=_crps(draws, x).numpy(),
        energy=_energy(draws / unit, x / unit).numpy(),
        absolute_error=np.abs(x.numpy() - median),
        squared_error=(x - draws.mean(0)).square().numpy(),
        pit=randomised_pit(draws, x, noise).masked_fill(missing, torch.nan).numpy(),
        lower=quantiles[: len(levels)],
        upper=quantiles[len(levels):-1],
    )


def _codes(draws: Tensor, x: Tensor, classes: int) -> ElementScores:
    """Codes are scored as indicators of their classes, between which there is no order."""
    names = torch.arange(classes, dtype=x.dtype, device=x.device)

    def indicators(codes: Tensor) -> Tensor:
        return (codes.unsqueeze(-1) == names).double().masked_fill(codes.isnan().unsqueeze(-1), torch.nan)

    drawn, seen = indicators(draws), indicators(x)
    commonest = drawn.mean(0).nan_to_num(0.0).argmax(-1)
    wrong = (commonest != x).double().masked_fill(x.isnan(), torch.nan)
    return ElementScores(_crps(drawn, seen).sum(-1).numpy(), _energy(drawn.flatten(2), seen.flatten(1)).numpy(),
                         wrong.numpy(), None, None, None, None)


def _crps(draws: Tensor, x: Tensor) -> Tensor:
    return fair(crps_empirical(draws, x), (draws - x).abs().mean(0), len(draws))


def _energy(draws: Tensor, x: Tensor) -> Tensor:
    """``(R, F, D)`` and ``(F, D)`` to ``(F,)``: over the elements that were seen; NaN if none was."""
    apart = (draws - x).nan_to_num(0.0).transpose(0, 1)  # centred, since cdist squares and subtracts
    found: Tensor = energy_score_empirical(apart, torch.zeros_like(x))
    return fair(found, apart.norm(dim=-1).mean(-1), len(draws)).masked_fill(x.isnan().all(-1), torch.nan)


def _joined(parts: list[ElementScores]) -> ElementScores:
    """Blocks of frames one after the other; frames are the second axis of the intervals."""
    first = parts[0]

    def join(name: str) -> Array | None:
        axis = 1 if name in ("lower", "upper") else 0
        return None if getattr(first, name) is None else np.concatenate([getattr(p, name) for p in parts], axis)

    return ElementScores(**{field.name: join(field.name) for field in fields(first)})  # type: ignore[arg-type]


def clustered(sums: Array, counts: Array) -> tuple[float, float]:
    r"""``sum / count`` and its standard error, where clusters and not their members are independent.

    :math:`\hat r = \sum_n s_n / \sum_n c_n`, with variance :math:`\frac{N}{N - 1} \sum_n (s_n - \hat r c_n)^2 / (\sum_n
    c_n)^2` (linearised ratio estimator, Cochran 1977, "Sampling techniques", sec. 6.4). NaN with fewer than two
    clusters, or nothing in them.

    Arguments:
        sums, counts: ``(N,)``: of each cluster.
    """
    if not counts.any():
        return float("nan"), float("nan")
    total, used = counts.sum(), int((counts != 0).sum())
    ratio = sums.sum() / total
    if used < 2:
        return float(ratio), float("nan")
    variance = used / (used - 1) * np.square(sums - ratio * counts).sum() / total**2
    return float(ratio), float(np.sqrt(variance))
