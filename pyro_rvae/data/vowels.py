"""Japanese vowels: one utterance of nine speakers, many times."""

from __future__ import annotations

import numpy as np

from .datasets import SequenceDataset
from .local import check_copy, digest, local_copy
from .npz import read_npz
from .splits import Splits
from .standard import Origin

__all__ = ["japanese_vowels"]

ARRAYS = {"train_values": "<f4", "train_lengths": "<i8", "train_label": "<i8",
          "test_values": "<f4", "test_lengths": "<i8", "test_label": "<i8"}
EVERY = 5  # a training utterance of so many, of each speaker, is for validation
VOWELS = Origin(
    "timeseries/japanese_vowels.npz", (), "8f755e5010b280b41f00c04c8deafaac82d6fa181103ec3e0777a5b2305f206f"
)
MADE = ("It is UCI's Japanese Vowels as an .npz file with the arrays train_values (4274, 12) and test_values (5687, "
        "12), all utterances one behind the other, train_lengths, test_lengths (N,), and train_label, test_label (N,) "
        "from 0.")


def japanese_vowels() -> Splits[SequenceDataset]:
    """640 utterances of the vowels /ae/ by nine men, 7 to 29 frames of 12 cepstral coefficients: 216 / 54 / 370.

    ``labels`` are the speakers, 0 to 8. The split into 270 for training and 370 for test is the set's own; every fifth
    of a speaker's 30 training utterances is for validation. The numbers are real, in the units of the file:
    ``.standardize()`` gives them deviation 1.

    Source: Kudo, Toyama & Shimbo (1999), "Multidimensional Curve Classification Using Passing-Through Regions", Pattern
    Recognition Letters 20; UCI Machine Learning Repository.

    The file is looked for as ``timeseries/japanese_vowels.npz`` in the folder that ``PYRO_RVAE_DATA`` names, then in
    the user's cache (see :func:`jsb_chorales`). It is not downloaded; its content must have the known SHA-256.

    :raises ValueError: if there is no such file, or its content is another.
    """
    path = local_copy(VOWELS, MADE)
    held = read_npz(path)
    arrays = {name: np.asarray(held[name], dtype=form) for name, form in ARRAYS.items() if name in held}
    check_copy(digest(arrays.values()), VOWELS, path, MADE)
    train, test = (_side(arrays, side) for side in ("train", "test"))
    held_out = _held_out(arrays["train_label"])
    return Splits(train.subset(~held_out), train.subset(held_out), test).linked()


def _side(arrays: dict[str, np.ndarray], side: str) -> SequenceDataset:
    values, lengths, labels = (arrays[f"{side}_{part}"] for part in ("values", "lengths", "label"))
    names = [f"cepstrum{i}" for i, _ in enumerate(values.T, 1)]
    return SequenceDataset(values, lengths, labels=labels, names=names, kind="real")


def _held_out(speakers: np.ndarray) -> np.ndarray:
    """True for every fifth utterance of each speaker, in the order of the file."""
    rank = np.array([(speakers[:i] == speaker).sum() for i, speaker in enumerate(speakers)])
    return np.asarray(rank % EVERY == EVERY - 1)
