"""One bar for what takes long: draws are counted where a data set is cut into chunks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from tqdm import tqdm

__all__ = ["advance", "expect", "progress"]

_bar: ContextVar[Any] = ContextVar("bar", default=None)


@contextmanager
def progress(label: str, *, shown: bool = True, delay: float = 1.0) -> Iterator[None]:
    """Within it one bar on stderr shows how much of the work that functions of criticism and tasks know of is done.

    Arguments:
        label: stands before the bar.
        shown: False for silence.
        delay: seconds before it appears: what is quick needs none.

    >>> with progress("forecast", shown=False): pass
    """
    bar = tqdm(total=0, desc=label, disable=not shown, delay=delay, dynamic_ncols=True, file=sys.stderr, leave=False,
               bar_format="{l_bar}{bar}| {elapsed}<{remaining}")
    token = _bar.set(bar)
    try:
        yield
    finally:
        _bar.reset(token)
        if bar.format_dict["elapsed"] >= delay:
            bar.refresh()  # tqdm looks at the clock only now and then
            bar.last_print_t = bar.start_t + delay  # it stands there: close() takes it away
        bar.close()


def expect(amount: int) -> None:
    """So many more draws (of a sequence, an item, a window) are about to be made."""
    bar = _bar.get()
    if bar is not None and not bar.disable:
        bar.total += amount


def advance(amount: int) -> None:
    """So many of them are made."""
    bar = _bar.get()
    if bar is not None:
        bar.update(amount)
