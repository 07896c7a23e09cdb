"""Data without time: independent rows, with the surface of the sequences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .batching import Batch, Batches, epoch_order
from .checks import (
    as_numbers,
    check_labels,
    check_transform,
    check_words,
    describe,
    to_units,
)
from .indexing import pick, position, positions, take
from .kinds import Kind, check_kind, find_missing, to_kind
from .transforms import Affine

if TYPE_CHECKING:
    from .forms import Form

__all__ = ["StaticDataset"]


class StaticDataset:
    """N independent rows of shape ``event_shape``: what a static model such as ``VAE`` is trained on.

    Arguments and errors are those of :class:`SequenceDataset`, but that there are no lengths and no
    controls. Each row counts as one frame, and the batches have ``mask = None``.

    :param values: ``(N, *event_shape)``; NaN (categories: -1) marks a missing element.
    :param labels: ``(N, ...)`` or None.
    :param names: one for each feature of rows of rank one, or None.

    >>> StaticDataset([[0, 1], [1, 1], [0, 0]])
    StaticDataset(3 rows, event_shape=(2,), kind='binary')
    """

    control_dim = 0
    controls = None
    reference: StaticDataset | None = None  # the training split, where it is known
    form: Form | None = None  # how files become such rows and back

    def __init__(
        self,
        values: Any,
        *,
        labels: Any = None,
        names: Sequence[str] | None = None,
        ids: Sequence[str] | None = None,
        kind: Kind | None = None,
        classes: int | None = None,
        transform: Affine | None = None,
    ) -> None:
        values = as_numbers(values)
        if values.dim() < 2 or not values[:1].numel():
            raise ValueError(
                f"values must be (N, *event_shape) with N at least 1, got shape {tuple(values.shape)}: "
                "give at least one row; a single feature is (N, 1)"
            )
        self.kind, self.values = to_kind(values, kind)
        self.classes = classes
        check_kind(self.values, self.kind, classes, _where)
        self.labels = check_labels(labels, len(self))
        self.names = check_words(names, values.shape[-1], "names", "feature")
        self.ids = check_words(ids, len(self), "ids", "row")
        self.transform = check_transform(transform, self.values, self.kind)
        self.missing = find_missing(self.values)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, i: int) -> Tensor:
        """Row i, ``(*event_shape,)``."""
        return self.values[position(i, len(self))]

    @property
    def event_shape(self) -> torch.Size:
        """The shape of one row."""
        return self.values.shape[1:]

    @property
    def x_dim(self) -> int:
        """Number of elements in one row."""
        return self.event_shape.numel()

    @property
    def num_frames(self) -> int:
        """Rows: each counts as one frame."""
        return len(self)

    def subset(self, index: Any) -> StaticDataset:
        """The rows of that index (numbers, a slice, or a bool mask), in its order."""
        numbers = positions(index, len(self))
        result = StaticDataset(
            self.values[numbers], labels=take(self.labels, numbers), names=self.names,
            ids=pick(self.ids, numbers), kind=self.kind, classes=self.classes, transform=self.transform,
        )  # fmt: skip
        result.reference, result.form = self.reference, self.form
        return result

    def transformed(self, transform: Affine) -> StaticDataset:
        """The same data in the units of `transform`, which is attached (see :meth:`Splits.standardize`).

        :raises ValueError: if the data are not real numbers, or are transformed already.
        """
        values = to_units(self.values, self.kind, self.transform, transform)
        result = StaticDataset(
            values, labels=self.labels, names=self.names, ids=self.ids, kind=self.kind, transform=transform
        )
        result.form = self.form
        return result

    def padded(self, index: Any = None) -> Batch:
        """One batch of all rows, or of those of `index`; there is nothing to pad."""
        numbers = positions(slice(None) if index is None else index, len(self))
        return Batch(self.values[numbers], labels=take(self.labels, numbers), index=numbers)

    def batches(
        self,
        batch_size: int,
        *,
        shuffle: bool = True,
        seed: int = 0,
        epoch: int = 0,
        pool: int = 5,
        device: torch.device | str | None = None,
        shard: tuple[int, int] | None = None,
    ) -> Batches:
        """One epoch of batches, each row exactly once; as :meth:`SequenceDataset.batches`."""
        ones = torch.ones(len(self), dtype=torch.long, device="cpu")
        order = epoch_order(ones, batch_size, shuffle=shuffle, seed=seed, epoch=epoch, pool=pool, shard=shard)
        return Batches(order, self.padded, device)

    def __repr__(self) -> str:
        return f"StaticDataset({len(self)} rows, event_shape={tuple(self.event_shape)}, {describe(self)})"


def _where(place: Tensor) -> str:
    row, *rest = place.tolist()
    return f"row {row}, feature {rest[0] if len(rest) == 1 else tuple(rest)}"
