"""Piano rolls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from .style import DATA, GREY, INK, MODEL, PALE, SOFT, WARN, Array, Panels, headline, new_figure, tidy

__all__ = ["compared_rolls", "corner", "is_music", "piano_rolls"]

Corners = list[tuple[float, float]]
Colours = dict[str, list[Corners]]  # boxes by their colour

KEYS = 88
BLACK = (1, 3, 6, 8, 10)  # keys of an octave


def is_music(data: Any) -> bool:
    """Whether a data set is piano rolls: binary, 88 keys, in time."""
    return bool(hasattr(data, "lengths") and data.kind == "binary" and data.x_dim == KEYS)


def piano_rolls(
    rolls: Sequence[Any],
    *,
    titles: Sequence[str] | None = None,
    title: str = "",
    lowest: int = 21,
    quarter: int = 1,
    bar: int = 4,
    columns: int = 2,
) -> Panels:
    """Several pieces as piano rolls in a grid; the highest voice stands out, notes that go on are one bar.

    Arguments:
        rolls: pieces ``(T_i, keys)``, arrays or tensors; a key sounds where the number is above 0.
        titles: one for each piece.
        title: of the whole figure.
        lowest: MIDI number of the first key (21: A0 of a piano).
        quarter: frames of a quarter note; bar: quarters of a bar.
        columns: pieces side by side.

    Raises:
        TypeError: no list of rolls.
        ValueError: no rolls, or one that is not ``(T, keys)``.
    """
    if not isinstance(rolls, Sequence | np.ndarray | Tensor):
        raise TypeError(f"piano_rolls needs a list of rolls, arrays of shape (T, keys); got {type(rolls).__name__}.")
    pieces = [np.asarray(roll) > 0 for roll in rolls]
    if not pieces or any(piece.ndim != 2 for piece in pieces):
        shapes = [piece.shape for piece in pieces]
        raise ValueError(f"piano_rolls needs at least one roll of shape (T, keys), got {shapes or 'none'}.")
    columns = min(columns, len(pieces))
    shown = [(titles[i] if titles else f"{i + 1}", _voices(piece, lowest)) for i, piece in enumerate(pieces)]
    panels = _grid(pieces, shown, lowest, quarter, bar, columns)
    headline(panels.figure, title)
    panels.figure.text(0.995, 0.985, "■ highest voice", color=DATA, fontsize=10, ha="right", va="top")
    return panels


def compared_rolls(pairs: Sequence[tuple[Any, Any]], titles: Sequence[str], *, lowest: int = 21) -> Panels:
    """Data and what was made of them, one upon the other: notes in both, notes missed, notes too many.

    Arguments:
        pairs: rolls ``(T_i, keys)`` of the data, and of the model on the same grid.
        titles: one for each pair.
    """
    both = [(np.asarray(data) > 0, np.asarray(model) > 0) for data, model in pairs]
    shown = [
        (title, {SOFT: _boxes(x & y, lowest), DATA: _boxes(x & ~y, lowest), WARN: _boxes(y & ~x, lowest)})
        for title, (x, y) in zip(titles, both, strict=True)
    ]
    panels = _grid([x | y for x, y in both], shown, lowest, 1, 4, min(2, len(both)))
    corner(panels.figure, [("in both", SOFT), ("missed", DATA), ("too many", WARN)])
    return panels


def corner(figure: Any, words: Sequence[tuple[str, str]]) -> None:
    """A key of coloured words under the figure's title, on the right."""
    right = 0.995
    for word, colour in reversed(words):
        figure.text(right, 0.985, f"■ {word}", color=colour, fontsize=10, ha="right", va="top")
        right -= 0.0068 * (len(word) + 4)


