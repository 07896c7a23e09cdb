"""Statistics of the data beside those of what the model makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..criticism.predictive import TAIL
from .style import DATA, GREY, INK, MODEL, WARN, Array, Panels, headline, needs, new_figure, short, tidy

__all__ = ["predictive_plot"]

PITCHES = ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")
TICKS: dict[str, Sequence[str]] = {
    "pitch classes": PITCHES,
    "harmonic intervals": ("8", "m2", "M2", "m3", "M3", "P4", "TT", "P5", "m6", "M6", "m7", "M7"),
    "melodic intervals": [
        f"{step:+d}" if step and step % 3 == 0 else "0" * (step == 0) for step in range(-12, 13)
    ],
    "autocorrelations": ("lag 1", "lag 2", "lag 4", "lag 8"),
    "spectrum": ("slowest", *[""] * 6, "fastest"),
    "runs of ones": ("1", "2", "3-4", "5-8", "9-16", "17-"),
}
BARS = 60  # elements of a vector that are shown as bars; more, and matrices, as points, the data against the model


def predictive_plot(check: Any, *, title: str | None = None) -> Panels:
    """Statistics of the data beside those of what the model makes.

    Numbers: how they are distributed over sequences, with the p-value in the title (the probability that a
    replicate of the data set has a larger mean). Vectors: their mean over the data, and over the replicates
    with the range of the middle 90%. Matrices and long vectors: a point an element, the data against the model.

    Arguments:
        check: a :class:`~pyro_rvae.criticism.PredictiveCheck`.
        title: of the figure (default: how many statistics differ).

    Raises:
        TypeError: no check.
    """
    needs(check, "predictive_plot", "a PredictiveCheck, as predictive_check(model, data) returns it", "replicated")
    scalars = list(check.scalars)
    vectors = [name for name in check.observed if name not in scalars]
    across = {1: _columns(len(scalars), 5), 2: _columns(len(vectors), 3)}
    heights = [2.5 * -(-len(scalars) // across[1]), 2.9 * -(-len(vectors) // across[2])]
    figure = new_figure(0.8 + sum(heights))
    parts = figure.subfigures(2, 1, height_ratios=heights) if scalars and vectors else [figure] * 2
    for i, name in enumerate(scalars):
        axes = parts[0].add_subplot(-(-len(scalars) // across[1]), across[1], i + 1)
        _distribution(axes, check, name, legend=i == 0)
    sizes = [int(np.prod(check.observed[name].shape[1:])) for name in vectors]
    widths = [5.0 + (size if size <= BARS else 10.0) for size in sizes]
    one_row = len(vectors) <= across[2]
    grid = parts[1].add_gridspec(
        -(-len(vectors) // across[2]) or 1, across[2], width_ratios=widths if vectors and one_row else None
    )
    bars = [name for name, size in zip(vectors, sizes, strict=True) if size <= BARS]
    for i, name in enumerate(vectors):
        axes = parts[1].add_subplot(grid[divmod(i, across[2])])
        if name in bars:
            _bars(axes, check, name, legend=name == bars[-1])
        else:
            _cloud(axes, check, name)
    headline(figure, _finding(check) if title is None else title)
    return Panels(figure.axes)


def _columns(panels: int, most: int) -> int:
    """Panels in a row, so that no row stands out for being short."""
    rows = max(1, -(-panels // most))
    return max(1, -(-panels // rows))


def _finding(check: Any) -> str:
    made = f"{len(check.replicates)} {check.replicates.drawn_by.replace('_', '-')} replicates"
    apart = sum(_agreement(check.p_value(name)[0])[0] != "alike" for name in check.scalars)
    if not check.scalars:
        return f"{check.name}: {made} beside the data"
    return f"{check.name}: {apart} of {len(check.scalars)} statistics of {made} differ from the data"


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
    tidy(axes, f"{name} (p = {p:.2f})\n", colour=colour)
    axes.text(
        0,
        1.04,
        f"data {short(observed.mean())}, model {short(replicated.mean())}: {verdict}",
        fontsize=9,
        color=GREY,
        transform=axes.transAxes,
    )
    axes.set_yticks([])
    axes.set_ylim(bottom=0)
    if legend:
        axes.legend(frameon=False, fontsize=9.5, labelcolor=INK, handlelength=1.2)


def _agreement(p: float) -> tuple[str, str]:
    if p < TAIL:
        return "too little", WARN
    if p > 1 - TAIL:
        return "too much", WARN
    return "alike", INK


def _means(check: Any, name: str) -> tuple[Array, Array]:
    """Means over the sequences, of the data ``(D,)`` and of each replicate ``(R, D)``."""
    return check.observed[name].mean(0).ravel(), check.replicated[name].mean(1).reshape(len(check.replicates), -1)


def _cloud(axes: Any, check: Any, name: str) -> None:
    observed, means = _means(check, name)
    low, high = np.quantile(means, [0.05, 0.95], axis=0)
    ends = [min(observed.min(), low.min()), max(observed.max(), high.max())]
    axes.plot(ends, ends, color=GREY, linewidth=1.0, linestyle=(0, (5, 4)))
    axes.vlines(observed, low, high, color=MODEL, linewidth=0.8, alpha=0.5)
    axes.plot(observed, means.mean(0), "o", color=MODEL, markersize=3)
    tidy(axes, f"{name}: {len(observed)} elements", grid="both")
    axes.set_xlabel("data", color=GREY)
    axes.set_ylabel("model", color=GREY)


def _bars(axes: Any, check: Any, name: str, *, legend: bool) -> None:
    observed, means = _means(check, name)
    low, high = np.quantile(means, [0.05, 0.95], axis=0)
    place = np.arange(len(observed))
    axes.bar(place, observed, width=0.72, color=DATA, alpha=0.45, label="data", linewidth=0)
    axes.vlines(place, low, high, color=MODEL, linewidth=2.0, zorder=3)
    axes.plot(
        place, means.mean(0), "o", color=MODEL, markersize=5, label="model, 90% of replicates", zorder=4
    )
    tidy(axes, name)
    ticks = TICKS.get(name, check.features)
    if ticks is not None and len(ticks) == len(place) <= 25:
        axes.set_xticks(place, ticks, fontsize=8.5)
    axes.margins(x=0.02)
    if legend:
        axes.legend(frameon=False, fontsize=9.5, labelcolor=INK, loc="upper right")
        axes.set_ylim(top=1.25 * axes.get_ylim()[1])
