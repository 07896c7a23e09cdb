"""Music as MIDI files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ..datasets import SequenceDataset
from ..midi import check_frame, read_midi, write_midi
from .base import Form
from .folders import files_of, write_each

__all__ = ["PianoRoll"]


class PianoRoll(Form):
    """Music as piano rolls, binary ``x (T, keys)``: a Standard MIDI File each, or a folder of them.

    A key is 1 in a frame if it sounds at its beginning; a note that is struck again while it sounds can't be told from
    one that is held, so that reading what was written gives the same roll, and not always the same notes. Percussion
    is left out. Options of :meth:`write`: ``tempo`` (quarter notes a minute, default 80), ``program`` (General MIDI
    instrument, default 19, a church organ; 0 a piano), ``rest`` (quarter notes of silence between two pieces of one
    file, default 4).

    Arguments:
        lowest: MIDI number of the first key (21: A0, a piano's lowest).
        keys: how many.
        frame: length of a frame in quarter notes: 0.25 is a sixteenth; the chorales have 1.

    Raises:
        ValueError: keys beyond MIDI's 0..127, or a frame of no whole number of ticks.
    """

    endings = (".mid", ".midi")
    writes = endings
    each = True
    kind = "binary"

    def __init__(self, lowest: int = 21, keys: int = 88, frame: float = 0.25) -> None:
        whole = all(isinstance(n, int) and not isinstance(n, bool) for n in (lowest, keys))
        if not whole or lowest < 0 or keys < 1 or lowest + keys > 128:
            raise ValueError(f"PianoRoll: MIDI has the keys 0..127; got {keys!r} keys from {lowest!r} on")
        check_frame(frame)
        self.lowest, self.keys, self.frame = lowest, keys, frame
        self.x_dim = keys

    def settings(self) -> dict[str, Any]:
        return {"lowest": self.lowest, "keys": self.keys, "frame": self.frame}

    @property
    def names(self) -> list[str]:
        """Of the features: ``midi21, ...``."""
        return [f"midi{self.lowest + key}" for key in range(self.keys)]

    def read(self, path: str | Path) -> SequenceDataset:
        files = files_of(path, self.endings)
        rolls = [read_midi(file, keys=self.keys, lowest=self.lowest, frame=self.frame) for file in files]
        for file, roll in zip(files, rolls, strict=True):
            if not roll.any():
                raise ValueError(f"{file} has no notes (that last to the beginning of a frame of {self.frame:g} "
                                 "quarter notes): leave it out, or choose shorter frames")
        data = SequenceDataset.from_sequences(rolls, names=self.names, ids=[f.stem for f in files], kind="binary")
        data.form = self
        return data

    def _write(self, path: Path, sequences: list[Tensor], ids: Sequence[str], *args: Any, tempo: float = 80.0,
               program: int = 19, rest: float = 4.0, **options: Any) -> None:
        silence = round(rest / self.frame)

        def write(target: Path, rolls: list[Tensor]) -> None:
            write_midi(target, rolls, tempo=tempo, program=program, lowest=self.lowest, rest=silence, frame=self.frame)

        if path.suffix:
            write(path, sequences)
        else:
            write_each(path, [[roll] for roll in sequences], ids, ".mid", write)
