"""Windows of long series, and the transformer's hourly load."""

from __future__ import annotations

import gzip
import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pyro_rvae.data import Affine, SequenceDataset, etth1, series, windows

HERE = "PYRO_RVAE_DATA" in os.environ and (Path(os.environ["PYRO_RVAE_DATA"]) / series.ETTH1.path).is_file()


def ragged() -> SequenceDataset:
    values = torch.arange(12.0)[:, None].repeat(1, 2)
    return SequenceDataset(values, [7, 2, 3], controls=values[:, :1] + 100, labels=[4, 5, 6], ids=["a", "b", "c"],
                           names=["u", "v"], times=values[:, 0] * 2, transform=Affine(torch.zeros(2), torch.ones(2)))


def test_windows() -> None:
    cut = windows(ragged(), 3, 2)
    assert [x[:, 0].tolist() for x in cut] == [[0, 1, 2], [2, 3, 4], [4, 5, 6], [7, 8], [9, 10, 11]]
    assert cut.ids == ("a[0]", "a[2]", "a[4]", "b[0]", "c[0]") and cut.labels.tolist() == [4, 4, 4, 5, 6]
    assert torch.equal(cut.controls[:, 0], cut.values[:, 0] + 100) and torch.equal(cut.times, 2 * cut.values[:, 0])
    assert cut.names == ("u", "v") and cut.transform is not None and cut.kind == "real"


def test_windows_reach_the_end() -> None:
    assert [x[:, 0].tolist() for x in windows(ragged().subset([0]), 3)] == [[0, 1, 2], [3, 4, 5], [4, 5, 6]]
    codes = windows(SequenceDataset(torch.tensor([[1], [2], [0]]), [3], kind="categories", classes=3), 2)
    assert codes.classes == 3 and [x[:, 0].tolist() for x in codes] == [[1, 2], [2, 0]]


@pytest.mark.parametrize(("given", "what"), [({"length": 0}, "length .* at least 1, got 0"),
                                             ({"length": 2, "stride": 0}, "stride .* got 0"),
                                             ({"length": 2.0}, "length"), ({"length": True}, "length")])
def test_windows_of_no_length(given: dict[str, Any], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        windows(ragged(), **given)


def table(rows: int = 14_401) -> bytes:
    """A table in the form of the real one."""
    lines = ["date,HUFL,OT"]
    lines += [f"{datetime(2016, 7, 1) + timedelta(hours=t)},{t},{t / 2}" for t in np.arange(rows).tolist()]
    return "\n".join(lines).encode()


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / series.ETTH1.path
    path.parent.mkdir()
    path.write_bytes(gzip.compress(table()))
    monkeypatch.setenv("PYRO_RVAE_DATA", str(tmp_path))
    return path


def test_sides_and_calendar(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib

    origin = series.Origin(series.ETTH1.path, (), hashlib.sha256(table()).hexdigest())
    monkeypatch.setattr(series, "ETTH1", origin)
    data = etth1(context=5)
    assert [(len(d), d.num_frames) for d in data] == [(1, 8640), (1, 2885), (1, 2885)]
    assert data.valid.values[0].tolist() == [8635, 8635 / 2] and data.test.values[-1, 0] == 14_399
    assert data.test.names == ("HUFL", "OT") and data.test.reference is data.train and data.valid.ids == ("ETTh1",)
    assert torch.equal(data.test.times, data.test.values[:, 0])
    day = data.train.controls[:, :2]  # sine and cosine of the hour of the day
    angle = 2 * torch.pi * torch.arange(8640) / 24
    assert torch.allclose(day, torch.stack([angle.sin(), angle.cos()], -1))
    weeks = data.train.controls[:, 2:4].reshape(-1, 2)
    assert torch.allclose(weeks[168:336], weeks[:168]) and not torch.allclose(weeks[24:48], weeks[:24], atol=0.1)
    assert [len(d[0]) for d in etth1()] == [8640, 2880, 2880]


def test_another_file_is_refused(made: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not hold the standard set.*zhouhaoyi/ETDataset"):
        etth1()
    made.write_bytes(table())
    with pytest.raises(ValueError, match="is no gzip file"):
        etth1()
    made.unlink()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(ValueError, match=r"no timeseries/ETTh1.csv.gz in the folder .*ETT-small/ETTh1.csv"):
        etth1()
    with pytest.raises(ValueError, match="context must be an integer between 0 and 2880, got -1"):
        etth1(-1)


@pytest.mark.skipif(not HERE, reason="PYRO_RVAE_DATA names no folder with ETTh1")
def test_the_real_table() -> None:
    data = etth1(24)
    assert data.train.names == ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT") and not data.train.missing
    assert torch.allclose(data.train[0][0, [0, 6]], torch.tensor([5.827, 30.531]), atol=1e-3)
    assert torch.equal(data.train[0][-24:], data.valid[0][:24])
    assert (data.train.times.diff() == 1).all() and data.test.times[-1] == 14_399
