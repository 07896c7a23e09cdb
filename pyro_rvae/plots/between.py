"""Between two sequences, along one latent, and latents exchanged."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from .sequences import FEATURES, side_of
from .style import (
    DATA,
    GREY,
    INK,
    MODEL,
    PALE,
    Array,
    Panels,
    headline,
    needs,
    new_figure,
    spread,
    tidy,
    whole_numbers,
)

__all__ = ["between_plot", "swap_plot"]

COLUMNS = 8  # pictures side by side
SHADES = "Blues"


def between_plot(found: Any) -> Panels:
    """The sequences of an interpolation, or of a traversal, from the first point to the last (of a swap: all four).

    Up to 6 features: a panel each, with a line for every point, from orange (the first) to blue (the last). More
    features: a picture for every point, time to the right. Images: a row of them.

    Arguments:
        found: what :func:`~pyro_rvae.tasks.interpolate` or :func:`~pyro_rvae.tasks.traverse` returned; what
            :func:`~pyro_rvae.tasks.swap` returned goes to :func:`swap_plot`.

    Raises:
        TypeError: it is something else.
    """
    if hasattr(found, "swapped"):
        return swap_plot(found)
    needs(found, "between_plot", "what rv.tasks.interpolate or rv.tasks.traverse returned", "sequences", "model")
    pieces = [np.asarray(x, dtype=float) for x in found.sequences]
    if hasattr(found, "values"):
        how = "shifted by" if found.shifted else "set to"
        title = f"{found.model} along {found.site}[{found.dimension}] ({found.kind}), {how} the values shown"
        marks = [f"{value:+.3g}" for value in found.values]
    else:
        needs(found, "between_plot", "what rv.tasks.interpolate or rv.tasks.traverse returned", "weights", "ids")
        title = f"{found.model}: from {found.ids[0]} to {found.ids[1]}, {found.path} in the latents"
        marks = [f"{weight:.2f}" for weight in found.weights]
    if found.static and side_of(pieces[0]) is None:
        pieces = [piece.reshape(-1, 1) for piece in pieces]  # an item's elements, one after the other
    if pieces[0].ndim == 2 and pieces[0].shape[1] <= FEATURES:
        return _lines(pieces, marks, None if found.static else found.names, title, found.static)
    return _pictures(pieces, marks, title, found.static)


def swap_plot(found: Any) -> Panels:
    """Two sequences as they are decoded, and below with the latents of the other that were exchanged.

    Colours tell whose the kept latents are: orange of the first, blue of the second.

    Arguments:
        found: what :func:`~pyro_rvae.tasks.swap` returned.

    Raises:
        TypeError: it is something else.
    """
    needs(found, "swap_plot", "what rv.tasks.swap returned", "reconstructed", "swapped", "sites", "kept")
    sites, (first, second) = " and ".join(found.sites), found.ids
    pieces = [np.asarray(x, dtype=float) for x in (*found.reconstructed, *found.swapped)]
    titles = [first, second, f"{first}, with {sites} of {second}", f"{second}, with {sites} of {first}"]
    kept = ", ".join(f"{name} ({kind})" for name, kind in found.kept.items())
    title = f"{found.model}: {', '.join(f'{n} ({k})' for n, k in found.sites.items())} exchanged, {kept} kept"
    if found.static and side_of(pieces[0]) is None:
        pieces = [piece.reshape(-1, 1) for piece in pieces]
    few = pieces[0].ndim == 2 and pieces[0].shape[1] <= FEATURES
    figure = new_figure(6.0)
    axes = figure.subplots(2, 2, sharey=few, sharex=few).ravel()
    low, high = spread(np.concatenate([piece.ravel() for piece in pieces]))
    for ax, piece, text, colour in zip(axes, pieces, titles, (DATA, MODEL) * 2, strict=True):
        if few:
            _features(ax, piece, found.names, colour)
        else:
            _picture(ax, piece, low, high, found.static)
        if not few and not found.static:
            ax.set_ylim(*_window(pieces, low, high))
        ax.set_title("\n".join(textwrap.wrap(text, 60)), loc="left", fontsize=10.5, color=colour)
    headline(figure, title)
    return Panels(axes)


# ------------------------------------------------------------------------------------------ few features
def _lines(pieces: Sequence[Array], marks: Sequence[str], names: Any, title: str, static: bool) -> Panels:
    features = pieces[0].shape[1]
    columns = min(features, 3)
    rows = -(-features // columns)
    figure = new_figure(1.3 + 2.6 * rows)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    for i, ax in enumerate(axes):
        if i >= features:
            ax.set_visible(False)
            continue
        for piece, colour, end in zip(pieces, shades(len(pieces)), _ends(len(pieces)), strict=True):
            ax.plot(piece[:, i], color=colour, linewidth=2.0 if end else 1.2, marker="o" if len(piece) == 1 else None,
                    zorder=3 if end else 2)
        tidy(ax, textwrap.shorten(str(names[i]), 40, placeholder="...") if names else f"feature {i + 1}" * (
            features > 1))
        whole_numbers(ax)
        if i + columns >= features:
            ax.set_xlabel("element" if static else "step", color=GREY)
    _scale(figure, axes, marks)
    headline(figure, title)
    return Panels(axes[:features])


def _scale(figure: Any, axes: Any, marks: Sequence[str]) -> None:
    """Which colour is which point."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import BoundaryNorm, ListedColormap

    number = len(marks)
    colours = ScalarMappable(BoundaryNorm(np.arange(number + 1) - 0.5, number), ListedColormap(shades(number)))
    bar = figure.colorbar(colours, ax=list(axes), fraction=0.02, pad=0.01, aspect=40)
    shown = range(0, number, -(-number // 12))
    bar.set_ticks(list(shown), labels=[marks[i] for i in shown])
    bar.minorticks_off()
    bar.ax.tick_params(length=0, labelsize=9, colors=GREY)
    bar.outline.set_visible(False)


def shades(number: int) -> list[Any]:
    """Colours from orange over grey to blue."""
    from matplotlib.colors import to_rgb

    first, last = (np.array(to_rgb(colour)) for colour in (DATA, MODEL))
    return [tuple((1 - w) * first + w * last) for w in np.linspace(0.0, 1.0, number)]


def _ends(number: int) -> list[bool]:
    return [i in (0, number - 1) for i in range(number)]


def _features(axes: Any, piece: Array, names: Any, colour: str) -> None:
    """All features of one sequence in one panel."""
    for i, column in enumerate(piece.T):
        axes.plot(column, color=colour, linewidth=1.6, alpha=1 - 0.6 * i / max(len(piece.T), 2))
        name = textwrap.shorten(str(names[i]), 18, placeholder="...") if names else f"{i + 1}"
        if len(piece.T) > 1:
            axes.annotate(name, (len(column) - 1, column[-1]), xytext=(4, 0), textcoords="offset points", fontsize=8,
                          color=GREY, va="center")
    tidy(axes)
    whole_numbers(axes)


# ------------------------------------------------------------------------------------------ pictures
def _pictures(pieces: Sequence[Array], marks: Sequence[str], title: str, images: bool) -> Panels:
    """One picture a point; of sequences the features that ever differ from the lowest value, with a margin."""
    rows = -(-len(pieces) // COLUMNS)
    columns = -(-len(pieces) // rows)
    figure = new_figure(0.9 + rows * (12.0 / columns + 0.3 if images else max(2.4, 14.0 / columns)))
    axes = figure.subplots(rows, columns, squeeze=False, sharey=not images).ravel()
    low, high = spread(np.concatenate([piece.ravel() for piece in pieces]))
    longest = max(len(piece) for piece in pieces)
    window = _window(pieces, low, high)
    for i, ax in enumerate(axes):
        if i >= len(pieces):
            ax.set_visible(False)
            continue
        _picture(ax, pieces[i], low, high, images)
        if not images:
            ax.set_xlim(-0.5, longest - 0.5)
            ax.set_ylim(*window)
            ax.locator_params(axis="x", nbins=3)
            if i % columns == 0:
                ax.set_ylabel("feature", color=GREY)
        colour = shades(len(pieces))[i]
        ax.set_title(marks[i], loc="left", fontsize=10.5, color=colour if i in (0, len(pieces) - 1) else INK)
    headline(figure, title)
    return Panels(axes[: len(pieces)])


def _window(pieces: Sequence[Array], low: float, high: float) -> tuple[float, float]:
    """The features that are worth a look: from the first to the last that leaves the lowest value."""
    if pieces[0].ndim != 2:
        return -0.5, 0.5
    used = np.flatnonzero(np.max([piece.max(0) for piece in pieces], 0) > low + 0.05 * (high - low))
    width = pieces[0].shape[1]
    return (max(-0.5, used[0] - 2.5), min(width - 0.5, used[-1] + 2.5)) if len(used) else (-0.5, width - 0.5)


def _picture(axes: Any, piece: Array, low: float, high: float, image: bool) -> None:
    """An image, or a sequence as a heat map, time to the right."""
    side = side_of(piece)
    if image and side is not None:
        axes.imshow(piece.reshape(side, side), vmin=low, vmax=high, cmap="gray_r")
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set_color(PALE)
        return
    axes.imshow(np.atleast_2d(piece.T), aspect="auto", origin="lower", vmin=low, vmax=high, cmap=SHADES,
                interpolation="nearest")
    tidy(axes, grid="")
    whole_numbers(axes)
