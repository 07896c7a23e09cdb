from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pyro_rvae.data import SequenceDataset, StaticDataset, Table, load


@pytest.mark.parametrize("ending", [".csv", ".npz"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_round_trip_of_real_numbers(tmp_path: Path, ending: str, dtype: torch.dtype) -> None:
    form = Table(["a", "b, c"])
    x = [torch.randn(n, 2, dtype=dtype, generator=torch.Generator().manual_seed(n)) for n in (3, 1)]
    x[0][1, 1] = torch.nan
    form.write(tmp_path / f"a{ending}", x, ids=["p", "q"], times=[[0.5, 1, 2], [7]])
    data = form.read(tmp_path / f"a{ending}")
    torch.testing.assert_close(data.values.to(dtype), torch.cat(x), rtol=0, atol=0, equal_nan=True)
    assert data.ids == ("p", "q") and data.times.tolist() == [0.5, 1, 2, 7] and data.names == ("a", "b, c")


@pytest.mark.parametrize("ending", [".csv", ".npz"])
def test_round_trip_of_codes(tmp_path: Path, ending: str) -> None:
    form = Table(kind="categories", classes=3)
    x = torch.tensor([[0, 2], [-1, 1]])
    form.write(tmp_path / f"a{ending}", x[None])
    data = form.read(tmp_path / f"a{ending}")
    assert torch.equal(data.values, x) and data.classes == 3 and data.form is form


def test_static_rows(tmp_path: Path) -> None:
    form = Table(static=True, kind="binary")
    x = torch.randint(2, (3, 2, 2)).double()
    form.write(tmp_path / "a.npz", x)
    data = form.read(tmp_path / "a.npz")
    assert isinstance(data, StaticDataset) and torch.equal(data.values, x)
    with pytest.raises(ValueError, match="written as .npz"):
        form.write(tmp_path / "a.csv", x)


def test_columns_are_put_in_order(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("sequence,time,b,a\n1,0,2,1\n1,1,4,3.5\n")
    data = Table(["a", "b"]).read(tmp_path / "a.csv")
    assert data.values.tolist() == [[1, 2], [3.5, 4]] and data.names == ("a", "b")
    with pytest.raises(ValueError, match=r"it lacks \['c'\]; leave out \['b'\]"):
        Table(["a", "c"]).read(tmp_path / "a.csv")


def test_loaded_data_have_it(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", values=np.random.default_rng(0).normal(size=(8, 2)), lengths=np.full(4, 2))
    assert load(tmp_path / "a.npz").train.form == Table()
    data = SequenceDataset(torch.zeros(4, 1), [4], kind="counts", names=["n"])
    assert Table.of(data) == Table(["n"], "counts")


def test_refusals(tmp_path: Path) -> None:
    for given in ({"kind": "numbers"}, {"kind": "categories"}, {"classes": 3}):
        with pytest.raises(ValueError, match="Table: (kind must be|classes go with)"):
            Table(**given)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="times must hold a number for each frame"):
        Table().write(tmp_path / "a.csv", torch.zeros(1, 2, 1), times=[[1]])
    (tmp_path / "a.csv").write_text("sequence,time,x\n1,1,2\n1,0,3\n")
    with pytest.raises(ValueError, match="line 3: time must rise"):
        Table().read(tmp_path / "a.csv")
