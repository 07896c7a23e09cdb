"""Hiding elements."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pyro_rvae as rv
from pyro_rvae.data import SequenceDataset, StaticDataset, hold_out


def data(n: int = 40) -> SequenceDataset:
    x = 5 + 3 * torch.randn(n, 3)
    x[::4, 1] = torch.nan
    return SequenceDataset(x, [n - 10, 10], labels=[0, 1], names=list("abc"))


def test_a_share_of_the_observed_is_hidden_and_kept_aside() -> None:
    raw = data()
    some = raw.transformed(rv.data.Affine.standardize(raw.values))
    before = some.values.clone()
    seen, hidden = hold_out(some, 0.25)
    known, left = ~some.values.isnan(), ~seen.values.isnan()
    assert len(hidden) == round(0.25 * int(known.sum())) == int(known.sum() - left.sum())
    assert (known | ~left).all() and torch.equal(seen.values[left], some.values[left])
    assert np.allclose(hidden.values, raw.values.numpy()[hidden.frames, hidden.features]), "raw units"
    assert seen.values[hidden.frames, hidden.features].isnan().all() and seen.missing
    assert torch.equal(before.nan_to_num(9.0), some.values.nan_to_num(9.0)), "the given one stays"
    assert seen.names == some.names and seen.transform is some.transform and torch.equal(seen.labels, some.labels)
    assert repr(hidden) == "HeldOut(28 elements of 3 features, 25% of those observed)"


def test_the_choice_is_the_seeds_and_even() -> None:
    some, state = data(), torch.get_rng_state()
    one, again, other = (hold_out(some, 0.3, seed=s)[1] for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert (one.frames == again.frames).all() and not np.array_equal(one.frames, other.frames)
    times = np.zeros((40, 3))
    for s in range(300):
        found = hold_out(some, 0.3, seed=s)[1]
        times[found.frames, found.features] += 1
    known = ~some.values.isnan().numpy()
    assert (times[~known] == 0).all() and np.abs(times[known] / 300 - 0.3).max() < 6 * np.sqrt(0.21 / 300)


def test_codes_and_rows_without_time() -> None:
    seen, hidden = hold_out(SequenceDataset([[2, 1], [1, 0]], [2], kind="categories", classes=3), 0.5)
    assert (seen.values < 0).sum() == 2 and seen.missing and hidden.values.dtype == np.int64
    seen, hidden = hold_out(StaticDataset(torch.rand(4, 2, 2)), 0.5)
    assert seen.values.shape == (4, 2, 2) and hidden.shape == (4, 4)
    assert seen.values.flatten(1)[hidden.frames, hidden.features].isnan().all()


def test_refusals() -> None:
    with pytest.raises(TypeError, match="hold_out needs a SequenceDataset.*such as data.test"):
        hold_out(rv.data.Splits(data(), data(), data()))
    for share in (0, 1.0, -0.1, True, "all"):
        with pytest.raises(ValueError, match="share must be a number between 0 and 1"):
            hold_out(data(), share)
    with pytest.raises(ValueError, match="1 elements are observed"):
        hold_out(SequenceDataset([[1.0], [torch.nan]], [2]))
    assert len(hold_out(SequenceDataset([[1.0], [2.0]], [2], kind="real"), 0.99)[1]) == 1, "something stays"
