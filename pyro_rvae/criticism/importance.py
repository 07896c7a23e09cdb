"""How far importance weights can be trusted: Pareto's k, and weights smoothed by it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ._arviz import psislw
from .tables import count, table

__all__ = ["SmoothedWeights", "good_k", "pareto_k", "psis"]

Array = NDArray[np.float64]

LEAST_TAIL = 6  # weights; ArviZ fits no fewer
LEAST = 5 * LEAST_TAIL  # particles that have such a tail
DEEPEST = 700.0  # nats: exp(-708) is the smallest number there is
ROUNDING = 1e-6  # log-weights that differ by less, relative to their size, are equal: float32 made them


@dataclass(frozen=True, repr=False, eq=False)
class SmoothedWeights:
    r"""What :func:`psis` found for N sequences with K particles each.

    Attributes:
        log_weights: ``(N, K)``, smoothed, in nats a sequence, on the scale of the raw ones (not normalised).
        pareto_k: ``(N,)``, see :func:`pareto_k`.
        log_evidence: ``(N,)``, the log of the mean smoothed weight: an estimate of ``log p(x_n)``. It has less
            variance than that of the raw weights and a bias that vanishes with K, so it is no bound.
        raw_log_evidence: ``(N,)``, the log of the mean raw weight: IWAE-K, a lower bound in expectation.
        unit: ``"sequence"`` or ``"item"``.
    """

    log_weights: Array
    pareto_k: Array
    log_evidence: Array
    raw_log_evidence: Array
    unit: str = "sequence"

    @property
    def num_particles(self) -> int:
        """K."""
        return int(self.log_weights.shape[1])

    @property
    def good_k(self) -> float:
        """Above it an estimate isn't to be trusted with K particles."""
        return good_k(self.num_particles)

    def to_dict(self) -> dict[str, float]:
        """The figures by name, as JSON takes them."""
        k, known = self.num_particles, self.pareto_k[~np.isnan(self.pareto_k)]
        edge = {"good_k": self.good_k} if k >= LEAST else {}
        return {
            f"log_evidence_psis_{k}": float(self.log_evidence.sum()),
            f"log_evidence_raw_{k}": float(self.raw_log_evidence.sum()),
            "num_sequences": len(self.pareto_k),
            "num_particles": k,
            **edge,
            "pareto_k_good": int((known <= self.good_k).sum()),
            "pareto_k_bad": int(((known > self.good_k) & (known <= 1)).sum()),
            "pareto_k_very_bad": int((known > max(1.0, self.good_k)).sum()),
            "pareto_k_unknown": len(self.pareto_k) - len(known),
        }

    def __repr__(self) -> str:
        found, k = self.to_dict(), self.num_particles
        edge = f"{self.good_k:.2f}"
        counts = {
            f"k up to {edge} (good)": found["pareto_k_good"],
            f"k from {edge} to 1 (bad)": found["pareto_k_bad"],
            "k above 1 (very bad)": found["pareto_k_very_bad"],
            "no tail to fit": found["pareto_k_unknown"],
        }
        rows = [(name, f"{number:.0f}") for name, number in counts.items() if number or "good" in name]
        told = f"{self.unit}s by Pareto k of their importance weights\n{table(rows)}" if k >= LEAST else unknown(k)
        return (
            f"{count(len(self.pareto_k), self.unit)}, {count(k)} each: {told}\n"
            f"  log evidence, nats in all: {self.log_evidence.sum():.3f} smoothed, "
            f"{self.raw_log_evidence.sum():.3f} raw (IWAE-{k})"
        )


def unknown(num_particles: int) -> str:
    """That so few particles tell no k."""
    return f"Pareto's k can't be known from {count(num_particles)}, a tail to fit needs at least {LEAST}"


def good_k(num_particles: int) -> float:
    r"""The largest Pareto k at which K particles give an estimate to trust, :math:`\min(1 - 1/\log_{10} K, 0.7)`.

    Source: Vehtari et al. (2024, arXiv:1507.02646), section 3.2.4. Of 10 particles or fewer it isn't above 0:
    they are never enough.
    """
    return min(1 - 1 / math.log10(num_particles), 0.7) if num_particles > 1 else -math.inf


