"""Bounds on a linear-Gaussian model, whose evidence and posterior are known."""

from __future__ import annotations

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import RenyiELBO

import pyro_rvae as rv
from pyro_rvae.criticism import evaluate

Q, R, C = 0.5, 0.3, 0.9  # of the model in conftest


@pytest.fixture
def exact(gaussian):
    """The log-evidence ``(N,)`` of each sequence."""
    return gaussian.evidence.numpy()


def cost(gaussian):
    return -gaussian.evidence.sum().item() / gaussian.data.num_frames


def test_the_evidence_is_that_of_the_kalman_filter(gaussian):
    one = torch.ones(1, 1)
    for x, evidence in zip(gaussian.data, gaussian.evidence, strict=True):
        law = dist.GaussianHMM(dist.Normal(torch.zeros(1), 1e-6).to_event(1), C * one,
                               dist.Normal(torch.zeros(1), Q**0.5).to_event(1), one,
                               dist.Normal(torch.zeros(1), R**0.5).to_event(1), duration=len(x))
        assert law.log_prob(x).item() == pytest.approx(evidence.item(), abs=1e-6)


def test_with_the_exact_posterior_every_bound_is_the_evidence(gaussian, exact):
    found = evaluate(gaussian.Model(), gaussian.data, num_particles=7, batch_size=2)
    assert found.elbo == pytest.approx(cost(gaussian), abs=1e-8)
    assert found.iwae == pytest.approx(cost(gaussian), abs=1e-8)
    assert np.allclose(found.log_weights, exact[:, None], atol=1e-8)
    assert np.allclose(found.effective_particles, 7)
    assert found.reconstruction + found.kl == pytest.approx(found.elbo, abs=1e-12)
    assert found.errors == pytest.approx({"elbo": 0, "iwae": 0}, abs=1e-8)


def test_the_explicit_form_gives_the_same(gaussian, exact):
    with rv.explicit():
        found = evaluate(gaussian.Model(), gaussian.data, num_particles=3)
    assert np.allclose(found.log_weights, exact[:, None], atol=1e-8)
    assert found.by_step.total == pytest.approx(found.elbo * found.num_frames, abs=1e-10)


@pytest.fixture
def wrong(gaussian):
    """1536 particles of a guide that is too wide and beside the mark."""
    return evaluate(gaussian.Model(spread=1.3, offset=0.2), gaussian.data, num_particles=1536)


def test_a_bound_with_twice_the_particles_is_never_below(wrong):
    """On the same particles: the log of a mean is at least the mean of logs, for each sequence, not on average."""
    bounds = np.stack([wrong.sequence_bounds(2**i) for i in range(10)])
    assert (np.diff(bounds, axis=0) > 0).all()
    costs = [wrong.bound(2**i) for i in range(10)]
    assert costs[0] == wrong.elbo
    assert costs[0] - costs[1] > 0.02


def test_a_bound_is_monotone_in_any_number_of_particles(wrong):
    """In expectation, so by the standard error of the difference over disjoint blocks of particles."""
    for few, many in ((1, 3), (2, 5), (3, 10), (10, 25)):
        size = few * many
        blocks = wrong.log_weights[:, : 1536 // size * size]
        low, high = (mean_log(blocks, k).reshape(len(blocks), -1, size // k).mean(-1) for k in (few, many))
        gain = (high - low).sum(0)
        assert gain.mean() > 3 * gain.std(ddof=1) / len(gain) ** 0.5


def mean_log(log_weights, k):
    blocks = np.exp(log_weights).reshape(len(log_weights), -1, k)
    return np.log(blocks.mean(-1))


def test_every_bound_is_below_the_evidence(wrong, exact):
    """In expectation, for each sequence; those of few particles by far."""
    for k in (1, 2, 5, 20, 100):
        blocks = mean_log(wrong.log_weights[:, : 1536 // k * k], k)
        error = blocks.std(-1, ddof=1) / blocks.shape[1] ** 0.5
        assert np.allclose(blocks.mean(-1), wrong.sequence_bounds(k))
        assert (blocks.mean(-1) < exact + 3 * error).all()
        assert k > 2 or (blocks.mean(-1) < exact - 3 * error).all()


def test_with_many_particles_the_bound_is_the_evidence(wrong, gaussian):
    assert wrong.elbo > cost(gaussian) + 0.1
    assert wrong.iwae == pytest.approx(cost(gaussian), abs=3 * wrong.errors["iwae"])
    assert wrong.errors["iwae"] < 0.01


@pytest.mark.parametrize(("spread", "offset"), [(1.2, 0.0), (1.3, 0.1), (1.1, -0.1)])
def test_the_mean_weight_is_the_evidence_without_bias(gaussian, exact, spread, offset):
    """So exp(IWAE-k) is, for every k: it is a mean of weights."""
    found = evaluate(gaussian.Model(spread, offset), gaussian.data, num_particles=2000)
    weights = np.exp(found.log_weights - exact[:, None])
    error = weights.std(-1, ddof=1) / 2000**0.5
    assert (np.abs(weights.mean(-1) - 1) < 3 * error).all()
    assert (error < 0.05).all() and (weights.std(-1) > 0.2).all()
    of_ten = np.exp(mean_log(found.log_weights, 10) - exact[:, None])
    assert np.allclose(of_ten.mean(-1), weights.mean(-1))


def test_the_errors_are_those_of_repetition(gaussian):
    model = gaussian.Model(spread=1.3, offset=0.2)
    runs = [evaluate(model, gaussian.data, num_particles=20, seed=seed) for seed in range(40)]
    for name in ("elbo", "iwae"):
        spread = np.std([getattr(run, name) for run in runs], ddof=1)
        stated = np.mean([run.errors[name] for run in runs])
        assert stated == pytest.approx(spread, rel=0.35)


def test_pyros_own_importance_bound_stays_below_the_evidence(gaussian):
    model, batch = gaussian.Model(spread=1.3, offset=0.2), gaussian.data.padded()
    renyi = RenyiELBO(alpha=0, num_particles=50, vectorize_particles=True, max_plate_nesting=1)
    bounds = [-renyi.loss(model.model, model.guide, *batch) for _ in range(20)]
    assert np.mean(bounds) < gaussian.evidence.sum().item()
    ours = -evaluate(model, gaussian.data, num_particles=1000).bound(50) * gaussian.data.num_frames
    assert np.mean(bounds) == pytest.approx(ours, abs=4 * np.std(bounds) / 20**0.5 + 0.05)


def test_a_sequence_alone_has_the_same_bounds(gaussian, wrong):
    for i in range(len(gaussian.data)):
        alone = evaluate(gaussian.Model(spread=1.3, offset=0.2), gaussian.data.subset([i]), num_particles=8)
        # noise belongs to a sequence's number in its data set: only the first one's is the same
        assert i or np.allclose(alone.log_weights[0], wrong.log_weights[0, :8], atol=1e-10)
        steps = np.nansum(alone.by_step.reconstruction + alone.by_step.kl)
        assert steps == pytest.approx(-alone.log_weights.mean(), abs=1e-10)
