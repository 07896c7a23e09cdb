"""Sequences (or items) themselves: data beside what the model makes, and what it makes of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..criticism.chunks import check_data
from ..criticism.replicates import observed_sequences, reconstructed
from .forms import drawn_as
from .music import compared_rolls, corner, is_music, piano_rolls
from .style import (
    DATA,
    GREY,
    INK,
    MODEL,
    PALE,
    SOFT,
    Array,
    Panels,
    headline,
    needs,
    new_figure,
    spread,
    tidy,
    whole_numbers,
)

__all__ = ["reconstruction_plot", "sequences_plot"]

LEAST = 12  # pixels that an image has at a side
FEATURES = 6  # rows of panels, a feature each; more are shown as a heat map (with reconstructions: are left out)


# ------------------------------------------------------------------------------------------------ samples
def sequences_plot(data: Any, samples: Iterable[Any], *, num: int = 3, name: str = "model") -> Panels:
    """Sequences of the data beside samples, on one scale.

    Piano rolls side by side; drawings, text and DNA as such, where that is the data set's form; up to 6 features in a
    row each, data on the left; otherwise data above, samples below.

    Arguments:
        data: a data set; its first ``num`` sequences are shown, in raw units (a gap where one is missing).
        samples: ``(T, x_dim)`` each (of static data ``event_shape``), in raw units, as
            :func:`~pyro_rvae.generate` makes them.
        num: how many of each.
        name: the model's.

    Raises:
        TypeError: ``data`` is no data set.
        ValueError: no samples.
    """
    needs(data, "sequences_plot", "one data set, such as data.test, and samples", "padded", "subset")
    made = [np.asarray(sample, dtype=float) for sample in list(samples)[:num]]
    if not made:
        raise ValueError("sequences_plot needs at least one sample, an array (T, x_dim); got none.")
    shown = shown_sequences(data, num)
    if is_music(data):
        rolls = [roll for x, y in zip(shown, made, strict=False) for roll in (x[: len(y)], y)]
        titles = [t for i in range(len(rolls) // 2) for t in (f"data: {name_of(data, i)}", f"sample {i + 1}")]
        return piano_rolls(rolls, titles=titles, title=f"Data, and samples of {name}")
    drawn = drawn_as(data, shown, made, name)
    if drawn is not None:
        return drawn
    if shown[0].ndim == 2 and shown[0].shape[1] <= FEATURES:
        return _features(data, shown, made, name)
    return _two_rows(shown, made, f"Data (above), and samples of {name} (below)")


def _features(data: Any, shown: list[Array], made: list[Array], name: str) -> Panels:
    """A row for each feature: sequences of the data, then samples."""
    pieces = [*shown, *made]
    figure = new_figure(0.9 + 1.9 * data.x_dim)
    axes = figure.subplots(data.x_dim, len(pieces), squeeze=False, sharey="row", sharex=True)
    for j, piece in enumerate(pieces):
        ours = j >= len(shown)
        for i, column in enumerate(piece.T):
            axes[i][j].plot(column, linewidth=1.3, color=MODEL if ours else DATA, drawstyle=_style(data))
            tidy(axes[i][j])
            whole_numbers(axes[i][j])
        over = f"sample {j - len(shown) + 1}" if ours else f"data: {name_of(data, j)}"
        axes[0][j].set_title(over, loc="left", fontsize=10.5, color=INK)
        axes[-1][j].set_xlabel("step", color=GREY)
    for i in range(data.x_dim):
        axes[i][0].set_ylabel(feature_name(data, i), color=INK)
    headline(figure, f"Data (orange), and samples of {name} (blue)")
    return Panels(axes.ravel())


def _style(data: Any) -> str:
    """Codes and counts stay where they are for a step; real numbers are joined."""
    return "default" if data.kind == "real" else "steps-mid"


def feature_name(data: Any, i: int) -> str:
    """A feature's name, or its number."""
    return data.names[i] if data.names is not None else f"feature {i + 1}"


