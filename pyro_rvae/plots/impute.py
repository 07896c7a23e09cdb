"""Series with gaps: what was observed, and what an imputation says of the rest."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from .style import DATA, GREY, INK, MODEL, SOFT, WARN, Array, Panels, headline, needs, new_figure, tidy

__all__ = ["imputation_plot"]

MOST = 6  # features shown by themselves


def imputation_plot(imputation: Any, *, sequence: int = 0, features: Sequence[int | str] | None = None,
                    level: float = 0.8, hidden: Any = None) -> Panels:
    """One sequence, a panel for each feature: observed elements as dots, the median and the central interval of the
    draws where there are gaps.

    The band stands over each missing element, as wide as a step; the line joins the medians to the observed elements.

    Arguments:
        imputation: an :class:`~pyro_rvae.tasks.Imputation` of sequences.
        sequence: its number.
        features: names or numbers; default: up to 6 of those with both observed and missing elements, the most
            observed first (with ``hidden``: those with the most hidden elements).
        level: of the interval.
        hidden: what :func:`~pyro_rvae.data.hold_out` has hidden from what was imputed, shown as rings.

    Raises:
        TypeError: no imputation.
        ValueError: a sequence or a feature that is not there, or data without time or of codes.
    """
    needs(imputation, "imputation_plot", "an Imputation, as rv.tasks.impute(model, data) returns it", "observed",
          "draws", "interval")
    if not 0 <= sequence < len(imputation.lengths):
        raise ValueError(f"imputation_plot: sequence must be a number from 0 to {len(imputation.lengths) - 1}, got "
                         f"{sequence!r}.")
    if imputation.kind == "categories" or not hasattr(imputation.data, "lengths"):
        raise ValueError("imputation_plot shows numbers over time; of codes, and of rows without time, read rows().")
    ends = np.cumsum(imputation.lengths)
    rows = slice(int(ends[sequence] - imputation.lengths[sequence]), int(ends[sequence]))
    x = imputation.observed[rows].astype(float)
    held = np.full_like(x, np.nan)
    if hidden is not None:
        own = (hidden.frames >= rows.start) & (hidden.frames < rows.stop)
        held[hidden.frames[own] - rows.start, hidden.features[own]] = hidden.values[own]
    chosen = _chosen(imputation, x, held, features)
    when = np.arange(len(x)) if imputation.times is None else imputation.times[rows]
    low, high = (end[rows] for end in imputation.interval(level))
    median = imputation.median[rows]
    columns = 1 if len(chosen) < 4 else 2
    rows_of_panels = -(-len(chosen) // columns)
    figure = new_figure(1.0 + 1.65 * rows_of_panels)
    axes = figure.subplots(rows_of_panels, columns, squeeze=False, sharex=True).ravel()
    for panel, d in zip(axes, chosen, strict=False):
        _series(panel, when, x[:, d], median[:, d], low[:, d], high[:, d], held[:, d])
        shown = textwrap.shorten(imputation.name(d), 60, placeholder="...")
        tidy(panel, f"{shown}   {np.isnan(x[:, d]).mean():.0%} missing")
    for panel in axes[len(chosen):]:
        panel.set_visible(False)
    for panel in axes[max(0, len(chosen) - columns) : len(chosen)]:
        panel.tick_params(labelbottom=True)
        panel.set_xlabel("step" if imputation.times is None else "time", color=GREY)
    _legend(figure, level, bool(np.isfinite(held[:, chosen]).any()))
    headline(figure, _finding(imputation, sequence, x, low, high, held, level))
    return Panels(axes[: len(chosen)])


def _chosen(imputation: Any, x: Array, held: Array, features: Sequence[int | str] | None) -> list[int]:
    """Numbers of the features that are shown."""
    width = x.shape[1]
    if features is None:
        seen, rings = (~np.isnan(x)).sum(0), (~np.isnan(held)).sum(0)
        order = np.lexsort((-seen, -rings))
        some = [d for d in order.tolist() if 0 < seen[d] < len(x)] or order.tolist()
        return sorted(some[:MOST])
    names = [imputation.name(d) for d in np.arange(width)]
    found = [names.index(f) if isinstance(f, str) and f in names else f for f in features]
    wrong = [f for f in found if not isinstance(f, int | np.integer) or not 0 <= f < width]
    if wrong or not found:
        raise ValueError(f"imputation_plot: features must be names or numbers from 0 to {width - 1}, got "
                         f"{wrong[0] if wrong else 'none'!r}; there are {', '.join(names[:8])}{', ...' * (width > 8)}.")
    return [int(f) for f in found]


def _series(axes: Any, when: Array, x: Array, median: Array, low: Array, high: Array, held: Array) -> None:
    missing = np.isnan(x)
    near = missing | np.r_[missing[1:], False] | np.r_[False, missing[:-1]]  # the line begins at an observed element
    middles = 0.5 * (when[1:] + when[:-1])
    half = 0.5 * (np.diff(when).mean() if len(when) > 1 else 1.0)
    edges = np.r_[when[0] - half, middles, when[-1] + half]
    axes.stairs(np.where(missing, high, np.nan), edges, baseline=np.where(missing, low, np.nan), fill=True, color=SOFT,
                alpha=0.6, linewidth=0)
    axes.plot(when, np.where(near, median, np.nan), color=MODEL, linewidth=1.5, zorder=3)
    axes.plot(when[missing], median[missing], "o", color=MODEL, markersize=1.8, zorder=3)
    axes.plot(when, x, "o", color=DATA, markersize=4, markeredgecolor=INK, markeredgewidth=0.3, zorder=4)
    axes.plot(when, held, "o", markersize=6.5, markerfacecolor="none", markeredgecolor=WARN, markeredgewidth=1.5,
              zorder=5)


def _legend(figure: Any, level: float, rings: bool) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [Line2D([], [], marker="o", linestyle="", color=DATA, markeredgecolor=INK, markeredgewidth=0.3,
                      markersize=5, label="observed"),
               Line2D([], [], color=MODEL, linewidth=1.8, label="median of the draws"),
               Patch(color=SOFT, alpha=0.7, linewidth=0, label=f"{level:.0%} of the draws")]
    if rings:
        handles.append(Line2D([], [], marker="o", linestyle="", markerfacecolor="none", markeredgecolor=WARN,
                              markeredgewidth=1.5, markersize=7, label="hidden"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9.5,
                  labelcolor=INK)


def _finding(imputation: Any, sequence: int, x: Array, low: Array, high: Array, held: Array, level: float) -> str:
    who = f"sequence {sequence + 1}" if imputation.ids is None else f"sequence {imputation.ids[sequence]}"
    several = len(imputation.lengths)
    who += f" ({sequence + 1} of {several})" if several > 1 else ""
    made = f"{imputation.source.split(',')[0]} fills {int(np.isnan(x).sum()):,} of {x.size:,} elements of {who}"
    known = np.isfinite(held)
    if not known.any():
        return made
    inside = ((held >= low) & (held <= high))[known]
    return f"{made}; {inside.mean():.0%} of {known.sum()} hidden ones lie in the {level:.0%} interval"
