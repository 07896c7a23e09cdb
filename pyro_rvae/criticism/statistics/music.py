"""Test statistics of piano rolls: functions of one sequence ``(T, keys)``, above 0 where a key sounds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .general import Statistic, run_length, shares

__all__ = [
    "MUSIC", "consonance", "held_notes", "intervals", "melodic_intervals", "melodic_motion", "note_length",
    "notes_per_frame", "pitch_classes", "silence",
]

Array = NDArray[Any]

LOWEST = 21  # MIDI number of the first of 88 keys, A0
LARGEST = 12  # melodic intervals beyond an octave count as an octave
CONSONANT = (0, 3, 4, 5, 7, 8, 9)  # octave, thirds, fourth, fifth, sixths


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


def note_length(x: Array) -> float:
    """Mean number of frames for which a key sounds on without a break; 0 if none sounds."""
    return run_length(x, above=0.0)


def pitch_classes(x: Array, lowest: int = LOWEST) -> Array:
    """Shares of the twelve pitch classes C, C#, ..., B among the sounding keys, ``(12,)``."""
    keys = np.nonzero(x > 0)[1] + lowest
    return shares(np.bincount(keys % 12, minlength=12))


def intervals(x: Array) -> Array:
    """Shares of the intervals between all pairs of keys that sound together, modulo the octave, ``(12,)``."""
    frames, keys = np.nonzero(x > 0)
    counts = np.zeros(12)
    for apart in range(1, len(keys)):  # pairs of a frame stand at most as far apart as the frame has notes
        same = frames[apart:] == frames[:-apart]
        if not same.any():
            break
        counts += np.bincount((keys[apart:] - keys[:-apart])[same] % 12, minlength=12)
    return shares(counts)


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
    return shares(np.bincount(steps + LARGEST, minlength=2 * LARGEST + 1))


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


MUSIC: dict[str, Statistic] = {
    "notes per frame": notes_per_frame,
    "held notes": held_notes,
    "note length": note_length,
    "silence": silence,
    "consonance": consonance,
    "melodic motion": melodic_motion,
    "pitch classes": pitch_classes,
    "harmonic intervals": intervals,
    "melodic intervals": melodic_intervals,
}
