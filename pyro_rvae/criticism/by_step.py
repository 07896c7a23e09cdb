"""Log-densities by step: which part of a site's density belongs to which frame."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .tables import table

__all__ = ["StepCosts", "Terms", "log_prob", "log_prob_by_step", "terms"]

Array = NDArray[np.float64]
SHOWN = 12  # rows of a printed series


@dataclass(frozen=True, repr=False, eq=False)
class StepCosts:
    r"""Where in time a model pays: the two parts of minus the ELBO by step, in nats, a mean over the particles.

    .. math::
        r_{nt} = -E_q \log p(x_{nt} \mid z, x_{n,<t}), \qquad
        \kappa_{nt} = E_q \log q(z_{nt} \mid z_{n,<t}, x_n) - \log p(z_{nt} \mid z_{n,<t}, \cdot)

    What belongs to no frame is in ``once``, so that ``total`` is minus the ELBO of all sequences together.

    Attributes:
        reconstruction: ``(N, T)``, r, NaN in the padding; a frame that is wholly missing costs 0.
        kl: ``(N, T)``, kappa, likewise. A single one may be negative: only its mean over all draws is a KL.
        once: ``(N,)``, what is drawn or observed once a sequence, on a slower clock, or as a path of its own.
    """

    reconstruction: Array
    kl: Array
    once: Array

    @property
    def num_sequences(self) -> NDArray[np.int64]:
        """``(T,)``: how many sequences have that step."""
        return np.asarray((~np.isnan(self.reconstruction)).sum(0), dtype=np.int64)

    @property
    def series(self) -> dict[str, Array]:
        """``reconstruction``, ``kl`` and their sum ``elbo``, ``(T,)``: means over the sequences that have that step."""
        means = {name: np.nanmean(getattr(self, name), 0) for name in ("reconstruction", "kl")}
        return means | {"elbo": means["reconstruction"] + means["kl"]}

    @property
    def total(self) -> float:
        """Minus the ELBO of all sequences together, in nats."""
        return float(np.nansum(self.reconstruction) + np.nansum(self.kl) + self.once.sum())

    def to_dict(self) -> dict[str, Any]:
        """The series as lists, as JSON takes them, and ``once`` in nats a sequence."""
        series = {name: values.tolist() for name, values in self.series.items()}
        return {**series, "num_sequences": self.num_sequences.tolist(), "once": float(self.once.mean())}

    def __repr__(self) -> str:
        steps = self.kl.shape[1]
        rows = [["steps", "sequences", "reconstruction", "KL", "ELBO"]]
        for block in np.array_split(np.arange(steps), min(steps, SHOWN)):
            count, first, last = self.num_sequences[block], block[0] + 1, block[-1] + 1
            costs = [np.nansum(part[:, block]) / count.sum() for part in (self.reconstruction, self.kl)]
            numbers = (f"{cost:.3f}" for cost in (*costs, sum(costs)))
            seen = f"{count.min()}" if count.min() == count.max() else f"{count.min()}-{count.max()}"
            rows.append([f"{first}" if first == last else f"{first}-{last}", seen, *numbers])
        rest = f"  once a sequence: {self.once.mean():.3f} nats" * bool(self.once.any())
        return f"Costs by step. Nats per frame; lower is better.\n{table(rows)}" + "\n" * bool(rest) + rest


@dataclass(frozen=True)
class Terms:
    """The log-density of some sites, for k particles of B sequences: what belongs to a frame, and the rest."""

    steps: Tensor  # (k, B, T), 0 in the padding; T = 0 where there is no time
    once: Tensor  # (k, B): what is drawn once a sequence, on a slower clock, or as a path of its own
    stepped: bool  # whether any of the sites has steps

    @property
    def total(self) -> Tensor:
        """``(k, B)``."""
        return self.steps.sum(-1) + self.once


def log_prob(site: Any) -> Tensor:
    """A site's log-density, masked but without its scale: neither B/N nor a KL weight is in a figure."""
    return _masked(site["fn"].log_prob(site["value"]), site["mask"])


def log_prob_by_step(site: Any) -> Tensor | None:
    r"""A site's log-density by step, ``(k, B, T)`` in nats: masked, but without its scale; None if it has no steps.

    A site that a body draws in ``for t in steps`` holds one value a step, and its density is a product over them,

    .. math::
        \log p(z_1 .. z_T \mid \cdot) = \sum_t \log p(z_t \mid z_{<t}, \cdot)

    (that of a law over whole paths too: by the chain rule). Padding counts 0. A site of a slower clock has that clock's
    T, which is shorter. What is drawn once a sequence or once a data set, and a path that is drawn by a ``pyro.sample``
    of its own (whose law need not be such a product), has no steps; nor has one site of the explicit reading, which
    is itself a step.
    """
    if "every" not in site["infer"] or "step" in site["infer"]:
        return None
    fn, mask = site["fn"], site["mask"]  # as core/emit.py makes it: Independent over time, and maybe over elements
    law = fn.base_dist.to_event(fn.reinterpreted_batch_ndims - 1)
    return _masked(law.log_prob(site["value"]), mask.unsqueeze(-1) if isinstance(mask, Tensor) else mask)


def terms(sites: Iterable[Any], like: Tensor, size: tuple[int, int, int]) -> Terms:
    """The log-density of ``sites`` together, in both readings, for ``size = (k, B, T)``."""
    steps, once, stepped = like.new_zeros(size), like.new_zeros(size[:2]), False
    for site in sites:
        every, step = (site["infer"].get(key) for key in ("every", "step"))
        parts, stepped = log_prob_by_step(site) if every == 1 else None, stepped or every == 1
        if parts is not None:
            steps = steps + parts
        elif every == 1:
            steps[..., step] += log_prob(site)  # the explicit reading
        else:
            once = once + log_prob(site)
    return Terms(steps, once, stepped)


def _masked(value: Tensor, mask: Tensor | bool | None) -> Tensor:
    if mask is None:
        return value
    mask = mask if isinstance(mask, Tensor) else torch.tensor(mask, device=value.device)
    return torch.where(mask, value, 0.0)
