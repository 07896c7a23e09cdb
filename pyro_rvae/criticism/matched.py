"""Matched pairs of held-out and generated sequences, as a two-sample test reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.checks import check_count
from .asked import check_functions
from .predictive import _each
from .statistics import Statistic, statistics_for

__all__ = ["features_of", "opening", "padded", "standardised", "with_gaps"]

Array = NDArray[Any]


def opening(frames: int) -> Statistic:
    """A feature for :func:`two_sample`: the first frames as they are, flattened; 0 where there is no number."""
    check_count("frames", frames)

    def first(x: Array) -> Array:
        out = np.zeros((frames, x.shape[1]))
        out[: len(x)] = np.nan_to_num(x[:frames])
        return out.reshape(-1)

    return first


def with_gaps(made: Array, seen: Array, data: Any) -> Array:
    """The generated sequence with the gaps of its twin."""
    return np.where(seen < 0, -1, made) if data.kind == "categories" else np.where(np.isnan(seen), np.nan, made)


def _indicators(x: Array, data: Any) -> Array:
    """Frames as numbers ``(T, width)``: codes as indicators of their classes, NaN where missing."""
    if data.kind != "categories":
        return x
    found = (x[..., None] == np.arange(data.classes)).astype(np.float64)
    found[x < 0] = np.nan
    return found.reshape(len(x), -1)


def features_of(data: Any, features: Mapping[str, Statistic] | None, seen: list[Array],
              made: list[Array]) -> tuple[Array, Array, list[str]]:
    """Features ``(N, d)`` of both, and d names."""
    features = statistics_for(data) if features is None else features
    check_functions(features, "two_sample", "feature")
    columns, names = [], []
    for name, function in features.items():
        held = _each(name, function, seen, side="data")
        drawn = _each(name, function, made, shape=held.shape[1:], side="draws")
        values = np.concatenate([held, drawn]).reshape(2 * len(seen), -1)
        columns.append(values)
        of = data.names if data.names is not None and len(data.names) == values.shape[1] else range(values.shape[1])
        names += [name] if values.shape[1] == 1 else [f"{name} [{d}]" for d in of]
    both = np.concatenate(columns, 1)
    return both[: len(seen)], both[len(seen):], names


def standardised(observed: Array, generated: Array) -> Array:
    """Pairs of features ``(N, 2, d)``, each with mean 0 and deviation 1 over both samples; constant ones left out."""
    both = np.stack([observed, generated], 1).astype(np.float64)
    centred = both - both.mean((0, 1))
    deviation = centred.std((0, 1))
    varies = deviation > 1e-9 * np.abs(both).max((0, 1))
    if not varies.any():
        raise ValueError("every feature is constant over all sequences, so nothing can be told from it: choose others.")
    return np.ascontiguousarray(centred[..., varies] / deviation[varies])


def padded(data: Any, seen: list[Array], made: list[Array], frames: int) -> tuple[Tensor, Tensor]:
    """What the network reads: ``x (N, 2, T, width)``, standardised, with flags of gaps, and ``mask (N, 2, T)``."""
    sides = [[_indicators(x[:frames], data) for x in side] for side in (seen, made)]
    rows = np.concatenate(sides[0] + sides[1]).astype(np.float64)
    known = ~np.isnan(rows)
    count = np.maximum(1, known.sum(0))
    mean = np.where(known, rows, 0.0).sum(0) / count
    deviation = np.sqrt(np.square(np.where(known, rows - mean, 0.0)).sum(0) / count)
    deviation[deviation < 1e-9 * np.abs(mean) + 1e-300] = 1.0
    width = rows.shape[1]
    x = np.zeros((len(seen), 2, max(map(len, sides[0])), width * (1 + data.missing)), dtype=np.float32)
    mask = np.zeros(x.shape[:3], dtype=bool)
    for side, sequences in enumerate(sides):
        for n, sequence in enumerate(sequences):
            gaps = np.isnan(sequence)
            x[n, side, : len(sequence), :width] = np.where(gaps, 0.0, (sequence - mean) / deviation)
            if data.missing:
                x[n, side, : len(sequence), width:] = gaps
            mask[n, side, : len(sequence)] = True
    return torch.from_numpy(x), torch.from_numpy(mask)
