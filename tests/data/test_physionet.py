"""Intensive care on an hourly grid: a made-up file by hand, and the real one where it is there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyro_rvae.data import physionet, physionet2012

NAMES = [*physionet.PLAUSIBLE, "MechVent"]
STAYS = 1000
REAL = Path(os.environ.get("PYRO_RVAE_DATA", "")) / physionet.SET_A.path


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The first stay has events, the others one heart rate each."""
    hr, temp, vent = NAMES.index("HR"), NAMES.index("Temp"), NAMES.index("MechVent")
    events = [(10, hr, 80), (50, hr, 90), (59, hr, 70), (60, hr, 100), (61, hr, 0), (70, temp, -17.8), (130, temp, 37),
              (130, vent, 1), (2879, hr, 60), (2880, hr, 64)]
    rest = [(i % 2880, hr, 50 + i / 10) for i in range(1, STAYS)]
    time, var, value = (np.array(column) for column in zip(*events, *rest, strict=True))
    arrays: dict[str, Any] = {
        "time_min": time.astype(np.int16), "var": var.astype(np.uint8), "value": value.astype(np.float32),
        "offsets": np.array([0, *range(len(events), len(events) + STAYS)], dtype=np.int32),
        "record_id": np.arange(STAYS, dtype=np.int32) + 7, "var_names": np.array(NAMES),
        "outcomes": np.stack([np.arange(STAYS) % 2] * 5, 1).astype(np.int16),
    }
    path = tmp_path / physionet.SET_A.path
    path.parent.mkdir()
    np.savez(path, **arrays)
    monkeypatch.setenv("PYRO_RVAE_DATA", str(tmp_path))
    content = physionet.digest(arrays[name].astype(kind) for name, kind in physionet.TYPES.items())
    monkeypatch.setattr(physionet, "SET_A", physionet.Origin(physionet.SET_A.path, (), content))
    return path


@pytest.mark.usefixtures("small")
def test_events_on_the_grid() -> None:
    train, valid, test = physionet2012()
    assert [len(side) for side in (train, valid, test)] == [800, 100, 100] and train.x_dim == 36
    assert train.names is not None and "MechVent" not in train.names and (train.lengths == 48).all()
    hr, temp = train[0][:, train.names.index("HR")], train[0][:, train.names.index("Temp")]
    assert hr[0] == 80 and hr[1] == 100, "the mean; a rate of 0 is none"
    assert hr[47] == 62 and int((~hr.isnan()).sum()) == 3, "48:00 counts to the last hour"
    assert temp[2] == 37 and int((~temp.isnan()).sum()) == 1, "below what a patient can have"
    assert int((~train[0].isnan()).sum()) == 4
    assert test[3].nan_to_num(0.0).max() == pytest.approx(50 + 90.3, rel=1e-6) and test.ids[3] == "910"
    assert valid.labels[:3].tolist() == [0, 1, 0] and valid.reference is train


@pytest.mark.usefixtures("small")
def test_other_grids() -> None:
    names = physionet2012().train.names
    at = names.index("HR")
    last = physionet2012(how="last").train[0][:, at]
    assert last[0] == 70 and last[47] == 64
    half, day = physionet2012(0.5).train[0][:, at], physionet2012(24).train[0][:, at]
    assert half[:4].nan_to_num(-1.0).tolist() == [80, 80, 100, -1] and len(half) == 96
    assert day.tolist() == [85, 62]


def test_refusals(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for hours in (0, 5, 0.001, True, "1"):
        with pytest.raises(ValueError, match="hours must divide 48"):
            physionet2012(hours)
    with pytest.raises(ValueError, match="how must be 'mean' or 'last', got 'max'"):
        physionet2012(how="max")
    np.savez(small, values=np.zeros(3))
    with pytest.raises(ValueError, match="does not hold the standard set: got content arrays \\['values'\\]"):
        physionet2012()
    small.unlink()
    monkeypatch.setenv("XDG_CACHE_HOME", str(small.parent))
    with pytest.raises(ValueError, match="there is no physionet2012/physionet2012_seta_first1000.npz"):
        physionet2012()


@pytest.mark.skipif(not REAL.is_file(), reason="PYRO_RVAE_DATA names no folder with PhysioNet 2012")
def test_the_real_set() -> None:
    data = physionet2012()
    known = ~data.train.values.isnan()
    assert (len(data.train), data.train.num_frames) == (800, 38_400) and int(known.sum()) == 267_566
    rates = data.train.values[:, data.train.names.index("HR")]
    assert 60 < float(rates.nanmean()) < 110 and data.train.ids[0] == "132539"
    for name, column in zip(data.test.names, data.test.values.T, strict=True):
        low, high = physionet.PLAUSIBLE[name]
        seen = column[~column.isnan()]
        assert low <= float(seen.min()) and float(seen.max()) <= high
