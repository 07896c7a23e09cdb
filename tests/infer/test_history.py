"""The table of a run: columns, the best row, CSV without loss, errors."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from pyro_rvae.infer import History, Row


def row(epoch: int, elbo: float, valid: float = math.nan) -> Row:
    return Row(epoch, 10 * epoch, elbo, elbo - 1.0, 1.0, valid, valid - 0.5, 0.5, 1.0, 1e-3 / 3, 0.1 + 0.2, 200.0, 0.7)


def test_columns_are_arrays() -> None:
    history = History([row(1, 9.0), row(2, 8.0, 8.5)])
    assert history["epoch"].tolist() == [1, 2] and history["epoch"].dtype == int
    np.testing.assert_array_equal(history["valid_elbo"], [math.nan, 8.5])
    assert len(history) == 2 and [r.step for r in history] == [10, 20]
    assert History()["kl"].shape == (0,)


def test_best_is_by_validation_where_there_is_one() -> None:
    assert History([row(1, 9.0), row(2, 8.0), row(3, 8.1)]).best.epoch == 2
    assert History([row(1, 9.0, 9.5), row(2, 8.0, 9.7), row(3, 7.0)]).best.epoch == 1


def test_csv_keeps_every_digit(tmp_path: Path) -> None:
    history = History([row(1, 1 / 3), row(2, 8.0, math.pi)])
    history.to_csv(tmp_path / "history.csv")
    first = (tmp_path / "history.csv").read_bytes()
    again = History.from_csv(tmp_path / "history.csv")
    again.to_csv(tmp_path / "history.csv")
    assert (tmp_path / "history.csv").read_bytes() == first
    assert repr(again.rows) == repr(history.rows)


def test_repr_is_a_table() -> None:
    text = repr(History([row(i, 9.0, 9.5 if i > 1 else math.nan) for i in range(1, 40)]))
    lines = text.splitlines()
    assert lines[0].split()[:5] == ["epoch", "step", "elbo", "recon", "kl"]
    assert lines[1].split()[:3] == ["1", "10", "9.000"] and "-" in lines[1].split()
    assert len(lines) == 21 and lines[6].split()[0] == "..." and lines[-1].split()[0] == "39"
    assert len({len(line) for line in lines}) == 1
    assert repr(History()) == "History(no epoch has ended)"


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="a history has the columns epoch, step, elbo.*got 'loss'"):
        History()["loss"]
    with pytest.raises(ValueError, match="the history is empty"):
        _ = History().best
    foreign = tmp_path / "foreign.csv"
    foreign.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="is no history: expected a CSV whose first line is epoch,step.*got a,b"):
        History.from_csv(foreign)
    foreign.write_text(",".join(Row._fields) + "\n1,2,3\n")
    with pytest.raises(ValueError, match="a row can't be read.*truncated"):
        History.from_csv(foreign)
