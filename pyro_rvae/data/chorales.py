"""The embedded data set: J. S. Bach's four-part chorales."""

from __future__ import annotations

from importlib import resources

import numpy as np

from .datasets import SequenceDataset
from .forms import PianoRoll
from .splits import Splits

__all__ = ["bach_chorales"]

KEYS = 88
LOWEST = 21  # the MIDI number of a piano's lowest key, A0


def bach_chorales() -> Splits[SequenceDataset]:
    """362 four-part chorales as piano rolls: 19,712 frames of a quarter note, 88 keys.

    A key is 1 while a part sounds it at the quarter, whether struck there or held. The pieces are
    transposed to C major or A minor. The sides (252 / 55 / 55 pieces) are fixed, and no hymn tune stands
    on two of them: pieces whose soprano melodies are alike stay together, which makes this split harder
    than a random one. ``data.train.ids`` are the pieces' names in Bach's catalogue (``"bwv253"``),
    feature j is MIDI key 21 + j.

    It is not the JSB Chorales set of the literature (:func:`jsb_chorales`), whose figures do not compare.

    Source: the corpus of music21 (Cuthbert & Ariza 2010), made by ``python -m
    pyro_rvae.data.make_chorales``; notes and durations of works in the public domain.

    >>> data = bach_chorales()
    >>> data.test
    SequenceDataset(55 sequences, 2982 frames, x_dim=88, kind='binary', lengths 32-52-111)
    """
    with resources.files(__package__).joinpath("bach_chorales.npz").open("rb") as file:
        arrays = dict(np.load(file, allow_pickle=False))
    whole = SequenceDataset(
        rolls(arrays["pitches"]),
        arrays["lengths"],
        names=[f"midi{LOWEST + key}" for key in range(KEYS)],
        ids=arrays["ids"].tolist(),
        kind="binary",
    )
    whole.form = PianoRoll(frame=1.0)
    return Splits(*(whole.subset(arrays["split"] == side) for side in range(3))).linked()


def rolls(pitches: np.ndarray) -> np.ndarray:
    """MIDI numbers ``(T, parts)``, 0 for a rest, as bool piano rolls ``(T, 88)``."""
    roll = np.zeros((len(pitches), KEYS), dtype=bool)
    frame, part = np.nonzero(pitches)
    roll[frame, pitches[frame, part].astype(int) - LOWEST] = True
    return roll
