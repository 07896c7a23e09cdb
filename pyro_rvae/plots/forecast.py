"""A forecast as a fan: the past, the bands of what may come, and what came."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .ahead import roll
from .style import DATA, GREY, INK, MODEL, Array, Panels, headline, needs, new_figure, tidy, whole_numbers

__all__ = ["forecast_plot"]

LEVELS = (0.5, 0.8, 0.95)
SHADES = {1: (0.28,), 2: (0.40, 0.20), 3: (0.46, 0.28, 0.15)}  # opacity of the bands, from the inmost one
MOST = 8  # panels that are shown if nobody says which
PATHS = 3  # draws that are shown as they are


def forecast_plot(found: Any, truth: Any = None, *, sequence: int = 0, features: Sequence[int | str] | None = None,
                  levels: Sequence[float] = LEVELS, past: int | None = None, paths: int = PATHS,
                  title: str | None = None) -> Panels:
    """The end of the past, the median and central bands of the draws, a few of these, and what came.

    A panel for each feature, one under the other; of categories, the probability of each class at each step. Piano
    rolls (more than eight features of zeros and ones) are a roll of the past that goes on with the probability of each
    key, and a second one that goes on with the first draw, unless ``features`` are named. Along the
    bottom are the times of the data set, where it has any and they go on at one step; else steps from the last frame
    that was seen.

    Arguments:
        found: a :class:`~pyro_rvae.tasks.Forecast`.
        truth: what came, ``(H', D)`` with H' at most H, in raw units; NaN where it is missing. A list of sequences
            (a data set without transform) has that of ``sequence``.
        sequence: which of the N.
        features: numbers or names (default: the first eight).
        levels: of the central bands, at most three.
        past: frames of the past to show (default: twice the horizon, at least 10).
        paths: draws to show as lines, of real numbers.
        title: of the figure.

    Raises:
        TypeError: no forecast.
        ValueError: no such sequence or feature; a truth of another width, or longer than the forecast; no level, or
            more than three.
    """
    needs(found, "forecast_plot", "a Forecast, as forecast(model, past, horizon) returns it", "draws", "past", "kind")
    _, number, horizon, width = found.draws.shape
    if not 0 <= sequence < number:
        raise ValueError(f"forecast_plot: sequence must be 0 to {number - 1}, got {sequence!r}.")
    chosen, came = _features(found, features), _truth(truth, sequence, horizon, width)
    before = found.past[sequence][-(past or max(10, 2 * horizon)) :]
    times, label = _times(found, sequence, len(before))
    if features is None and found.kind == "binary" and width > MOST:
        return _rolls(found, sequence, before, came, times, label, title)
    figure = new_figure(1.3 + (2.6 if len(chosen) == 1 else 1.75) * len(chosen))
    axes = figure.subplots(len(chosen), 1, squeeze=False, sharex=True)[:, 0]
    for i, (panel, d) in enumerate(zip(axes, chosen, strict=True)):
        tidy(panel, textwrap.shorten(found.features[d], 70 if i else 50, placeholder=" ..."))
        if found.kind == "categories":
            _classes(panel, found, sequence, d, before[:, d], came[:, d], times)
        else:
            _fan(panel, found, sequence, d, before[:, d], came[:, d], times, _bands(levels), paths)
        if i == 0:
            panel.legend(frameon=False, fontsize=9, labelcolor=INK, ncols=8, loc="lower right", handlelength=1.4,
                         bbox_to_anchor=(1.0, 1.0), borderaxespad=0.1, columnspacing=1.2)
    axes[-1].set_xlabel(label, color=GREY)
    half = (times[-1] - times[-2]) / 2 * (found.kind != "real")  # what is drawn as steps is as wide as one
    axes[-1].set_xlim(times[0] - half, times[-1] + half)
    if found.times is None:
        whole_numbers(axes[-1])
    headline(figure, _title(found, sequence, len(chosen)) if title is None else title)
    return Panels(axes)


def _rolls(found: Any, sequence: int, before: Array, came: Array, times: Array, label: str,
           title: str | None) -> Panels:
    """Of many zeros and ones: the probabilities and one draw, and what came."""
    known = len(came) > 0
    figure = new_figure(7.4 + 3.2 * known)
    axes = figure.subplots(2 + known, 1, sharex=True, sharey=True)
    roll(axes[0], found, sequence, before, times, None)
    roll(axes[1], found, sequence, before, times, 0)
    if known:
        truth = np.full(found.draws.shape[2:], np.nan)
        truth[: len(came)] = came
        whole = replace(found, draws=np.stack([truth[None]] * found.draws.shape[1], 1))
        roll(axes[2], whole, sequence, before, times, 0)
        axes[2].set_title("What came", loc="left", fontsize=10.5, color=INK)
    axes[-1].set_xlabel(label, color=GREY)
    headline(figure, _title(found, sequence, found.draws.shape[3]) if title is None else title)
    return Panels(axes)


def _bands(levels: Sequence[float]) -> list[float]:
    chosen = sorted(float(level) for level in levels)
    if not 1 <= len(chosen) <= 3 or not all(0 < level < 1 for level in chosen):
        raise ValueError(f"forecast_plot: levels must be one to three probabilities between 0 and 1, got {levels!r}.")
    return chosen


def _features(found: Any, features: Sequence[int | str] | None) -> list[int]:
    names = list(found.features)
    if features is None:
        return list(range(min(MOST, len(names))))
    chosen = [names.index(f) if isinstance(f, str) and f in names else f for f in features]
    wrong = [f for f in chosen if isinstance(f, str) or not 0 <= f < len(names)]
    if wrong or not chosen:
        raise ValueError(f"forecast_plot: features must be numbers below {len(names)} or names of "
                         f"{', '.join(names[:8])}; got {wrong or 'none'}.")
    return [int(f) for f in chosen]


def _truth(truth: Any, sequence: int, horizon: int, width: int) -> Array:
    """What came ``(H', D)``, NaN where it is missing; of no frame where nobody knows."""
    if truth is None:
        return np.empty((0, width))
    rows = np.asarray(truth[sequence] if hasattr(truth, "padded") or isinstance(truth, list) else truth, dtype=float)
    if rows.ndim != 2 or rows.shape[1] != width or len(rows) > horizon:
        raise ValueError(f"forecast_plot: truth must be at most {horizon} frames of {width} features, got shape "
                         f"{rows.shape}.")
    return rows


def _times(found: Any, sequence: int, frames: int) -> tuple[Array, str]:
    """Where the frames shown stand: those of the past, then those to come."""
    horizon = found.draws.shape[2]
    if found.times is None:
        return np.arange(1 - frames, horizon + 1), "steps from the last frame that was seen"
    return np.concatenate([found.past_times[sequence][-frames:], found.times[sequence]]), "time"


def _fan(axes: Any, found: Any, sequence: int, d: int, before: Array, came: Array, times: Array,
         levels: list[float], paths: int) -> None:
    frames, style = len(before), "default" if found.kind == "real" else "steps-mid"
    # the bands begin where the past ends, so that nothing gapes
    joined, last = slice(frames - 1, None), before[-1:]
    step = None if found.kind == "real" else "mid"
    for level, shade in zip(reversed(levels), reversed(SHADES[len(levels)]), strict=True):
        low, high = (_from(last, end[sequence, :, d]) for end in found.interval(level))
        axes.fill_between(times[joined], low, high, color=MODEL, alpha=shade, linewidth=0, step=step,
                          label=f"{100 * level:g}%", zorder=2)
    for i, path in enumerate(found.draws[: paths if found.kind == "real" else 0, sequence, :, d]):
        axes.plot(times[joined], _from(last, path), color=MODEL, linewidth=0.7, alpha=0.55, zorder=3,
                  label="_" * (i > 0) + "draws")
    axes.plot(times[joined], _from(last, found.median[sequence, :, d]), color=MODEL, linewidth=1.9, label="median",
              drawstyle=style, zorder=4)
    axes.plot(times[:frames], before, color=INK, linewidth=1.4, label="past", drawstyle=style, zorder=5,
              marker="." if np.isnan(before).any() else None, markersize=4)
    if len(came):
        axes.plot(times[frames - 1 : frames + len(came)], _from(last, came), color=DATA, linewidth=1.6,
                  label="what came", drawstyle=style, zorder=6)
    axes.axvline(times[frames - 1], color=GREY, linewidth=0.8, linestyle=(0, (3, 3)), zorder=1)


def _from(last: Array, values: Array) -> Array:
    """What follows, from the last value that was seen on."""
    return np.concatenate([last, values])


def _classes(axes: Any, found: Any, sequence: int, d: int, before: Array, came: Array, times: Array) -> None:
    """The probability of each class, dark where it is certain; what was seen and what came as dots."""
    chances = found.probabilities[sequence, :, d].T
    frames, step = len(before), times[-1] - times[-2]  # there is a frame before each forecast
    first = times[frames] - step / 2
    axes.imshow(chances, cmap="Blues", vmin=0, vmax=1, aspect="auto", origin="lower", interpolation="nearest",
                extent=(first, times[-1] + step / 2, -0.5, len(chances) - 0.5), zorder=2)
    dots: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 4.5, "zorder": 3}
    axes.plot(times[:frames], np.where(before < 0, np.nan, before), color=INK, label="past", **dots)
    if len(came):
        axes.plot(times[frames : frames + len(came)], np.where(came < 0, np.nan, came), color=DATA, label="what came",
                  **dots)
    axes.axvline(first, color=GREY, linewidth=0.8, linestyle=(0, (3, 3)), zorder=1)
    axes.set_yticks(np.arange(len(chances)) if len(chances) <= 12 else [])
    axes.set_ylabel("class", color=GREY)


def _title(found: Any, sequence: int, shown: int) -> str:
    draws, number, horizon, width = found.draws.shape
    place = f"{sequence + 1} of {number}"
    which = f" after {found.ids[sequence]}" + f" ({place})" * (number > 1) if found.ids else \
        f" after sequence {place}" if number > 1 else ""
    some = f", {shown} of {width} features" if shown < width else ""
    return f"{found.name}: {draws} draws of the next {horizon} frames{which}{some}"
