"""Batches on their way to a model."""

from __future__ import annotations

import dataclasses
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from ..core import SequenceVAE, trusted
from ..data import Batch, SequenceDataset, StaticDataset

__all__ = ["checked", "frames_of", "moved"]


def moved(batch: Batch, model: SequenceVAE, device: torch.device) -> Batch:
    """The batch on ``device``, its real numbers in the model's dtype; the host does not wait for the copy."""
    dtype = next(model.parameters()).dtype

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


def frames_of(data: SequenceDataset | StaticDataset, order: list[Tensor]) -> list[int]:
    """Frames of each batch (items, of static data)."""
    lengths = getattr(data, "lengths", None)
    return [len(numbers) if lengths is None else int(lengths[numbers].sum()) for numbers in order]
