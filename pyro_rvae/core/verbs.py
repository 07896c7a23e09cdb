"""The five verbs of a body, and what every reading of the loop needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..nn import concat
from ..nn.unfolding import unfolding

if TYPE_CHECKING:
    from .steps import Steps

__all__ = ["OneStep", "Step", "Via", "all_laws", "reads_path", "refuse_gaps", "same", "shift", "unsampled"]

Via = Callable[[Tensor], Tensor]


def same(x: Tensor) -> Tensor:
    return x


def shift(sequence: Tensor, init: Tensor) -> Tensor:
    """The sequence one step later: ``init (..., d)`` first, the last value dropped."""
    reading = unfolding()
    if reading is not None:
        return reading.delayed(sequence, init)
    first = init.unsqueeze(-2).expand(*sequence.shape[:-2], 1, sequence.shape[-1])
    return torch.cat([first, sequence[..., :-1, :]], -2)


def reads_path(conditional: Any) -> bool:
    """Whether a conditional's condition is the whole past of its own site (see :class:`~pyro_rvae.PathLaw`)."""
    return bool(getattr(conditional, "reads_path", False))


def all_laws(conditional: Any, path: Tensor, inputs: tuple[Tensor, ...]) -> Any:
    """The laws of all steps of a site, whose path is known."""
    return conditional(path, *inputs) if reads_path(conditional) else conditional(*inputs)


def refuse_gaps(name: str, conditional: Any, present: Tensor | None) -> None:
    """A law over the path needs all of the past."""
    if present is not None and reads_path(conditional):
        raise ValueError(f"site {name!r} has missing elements, and {type(conditional).__name__}, a law over the whole "
                         "path, would condition on them: use a likelihood of each step.")


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


class OneStep(Step):
    """The verbs of a reading that takes one step at a time."""

    def __init__(self, steps: Steps) -> None:
        self.steps, self.t = steps, 0
        self.state: dict[str, Any] = {}  # of each recurrence
        self._states: dict[str, Any] = {}  # of each law over a path

    def hold(self, value: Tensor) -> Tensor:
        return value

    def law(self, name: str, conditional: Any, inputs: tuple[Tensor, ...], before: Tensor | None) -> Any:
        """The law of this step of a site, ``before`` being its value at the step before (``None`` at the start)."""
        if not reads_path(conditional):
            return conditional(*inputs)
        law, self._states[name] = conditional.step(before, *inputs, state=self._states.get(name))
        return law

    def carry(self, name: str, causal: Any, *inputs: Tensor, init: Tensor | None = None) -> Tensor:
        if self.t == 0:
            self.state[name] = causal.begin(init) if init is not None else None
        state = self.state[name]
        joined = getattr(causal, "step_of", None)
        y, self.state[name] = joined(inputs, state) if joined else causal.step(concat(inputs), state)
        return y  # type: ignore[no-any-return]


def unsampled(name: str) -> ValueError:
    return ValueError(f"prev({name!r}): no site of that name is sampled in this loop, or known in it; "
                      "check the name, or read a value of an earlier loop with steps.path.")
