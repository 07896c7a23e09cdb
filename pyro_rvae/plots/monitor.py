"""How the latent fared in training."""

from __future__ import annotations

from typing import Any

import numpy as np

from .style import GREY, INK, MODEL, PALE, WARN, Array, Panels, headline, legend, needs, new_figure, tidy
from .training import draw_weight, x_of_epochs

__all__ = ["monitor_plot"]


def monitor_plot(monitor: Any, *, unit: str = "frame") -> Panels:
    """The latent in training: its KL with the KL weight behind it, and how many of its units are active, by epoch.

    Arguments:
        monitor: a :class:`~pyro_rvae.CollapseMonitor`, or its rows.
        unit: ``"frame"``, or ``"item"`` for static data; of a monitor that has looked it is known.

    Looks at which a latent was found collapsed are red.

    Raises:
        TypeError: neither a monitor nor rows of one.
        ValueError: there is no row yet.
    """
    rows = list(monitor if isinstance(monitor, list | tuple) else getattr(monitor, "rows", [monitor]))
    if not rows:
        raise ValueError("the monitor has no row yet: train at least one epoch with it before plotting it.")
    for row in rows:
        needs(row, "monitor_plot", "a CollapseMonitor, or a list of its rows", "epoch", "kl", "active_units")
    unit = getattr(getattr(monitor, "report", None), "unit", unit)
    epoch = np.array([row.epoch for row in rows], dtype=float)
    figure = new_figure(3.3)
    left, right = figure.subplots(1, 2, width_ratios=[1.6, 1])
    kl = np.array([row.kl for row in rows])
    _looks(left, epoch, kl, rows)
    left.set_ylim(0, max(1e-3, 1.12 * kl.max()))
    tidy(left, f"KL, nats per {unit}")
    draw_weight(left, epoch, np.array([row.kl_weight for row in rows], dtype=float))
    _looks(right, epoch, np.array([row.active_units for row in rows], dtype=float), rows)
    right.axhline(rows[-1].num_units, color=PALE, linewidth=1.5, zorder=0)
    right.set_ylim(0, 1.12 * max(1, rows[-1].num_units))
    tidy(right, f"active units, of {rows[-1].num_units}")
    for axes in (left, right):
        x_of_epochs(axes, epoch)
        axes.set_xlabel("epoch", color=GREY)
    if any(row.collapsed for row in rows):
        legend(left, loc="best")
    headline(figure, _finding(rows, unit))
    return Panels([left, right])


def _looks(axes: Any, epoch: Array, values: Array, rows: list[Any]) -> None:
    """A line, with a dot a look; red where a latent was dead."""
    dead = np.array([bool(row.collapsed) for row in rows])
    axes.plot(epoch, values, color=MODEL, linewidth=1.8, zorder=3)
    for chosen, colour, label in ((~dead, MODEL, "alive"), (dead, WARN, "collapsed")):
        if chosen.any():
            axes.plot(epoch[chosen], values[chosen], "o", color=colour, markersize=4.5, markeredgecolor=INK,
                      markeredgewidth=0.2, label=label, zorder=4)


def _finding(rows: list[Any], unit: str) -> str:
    last = rows[-1]
    text = f"After epoch {last.epoch}: KL {last.kl:.2f} nats per {unit}, {last.active_units} of {last.num_units} units "
    text += "active"
    if last.collapsed:
        names = last.collapsed.split()
        text += f"; {' and '.join(names)} {'has' if len(names) == 1 else 'have'} collapsed"
    elif any(row.collapsed for row in rows):
        awake = next(row.epoch for i, row in enumerate(rows) if not any(later.collapsed for later in rows[i:]))
        text += f"; the latent woke up by epoch {awake}"
    return text
