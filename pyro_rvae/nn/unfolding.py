"""Reading sequences one frame at a time, as they unfold: what a part that mixes time must know of it.

In the streaming reading each whole sequence that a program sees has length 1: the frame that has just come. What maps
each step by itself works as it stands; what looks back takes a step from a state that is kept; what looks ahead, or at
all of a sequence, says so (:func:`refuse_frames`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

import torch
from torch import Tensor

__all__ = ["Unfolding", "Unstreamable", "frame_by_frame", "refuse_frames", "unfolding"]


class Unstreamable(ValueError):
    """A model that can't be read one frame at a time: its message says why, and what to use instead."""


class Unfolding(Protocol):
    """What a reading of one frame offers to the parts of the program that it reads."""

    batch_shape: torch.Size  # (K, B)
    fresh: bool  # whether the frame is the first of its sequences

    def step(self, steps: Any) -> Any:
        """The step of the program's loop over time."""

    def fold(self, part: Any, u: Tensor, init: Tensor | None) -> Tensor:
        """The outputs ``(..., 1, out_dim)`` of a causal part that reads ``u (..., 1, in_dim)`` from where it stood."""

    def delayed(self, sequence: Tensor, init: Tensor) -> Tensor:
        """The frame ``(..., 1, d)`` that stood before this one, ``init (..., d)`` at the start."""

    def refusal(self, what: str) -> Unstreamable:
        """That ``what`` can't be read so, and what to use instead."""


_unfolding: ContextVar[Unfolding | None] = ContextVar("unfolding", default=None)


def unfolding() -> Unfolding | None:
    """What reads the program that runs one frame at a time, if that is how it is read."""
    return _unfolding.get()


@contextmanager
def frame_by_frame(reading: Unfolding | None) -> Iterator[None]:
    """Within it a program is read one frame at a time; with ``None`` it is not, whatever is around."""
    token = _unfolding.set(reading)
    try:
        yield
    finally:
        _unfolding.reset(token)


def refuse_frames(what: str) -> None:
    """Raise :class:`Unstreamable` where one frame at a time is read: ``what`` looks ahead, or at a whole sequence."""
    reading = _unfolding.get()
    if reading is not None:
        raise reading.refusal(what)
