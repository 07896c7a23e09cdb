from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from zoo import LENGTHS, MASK, ZOO

import pyro_rvae as rv
from pyro_rvae.core.contexts import evaluating, forked
from pyro_rvae.criticism import collapse_report
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
    found = collapse_report(Known(), data, num_particles=3, batch_size=2)
    x = data.values
    kl = (0.5 * (SPREAD**2 + (SLOPES * x) ** 2 - 1) - SPREAD.log()).mean(0)
    assert np.allclose(found.kl_by_dim["z"], kl, atol=1e-12)
    assert np.allclose(found.activity["z"], (SLOPES * x).var(0), atol=1e-12)
    assert (found.active_units, found.num_units) == (2, 3)
    many = collapse_report(Known(), data, num_particles=2000)
    assert many.kl == pytest.approx(kl.sum().item(), abs=0.03)


def test_the_draws_of_a_path_do_not_make_a_unit_active(gaussian):
    class Free(gaussian.Model):  # the mean given z_{t-1} moves with the draws, but not with x
        def posterior(self, z, information):
            return self.transition(z)

    assert collapse_report(Free(), gaussian.data, num_particles=400).activity["z"][0] < 0.01


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
    found = collapse_report(model, data, num_particles=4, seed=2, batch_size=batch_size)
    assert found.shuffled_frames == frames
    assert found.shuffling_cost == pytest.approx(gap / (frames * 4), abs=1e-10)
    assert found.shuffling_cost > 0.1


def test_a_latent_that_the_likelihood_ignores_costs_nothing(gaussian):
    class Deaf(gaussian.Model):
        def likelihood(self, z):
            return dist.Normal(0 * z, 1.0).to_event(1)

    assert collapse_report(Deaf(), gaussian.data).shuffling_cost == 0.0


def test_one_sequence_has_nobody_to_swap_with(gaussian):
    found = collapse_report(gaussian.Model(), gaussian.data.subset([0]))
    assert math.isnan(found.shuffling_cost) and found.shuffled_frames == 0
    line = next(line for line in repr(found).splitlines() if "shuffled" in line)
    assert line.split("(10 draws)")[1].split() == "- not measurable with one sequence".split()
    item = rv.data.StaticDataset((torch.arange(5.0) % 2)[None])
    assert "not measurable with one item" in repr(collapse_report(rv.VAE(5, 2, 4), item))


@pytest.mark.parametrize("Model", [rv.VRAE, rv.VAE])
def test_one_sequence_is_not_called_collapsed(Model, rolls):
    data = rv.data.StaticDataset(rolls.train.values[:1]) if Model is rv.VAE else rolls.train.subset([0])
    model = Model.for_data(data, z_dim=2, h_dim=4)
    found = collapse_report(model, data, num_particles=3, floor=0.0)
    one = "item" if Model is rv.VAE else "sequence"
    assert np.isnan(found.activity["z"]).all() and found.unmeasured == ("z",) and found.collapsed == ()
    assert math.isnan(found.to_dict()["active_units"])
    line = next(line for line in repr(found).splitlines() if "active units" in line)
    assert line.split()[2:] == ["-", "not", "measurable", "with", "one", one]
    assert f"whether z follows the data can't be measured with one {one}" in found.verdict
    assert "collapsed" not in repr(found) and "used" not in found.verdict
    assert collapse_report(model, data, num_particles=3, floor=1e9).collapsed == ("z",), "its KL tells"


@pytest.mark.parametrize("Model", [rv.VRNN, rv.DMM, rv.VRAE, rv.RVAE, rv.STORN])
def test_every_model(Model, rolls):
    model = Model.for_data(rolls.train, z_dim=2, h_dim=6)
    whole, cut = (collapse_report(model, rolls.test, max_bytes=size).to_dict() for size in (2**28, 10**4))
    assert whole.pop("verdict") == cut.pop("verdict") and whole.pop("collapsed") == cut.pop("collapsed")
    assert whole == pytest.approx(cut, abs=1e-10)
    whole = collapse_report(model, rolls.test)
    assert whole.num_units == 2 and whole.kl_by_dim["z"].shape == (2,)
    assert "KL of z by dimension" in repr(whole) and "10 draws" in repr(whole)
    assert len(pyro.get_param_store()) == 0


def test_static_models():
    data = rv.data.StaticDataset((torch.rand(9, 5) < 0.4).double())
    found = collapse_report(rv.VAE.for_data(data, z_dim=3, h_dim=8), data, batch_size=4)
    assert found.shuffled_frames == 9 and "Nats per item" in repr(found)


