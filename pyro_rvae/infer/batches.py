"""Batches on their way to a model."""

from __future__ import annotations

import dataclasses
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..core import SequenceVAE, trusted
from ..data import Batch, SequenceDataset, StaticDataset

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["checked", "frames_of", "moved", "wide_zeros"]


def moved(batch: Batch, model: SequenceVAE, device: torch.device) -> Batch:
    """The batch on ``device``, its real numbers in the model's dtype; the host does not wait for the copy."""
    dtype = next(model.parameters()).dtype
    if device.type == "cpu" and not any(v.is_floating_point() and v.dtype != dtype
                                        for v in (batch.x, *batch.known.values())):
        return batch

    def move(value: Tensor) -> Tensor:
        if device.type == "cuda" and not value.is_cuda:
            value = value.pin_memory().to(device, non_blocking=True)
        return value.to(device, dtype if value.is_floating_point() else value.dtype)

    fields = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
    tensors = {name: move(value) for name, value in fields.items() if isinstance(value, Tensor) and name != "index"}
    return dataclasses.replace(batch, **tensors)  # type: ignore[arg-type]


def checked(data: SequenceDataset | StaticDataset, trust: bool) -> AbstractContextManager[None]:
    """Where ``trust`` is set (each batch has been through the model's checks before), they are skipped."""
    return trusted(missing=data.missing) if trust else nullcontext()


def wide_zeros(number: int, device: torch.device) -> Tensor:
    """Zeros ``(number,)`` to sum many batches into: in double precision, where the device has it."""
    return torch.zeros(number, dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)


def frames_of(data: SequenceDataset | StaticDataset, order: list[Tensor], fabric: Fabric) -> list[int]:
    """Frames (items, of static data) of each batch of an epoch, over all processes."""
    lengths = getattr(data, "lengths", None)
    own = [len(numbers) if lengths is None else int(lengths[numbers].sum()) for numbers in order]
    if fabric.world_size == 1:
        return own
    total = fabric.all_reduce(torch.tensor(own, device=fabric.device), reduce_op="sum")
    return [int(n) for n in total.tolist()]
