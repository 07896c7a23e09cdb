"""Which sequences: turning what a user writes as an index into numbers, and taking those."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .checks import as_tensor

__all__ = ["first_difference", "join", "pick", "position", "positions", "take"]


def position(i: Any, n: int) -> int:
    """One index, negative ones counted from the end, as a number in ``0..n-1``."""
    try:
        number = int(i.__index__())
    except AttributeError:
        raise TypeError(
            f"an index must be an integer, got {type(i).__name__}: use subset(...) for several sequences"
        ) from None
    if not -n <= number < n:
        raise IndexError(f"index {number} is outside a data set of {n}")
    return number % n


def positions(index: Any, n: int) -> Tensor:
    """Numbers, a slice, or a bool mask ``(n,)`` as numbers in ``0..n-1``, at least one."""
    if isinstance(index, slice):
        return _some(torch.arange(n, device="cpu")[index])
    result = as_tensor(index, "the index").cpu()
    if result.dtype == torch.bool:
        if result.shape != (n,):
            raise ValueError(f"a bool index must have shape ({n},), got {tuple(result.shape)}")
        return _some(result.nonzero()[:, 0])
    result = _some(result)
    if result.is_floating_point() or result.dim() != 1:
        raise ValueError(
            f"an index must be integers of shape (n,), got {result.dtype} of shape {tuple(result.shape)}"
        )
    if (result < -n).any() or (result >= n).any():
        worst = int(result[(result < -n) | (result >= n)][0])
        raise IndexError(f"index {worst} is outside a data set of {n}")
    return result.long() % n


def _some(numbers: Tensor) -> Tensor:
    if not numbers.numel():
        raise ValueError("the index selects nothing: a data set holds at least one sequence")
    return numbers


def take(values: Tensor | None, numbers: Tensor) -> Tensor | None:
    """The rows of those numbers, or None."""
    return None if values is None else values[numbers]


def pick(words: Sequence[str] | None, numbers: Tensor) -> list[str] | None:
    """The words of those numbers, or None."""
    return None if words is None else [words[i] for i in numbers.tolist()]


def join(sequences: Sequence[Any], what: str) -> tuple[Tensor, list[int]]:
    """Arrays ``(T_i, D)`` of one width, one after the other, and their lengths."""
    tensors = [as_tensor(sequence, f"{what} {i}") for i, sequence in enumerate(sequences)]
    width = tensors[0].shape[1:]
    for i, tensor in enumerate(tensors):
        if tensor.dim() != 2 or tensor.shape[1:] != width:
            raise ValueError(
                f"{what} {i} must be (T, {width[0] if width else 'x_dim'}), got shape {tuple(tensor.shape)}: "
                "all are of one width; a single feature is (T, 1)"
            )
    return torch.cat(tensors), [len(tensor) for tensor in tensors]


def first_difference(steps: list[int], lengths: list[int]) -> str:
    """Words for where two lists of lengths part."""
    if len(steps) != len(lengths):
        return f"{len(steps)} of them for {len(lengths)} sequences"
    i = next(i for i, (a, b) in enumerate(zip(steps, lengths, strict=True)) if a != b)
    return f"{steps[i]} rows for sequence {i} of {lengths[i]} frames"
