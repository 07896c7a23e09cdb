"""Raw numbers as a user holds them: arrays, tensors, nested lists, DataFrames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["are_frames", "exact", "frame_values", "is_frame", "names_of_frames", "rows_of", "sequences_of"]


def is_frame(x: Any) -> bool:
    """Whether it is a table with named columns, as pandas and polars have them."""
    return hasattr(x, "columns") and hasattr(x, "to_numpy")


def are_frames(data: Any) -> bool:
    """Whether it is a DataFrame, or a list that begins with one."""
    return is_frame(data) or isinstance(data, Sequence) and len(data) > 0 and is_frame(data[0])


def frame_values(model: Any, frame: Any, caller: str, names: tuple[str, ...] | None = None) -> NDArray[Any]:
    """The numbers of a DataFrame ``(T, x_dim)``, its columns in the order of the features that a model was trained on.

    Arguments:
        model: whose ``data_card`` knows the features; a model that knows none takes the columns as they stand.
        names: the features, where the model knows none.
        caller: for the message.

    Raises:
        ValueError: a feature is lacking, another is there, or one twice. Columns that are numbered 0, 1, ... have no
            names.
    """
    card = getattr(model, "data_card", None)
    wanted = names if card is None or card.names is None else card.names
    values = np.asarray(frame.to_numpy())
    if wanted is None or _unnamed(frame):
        return values
    held = [str(name) for name in frame.columns]
    lacking, strange = [n for n in wanted if n not in held], [n for n in held if n not in wanted]
    if lacking or strange or len(held) != len(wanted):
        what = [f"lacks {lacking[:5]}"] * bool(lacking) + [f"has {strange[:5]} beside"] * bool(strange)
        raise ValueError(f"{caller}: the features are {list(wanted)[:8]}, the DataFrame "
                         f"{' and '.join(what) or 'has one of them twice'}: pass these columns, in any order.")
    return np.asarray(values[:, [held.index(name) for name in wanted]])


def names_of_frames(data: Any) -> tuple[str, ...] | None:
    """The names of the columns, of the first DataFrame of several."""
    if not are_frames(data):
        return None
    first = data if is_frame(data) else data[0]
    return None if _unnamed(first) else tuple(str(name) for name in first.columns)


def _unnamed(frame: Any) -> bool:
    """A DataFrame of which the columns were never named has their numbers."""
    return list(frame.columns) == list(np.arange(len(frame.columns)))


# ------------------------------------------------------------------------------------------ sequences and rows
def sequences_of(model: Any, data: Any, caller: str) -> list[Any]:
    """Arrays ``(T_i, x_dim)``, of whatever stands for them.

    ========================================  =========================================================================
    an array ``(N, T, x_dim)``                N sequences
    an array ``(T, x_dim)``, a DataFrame      one sequence
    a list of arrays, of DataFrames           a sequence each; ``(T,)`` where a model has one feature
    ``(T,)``                                  one sequence, where a model has one feature
    a list of lists of numbers                as the array that it makes; where a model has one feature, and they have
                                              more numbers or several lengths, a sequence each
    ========================================  =========================================================================

    Raises:
        TypeError: none of these.
    """
    card = getattr(model, "data_card", None)
    width = getattr(model, "x_dim", None) or (None if card is None else card.x_dim)
    if is_frame(data):
        return [frame_values(model, data, caller)]
    nested = isinstance(data, Sequence) and not any(hasattr(x, "ndim") or is_frame(x) for x in data)
    if nested and len(data):
        data = _rectangular(data, caller)
    if isinstance(data, Tensor | np.ndarray) and data.ndim < 3 and data.dtype != object:
        series = nested and data.ndim == 2 and width == 1 and data.shape[1] != 1
        rows = list(data) if series else [data]
    else:
        rows = list(data)
    names = names_of_frames(rows)
    rows = [frame_values(model, x, caller, names) if is_frame(x) else x for x in rows]
    return [_column(x) if width == 1 else x for x in rows]


def rows_of(model: Any, data: Any, caller: str) -> Any:
    """Items ``(N, *event_shape)`` of a static model."""
    return frame_values(model, data, caller) if is_frame(data) else data


def _rectangular(data: Any, caller: str) -> Any:
    """A nested list as an array, or as a list of arrays where its parts have several lengths."""
    try:
        found = np.asarray(data)
    except ValueError:
        return [_rectangular(x, caller) if isinstance(x, Sequence) else x for x in data]
    if found.dtype.kind not in "biuf":
        raise TypeError(f"{caller} needs numbers, got a list of {type(data[0]).__name__} that are none.")
    return found


def _column(x: Any) -> Any:
    """``(T,)`` as ``(T, 1)``."""
    if getattr(x, "ndim", None) != 1:
        return x
    return x.reshape(-1, 1) if isinstance(x, Tensor) else np.asarray(x).reshape(-1, 1)


# ------------------------------------------------------------------------------------------ precision
def exact(values: Any, kind: str | None) -> Any:
    """A tensor that has all digits of some numbers: double precision, but for codes and what may turn out to be codes.

    What is no array of real numbers stays as it is: a data set refuses it, and says why.
    """
    if isinstance(values, Tensor):
        made = values.detach().cpu()
    else:
        try:
            array = np.asarray(values)
        except ValueError:
            return values
        whole = {"b": np.bool_, "i": np.int64, "u": np.int64, "f": np.float64}.get(array.dtype.kind)
        if whole is None:
            return values
        made = torch.from_numpy(np.array(array, dtype=whole, order="C"))
    if made.is_complex():
        return values
    return made.double() if made.is_floating_point() or kind not in (None, "categories") else made
