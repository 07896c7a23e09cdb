"""Test statistics of any data: functions of one sequence ``(T, x_dim)`` to a number or a vector of one shape.

A missing element is NaN, or a negative integer in codes; it is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Statistic", "autocorrelation", "autocorrelations", "average_autocorrelation", "average_mean", "average_scale",
    "beside_gaps", "excursion", "largest", "longest_run", "maximum", "mean", "minimum", "missing", "present",
    "run_length", "run_lengths", "scale", "shares", "smallest", "spectrum", "spread", "zeros",
]

Array = NDArray[Any]
Statistic = Callable[[Array], Any]


def present(x: Array) -> NDArray[np.bool_]:
    """Where an element is not missing, ``(T, x_dim)``."""
    there: NDArray[np.bool_] = x >= 0 if x.dtype.kind == "i" else ~np.isnan(x)
    return there


# -------------------------------------------------------------------------------- moments and extremes
def mean(x: Array) -> Array:
    """Mean over time, ``(x_dim,)``; missing elements (NaN) are left out."""
    return _quiet(np.nanmean, x)


def scale(x: Array) -> Array:
    """Standard deviation over time, ``(x_dim,)``."""
    return _quiet(np.nanstd, x)


def minimum(x: Array) -> Array:
    """Least value in time, ``(x_dim,)``."""
    return _quiet(np.nanmin, x)


def maximum(x: Array) -> Array:
    """Greatest value in time, ``(x_dim,)``."""
    return _quiet(np.nanmax, x)


def average_mean(x: Array) -> float:
    """:func:`mean`, averaged over features."""
    return float(mean(x).mean())


def average_scale(x: Array) -> float:
    """:func:`scale`, averaged over features."""
    return float(scale(x).mean())


def smallest(x: Array) -> float:
    """Least of all elements; 0 if all are missing."""
    known = x[present(x)]
    return float(known.min()) if known.size else 0.0


def largest(x: Array) -> float:
    """Greatest of all elements; 0 if all are missing."""
    known = x[present(x)]
    return float(known.max()) if known.size else 0.0


def spread(x: Array) -> float:
    """Standard deviation of the features of a frame, averaged over frames: what a frame without time has."""
    return float(_quiet(np.nanstd, x.T).mean())


def zeros(x: Array) -> float:
    """Share of elements that are 0."""
    known = x[present(x)]
    return float((known == 0).mean()) if known.size else 0.0


# -------------------------------------------------------------------------------- over time
def autocorrelation(x: Array, lag: int = 1) -> Array:
    """Correlation of each feature with itself ``lag`` steps earlier, ``(x_dim,)``; 0 for a constant or short one."""
    if len(x) <= lag:
        return np.zeros(x.shape[1])
    x = x - mean(x)
    both = _quiet(np.nanmean, x[lag:] * x[:-lag])
    power: Array = _quiet(np.nanmean, x * x)
    return np.divide(both, power, out=np.zeros_like(power), where=power > 1e-12)


def average_autocorrelation(x: Array, lag: int = 1) -> float:
    """:func:`autocorrelation`, averaged over features."""
    return float(autocorrelation(x, lag).mean())


def autocorrelations(x: Array, lags: Sequence[int] = (1, 2, 4, 8)) -> Array:
    """:func:`average_autocorrelation` at several lags, ``(len(lags),)``."""
    return np.array([average_autocorrelation(x, lag) for lag in lags])


def spectrum(x: Array, bands: int = 8) -> Array:
    """Shares of a feature's power in ``bands`` equal bands of frequency, averaged over features: ``(bands,)``.

    From the periodogram of the centred feature, 0 to 1/2 cycles a frame (band 0 is the slowest). A short sequence
    is padded with zeros, so that each band has its part whatever T is; missing elements count as the mean. 0 if
    every feature is constant.
    """
    size = max(len(x), 16 * bands)
    centred = np.where(np.isnan(x), 0.0, x - mean(x))
    power = np.square(np.abs(np.fft.rfft(centred, size, axis=0)[1:]))  # (size // 2, x_dim)
    moving = power.sum(0) > 1e-12
    if not moving.any():
        return np.zeros(bands)
    each = (power[:, moving] / power[:, moving].sum(0)).mean(1)
    cycles = np.arange(1, len(each) + 1) / size
    return np.bincount(np.ceil(2 * bands * cycles - 1e-9).astype(int) - 1, each, bands)


def run_length(x: Array, above: float | None = None) -> float:
    """Mean length, in frames, of the runs of equal values; with ``above``, of those that exceed it. 0 if none is.

    Runs of all features together; a missing element ends one.
    """
    runs = _runs(x, above)
    return float(runs.mean()) if len(runs) else 0.0


def longest_run(x: Array, above: float | None = None) -> float:
    """Length of the longest of those runs."""
    return float(_runs(x, above).max(initial=0))


def run_lengths(x: Array, above: float | None = None, least: Sequence[int] = (1, 2, 3, 5, 9, 17)) -> Array:
    """Shares of the runs whose length is ``least[i]`` up to the next, the last without end: ``(len(least),)``."""
    return shares(np.histogram(_runs(x, above), [*least, np.inf])[0])


def excursion(x: Array) -> float:
    """Mean length of the stays of a feature above its mean, in frames."""
    return run_length(x - mean(x), above=0.0)


def _runs(x: Array, above: float | None) -> NDArray[np.int64]:
    """Lengths of the runs of all features: of equal values, or of values above a threshold."""
    there, codes = present(x), x if above is None else x > above
    begins = np.ones(x.shape, dtype=bool)
    begins[1:] = codes[1:] != codes[:-1]  # a gap differs from all that is counted
    (starts,) = begins.T.ravel().nonzero()  # feature by feature: each begins with a start
    counted = there if above is None else there & (x > above)
    lengths: NDArray[np.int64] = np.diff(starts, append=x.size)[counted.T.ravel()[starts]]
    return lengths


# -------------------------------------------------------------------------------- missing elements
def missing(x: Array) -> float:
    """Share of missing elements. Replicates have the data's gaps, so it describes data and tests nothing."""
    return float(1.0 - present(x).mean())


def beside_gaps(x: Array) -> float:
    """How far the elements next to a gap in time lie above their feature's mean, in its standard deviations.

    Replicates have the data's gaps, wherever the model's values are: so the data differ from them if elements are
    missing because of what stands there (where a sensor fails at large values, say). A bound and a score take gaps
    for missing at random.
    """
    if x.dtype.kind == "i" or len(x) < 2:
        return 0.0
    there = present(x)
    beside = np.zeros_like(there)
    beside[1:] = ~there[:-1]
    beside[:-1] |= ~there[1:]
    deviation = scale(x)
    scaled = np.divide(x - mean(x), deviation, out=np.zeros(x.shape), where=deviation > 1e-12)
    found = scaled[beside & there]
    return float(found.mean()) if found.size else 0.0


def shares(counts: Array) -> Array:
    """Counts as shares of their sum; zeros where nothing is counted."""
    return np.asarray(counts / max(1, counts.sum()))


def _quiet(reduce: Callable[..., Any], x: Array) -> Array:
    """A reduction over time; a feature that is wholly missing gives 0."""
    known = ~np.isnan(x).all(0)
    out = np.zeros(x.shape[1])
    out[known] = reduce(x[:, known], axis=0)
    return out
