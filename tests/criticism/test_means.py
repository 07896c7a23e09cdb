"""Posterior means of a latent, against a dense Gaussian."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import zoo

import pyro_rvae as rv
from pyro_rvae.criticism.means import posterior_means

Q, R, C = 0.5, 0.3, 0.9  # of conftest's linear-Gaussian model


def dense_mean(x: torch.Tensor) -> torch.Tensor:
    """``E[z | x]`` of the whole path at once, ``(T, 1)``."""
    steps = len(x)
    lower = torch.linalg.inv(torch.eye(steps) - C * torch.diag(torch.ones(steps - 1), -1))
    prior = Q * lower @ lower.T
    return prior @ torch.linalg.solve(prior + R * torch.eye(steps), x)


def test_they_are_those_of_the_exact_posterior(gaussian):
    model = gaussian.Model(spread=1e-9)  # every draw is the mean
    site, found = posterior_means(model, gaussian.data, num_particles=2, batch_size=2)
    assert site == "z"
    for mean, x in zip(found, gaussian.data, strict=True):
        assert np.allclose(mean, dense_mean(x).numpy(), atol=1e-6), "in the order of the data, without padding"


def test_chunks_do_not_matter(gaussian):
    one, two = (posterior_means(gaussian.Model(), gaussian.data, batch_size=size, max_bytes=size)[1] for size in (1, 5))
    assert all(np.allclose(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize(
    ("name", "steps"), [("VRAE", [1, 1, 1, 1]), ("slow-clock", [2, 1, 2, 1]), ("RVAE", [6, 3, 5, 1])]
)
def test_a_latent_has_its_own_clock(name, steps):
    case = zoo.ZOO[name]
    data = rv.data.SequenceDataset(case.x()[zoo.MASK], zoo.LENGTHS)
    _, found = posterior_means(case.make(), data)
    assert [len(mean) for mean in found] == steps


def test_a_site_that_is_none(gaussian, rolls):
    with pytest.raises(ValueError, match=r"a continuous latent of the guide \(z\), got 'y'"):
        posterior_means(gaussian.Model(), gaussian.data, "y")
    with pytest.raises(ValueError, match="num_particles must be an integer of at least 1, got 0"):
        posterior_means(gaussian.Model(), gaussian.data, num_particles=0)
    with pytest.raises(ValueError, match="DeterministicRNN draws no continuous latent"):
        posterior_means(rv.DeterministicRNN(4, h_dim=3), rolls.test)
