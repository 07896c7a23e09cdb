"""A forecast of many features: a roll of what was seen, and behind it how probable each is."""

from __future__ import annotations

from typing import Any

import numpy as np

from .style import GREY, INK, Array, tidy, whole_numbers

__all__ = ["roll"]

OCTAVE = 12
LOWEST = 21  # the MIDI number of a piano's first key


def roll(axes: Any, found: Any, sequence: int, before: Array, times: Array, path: int | None) -> None:
    """Time to the right, features upwards; the past in black, behind it the mean of the draws, or one of them.

    Arguments:
        before: the frames seen, ``(P, D)``. times: of these and of the frames to come.
        path: the number of a draw; ``None``: the mean.
    """
    ahead = found.draws[:, sequence].mean(0) if path is None else found.draws[path, sequence]
    values = np.concatenate([before, ahead]).astype(float)
    low, high = _used(values)
    step = times[-1] - times[-2]
    border = times[len(before)] - step / 2
    top = 1.0 if found.kind == "binary" else float(np.nanmax(values)) or 1.0
    bottom = 0.0 if found.kind == "binary" else min(0.0, float(np.nanmin(values)))
    for part, colours, left, right in ((before, "Greys", times[0] - step / 2, border),
                                       (ahead, "Blues", border, times[-1] + step / 2)):
        axes.imshow(part.T[low:high], cmap=colours, vmin=bottom, vmax=top, aspect="auto", origin="lower",
                    interpolation="nearest", extent=(left, right, low - 0.5, high - 0.5), zorder=2)
    axes.axvline(border, color=GREY, linewidth=0.9, linestyle=(0, (3, 3)), zorder=4)
    axes.set_xlim(times[0] - step / 2, times[-1] + step / 2)
    what = "the mean of the draws" if path is None else f"draw {path + 1}"
    if found.kind == "binary" and path is None:
        what = "the probability of each"
    tidy(axes, f"The past in black, then {what}", grid="")
    _ticks(axes, found, low, high)
    whole_numbers(axes)


def _used(values: Array) -> tuple[int, int]:
    """From the first to behind the last feature that ever differs from the commonest value, with a margin."""
    used = np.flatnonzero((np.abs(np.nan_to_num(values)) > 0.02).any(0))
    if not len(used):
        return 0, values.shape[1]
    return max(0, int(used[0]) - 2), min(values.shape[1], int(used[-1]) + 3)


def _ticks(axes: Any, found: Any, low: int, high: int) -> None:
    """Octaves of a piano; else names, where there is room, or numbers."""
    if found.kind == "binary" and found.draws.shape[3] == 88:
        keys = [key for key in range(low, high) if (key + LOWEST) % OCTAVE == 0]
        axes.set_yticks(keys, [f"C{(key + LOWEST) // OCTAVE - 1}" for key in keys])
        axes.set_ylabel("pitch", color=INK)
        return
    every = max(1, -(-(high - low) // 16))
    axes.set_yticks(range(low, high, every), [str(found.features[d])[:18] for d in range(low, high, every)])
