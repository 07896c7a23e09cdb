"""Test statistics: plain functions of one sequence, ``(T, x_dim)`` as a NumPy array, to a number or a vector.

Any function of that form will do in :func:`~pyro_rvae.criticism.predictive_check`; these are those at hand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "GENERAL",
    "MUSIC",
    "Statistic",
    "autocorrelation",
    "average_autocorrelation",
    "average_mean",
    "average_scale",
    "consonance",
    "held_notes",
    "intervals",
    "mean",
    "melodic_intervals",
    "melodic_motion",
    "notes_per_frame",
    "pitch_classes",
    "scale",
    "silence",
    "statistics_for",
]

Array = NDArray[Any]
Statistic = Callable[[Array], Any]

LOWEST = 21  # MIDI number of the first of 88 keys, A0
LARGEST = 12  # melodic intervals beyond an octave count as an octave
CONSONANT = (0, 3, 4, 5, 7, 8, 9)  # octave, thirds, fourth, fifth, sixths


# -------------------------------------------------------------------------------- any data
def mean(x: Array) -> Array:
    """Mean over time, ``(x_dim,)``; missing elements (NaN) are left out."""
    return _quiet(np.nanmean, x)


def scale(x: Array) -> Array:
    """Standard deviation over time, ``(x_dim,)``."""
    return _quiet(np.nanstd, x)


def autocorrelation(x: Array, lag: int = 1) -> Array:
    """Correlation of each feature with itself ``lag`` steps earlier, ``(x_dim,)``; 0 for a constant or short
    one.
    """
    if len(x) <= lag:
        return np.zeros(x.shape[1])
    x = x - mean(x)
    both = _quiet(np.nanmean, x[lag:] * x[:-lag])
    power: Array = _quiet(np.nanmean, x * x)
    return np.divide(both, power, out=np.zeros_like(power), where=power > 1e-12)


def average_mean(x: Array) -> float:
    """:func:`mean`, averaged over features."""
    return float(mean(x).mean())


def average_scale(x: Array) -> float:
    """:func:`scale`, averaged over features."""
    return float(scale(x).mean())


def average_autocorrelation(x: Array) -> float:
    """:func:`autocorrelation` at lag 1, averaged over features."""
    return float(autocorrelation(x).mean())


def _quiet(reduce: Callable[..., Any], x: Array) -> Array:
    """A reduction over time; a feature that is wholly missing gives 0."""
    known = ~np.isnan(x).all(0)
    out = np.zeros(x.shape[1])
    out[known] = reduce(x[:, known], axis=0)
    return out


# -------------------------------------------------------------------------------- piano rolls
def notes_per_frame(x: Array) -> float:
    """Mean number of keys that sound at once."""
    return float((x > 0).sum(1).mean())


def silence(x: Array) -> float:
    """Share of frames in which nothing sounds."""
    return float((~(x > 0).any(1)).mean())


def held_notes(x: Array) -> float:
    """Share of the sounding keys that sounded in the frame before as well (first frame left out; 0 if none
    sound).

    A roll doesn't tell a held note from one that was struck again.
    """
    on = x > 0
    return float((on[1:] & on[:-1]).sum() / max(1, on[1:].sum()))


def pitch_classes(x: Array, lowest: int = LOWEST) -> Array:
    """Shares of the twelve pitch classes C, C#, ..., B among the sounding keys, ``(12,)``."""
    keys = np.nonzero(x > 0)[1] + lowest
    return _shares(np.bincount(keys % 12, minlength=12))


def intervals(x: Array) -> Array:
    """Shares of the intervals between all pairs of keys that sound together, modulo the octave, ``(12,)``."""
    frames, keys = np.nonzero(x > 0)
    counts = np.zeros(12)
    for apart in range(1, len(keys)):  # pairs of a frame stand at most as far apart as the frame has notes
        same = frames[apart:] == frames[:-apart]
        if not same.any():
            break
        counts += np.bincount((keys[apart:] - keys[:-apart])[same] % 12, minlength=12)
    return _shares(counts)


def consonance(x: Array) -> float:
    """Share of consonant intervals (octaves, thirds, fourths, fifths, sixths) among those that sound
    together.
    """
    return float(intervals(x)[list(CONSONANT)].sum())


def melodic_intervals(x: Array) -> Array:
    """Shares of the steps of the top voice, in semitones, -12 to 12 (wider ones count as 12), ``(25,)``.

    Between neighbouring frames that both sound.
    """
    steps = np.clip(_melody(x), -LARGEST, LARGEST)
    return _shares(np.bincount(steps + LARGEST, minlength=2 * LARGEST + 1))


def melodic_motion(x: Array) -> float:
    """Mean size of the steps of the top voice, in semitones a frame."""
    steps = _melody(x)
    return float(np.abs(steps).mean()) if len(steps) else 0.0


def _melody(x: Array) -> NDArray[np.int64]:
    """Steps of the highest sounding key between neighbouring frames that both sound."""
    frames, keys = np.nonzero(x > 0)
    top = np.full(len(x), -1)
    np.maximum.at(top, frames, keys)
    sounds = top >= 0
    steps: NDArray[np.int64] = np.diff(top)[sounds[1:] & sounds[:-1]].astype(np.int64)
    return steps


def _shares(counts: Array) -> Array:
    return np.asarray(counts / max(1, counts.sum()))


GENERAL: dict[str, Statistic] = {
    "average mean": average_mean,
    "average scale": average_scale,
    "average autocorrelation": average_autocorrelation,
    "mean": mean,
    "scale": scale,
    "autocorrelation": autocorrelation,
}
MUSIC: dict[str, Statistic] = {
    "notes per frame": notes_per_frame,
    "held notes": held_notes,
    "silence": silence,
    "consonance": consonance,
    "melodic motion": melodic_motion,
    "pitch classes": pitch_classes,
    "harmonic intervals": intervals,
    "melodic intervals": melodic_intervals,
}


def statistics_for(data: Any) -> dict[str, Statistic]:
    """What to look at by default: music for binary frames of 88 keys, otherwise mean, scale and
    autocorrelation.
    """
    return MUSIC if data.kind == "binary" and data.x_dim == 88 else GENERAL
