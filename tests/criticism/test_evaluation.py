from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyro.distributions as dist
import pytest
import torch

import pyro_rvae as rv
from pyro_rvae.criticism import Evaluation, evaluate


@pytest.fixture
def two():
    """Two sequences of 4 and 6 frames, two particles each."""
    return Evaluation(
        np.array([[-9.0, -10.0], [-20.0, -20.0]]),
        np.array([8.0, 17.0]),
        np.array([1.5, 3.0]),
        np.array([4, 6]),
        {"independent": 4.0, "markov": 2.5},
        name="VRNN",
        elements=np.array([8, 12]),
    )


def test_the_table_and_the_dictionary(two):
    assert repr(two).splitlines() == [
        "VRNN: 2 sequences, 10 frames. Nats per frame; lower is better.",
        "                                nats/frame    95% interval  by sequence  bits/dim",
        "  ELBO (2 particles)                 2.950  2.375 to 3.333        2.854    2.1280",
        "  IWAE-2                             2.938  2.345 to 3.333        2.839    2.1193",
        "  reconstruction (2 particles)       2.500",
        "  KL (2 particles)                   0.450",
        "  independent floor                  4.000  the ELBO is 1.050 below it",
        "  Markov floor                       2.500  the ELBO is 0.450 above it",
    ]
    figures = two.to_dict()
    assert json.loads(json.dumps(figures)) == figures
    assert figures["elbo_2"] == 2.95 and figures["elbo_2_below_markov"] == pytest.approx(-0.45)
    assert "iwae_2" in figures and figures["num_frames"] == 10
    assert figures["elbo_2_low_95"] == 9.5 / 4 and figures["iwae_2_high_95"] == 20 / 6
    assert figures["elbo_2_mean_over_sequences"] == pytest.approx((9.5 / 4 + 20 / 6) / 2)


def test_what_says_nothing_is_left_out_of_the_table(two):
    alike = replace(two, lengths=np.array([5, 5]), elements=None, floors={}, shared_kl=1.25)
    assert repr(alike).splitlines() == [
        "VRNN: 2 sequences, 10 frames. Nats per frame; lower is better.",
        "                                      nats/frame    95% interval",
        "  ELBO (2 particles)                       2.950  1.900 to 4.000",
        "  IWAE-2                                   2.938  1.876 to 4.000",
        "  reconstruction (2 particles)             2.500",
        "  KL (2 particles)                         0.450",
        "  KL of what is shared (2 particles)       1.250  nats in all, in no figure above",
    ]
    assert alike.bits_per_dim == {} and not any("bits" in name for name in alike.to_dict())


def test_pooled_and_by_sequence(two):
    assert two.elbo == pytest.approx((9.5 + 20) / 10)
    mean = two.mean_over_sequences
    assert mean == pytest.approx({
        "ELBO (2 particles)": (9.5 / 4 + 20 / 6) / 2,
        "IWAE-2": (-np.log((np.exp(-9) + np.exp(-10)) / 2) / 4 + 20 / 6) / 2,
    })
    assert mean.keys() == two.bounds.keys() == two.bits_per_dim.keys()


class Fair(rv.SequenceVAE):
    """z_t ~ N(0, 1), of no use;  x_t ~ Bernoulli(1/2) each: exactly a bit an element."""

    def generative(self, steps):
        for t in steps:
            z = t.sample("z", lambda: dist.Normal(torch.zeros(1), 1.0).to_event(1))
            t.sample("x", lambda z: dist.Bernoulli(probs=torch.full((*z.shape[:-1], 3), 0.5)).to_event(1), z)

    def inference(self, steps, x):
        for t in steps:
            t.sample("z", lambda x: dist.Normal(torch.zeros_like(x[..., :1]), 1.0).to_event(1), t.at(x))


@pytest.mark.parametrize("missing", [False, True])
def test_a_fair_coin_is_one_bit_a_dimension(missing):
    values = (torch.rand(9, 3) < 0.5).double()
    if missing:
        values[::2, 1], values[3] = torch.nan, torch.nan
    found = evaluate(Fair(), rv.data.SequenceDataset(values, [2, 7], kind="binary"), num_particles=3)
    assert found.elements.tolist() == ([5, 14] if missing else [6, 21])
    assert found.bits_per_dim == pytest.approx({"ELBO (3 particles)": 1.0, "IWAE-3": 1.0})
    assert found.to_dict()["iwae_3_bits_per_dim"] == pytest.approx(1.0)


# ------------------------------------------------------------------------------------ bootstrap
def costs_of(costs, lengths):
    return Evaluation(-np.asarray(costs)[:, None], np.asarray(costs), np.zeros(len(costs)), np.asarray(lengths))


def test_the_bootstrap_of_many_alike_is_the_normal_interval():
    costs = np.random.default_rng(0).normal(10.0, 2.0, 2000)
    low, high = costs_of(costs, np.ones(2000, dtype=int)).interval(num=4000)
    half = 1.96 * costs.std() / 2000**0.5
    assert low == pytest.approx(costs.mean() - half, abs=0.05 * half)
    assert high == pytest.approx(costs.mean() + half, abs=0.05 * half)


def test_the_bootstrap_interval_covers_the_truth():
    """Costs grow with the length, so that only the ratio of sums has the right centre: 3 nats a frame."""
    random, hits = np.random.default_rng(1), 0
    for _ in range(200):
        lengths = random.integers(5, 100, 60)
        found = costs_of(3.0 * lengths + random.normal(0, lengths**0.5 * 2), lengths)
        low, high = found.interval(level=0.9, num=200)
        hits += low <= 3.0 <= high
    assert 0.83 < hits / 200 < 0.96


def test_the_interval_is_wider_at_a_higher_level_and_repeats(two):
    wide = evaluate_like(two, 40)
    (low, high), (lower, higher) = wide.interval(level=0.5), wide.interval(level=0.99)
    assert lower < low < wide.iwae < high < higher
    assert wide.interval() == wide.interval() != wide.interval(seed=1)
    assert wide.interval(1) != wide.interval(2)


def evaluate_like(found, times):
    """The same with ``times`` as many sequences, each with a cost of its own."""
    shift = np.linspace(-3, 3, 2 * times)[:, None]
    return replace(found, log_weights=np.tile(found.log_weights, (times, 1)) + shift,
                   lengths=np.tile(found.lengths, times), elements=None)


def test_one_sequence_has_no_interval(two):
    alone = Evaluation(two.log_weights[:1], two.reconstructions[:1], two.kls[:1], two.lengths[:1])
    assert all(map(np.isnan, alone.interval()))
    assert "low_95" not in " ".join(alone.to_dict()) and "2.375             -" in repr(alone)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"level": 1.0}, "level must lie between 0 and 1 .0.95 for 95%., got 1.0"),
        ({"level": 95}, "level must lie between 0 and 1"),
        ({"num": 0}, "num must be an integer of at least 1, got 0"),
        ({"k": 0}, "k must be an integer of at least 1, got 0"),
        ({"k": 3}, "a bound with 3 particles can't be had from 2"),
    ],
)
def test_what_has_no_interval_is_refused(two, given, message):
    with pytest.raises(ValueError, match=message):
        two.interval(**given)


def test_pareto_k_tells_a_good_guide_from_a_bad_one(gaussian):
    near, far = (
        evaluate(gaussian.Model(spread, offset), gaussian.data, num_particles=400).pareto_k
        for spread, offset in ((1.1, 0.0), (0.4, 0.5))
    )
    assert near.shape == (5,) and (near < 0.5).all() and (far > near).all() and far.max() > 0.7
