"""The five verbs of a body, and what every reading of the loop needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .steps import Steps

__all__ = ["Step", "Via", "check_law", "same", "shift", "unsampled"]

Via = Callable[[Tensor], Tensor]


def same(x: Tensor) -> Tensor:
    return x


def shift(sequence: Tensor, init: Tensor) -> Tensor:
    """The sequence one step later: ``init (..., d)`` first, the last value dropped."""
    first = init.unsqueeze(-2).expand(*sequence.shape[:-2], 1, sequence.shape[-1])
    return torch.cat([first, sequence[..., :-1, :]], -2)


def check_law(fn: Any, name: str) -> None:
    if getattr(fn, "event_dim", None) != 1:
        got = f"event_dim {fn.event_dim}" if hasattr(fn, "event_dim") else type(fn).__name__
        raise ValueError(f"site {name!r}: a conditional must return a distribution over the vector of one frame, "
                         f"with event_dim 1 (often `.to_event(1)` is missing); got {got}.")


class Step:
    """The five verbs. ``steps`` is the loop they belong to; ``t`` the number of the step, where there is one."""

    steps: Steps

    def hold(self, value: Tensor) -> Tensor:
        """What is known once a sequence, ``(..., d)``, as a value at every step."""
        raise NotImplementedError

    def at(self, sequence: Tensor, via: Via = same) -> Tensor:
        """The value of ``sequence (..., T, d)`` at this step, through ``via`` (a pointwise map)."""
        raise NotImplementedError

    def prev(self, name: str, init: Tensor, via: Via = same) -> Tensor:
        """The value of site ``name`` at the step before, ``init (d,)`` at the start, through ``via``."""
        raise NotImplementedError

    def carry(self, name: str, causal: Any, *inputs: Tensor, init: Tensor | None = None) -> Tensor:
        """A recurrence: the output of a causal part that has read ``inputs`` up to this step.

        ``init (..., causal.state_dim)`` is its state before the first step (zero if not given).
        """
        raise NotImplementedError

    def sample(self, name: str, conditional: Any, *inputs: Tensor) -> Tensor:
        """Draw, or observe, site ``name`` from ``conditional(*inputs)``."""
        raise NotImplementedError


def unsampled(name: str) -> ValueError:
    return ValueError(f"prev({name!r}): no site of that name is sampled in this loop, or known in it; "
                      "check the name, or read a value of an earlier loop with steps.path.")
