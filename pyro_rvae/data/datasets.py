"""Ragged sequences in one data set that knows what it holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .batching import Batch, Batches, epoch_order, pad
from .checks import (
    as_numbers,
    check_controls,
    check_labels,
    check_lengths,
    check_times,
    check_transform,
    check_words,
    describe,
    to_units,
)
from .indexing import first_difference, join, pick, position, positions, take
from .kinds import Kind, check_kind, find_missing, to_kind
from .transforms import Affine

if TYPE_CHECKING:
    from .forms import Form

__all__ = ["SequenceDataset"]


class SequenceDataset:
    """N sequences of ragged lengths, held one after the other in a single tensor.

    :param values: ``(sum T, x_dim)``; NaN marks a missing element. A tensor keeps its floating type;
        NumPy floats, integers and booleans become torch's default dtype, categories ``long`` (-1 missing).
    :param lengths: ``(N,)`` frames of each sequence.
    :param labels: ``(N, ...)``, known once a sequence, or None.
    :param controls: ``(sum T, control_dim)``, known inputs at each step, or None.
    :param names: one for each feature, or None.
    :param ids: one for each sequence, or None.
    :param kind: ``"binary"``, ``"real"``, ``"counts"`` or ``"categories"``. If None: booleans and 0/1 are
        binary, other floats real; other integers could be two things, so you must say.
    :param classes: number of classes, for categories.
    :param transform: the :class:`Affine` that was applied to `values`, if one was; a model undoes it
        on output.
    :param times: ``(sum T,)``, when each frame was taken, rising within a sequence, or None. No model reads them (a
        model that shall is given them as controls); they are coordinates of what is drawn.
    :raises ValueError: for a wrong rank, an empty set, an empty sequence, lengths that don't sum to the
        rows, infinities, values outside the support of `kind`; the message names the place.
    :raises TypeError: for what is no array of numbers.

    Beside its arguments it has ``starts (N,)``, the first row of each sequence, and ``missing``, True if
    an element is. ``reference`` is the training split of a loaded data set (or None); floors count it.
    ``form`` is how files become such sequences and back (:class:`~pyro_rvae.data.Form`), or None.

    >>> SequenceDataset([[0.5], [1.5], [2.5]], [2, 1])
    SequenceDataset(2 sequences, 3 frames, x_dim=1, kind='real', lengths 1-1-2)
    """

    reference: SequenceDataset | None = None
    form: Form | None = None

    def __init__(
        self,
        values: Any,
        lengths: Any,
        *,
        labels: Any = None,
        controls: Any = None,
        names: Sequence[str] | None = None,
        ids: Sequence[str] | None = None,
        kind: Kind | None = None,
        classes: int | None = None,
        transform: Affine | None = None,
        times: Any = None,
    ) -> None:
        values = as_numbers(values)
        if values.dim() != 2 or not values.shape[1]:
            raise ValueError(
                f"values must be (sum T, x_dim), got shape {tuple(values.shape)}: concatenate the sequences "
                "in time; a single feature is (sum T, 1)"
            )
        self.lengths = check_lengths(lengths, len(values))
        self.starts = self.lengths.cumsum(0) - self.lengths
        self.kind, self.values = to_kind(values, kind)
        self.classes = classes
        check_kind(self.values, self.kind, classes, self._where)
        self.labels = check_labels(labels, len(self))
        self.controls = check_controls(controls, len(values), self.values)
        self.names = check_words(names, self.x_dim, "names", "feature")
        self.ids = check_words(ids, len(self), "ids", "sequence")
        self.transform = check_transform(transform, self.values, self.kind)
        self.missing = find_missing(self.values)
        self.times = check_times(times, self.lengths)

    @classmethod
    def from_sequences(
        cls, sequences: Sequence[Any], *, controls: Sequence[Any] | None = None, **given: Any
    ) -> SequenceDataset:
        """From a list of arrays ``(T_i, x_dim)``; `controls` is then a list of ``(T_i, control_dim)``.

        :param given: labels, names, ids, kind, classes, transform, as for the constructor.
        """
        if not len(sequences):
            raise ValueError("the data set is empty: give at least one sequence, an array (T, x_dim)")
        values, lengths = join(sequences, "sequence")
        if controls is None:
            return cls(values, lengths, **given)
        inputs, steps = join(controls, "controls of sequence")
        if steps != lengths:
            raise ValueError(
                "controls must have the lengths of the sequences, got "
                f"{first_difference(steps, lengths)}: give one row for each frame"
            )
        return cls(values, lengths, controls=inputs, **given)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, i: int) -> Tensor:
        """Sequence i, ``(T_i, x_dim)``."""
        i = position(i, len(self))
        return self.values[int(self.starts[i]) : int(self.starts[i] + self.lengths[i])]

    def __iter__(self) -> Iterator[Tensor]:
        return iter(torch.split(self.values, self.lengths.tolist()))

    @property
    def x_dim(self) -> int:
        """Number of features."""
        return self.values.shape[1]

    @property
    def control_dim(self) -> int:
        """Number of known inputs a step (0 without controls)."""
        return 0 if self.controls is None else self.controls.shape[1]

    @property
    def num_frames(self) -> int:
        """Frames of all sequences together."""
        return len(self.values)

    def subset(self, index: Any) -> SequenceDataset:
        """The sequences of that index (numbers, a slice, or a bool mask), in its order."""
        numbers = positions(index, len(self))
        lengths = self.lengths[numbers]
        shift = self.starts[numbers] - (lengths.cumsum(0) - lengths)  # from new row to old
        rows = torch.arange(int(lengths.sum()), device="cpu") + shift.repeat_interleave(lengths)
        result = SequenceDataset(
            self.values[rows], lengths, labels=take(self.labels, numbers),
            controls=take(self.controls, rows), names=self.names, ids=pick(self.ids, numbers),
            kind=self.kind, classes=self.classes, transform=self.transform, times=take(self.times, rows),
        )  # fmt: skip
        result.reference, result.form = self.reference, self.form
        return result

    def transformed(self, transform: Affine) -> SequenceDataset:
        """The same data in the units of `transform`, which is attached (see :meth:`Splits.standardize`).

        :raises ValueError: if the data are not real numbers, or are transformed already.
        """
        values = to_units(self.values, self.kind, self.transform, transform)
        result = SequenceDataset(
            values, self.lengths, labels=self.labels, controls=self.controls, names=self.names, ids=self.ids,
            kind=self.kind, transform=transform, times=self.times,
        )  # fmt: skip
        result.form = self.form
        return result

    def padded(self, index: Any = None) -> Batch:
        """One batch of all sequences, or of those of `index`, padded to the longest with zeros."""
        numbers = positions(slice(None) if index is None else index, len(self))
        starts, lengths = self.starts[numbers], self.lengths[numbers]
        x, mask = pad(self.values, starts, lengths)
        controls = None if self.controls is None else pad(self.controls, starts, lengths)[0]
        return Batch(x, mask, controls, take(self.labels, numbers), numbers, int(lengths.sum()))

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
        """One epoch of batches of like lengths, each sequence exactly once.

        The arguments are those of :func:`~pyro_rvae.data.batching.epoch_order`.

        :param device: where the batches go (the data stay where they are).
        """
        order = epoch_order(
            self.lengths, batch_size, shuffle=shuffle, seed=seed, epoch=epoch, pool=pool, shard=shard
        )
        return Batches(order, self.padded, device)

    def _where(self, place: Tensor) -> str:
        row, feature = place.tolist()
        i = int((self.starts <= row).sum()) - 1
        return f"sequence {i}, step {row - int(self.starts[i])}, feature {feature}"

    def __repr__(self) -> str:
        low, middle, high = int(self.lengths.min()), int(self.lengths.median()), int(self.lengths.max())
        return (
            f"SequenceDataset({len(self)} sequences, {self.num_frames} frames, x_dim={self.x_dim}, "
            f"{describe(self)}, lengths {low}-{middle}-{high})"
        )
