"""Known inputs of frames that are still to come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["future_controls"]


def future_controls(model: Any, data: Any, horizon: int, controls: Any, caller: str = "forecast") -> Tensor | None:
    """The known inputs of the frames behind each sequence, ``(N, horizon, control_dim)``; None if none are read.

    Arguments:
        model: the model that will read them.
        data: the data set whose sequences are the past, with their controls.
        controls: ``(N, horizon, control_dim)``, ``(horizon, control_dim)`` for all sequences alike, or a list of N.
        caller: for the messages.

    Raises:
        TypeError: they are no numbers.
        ValueError: they are lacking, in the past or in what is to come; nothing reads them; another shape; not finite.
    """
    reads = getattr(getattr(model, "context", None), "control_dim", 0)
    if not data.control_dim and (reads or controls is not None):
        what = f"{type(model).__name__} reads controls ({reads} a step)" if reads else "controls were given"
        raise ValueError(f"{caller}: {what}, and the past has none: a model that reads controls needs those of "
                         "both, so pass a data set with controls, and controls= of the frames to come.")
    if not data.control_dim:
        return None
    wanted = (len(data), horizon, data.control_dim)
    if controls is None:
        raise ValueError(f"{caller}: the model is told controls, and those of the {horizon} frames to come are "
                         f"lacking: pass controls=, of shape (N, horizon, control_dim) = {wanted}.")
    found = _stacked(controls, wanted, caller)
    if not found.isfinite().all():
        raise ValueError(f"{caller}: controls must be finite numbers, since they are known: fill what is missing.")
    return found.to(data.controls)


def _stacked(controls: Any, wanted: tuple[int, int, int], caller: str) -> Tensor:
    if isinstance(controls, str) or not isinstance(controls, Sequence | Tensor | np.ndarray) and not np.ndim(controls):
        raise TypeError(f"{caller}: controls must be numbers, an array (N, horizon, control_dim) = {wanted}, got "
                        f"{controls!r}.")
    parts = [_numbers(part, caller) for part in controls] if isinstance(controls, Sequence) else None
    shapes = sorted({part.shape for part in parts or ()})
    if len(shapes) > 1:
        raise ValueError(f"{caller}: controls must be (horizon, control_dim) = {wanted[1:]} for each of {wanted[0]} "
                         f"sequences, got shapes {shapes}.")
    found = torch.as_tensor(np.stack(parts) if parts else controls if isinstance(controls, Tensor)
                            else _numbers(controls, caller))
    if tuple(found.shape) == wanted[1:]:
        found = found.expand(wanted)
    if tuple(found.shape) != wanted:
        raise ValueError(f"{caller}: controls must be (N, horizon, control_dim) = {wanted}, one row for each frame to "
                         f"come, got {tuple(found.shape)}.")
    return found


def _numbers(part: Any, caller: str) -> np.ndarray[Any, Any]:
    found = np.asarray(part)
    if found.dtype.kind not in "biuf":
        raise TypeError(f"{caller}: controls must be numbers, got {type(part).__name__} of {found.dtype}.")
    return found
