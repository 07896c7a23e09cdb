"""Batches: what a training step receives, and in what order an epoch deals them out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["Batch", "Batches", "epoch_order", "pad"]


@dataclass(frozen=True, eq=False)
class Batch:
    """Some sequences, padded to the longest of them.

    Iterating it gives exactly ``x, mask``, so that a plain Pyro script reads
    ``for x, mask in data.batches(20): svi.step(x, mask)``; the whole call of a model is
    ``model.model(*batch, **batch.known)``.

    :param x: ``(B, T, x_dim)``, zero in the padding; of static data ``(B, *event_shape)``.
    :param mask: ``(B, T)`` bool, True where a frame stands, False in the padding; None for static data.
    :param controls: ``(B, T, control_dim)`` known inputs of each step, or None.
    :param labels: ``(B, ...)`` known once a sequence, or None.
    :param index: ``(B,)`` long, the sequences' numbers in the data set.
    :param frames: real frames in the batch, if they were counted already (saves reading the mask
        back from a GPU).
    """

    x: Tensor
    mask: Tensor | None = None
    controls: Tensor | None = None
    labels: Tensor | None = None
    index: Tensor | None = None
    frames: int | None = None

    def __iter__(self) -> Iterator[Tensor | None]:
        yield self.x
        yield self.mask

    def __len__(self) -> int:
        return len(self.x)

    @property
    def num_frames(self) -> int:
        """Real frames in the batch; each row of static data counts as one."""
        if self.frames is not None:
            return self.frames
        return len(self.x) if self.mask is None else int(self.mask.sum())

    @property
    def known(self) -> dict[str, Tensor]:
        """Those of controls and labels that were given, as keyword arguments."""
        given = {"controls": self.controls, "labels": self.labels}
        return {name: value for name, value in given.items() if value is not None}

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        moved: dict[str, Any] = {
            name: value.to(device) for name, value in values.items() if isinstance(value, Tensor)
        }
        return dataclasses.replace(self, **moved)

    def __repr__(self) -> str:
        parts = [f"x={tuple(self.x.shape)}"]
        parts += [f"{name}={tuple(value.shape)}" for name, value in self.known.items()]
        return f"Batch({', '.join(parts)}, frames={self.num_frames})"


class Batches:
    """The batches of one epoch: has a length, can be indexed, and can be iterated again.

    Each pass gives the same batches in the same order; ``batches[i]`` pads only the one asked for,
    so that a resumed run starts in the middle of an epoch for nothing.

    :param order: for each batch, the numbers of its sequences, ``(B_i,)`` long.
    :param collate: from such numbers to a :class:`Batch`.
    :param device: where the batches go; None leaves them where the data are.
    """

    def __init__(
        self,
        order: list[Tensor],
        collate: Callable[[Tensor], Batch],
        device: torch.device | str | None = None,
    ) -> None:
        self.order = order
        self._collate = collate
        self._device = device

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, i: int) -> Batch:
        return self._batch(self.order[i])

    def __iter__(self) -> Iterator[Batch]:
        return map(self._batch, self.order)

    def _batch(self, numbers: Tensor) -> Batch:
        batch = self._collate(numbers)
        return batch if self._device is None else batch.to(self._device)

    def __repr__(self) -> str:
        rows = sum(map(len, self.order))
        return f"Batches({len(self)} batches, {rows} sequences)"


def epoch_order(
    lengths: Tensor,
    batch_size: int,
    *,
    shuffle: bool = True,
    seed: int = 0,
    epoch: int = 0,
    pool: int = 5,
    shard: tuple[int, int] | None = None,
) -> list[Tensor]:
    """Which sequences stand in which batch of an epoch: each sequence exactly once.

    The sequences are shuffled, sorted by length within pools of `pool` batches, cut into batches, and
    the batches shuffled. Sequences of like length meet, so that a batch of ragged data holds little
    padding, yet its members are drawn anew each epoch. The order is a function of `seed` and `epoch`
    (and the lengths) only: a private generator is used, and no global random state is read or moved.

    :param lengths: ``(N,)`` frames of each sequence.
    :param shuffle: if False, the sequences come in the order of the data set, and `pool` is ignored.
    :param pool: how many batches are sorted by length together; 1 gives purely random batches.
    :param shard: ``(rank, world)``: this process's part of each batch. Each process has the same number
        of batches, batch i is dealt out among them (so that together they hold what one process would
        hold), and none is empty: a last batch with fewer sequences than processes joins the one before.
    :raises ValueError: if a size is not positive or a shard cannot be had.
    """
    _check_sizes(len(lengths), batch_size, pool, shard)
    if shuffle:
        batches = _bucketed(lengths, batch_size, seed, epoch, pool)
    else:
        batches = list(torch.split(torch.arange(len(lengths), device="cpu"), batch_size))
    if shard is None:
        return batches
    rank, world = shard
    # Neighbours in length go to different processes: their loads are alike.
    return [numbers[rank::world] for numbers in _no_empty_shard(batches, world)]


def _bucketed(lengths: Tensor, batch_size: int, seed: int, epoch: int, pool: int) -> list[Tensor]:
    generator = torch.Generator(device="cpu").manual_seed(_mix(seed, epoch))
    shuffled = torch.randperm(len(lengths), generator=generator, device="cpu")
    batches: list[Tensor] = []
    for numbers in torch.split(shuffled, batch_size * pool):
        if pool > 1:
            numbers = numbers[lengths[numbers].argsort(stable=True)]
        batches += torch.split(numbers, batch_size)
    turns = torch.randperm(len(batches), generator=generator, device="cpu")
    return [batches[i] for i in turns.tolist()]


def _mix(seed: int, epoch: int) -> int:
    """One seed from two numbers (splitmix64's finaliser), so that (0, 1) and (1, 0) differ."""
    word = (seed * 0x9E3779B97F4A7C15 + epoch * 0xD1B54A32D192ED03 + 0x2545F4914F6CDD1D) % 2**64
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB % 2**64
    return (word ^ (word >> 31)) % 2**63


def _no_empty_shard(batches: list[Tensor], world: int) -> list[Tensor]:
    """A batch with fewer sequences than processes joins its neighbour; at most one batch is short."""
    short = [i for i, numbers in enumerate(batches) if len(numbers) < world]
    for i in short:
        rest = batches.pop(i)
        batches[i - 1] = torch.cat([batches[i - 1], rest])
    return batches


def _check_sizes(n: int, batch_size: int, pool: int, shard: tuple[int, int] | None) -> None:
    for name, value in {"batch_size": batch_size, "pool": pool}.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")
    if shard is None:
        return
    rank, world = shard
    if not 0 <= rank < world:
        raise ValueError(f"shard must be (rank, world) with 0 <= rank < world, got {shard}")
    if min(n, batch_size) < world:
        raise ValueError(
            f"{world} processes cannot share batches of {min(n, batch_size)} sequences: each needs one; "
            "raise batch_size (it counts the sequences of all processes) or use fewer processes"
        )


def pad(values: Tensor, starts: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Cuts sequences out of ``values (sum T, D)`` and pads them with zeros.

    :param starts: ``(B,)`` first row of each sequence.
    :param lengths: ``(B,)`` rows of each sequence.
    :returns: ``x (B, T, D)`` with T the longest, and ``mask (B, T)`` bool.
    """
    t = torch.arange(int(lengths.max()), device=values.device)
    mask = t < lengths[:, None]  # (B, T)
    rows = (starts[:, None] + t).where(mask, starts[:, None])
    return values[rows].masked_fill(~mask[..., None], 0), mask
