from __future__ import annotations

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

import pyro_rvae as rv
from pyro_rvae.core.contexts import evaluating, forked
from pyro_rvae.criticism import latent_use
from pyro_rvae.criticism.chunks import Chunk
from pyro_rvae.criticism.particles import draw

SLOPES, SPREAD = torch.tensor([1.5, 0.0, 0.4]), torch.tensor([0.5, 1.0, 0.8])


class Known(rv.SequenceVAE):
    """z_t ~ N(0, I), x_t ~ N(z_{t,0}, 1); q(z_t) = N(SLOPES x_t, SPREAD^2): KL and means are known."""

    def generative(self, steps):
        for t in steps:
            z = t.sample("z", lambda: dist.Normal(torch.zeros(3), 1.0).to_event(1))
            t.sample("x", lambda z: dist.Normal(z[..., :1], 1.0).to_event(1), z)

    def inference(self, steps, x):
        for t in steps:
            t.sample("z", lambda x: dist.Normal(SLOPES * x, SPREAD).to_event(1), t.at(x))


@pytest.fixture
def data():
    torch.manual_seed(5)
    return rv.data.SequenceDataset(torch.randn(21, 1), [3, 6, 2, 6, 4])


def test_kl_by_dimension_and_active_units(data):
    found = latent_use(Known(), data, num_particles=3, batch_size=2)
    x = data.values
    kl = (0.5 * (SPREAD**2 + (SLOPES * x) ** 2 - 1) - SPREAD.log()).mean(0)
    assert np.allclose(found.kl_by_dim["z"], kl, atol=1e-12)
    assert np.allclose(found.activity["z"], (SLOPES * x).var(0), atol=1e-12)
    assert (found.active_units, found.num_units) == (2, 3)
    many = latent_use(Known(), data, num_particles=2000)
    assert many.kl == pytest.approx(kl.sum().item(), abs=0.03)


def test_the_draws_of_a_path_do_not_make_a_unit_active(gaussian):
    class Free(gaussian.Model):  # the mean given z_{t-1} moves with the draws, but not with x
        def posterior(self, z, information):
            return self.transition(z)

    assert latent_use(Free(), gaussian.data, num_particles=400).activity["z"][0] < 0.01


def draws_by_hand(model, data, k, seed):
    """Each sequence's latents ``(k, T, 1)``, drawn alone."""
    with evaluating(model), forked():
        return [
            draw(model, Chunk(data.padded([i]), [i], range(k)), seed, repeat=True).guide.nodes["z"]["value"][
                :, 0
            ]
            for i in range(len(data))
        ]


@pytest.mark.parametrize("batch_size", [2, 3, 20])
def test_shuffling_by_hand(gaussian, batch_size):
    data, model = gaussian.data, gaussian.Model()
    z = draws_by_hand(model, data, 4, seed=2)
    order = data.lengths.argsort(stable=True).tolist()
    batches = {2: [order[:2], order[2:]], 3: [order[:3], order[3:]], 20: [order]}[batch_size]
    gap, frames = 0.0, 0
    for numbers in batches:
        for place, n in enumerate(numbers):
            other = numbers[place - 1]
            common = min(int(data.lengths[n]), int(data.lengths[other]))
            x = data[n][:common]
            right, wrong = (model.likelihood(z[i][:, :common]).log_prob(x).sum().item() for i in (n, other))
            gap, frames = gap + right - wrong, frames + common
    found = latent_use(model, data, num_particles=4, seed=2, batch_size=batch_size)
    assert found.shuffled_frames == frames
    assert found.shuffling_cost == pytest.approx(gap / (frames * 4), abs=1e-10)
    assert found.shuffling_cost > 0.1


def test_a_latent_that_the_likelihood_ignores_costs_nothing(gaussian):
    class Deaf(gaussian.Model):
        def likelihood(self, z):
            return dist.Normal(0 * z, 1.0).to_event(1)

    assert latent_use(Deaf(), gaussian.data).shuffling_cost == 0.0


def test_one_sequence_has_nobody_to_swap_with(gaussian):
    found = latent_use(gaussian.Model(), gaussian.data.subset([0]))
    assert math.isnan(found.shuffling_cost) and found.shuffled_frames == 0
    line = next(line for line in repr(found).splitlines() if "shuffled" in line)
    assert line.split("(10 draws)")[1].split() == "- not measurable with one sequence".split()
    item = rv.data.StaticDataset(torch.ones(1, 5))
    assert "not measurable with one item" in repr(latent_use(rv.VAE(5, 2, 4), item))


@pytest.mark.parametrize("Model", [rv.VRNN, rv.DMM, rv.VRAE, rv.RVAE, rv.STORN])
def test_every_model(Model, rolls):
    model = Model.for_data(rolls.train, z_dim=2, h_dim=6)
    whole, cut = (latent_use(model, rolls.test, max_bytes=size) for size in (2**28, 10**4))
    assert whole.to_dict() == pytest.approx(cut.to_dict(), abs=1e-10)
    assert whole.num_units == 2 and whole.kl_by_dim["z"].shape == (2,)
    assert "KL of z by dimension" in repr(whole) and "10 draws" in repr(whole)
    assert len(pyro.get_param_store()) == 0


def test_static_models():
    data = rv.data.StaticDataset((torch.rand(9, 5) < 0.4).double())
    found = latent_use(rv.VAE.for_data(data, z_dim=3, h_dim=8), data, batch_size=4)
    assert found.shuffled_frames == 9 and "Nats per item" in repr(found)


def test_refusals(rolls):
    model = rv.VRNN.for_data(rolls.train, z_dim=2, h_dim=6)
    with pytest.raises(ValueError, match="batch_size must be an integer of at least 2, got 1"):
        latent_use(model, rolls.test, batch_size=1)
    with pytest.raises(TypeError, match="latent_use needs one data set"):
        latent_use(model, rolls)


@pytest.mark.parametrize("made", [rv.StepRAE, rv.RAE])
def test_a_point_guide_has_codes_that_count(made, rolls):
    """The codes of a deterministic autoencoder vary with x; there is no KL, and each particle is the same point."""
    torch.manual_seed(0)
    found = latent_use(made(rolls.test.x_dim, 2, 4), rolls.test, num_particles=3)
    assert found.kl == pytest.approx(0.0, abs=1e-12) and found.num_units == 2 and found.active_units <= 2
    assert math.isfinite(found.shuffling_cost)