def pareto_k(log_weights: Array | Tensor) -> Array:
    r"""Pareto's k of each sequence's importance weights: how far the guide is from the posterior.

    The :math:`M = \lfloor\min(K/5, 3\sqrt K)\rfloor` largest of a sequence's K weights are fitted by a generalised
    Pareto law. Its shape k tells how many moments the weights have, 1/k: below 1/2 their variance is finite; up to
    :func:`good_k` K particles estimate the evidence well; above 1 not even their mean is finite, and a bound on the
    evidence from them (IWAE) says little. It is ArviZ's fit; ArviZ 0.2x and 1.x give the same numbers here, since
    both get the same length of tail.

    Arguments:
        log_weights: ``(N, K)``, ``log p(x_n, z) - log q(z | x_n)`` of K draws ``z ~ q``, in nats a sequence:
            ``Evaluation.log_weights``.

    Returns:
        ``(N,)``. ``-inf`` where all weights are equal but for rounding (the guide *is* the posterior); ``inf`` where
        the tail spans more than 700 nats. NaN where there is no tail to fit: under 30 particles (a tail needs six),
        no particle with a weight, or weights that tie within the tail because a discrete latent takes few values.

    Raises:
        TypeError, ValueError: ``log_weights`` aren't ``(N, K)`` numbers, or hold NaN or plus infinity.

    Source: Vehtari, Simpson, Gelman, Yao & Gabry (2024), "Pareto smoothed importance sampling", arXiv:1507.02646; for
    variational inference Yao et al. (2018), "Yes, but did it work?", arXiv:1802.02538. Their k is of one posterior
    over everything; ours is one for each sequence, whose latents have a posterior of their own.
    """
    return _smooth(check_log_weights(log_weights))[1]


def psis(log_weights: Array | Tensor) -> SmoothedWeights:
    """Importance weights whose largest are replaced by quantiles of the Pareto law fitted to them.

    A sequence whose k is no finite number keeps its weights. Arguments, errors and source: as for :func:`pareto_k`.
    """
    raw = check_log_weights(log_weights)
    smoothed, k = _smooth(raw)
    return SmoothedWeights(smoothed, k, log_mean_exp(smoothed), log_mean_exp(raw))


def check_log_weights(log_weights: Any) -> Array:
    """``(N, K)`` in double precision."""
    raw = log_weights.detach().cpu().numpy() if isinstance(log_weights, Tensor) else np.asarray(log_weights)
    if raw.dtype.kind not in "fiu":
        raise TypeError(f"log_weights must be an array of numbers (N, K), got {type(log_weights).__name__} of "
                        f"{raw.dtype}: pass Evaluation.log_weights, not the Evaluation.")
    if raw.ndim != 2 or 0 in raw.shape:
        raise ValueError(f"log_weights must be (N, K), K particles of N sequences, got shape {raw.shape}; of one "
                         "sequence pass log_weights[None].")
    wrong = np.isnan(raw) | (raw == np.inf)
    if wrong.any():
        n, i = np.argwhere(wrong)[0]
        raise ValueError(f"log_weights must be finite (or -inf, no weight), got {raw[n, i]} for sequence {n}, particle "
                         f"{i}: the model's or the guide's density overflowed there.")
    return raw.astype(np.float64)


def log_mean_exp(x: Array) -> Array:
    """``log mean exp`` over the last axis; minus infinity where every number is."""
    top = x.max(-1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        result: Array = np.log(np.exp(x - top).mean(-1)) + top[..., 0]
    return result


def _smooth(raw: Array) -> tuple[Array, Array]:
    """Smoothed log-weights ``(N, K)`` on the raw scale, and k ``(N,)``."""
    tail = tail_length(raw.shape[1])
    k, smoothed = _without_fit(raw, tail), raw.copy()
    fit = np.flatnonzero(np.isposinf(k) & (_depth(raw, tail) <= DEEPEST))
    if len(fit):
        weights, k[fit] = psislw(raw[fit] - raw[fit].max(-1, keepdims=True), tail)
        # The body is left alone but for a constant, which the largest weight outside the tail tells.
        at = np.argsort(raw[fit], axis=-1)[:, -tail - 1, None]
        shift = np.take_along_axis(raw[fit], at, -1) - np.take_along_axis(weights, at, -1)
        smoothed[fit] = np.where(np.isfinite(k[fit])[:, None], weights + shift, raw[fit])
    return smoothed, k


def tail_length(num_particles: int) -> int:
    """M: how many of K weights are the tail."""
    return int(min(num_particles / 5, 3 * num_particles**0.5))


def _depth(raw: Array, tail: int) -> Array:
    """Nats from the largest weight to the largest outside the tail, ``(N,)``."""
    with np.errstate(invalid="ignore"):  # no weight at all: NaN
        depth: Array = raw.max(-1) - np.sort(raw, axis=-1)[:, -tail - 1]
    return depth


def _without_fit(raw: Array, tail: int) -> Array:
    """k ``(N,)`` where no fit is needed to know it; inf elsewhere."""
    top, k = raw.max(-1), np.full(len(raw), np.inf)
    if tail < LEAST_TAIL:
        k[:] = np.nan
    else:
        ordered = np.sort(raw, axis=-1)[:, -tail - 1 :]
        cutoff, least, quarter = ordered[:, 0], ordered[:, 1], ordered[:, 1 + int(tail / 4 + 0.5) - 1]
        k[(least <= cutoff) | (quarter <= least)] = np.nan
        k[_depth(raw, tail) > DEEPEST] = np.inf
    with np.errstate(invalid="ignore"):
        k[top - raw.min(-1) <= ROUNDING * np.maximum(1.0, np.abs(top))] = -np.inf
    k[~np.isfinite(top) | (raw.shape[1] == 1)] = np.nan  # one weight is equal to itself, and tells nothing
    return k
