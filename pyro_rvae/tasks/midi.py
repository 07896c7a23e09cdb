"""Piano rolls as Standard MIDI Files, and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import mido
import torch
from torch import Tensor

from ..data.atomic import atomic

__all__ = ["read_midi", "write_midi"]

LOWEST = 21  # the MIDI number of a piano's lowest key, A0
TICKS = 480  # of a quarter note
Event = tuple[int, int, int]  # tick, 0 = off or 1 = on (so that off sorts first), MIDI number


def write_midi(path: str | Path, rolls: Tensor | Sequence[Tensor], *, tempo: float = 80.0, program: int = 19,
               lowest: int = LOWEST, rest: int = 4) -> None:
    """Writes piano rolls on a grid of quarter notes; a key that sounds in successive frames is one held note.

    Arguments:
        path: where to (``.mid``); written whole or not at all.
        rolls: ``(T, keys)``, or several, ``(N, T, keys)`` or a list: they follow each other, a rest between them.
            An element above 0.5 sounds.
        tempo: quarter notes a minute.
        program: General MIDI instrument, 0..127 (19 church organ, 0 piano, 52 choir).
        lowest: MIDI number of the first key.
        rest: frames of silence between two rolls.

    Raises ValueError for another shape, a key beyond MIDI's 0..127, or a tempo or program out of range.
    """
    pieces = [rolls] if isinstance(rolls, Tensor) and rolls.dim() == 2 else list(rolls)
    _check(pieces, tempo, program, lowest, rest)
    file = mido.MidiFile(ticks_per_beat=TICKS)
    track = mido.MidiTrack()
    file.tracks.append(track)
    track.append(mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(tempo)))
    track.append(mido.Message("program_change", program=program))
    start, now = 0, 0
    for piece in pieces:
        for tick, on, note in sorted(_events(piece.cpu() > 0.5, lowest)):
            kind = "note_on" if on else "note_off"
            track.append(mido.Message(kind, note=note, velocity=72 if on else 0, time=start + tick - now))
            now = start + tick
        end = start + len(piece) * TICKS
        start = end + rest * TICKS
    track.append(mido.MetaMessage("end_of_track", time=end - now))
    with atomic(path) as target:
        file.save(file=target)


def _events(roll: Tensor, lowest: int) -> Iterator[Event]:
    """Note on and off of each run of frames in which a key sounds."""
    silence = torch.zeros(1, roll.shape[1], dtype=torch.bool)
    change = torch.cat([roll, silence]).int() - torch.cat([silence, roll]).int()  # (T + 1, keys)
    for frame, key in change.nonzero().tolist():
        yield frame * TICKS, int(change[frame, key] > 0), lowest + key


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


def read_midi(path: str | Path, *, keys: int = 88, lowest: int = LOWEST) -> Tensor:
    """The piano roll ``(T, keys)`` of a MIDI file, a frame a quarter note; all tracks and channels together.

    A key sounds in a frame if a note stands there at the frame's beginning (times are rounded to the grid).

    Raises ValueError if the file is absent or no MIDI file, has no ticks of a beat, or a note beyond the keys.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    try:
        file = mido.MidiFile(path)
    except (OSError, EOFError, ValueError, KeyError, IndexError) as error:
        raise ValueError(f"{path} cannot be read as a Standard MIDI File: {error or type(error).__name__}") from error
    events = [(tick, message) for track in file.tracks for tick, message in _timed(track)]
    notes, end = [], 0
    for (channel, note), changes in _by_note(events).items():
        for (on, sounding), (off, _) in pairwise([*changes, (changes[-1][0], False)]):
            if sounding and not lowest <= note < lowest + keys:
                raise ValueError(f"{path} has the note {note} (channel {channel}), outside the {keys} keys from "
                                 f"{lowest}")
            notes += [(on, off, note)] if sounding else []
    grid = file.ticks_per_beat
    end = max([tick for tick, _ in events], default=0)
    roll = torch.zeros(max(1, round(end / grid)), keys)
    for on, off, note in notes:
        roll[round(on / grid):round(off / grid), note - lowest] = 1.0
    return roll


def _timed(track: Any) -> Iterator[tuple[int, Any]]:
    tick = 0
    for message in track:
        tick += message.time
        yield tick, message


def _by_note(events: list[tuple[int, Any]]) -> dict[tuple[int, int], list[tuple[int, bool]]]:
    """When each note of each channel starts (True) and stops (False)."""
    changes: dict[tuple[int, int], list[tuple[int, bool]]] = {}
    for tick, message in events:
        if message.type in ("note_on", "note_off"):
            sounding = message.type == "note_on" and message.velocity > 0
            changes.setdefault((message.channel, message.note), []).append((tick, sounding))
    return changes
