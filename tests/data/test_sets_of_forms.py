"""Standard sets of strokes, spoken and handwritten digits: their counts, their forms, and where they come from."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from pyro_rvae.data import (
    Images,
    PianoRoll,
    Spectrum,
    StaticDataset,
    Strokes,
    bach_chorales,
    mnist_digits,
    omniglot_strokes,
    pen_digits,
    spoken_digits,
)

SETS = {
    omniglot_strokes: ("strokes/omniglot_stroke3.npz", [30000, 1000, 1000], [933430, 31719, 31144], Strokes()),
    pen_digits: ("strokes/pendigits.npz", [6746, 748, 3498], [53968, 5984, 27984], Strokes(up=True)),
    spoken_digits: ("fsdd/fsdd600.npz", [240, 60, 300], None, Spectrum()),
    mnist_digits: ("mnist/t10k-images-idx3-ubyte.gz", [8000, 1000, 1000], [224000, 28000, 28000], Images(28, 28)),
}


def needs(path: str) -> None:
    folder = os.environ.get("PYRO_RVAE_DATA")
    if not folder or not (Path(folder) / path).is_file():
        pytest.skip(f"{path} is not in the folder that PYRO_RVAE_DATA names (or that is not set)")


@pytest.mark.parametrize("loader", SETS, ids=lambda loader: loader.__name__)
def test_sets_have_their_known_counts(loader) -> None:
    path, sequences, frames, form = SETS[loader]
    needs(path)
    data = loader()
    assert [len(side) for side in data] == sequences and all(side.form == form for side in data)
    assert frames is None or [side.num_frames for side in data] == frames
    assert all(side.reference is data.train for side in data)


def test_strokes_are_scaled_by_the_training_moves() -> None:
    needs(SETS[omniglot_strokes][0])
    data = omniglot_strokes()
    assert data.train.values[:, :2].std(correction=0) == pytest.approx(1.0, abs=1e-6)
    assert set(data.test.values[:, 2].unique().tolist()) == {0.0, 1.0}
    raw = data.valid.transform.inverse(data.valid[0])
    assert torch.allclose(raw, raw.round(), atol=1e-9), "whole numbers, as they were drawn"
    assert data.valid.transform.scale.tolist() == [pytest.approx(53.437, abs=1e-3)] * 2 + [1.0]


def test_pen_digits_go_through_their_points() -> None:
    needs(SETS[pen_digits][0])
    data = pen_digits()
    held = np.load(Path(os.environ["PYRO_RVAE_DATA"]) / SETS[pen_digits][0])
    points = data.test.transform.inverse(data.test[0])[:, :2].cumsum(0) + 50
    np.testing.assert_allclose(points, held["test_xy"][0], atol=1e-9)
    assert data.test.labels.tolist() == held["test_label"].tolist()
    assert data.train[5][:, 2].tolist() == [0.0] * 7 + [1.0]


def test_spoken_digits_of_each_speaker_on_each_side() -> None:
    needs(SETS[spoken_digits][0])
    data = spoken_digits(Spectrum(bands=20))
    for side, takes in zip(data, ({5, 6, 7, 8}, {9}, {0, 1, 2, 3, 4}), strict=True):
        assert {int(name.split("_")[2]) for name in side.ids} == takes and side.x_dim == 20
        assert [int(name[0]) for name in side.ids] == side.labels.tolist()
        assert len({tuple(name.split("_")[:2]) for name in side.ids}) == 60
    with pytest.raises(ValueError, match="8000 samples a second, got a form with rate=16000"):
        spoken_digits(Spectrum(rate=16000, bands=20))


def test_mnist_digits_as_images() -> None:
    needs(SETS[mnist_digits][0])
    data = mnist_digits(rows=False)
    assert isinstance(data.test, StaticDataset) and data.test.form == Images(28, 28, rows=False)
    assert data.train.labels[:5].tolist() == [7, 2, 1, 0, 4]


@pytest.mark.parametrize("loader", SETS, ids=lambda loader: loader.__name__)
def test_where_a_set_comes_from(loader, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("PYRO_RVAE_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / SETS[loader][0]
    with pytest.raises(ValueError, match=f"there is no {SETS[loader][0]} in the folder .* It is"):
        loader()
    path.parent.mkdir()
    np.savez(tmp_path / "a.npz", audio=np.zeros(3))
    (tmp_path / "a.npz").rename(path)
    with pytest.raises(ValueError, match="does not hold the standard set"):
        loader()


def test_the_embedded_chorales_have_a_form(tmp_path) -> None:
    data = bach_chorales().test.subset([0])
    assert data.form == PianoRoll(frame=1.0)
    data.form.write(tmp_path / "a.mid", data)
    assert torch.equal(data.form.read(tmp_path / "a.mid")[0], data[0])
