from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from pyro_rvae.data import (
    SequenceDataset,
    StaticDataset,
    binarized_mnist,
    jsb_chorales,
    nottingham,
    piano_midi,
    standard,
)

SETS = {
    jsb_chorales: ("polyphonic/jsb_chorales.npz", [229, 76, 77], [13807, 4602, 4725], (25, 160)),
    nottingham: ("polyphonic/nottingham.npz", [694, 173, 170], [176561, 45513, 44463], (40, 1793)),
    piano_midi: ("polyphonic/piano_midi.npz", [87, 12, 25], [75911, 8540, 19036], (65, 3857)),
}
MNIST = "binarized_mnist/binarized_mnist_larochelle.npz"


def needs(path: str) -> None:
    folder = os.environ.get("PYRO_RVAE_DATA")
    if not folder:
        pytest.skip("PYRO_RVAE_DATA is not set: it names the folder with the standard sets")
    if not (Path(folder) / path).is_file():
        pytest.skip(f"{path} is not in the folder that PYRO_RVAE_DATA names")


@pytest.mark.parametrize("loader", SETS, ids=lambda loader: loader.__name__)
def test_polyphonic_sets_have_their_known_counts(loader) -> None:
    path, sequences, frames, (shortest, longest) = SETS[loader]
    needs(path)
    data = loader()
    assert [len(side) for side in data] == sequences and [side.num_frames for side in data] == frames
    lengths = torch.cat([side.lengths for side in data])
    assert (lengths.min(), lengths.max()) == (shortest, longest)
    assert {(side.x_dim, side.kind) for side in data} == {(88, "binary")}


def test_bernoulli_floor_of_jsb() -> None:
    needs("polyphonic/jsb_chorales.npz")
    train, _, test = jsb_chorales()
    p = (train.values.sum(0) + 0.5) / (train.num_frames + 1)
    floor = -(test.values * p.log() + (1 - test.values) * (-p).log1p()).sum() / test.num_frames
    assert floor == pytest.approx(11.060, abs=1e-3)


def test_binarized_mnist_as_images() -> None:
    needs(MNIST)
    data = binarized_mnist(rows=False)
    assert isinstance(data.test, StaticDataset) and [len(side) for side in data] == [50000, 10000, 10000]
    assert data.test.event_shape == (784,) and data.test.kind == "binary"


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """No local copy, an empty cache; returns the folder in which the cache is made."""
    monkeypatch.delenv("PYRO_RVAE_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "pyro_rvae"


def arrive(monkeypatch, writer) -> list[str]:
    """Lets downloads "arrive" as what `writer` writes; returns the list of URLs asked for."""
    asked: list[str] = []

    def fake(url: str, sha256: str, path: Path) -> Path:
        assert len(sha256) == 64
        asked.append(url)
        writer(path)
        return path

    monkeypatch.setattr(standard, "download", fake)
    return asked


def test_piano_rolls_are_downloaded_once(nowhere, monkeypatch) -> None:
    savemat = pytest.importorskip("scipy.io").savemat
    random = np.random.default_rng(0)
    sides = {side: [random.integers(0, 2, size=(n, 88)) for n in (3, 5)] for side in standard.SIDES}

    def write(path: Path) -> None:
        cells = {}
        for side, sequences in sides.items():
            cells[f"{side}data"] = np.empty((1, 2), dtype=object)
            cells[f"{side}data"][0, :] = sequences
        savemat(path, cells)

    asked = arrive(monkeypatch, write)
    for _ in range(2):
        data = jsb_chorales()
        np.testing.assert_array_equal(data.valid[1], sides["valid"][1])
        assert data.train.lengths.tolist() == [3, 5] and data.train.names[0] == "midi21"
    assert asked == [standard.JSB.sources[0][0]]
    assert [p.name for p in nowhere.rglob("*") if p.is_file()] == ["jsb_chorales.npz"]


def test_binarized_mnist_is_downloaded_and_cut_into_rows(nowhere, monkeypatch) -> None:
    digits = np.random.default_rng(0).integers(0, 2, size=(2, 784))
    asked = arrive(monkeypatch, lambda path: np.savetxt(path, digits, fmt="%d"))
    data = binarized_mnist()
    assert len(asked) == 3 and isinstance(data.train, SequenceDataset)
    assert data.test.lengths.tolist() == [28, 28]
    np.testing.assert_array_equal(data.test[1], digits[1].reshape(28, 28))


def test_without_network_the_error_says_what_to_put_where(nowhere, monkeypatch) -> None:
    def fail(url: str, sha256: str, path: Path) -> Path:
        raise ConnectionError(f"{url} could not be downloaded (no route)")

    monkeypatch.setattr(standard, "download", fail)
    with pytest.raises(
        ConnectionError, match=r"polyphonic/nottingham.npz into a folder that PYRO_RVAE_DATA names"
    ):
        nottingham()
    assert not [p for p in nowhere.rglob("*") if p.is_file()]


def test_a_local_copy_must_be_the_known_set(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("PYRO_RVAE_DATA", str(tmp_path))
    path = tmp_path / "polyphonic" / "jsb_chorales.npz"
    path.parent.mkdir()
    bits = {f"{side}_packed": np.zeros((4, 11), dtype=np.uint8) for side in standard.SIDES}
    np.savez(path, **bits, **{f"{side}_lengths": np.array([4]) for side in standard.SIDES})
    with pytest.raises(
        ValueError, match="does not hold the standard set: got content .* expected content c8aedc38"
    ):
        jsb_chorales()
    np.savez(path, values=np.zeros(3))
    with pytest.raises(ValueError, match=r"got arrays \['values'\]"):
        jsb_chorales()
    path.write_bytes(b"PK")
    with pytest.raises(ValueError, match="cannot be read as .npz"):
        jsb_chorales()


def test_a_variable_that_names_no_folder_is_an_error(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("PYRO_RVAE_DATA", str(tmp_path / "none"))
    with pytest.raises(ValueError, match="PYRO_RVAE_DATA must name a folder"):
        jsb_chorales()