def shown_sequences(data: Any, num: int) -> list[Array]:
    """The first sequences ``(T, x_dim)``, items ``event_shape``, in raw units, NaN where missing."""
    some = data.subset(range(min(num, len(data))))
    shape = (-1, data.x_dim) if hasattr(data, "lengths") else tuple(data.event_shape)
    found = [x.astype(float).reshape(shape) for x in observed_sequences(some)]
    return [np.where(x < 0, np.nan, x) for x in found] if data.kind == "categories" else found


def name_of(data: Any, i: int) -> str:
    """A sequence's id, or its number."""
    return str(data.ids[i]) if data.ids is not None else f"{i + 1}"


def _two_rows(above: list[Array], below: list[Array], title: str) -> Panels:
    columns = max(len(above), len(below))
    pictures = side_of(above[0]) is not None
    figure = new_figure(0.8 + (2 * 12.0 / max(columns, 6) if pictures else 4.8))
    axes = figure.subplots(2, columns, squeeze=False)
    low, high = spread(np.concatenate([piece.ravel() for piece in [*above, *below]]))
    for row, pieces, colour in zip(axes, (above, below), (DATA, MODEL), strict=True):
        for ax, piece in zip(row, pieces, strict=False):
            draw_one(ax, piece, low, high, colour)
        for ax in row[len(pieces) :]:
            ax.set_visible(False)
    headline(figure, title)
    return Panels(axes.ravel())


def side_of(piece: Array) -> int | None:
    """The side of the square picture that an item is; None if it is none."""
    side = round(piece.size**0.5)
    return side if side >= LEAST and side * side == piece.size and (piece.ndim == 1 or piece.shape[0] == side) else None


def draw_one(axes: Any, piece: Array, low: float, high: float, colour: str) -> None:
    """An item as a square image, if it can be one, or as steps; a sequence as a heat map, time to the right."""
    side = side_of(piece)
    if side is not None:
        axes.imshow(piece.reshape(side, side), vmin=low, vmax=high, cmap="gray_r")
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set_color(PALE)
        return
    tidy(axes, grid="" if piece.ndim == 2 else "y")
    whole_numbers(axes)
    if piece.ndim == 2:
        axes.imshow(piece.T, aspect="auto", origin="lower", vmin=low, vmax=high, interpolation="nearest")
    else:
        axes.plot(piece.ravel(), drawstyle="steps-mid", color=colour)
        axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))


# ------------------------------------------------------------------------------------------------ reconstructions
def reconstruction_plot(
    model: Any, data: Any, *, num: int = 4, draws: int = 20, batch_size: int = 20, seed: int = 0, max_bytes: int = 2**28
) -> Panels:
    r"""What the model makes of sequences that its guide has seen: :math:`z \sim q(z \mid x),\; x' \sim p(x' \mid z)`.

    Music: notes in both, missed, and too many, where a note counts as made if most of the draws have it. Images: data
    above, the mean of the draws below. Otherwise the data as dots, the draws' mean as a line and their middle 90% as
    a band, a row for each feature (the first 6). A model that reads :math:`x_{t-1}` is given the observed one.

    Arguments:
        model: a :class:`~pyro_rvae.SequenceVAE`.
        data: a data set; its first ``num`` sequences are shown, in raw units.
        num: how many.
        draws: of each sequence.
        batch_size, seed, max_bytes: as for :func:`~pyro_rvae.criticism.reconstructed`.
    """
    check_data(model, data, "reconstruction_plot")
    some = data.subset(range(min(num, len(data))))
    made = reconstructed(model, some, draws, batch_size=batch_size, seed=seed, max_bytes=max_bytes)
    each = [np.stack(x) for x in zip(*(made.sequences(r) for r in range(draws)), strict=True)]  # (draws, T, x_dim)
    observed = [x.astype(float) for x in observed_sequences(some)]
    name = type(model).__name__
    if is_music(data):
        return _music(some, observed, [np.mean(x, 0) > 0.5 for x in each], name)
    items = shown_sequences(some, num)
    if side_of(items[0]) is not None:
        means = [x.mean(0).reshape(item.shape) for x, item in zip(each, items, strict=True)]
        apart = np.nanmean([np.abs(mean - item) for mean, item in zip(means, items, strict=True)])
        return _two_rows(items, means, f"Data (above), and what {name} gives back (below), mean error {apart:.3f}")
    if data.kind == "categories":
        return _codes(some, observed, each, name)
    return _bands(some, observed, each, name)


