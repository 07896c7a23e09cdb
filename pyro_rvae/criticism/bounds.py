"""Bounds on the log-likelihood of a data set, beside floors."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.checks import check_count
from ..core.contexts import evaluating, forked
from .chunks import check_data, chunks, groups, lengths_of, like_of
from .floors import floors
from .particles import draw, repeatable

__all__ = ["Evaluation", "evaluate"]

Array = NDArray[np.float64]


@dataclass(frozen=True, repr=False, eq=False)
class Evaluation:
    r"""What :func:`evaluate` found: costs in nats per frame (of static data: per item), lower is better.

    What is called ``elbo`` or ``iwae``, here as in a :class:`~pyro_rvae.infer.History`, is minus the bound, as the
    papers' tables print it.

    With importance weights :math:`w_{ni} = p(x_n, z_{ni}) / q(z_{ni} \mid x_n)` of K particles of each
    sequence n, and F frames in all,

    .. math::
        \mathrm{elbo} = -\frac1F \sum_n \frac1K \sum_i \log w_{ni}, \qquad
        \mathrm{iwae}_k = -\frac1F \sum_n \log \frac1k \sum_{i \le k} w_{ni}

    so that ``elbo >= iwae >=`` the exact cost, in expectation, and ``elbo == reconstruction + kl``.

    Attributes:
        log_weights: ``(N, K)``, ``log w``, in nats a sequence.
        reconstructions: ``(N,)``, mean over particles of ``-log p(x_n | z)``; where a model reads ``x_{t-1}``
            it is ``-sum_t log p(x_t | x_{<t}, z)``.
        kls: ``(N,)``, mean over particles of ``log q(z | x_n) - log p(z)``: a Monte Carlo estimate of the KL.
        lengths: ``(N,)``, frames of each sequence.
        floors: cost of the two floors on the same data, where a training split is known (see :func:`floors`).
        shared_kl: KL, in nats, of what is drawn once a data set (``shared``), or 0; it is in no other figure.
        name: the model's name; unit: ``"frame"`` or ``"item"``.
        transformed: whether the data were standardised or normalised: densities are those of the transformed
            data.
        point: whether the guide draws a point (a Delta: a deterministic autoencoder). Then nothing here is a bound on
            the evidence: what is called ``elbo`` is the cost of reconstruction (and of a prior with weight), and
            the printed table says so.
    """

    log_weights: Array
    reconstructions: Array
    kls: Array
    lengths: NDArray[np.int64]
    floors: dict[str, float] = field(default_factory=dict)
    shared_kl: float = 0.0
    name: str = "model"
    unit: str = "frame"
    transformed: bool = False
    point: bool = False

    @property
    def num_particles(self) -> int:
        """K."""
        return int(self.log_weights.shape[1])

    @property
    def num_frames(self) -> int:
        """F."""
        return int(self.lengths.sum())

    @property
    def elbo(self) -> float:
        """Minus the ELBO: mean over all particles."""
        return self.bound(1)

    @property
    def iwae(self) -> float:
        """Minus the importance-weighted bound with all K particles (Burda et al. 2016, arXiv:1509.00519)."""
        return self.bound(self.num_particles)

    @property
    def bounds(self) -> dict[str, float]:
        """The bounds by the name they are printed under; of a point guide its cost, which is none."""
        if self.point:
            return {"cost at a point (no bound)": self.elbo}
        return {f"ELBO ({_count(self.num_particles)})": self.elbo, f"IWAE-{self.num_particles}": self.iwae}

    @property
    def reconstruction(self) -> float:
        return float(self.reconstructions.sum() / self.num_frames)

    @property
    def kl(self) -> float:
        return float(self.kls.sum() / self.num_frames)

    def sequence_bounds(self, k: int | None = None) -> Array:
        """Each sequence's bound ``(N,)`` with k particles (default: all), a log-density in nats.

        For k < K it is the mean over the K // k disjoint blocks of k particles.
        """
        total = self.num_particles
        k = total if k is None else k
        if not 1 <= k <= total:
            raise ValueError(
                f"a bound with {k} particles can't be had from {total}: choose 1 <= k <= {total}, or "
                "evaluate with a larger num_particles."
            )
        blocks = self.log_weights[:, : total // k * k].reshape(len(self.lengths), -1, k)
        result: Array = log_mean_exp(blocks).mean(-1)
        return result

    def bound(self, k: int) -> float:
        """Minus IWAE-k, pooled; ``bound(1)`` is ``elbo``."""
        return float(-self.sequence_bounds(k).sum() / self.num_frames)

    @property
    def errors(self) -> dict[str, float]:
        """Monte Carlo standard errors of ``elbo`` and ``iwae``; NaN with one particle.

        They don't tell how much another choice of test sequences would change the figures.
        That of IWAE is by the delta method: that of the mean weight over the mean weight.
        """
        k, log_w = self.num_particles, self.log_weights
        if k == 1:
            return {"elbo": math.nan, "iwae": math.nan}
        scaled = np.exp(log_w - log_mean_exp(log_w)[:, None])  # mean 1
        variances = {"elbo": log_w.var(-1, ddof=1), "iwae": scaled.var(-1, ddof=1)}
        return {name: float(np.sqrt(v.sum() / k) / self.num_frames) for name, v in variances.items()}

    @property
    def effective_particles(self) -> Array:
        """``(N,)``: effective sample size of the weights, ``(sum w)^2 / sum w^2``, from 1 to K."""
        scaled = np.exp(self.log_weights - self.log_weights.max(-1, keepdims=True))
        result: Array = scaled.sum(-1) ** 2 / (scaled**2).sum(-1)
        return result

    def to_dict(self) -> dict[str, float]:
        """The figures by name, as JSON takes them: the number of particles is in the names of the bounds."""
        k, costs = self.num_particles, self.floors
        figures: dict[str, float] = {
            f"elbo_{k}": self.elbo,
            f"iwae_{k}": self.iwae,
            f"reconstruction_{k}": self.reconstruction,
            f"kl_{k}": self.kl,
            "is_bound": float(not self.point),
            "num_particles": k,
            "num_sequences": len(self.lengths),
            "num_frames": self.num_frames,
        }
        figures |= {f"{name}_floor": cost for name, cost in costs.items()}
        figures |= {f"elbo_{k}_below_{name}": cost - self.elbo for name, cost in costs.items()}
        return figures | ({"shared_kl": self.shared_kl} if self.shared_kl else {})

    def __repr__(self) -> str:
        k, names = self.num_particles, list(self.floors)
        each = _count(k)
        of = "sequences" if self.unit == "frame" else "items"
        head = f"{self.name}: {len(self.lengths):,} {of}" + f", {self.num_frames:,} frames" * (
            self.unit == "frame"
        )
        units = ", in the units of the transformed data" * self.transformed
        rows = [("", f"nats/{self.unit}", *(f"{FLOORS[n]} floor" for n in names))]
        for label, cost in self.bounds.items():
            rows.append((label, f"{cost:.3f}", *("" if self.point else beside(self.floors[n], cost) for n in names)))
        rows.append((f"reconstruction ({each})", f"{self.reconstruction:.3f}", *("" for _ in names)))
        rows.append((f"KL ({each})", f"{self.kl:.3f}", *("" for _ in names)))
        rows += [
            (f"{FLOORS[n]} floor", f"{cost:.3f}", *("" for _ in names)) for n, cost in self.floors.items()
        ]
        return f"{head}. Nats per {self.unit}{units}; lower is better.\n" + _table(rows)


FLOORS = {"independent": "independent", "markov": "Markov"}


def beside(floor: float, cost: float) -> str:
    """Where a cost stands: ``"0.450 below"`` a floor, or above it."""
    return f"{abs(floor - cost):.3f} {'below' if cost <= floor else 'above'}"


def _count(particles: int) -> str:
    return "1 particle" if particles == 1 else f"{particles} particles"


def _table(rows: list[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    )
    return "\n".join("  " + line.rstrip() for line in lines)


def log_mean_exp(x: Array) -> Array:
    """``log mean exp`` over the last axis."""
    top = x.max(-1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):  # every weight zero: minus infinity
        result: Array = np.log(np.exp(x - top).mean(-1)) + top[..., 0]
    return result


def evaluate(
    model: Any,
    data: Any,
    *,
    num_particles: int = 100,
    batch_size: int = 20,
    seed: int = 0,
    train: Any = None,
    max_bytes: int = 2**28,
) -> Evaluation:
    r"""ELBO and IWAE of a data set as costs, with reconstruction, KL and floors.

    The K particles of a sequence stand in a plate around guide and model, so they are drawn and scored at
    once, in chunks of sequences (sorted by length) and particles that fit in about ``max_bytes``. The
    importance weights are per sequence: log-mean-exp over its particles, then the sum over sequences is
    divided by the frames of all.

    What the figures depend on: model, data, ``num_particles`` and ``seed``. Where all latents are made from
    Gaussian noise, each draw has its own (seed, site, sequence, particle), so ``batch_size``, ``max_bytes``,
    padding, device, and what else is drawn don't matter but for rounding, and the first draws stay the same
    when ``num_particles`` grows. Other latents (discrete, Gamma, ...) are drawn anew for another chunking:
    the same to Monte Carlo error.

    Nothing else is touched: the model is in eval mode inside and is put back as it was; torch's random state
    and Pyro's parameter store are left alone. A KL weight around the call has no effect.

    What is drawn once a data set (``shared``) is drawn from its guide once for each particle, and its own KL
    is left out of the bounds (``shared_kl`` reports it): they are bounds on :math:`\log E_{q(s)}\, p(x_n \mid
    s)`, the predictive density of sequences given what was learned, by Jensen's inequality.

    Arguments:
        model: a :class:`~pyro_rvae.SequenceVAE`.
        data: a data set; ``data.test`` of the loaders knows its training split.
        num_particles: K, at least 1.
        batch_size: most sequences at once.
        seed: of the draws.
        train: training split for the floors (default: ``data.reference``; without one there are none).
        max_bytes: memory that the activations of one chunk should take, roughly.

    Raises:
        TypeError: ``data`` is no data set.
        ValueError: a size below 1; a data set of another width or kind of time; model and guide with
            different latents.

    >>> print(rv.evaluate(model, data.test))  # doctest: +SKIP
    """
    check_data(model, data, "evaluate")
    for name, value in {
        "num_particles": num_particles,
        "batch_size": batch_size,
        "max_bytes": max_bytes,
    }.items():
        check_count(name, value)
    log_weights = np.empty((len(data), num_particles))
    sums = np.zeros((2, len(data)))  # of -log p(x | z) and of log q - log p(z), over particles
    shared: list[float] = []
    point = False
    with evaluating(model), forked(like_of(model).device):
        repeat = repeatable(model, data)
        for chunk in chunks(model, data, num_particles, groups(data, batch_size), max_bytes):
            draws = draw(model, chunk, seed, repeat=repeat)
            rows, columns = np.array(chunk.numbers), np.array(chunk.particles)
            log_weights[rows[:, None], columns] = draws.log_weights.double().cpu().numpy().T
            sums[0, rows] -= draws.likelihood.double().sum(0).cpu().numpy()
            sums[1, rows] += (draws.posterior - draws.prior).double().sum(0).cpu().numpy()
            shared += draws.shared.tolist()
            point = point or draws.point
    train = getattr(data, "reference", None) if train is None else train
    return Evaluation(
        log_weights,
        reconstructions=sums[0] / num_particles,
        kls=sums[1] / num_particles,
        lengths=lengths_of(data),
        floors=floors(train, data) if train is not None else {},
        shared_kl=float(np.mean(shared)),
        name=type(model).__name__,
        unit="item" if model.static else "frame",
        transformed=data.transform is not None,
        point=point,
    )
