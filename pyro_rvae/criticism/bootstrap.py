"""How much other sequences would change a pooled figure."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["bootstrap"]

Array = NDArray[np.float64]
BLOCK = 2**20  # numbers that are drawn at once


def bootstrap(costs: Array, lengths: NDArray[np.int64], level: float, num: int, seed: int) -> tuple[float, float]:
    """The percentiles ``(low, high)`` of ``sum(costs) / sum(lengths)`` over ``num`` samples of sequences.

    Sequences are drawn with replacement. With one there is nothing to draw from, and the interval is NaN.
    Source: Efron & Tibshirani (1993), "An introduction to the bootstrap", section 13.3.
    """
    sequences = len(lengths)
    if sequences == 1:
        return math.nan, math.nan
    random, samples, left = np.random.default_rng(seed), [], num
    while left:
        rows = random.integers(sequences, size=(min(left, max(1, BLOCK // sequences)), sequences))
        samples.append(costs[rows].sum(-1) / lengths[rows].sum(-1))
        left -= len(rows)
    low, high = np.quantile(np.concatenate(samples), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
