"""What is asked of generated sequences: their lengths, the controls and labels they are given, where they end."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core import SequenceVAE
from ..core.checks import check_count
from ..criticism.chunks import like_of
from .inputs import label_codes

__all__ = ["Known", "check_end", "drawn_lengths", "until"]


@dataclass(frozen=True, eq=False)
class Known:
    """Controls ``(num, T, control_dim)`` and labels ``(num, ...)``, or ``None``."""

    controls: Tensor | None = None
    labels: Tensor | None = None

    @classmethod
    def of(cls, model: Any, num: int, controls: Any, labels: Any) -> Known:
        """As a model takes them; labels may be one number for all."""
        if labels is not None:
            labels = _labels(model, labels, num)
        if controls is not None:
            controls = _numbers("controls", controls, like_of(model))
        for name, value in {"controls": controls, "labels": labels}.items():
            if value is not None and len(value) != num:
                raise ValueError(f"generate: {name} must have one row for each of {num} sequences, got {len(value)}")
        if controls is not None and controls.dim() != 3:
            raise ValueError(f"generate: controls must be (num, length, control_dim), got {tuple(controls.shape)}.")
        return cls(controls, labels)

    def of_rows(self, rows: Tensor, device: torch.device) -> dict[str, Tensor]:
        """Those of some sequences, by name."""
        found = {"controls": self.controls, "labels": self.labels}
        return {name: value[rows].to(device) for name, value in found.items() if value is not None}

    def refuse_labels(self, model: Any) -> None:
        """Say that labels, if there are any, would be ignored: the model (one of this library) has read none."""
        if self.labels is None or not isinstance(model, SequenceVAE):
            return
        raise ValueError(f"generate: labels were given, and {type(model).__name__} reads none: to generate by label "
                         "build it with context=rv.Context.for_data(data) and train it so, or leave them out.")


def _labels(model: Any, labels: Any, num: int) -> Tensor:
    """Labels ``(num, ...)`` of the type that the model reads; refused if training has not seen them."""
    if getattr(model, "needs_labels", False):
        raise ValueError(f"generate: {type(model).__name__} predicts labels from latents, and does not draw by label: "
                         "leave them out (rv.tasks.predict_labels labels what was drawn), or train a model with "
                         "context=rv.Context.for_data(data).")
    given = _numbers("labels", labels, like_of(model))
    given = label_codes(model, given, "generate")
    if not given.is_floating_point() and bool(getattr(getattr(model, "context", None), "label_dim", 0)):
        given = given.to(like_of(model).dtype)
    if not given.dim():
        given = given.expand(num)
    card = getattr(model, "data_card", None)
    if card is not None and card.labels is not None and not given.is_floating_point():
        strange = sorted(set(given.flatten().tolist()) - {*card.labels, -1})
        if strange:
            raise ValueError(f"generate: the label {strange[0]} was never seen in training; known are "
                             f"{_listed(card.labels)} (and -1 where one is unknown).")
    return given


def _numbers(name: str, given: Any, like: Tensor) -> Tensor:
    """A tensor: integers as codes, numbers in the precision of the model."""
    try:
        made = given if isinstance(given, Tensor) else torch.as_tensor(np.asarray(given))
    except (TypeError, ValueError) as error:
        raise TypeError(f"generate: {name} must be numbers (a tensor, an array), got "
                        f"{type(given).__name__}.") from error
    return made.to(like.dtype) if made.is_floating_point() else made.long()


def _listed(values: tuple[int, ...]) -> str:
    """Numbers, as a sentence has them."""
    if len(values) > 12 and values == tuple(range(values[0], values[-1] + 1)):
        return f"{values[0]} to {values[-1]}"
    return ", ".join(map(str, values[:12])) + (", ..." if len(values) > 12 else "")


# ------------------------------------------------------------------------------------------------ lengths
def drawn_lengths(model: Any, num: int, length: Any, known: Known, past: Tensor | None) -> Tensor | None:
    """Frames of each sequence ``(num,)``, on the CPU; ``None`` of a static model. ``past``: of the prefixes."""
    name = type(model).__name__
    if model.static:
        if length is not None or past is not None:
            what, why = ("prefix", "beginning") if past is not None else ("length", "length")
            raise ValueError(f"generate: {name} is static, its items have no {why}: leave {what} out")
        return None
    if isinstance(length, str):
        return _from_training(model, num, length, known, past)
    if length is None and known.controls is not None:
        length = known.controls.shape[1]
    check_count("generate: length", length, hint=" ('training' draws lengths from those of the training data)")
    if known.controls is not None and known.controls.shape[1] != length:
        raise ValueError(f"generate: controls are given for {known.controls.shape[1]} frames, and length is {length}: "
                         "leave length out, and the controls fix it.")
    if past is not None and int(past.max()) >= length:
        raise ValueError(f"generate: a prefix has {int(past.max())} frames, and length, which counts them, is "
                         f"{length}: ask for more.")
    return torch.full((num,), int(length), device="cpu")


def _from_training(model: Any, num: int, length: str, known: Known, past: Tensor | None) -> Tensor:
    """Lengths drawn from those of the training sequences; with a prefix, from those that are longer."""
    name, card = type(model).__name__, getattr(model, "data_card", None)
    if length != "training":
        raise ValueError(f"generate: length must be an integer, or 'training', got {length!r}.")
    if known.controls is not None:
        raise ValueError("generate: controls fix the length, so it is not drawn from the training data's: leave length "
                         "out.")
    if card is None or not card.lengths:
        raise ValueError(f"generate: length='training' draws from the lengths of the training data, and this {name} "
                         "remembers none (its data_card is missing): build it with for_data, or give a number.")
    values = torch.tensor(sorted(card.lengths), device="cpu")
    counts = torch.tensor([float(card.lengths[value]) for value in values.tolist()], device="cpu").expand(num, -1)
    if past is not None:
        counts = counts * (values > past[:, None])
        if bool((counts.sum(-1) == 0).any()):
            raise ValueError(f"generate: a prefix has {int(past.max())} frames, and the longest training sequence "
                             f"{int(values[-1])}: give the length as a number.")
    return values[torch.multinomial(counts, 1).squeeze(-1)]


# ------------------------------------------------------------------------------------------------ ends
def check_end(model: Any, end: int) -> None:
    """Refuse an end symbol that the model cannot draw."""
    classes, width = getattr(getattr(model, "reader", None), "classes", None), getattr(model, "x_dim", None)
    if classes is None or width != 1 or model.static:
        raise ValueError(f"generate: end is the code of an end symbol, so it goes with sequences of one channel of "
                         f"codes (text, x (B, T, 1)), and {type(model).__name__} draws other data; leave it out.")
    if isinstance(end, bool) or not isinstance(end, Integral) or not 0 <= end < classes:
        raise ValueError(f"generate: end must be a code of the model, 0 to {classes - 1}, got {end!r}.")


def until(codes: Tensor, end: int, start: int = 0) -> Tensor:
    """Codes ``(T, 1)`` up to the first ``end`` from frame ``start`` on, and with it; all where there is none."""
    found = (codes[start:] == end).flatten().nonzero()
    return codes[: start + int(found[0]) + 1] if len(found) else codes
