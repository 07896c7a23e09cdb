"""Japanese vowels, with validation from the training side."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from pyro_rvae.data import japanese_vowels, vowels

FILE = "timeseries/japanese_vowels.npz"


@pytest.fixture
def file() -> Path:
    folder = os.environ.get("PYRO_RVAE_DATA")
    if not folder or not (Path(folder) / FILE).is_file():
        pytest.skip(f"{FILE} is in no folder that PYRO_RVAE_DATA names")
    return Path(folder) / FILE


def test_counts(file: Path) -> None:
    data = japanese_vowels()
    assert [len(side) for side in data] == [216, 54, 370]
    assert data.train.num_frames + data.valid.num_frames == 4274 and data.test.num_frames == 5687
    lengths = torch.cat([side.lengths for side in data])
    assert (lengths.min(), lengths.max()) == (7, 29)
    assert data.train.labels.bincount().tolist() == [24] * 9 and data.valid.labels.bincount().tolist() == [6] * 9
    assert data.test.labels.bincount().tolist() == [31, 35, 88, 44, 29, 24, 40, 50, 29]
    assert {(side.x_dim, side.kind, side.names[0]) for side in data} == {(12, "real", "cepstrum1")}


def test_sequences_and_labels_stay_together(file: Path) -> None:
    held = np.load(file)
    ends = held["train_lengths"].cumsum()
    own = [(x, label) for x, label in zip(np.split(held["train_values"], ends[:-1]), held["train_label"], strict=True)]
    data = japanese_vowels()
    for side, numbers in ((data.valid, [4, 9, 14]), (data.train, [0, 1, 2, 3, 5])):
        for n, number in enumerate(numbers):
            assert np.allclose(side[n].numpy(), own[number][0]) and side.labels[n] == own[number][1]


def test_every_fifth_of_each_speaker() -> None:
    speakers = np.array([0, 1, 0, 0, 1, 0, 0, 1, 1, 1, 0])
    assert vowels._held_out(speakers).nonzero()[0].tolist() == [6, 9]
