"""Splice junctions, split by name."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from pyro_rvae.data import japanese_vowels, splice, splice_junctions


def needs(path: str) -> None:
    folder = os.environ.get("PYRO_RVAE_DATA")
    if not folder or not (Path(folder) / path).is_file():
        pytest.skip(f"{path} is in no folder that PYRO_RVAE_DATA names")


def test_counts_and_the_split_by_name() -> None:
    needs("genomics/splice.csv")
    data = splice_junctions()
    assert [len(side) for side in data] == [2224, 467, 499]
    assert torch.cat([side.labels for side in data]).bincount().tolist() == [767, 768, 1655]
    codes = torch.cat([side.values for side in data])
    assert codes.flatten().add(1).bincount().tolist() == [60, 44487, 50300, 50245, 46308], "missing, A, C, G, T"
    assert {(side.x_dim, side.kind, side.classes, side.missing) for side in data} == {(1, "categories", 4, True)}
    assert all((side.lengths == 60).all() for side in data)
    entries = [{name.split("-")[0] for name in side.ids} for side in data]
    pieces = [{tuple(x.flatten().tolist()) for x in side} for side in data]
    for found in (entries, pieces):
        assert not found[0] & found[1] and not found[0] & found[2] and not found[1] & found[2]


def test_what_a_junction_is() -> None:
    """A donor is cut before GT, an acceptor behind AG (all but a few): the letters 31 and 32, or 29 and 30."""
    needs("genomics/splice.csv")
    train = splice_junctions().train
    letters = train.values.reshape(-1, 60)
    for label, places, pair in ((0, (30, 31), (2, 3)), (1, (28, 29), (0, 2))):
        shown = (letters[train.labels == label][:, places] == torch.tensor(pair)).all(-1)
        assert shown.double().mean() > 0.97


def test_groups_are_joined_through_equal_pieces() -> None:
    names = ["B-DONOR-1", "A-NEG-2", "C-NEG-1", "A-NEG-3", "D-NEG-1"]
    groups = splice._groups([name.split("-")[0] for name in names], ["AA", "CC", "AA", "GG", "CC"])
    assert groups == ["B", "A", "B", "A", "A"]
    sides = splice._sides(names * 4, ["AA", "CC", "AA", "GG", "CC"] * 4)
    assert len(set(sides[[0, 2]].tolist())) == 1 and len(set(sides[[1, 3, 4]].tolist())) == 1


@pytest.mark.parametrize("name", ["genomics/splice.csv", "timeseries/japanese_vowels.npz"])
def test_another_file_or_none(name: str, tmp_path, monkeypatch) -> None:
    loader = splice_junctions if name.startswith("genomics") else japanese_vowels
    monkeypatch.setenv("PYRO_RVAE_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(ValueError, match=f"there is no {name} in the folder that PYRO_RVAE_DATA names.*It is UCI's"):
        loader()
    path = tmp_path / name
    path.parent.mkdir()
    if name.endswith("csv"):
        path.write_text("label,instance_name,sequence\nEI,A-DONOR-1,ACGT\n")
    else:
        np.savez(path, train_values=np.zeros((3, 12)), train_lengths=[3])
    with pytest.raises(ValueError, match="does not hold the standard set: got content"):
        loader()
