"""Makes ``bach_chorales.npz`` from the corpus that comes with music21 (a minute on one core).

Run as ``python -m pyro_rvae.data.make_chorales``. It is the only part of the package that needs music21
(``pip install music21``), and nothing imports it. What it does, and why, stands in ``bach_chorales.md``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .atomic import atomic

__all__ = ["Piece", "clusters", "distances", "intervals", "main", "piece", "sides", "top_line"]

TARGET = Path(__file__).with_name("bach_chorales.npz")
SAME_TUNE = 0.35  # two melodies nearer than this are one tune (0 = equal, 1 = nothing in common)
INSIDE = 0.25  # a melody that lies this near to a stretch of another is the same tune
SHARE = 0.15  # of the pieces, for each of valid and test
MOST = 4  # a tune with more settings than this goes to train, lest one tune rule the test


@dataclass(frozen=True)
class Piece:
    """One chorale: ``pitches (T, 4)``, MIDI numbers of the four parts at each quarter, 0 = rest."""

    name: str
    key: str
    shift: int
    pitches: np.ndarray
    soprano: tuple[int, ...]


def piece(name: str, score: Any) -> Piece | None:
    """A parsed score as a :class:`Piece`, transposed to C major or A minor; None if it has not four parts."""
    parts = [_notes(part) for part in score.parts]
    if len(parts) != 4 or not all(parts):
        return None
    key = score.analyze("key")
    home = 0 if key.mode == "major" else 9
    shift = (home - key.tonic.pitchClass + 5) % 12 - 5  # -5..6: the nearest way there
    pitches = _trimmed(_grid(parts))
    pitches = np.where(pitches > 0, pitches + shift, 0).astype(np.uint8)
    soprano = tuple(intervals(midi for _, _, midi in parts[0]))
    return Piece(name, f"{key.tonic.name.replace('-', 'b')} {key.mode}", shift, pitches, soprano)


def _notes(part: Any) -> list[tuple[float, float, int]]:
    """(onset, duration, MIDI number) in quarters, in order of time; grace notes have no duration."""
    notes = part.flatten().notes
    return sorted(
        (float(n.offset), float(n.quarterLength), n.pitches[-1].midi) for n in notes if n.quarterLength
    )


def _grid(parts: Sequence[Sequence[tuple[float, float, int]]]) -> np.ndarray:
    """What sounds in each part at 0, 1, 2, ... quarters, held or struck alike: ``(T, parts)``."""
    end = max(onset + duration for notes in parts for onset, duration, _ in notes)
    grid = np.zeros((int(np.ceil(end - 1e-6)), len(parts)), dtype=int)
    for j, notes in enumerate(parts):
        for onset, duration, midi in notes:
            first, last = (int(np.ceil(moment - 1e-6)) for moment in (onset, onset + duration))
            grid[first:last, j] = midi
    return grid


def _trimmed(grid: np.ndarray) -> np.ndarray:
    """Without the silence before the first chord and after the last."""
    sounding = np.nonzero(grid.any(axis=1))[0]
    return grid[sounding[0] : sounding[-1] + 1]


def top_line(pitches: np.ndarray) -> list[int]:
    """The highest sounding key of each frame of ``(T, 4)``, silent frames left out."""
    top = pitches.max(axis=1)
    return [int(key) for key in top[top > 0]]


def intervals(melody: Iterable[int]) -> list[int]:
    """Steps in semitones from each note to the next one that differs: free of key and of rhythm."""
    steps = np.diff(np.fromiter(melody, dtype=int))
    return [int(step) for step in steps[steps != 0]]


def distances(
    melodies: Sequence[Sequence[int]], others: Sequence[Sequence[int]], *, inside: bool = False
) -> np.ndarray:
    """Edit distances of N melodies to M others, ``(N, M)``, as a share of the longer of the two.

    With ``inside=True``, of the whole melody to the nearest *stretch* of the other, as a share of the
    melody's length.
    """
    lengths = np.array([len(other) for other in others])
    columns = np.arange(lengths.max() + 1, dtype=np.int16)
    table = np.full((len(others), lengths.max()), 127, dtype=np.int16)
    for row, other in zip(table, others, strict=True):
        row[: len(other)] = other
    result = np.zeros((len(melodies), len(others)))
    for i, melody in enumerate(melodies):
        last = _last_row(melody, table, columns, free=inside)
        if inside:
            result[i] = np.where(columns <= lengths[:, None], last, np.inf).min(axis=1) / max(len(melody), 1)
        else:
            longer = np.maximum(lengths, max(len(melody), 1))
            result[i] = last[np.arange(len(others)), lengths] / longer
    return result


def _last_row(melody: Sequence[int], others: np.ndarray, columns: np.ndarray, *, free: bool) -> np.ndarray:
    """The last row of Levenshtein's table of `melody` against each row of `others`, all at once."""
    row = np.tile(columns * (not free), (len(others), 1))
    for i, step in enumerate(melody, start=1):
        best = np.minimum(row[:, :-1] + (others != step), row[:, 1:] + 1)
        best = np.concatenate([np.full((len(others), 1), i, dtype=np.int16), best], axis=1)
        # An insertion costs one more than the entry to the left: a running minimum in slanted coordinates.
        row = np.minimum.accumulate(best - columns, axis=1) + columns
    return row


