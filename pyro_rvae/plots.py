"""What a person looks at. Each function returns a matplotlib ``Figure`` and touches no pyplot state.

Figures are 1200 pixels wide at 100 dots an inch; ``figure.savefig(path)`` or :func:`save` writes them.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["history_plot", "piano_rolls", "predictive_plot", "save"]

Array = NDArray[Any]

INK, GREY, PALE, PAPER = "#1f2a37", "#6b7885", "#e4e8ec", "#ffffff"
MODEL, SOFT, DATA, WARN = "#2f6fb7", "#a9c6e8", "#e08a2c", "#c0392b"
WIDTH = 12.0  # inches

PITCHES = ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")
BLACK = (1, 3, 6, 8, 10)
TICKS: dict[str, Sequence[str]] = {
    "pitch classes": PITCHES,
    "harmonic intervals": ("8", "m2", "M2", "m3", "M3", "P4", "TT", "P5", "m6", "M6", "m7", "M7"),
    "melodic intervals": [
        f"{step:+d}" if step and step % 3 == 0 else "0" * (step == 0) for step in range(-12, 13)
    ],
}


def save(figure: Any, path: str | Path) -> None:
    """Write a figure as an image, whole or not at all; the ending of ``path`` (.png, .pdf, .svg) tells the
    format.
    """
    from .data.atomic import atomic

    ending = Path(path).suffix.removeprefix(".") or "png"
    with atomic(path) as file:
        figure.savefig(file, format=ending)


def _figure(height: float) -> Any:
    from matplotlib.figure import Figure

    class Shown(Figure):
        """A figure that a notebook shows by itself, without pyplot or a magic command."""

        def _repr_png_(self) -> bytes:
            buffer = io.BytesIO()
            self.savefig(buffer, format="png")
            return buffer.getvalue()

    return Shown(figsize=(WIDTH, height), dpi=100, facecolor=PAPER, layout="constrained")


def _title(figure: Any, text: str) -> None:
    figure.suptitle(text, x=0.01, ha="left", fontsize=14, color=INK, fontweight="bold")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.10, wspace=0.04, hspace=0.06)


def _tidy(axes: Any, title: str = "", *, grid: str = "y", colour: str = INK) -> None:
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


# ------------------------------------------------------------------------------------------------ training
def history_plot(history: Any, *, floors: Mapping[str, float] | None = None, unit: str = "frame") -> Any:
    """How training went: the bound beside the floors, reconstruction, KL and its weight, by epoch.

    Everything is a cost, as the history holds it (``elbo`` is minus the ELBO): lower is better.

    Arguments:
        history: what ``fit`` returned: columns ``epoch, elbo, reconstruction, kl, valid_elbo, ...,
            kl_weight``.
        floors: costs to draw as dashed lines, as :func:`pyro_rvae.criticism.floors` gives them (of the
            validation data).
        unit: ``"frame"``, or ``"item"`` for static data.

    Raises:
        ValueError: the history is empty.
    """
    if not len(history):
        raise ValueError("the history is empty: train at least one epoch before plotting it.")
    epoch = np.asarray(history["epoch"], dtype=float)
    figure = _figure(5.6)
    grid = figure.add_gridspec(2, 2, width_ratios=[1.6, 1])
    bound, reconstruction, kl = (
        figure.add_subplot(grid[where]) for where in ((slice(None), 0), (0, 1), (1, 1))
    )
    best = _lines(bound, epoch, history["elbo"], history["valid_elbo"], legend=True)
    _floors(bound, dict(floors or {}))
    _tidy(bound, f"bound (minus ELBO), nats per {unit}")
    _lines(reconstruction, epoch, history["reconstruction"], history["valid_reconstruction"])
    _tidy(reconstruction, f"reconstruction, nats per {unit}")
    _lines(kl, epoch, history["kl"], history["valid_kl"], robust=False)
    _tidy(kl, f"KL, nats per {unit}")
    _weight(kl, epoch, np.asarray(history["kl_weight"], dtype=float))
    pad = 0.02 * (epoch[-1] - epoch[0]) or 0.5
    for axes in (bound, reconstruction, kl):
        axes.set_xlim(epoch[0] - pad, epoch[-1] + pad)
    for axes in (bound, kl):
        axes.set_xlabel("epoch", color=GREY)
    reconstruction.tick_params(labelbottom=False, length=0)
    _title(
        figure, _verdict(best, dict(floors or {}), unit, validated=not np.isnan(history["valid_elbo"]).all())
    )
    return figure


def _lines(
    axes: Any,
    epoch: Array,
    train: Array,
    valid: Array,
    *,
    legend: bool = False,
    robust: bool = True,
) -> tuple[float, float]:
    """Both curves, the best epoch marked; returns ``(epoch, cost)`` of it."""
    seen = ~np.isnan(valid)
    alone = {"marker": "o", "markersize": 4} if len(epoch) == 1 else {}
    axes.plot(epoch, train, color=SOFT, linewidth=1.8, label="training", **alone)
    if seen.any():
        axes.plot(epoch[seen], valid[seen], color=MODEL, linewidth=2.2, label="validation", **alone)
    shown = np.concatenate([train[~np.isnan(train)], valid[seen]])
    if robust and len(shown) > 20:  # the first epochs may be far off
        high = np.quantile(shown, 0.97)
        axes.set_ylim(shown.min() - 0.06 * (high - shown.min()), high + 0.06 * (high - shown.min()))
    if not robust:
        axes.set_ylim(0, max(1e-3, 1.12 * shown.max()))
    axes.margins(x=0.02)
    costs, where = (valid[seen], epoch[seen]) if seen.any() else (train, epoch)
    best = int(np.argmin(costs))
    if legend:
        axes.plot(where[best], costs[best], "o", color=MODEL, markersize=7, markeredgecolor=PAPER, zorder=5)
        axes.legend(frameon=False, fontsize=10, labelcolor=INK, loc="lower left")
    return float(where[best]), float(costs[best])


def _floors(axes: Any, floors: dict[str, float]) -> None:
    low, high = axes.get_ylim()
    for name, cost in floors.items():
        low, high = min(low, cost - 0.05 * (high - low)), max(high, cost + 0.08 * (high - low))
        axes.axhline(cost, color=GREY, linewidth=1.2, linestyle=(0, (5, 4)), zorder=1)
        axes.annotate(
            f"{_floor_name(name)} {cost:.2f}",
            (1.0, cost),
            xycoords=("axes fraction", "data"),
            xytext=(-2, 4),
            textcoords="offset points",
            fontsize=9.5,
            color=GREY,
            ha="right",
        )
    axes.set_ylim(low, high)


def _floor_name(name: str) -> str:
    return {"independent": "independent floor", "markov": "Markov floor"}.get(name, name)


def _weight(axes: Any, epoch: Array, weight: Array) -> None:
    if np.allclose(weight, 1.0):
        return
    twin = axes.twinx()
    twin.fill_between(epoch, 0, weight, color=PALE, zorder=0)
    twin.set_ylim(0, max(1.12, 1.12 * weight.max()))
    twin.set_yticks([0, 1], ["0", "1"])
    twin.tick_params(colors=GREY, length=0, labelsize=9.5)
    twin.set_ylabel("KL weight (grey)", color=GREY, fontsize=9.5)
    for spine in twin.spines.values():
        spine.set_visible(False)
    axes.set_zorder(2)
    axes.patch.set_visible(False)


def _verdict(best: tuple[float, float], floors: dict[str, float], unit: str, *, validated: bool) -> str:
    epoch, cost = best
    which = "Validation" if validated else "Training"
    text = f"{which} bound {cost:.2f} nats per {unit} after {epoch:.0f} epoch" + "s" * (epoch != 1)
    if floors:
        name, floor = min(floors.items(), key=lambda item: item[1])
        text += f", {abs(floor - cost):.2f} {'below' if cost < floor else 'above'} the {_floor_name(name)}"
    return text


# ------------------------------------------------------------------------------------------------ piano rolls
def piano_rolls(
    rolls: Sequence[Any],
    *,
    titles: Sequence[str] | None = None,
    title: str = "",
    lowest: int = 21,
    quarter: int = 1,
    bar: int = 4,
    columns: int = 2,
) -> Any:
    """Several pieces as piano rolls in a grid; the highest voice stands out, notes that go on are one bar.

    Arguments:
        rolls: pieces ``(T_i, keys)``, arrays or tensors; a key sounds where the number is above 0.
        titles: one for each piece.
        title: of the whole figure.
        lowest: MIDI number of the first key (21: A0 of a piano).
        quarter: frames of a quarter note; bar: quarters of a bar.
        columns: pieces side by side.

    Raises:
        ValueError: no rolls, or one that is not ``(T, keys)``.
    """
    pieces = [np.asarray(roll) > 0 for roll in rolls]
    if not pieces or any(piece.ndim != 2 for piece in pieces):
        shapes = [piece.shape for piece in pieces]
        raise ValueError(f"piano_rolls needs at least one roll of shape (T, keys), got {shapes or 'none'}.")
    columns = min(columns, len(pieces))
    rows = -(-len(pieces) // columns)
    low, high = _range(pieces, lowest)
    figure = _figure(0.75 + rows * (2.0 + (high - low) / 30))
    frames = max(len(piece) for piece in pieces)
    for i, piece in enumerate(pieces):
        axes = figure.add_subplot(rows, columns, i + 1)
        axes.set_xlim(0, frames)
        _keyboard(axes, low, high, len(piece), quarter * bar, _every(-(-frames // (quarter * bar))))
        _notes(axes, piece, lowest)
        axes.set_title(titles[i] if titles else f"{i + 1}", loc="left", fontsize=11, color=INK)
        if i % columns:
            axes.tick_params(labelleft=False)
        if i + columns >= len(pieces):
            axes.set_xlabel(f"bars of {bar} quarters", color=GREY, fontsize=10, loc="left")
    _title(figure, title)
    figure.text(0.995, 0.985, "■ highest voice", color=DATA, fontsize=10, ha="right", va="top")
    return figure


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
    _tidy(axes, grid="")
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(axis="x", length=0)


def _every(bars: int) -> int:
    """Bars from one label to the next."""
    return next(step for step in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, bars) if bars / step <= 12)


def _notes(axes: Any, piece: Array, lowest: int) -> None:
    from matplotlib.collections import PolyCollection

    top = np.where(piece.any(1), piece.shape[1] - 1 - piece[:, ::-1].argmax(1), -1)
    voices: dict[str, list[list[tuple[float, float]]]] = {MODEL: [], DATA: []}
    for key in np.flatnonzero(piece.any(0)):
        on = np.concatenate([[0], piece[:, key].astype(int), [0]])
        for start, stop in zip(np.flatnonzero(np.diff(on) > 0), np.flatnonzero(np.diff(on) < 0), strict=True):
            colour = DATA if (top[start:stop] == key).mean() > 0.5 else MODEL
            y, left, right = key + lowest, start + 0.06, stop - 0.06
            voices[colour].append([(left, y - 0.42), (right, y - 0.42), (right, y + 0.42), (left, y + 0.42)])
    for colour, boxes in voices.items():
        axes.add_collection(PolyCollection(boxes, facecolors=colour, edgecolors="none", zorder=3))


# -------------------------------------------------------------------------------- predictive check
def predictive_plot(check: Any, *, title: str | None = None) -> Any:
    """Statistics of the data beside those of what the model makes.

    Numbers: how they are distributed over sequences, with the p-value in the title (the probability that a
    replicate of the data set has a larger mean). Vectors: their mean over the data, and over the replicates
    with the range of the middle 90%.

    Arguments:
        check: a :class:`~pyro_rvae.criticism.PredictiveCheck`.
        title: of the figure (default: what was compared).
    """
    scalars = list(check.scalars)
    vectors = [name for name in check.observed if check.observed[name].ndim == 2]
    across = {1: min(5, max(len(scalars), 1)), 2: min(3, max(len(vectors), 1))}
    heights = [2.5 * -(-len(scalars) // across[1]), 2.9 * -(-len(vectors) // across[2])]
    figure = _figure(0.8 + sum(heights))
    parts = figure.subfigures(2, 1, height_ratios=heights) if scalars and vectors else [figure] * 2
    for i, name in enumerate(scalars):
        axes = parts[0].add_subplot(-(-len(scalars) // across[1]), across[1], i + 1)
        _distribution(axes, check, name, legend=i == 0)
    widths = [5.0 + check.observed[name].shape[1] for name in vectors]
    one_row = len(vectors) <= across[2]
    grid = parts[1].add_gridspec(
        -(-len(vectors) // across[2]) or 1, across[2], width_ratios=widths if vectors and one_row else None
    )
    for i, name in enumerate(vectors):
        _bars(parts[1].add_subplot(grid[divmod(i, across[2])]), check, name, legend=i == len(vectors) - 1)
    kind = check.replicates.drawn_by.replace("_", "-")
    _title(
        figure,
        title
        if title is not None
        else f"{check.name}: does it look like the data? {len(check.replicates)} {kind} replicates",
    )
    return figure


def _distribution(axes: Any, check: Any, name: str, *, legend: bool) -> None:
    observed, replicated = check.observed[name], check.replicated[name]
    p, _ = check.p_value(name)
    both = np.concatenate([observed, replicated.ravel()])
    low, high = float(both.min()), float(both.max())
    pad = 0.03 * (high - low) or 0.5
    edges = np.linspace(low - pad, high + pad, 25)
    for values, colour, style, label in (
        (replicated.ravel(), MODEL, {"alpha": 0.35, "linewidth": 0}, "model"),
        (observed, DATA, {"fill": False, "linewidth": 2.0}, "data"),
    ):
        share = np.histogram(values, edges)[0] / values.size
        axes.stairs(share, edges, color=colour, label=label, **({"fill": True} | style))
        axes.axvline(values.mean(), color=colour, linewidth=1.6, linestyle=(0, (2, 2)), zorder=4)
    verdict, colour = _agreement(p)
    _tidy(axes, f"{name} (p = {p:.2f})\n", colour=colour)
    axes.text(
        0,
        1.04,
        f"data {_short(observed.mean())}, model {_short(replicated.mean())}: {verdict}",
        fontsize=9,
        color=GREY,
        transform=axes.transAxes,
    )
    axes.set_yticks([])
    axes.set_ylim(bottom=0)
    if legend:
        axes.legend(frameon=False, fontsize=9.5, labelcolor=INK, handlelength=1.2)


def _short(value: float) -> str:
    return f"{value:.2f}" if abs(value) >= 0.095 else f"{value:.3f}"


def _agreement(p: float) -> tuple[str, str]:
    if p < 0.025:
        return "too little", WARN
    if p > 0.975:
        return "too much", WARN
    return "alike", INK


def _bars(axes: Any, check: Any, name: str, *, legend: bool) -> None:
    observed, means = check.observed[name].mean(0), check.replicated[name].mean(1)
    low, high = np.quantile(means, [0.05, 0.95], axis=0)
    place = np.arange(len(observed))
    axes.bar(place, observed, width=0.72, color=DATA, alpha=0.45, label="data", linewidth=0)
    axes.vlines(place, low, high, color=MODEL, linewidth=2.0, zorder=3)
    axes.plot(
        place, means.mean(0), "o", color=MODEL, markersize=5, label="model, 90% of replicates", zorder=4
    )
    _tidy(axes, name)
    ticks = TICKS.get(name, check.features)
    if ticks is not None and len(ticks) == len(place) <= 25:
        axes.set_xticks(place, ticks, fontsize=8.5)
    axes.margins(x=0.02)
    if legend:
        axes.legend(frameon=False, fontsize=9.5, labelcolor=INK, loc="upper right")
        axes.set_ylim(top=1.25 * axes.get_ylim()[1])
