from __future__ import annotations

import numpy as np
import pytest
import torch

import pyro_rvae as rv
from pyro_rvae.core.traces import guide_trace, sites
from pyro_rvae.criticism.by_dimension import Means, Table, joined
from pyro_rvae.criticism.particles import paths


@pytest.fixture
def values():
    """Draws ``(k, B, S, d)`` of which some are padding."""
    found = np.random.default_rng(0).normal(size=(6, 3, 4, 2)) + np.arange(12).reshape(3, 4, 1) / 5
    found[:, 1, 2:], found[:, 2, 3:] = np.nan, np.nan
    return found


def test_activity_takes_off_what_the_draws_add(values):
    moments = Means()
    moments.add(0, values[:2])  # particles of one group, in two chunks
    moments.add(0, values[2:])
    means = values.reshape(6, 12, 2)[:, ~np.isnan(values[0, ..., 0]).reshape(12)]
    by_hand = means.mean(0).var(0, ddof=1) - means.var(0, ddof=1).mean(0) / 6
    assert (by_hand > 0.05).all() and np.allclose(moments.activity(6), by_hand, atol=1e-12)


def test_activity_without_noise_and_of_one_frame(values):
    moments, alone = Means(), Means()
    for group in range(3):
        moments.add(group, values[:1, group : group + 1])
    assert np.allclose(moments.activity(1), np.nanvar(values[0].reshape(12, 2), 0, ddof=1))
    alone.add(0, values[:, :1, :1])
    assert np.isnan(alone.activity(6)).all(), "the variance of one value says nothing"


def test_batches_of_other_lengths_add_up(values):
    whole, parts = Table(), Table()
    whole.add(values)
    parts.add(values[:, 1:2, :2])
    parts.add(values[:, [0, 2]])
    assert np.allclose(whole.mean, parts.mean) and np.allclose(whole.mean, np.nanmean(values, (0, 1)))
    assert (whole.counts[:, 0] / 6).tolist() == [3, 3, 2, 1]


def test_the_steps_of_the_explicit_reading_are_one_path():
    model, batch = rv.VRNN(3, 2, 4), rv.data.Batch(torch.ones(2, 12, 3))
    with rv.explicit():
        drawn = sites(guide_trace(model, batch), observed=False)
    assert paths(dict(reversed(drawn.items()))) == {"z": [f"z_{t}" for t in range(12)]}  # in the order of time
    assert paths(sites(guide_trace(model, batch), observed=False)) == {"z": ["z"]}


def test_parts_without_dimensions_have_none_together(values):
    assert joined([values, values]).shape == (6, 3, 8, 2) and joined([values, None]) is None