def test_refusals(rolls):
    model = rv.VRNN.for_data(rolls.train, z_dim=2, h_dim=6)
    with pytest.raises(ValueError, match="batch_size must be an integer of at least 2, got 1"):
        collapse_report(model, rolls.test, batch_size=1)
    with pytest.raises(TypeError, match="collapse_report needs one data set"):
        collapse_report(model, rolls)
    with pytest.raises(ValueError, match="num_particles must be an integer of at least 1, got 0"):
        collapse_report(model, rolls.test, num_particles=0)
    with pytest.raises(ValueError, match="sequences must be an integer of at least 2, got 1"):
        collapse_report(model, rolls.test, sequences=1)
    with pytest.raises(ValueError, match="floor must be a finite number of at least 0"):
        collapse_report(model, rolls.test, floor=-0.1)
    wide = rv.data.SequenceDataset(torch.ones(5, 3), [2, 3])
    with pytest.raises(ValueError, match="VRNN was built for frames of x_dim=4, the data set has 3 features"):
        collapse_report(model, wide)

    class Missing(rv.VRNN):
        def inference(self, steps, x):
            for t in steps:
                t.sample("y", lambda x: dist.Normal(x, 1.0).to_event(1), t.at(x))

    with pytest.raises(ValueError, match="must draw the same latents; only the model has"):
        collapse_report(Missing(4, 2, 4), rolls.test)


@pytest.mark.parametrize("made", [rv.StepRAE, rv.RAE])
def test_a_point_guide_has_codes_that_count(made, rolls):
    """The codes of a deterministic autoencoder vary with x; there is no KL, and each particle is the same point."""
    torch.manual_seed(0)
    found = collapse_report(made(rolls.test.x_dim, 2, 4), rolls.test, num_particles=3)
    assert found.kl == pytest.approx(0.0, abs=1e-12) and found.num_units == 2 and found.active_units <= 2
    assert math.isfinite(found.shuffling_cost)


# ------------------------------------------------------------------------------------------ by step
def test_kl_by_step_is_over_the_sequences_that_have_it(data):
    found = collapse_report(Known(), data, num_particles=2, batch_size=2)
    by_hand = [0.5 * (SPREAD**2 + (SLOPES * x) ** 2 - 1) - SPREAD.log() for x in data]
    steps = [torch.stack([kl[t] for kl in by_hand if len(kl) > t]).mean(0) for t in range(6)]
    assert np.allclose(found.kl_by_step_and_dim["z"], torch.stack(steps), atol=1e-12)
    assert np.allclose(found.kl_by_step["z"], torch.stack(steps).sum(-1), atol=1e-12)
    assert found.steps["z"].tolist() == [5, 5, 4, 3, 2, 2]
    assert found.kl_a_draw["z"] == pytest.approx(found.kl_by_dim["z"].sum())


def test_the_explicit_reading_has_the_same_steps(data):
    found = collapse_report(Known(), data, num_particles=2)
    with rv.explicit():
        same = collapse_report(Known(), data, num_particles=2)
    assert list(same.kl_by_step) == ["z"] and same.information.frames == 2
    for part in ("kl_by_step", "kl_by_step_and_dim", "kl_by_dim", "steps", "activity"):
        assert np.allclose(getattr(same, part)["z"], getattr(found, part)["z"], atol=1e-12)


def test_without_a_closed_form_the_steps_are_drawn(data):
    tril = torch.tensor([[0.6, 0.0], [0.4, 0.9]])

    class Full(Known):
        def generative(self, steps):
            for t in steps:
                z = t.sample("z", lambda: dist.Normal(torch.zeros(2), 1.0).to_event(1))
                t.sample("x", lambda z: dist.Normal(z[..., :1], 1.0).to_event(1), z)

        def inference(self, steps, x):
            for t in steps:
                t.sample("z", lambda x: dist.MultivariateNormal(torch.cat([x, -x], -1), scale_tril=tril), t.at(x))

    found = collapse_report(Full(), data, num_particles=4000)
    prior = dist.MultivariateNormal(torch.zeros(2), torch.eye(2))
    laws = [dist.MultivariateNormal(torch.cat([x, -x], -1), scale_tril=tril) for x in data]
    kl = [torch.distributions.kl_divergence(law, prior) for law in laws]
    steps = [torch.stack([each[t] for each in kl if len(each) > t]).mean() for t in range(6)]
    assert np.allclose(found.kl_by_step["z"], steps, atol=0.05) and not found.kl_by_dim
    assert found.kl == pytest.approx((found.kl_by_step["z"] * found.steps["z"]).sum() / 21, abs=1e-10)


