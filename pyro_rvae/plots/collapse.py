"""Is the latent used: KL by dimension and by step."""

from __future__ import annotations

from typing import Any

import numpy as np

from .style import GREY, MODEL, SOFT, Array, Panels, headline, legend, needs, new_figure, tidy

__all__ = ["collapse_plot"]

NAMED = 40  # dimensions whose numbers fit under the bars
FEW = 0.05  # steps that a smaller share of the sequences reaches are left out


def collapse_plot(report: Any) -> Panels:
    """KL of each latent by dimension, sorted, the active units dark; and by step, where the latent has steps.

    Arguments:
        report: a :class:`~pyro_rvae.criticism.CollapseReport`.

    Where the KL has no closed form by dimension, the activity (variance of the posterior mean) is shown instead.

    Raises:
        TypeError: no report.
        ValueError: the report holds no latent.
    """
    needs(report, "collapse_plot", "a CollapseReport, as rv.collapse_report(model, data) returns it", "kl_by_dim")
    by_dim = {name: report.kl_by_dim.get(name, report.activity.get(name)) for name in _names(report)}
    by_step = {name: step for name, step in report.kl_by_step.items() if np.size(step) > 1}
    if not by_dim and not by_step:
        raise ValueError("the report holds no latent of which a KL or an activity is known: there is nothing to plot.")
    rows = list(dict.fromkeys([*by_dim, *by_step]))
    figure = new_figure(0.9 + 2.9 * len(rows))
    grid = figure.add_gridspec(len(rows), 2 if by_step else 1, width_ratios=[1.7, 1] if by_step else None)
    axes = []
    for i, name in enumerate(rows):
        if name in by_dim:
            axes.append(figure.add_subplot(grid[i, 0]))
            _dimensions(axes[-1], report, name, by_dim[name])
        if name in by_step:
            axes.append(figure.add_subplot(grid[i, 1]))
            _steps(axes[-1], report, name, np.asarray(by_step[name], dtype=float))
    headline(figure, _finding(report))
    return Panels(axes)


def _names(report: Any) -> list[str]:
    return list(dict.fromkeys([*report.kl_by_dim, *report.activity]))


def _finding(report: Any) -> str:
    measured = not report.activity or any(not np.isnan(a).all() for a in report.activity.values())
    text = f"{report.active_units} of {report.num_units} latent units are active; " * measured
    text += f"KL {report.kl:.2f} nats per {report.unit}"
    cost = report.shuffling_cost
    return text if np.isnan(cost) else f"{text}, another's latents cost {cost:+.2f}"


def _dimensions(axes: Any, report: Any, name: str, values: Array) -> None:
    order = np.argsort(values)[::-1]
    active = np.ones(len(values), bool)  # of what is not known nothing is said
    if name in report.activity:
        active = ~(report.activity[name] <= report.threshold)
    place = np.arange(len(values))
    for chosen, colour, label in ((active[order], MODEL, "active"), (~active[order], SOFT, "not active")):
        if chosen.any():
            axes.bar(place[chosen], values[order][chosen], width=0.8, color=colour, linewidth=0, label=label)
    closed = name in report.kl_by_dim
    tidy(axes, f"KL of {name} by dimension, nats per {report.unit}" if closed
         else f"variance of the posterior mean of {name} by dimension (its KL has no closed form)")
    if len(values) <= (NAMED if not report.kl_by_step else 32):
        axes.set_xticks(place, [str(d) for d in order], fontsize=8.5)
        axes.tick_params(axis="x", length=0)
    axes.set_xlabel("dimension, largest first", color=GREY)
    axes.margins(x=0.02)
    if not active.all():
        legend(axes, loc="upper right")


def _steps(axes: Any, report: Any, name: str, values: Array) -> None:
    enough = report.steps[name] >= max(1, FEW * report.steps[name].max())
    step = np.flatnonzero(enough) + 1
    axes.plot(step, values[enough], color=MODEL, linewidth=1.8)
    axes.axhline(0, color=GREY, linewidth=0.8)
    tidy(axes, f"KL of {name} by step, nats")
    axes.set_xlabel("step", color=GREY)
