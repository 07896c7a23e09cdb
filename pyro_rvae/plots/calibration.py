"""Are the model's probabilities, and the guide's, what they claim to be?"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..criticism.importance import LEAST, good_k
from ..criticism.tables import count
from .style import (
    DATA,
    GREY,
    INK,
    MODEL,
    PALE,
    SOFT,
    WARN,
    Array,
    Panels,
    finished,
    headline,
    legend,
    needs,
    new_figure,
    one_panel,
    tidy,
)

__all__ = ["coverage_plot", "crps_plot", "khat_plot", "pit_plot", "sbc_plot"]

MOST = 12  # rank histograms in a figure
BINS = 20
FEW = 0.1  # of the elements of the fullest step: a step with fewer is noise
SCORES = "PredictiveScores, as rv.criticism.predictive_scores(model, data) returns them"


# ------------------------------------------------------------------------------------------------ the guide
def sbc_plot(calibration: Any, *, most: int = MOST) -> Panels:
    """Rank histograms of simulation-based calibration, with the band in which a bar stays if the guide is exact.

    Arguments:
        calibration: a :class:`~pyro_rvae.criticism.Calibration`.
        most: histograms shown: those of the smallest p-values.

    Flat within the band: exact. High at both ends: too narrow. A hump: too wide. A slope: shifted.

    Raises:
        TypeError: no calibration.
    """
    needs(calibration, "sbc_plot", "a Calibration, as rv.criticism.sbc(model, data) returns it", "p_values",
          "histogram")
    order = np.argsort(calibration.p_values, kind="stable")[:most]
    columns = min(4, len(order))
    rows = -(-len(order) // columns)
    figure = new_figure(0.9 + 2.1 * rows)
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    counts, expected = calibration.histogram(), calibration.expected()
    low, high = calibration.histogram_band()
    for ax, q in zip(axes, order, strict=False):
        _ranks(ax, counts[q], expected, low, high, bad=calibration.verdicts[q] != "ok")
        word = calibration.verdicts[q]
        tidy(ax, f"{calibration.quantities[q]}: {word}", colour=INK if word == "ok" else WARN)
    for ax in axes[len(order) :]:
        ax.set_visible(False)
    for ax in axes[max(0, len(order) - columns) : len(order)]:
        ax.set_xlabel(f"rank among {calibration.num_draws} draws", color=GREY)
    verdict = calibration.verdict
    headline(figure, verdict[0].upper() + verdict[1:])
    return Panels(axes[: len(order)])


def _ranks(axes: Any, counts: Array, expected: Array, low: Array, high: Array, *, bad: bool) -> None:
    edges = np.linspace(0, 1, len(counts) + 1)
    axes.stairs(high, edges, baseline=low, fill=True, color=PALE, zorder=1)
    axes.stairs(expected, edges, baseline=None, color=GREY, linewidth=1.0, zorder=2)
    middle = (edges[1:] + edges[:-1]) / 2
    axes.bar(middle, counts, width=0.62 / len(counts), color=WARN if bad else MODEL, linewidth=0, zorder=3, alpha=0.85)
    axes.set_xticks([0, 1], ["lowest", "highest"])
    for label, side in zip(axes.get_xticklabels(), ("left", "right"), strict=True):
        label.set_horizontalalignment(side)
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)


def khat_plot(found: Any, *, axes: Any = None) -> Panels:
    """Pareto k of each sequence's importance weights: low where the guide covers the posterior.

    Arguments:
        found: an :class:`~pyro_rvae.criticism.Evaluation`, :class:`~pyro_rvae.criticism.SmoothedWeights` or
            :class:`~pyro_rvae.criticism.LeaveOneOut`: what has ``pareto_k (N,)`` and ``num_particles``.
        axes: to draw into.

    Points stand above or below the axes' range where k is infinite; where it is unknown (NaN) there is none.

    Raises:
        TypeError: something else.
    """
    needs(found, "khat_plot", "an Evaluation, or what psis or loo returns", "pareto_k", "num_particles")
    what = "item" if getattr(found, "unit", "") == "item" else "sequence"
    k, edge = np.asarray(found.pareto_k), good_k(found.num_particles)
    few = found.num_particles < LEAST
    known = k[~np.isnan(k)]
    top = max(1.3, float(known[np.isfinite(known)].max(initial=0.0)) * 1.08)
    bottom = min(-0.3, float(known[np.isfinite(known)].min(initial=0.0)) * 1.08)
    ax = one_panel(axes, 4.4)
    place = np.arange(1, len(k) + 1)
    for low, high, colour, label in (
        (-np.inf, edge, MODEL, f"up to {edge:.2f}: to be trusted"),
        (edge, max(edge, 1.0), DATA, "up to 1: IWAE is biased"),
        (max(edge, 1.0), np.inf, WARN, "above 1: the bound says little"),
    ):
        with np.errstate(invalid="ignore"):
            here = (k > low) & (k <= high) if np.isfinite(low) else k <= high
        shown = np.clip(k[here], bottom, top)
        ax.plot(place[here], shown, "o", color=colour, markersize=5, label="" if few else f"{label} ({here.sum()})")
    for line in dict.fromkeys((edge, 1.0)):
        if not few:
            ax.axhline(line, color=GREY, linewidth=1.0, linestyle=(0, (5, 4)))
    tidy(ax, "", grid="")
    ax.set_ylim(bottom - 0.08, top + 0.08)
    ax.set_xlabel(what, color=GREY)
    ax.set_ylabel("Pareto k", color=GREY)
    if not few:
        legend(ax, ncols=3, loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0.2)
    good = int((known <= edge).sum())
    if few:
        words = f"{count(found.num_particles)} can't tell Pareto k: a tail to fit needs at least {LEAST}"
    elif not len(known):
        words = "No weights have a tail to fit: Pareto k is unknown"
    else:
        words = f"{good} of {count(len(known), what)} have a Pareto k that {found.num_particles} particles can do with"
    return finished(ax, axes, words)


# ------------------------------------------------------------------------------------------------ predictions
def pit_plot(found: Any, *, axes: Any = None) -> Panels:
    """Histogram of where the data stand among the model's draws: flat if the predictive laws are right.

    Arguments:
        found: a :class:`~pyro_rvae.criticism.Pit`, :class:`~pyro_rvae.criticism.PredictiveScores`, or an array of
            values in (0, 1); NaN is left out.
        axes: to draw into.

    A U: predictions too narrow. A hump: too wide. A slope: biased. Elements of one sequence depend on each other, so
    bars leave the flat line by more than independent ones would; no band is drawn.

    Raises:
        TypeError: no numbers.
        ValueError: no values, or one outside 0 to 1.
    """
    values = _pit(found)
    if not values.size:
        raise ValueError("there are no PIT values: categories have no order, so they have none.")
    if values.min() < 0 or values.max() > 1:
        raise ValueError(f"PIT values lie between 0 and 1, got {values.min():.4g} to {values.max():.4g}: pass a Pit, "
                         "PredictiveScores, or ranks among draws.")
    counts = np.histogram(values, np.linspace(0, 1, BINS + 1))[0] / values.size * BINS
    ax = one_panel(axes, 3.8)
    ax.bar((np.arange(BINS) + 0.5) / BINS, counts, width=0.9 / BINS, color=SOFT, linewidth=0)
    ax.axhline(1.0, color=INK, linewidth=1.2)
    ax.set_xlim(0, 1)
    tidy(ax, "")
    ax.set_xlabel("where the data stand among the draws (0: below all of them, 1: above)", color=GREY)
    ax.set_ylabel("density", color=GREY)
    inside, lean = float((np.abs(values - 0.5) < 0.4).mean()), values.mean() - 0.5
    words = "predictions are about as wide as they should be"
    if abs(lean) > 0.05:
        words = f"predictions are too {'low' if lean > 0 else 'high'}"
    elif abs(inside - 0.8) > 0.05:
        words = f"predictions are too {'narrow' if inside < 0.8 else 'wide'}"
    what = f"PIT of {found.of}" if hasattr(found, "of") else f"PIT of {values.size:,} numbers"
    return finished(ax, axes, f"{what}: {words}")


def _pit(found: Any) -> Array:
    inner = getattr(found, "scores", found)
    held = getattr(inner, "pit", getattr(inner, "values", inner))
    values = np.asarray([] if held is None else held)
    if values.dtype.kind not in "fiu":
        raise TypeError("pit_plot needs a Pit, PredictiveScores, or an array of values in (0, 1); got "
                        f"{type(found).__name__}.")
    values = values.astype(float).ravel()
    return values[~np.isnan(values)]


def coverage_plot(scores: Any, *, axes: Any = None) -> Panels:
    """Share of the data in central intervals of each level, and two standard errors over sequences.

    Arguments:
        scores: :class:`~pyro_rvae.criticism.PredictiveScores`.
        axes: to draw into.

    On the line: right. Below it: intervals too narrow.

    Raises:
        TypeError: no scores.
    """
    needs(scores, "coverage_plot", SCORES, "coverage", "drawn_by")
    level = np.linspace(0.05, 0.95, 19)
    share, error = np.array([scores.coverage(float(one)) for one in level]).T
    ax = one_panel(axes, 5.2)
    ax.plot([0, 1], [0, 1], color=GREY, linewidth=1.2, linestyle=(0, (5, 4)), label="right")
    ax.fill_between(level, share - 2 * error, share + 2 * error, color=SOFT, alpha=0.5, linewidth=0)
    ax.plot(level, share, "o-", color=MODEL, markersize=4, linewidth=1.8, label="model, ± 2 standard errors")
    ax.set(xlim=(0, 1), ylim=(0, 1))
    tidy(ax, "", grid="both")
    ax.set_xlabel("level of the interval", color=GREY)
    ax.set_ylabel("share of the data inside", color=GREY)
    legend(ax, loc="upper left")
    words = f"80% intervals of {_kind(scores)} predictions cover {scores.coverage(0.8)[0]:.0%} of the data"
    return finished(ax, axes, words)


def crps_plot(scores: Any, *, score: str = "crps", axes: Any = None) -> Panels:
    """A score by step, or behind a prefix by horizon, beside that of the training marginals; ± one standard error.

    Steps that have fewer than a tenth of the elements of the fullest one are left out.

    Arguments:
        scores: :class:`~pyro_rvae.criticism.PredictiveScores`.
        score: ``crps, energy, absolute_error`` or ``squared_error``.
        axes: to draw into.

    Raises:
        TypeError: no scores.
    """
    needs(scores, "crps_plot", SCORES, "by_step", "labels", "skill")
    ax = one_panel(axes, 4.2)
    both = [(False, MODEL, scores.name), (True, GREY, "training marginals")]
    for reference, colour, label in both[: 1 + (scores.reference is not None)]:
        found = scores.by_step(score, reference=reference)
        enough = found.elements >= FEW * found.elements.max()
        step, value, error = np.flatnonzero(enough) + 1, found.value[enough], found.error[enough]
        ax.fill_between(step, value - error, value + error, color=colour, alpha=0.18, linewidth=0)
        ax.plot(step, value, color=colour, linewidth=1.8, label=label)
    ax.set_ylim(bottom=0)
    tidy(ax, "")
    ax.set_xlabel("steps ahead" if np.any(scores.prefix > 0) else "step", color=GREY)
    ax.set_ylabel(scores.labels[score], color=GREY)
    legend(ax)
    words = f"{scores.labels[score]} of {_kind(scores)} predictions: {scores.mean(score)[0]:.4g}"
    skill = scores.skill(score)[0]
    if np.isfinite(skill):
        words += f", {abs(skill):.0%} {'better' if skill >= 0 else 'worse'} than the training marginals"
    return finished(ax, axes, words)


def _kind(scores: Any) -> str:
    return str(scores.drawn_by.replace("_", "-"))
