"""Ctrl-C, at a moment when the state of a run is whole."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Self

__all__ = ["Interrupts", "farewell"]


class Interrupts:
    """Within it the first Ctrl-C only sets ``seen``, to be read between two steps; the second one raises.

    So an optimizer step is never cut in two. A handler that the user has installed is left alone, as is any thread
    but the main one (Python delivers signals there).

    Arguments:
        active: False leaves Ctrl-C as it is: of several processes each would stop at another step.
    """

    def __init__(self, *, active: bool = True) -> None:
        self.seen, self._active = False, active
        self._mine = False

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.seen:
            raise KeyboardInterrupt
        self.seen = True

    def __enter__(self) -> Self:
        self._mine = (self._active and threading.current_thread() is threading.main_thread()
                      and signal.getsignal(signal.SIGINT) is signal.default_int_handler)
        if self._mine:
            signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if self._mine:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def farewell(epoch: int, step: int, wanted: bool, saved_in: str | None, whole: bool) -> str:
    """What to tell a user who has pressed Ctrl-C.

    Arguments:
        wanted: whether the run was to be saved. saved_in: the folder that it was saved to, if it was.
        whole: whether it stopped between two steps.
    """
    where = f"interrupted in epoch {epoch + 1}, after step {step}; "
    if saved_in is not None:
        return where + f"{saved_in} holds {'this' if whole else 'an earlier'} step: go on with fit(..., resume=True)."
    reason = "the step was not finished" if wanted else "fit was given no checkpoint folder"
    return where + f"nothing was saved, since {reason}."
