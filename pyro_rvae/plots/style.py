"""The look that all plots share, and what they return."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..data.atomic import atomic

__all__ = ["DATA", "GREY", "INK", "LABELS", "MODEL", "PALE", "PAPER", "SOFT", "WARN", "Panels", "save"]

Array = NDArray[Any]

INK, GREY, PALE, PAPER = "#1f2a37", "#6b7885", "#e4e8ec", "#ffffff"
MODEL, SOFT, DATA, WARN = "#2f6fb7", "#a9c6e8", "#e08a2c", "#c0392b"
LABELS = (MODEL, DATA, "#3a9188", "#8a5fa8", "#b0483a", "#7a8b2f", "#c76b98", "#5b6673", "#caa32b", "#2b4c7e")
WIDTH = 12.0  # inches, at 100 dots an inch


class Panels(tuple[Any, ...]):
    """The matplotlib axes of a plot, in reading order; a notebook shows the figure, without pyplot.

    >>> panels = plots.bounds_plot(evaluation)            # doctest: +SKIP
    >>> panels[0].set_xlabel("mine")                      # doctest: +SKIP
    >>> plots.save(panels, "bounds.png")                  # doctest: +SKIP
    """

    def __new__(cls, axes: Iterable[Any]) -> Self:
        return super().__new__(cls, axes)

    @property
    def figure(self) -> Any:
        """The matplotlib ``Figure`` that they stand in."""
        found = self[0].figure
        while found.figure is not None and found.figure is not found:  # out of a sub-figure
            found = found.figure
        return found

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png")
        return buffer.getvalue()

    def __repr__(self) -> str:
        title = title_of(self)
        return f"Panels({len(self)} axes{f': {title}' if title else ''})"


def title_of(panels: Panels) -> str:
    """What a plot says of itself, in one line: the figure's title, or that of its first axes."""
    above = panels.figure.get_suptitle()
    return " ".join(str(above or panels[0].get_title(loc="left")).split())


def save(panels: Any, path: str | Path) -> None:
    """Write a plot as an image, whole or not at all; the ending of ``path`` (.png, .pdf, .svg) tells the format.

    :param panels: what a plot returned, or a matplotlib ``Figure``.
    :raises ValueError: if the folder does not exist.
    """
    figure = panels.figure if isinstance(panels, Panels) else panels
    ending = Path(path).suffix.removeprefix(".") or "png"
    with atomic(path) as file:
        figure.savefig(file, format=ending)


def needs(found: Any, function: str, wanted: str, *attributes: str) -> None:
    """Refuse what lacks an attribute that a plot reads: it's a result of another function.

    Raises:
        TypeError: what was expected, and what came.
    """
    missing = [name for name in attributes if not hasattr(found, name)]
    if missing:
        raise TypeError(f"{function} needs {wanted}; got {type(found).__name__}, which has no {missing[0]!r}.")


def new_figure(height: float) -> Any:
    """An empty figure of the house's width; ``height`` in inches. It knows nothing of pyplot."""
    from matplotlib.figure import Figure  # matplotlib takes longer to import than the rest of this library

    return Figure(figsize=(WIDTH, height), dpi=100, facecolor=PAPER, layout="constrained")


def one_panel(axes: Any, height: float) -> Any:
    """The user's own axes, or those of a new figure."""
    return new_figure(height).add_subplot() if axes is None else axes


def headline(figure: Any, text: str) -> None:
    """The finding in words, on the left, over all panels."""
    figure.suptitle(textwrap.fill(text, 118), x=0.01, ha="left", fontsize=14, color=INK, fontweight="bold")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.10, wspace=0.04, hspace=0.06)


def finished(axes: Any, given: Any, text: str) -> Panels:
    """One panel with its finding: over the figure, or, in the user's own axes, over these."""
    if given is None:
        headline(axes.figure, text)
    else:
        axes.set_title(text, loc="left", fontsize=10.5, color=INK)
    return Panels([axes])


def tidy(axes: Any, title: str = "", *, grid: str = "y", colour: str = INK) -> None:
    """No frame but the lower line, faint grid behind, title on the left."""
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GREY)
    axes.tick_params(colors=GREY, length=0, labelsize=9.5)
    axes.tick_params(axis="x", length=3)
    if grid:
        axes.grid(axis=grid, color=PALE, linewidth=0.9)
    axes.set_axisbelow(True)
    axes.set_title(title, loc="left", fontsize=10.5, color=colour)


def whole_numbers(axes: Any) -> None:
    """Steps and epochs are counted in whole numbers."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))


def legend(axes: Any, **more: Any) -> None:
    """A legend without a frame."""
    axes.legend(**({"frameon": False, "fontsize": 9.5, "labelcolor": INK} | more))


def short(value: float) -> str:
    """Two digits after the point, three of small numbers."""
    return f"{value:.2f}" if abs(value) >= 0.095 else f"{value:.3f}"


def spread(values: Array) -> tuple[float, float]:
    """Lowest and highest number, apart by something."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    return (low, high) if high > low else (low - 0.5, high + 0.5)