def _grid(
    pieces: list[Array],
    shown: list[tuple[str, Colours]],
    lowest: int,
    quarter: int,
    bar: int,
    columns: int,
) -> Panels:
    """One keyboard a piece, all of one range, with the notes as coloured boxes."""
    from matplotlib.collections import PolyCollection

    rows = -(-len(pieces) // columns)
    low, high = _range(pieces, lowest)
    figure = new_figure(0.75 + rows * (2.0 + (high - low) / 30))
    frames = max(len(piece) for piece in pieces)
    for i, (piece, (title, boxes)) in enumerate(zip(pieces, shown, strict=True)):
        axes = figure.add_subplot(rows, columns, i + 1)
        axes.set_xlim(0, frames)
        _keyboard(axes, low, high, len(piece), quarter * bar, _every(-(-frames // (quarter * bar))))
        for colour, corners in boxes.items():
            axes.add_collection(PolyCollection(corners, facecolors=colour, edgecolors="none", zorder=3))
        axes.set_title(title, loc="left", fontsize=11, color=INK)
        if i % columns:
            axes.tick_params(labelleft=False)
        if i + columns >= len(pieces):
            axes.set_xlabel(f"bars of {bar} quarters", color=GREY, fontsize=10, loc="left")
    return Panels(figure.axes)


def _range(pieces: list[Array], lowest: int) -> tuple[int, int]:
    """Lowest and highest pitch to show, with a margin; at least an octave."""
    used = np.flatnonzero(np.any([piece.any(0) for piece in pieces], 0)) + lowest if pieces else np.array([])
    if not len(used):
        return 60, 72
    return min(int(used[0]) - 2, int(used[-1]) - 10), max(int(used[-1]) + 2, int(used[0]) + 10)


def _keyboard(axes: Any, low: int, high: int, length: int, bar: int, every: int) -> None:
    """Rows of keys, octave labels and bar lines, as far as the piece goes."""
    axes.set_ylim(low - 0.5, high + 0.5)
    pitches = range(low, high + 1)
    axes.barh(
        [p for p in pitches if p % 12 in BLACK], length, height=1.0, color="#f1f3f6", linewidth=0, zorder=0
    )
    octaves = [p for p in pitches if p % 12 == 0]
    axes.hlines([p - 0.5 for p in octaves], 0, length, color="#c9d1d8", linewidth=0.8, zorder=1)
    axes.vlines(range(0, length + 1, bar), low - 0.5, high + 0.5, color=PALE, linewidth=0.9, zorder=1)
    axes.set_yticks(octaves, [f"C{p // 12 - 1}" for p in octaves])
    bars = -(-length // bar)
    axes.set_xticks([b * bar for b in range(0, bars, every)], [str(b + 1) for b in range(0, bars, every)])
    tidy(axes, grid="")
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(axis="x", length=0)


def _every(bars: int) -> int:
    """Bars from one label to the next."""
    return next(step for step in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, bars) if bars / step <= 12)


def _boxes(piece: Array, lowest: int) -> list[Corners]:
    """A box for each run of frames in which a key sounds."""
    found = []
    for key in np.flatnonzero(piece.any(0)):
        on = np.concatenate([[0], piece[:, key].astype(int), [0]])
        for start, stop in zip(np.flatnonzero(np.diff(on) > 0), np.flatnonzero(np.diff(on) < 0), strict=True):
            y, left, right = int(key) + lowest, float(start) + 0.06, float(stop) - 0.06
            found.append([(left, y - 0.42), (right, y - 0.42), (right, y + 0.42), (left, y + 0.42)])
    return found


def _voices(piece: Array, lowest: int) -> Colours:
    """The notes that lie highest for most of their time, and the others."""
    top = np.where(piece.any(1), piece.shape[1] - 1 - piece[:, ::-1].argmax(1), -1)
    voices: Colours = {MODEL: [], DATA: []}
    for box in _boxes(piece, lowest):
        start, stop, key = round(box[0][0] - 0.06), round(box[1][0] + 0.06), round(box[0][1] + 0.42) - lowest
        voices[DATA if (top[start:stop] == key).mean() > 0.5 else MODEL].append(box)
    return voices
