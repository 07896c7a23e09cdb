from __future__ import annotations

import numpy as np
import pytest
import torch

from pyro_rvae.data import Splits, StaticDataset


def test_has_the_surface_of_the_sequences() -> None:
    data = StaticDataset(torch.randn(5, 2, 3), labels=np.arange(5), ids="abcde")
    assert (len(data), data.x_dim, data.num_frames, data.control_dim) == (5, 6, 5, 0)
    assert data.event_shape == (2, 3) and data.kind == "real" and data[-1].shape == (2, 3)
    assert data.controls is None and data.subset([4, 1]).ids == ("e", "b")
    batch = data.padded([3, 0])
    assert batch.mask is None and torch.equal(batch.x[0], data[3]) and batch.num_frames == 2
    assert batch.known["labels"].tolist() == [3, 0] and len(data.padded()) == 5


def test_batches_deal_out_each_row_once() -> None:
    data = StaticDataset(np.arange(11.0)[:, None])
    rows = torch.cat([batch.x[:, 0] for batch in data.batches(4, seed=3)])
    assert sorted(rows.tolist()) == list(range(11)) and rows.tolist() != list(range(11))
    ordered = torch.cat([batch.x[:, 0] for batch in data.batches(4, shuffle=False)])
    assert ordered.tolist() == list(range(11))
    assert sorted(len(batch) for batch in data.batches(4, shard=(1, 2))) == [1, 2, 2]


def test_units_of_rows_of_any_shape() -> None:
    data = StaticDataset(torch.randn(5, 2, 3) * 4)
    changed = Splits(data, data, data).standardize().valid
    assert changed.transform.loc.shape == (2, 3)
    torch.testing.assert_close(changed.transform.inverse(changed.values), data.values)
    assert "transformed" in repr(changed)


@pytest.mark.parametrize(
    ("values", "given", "message"),
    [
        (np.zeros((0, 3)), {}, "with N at least 1"),
        (np.zeros(3), {}, "a single feature is"),
        ([[0.5, 1.0]], {"kind": "binary"}, "got 0.5 at row 0, feature 0"),
        (torch.full((2, 2, 2), torch.inf), {}, r"got inf at row 0, feature \(0, 0\)"),
        ([[0.5]], {"labels": [1, 2]}, "labels must be one for each"),
        ([[1, 2]], {}, "may be counts or categories"),
    ],
)
def test_refuses_what_it_cannot_hold(values, given, message) -> None:
    with pytest.raises(ValueError, match=message):
        StaticDataset(values, **given)