def test_a_slow_clock_has_steps_of_its_own(rolls):
    torch.manual_seed(0)
    found = collapse_report(rv.HRAE.for_data(rolls.train, z_dim=2, h_dim=4), rolls.test)  # lengths 5, 3, 8
    assert found.steps["z2"].tolist() == [3, 2] and found.steps["z"].tolist() == [3, 3, 3, 2, 2, 1, 1, 1]
    for name, by_dim in found.kl_by_dim.items():
        assert np.nansum(found.kl_by_step[name] * found.steps[name]) == pytest.approx(16 * by_dim.sum())


# ------------------------------------------------------------------------------------------ closed forms
class Channel(rv.SequenceVAE):
    """z ~ N(0, I), x = W z + noise with orthogonal columns in W, and the exact posterior: all is known."""

    static = True
    x_dim = 3
    W, noise = torch.tensor([[1.5, 0.0], [0.0, 0.5], [0.0, 0.0]]), 0.6

    def generative(self, steps):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        steps.observe("x", lambda z: dist.Normal(z @ self.W.T, self.noise).to_event(1), z)

    @classmethod
    def law(cls, x):
        variance = 1 / (1 + (cls.W**2).sum(0) / cls.noise**2)
        return variance * (x @ cls.W) / cls.noise**2, variance.sqrt()

    def inference(self, steps, x):
        pyro.sample("z", dist.Normal(*self.law(x)).to_event(1))


def test_a_linear_gaussian_vae_in_closed_form():
    torch.manual_seed(4)
    x = torch.randn(600, 2) @ Channel.W.T + Channel.noise * torch.randn(600, 3)
    found = collapse_report(Channel(), rv.data.StaticDataset(x, kind="real"), num_particles=4)
    mean, scale = Channel.law(x)
    kl = (0.5 * (scale**2 + mean**2 - 1) - scale.log()).mean(0)
    assert np.allclose(found.kl_by_dim["z"], kl, atol=1e-12)
    assert np.allclose(found.activity["z"], mean.var(0), atol=1e-12)
    evidence = dist.MultivariateNormal(torch.zeros(3), Channel.W @ Channel.W.T + 0.36 * torch.eye(3)).log_prob(x)
    assert found.elbo == pytest.approx(-evidence.mean().item(), abs=1e-10)  # the exact posterior: every draw
    information = 0.5 * torch.log1p((Channel.W**2).sum(0) / 0.36).sum().item()
    assert found.information.value == pytest.approx(information, abs=0.1)  # of the channel; of 600 items a little less
    assert abs(found.information.aggregate_kl) < 0.1
    assert found.verdict.startswith("the latent is used") and found.collapsed == ()


def test_shuffling_makes_the_bound_worse_by_its_cost(gaussian):
    found = collapse_report(gaussian.Model(), gaussian.data, num_particles=3, seed=5)
    bound = rv.evaluate(gaussian.Model(), gaussian.data, num_particles=3, seed=5)
    assert (found.elbo, found.kl) == pytest.approx((bound.elbo, bound.kl), abs=1e-10)
    assert found.shuffled_elbo == pytest.approx(bound.elbo + found.shuffling_cost, abs=1e-10)
    assert found.to_dict()["shuffled_elbo_3"] == found.shuffled_elbo
    line, = (line for line in repr(found).splitlines() if "ELBO with shuffled latents (3 draws)" in line)
    assert f"{found.shuffled_elbo:.3f}" in line


# ------------------------------------------------------------------------------------------ in plain words
def test_the_verdict_on_a_collapsed_latent(gaussian):
    class Prior(gaussian.Model):
        def inference(self, steps, x):
            for t in steps:
                t.sample("z", self.transition, t.prev("z", torch.zeros(1)))

    found = collapse_report(Prior(), gaussian.data)
    assert found.collapsed == ("z",) and found.information.value == pytest.approx(0.0, abs=1e-12)
    assert found.verdict == "collapsed: the posterior of z is the prior (KL 0.0000 nats a draw)."
    assert repr(found).endswith("=> " + found.verdict)


def test_the_verdict_on_a_posterior_that_is_the_same_for_all(gaussian):
    class Same(gaussian.Model):
        def inference(self, steps, x):
            for t in steps:
                t.sample("z", lambda: dist.Normal(torch.full((1,), 2.0), 0.1).to_event(1))

    found = collapse_report(Same(), gaussian.data)
    assert found.collapsed == ("z",) and "has the same mean for all data, so its KL" in found.verdict


