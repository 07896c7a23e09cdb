"""Sequences as what they stand for: drawings, lines of text, letters of DNA."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np

from ..data import DNA, Strokes, Text
from ..data.forms.strokes import lines_of_pen
from .style import DATA, GREY, INK, MODEL, PALE, PAPER, Array, Panels, headline, new_figure

__all__ = ["drawn_as"]

TEAL, RED = "#3a9188", "#b0483a"
LETTERS = {"A": TEAL, "C": MODEL, "G": DATA, "T": RED}
# amino acids: basic, acid, polar; the others are not
ACIDS = dict.fromkeys("KRH", TEAL) | dict.fromkeys("DE", RED) | dict.fromkeys("STCYNQ", DATA)
LINES = 4  # of a text that are shown
ACROSS = 64  # characters of a line of text
WIDEST = 100  # letters of DNA that are shown


def drawn_as(data: Any, shown: list[Array], made: list[Array], name: str) -> Panels | None:
    """Data and samples in the manner of their form; ``None`` for forms that curves or heat maps show.

    Arguments:
        data: a data set with a form.
        shown: its sequences, in raw units (NaN where missing).
        made: samples, in raw units.
        name: of the model.
    """
    title = f"Data (orange), and samples of {name} (blue)"
    if isinstance(data.form, Strokes):
        return _drawings(shown, made, data.form.up, title)
    if isinstance(data.form, Text):
        return _texts(data.form, shown, made, title)
    if isinstance(data.form, DNA):
        return _letters(data.form, shown, made, f"Data (above), and samples of {name} (below)")
    return None


def _drawings(shown: list[Array], made: list[Array], up: bool, title: str) -> Panels:
    """Data above, samples below, each to its own scale; a dot where the pen begins."""
    columns = max(len(shown), len(made))
    figure = new_figure(0.8 + 2 * min(2.2, 12.0 / columns))
    axes = figure.subplots(2, columns, squeeze=False)
    for row, pieces, colour in zip(axes, (shown, made), (DATA, MODEL), strict=True):
        for ax in row:
            ax.set_axis_off()
        for ax, piece in zip(row, pieces, strict=False):
            lines = lines_of_pen(piece[~np.isnan(piece).any(1)], up=up)
            for line in lines:
                ax.plot(*line.T, color=colour, linewidth=2.0, solid_capstyle="round", solid_joinstyle="round")
            ax.plot(*lines[0][0], "o", color=INK, markersize=3.5)
            ax.set_aspect("equal", adjustable="datalim")
            ax.invert_yaxis()
            ax.margins(0.12)
    headline(figure, title)
    return Panels(axes.ravel())


def _texts(form: Text, shown: list[Array], made: list[Array], title: str) -> Panels:
    """Data on the left, samples on the right, a few lines each."""
    sides = []
    for pieces in (shown, made):
        texts = form.vocabulary.decode([np.where(np.isnan(x), 1, x).astype(int) for x in pieces])
        sides.append([_lines(text) for text in texts])
    rows = max(sum(len(text) + (len(text) > 1) for text in side) for side in sides)
    figure = new_figure(0.9 + 0.24 * rows)
    axes = figure.subplots(1, 2)
    for ax, side, colour in zip(axes, sides, (DATA, MODEL), strict=True):
        ax.set_axis_off()
        ax.set_ylim(rows, 0)
        row = 0
        for text in side:
            for line in text:
                ax.text(0.01, row + 0.5, line, family="monospace", fontsize=10.5, color=INK, va="center")
                row += 1
            ax.plot([-0.01] * 2, [row - len(text) + 0.1, row - 0.1], color=colour, linewidth=2.5)
            row += len(text) > 1
        ax.set_xlim(-0.02, 1)
    headline(figure, title)
    return Panels(axes)


def _lines(text: str) -> list[str]:
    """A text broken into lines, the first few of them; a dollar sign is no mathematics."""
    broken = [part for line in text.split("\n") for part in (textwrap.wrap(line, ACROSS) or [""])] or [""]
    shown = broken[:LINES] if len(broken) <= LINES else [*broken[: LINES - 1], broken[LINES - 1][: ACROSS - 2] + " …"]
    return [line.replace("$", r"\$") for line in shown]


def _letters(form: DNA, shown: list[Array], made: list[Array], title: str) -> Panels:
    """A row of coloured letters for each sequence: data above, samples below."""
    from matplotlib.colors import ListedColormap

    letters, known_colours = form.letters + form.ambiguous[0], LETTERS if form.classes == len(LETTERS) else ACIDS
    colours = ListedColormap([*(known_colours.get(letter, MODEL) for letter in form.letters), PALE])
    longest = min(WIDEST, max(len(x) for x in [*shown, *made]))
    figure = new_figure(1.0 + 0.26 * (len(shown) + len(made)))
    axes = figure.subplots(2, 1, height_ratios=[len(shown), len(made)], squeeze=False).ravel()
    for ax, pieces, words, colour in zip(axes, (shown, made), ("data", "model"), (DATA, MODEL), strict=True):
        codes = np.full((len(pieces), longest), np.nan)
        for row, piece in enumerate(pieces):
            known = piece[:longest, 0]
            codes[row, : len(known)] = np.where(np.isnan(known), form.classes, known)
        ax.imshow(np.ma.masked_invalid(codes), cmap=colours, vmin=0, vmax=form.classes, aspect="auto",
                  interpolation="nearest")
        for row, column in np.argwhere(~np.isnan(codes)):
            ax.text(column, row, letters[int(codes[row, column])], color=PAPER, fontsize=min(9.0, 620 / longest),
                    ha="center", va="center", fontweight="bold")
        ax.hlines(np.arange(len(pieces) - 1) + 0.5, -0.5, longest - 0.5, color=PAPER, linewidth=2)
        ax.set_yticks([])
        ax.set_ylabel(words, color=colour)
        ax.tick_params(colors=GREY, length=0, labelsize=9.5, labelbottom=ax is axes[-1])
        for spine in ax.spines.values():
            spine.set_visible(False)
    headline(figure, title)
    return Panels(axes)
