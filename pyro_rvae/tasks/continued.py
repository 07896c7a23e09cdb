"""Sequences that begin as they are told to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.handlers import watched_labels
from ..core.tempering import Temperature
from ..criticism.ahead import Array, Plan, ahead, check_forecaster
from ..data import SequenceDataset
from ..data.transforms import raw_units
from .arrays import sequences_of
from .asked import Known
from .inputs import as_data

__all__ = ["Beginnings", "continued"]


@dataclass(frozen=True, eq=False)
class Beginnings:
    """The first frames of each sequence.

    Attributes:
        raw: as they were given, ``(p_i, x_dim)`` each.
        data: the same in the model's units, with labels, and the controls of these frames.
        future: controls of the frames behind them, ``(num, F, control_dim)``, or ``None``.
    """

    raw: list[Tensor]
    data: SequenceDataset
    future: Tensor | None

    @property
    def lengths(self) -> Tensor:
        """Frames of each, ``(num,)``."""
        return self.data.lengths

    @classmethod
    def of(cls, model: Any, prefix: Any, num: int, known: Known) -> Beginnings:
        """Of what a user gave: one for all sequences, or one for each."""
        if model.static:
            raise ValueError(f"generate: {type(model).__name__} is static, its items have no beginning: leave prefix "
                             "out.")
        data = as_data(model, prefix, "generate")
        check_forecaster(model, data, "generate")
        raw = _as_given(model, prefix, data)
        if len(data) not in (1, num):
            raise ValueError(f"generate: prefix must be one sequence, or one for each of {num}, got {len(data)}.")
        if len(data) < num:
            data, raw = data.subset([0] * num), raw * num
        return cls(raw, *_told(model, data, known))


def _as_given(model: Any, prefix: Any, data: Any) -> list[Tensor]:
    """The sequences in raw units, with no rounding by the way to the model's and back."""
    if hasattr(prefix, "padded"):
        return list(torch.split(raw_units(prefix, prefix.values).cpu(), prefix.lengths.tolist()))
    rows = sequences_of(model, prefix, "generate")
    given = (row.detach().cpu() if isinstance(row, Tensor) else torch.as_tensor(np.asarray(row)) for row in rows)
    return [row.to(data.values.dtype) for row in given]


def _told(model: Any, data: Any, known: Known) -> tuple[SequenceDataset, Tensor | None]:
    """The beginnings with the labels and controls that were asked for; and the controls behind them."""
    if known.labels is None and known.controls is None:
        return data, None
    labels = data.labels if known.labels is None else known.labels
    lengths, controls, future = data.lengths.tolist(), data.controls, None
    if known.controls is not None:
        if known.controls.shape[1] < max(lengths):
            raise ValueError(f"generate: controls are given for {known.controls.shape[1]} frames, and a prefix has "
                             f"{max(lengths)}: they are for all frames of the result.")
        pairs = list(zip(known.controls.cpu(), lengths, strict=True))
        controls = torch.cat([inputs[:past] for inputs, past in pairs])
        behind = [inputs[past:] for inputs, past in pairs]
        future = torch.nn.utils.rnn.pad_sequence(behind, batch_first=True)
    told = SequenceDataset(data.values, data.lengths, labels=labels, controls=controls, names=data.names,
                           kind=data.kind, classes=data.classes, transform=data.transform)
    return told, future


def continued(model: Any, begun: Beginnings, lengths: Tensor | None, known: Known, batch_size: int,
              temperature: Temperature) -> list[Tensor]:
    """The sequences ``(T_i, x_dim)`` in raw units, from torch's random state; labels that are not read are refused."""
    assert lengths is not None  # a static model has no beginnings
    past = begun.lengths.numpy()
    plan = Plan(np.arange(len(past)), past, lengths.numpy())
    made: list[Tensor] = [torch.empty(0, device="cpu")] * len(past)

    def join(rows: list[int], draws: range, x: Array) -> None:
        for j, row in enumerate(rows):
            drawn = torch.from_numpy(x[0, j, : plan.size[row] - plan.past[row]].copy())
            made[row] = torch.cat([begun.raw[row].to(drawn.dtype), drawn])

    seed = int(torch.randint(2**62, (), device="cpu"))
    with watched_labels() as read:
        ahead(model, begun.data, plan, 1, join, seed=seed, batch_size=batch_size, controls=begun.future,
              temperature=temperature)
    if not read:
        known.refuse_labels(model)
    return made
