"""What a check was asked for: how to draw, and which functions of a sequence to take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .replicates import Replicates

__all__ = ["PATHS", "check_draw", "check_functions", "drawn"]

PATHS = ("free_running", "from_prefix")  # draws whose frames follow from each other, as those of the data do


def check_draw(draw: Any) -> None:
    """Refuse what makes no replicates, and ``from_prefix`` without its prefix.

    Raises:
        TypeError: a name, anything else that can't be called, or ``from_prefix`` itself.
    """
    if isinstance(draw, Replicates):
        return
    if not callable(draw):
        name = f"the function itself: draw={draw}" if isinstance(draw, str) and draw.isidentifier() else \
            "draw=free_running"
        raise TypeError(f"draw must be a function such as one_step, or Replicates, got {type(draw).__name__} "
                        f"{draw!r:.40}: pass {name}.")
    if getattr(draw, "__name__", "") == "from_prefix":
        raise TypeError("draw must be a function of model, data and num, and from_prefix has to be told its prefix: "
                        "pass functools.partial(from_prefix, prefix=16), or prefix=0.5 for half of each sequence.")


def drawn(draw: Any, model: Any, data: Any, num: int, **how: Any) -> Replicates:
    """The replicates themselves, or those that the function makes.

    Raises:
        TypeError: as :func:`check_draw`, or a function that returns something else.
    """
    check_draw(draw)
    made = draw if isinstance(draw, Replicates) else draw(model, data, num, **how)
    if not isinstance(made, Replicates):
        raise TypeError(f"draw must return Replicates, as free_running does; got {type(made).__name__}.")
    return made


def check_functions(functions: Any, caller: str, what: str) -> None:
    """Refuse statistics that are no mapping of names to functions.

    Raises:
        TypeError: a function without a name, or a list of them.
        ValueError: none at all, or one that can't be called.
    """
    if not isinstance(functions, Mapping):
        raise TypeError(f"{caller} takes each {what} by its name, a dictionary such as {{'mean': statistics.mean}}; "
                        f"got {'a function' if callable(functions) else type(functions).__name__}.")
    if not functions or not all(callable(function) for function in functions.values()):
        raise ValueError(f"{caller} needs at least one {what}, by name, each a function of a sequence (T, x_dim); got "
                         f"{dict(functions) or 'none'}.")