def test_the_verdict_on_a_latent_that_is_not_read(gaussian):
    class Deaf(gaussian.Model):
        def likelihood(self, z):
            return dist.Normal(0 * z, 1.0).to_event(1)

    assert "the likelihood does almost as well with another sequence's latents" in collapse_report(
        Deaf(), gaussian.data).verdict


def test_the_verdict_on_a_latent_of_which_neither_figure_tells_anything(gaussian):
    found = collapse_report(gaussian.Model(), gaussian.data)
    assert "is used" in found.verdict
    noise = replace(found.information, terms=np.array([[0.9, -0.8, 0.7, -0.6, 0.2]]))
    faint = replace(found, information=noise, kl=0.01)
    faint = replace(faint, shuffling_cost=0.005 * faint.elbo)
    assert faint.verdict.startswith("z is hardly used") and "latents cost 0.5% of the bound" in faint.verdict
    assert "is used" in replace(faint, shuffling_cost=0.02 * found.elbo).verdict


def test_a_floor_of_ones_own_is_named(gaussian):
    found = collapse_report(gaussian.Model(), gaussian.data, floor=1e3)
    assert "is below the floor of 1000" in found.verdict


def test_the_verdict_by_latent_and_dimension(data):
    class Two(Known):
        def generative(self, steps):
            v = pyro.sample("v", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            for t in steps:
                z = t.sample("z", lambda: dist.Normal(torch.zeros(3), 1.0).to_event(1))
                t.sample("x", lambda z, v: dist.Normal(z[..., :1] + 0 * v[..., :1], 1.0).to_event(1), z, t.hold(v))

        def inference(self, steps, x):
            pyro.sample("v", dist.Normal(torch.zeros(x.shape[0], 2), 1.0).to_event(1))
            super().inference(steps, x)

    found = collapse_report(Two(), data)
    assert found.collapsed == ("v",) and found.kl_by_step["v"].shape == (1,) and found.steps["v"].tolist() == [5]
    assert found.verdict.startswith("v has collapsed; z is used; 2 of 3 dimensions of z carry 95% of its KL")


def test_where_there_is_nothing_to_collapse(rolls):
    found = collapse_report(rv.DeterministicRNN(4, 4), rolls.test)
    assert found.verdict == "the model draws no latent for a sequence." and found.information is None
    found = collapse_report(rv.RAE(4, 2, 4), rolls.test)
    assert "cost at a point (10 draws)" in repr(found) and "none: the guide draws a point" in repr(found)
    assert not any(key.startswith("mutual_information") for key in found.to_dict())


def test_the_information_saves_on_draws_where_there_are_many_sequences():
    few, many = (rv.data.StaticDataset(torch.randn(size, 3), kind="real") for size in (8, 70))
    assert collapse_report(Channel(), few, num_particles=7).information.num_particles == 7
    found = collapse_report(Channel(), many)
    assert (found.information.num_particles, found.information.num_sequences) == (1, 70)
    assert collapse_report(Channel(), many, sequences=40).information.num_particles == 2


def data_of(case):
    """The zoo's data as a data set of ragged sequences (or rows)."""
    x, extra, kind = case.x(), case.extra(), case.data.split()[0]
    known = {"codes": {"kind": "categories", "classes": 4}, "counts": {"kind": "counts"}}.get(kind, {})
    if case.static:
        return rv.data.StaticDataset(x, labels=extra.get("labels"), **known)
    controls = extra["controls"][MASK] if "controls" in extra else None
    return rv.data.SequenceDataset(x[MASK], LENGTHS, labels=extra.get("labels"), controls=controls, **known)


@pytest.mark.parametrize("name", ZOO)
def test_the_whole_zoo(name):
    case = ZOO[name]
    found = collapse_report(case.make(), data_of(case), num_particles=2)
    figures = found.to_dict()
    assert all(math.isfinite(v) for k, v in figures.items() if isinstance(v, float))
    assert name.startswith("deterministic") == (not found.kl_by_step)
    if found.information is not None:
        assert found.information.value <= math.log(4) + 1e-9
    frames = 4 if case.static else 15
    whole = sum(float(np.nansum(kl * found.steps[latent])) for latent, kl in found.kl_by_step.items()) / frames
    if found.point or not found.kl_by_dim:  # the same draws
        assert whole == pytest.approx(found.kl, abs=1e-8)
    assert found.verdict in repr(found)
