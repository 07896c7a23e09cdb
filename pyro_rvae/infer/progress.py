"""One bar for a whole run."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from tqdm import tqdm

__all__ = ["Progress"]


class Progress:
    """A tqdm bar over all batches of all epochs, with minus the ELBO (not annealed) and its parts in nats per frame.

    Arguments:
        total: batches of the whole run. done: those already done (a resumed run).
        shown: False for silence.
        read: gives the epoch's means so far, ``(elbo, reconstruction, kl, ...)``. It waits for the device, so it is
            called at most twice a second.
    """

    def __init__(self, total: int, done: int, *, shown: bool, read: Callable[[], tuple[float, ...]]) -> None:
        self._bar = tqdm(total=total, initial=done, disable=not shown, unit="batch", dynamic_ncols=True,
                         file=sys.stderr)
        self._shown, self._read, self._next, self._valid = shown, read, 0.0, ""

    def advance(self, epoch: int, epochs: int) -> None:
        """After a batch of ``epoch`` (0 for the first)."""
        if not self._shown:
            return
        now = time.monotonic()
        if now >= self._next:
            elbo, reconstruction, kl, *_ = self._read()
            self._bar.set_description_str(f"epoch {epoch + 1}/{epochs}", refresh=False)
            self._bar.set_postfix_str(f"elbo {elbo:.3f} recon {reconstruction:.3f} kl {kl:.3f}{self._valid}",
                                      refresh=False)
            self._next = now + 0.5
        self._bar.update(1)

    def validated(self, cost: float) -> None:
        """Show the latest validation cost."""
        self._valid, self._next = f" valid {cost:.3f}", 0.0

    def message(self, text: str) -> None:
        """A line for the user, whether the bar is shown or not."""
        tqdm.write(text, file=sys.stderr)

    def close(self) -> None:
        self._bar.close()
