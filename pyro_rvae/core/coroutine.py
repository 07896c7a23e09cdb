"""A program that pauses in the middle of its loop, and the state of Pyro that belongs to it meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet
from pyro.poutine.runtime import _DIM_ALLOCATOR, _PYRO_STACK

__all__ = ["Coroutine", "wait"]


class Coroutine:
    """A call of ``program`` that may stop anywhere below it, at :func:`wait`, and go on later.

    What Pyro keeps for the program while it runs (the handlers it has entered, the dimensions of its plates) is
    taken off Pyro's global stacks when it stops, and put back when it goes on: two programs that take turns never see
    each other's handlers. Handlers around the call that made the coroutine are around it all the time. Its context
    variables are a copy of the maker's.
    """

    def __init__(self, program: Callable[[], Any]) -> None:
        self._greenlet = greenlet(lambda _: program())
        self._greenlet.gr_context = copy_context()
        self._handlers: list[Any] = []
        self._plates: list[str | None] = list(_DIM_ALLOCATOR._stack)

    @property
    def done(self) -> bool:
        return self._greenlet.dead

    def resume(self, answer: Any = None) -> Any:
        """Run on: what it waits with next, or what it returned."""
        return self._within(lambda: self._greenlet.switch(answer))

    def close(self) -> None:
        """End a program that waits, as if an exception had left it: its handlers are taken down in order."""
        if not self.done:
            self._within(lambda: self._greenlet.throw(GreenletExit))

    def _within(self, go: Callable[[], Any]) -> Any:
        below, plates = len(_PYRO_STACK), _DIM_ALLOCATOR._stack
        _PYRO_STACK.extend(self._handlers)
        _DIM_ALLOCATOR._stack = self._plates
        try:
            return go()
        finally:
            self._handlers, self._plates = _PYRO_STACK[below:], _DIM_ALLOCATOR._stack
            del _PYRO_STACK[below:]
            _DIM_ALLOCATOR._stack = plates


def wait(message: Any = None) -> Any:
    """Stop the coroutine that runs, with a message for whoever resumes it: returns the answer."""
    outer = getcurrent().parent
    assert outer is not None  # only a coroutine waits
    return outer.switch(message)