def clusters(pieces: Sequence[Piece]) -> list[list[int]]:
    """Pieces that set one tune, by number: what is near, and what is near to what is near."""
    near = np.eye(len(pieces), dtype=bool)
    for melodies in ([p.soprano for p in pieces], [intervals(top_line(p.pitches)) for p in pieces]):
        contained = distances(melodies, melodies, inside=True) < INSIDE
        near |= (distances(melodies, melodies) < SAME_TUNE) | contained | contained.T
    groups: list[list[int]] = []
    left = set(range(len(pieces)))
    while left:
        group, frontier = set(), {min(left)}
        while frontier:
            group |= frontier
            frontier = {int(j) for i in frontier for j in np.nonzero(near[i])[0]} - group
        groups.append(sorted(group))
        left -= group
    return groups


def sides(pieces: Sequence[Piece]) -> np.ndarray:
    """For each piece 0 = train, 1 = valid, 2 = test; a tune stands on one side. ``(N,)``

    Tunes come in the order of a hash of their first piece's name: fixed, and blind to the music.
    """
    side = np.zeros(len(pieces), dtype=np.uint8)
    groups = [group for group in clusters(pieces) if len(group) <= MOST]
    groups.sort(key=lambda group: hashlib.sha256(pieces[group[0]].name.encode()).hexdigest())
    for group in groups:
        for choice in (2, 1):
            if (side == choice).sum() < SHARE * len(pieces):
                side[group] = choice
                break
    return side


def read_corpus() -> list[Piece]:
    """All four-part pieces of music21's Bach, in the order of their names; equal ones once."""
    from music21 import corpus

    paths = {
        Path(path).stem: path for path in corpus.getComposer("bach") if Path(path).suffix in (".mxl", ".xml")
    }
    pieces: list[Piece] = []
    seen: set[bytes] = set()
    for name in sorted(paths):
        found = piece(name, corpus.parse(paths[name]))
        if found is not None and found.pitches.tobytes() not in seen:
            seen.add(found.pitches.tobytes())
            pieces.append(found)
    return pieces


def write(pieces: Sequence[Piece], path: Path) -> None:
    """The pieces as one ``.npz``: the same bytes for the same pieces; whole or not at all."""
    arrays: dict[str, Any] = {
        "pitches": np.concatenate([p.pitches for p in pieces]),
        "lengths": np.array([len(p.pitches) for p in pieces], dtype=np.int16),
        "split": sides(pieces),
        "ids": np.array([p.name for p in pieces]),
        "keys": np.array([p.key for p in pieces]),
        "shift": np.array([p.shift for p in pieces], dtype=np.int8),
    }
    with atomic(path) as file:
        np.savez_compressed(file, **arrays)


def main() -> None:
    """Reads the corpus and writes the file beside this script."""
    pieces = read_corpus()
    write(pieces, TARGET)
    frames = sum(len(p.pitches) for p in pieces)
    print(f"{len(pieces)} pieces, {frames} frames, {TARGET.stat().st_size} bytes: {TARGET}")


if __name__ == "__main__":
    main()
