from __future__ import annotations

import numpy as np
import pyro.distributions as dist
import pytest
import torch

import pyro_rvae as rv

EXACT = {"train": 3.076313, "valid": 3.074113, "test": 3.083731}  # as published beside the recipe


def filtered(x):
    """Minus the log-density a frame, of sequences ``(N, T)``, by the Kalman filter of one dimension."""
    mean, variance, cost = np.zeros(len(x)), 1.0, 0.0
    for t in range(x.shape[1]):
        if t:
            mean, variance = mean + 0.05, variance + 10
        spread = 0.25 * variance + 20
        error = x[:, t] - 0.5 * mean
        cost += 0.5 * (np.log(2 * np.pi * spread) + error**2 / spread).sum()
        gain = 0.5 * variance / spread
        mean, variance = mean + gain * error, variance * (1 - 0.5 * gain)
    return cost / x.size


@pytest.mark.parametrize("side", EXACT)
def test_its_exact_cost_is_the_published_one(side):
    data = getattr(rv.data.synthetic9(), side)
    assert filtered(data.padded().x[..., 0].numpy()) == pytest.approx(EXACT[side], abs=6e-7)


def test_the_filter_agrees_with_a_dense_gaussian():
    x = rv.data.synthetic9().valid.padded().x[:5, :6, 0]
    t = torch.arange(6.0)
    covariance = 0.25 * (1 + 10 * torch.minimum(t, t[:, None])) + 20 * torch.eye(6)
    dense = dist.MultivariateNormal(0.025 * t, covariance).log_prob(x)
    assert filtered(x.numpy()) == pytest.approx(-dense.mean().item() / 6, abs=1e-12)


def test_it_is_the_same_each_time_and_leaves_the_random_state_alone():
    state = np.random.get_state()[1].copy()
    one, two = rv.data.synthetic9(), rv.data.synthetic9()
    assert torch.equal(one.test.values, two.test.values) and one.test.reference is one.train
    assert (np.random.get_state()[1] == state).all()
    assert [len(side) for side in one] == [5000, 500, 500]
