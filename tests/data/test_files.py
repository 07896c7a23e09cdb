from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from pyro_rvae.data import SequenceDataset, Splits, StaticDataset, load, save
from pyro_rvae.data.files import fixed_split

LENGTHS = [2, 3, 1, 2]
SPLIT = ["train", "test", "valid", "train"]


def write(folder, **arrays):
    np.savez(folder / "my.npz", **arrays)
    return folder / "my.npz"


def values() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(8, 2))


def test_npz_with_everything(tmp_path) -> None:
    x = values()
    path = write(tmp_path, values=x, lengths=LENGTHS, split=SPLIT, labels=np.arange(4), controls=x[:, :1],
                 names=["a", "b"], ids=["p", "q", "r", "s"])  # fmt: skip
    data = load(path)
    assert data.train.ids == ("p", "s") and data.train.lengths.tolist() == [2, 2]
    np.testing.assert_array_equal(data.test[0], x[2:5])
    assert data.valid.labels.tolist() == [2] and data.valid.names == ("a", "b")
    np.testing.assert_array_equal(data.test.controls, x[2:5, :1])


def test_split_by_numbers_equals_split_by_names(tmp_path) -> None:
    by_name = load(write(tmp_path, values=values(), lengths=LENGTHS, split=SPLIT))
    by_number = load(write(tmp_path, values=values(), lengths=LENGTHS, split=[0, 2, 1, 0]))
    assert all(torch.equal(a.values, b.values) for a, b in zip(by_name, by_number, strict=True))


def test_without_split_eighty_ten_ten_fixed_by_the_seed(tmp_path) -> None:
    path = write(tmp_path, values=np.random.default_rng(0).normal(size=(40, 1)), lengths=np.full(40, 1))
    one, again, other = load(path), load(path), load(path, seed=1)
    assert [len(side) for side in one] == [32, 4, 4]
    assert torch.equal(one.test.values, again.test.values)
    assert not torch.equal(one.test.values, other.test.values)
    assert sorted(torch.cat([side.values for side in one])[:, 0].tolist()) == sorted(
        np.load(path)["values"][:, 0]
    )
    assert np.bincount(fixed_split(3)).tolist() == [1, 1, 1]


def test_kind_is_that_of_the_whole_file(tmp_path) -> None:
    codes = np.array([[0], [1], [4], [-1]])
    path = write(tmp_path, values=codes, lengths=[1, 1, 1, 1], split=SPLIT, kind="categories", classes=5)
    data = load(path)
    assert {side.classes for side in data} == {5} and data.train.missing and not data.test.missing
    plain = write(tmp_path, values=np.abs(codes), lengths=[1, 1, 1, 1], split=SPLIT)
    assert load(plain, kind="counts").train.kind == "counts"
    with pytest.raises(ValueError, match="may be counts or categories"):
        load(plain)


def test_rows_without_lengths_are_static(tmp_path) -> None:
    data = load(write(tmp_path, values=np.random.default_rng(0).normal(size=(10, 3, 3))))
    assert isinstance(data.train, StaticDataset) and data.train.event_shape == (3, 3) and len(data.train) == 8


@pytest.mark.parametrize("kind", ["real", "binary", "categories"])
def test_save_and_load_are_inverse(tmp_path, kind) -> None:
    x = {"real": values(), "binary": values() > 0, "categories": np.arange(16).reshape(8, 2) % 5 - 1}[kind]
    given = {"kind": kind, "classes": 4 if kind == "categories" else None, "names": ["a", "b"]}
    whole = SequenceDataset(x, LENGTHS, labels=np.arange(4.0), controls=values(), ids="abcd", **given)
    data = Splits(whole.subset([0, 1]), whole.subset([2]), whole.subset([3]))
    if kind == "real":
        data = data.standardize()
    save(tmp_path / "out.npz", data)
    again = load(tmp_path / "out.npz")
    assert repr(again) == repr(data)
    for one, two in zip(data, again, strict=True):
        for name in ("values", "lengths", "labels", "controls"):
            assert torch.equal(getattr(one, name), getattr(two, name))
        assert (one.names, one.ids, one.kind, one.classes) == (two.names, two.ids, two.kind, two.classes)
    if kind == "real":
        assert torch.equal(again.test.transform.loc, data.test.transform.loc)
    assert [p.name for p in tmp_path.iterdir()] == ["out.npz"]