def _music(data: Any, observed: list[Array], made: list[Array], name: str) -> Panels:
    hits = sum(int(((x > 0) & y).sum()) for x, y in zip(observed, made, strict=True))
    notes, found = sum(int((x > 0).sum()) for x in observed), sum(int(y.sum()) for y in made)
    panels = compared_rolls(
        list(zip(observed, made, strict=True)), [f"data: {name_of(data, i)}" for i in range(len(data))]
    )
    headline(
        panels.figure,
        f"{name} gives back {hits / max(notes, 1):.0%} of the notes; {(found - hits) / max(found, 1):.0%} of the "
        "notes it makes are not in the data",
    )
    return panels


def _codes(data: Any, observed: list[Array], each: list[Array], name: str) -> Panels:
    """Codes: how often the draws have the data's own, frame by frame."""
    same = [(made == x).mean(0) for x, made in zip(observed, each, strict=True)]
    figure = new_figure(0.9 + 1.4 * len(same))
    panels = Panels(figure.subplots(len(same), 1, squeeze=False).ravel())
    for i, (axes, share) in enumerate(zip(panels, same, strict=True)):
        axes.bar(np.arange(len(share)), share.mean(1), width=0.9, color=MODEL, linewidth=0)
        axes.set_ylim(0, 1)
        tidy(axes, f"data: {name_of(data, i)}")
    total = float(np.mean(np.concatenate([share.ravel() for share in same])))
    headline(figure, f"{total:.0%} of {name}'s draws are the data's own code (share by frame)")
    return panels


def _bands(data: Any, observed: list[Array], each: list[Array], name: str) -> Panels:
    columns, features = len(observed), min(data.x_dim, FEATURES)
    figure = new_figure(0.8 + 1.9 * features)
    axes = figure.subplots(features, columns, squeeze=False, sharey="row", sharex="col")
    inside: list[float] = []
    for j, (x, made) in enumerate(zip(observed, each, strict=True)):
        low, high = np.quantile(made, [0.05, 0.95], axis=0)
        known = ~np.isnan(x)
        inside += [*((x >= low) & (x <= high))[known]]
        for i in range(features):
            _band(axes[i][j], x[:, i], made[..., i].mean(0), low[:, i], high[:, i])
            what = feature_name(data, i)
            whole_numbers(axes[i][j])
            tidy(axes[i][j], f"{what}, sequence {name_of(data, j)}" if i == 0 else what if j == 0 else "")
        axes[-1][j].set_xlabel("step" if hasattr(data, "lengths") else "", color=GREY)
    corner(figure, [("data", DATA), ("reconstruction", MODEL), ("90% of the draws", SOFT)])
    headline(figure, f"{np.mean(inside):.0%} of the data lie in the middle 90% of {name}'s reconstructions")
    return Panels(axes.ravel())


def _band(axes: Any, x: Array, mean: Array, low: Array, high: Array) -> None:
    step = np.arange(len(x))
    if len(x) == 1:
        axes.vlines(step, low, high, color=SOFT, linewidth=6)
    axes.fill_between(step, low, high, color=SOFT, alpha=0.6, linewidth=0)
    axes.plot(step, mean, color=MODEL, linewidth=1.6)
    axes.plot(step, x, ".", color=DATA, markersize=5, markeredgecolor=INK, markeredgewidth=0.2)
