"""Bounds beside floors, and where in time a model pays."""

from __future__ import annotations

from typing import Any

import numpy as np

from .style import DATA, GREY, INK, MODEL, PAPER, SOFT, Panels, finished, legend, needs, one_panel, tidy
from .training import floor_name

__all__ = ["bounds_plot", "steps_plot"]

WANTED = "an Evaluation, as rv.evaluate(model, data) returns it"
FEW = 0.05  # steps that a smaller share of the sequences reaches are left out


def bounds_plot(evaluation: Any, *, level: float = 0.95, axes: Any = None) -> Panels:
    """The bounds with their bootstrap intervals over sequences, beside the floors; costs, lower is better.

    Arguments:
        evaluation: an :class:`~pyro_rvae.criticism.Evaluation`.
        level: of the intervals.
        axes: to draw into.

    Raises:
        TypeError: no evaluation.
    """
    needs(evaluation, "bounds_plot", WANTED, "bounds", "floors")
    printed = evaluation.printed
    floors = [(floor_name(name), cost) for name, cost in evaluation.floors.items()]
    ax = one_panel(axes, 1.5 + 0.5 * (len(floors) + len(printed)))
    rows = len(floors) + len(printed)
    for i, (name, cost) in enumerate(floors):
        ax.axvline(cost, color=GREY, linewidth=1.0, linestyle=(0, (5, 4)), zorder=1)
        _row(ax, rows - 1 - i, name, cost, "o", GREY)
    for i, (name, k) in enumerate(printed.items()):
        place, cost = len(printed) - 1 - i, evaluation.bounds[name]
        low, high = evaluation.interval(k, level=level)
        ax.hlines(place, low, high, color=SOFT, linewidth=7, zorder=2)
        _row(ax, place, name, cost, "o", MODEL)
    ax.set_yticks([])
    ax.set_ylim(-0.6, rows - 0.4)
    tidy(ax, "", grid="x")
    ax.margins(x=0.14)
    ax.set_xlabel(f"nats per {evaluation.unit}, lower is better; bars: {level:.0%} interval over "
                  f"{'sequences' if evaluation.unit == 'frame' else 'items'}", color=GREY)
    return finished(ax, axes, _finding(evaluation))


def _row(axes: Any, place: int, name: str, cost: float, marker: str, colour: str) -> None:
    axes.plot([cost], [place], marker, color=colour, markersize=8, zorder=4)
    axes.annotate(f"{name}  {cost:.3f}", (cost, place), (0, 9), textcoords="offset points", ha="center", fontsize=10.5,
                  color=INK if colour == MODEL else GREY, zorder=5,
                  bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1.5})


def _finding(evaluation: Any) -> str:
    name, cost = next(iter(evaluation.bounds.items()))
    text = f"{evaluation.name}: {name} {cost:.2f} nats per {evaluation.unit}"
    if evaluation.includes:
        text += f", including {evaluation.includes}"
    elif evaluation.floors and not evaluation.point:
        floor, least = min(evaluation.floors.items(), key=lambda item: item[1])
        text += f", {abs(least - cost):.2f} {'below' if cost < least else 'above'} the {floor_name(floor)}"
    return text


def steps_plot(evaluation: Any, *, axes: Any = None) -> Panels:
    """Minus the ELBO by step, and its two parts: a mean over the sequences that reach the step.

    Arguments:
        evaluation: an :class:`~pyro_rvae.criticism.Evaluation` of a model with time.
        axes: to draw into.

    Steps that fewer than 5% of the sequences reach are left out.

    Raises:
        TypeError: no evaluation.
        ValueError: the data are static: there are no steps.
    """
    needs(evaluation, "steps_plot", WANTED, "by_step")
    costs = evaluation.by_step
    if costs is None:
        raise ValueError("the evaluation is of static data: its costs have no steps to plot.")
    enough = costs.num_sequences >= max(1, FEW * costs.num_sequences.max())
    step = np.flatnonzero(enough) + 1
    ax = one_panel(axes, 4.4)
    style = {"marker": "o", "markersize": 4} if len(step) == 1 else {}
    total = "cost at a point (no bound)" if evaluation.point else "ELBO"
    names = {"elbo": (total, INK, 2.0), "reconstruction": ("reconstruction", DATA, 1.6), "kl": ("KL", MODEL, 1.6)}
    for name, (label, colour, width) in names.items():
        ax.plot(step, costs.series[name][enough], color=colour, linewidth=width, label=label, **style)
    ax.axhline(0, color=GREY, linewidth=0.8)
    tidy(ax, "")
    ax.set_ylim(top=ax.get_ylim()[1] + 0.14 * np.ptp(ax.get_ylim()))
    legend(ax, ncols=3, loc="upper right")
    ax.set_xlabel("step", color=GREY)
    ax.set_ylabel("nats", color=GREY)
    first, rest = costs.series["elbo"][enough][0], costs.series["elbo"][enough][1:]
    words = f"{evaluation.name}: the first step costs {first:.2f} nats"
    words += f", the others {rest.mean():.2f} on average" if len(rest) else ""
    once = float(costs.once.mean())
    return finished(ax, axes, words + (f"; {once:.2f} a sequence belong to no step" if abs(once) > 0.005 else ""))
