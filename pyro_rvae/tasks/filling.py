"""Filling gaps without a model: by the mean, by the last value, or along a line. What a model is to beat."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..criticism.chunks import lengths_of
from ..data.transforms import raw_units
from .imputation import Imputation

__all__ = ["fill"]

Array = NDArray[Any]
WAYS = {"mean": "the mean", "last": "the last value", "linear": "linear interpolation"}


def fill(data: Any, how: str = "last", *, train: Any = None) -> Imputation:
    """Missing elements without a model, as an :class:`~pyro_rvae.tasks.Imputation` of one draw.

    ============  ==================================================================================================
    ``"mean"``    the mean of the feature's observed values in ``train``; of counts and 0/1 their median, of codes the
                  commonest
    ``"last"``    the last observed value of the sequence (carried forward); before the first one, that of ``"mean"``
    ``"linear"``  on the line between the observed values before and after, by the data's times or else the number of
                  the step; beyond the ends the nearest; where a sequence has none, that of ``"mean"``. Real data only
    ============  ==================================================================================================

    Arguments:
        data: a data set. Static data have no time, so ``how`` is ``"mean"``.
        train: the training split (default: ``data.reference``; without one, ``data`` itself).

    Raises:
        TypeError: no data set. ValueError: another ``how``, or one that does not suit the data.
    """
    if not hasattr(data, "padded"):
        raise TypeError(f"fill needs a SequenceDataset or a StaticDataset, got {type(data).__name__}.")
    _check(data, how)
    train = (data.reference or data) if train is None else train
    if (train.kind, train.x_dim) != (data.kind, data.x_dim):
        raise ValueError(f"fill: train must have data's kind and width ({data.kind}, {data.x_dim}), got {train!r}: "
                         "pass the split that the model was trained on.")
    observed, usual = _numbers(data), _usual(train)
    missing = np.isnan(observed)
    filled = np.where(missing, usual, observed)
    if how != "mean":
        ends = np.cumsum(lengths_of(data))[:-1]
        when = data.times.numpy() if data.times is not None else np.arange(len(observed), dtype=np.float64)
        one = _carried if how == "last" else _along
        pieces = zip(np.split(observed, ends), np.split(when, ends), strict=True)
        filled = np.where(missing, np.concatenate([one(x, t, usual) for x, t in pieces]), observed)
    frames, features = missing.nonzero()
    dtype = raw_units(data, data.values[:1]).numpy().dtype
    return Imputation.of(data, filled[frames, features][None].astype(dtype), frames, features, WAYS[how])


def _check(data: Any, how: str) -> None:
    if how not in WAYS:
        raise ValueError(f"fill: how must be one of {', '.join(WAYS)}, got {how!r}.")
    if how != "mean" and not hasattr(data, "lengths"):
        raise ValueError(f"fill: rows without time have no value before or after, so {how!r} does not suit them: use "
                         "'mean'.")
    if how == "linear" and data.kind != "real":
        raise ValueError(f"fill: between two values of {data.kind} there is no line: use 'last'.")


def _numbers(data: Any) -> Array:
    """``(F, x_dim)`` in raw units and double precision, NaN where missing."""
    x = raw_units(data, data.values).flatten(1).double().numpy()
    return np.where(x < 0, np.nan, x) if data.kind == "categories" else x


def _usual(train: Any) -> Array:
    """``(x_dim,)``: what stands for a feature of which nothing is known; 0 where nothing was ever observed."""
    columns = [column[~np.isnan(column)] for column in _numbers(train).T]
    return np.array([_middle(column, train.kind) if len(column) else 0.0 for column in columns])


def _middle(seen: Array, kind: str) -> float:
    if kind == "categories":
        return float(np.bincount(seen.astype(np.int64)).argmax())
    return float(seen.mean() if kind == "real" else np.quantile(seen, 0.5, method="inverted_cdf"))


def _carried(x: Array, when: Array, usual: Array) -> Array:
    """A sequence ``(T, x_dim)``, each value held until the next."""
    at = np.maximum.accumulate(np.where(np.isnan(x), -1, np.arange(len(x))[:, None]), axis=0)
    return np.where(at >= 0, np.take_along_axis(x, np.maximum(at, 0), axis=0), usual)


def _along(x: Array, when: Array, usual: Array) -> Array:
    """A sequence ``(T, x_dim)``, with straight lines through its gaps."""
    full = np.tile(usual, (len(x), 1))
    for d, column in enumerate(x.T):
        seen = ~np.isnan(column)
        if seen.any():
            full[:, d] = np.interp(when, when[seen], column[seen])
    return full
