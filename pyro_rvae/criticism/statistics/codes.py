"""Test statistics of categories: functions of one sequence of integer codes ``(T, channels)``, -1 where missing.

Those that need the number of classes are functions that make the statistic.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .general import Statistic, longest_run, present, run_length, run_lengths, shares

__all__ = ["category_shares", "changes", "distinct", "entropy", "for_classes", "transitions"]

Array = NDArray[Any]
MANY = 16  # classes: beyond it a table of transitions has more cells than a sequence has frames


def changes(x: Array) -> float:
    """Share of the elements whose code differs from that of the frame before; 0 for one frame."""
    both = present(x[1:]) & present(x[:-1])
    return float((x[1:] != x[:-1])[both].mean()) if both.any() else 0.0


def distinct(x: Array) -> float:
    """Number of different codes in a sequence."""
    return float(len(np.unique(x[present(x)])))


def entropy(x: Array) -> float:
    """Entropy of the shares of codes in a sequence, in nats (all channels together)."""
    _, counts = np.unique(x[present(x)], return_counts=True)
    p = shares(counts)
    return float(-(p * np.log(p)).sum())


def category_shares(classes: int) -> Statistic:
    """The statistic that is the share of each code, ``(classes,)``, all channels together."""
    return partial(_shares_of, classes)


def transitions(classes: int) -> Statistic:
    """The statistic that is the share of each pair of codes in successive frames, ``(classes, classes)``.

    Row: the code before. All channels together.
    """
    return partial(_pairs_of, classes)


def _shares_of(classes: int, x: Array) -> Array:
    return shares(np.bincount(x[present(x)].astype(np.int64), minlength=classes))


def _pairs_of(classes: int, x: Array) -> Array:
    both = present(x[1:]) & present(x[:-1])
    pairs = x[:-1][both].astype(np.int64) * classes + x[1:][both].astype(np.int64)
    return shares(np.bincount(pairs, minlength=classes * classes)).reshape(classes, classes)


def for_classes(classes: int) -> dict[str, Statistic]:
    """What to look at by default in sequences of ``classes`` codes."""
    found: dict[str, Statistic] = {
        "changes": changes,
        "distinct codes": distinct,
        "entropy of codes": entropy,
        "run length": run_length,
        "longest run": longest_run,
        "category shares": category_shares(classes),
        "run lengths": run_lengths,
    }
    return found if classes > MANY else {**found, "transitions": transitions(classes)}
