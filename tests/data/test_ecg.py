"""ECG5000: the split for anomalies, and a copy that is another."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

import pyro_rvae as rv
from pyro_rvae.data.standard import VARIABLE

FILE = "timeseries/ecg5000_train500.npz"


@pytest.mark.skipif(not (Path(os.environ.get(VARIABLE, "/nowhere")) / FILE).is_file(),
                    reason=f"needs {FILE} in the folder that {VARIABLE} names")
def test_the_split() -> None:
    data = rv.data.ecg5000()
    assert [len(side) for side in data] == [200, 46, 254]
    assert not data.train.labels.any()  # normal beats only
    assert torch.bincount(data.valid.labels).tolist() == [14, 27, 2, 3]
    assert torch.bincount(data.test.labels).tolist() == [78, 150, 8, 16, 2]
    assert len({name for side in data for name in side.ids}) == 500  # each beat once
    assert data.train.lengths.unique().tolist() == [140] and data.train.kind == "real" and data.train.names == ("ecg",)
    held = np.load(Path(os.environ[VARIABLE]) / FILE)
    for side in data:
        rows = [int(name) for name in side.ids]
        np.testing.assert_allclose(side.values.reshape(-1, 140).numpy(), held["x"][rows], rtol=1e-6)
        np.testing.assert_array_equal(side.labels.numpy() + 1, held["label"][rows])
    assert data.test.reference is data.train
    assert data.valid.ids == rv.data.ecg5000().valid.ids


def test_another_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(ValueError, match=rf"there is no {FILE} in the folder that {VARIABLE} names"):
        rv.data.ecg5000()
    (tmp_path / FILE).parent.mkdir()
    np.savez(tmp_path / FILE, x=np.zeros((500, 140), dtype=np.float32), label=np.ones(500, dtype=np.uint8))
    with pytest.raises(ValueError, match="does not hold the standard set"):
        rv.data.ecg5000()
    np.savez(tmp_path / FILE, y=np.zeros(3))
    with pytest.raises(ValueError, match="does not hold the standard set"):
        rv.data.ecg5000()
