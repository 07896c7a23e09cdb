from __future__ import annotations

import hashlib
import importlib.util
import warnings
from importlib import resources

import numpy as np
import pytest
import torch

from pyro_rvae.data import bach_chorales
from pyro_rvae.data.chorales import LOWEST, rolls
from pyro_rvae.data.make_chorales import distances, piece

FOLDER = resources.files("pyro_rvae.data")


@pytest.fixture(scope="module")
def data():
    return bach_chorales()


@pytest.fixture(scope="module")
def arrays():
    with FOLDER.joinpath("bach_chorales.npz").open("rb") as file:
        return dict(np.load(file, allow_pickle=False))


def top_line(roll: torch.Tensor) -> list[int]:
    """Intervals of the highest sounding key, silence and repeated notes left out, from a roll alone."""
    keys = [int(frame.nonzero().max()) for frame in roll if frame.any()]
    return [b - a for a, b in zip(keys, keys[1:], strict=False) if a != b]


def test_sizes_of_the_set_and_of_its_file(data) -> None:
    assert [len(side) for side in data] == [252, 55, 55]
    assert [side.num_frames for side in data] == [13535, 3195, 2982]
    assert {side.x_dim for side in data} == {88} and {side.kind for side in data} == {"binary"}
    assert len(FOLDER.joinpath("bach_chorales.npz").read_bytes()) <= 100_000


def test_the_text_beside_the_file_belongs_to_it() -> None:
    text = FOLDER.joinpath("bach_chorales.md").read_text()
    assert hashlib.sha256(FOLDER.joinpath("bach_chorales.npz").read_bytes()).hexdigest() in text
    assert "public domain" in text


def test_each_piece_has_a_name_and_stands_once(data) -> None:
    ids = [name for side in data for name in side.ids]
    assert len(set(ids)) == len(ids) == 362 and all(name.startswith("bwv") for name in ids)
    assert "bwv253" in ids and data.train.names[0] == "midi21" and data.train.names[-1] == "midi108"
    assert len({roll.numpy().tobytes() for side in data for roll in side}) == 362


def test_four_parts_in_the_range_of_a_choir(data) -> None:
    for side in data:
        notes = side.values.sum(1)
        assert notes.max() == 4 and 3.7 < notes.mean() < 4.0
        keys = side.values.any(0).nonzero()[:, 0] + LOWEST
        assert keys.min() >= 30 and keys.max() <= 84
        assert all(roll[0].any() and roll[-1].any() for roll in side)


def test_pieces_are_in_c_major_or_a_minor(data, arrays) -> None:
    white = torch.tensor([(LOWEST + key) % 12 in (0, 2, 4, 5, 7, 9, 11) for key in range(88)])
    share = torch.stack([roll[:, white].sum() / roll.sum() for side in data for roll in side])
    assert share.mean() > 0.93 and (share > 0.8).all()
    assert set(np.unique([key.split()[1] for key in arrays["keys"]])) == {"major", "minor"}
    assert arrays["shift"].min() >= -5 and arrays["shift"].max() <= 6


def test_no_soprano_melody_stands_on_two_sides(data) -> None:
    lines = [{tuple(top_line(roll)) for roll in side} for side in data]
    assert not (lines[0] & lines[1] or lines[0] & lines[2] or lines[1] & lines[2])


def test_no_variant_of_a_tune_stands_on_two_sides(data) -> None:
    train, valid, test = ([top_line(roll) for roll in side] for side in data)
    for held, others in [(test, train + valid), (valid, train)]:
        assert distances(held, others).min() >= 0.35 and distances(held, others, inside=True).min() >= 0.25


def test_rolls_hold_what_the_pitches_say() -> None:
    roll = rolls(np.array([[60, 60, 48, 0], [0, 0, 0, 0], [108, 21, 22, 23]], dtype=np.uint8))
    assert roll.shape == (3, 88) and roll.sum(1).tolist() == [2, 0, 4]
    assert roll[0, [39, 27]].all() and roll[2, [87, 0, 1, 2]].all()


@pytest.mark.skipif(
    importlib.util.find_spec("music21") is None, reason="music21 makes the file; it is not installed"
)
def test_pieces_are_made_again_as_they_are(arrays) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other people's
        from music21 import corpus

        made = {name: piece(name, corpus.parse(f"bach/{name}")) for name in ("bwv253", "bwv101.7", "bwv339")}
        assert piece("bwv1.6", corpus.parse("bach/bwv1.6")) is None  # six parts
    cut = np.split(arrays["pitches"], np.cumsum(arrays["lengths"])[:-1])
    for name, again in made.items():
        i = arrays["ids"].tolist().index(name)
        assert np.array_equal(again.pitches, cut[i])
        assert (again.key, again.shift) == (arrays["keys"][i], arrays["shift"][i])