def test_static_data_are_saved_too(tmp_path) -> None:
    side = StaticDataset(values())
    save(tmp_path / "out.npz", Splits(side, side, side))
    assert torch.equal(load(tmp_path / "out.npz").valid.values, side.values)


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch) -> None:
    side = StaticDataset(values())
    save(tmp_path / "out.npz", Splits(side, side, side))
    old = (tmp_path / "out.npz").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save(tmp_path / "out.npz", Splits(side, side, side))
    assert (tmp_path / "out.npz").read_bytes() == old and len(list(tmp_path.iterdir())) == 1


def test_sides_that_differ_are_not_saved(tmp_path) -> None:
    real, bits = SequenceDataset(values(), [8]), SequenceDataset(values() > 0, [8])
    with pytest.raises(ValueError, match="must agree in kind, got"):
        save(tmp_path / "out.npz", Splits(real, real, bits))
    labelled = SequenceDataset(values(), [8], labels=[1])
    with pytest.raises(ValueError, match="must agree in labels"):
        save(tmp_path / "out.npz", Splits(real, real, labelled))
    with pytest.raises(ValueError, match="written as .npz, got 'out.csv'"):
        save(tmp_path / "out.csv", Splits(real, real, real))
    with pytest.raises(ValueError, match="the folder .* must exist"):
        save(tmp_path / "none" / "out.npz", Splits(real, real, real))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"train_values": [1]}, r"must hold an array 'values' .* got \['train_values'\]"),
        ({"values": [[1.0]], "lengths": [1], "label": [1]}, r"unknown arrays \['label'\]"),
        ({"values": [[0.5]] * 4, "lengths": [4]}, "1 sequences cannot be split"),
        ({"values": [[0.5]] * 4, "lengths": [1] * 4, "split": ["train"] * 4}, "no sequence as 'valid'"),
        (
            {"values": [[0.5]] * 4, "lengths": [1] * 4, "split": ["train"] * 3},
            "a side for each of 4 sequences",
        ),
        ({"values": [[0.5]] * 4, "lengths": [1] * 4, "split": [0, 1, 2, 3]}, "got '3' for sequence 3"),
        ({"values": [[0.5]] * 4, "lengths": [2, 3]}, "lengths must sum"),
        ({"values": [[0.5]] * 4, "controls": [[0.5]] * 4}, r"give lengths \(N,\) too"),
        (
            {"values": [[0.5]] * 4, "lengths": [1] * 4, "loc": [0.0]},
            "loc and scale of a transform go together",
        ),
        ({"values": [[0.5]] * 4, "lengths": [1] * 4, "kind": "bernoulli"}, "kind must be one of"),
        ({"values": np.array([[{}]], dtype=object)}, "'values' in my.npz holds Python objects"),
        (
            {"values": [[0.5]], "names": np.array([None], dtype=object)},
            "'names' in my.npz holds Python objects",
        ),
    ],
)
def test_npz_that_is_no_data_set(tmp_path, arrays, message) -> None:
    with pytest.raises(ValueError, match=message):
        load(write(tmp_path, **arrays))


def test_files_that_are_no_npz(tmp_path) -> None:
    path = write(tmp_path, values=values(), lengths=[8])
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="cannot be read as .npz .* is it whole"):
        load(path)
    np.save(tmp_path / "array.npy", values())
    (tmp_path / "array.npy").rename(path)
    with pytest.raises(ValueError, match="no zip archive"):
        load(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="cannot be read as .npz"):
        load(path)
    with pytest.raises(ValueError, match="there is no file"):
        load(tmp_path / "none.npz")
    (tmp_path / "x.pkl").write_bytes(b"")
    with pytest.raises(ValueError, match="read from .npz, .csv, .* got 'x.pkl'"):
        load(tmp_path / "x.pkl")


def test_times_are_saved_and_read(tmp_path) -> None:
    (tmp_path / "a.csv").write_text(
        "sequence,time,split,x\nu,0.5,train,1.5\nv,9,test,2.5\nu,2,train,3.5\nw,1,valid,0.5\n")
    splits = load(tmp_path / "a.csv")
    save(tmp_path / "a.npz", splits)
    for found in (splits, load(tmp_path / "a.npz")):
        assert found.train.times.tolist() == [0.5, 2.0] and found.test.times.tolist() == [9.0]
    np.savez(tmp_path / "b.npz", values=np.zeros((2, 1)), times=np.arange(2.0))
    with pytest.raises(ValueError, match="times belong to sequences"):
        load(tmp_path / "b.npz")
