"""What may look into a training run, and steer it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.checks import check_count
from .history import Row

if TYPE_CHECKING:
    from .trainer import Trainer

__all__ = ["Callback", "Checkpoint"]


class Callback:
    """Subclass it and write the methods that you need; give instances to ``fit(callbacks=[...])``.

    ``state`` is the run: ``state.model``, ``state.optimizer``, ``state.epoch`` (epochs done), ``state.step`` (optimizer
    steps done), ``state.history``, ``state.device``, and ``state.save(folder)``. Setting ``state.stop = True`` ends
    the fit after this step. A callback that draws random numbers from torch's global stream moves that of the training.
    """

    def on_fit_start(self, state: Trainer) -> None:
        """Before the first step; after a resume, everything is as it was."""

    def on_step(self, state: Trainer) -> None:
        """After each optimizer step. Reading a tensor here waits for the GPU."""

    def on_epoch_end(self, state: Trainer, row: Row) -> None:
        """After an epoch and its validation; ``row`` is the history's last."""

    def on_fit_end(self, state: Trainer) -> None:
        """After the last step, when the model has its final weights. Not called if the fit raises."""


class Checkpoint(Callback):
    """Save the run to a folder now and then; ``fit(checkpoint="folder")`` is ``Checkpoint("folder")``.

    The folder given as ``fit(checkpoint=...)`` is also saved to when the run ends, or is interrupted by Ctrl-C.

    Arguments:
        folder: where; it is made. It holds one checkpoint, the newest.
        every: save after each so many optimizer steps; ``None``: at the ends of epochs.
        seconds: with ``every=None``, save at most once in so many seconds, so that short epochs cost nothing.
    """

    def __init__(self, folder: str | os.PathLike[str], *, every: int | None = None, seconds: float = 10.0) -> None:
        if every is not None:
            check_count("Checkpoint: every", every, hint=" (it counts optimizer steps), or None for the ends of epochs")
        if not seconds >= 0:
            raise ValueError(f"Checkpoint: seconds must be at least 0, got {seconds!r}.")
        self.folder, self.every, self.seconds = Path(folder), every, seconds
        self._last = time.monotonic()

    def on_fit_start(self, state: Trainer) -> None:
        self._last = time.monotonic()

    def on_step(self, state: Trainer) -> None:
        if self.every is not None and state.step % self.every == 0:
            state.save(self.folder)

    def on_epoch_end(self, state: Trainer, row: Row) -> None:
        # Saving is a joint act of all processes, so they must agree that it is time.
        if self.every is None and state.agree(time.monotonic() - self._last >= self.seconds):
            state.save(self.folder)
            self._last = time.monotonic()

    def __repr__(self) -> str:
        return f"Checkpoint({str(self.folder)!r}, every={self.every}, seconds={self.seconds})"
