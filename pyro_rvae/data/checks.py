"""Is this what a data set can hold? Conversion to tensors, and the errors a user sees if not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .kinds import Kind
from .transforms import Affine

__all__ = [
    "as_numbers",
    "as_tensor",
    "check_controls",
    "check_labels",
    "check_lengths",
    "check_transform",
    "check_words",
    "describe",
    "real_values",
    "to_units",
]


def as_tensor(values: Any, what: str) -> Tensor:
    """`values` as a tensor on the CPU; floats that come from NumPy in torch's default dtype.

    :raises TypeError: if they are no array of booleans, integers or real numbers.
    """
    if isinstance(values, Tensor):
        if values.is_complex():
            raise TypeError(f"{what} must be real numbers, got {values.dtype}: stack both parts")
        return values.detach().cpu()
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{what} must be an array of numbers: {error}") from None
    target = {"b": np.bool_, "i": np.int64, "u": np.int64, "f": np.float64}.get(array.dtype.kind)
    if target is None:
        raise TypeError(
            f"{what} must be an array or a tensor of numbers, got {type(values).__name__} of {array.dtype}: "
            "convert it, for instance with np.asarray(..., dtype=float)"
        )
    # A copy, so that the data set does not change when the user's array does.
    tensor = torch.from_numpy(np.array(array, dtype=target, order="C"))
    return tensor.to(torch.get_default_dtype()) if target is np.float64 else tensor


def as_numbers(values: Any) -> Tensor:
    """The values of a data set as a tensor; integers of any width become long."""
    result = as_tensor(values, "values")
    return result if result.is_floating_point() or result.dtype == torch.bool else result.long()


def check_lengths(lengths: Any, rows: int) -> Tensor:
    """Lengths ``(N,)`` that cut `rows` frames into sequences, as a long tensor."""
    result = as_tensor(lengths, "lengths")
    if result.is_floating_point() or result.dtype == torch.bool or result.dim() != 1:
        raise ValueError(
            f"lengths must be integers of shape (N,), got {result.dtype} of shape {tuple(result.shape)}: "
            "give the number of frames of each sequence"
        )
    result = result.long().cpu()
    if not len(result):
        raise ValueError("the data set is empty: lengths has no entry; give at least one sequence")
    if (result < 1).any():
        first = int((result < 1).nonzero()[0])
        raise ValueError(
            f"sequence {first} has length {int(result[first])}: every sequence needs at least one frame; "
            "leave it out"
        )
    if int(result.sum()) != rows:
        raise ValueError(
            f"lengths must sum to the number of rows of values, got {int(result.sum())} and {rows}: "
            "values is all sequences one after the other, (sum T, x_dim)"
        )
    return result


def check_labels(labels: Any, n: int) -> Tensor | None:
    """Labels ``(N, ...)``: integers as long, real numbers in torch's default dtype; NaN (codes: -1) is unknown."""
    if labels is None:
        return None
    result = as_tensor(labels, "labels")
    if result.dim() < 1 or len(result) != n:
        raise ValueError(
            f"labels must be one for each of the {n} sequences, got shape {tuple(result.shape)}: "
            "a label is known once a sequence; what is known at each step is a control"
        )
    if result.is_floating_point() and bool(result.isinf().any()):
        raise ValueError(f"labels must be finite (NaN = unknown), got {result[result.isinf()][0].item()}")
    return result if result.is_floating_point() else result.long()


def check_controls(controls: Any, rows: int, like: Tensor) -> Tensor | None:
    """Controls ``(sum T, control_dim)`` in the floating type of the data."""
    if controls is None:
        return None
    result = as_tensor(controls, "controls")
    if result.dim() != 2 or len(result) != rows or not result.shape[1]:
        raise ValueError(
            f"controls must be (sum T, control_dim) with {rows} rows, as values has, "
            f"got shape {tuple(result.shape)}: give the known inputs of each step"
        )
    dtype = like.dtype if like.is_floating_point() else torch.get_default_dtype()
    return _finite(result.to(dtype), "controls")


def check_times(times: Any, lengths: Tensor) -> Tensor | None:
    """Times ``(sum T,)`` of the frames, in double precision: finite, and rising within each sequence."""
    if times is None:
        return None
    # a date in seconds has more digits than single precision holds
    result = as_tensor(times if isinstance(times, Tensor) else torch.from_numpy(_doubles(times)), "times")
    rows = int(lengths.sum())
    if result.shape != (rows,):
        raise ValueError(f"times must hold one number for each frame, ({rows},), got shape {tuple(result.shape)}")
    result = _finite(result.to(torch.float64), "times")
    first = torch.zeros(rows, dtype=torch.bool, device=result.device)
    first[lengths.cumsum(0)[:-1]] = True
    wrong = (result.diff() <= 0) & ~first[1:]
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0]) + 1
        raise ValueError(f"times must rise within a sequence, but in row {row} {float(result[row]):g} follows "
                         f"{float(result[row - 1]):g}: sort the frames, and keep one for each time")
    return result


def _doubles(times: Any) -> np.ndarray:
    try:
        return np.array(times, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"times must be numbers, one for each frame, got {type(times).__name__} ({error})") from error


def _finite(known: Tensor, what: str) -> Tensor:
    if known.is_floating_point() and not bool(known.isfinite().all()):
        row = int((~known.isfinite()).nonzero()[0, 0])
        raise ValueError(
            f"{what} must be finite, got NaN or inf in row {row}: {what} are known inputs, so fill them in, "
            "and add a feature that says where"
        )
    return known


def check_words(words: Sequence[str] | None, n: int, what: str, one_for_each: str) -> tuple[str, ...] | None:
    """Names or ids: as many strings as there are features or sequences."""
    if words is None:
        return None
    result = tuple(str(word) for word in words)
    if len(result) != n:
        raise ValueError(f"{what} must hold one string for each {one_for_each}, {n}, got {len(result)}")
    return result


def check_transform(transform: Affine | None, values: Tensor, kind: Kind) -> Affine | None:
    """A transform that has been applied to such values."""
    if transform is None:
        return None
    if kind != "real" or transform.loc.shape != values.shape[1:]:
        raise ValueError(
            f"a transform goes with kind='real' and features {tuple(values.shape[1:])}, "
            f"got kind={kind!r} and a transform of {tuple(transform.loc.shape)}"
        )
    return transform


def real_values(values: Tensor, kind: Kind, old: Affine | None) -> Tensor:
    """`values`, if units may be changed: real numbers, not transformed before."""
    if kind != "real":
        raise ValueError(f"only real data have units to change, got kind={kind!r}: leave them as they are")
    if old is not None:
        raise ValueError("the data are transformed already: start from the raw data to change the transform")
    return values


def to_units(values: Tensor, kind: Kind, old: Affine | None, new: Affine) -> Tensor:
    """Raw `values` in the units of the transform `new`."""
    with torch.no_grad():
        result: Tensor = new(real_values(values, kind, old))
        return result.to(values.dtype)


def describe(data: Any) -> str:
    """What a data set holds beside its sizes, for its repr."""
    parts = [f"kind={data.kind!r}"]
    parts += [f"classes={data.classes}"] if data.classes else []
    parts += ["missing elements"] if data.missing else []
    parts += [f"labels {tuple(data.labels.shape[1:])}"] if data.labels is not None else []
    parts += [f"control_dim={data.control_dim}"] if data.control_dim else []
    return ", ".join(parts + (["transformed"] if data.transform is not None else []))
