"""How training went."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .style import (
    GREY,
    INK,
    MODEL,
    PALE,
    PAPER,
    SOFT,
    Array,
    Panels,
    headline,
    needs,
    new_figure,
    tidy,
    whole_numbers,
)

__all__ = ["draw_weight", "floor_name", "history_plot", "x_of_epochs"]


def history_plot(history: Any, *, floors: Mapping[str, float] | None = None, unit: str = "frame") -> Panels:
    """How training went: the bound beside the floors, reconstruction, KL and its weight, by epoch.

    Everything is a cost, as the history holds it (``elbo`` is minus the ELBO): lower is better.

    Arguments:
        history: what ``fit`` returned: columns ``epoch, elbo, reconstruction, kl, valid_elbo, ...,
            kl_weight``.
        floors: costs to draw as dashed lines, as :func:`pyro_rvae.criticism.floors` gives them (of the
            validation data).
        unit: ``"frame"``, or ``"item"`` for static data.

    Raises:
        TypeError: no history.
        ValueError: it is empty.
    """
    needs(history, "history_plot", "the History that fit returned", "__len__", "__getitem__")
    if isinstance(history, list | tuple | str | np.ndarray):
        raise TypeError(f"history_plot needs the History that fit returned, got {type(history).__name__}.")
    if not len(history):
        raise ValueError("the history is empty: train at least one epoch before plotting it.")
    epoch = np.asarray(history["epoch"], dtype=float)
    figure = new_figure(5.6)
    grid = figure.add_gridspec(2, 2, width_ratios=[1.6, 1])
    bound, reconstruction, kl = (
        figure.add_subplot(grid[where]) for where in ((slice(None), 0), (0, 1), (1, 1))
    )
    best = _lines(bound, epoch, history["elbo"], history["valid_elbo"], legend=True)
    _floors(bound, dict(floors or {}))
    tidy(bound, f"bound (minus ELBO), nats per {unit}")
    _lines(reconstruction, epoch, history["reconstruction"], history["valid_reconstruction"])
    tidy(reconstruction, f"reconstruction, nats per {unit}")
    _lines(kl, epoch, history["kl"], history["valid_kl"], robust=False)
    tidy(kl, f"KL, nats per {unit}")
    draw_weight(kl, epoch, np.asarray(history["kl_weight"], dtype=float))
    for axes in (bound, reconstruction, kl):
        x_of_epochs(axes, epoch)
    for axes in (bound, kl):
        axes.set_xlabel("epoch", color=GREY)
    reconstruction.tick_params(labelbottom=False, length=0)
    headline(
        figure, _verdict(best, dict(floors or {}), unit, validated=not np.isnan(history["valid_elbo"]).all())
    )
    return Panels([bound, reconstruction, kl])


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
        axes.legend(frameon=False, fontsize=10, labelcolor=INK, loc="best")
    return float(where[best]), float(costs[best])


def _floors(axes: Any, floors: dict[str, float]) -> None:
    low, high = axes.get_ylim()
    for name, cost in floors.items():
        low, high = min(low, cost - 0.05 * (high - low)), max(high, cost + 0.08 * (high - low))
        axes.axhline(cost, color=GREY, linewidth=1.2, linestyle=(0, (5, 4)), zorder=1)
        axes.annotate(
            f"{floor_name(name)} {cost:.2f}",
            (1.0, cost),
            xycoords=("axes fraction", "data"),
            xytext=(-2, 4),
            textcoords="offset points",
            fontsize=9.5,
            color=GREY,
            ha="right",
        )
    axes.set_ylim(low, high)


def floor_name(name: str) -> str:
    """What a floor is called in a picture."""
    return {"independent": "independent floor", "markov": "Markov floor"}.get(name, name)


def x_of_epochs(axes: Any, epoch: Array) -> None:
    """All epochs, in whole numbers."""
    pad = 0.02 * (epoch[-1] - epoch[0]) or 0.5
    axes.set_xlim(epoch[0] - pad, epoch[-1] + pad)
    whole_numbers(axes)
    if len(epoch) == 1:
        axes.set_xticks(epoch)


def draw_weight(axes: Any, epoch: Array, weight: Array) -> None:
    """The KL weight, pale, behind what is there; nothing where it is 1 throughout."""
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
        text += f", {abs(floor - cost):.2f} {'below' if cost < floor else 'above'} the {floor_name(name)}"
    return text
