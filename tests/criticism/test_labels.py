"""What is observed beside x, the labels of a supervised model, is told apart from x in every figure."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

import pyro_rvae as rv
from pyro_rvae.core import explicit
from pyro_rvae.criticism import Pair, _arviz, collapse_report, evaluate, to_arviz


@pytest.fixture
def labelled(rolls):
    """Five sequences with three kinds of labels, one of them unknown."""
    return rv.data.SequenceDataset(rolls.train.values, rolls.train.lengths, labels=torch.tensor([0, 1, 2, -1, 0]))


@pytest.fixture
def supervised(labelled):
    model = rv.Supervised(rv.VRNN.for_data(labelled, z_dim=2, h_dim=4), partial(rv.Categorical, classes=3), weight=5.0)
    for weights in model.head.parameters():
        weights.data.zero_()  # p(y | z) = 1/3
    return model


KNOWN = np.log(3) * np.array([1, 1, 1, 0, 1])


@pytest.mark.parametrize("max_bytes", [4000, 2**28])
@pytest.mark.parametrize("reading", ["vectorised", "explicit"])
def test_the_cost_of_labels_is_apart_from_that_of_x(supervised, labelled, max_bytes, reading):
    with explicit() if reading == "explicit" else nullcontext():
        found = evaluate(supervised, labelled, num_particles=6, max_bytes=max_bytes)
        base = evaluate(supervised.base, labelled, num_particles=6)
    assert list(found.likelihoods) == ["x", "y"]
    assert np.allclose(found.likelihoods["y"], KNOWN)
    assert np.allclose(found.likelihoods["x"], base.reconstructions)
    assert np.allclose(sum(found.likelihoods.values()), found.reconstructions)
    assert found.elbo == pytest.approx(base.elbo + KNOWN.sum() / labelled.num_frames)


def test_bits_and_floors_are_of_x_alone(supervised, labelled):
    found = evaluate(supervised, labelled, num_particles=4, train=labelled)
    figures, lines = found.to_dict(), repr(found).splitlines()
    assert found.elements.sum() and found.bits_per_dim == {} and "bits" not in " ".join([*figures, *lines])
    assert figures["reconstruction_of_y_4"] == pytest.approx(KNOWN.sum() / labelled.num_frames)
    assert figures["reconstruction_of_x_4"] + figures["reconstruction_of_y_4"] == pytest.approx(found.reconstruction)
    assert "markov_floor" in figures and not any("below" in name for name in figures)
    assert lines[0].endswith("Nats per frame, including the labels y; lower is better.")
    assert lines[6].split() == ["of", "y", f"{KNOWN.sum() / labelled.num_frames:.3f}"]
    assert lines[-1].endswith("of x, without the labels y")


def test_without_labels_nothing_of_them_is_said(supervised, labelled):
    found = evaluate(supervised.base, labelled, num_particles=2)
    assert list(found.likelihoods) == ["x"] and found.bits_per_dim and "y" not in found.includes
    assert np.allclose(found.likelihoods["x"], found.reconstructions)
    assert "labels" not in repr(found) and not any("reconstruction_of" in name for name in found.to_dict())
    assert "labels" not in repr(collapse_report(supervised.base, labelled, num_particles=2))


def test_the_collapse_report_says_that_it_includes_them(supervised, labelled):
    found = collapse_report(supervised, labelled, num_particles=2)
    assert repr(found).startswith("Supervised: use of the latent. Nats per frame, including the labels y.\n")


def test_arviz_has_the_likelihood_of_each(supervised, labelled):
    groups = _arviz.groups_of(to_arviz(supervised, labelled, 3, groups=["log_likelihood", "sample_stats"]))
    found = groups["log_likelihood"]
    assert set(found.data_vars) == {"x", "y"} and found.y.dims == found.x.dims == ("chain", "draw", "sequence")
    assert np.allclose(found.y, -KNOWN)
    base = _arviz.groups_of(to_arviz(supervised.base, labelled, 3, groups=["log_likelihood", "sample_stats"]))
    assert np.allclose(found.x, base["log_likelihood"].x)
    assert np.allclose(groups["sample_stats"].log_p, base["sample_stats"].log_p - KNOWN)


def test_a_pair_that_observes_more_than_x():
    def model(x):
        with pyro.plate("batch", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z[:, None], 1.0).to_event(1), obs=x)
            pyro.sample("w", dist.Normal(z, 2.0), obs=torch.ones(len(x)))

    def guide(x):
        with pyro.plate("batch", len(x)):
            pyro.sample("z", dist.Normal(x[:, 0], 0.1))

    rows = rv.data.StaticDataset(torch.randn(4, 1))
    found = evaluate(Pair(model, guide, static=True, observed="x"), rows, num_particles=3000)
    assert found.likelihoods.keys() == {"x", "w"} and found.includes == "w" and found.bits_per_dim == {}
    x = rows.values[:, 0]
    by_hand = -dist.Normal(x, 2.0).log_prob(torch.ones(4)) + 0.01 / 8
    assert np.allclose(found.likelihoods["w"], by_hand, atol=0.01)
