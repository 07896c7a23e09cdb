"""Hiding observed elements, to see how well they are filled in; and a data set with other values."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .datasets import SequenceDataset
from .kinds import find_missing
from .static import StaticDataset
from .transforms import Affine, raw_units

__all__ = ["HeldOut", "hold_out", "with_values"]

D = TypeVar("D", bound=SequenceDataset | StaticDataset)


@dataclass(frozen=True, eq=False, repr=False)
class HeldOut:
    """Elements that :func:`hold_out` has hidden.

    Attributes:
        frames: ``(M,)``, their frames among all of the data set, ``0 .. sum T - 1`` (items, of static data).
        features: ``(M,)``.
        values: ``(M,)``, what was observed, in raw units.
        shape: ``(sum T, x_dim)`` of the data set.
        share: of the elements that were observed.
    """

    frames: NDArray[np.int64]
    features: NDArray[np.int64]
    values: NDArray[Any]
    shape: tuple[int, int]
    share: float

    def __len__(self) -> int:
        return len(self.frames)

    def __repr__(self) -> str:
        return (f"HeldOut({len(self)} elements of {len(np.unique(self.features))} features, {self.share:.0%} of those "
                "observed)")


def hold_out(data: D, share: float = 0.1, seed: int = 0) -> tuple[D, HeldOut]:
    """The data set with a share of its observed elements hidden at random, and what was hidden.

    Each observed element is as likely as any other to be hidden; it becomes NaN (-1, a code). For evaluation: impute
    the first, and score with the second. A training set with more gaps teaches a model to read gaps.

    Arguments:
        data: a :class:`SequenceDataset` or :class:`StaticDataset`.
        share: of the observed elements, between 0 and 1; their number is rounded, at least one.
        seed: of the choice, which is a function of it and of the data set; torch's own random state stays.

    Raises:
        TypeError: no data set.
        ValueError: a share that is not between 0 and 1, or fewer than two observed elements.
    """
    if not hasattr(data, "padded"):
        hint = "; pass one of its sides, such as data.test" if hasattr(data, "test") else ""
        raise TypeError(f"hold_out needs a SequenceDataset or a StaticDataset, got {type(data).__name__}{hint}.")
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
        raise ValueError(f"hold_out: share must be a number between 0 and 1, got {share!r}.")
    flat = data.values.flatten(1)
    there = (~flat.isnan() if flat.is_floating_point() else flat >= 0).flatten().nonzero()[:, 0]
    if len(there) < 2:
        raise ValueError(f"hold_out: {len(there)} elements are observed, and some must stay: at least 2 are needed.")
    number = min(max(1, round(share * len(there))), len(there) - 1)
    generator = torch.Generator(device="cpu").manual_seed(seed)
    hidden = there[torch.randperm(len(there), generator=generator, device="cpu")[:number]].sort().values
    raw = raw_units(data, data.values).flatten()[hidden].numpy()
    values = data.values.flatten().clone()
    values[hidden] = torch.nan if values.is_floating_point() else -1
    frames, features = np.divmod(hidden.numpy(), data.x_dim)
    held = HeldOut(frames, features, raw, (len(flat), data.x_dim), share)
    return with_values(data, values.view_as(data.values), data.transform), held


def with_values(data: D, values: Tensor, transform: Affine | None) -> D:
    """The same data set with other values, in the units of ``transform``; nothing else is copied."""
    result = copy.copy(data)
    result.values, result.transform = values, transform
    result.missing = find_missing(values)
    return result
