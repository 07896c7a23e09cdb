"""Piano rolls as Standard MIDI Files, and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import mido
import torch
from torch import Tensor

from .atomic import atomic

__all__ = ["read_midi", "write_midi"]

LOWEST = 21  # the MIDI number of a piano's lowest key, A0
TICKS = 480  # of a quarter note
DRUMS = 9  # General MIDI's channel of percussion, counted from 0: its "notes" are instruments, no pitches
Event = tuple[int, int, int]  # tick, 0 = off or 1 = on (so that off sorts first), MIDI number


def write_midi(path: str | Path, rolls: Tensor | Sequence[Tensor], *, tempo: float = 80.0, program: int = 19,
               lowest: int = LOWEST, rest: int = 4, frame: float = 1.0) -> None:
    """Writes piano rolls; a key that sounds in successive frames is one held note.

    Arguments:
        path: where to (``.mid``); written whole or not at all.
        rolls: ``(T, keys)``, or several, ``(N, T, keys)`` or a list: they follow each other, a rest between them.
            An element above 0.5 sounds.
        tempo: quarter notes a minute.
        program: General MIDI instrument, 0..127 (19 church organ, 0 piano, 52 choir).
        lowest: MIDI number of the first key.
        rest: frames of silence between two rolls.
        frame: how long a frame is, in quarter notes (0.25: a sixteenth).

    Raises ValueError for another shape, a key beyond MIDI's 0..127, or a tempo, program or frame out of range.
    """
    given: list[Any] = [rolls] if getattr(rolls, "ndim", 3) == 2 else list(rolls)
    pieces = [torch.as_tensor(roll) if hasattr(roll, "__array__") else roll for roll in given]  # NumPy's too
    _check(pieces, tempo, program, lowest, rest)
    grid = check_frame(frame)
    file = mido.MidiFile(ticks_per_beat=TICKS)
    track = mido.MidiTrack()
    file.tracks.append(track)
    track.append(mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(tempo)))
    track.append(mido.Message("program_change", program=program))
    start, now = 0, 0
    for piece in pieces:
        for tick, on, note in sorted(_events(piece.cpu() > 0.5, lowest, grid)):
            kind = "note_on" if on else "note_off"
            track.append(mido.Message(kind, note=note, velocity=72 if on else 0, time=start + tick - now))
            now = start + tick
        end = start + len(piece) * grid
        start = end + rest * grid
    track.append(mido.MetaMessage("end_of_track", time=end - now))
    with atomic(path) as target:
        file.save(file=target)


def check_frame(frame: float) -> int:
    """The ticks of a frame of so many quarter notes.

    Raises ValueError if they are no whole number.
    """
    ticks = TICKS * frame
    if not 0 < ticks <= 16 * TICKS or abs(ticks - round(ticks)) > 1e-9:
        raise ValueError(f"frame is the length of a frame in quarter notes, up to 16, that {TICKS} ticks can hold (1, "
                         f"0.5, 0.25, 1/3, ...); got {frame}")
    return round(ticks)


def _events(roll: Tensor, lowest: int, grid: int) -> Iterator[Event]:
    """Note on and off of each run of frames in which a key sounds."""
    silence = torch.zeros(1, roll.shape[1], dtype=torch.bool)
    change = torch.cat([roll, silence]).int() - torch.cat([silence, roll]).int()  # (T + 1, keys)
    for frame, key in change.nonzero().tolist():
        yield frame * grid, int(change[frame, key] > 0), lowest + key


def _check(pieces: list[Tensor], tempo: float, program: int, lowest: int, rest: int) -> None:
    if not pieces:
        raise ValueError("write_midi needs at least one piano roll (T, keys), got none")
    for piece in pieces:
        if not isinstance(piece, Tensor) or piece.dim() != 2 or not len(piece):
            shape = tuple(piece.shape) if isinstance(piece, Tensor) else type(piece).__name__
            raise ValueError(f"write_midi needs piano rolls (T, keys), got {shape}")
        if lowest < 0 or lowest + piece.shape[1] > 128:
            raise ValueError(f"MIDI has the keys 0..127; {piece.shape[1]} keys from {lowest} on go to "
                             f"{lowest + piece.shape[1] - 1}: give a lower `lowest`, or fewer keys")
    if not 4 <= tempo <= 1000:
        raise ValueError(f"tempo must be from 4 to 1000 quarter notes a minute, got {tempo}")
    if not 0 <= program <= 127:
        raise ValueError(f"program must be a General MIDI number from 0 to 127, got {program}")
    if rest < 0:
        raise ValueError(f"rest must be 0 or more frames, got {rest}")


def read_midi(path: str | Path, *, keys: int = 88, lowest: int = LOWEST, frame: float = 1.0) -> Tensor:
    """The piano roll ``(T, keys)`` of a MIDI file; all tracks and channels together, but that of percussion.

    A key sounds in a frame if a note stands there at the frame's beginning (times are rounded to the grid of
    ``frame`` quarter notes). A note that is struck again while it sounds can't be told from one that is held.

    Raises ValueError if the file is absent or no MIDI file, has no ticks of a beat, or a note beyond the keys.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    try:
        file = mido.MidiFile(path)
    except (OSError, EOFError, ValueError, KeyError, IndexError) as error:
        raise ValueError(f"{path} cannot be read as a Standard MIDI File: {error or type(error).__name__}") from error
    if file.ticks_per_beat <= 0:
        raise ValueError(f"{path} counts time in seconds (SMPTE), not in beats: export it with ticks of a quarter note")
    events = [(tick, i, message) for i, track in enumerate(file.tracks) for tick, message in _timed(track)]
    grid = file.ticks_per_beat * check_frame(frame) / TICKS
    end = max([tick for tick, _, _ in events], default=0)
    roll = torch.zeros(max(1, round(end / grid)), keys)
    for on, off, note in _notes(events, path, lowest, keys):
        roll[round(on / grid):round(off / grid), note - lowest] = 1.0
    return roll


def _notes(events: list[tuple[int, int, Any]], path: Path, lowest: int, keys: int) -> Iterator[tuple[int, int, int]]:
    """Start, end and number of each note."""
    for (_, channel, note), changes in _by_note(events).items():
        for (on, sounding), (off, _) in pairwise([*changes, (changes[-1][0], False)]):
            if sounding and not lowest <= note < lowest + keys:
                raise ValueError(f"{path} has the note {note} (channel {channel}), outside the {keys} keys from "
                                 f"{lowest}")
            if sounding:
                yield on, off, note


def _timed(track: Any) -> Iterator[tuple[int, Any]]:
    tick = 0
    for message in track:
        tick += message.time
        yield tick, message


def _by_note(events: list[tuple[int, int, Any]]) -> dict[tuple[int, int, int], list[tuple[int, bool]]]:
    """When each note of each track and channel starts (True) and stops (False)."""
    changes: dict[tuple[int, int, int], list[tuple[int, bool]]] = {}
    for tick, track, message in events:
        if message.type in ("note_on", "note_off") and message.channel != DRUMS:
            sounding = message.type == "note_on" and message.velocity > 0
            changes.setdefault((track, message.channel, message.note), []).append((tick, sounding))
    return changes
