"""Anomaly scores: the sequence, what the model expected of it, and how surprised it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .music import corner
from .style import (
    DATA,
    GREY,
    INK,
    LABELS,
    MODEL,
    SOFT,
    WARN,
    Array,
    Panels,
    finished,
    headline,
    needs,
    new_figure,
    one_panel,
    short,
    tidy,
    whole_numbers,
)

__all__ = ["score_histogram", "score_plot"]

FEATURES = 6  # rows of panels, a feature each; more are shown as heat maps
MOST = 4  # sequences side by side
SCORES = "Scores, as rv.tasks.score(model, data) returns them"


def score_plot(scores: Any, sequences: Sequence[int] | None = None, *, threshold: float | None = None) -> Panels:
    """Sequences beside what the model expected of them, and their scores by step below; flagged steps are shaded.

    Dots: what was seen. Line and band: mean of what the model expected, and two standard deviations to each side (of
    codes the commonest, without a band). More than 6 features are two heat maps: what was seen, and what was expected.

    Arguments:
        scores: :class:`~pyro_rvae.tasks.Scores` with scores by step.
        sequences: numbers of up to 4, side by side; default: the one with the highest step.
        threshold: in nats, as ``scores.threshold(...)`` of validation data gives one.

    Raises:
        TypeError: ``scores`` are of another kind.
        ValueError: no scores by step, no such sequence, or more than 4.
    """
    needs(scores, "score_plot", SCORES, "by_step", "observed", "expected", "lengths")
    chosen = _chosen(scores, sequences)
    wide = scores.observed.shape[-1] > FEATURES
    features = (1 + (scores.expected is not None)) if wide else scores.observed.shape[-1]
    figure = new_figure(1.0 + 1.7 * features + 1.9 + 0.8 * (features == 1))
    axes = figure.subplots(features + 1, len(chosen), squeeze=False, sharex="col", sharey="row",
                           height_ratios=[1.7 if features == 1 else 1.0] * features + [1.0])
    for j, n in enumerate(chosen):
        (_maps if wide else _features)(axes[:-1, j], scores, n)
        _steps(axes[-1][j], scores, n, threshold)
        if threshold is not None:
            _shade(axes[:, j], scores, n, threshold)
        axes[-1][j].set_xlabel("step" if scores.times is None else "time", color=GREY)
        axes[0][j].set_title(_title(scores, n, 116 // len(chosen)), loc="left", fontsize=10.5, color=INK)
    for i in range(features):
        axes[i][0].set_ylabel(_row(scores, i, wide, 32 if features == 1 else 16), color=INK)
    axes[-1][0].set_ylabel("score, nats", color=INK)
    _key(figure, scores, wide, threshold)
    headline(figure, _finding(scores, chosen, threshold))
    return Panels(axes.ravel())


def score_histogram(groups: Mapping[str, Any], *, threshold: float | None = None,
                    what: str = "score of a sequence, nats", axes: Any = None) -> Panels:
    """Scores of several groups of sequences on one axis, such as validation data, normal ones, and anomalies.

    Arguments:
        groups: scores ``(N,)`` by the group's name; those that are not finite are left out.
        threshold: drawn as a line; the title says which share of each group is above it.
        what: words for the axis.
        axes: of your own to draw into.

    Raises:
        ValueError: no groups, or one without a finite score.
    """
    found = {name: np.asarray(values, dtype=float).ravel() for name, values in dict(groups).items()}
    found = {name: values[np.isfinite(values)] for name, values in found.items()}
    if not found or not all(map(len, found.values())):
        raise ValueError("score_histogram needs groups of finite scores by name, such as {'valid': scores.by_sequence};"
                         f" got {({name: len(values) for name, values in found.items()}) or 'none'}.")
    own = one_panel(axes, 3.6)
    edges = np.histogram_bin_edges(np.concatenate(list(found.values())), bins=40)
    for (name, values), colour in zip(found.items(), (GREY, MODEL, DATA, *LABELS[2:]), strict=False):
        weights = np.full(len(values), 1 / len(values))
        label = f"{name} ({len(values):,})"
        own.hist(values, edges, weights=weights, color=colour, alpha=0.30, linewidth=0)
        own.hist(values, edges, weights=weights, color=colour, histtype="step", linewidth=1.6, label=label)
    said = "Scores by group"
    if threshold is not None:
        own.axvline(threshold, color=WARN, linewidth=1.4, linestyle=(0, (5, 3)))
        said = "Above the threshold: " + ", ".join(f"{(v > threshold).mean():.0%} of {k}" for k, v in found.items())
    tidy(own)
    own.set_xlabel(what, color=GREY)
    own.set_ylabel("share of the group", color=INK)
    own.legend(frameon=False, fontsize=9.5, labelcolor=INK)
    return finished(own, axes, said)


# ------------------------------------------------------------------------------------------------ parts
def _chosen(scores: Any, sequences: Sequence[int] | None) -> list[int]:
    if scores.by_step is None:
        raise ValueError(f"score_plot needs scores by step, and method={scores.method!r} has none: use another method.")
    tops = np.max(scores.by_step, axis=1, initial=-np.inf, where=~np.isnan(scores.by_step))  # missing frames have none
    chosen = [int(np.argmax(tops))] if sequences is None else list(sequences)
    wrong = [n for n in chosen if isinstance(n, bool) or not isinstance(n, int | np.integer)
             or not 0 <= n < len(scores.lengths)]
    if wrong or not 0 < len(chosen) <= MOST:
        raise ValueError(f"sequences must be 1 to {MOST} numbers from 0 to {len(scores.lengths) - 1}, got "
                         f"{list(chosen)[:8]}.")
    return [int(n) for n in chosen]


def _time(scores: Any, n: int) -> Array:
    """``(T_n,)``."""
    length = int(scores.lengths[n])
    return np.arange(length) if scores.times is None else scores.times[n, :length]


def _features(axes: Array, scores: Any, n: int) -> None:
    time, codes = _time(scores, n), scores.kind == "categories"
    for d, panel in enumerate(axes):
        seen = scores.observed[n, : len(time), d]
        if scores.expected is not None:
            mean, spread = (part[n, : len(time), d] for part in (scores.expected, scores.spread))
            alone = len(time) == 1
            if not codes and alone:
                panel.vlines(time, mean - 2 * spread, mean + 2 * spread, color=SOFT, linewidth=8)
            elif not codes:
                panel.fill_between(time, mean - 2 * spread, mean + 2 * spread, color=SOFT, alpha=0.55, linewidth=0)
            panel.plot(time, mean, "_" if alone else "-", markersize=14, color=MODEL, linewidth=1.6,
                       drawstyle="steps-mid" if codes else "default")
        panel.plot(time, seen, ".", color=DATA, markersize=5 if len(time) < 300 else 2.5, markeredgecolor=INK,
                   markeredgewidth=0.2)
        tidy(panel)


def _maps(axes: Array, scores: Any, n: int) -> None:
    """What was seen, and what was expected, time to the right."""
    time = _time(scores, n)
    shown = [part[n, : len(time)] for part in (scores.observed, scores.expected) if part is not None]
    low, high = np.nanmin(shown[0]), np.nanmax(shown[0])
    used = np.flatnonzero((shown[0] > low).any(0)) if scores.kind == "binary" else np.arange(shown[0].shape[1])
    first, last = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, shown[0].shape[1])
    for panel, part in zip(axes, shown, strict=True):
        panel.pcolormesh(_edges(time), np.arange(part.shape[1] + 1) - 0.5, part.T, vmin=low, vmax=high, rasterized=True,
                         cmap="Greys" if scores.kind == "binary" else "viridis")
        panel.set_ylim(first - 1.5, last + 0.5)
        tidy(panel, grid="")


def _edges(time: Array) -> Array:
    """The borders of the steps."""
    if len(time) == 1:
        return np.array([time[0] - 0.5, time[0] + 0.5])
    middle = (time[1:] + time[:-1]) / 2
    return np.concatenate([[2 * time[0] - middle[0]], middle, [2 * time[-1] - middle[-1]]])


def _steps(panel: Any, scores: Any, n: int, threshold: float | None) -> None:
    time, steps = _time(scores, n), scores.by_step[n, : int(scores.lengths[n])]
    finite = steps[np.isfinite(steps)]
    top, low = (float(finite.max()), float(finite.min())) if len(finite) else (0.0, 0.0)
    edges, steps = _edges(time), np.where(np.isinf(steps), top, steps)  # NaN, a missing frame, leaves a gap
    base = min(0.0, low)
    panel.stairs(steps, edges, baseline=base, fill=True, color=SOFT, alpha=0.55)
    panel.stairs(steps, edges, baseline=None, color=MODEL, linewidth=1.3)
    if threshold is not None:
        panel.stairs(np.maximum(steps, threshold), edges, baseline=threshold, fill=True, color=WARN, alpha=0.8)
        panel.axhline(threshold, color=WARN, linewidth=1.2, linestyle=(0, (5, 3)))
    tidy(panel)
    panel.set_xlim(edges[0], edges[-1])
    if scores.times is None:
        whole_numbers(panel)
    if len(time) == 1:
        panel.set_xticks(time)


def _shade(axes: Array, scores: Any, n: int, threshold: float) -> None:
    """Flagged steps, from top to bottom."""
    edges, flags = _edges(_time(scores, n)), scores.by_step[n, : int(scores.lengths[n])] > threshold
    runs = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]]))).reshape(-1, 2)
    for panel in axes:
        for start, stop in runs:
            panel.axvspan(edges[start], edges[stop], color=WARN, alpha=0.10, linewidth=0)


def _cut(name: str, most: int) -> str:
    return name if len(name) <= most else name[: most - 3] + "..."


def _title(scores: Any, n: int, most: int) -> str:
    name = f"sequence {n}" if scores.ids is None else str(scores.ids[n])
    said = f": {short(float(scores.by_sequence[n]))} nats"
    return _cut(name, most - len(said)) + said


def _row(scores: Any, i: int, wide: bool, most: int) -> str:
    if wide:
        return ("seen", "expected")[i]
    name = scores.names[i] if scores.names is not None else "" if scores.observed.shape[-1] == 1 else f"feature {i + 1}"
    return _cut(str(name), most)


def _key(figure: Any, scores: Any, wide: bool, threshold: float | None) -> None:
    words = [] if wide else [("seen", DATA)]
    if scores.expected is not None and not wide:
        words.append(("expected" if scores.expected_by == "forecast" else "reconstructed", MODEL))
    if scores.kind != "categories" and scores.expected is not None and not wide:
        words.append(("± 2 deviations", SOFT))
    corner(figure, words + [("above threshold", WARN)] * (threshold is not None))


def _finding(scores: Any, chosen: list[int], threshold: float | None) -> str:
    if threshold is None:
        return f"What surprised {scores.name}, step by step"
    flags = [int((scores.by_step[n, : int(scores.lengths[n])] > threshold).sum()) for n in chosen]
    if len(chosen) == 1:
        return f"{flags[0]} of {scores.lengths[chosen[0]]} steps are above {short(threshold)} nats"
    return f"{sum(flag > 0 for flag in flags)} of {len(chosen)} sequences have steps above {short(threshold)} nats"
