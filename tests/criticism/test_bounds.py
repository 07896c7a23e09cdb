from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import pyro_rvae as rv
from pyro_rvae.criticism import collapse_report, evaluate, floors, one_step, predictive_check, to_arviz
from pyro_rvae.criticism.bounds import elements_of


@pytest.mark.parametrize("Model", [rv.VRNN, rv.DMM, rv.VRAE, rv.RVAE, rv.STORN])
def test_chunks_padding_and_company_do_not_matter(Model, rolls):
    model = Model.for_data(rolls.train, z_dim=2, h_dim=6, dropout=0.2)
    whole = evaluate(model, rolls.test, num_particles=9, seed=4)
    cut = evaluate(model, rolls.test, num_particles=9, seed=4, batch_size=2, max_bytes=9000)
    assert np.allclose(whole.log_weights, cut.log_weights, atol=1e-10)
    more = evaluate(model, rolls.test, num_particles=12, seed=4)
    assert np.allclose(whole.log_weights, more.log_weights[:, :9], atol=1e-10)
    other = evaluate(model, rolls.test, num_particles=9, seed=5)
    assert not np.allclose(whole.log_weights, other.log_weights, atol=1e-3)


def test_it_leaves_no_trace(rolls):
    model = rv.VRNN.for_data(rolls.train, z_dim=2, h_dim=6, dropout=0.5)
    model.recurrence.eval()
    state = torch.random.get_rng_state()
    first, second = (evaluate(model, rolls.test, num_particles=2) for _ in range(2))
    assert torch.equal(state, torch.random.get_rng_state())
    assert model.training and model.likelihood.training and not model.recurrence.training
    assert len(pyro.get_param_store()) == 0
    assert np.array_equal(first.log_weights, second.log_weights)


def test_static_models_count_items():
    data = rv.data.StaticDataset((torch.rand(12, 5) < 0.4).double())
    found = evaluate(rv.VAE.for_data(data, z_dim=2, h_dim=8), data, num_particles=5, train=data)
    assert found.num_frames == 12 and "12 items" in repr(found) and "Nats per item" in repr(found)
    assert set(found.floors) == {"independent"}


def test_missing_elements(rolls):
    values = rolls.train.values.clone()
    values[::3, 1] = torch.nan
    data = rv.data.SequenceDataset(values, rolls.train.lengths)
    assert np.isfinite(
        evaluate(rv.VRNN.for_data(data, z_dim=2, h_dim=6), data, num_particles=3).log_weights
    ).all()


class Coin(rv.SequenceVAE):
    """z_t ~ Bernoulli(0.3);  x_t ~ N(z_t, 1);  q(z_t) = Bernoulli(0.5): not made from Gaussian noise."""

    def generative(self, steps):
        for t in steps:
            z = t.sample("z", lambda: dist.Bernoulli(torch.tensor([0.3])).to_event(1))
            t.sample("x", lambda z: dist.Normal(z, 1.0).to_event(1), z)

    def inference(self, steps, x):
        for t in steps:
            t.sample("z", lambda g: dist.Bernoulli(torch.full_like(g, 0.5)).to_event(1), t.at(x))


def test_discrete_latents_against_the_sum():
    data = rv.data.SequenceDataset(torch.randn(9, 1), [4, 5])
    found = evaluate(Coin(), data, num_particles=3000, max_bytes=2000)
    x = data.values[:, 0]
    parts = torch.stack(
        [
            p.log() + dist.Normal(z, 1.0).log_prob(x)
            for z, p in ((0.0, torch.tensor(0.7)), (1.0, torch.tensor(0.3)))
        ]
    )
    exact = -parts.logsumexp(0).mean().item()
    assert found.iwae == pytest.approx(exact, abs=4 * found.errors["iwae"] + 1e-3)
    again = evaluate(Coin(), data, num_particles=3000, max_bytes=2000)
    assert np.array_equal(found.log_weights, again.log_weights)


class SharedMean(rv.SequenceVAE):
    """m ~ N(0, prior_scale^2) once a data set;  z ~ N(0, 1) a step;  x_t ~ N(z_t + m, 1)."""

    def __init__(self, prior_scale=1.0):
        super().__init__()
        self.prior_scale, self.num_sequences = prior_scale, 50

    def shared(self):
        pyro.sample("m", dist.Normal(torch.zeros(1), self.prior_scale).to_event(1))

    def generative(self, steps):
        m = steps.shared["m"]
        for t in steps:
            z = t.sample("z", lambda: dist.Normal(torch.zeros(1), 1.0).to_event(1))
            t.sample("x", lambda z, m: dist.Normal(z + m, 1.0).to_event(1), z, t.hold(m))

    def inference(self, steps, x):
        for t in steps:
            t.sample("z", lambda x: dist.Normal(0.5 * x, 0.7).to_event(1), t.at(x))


def test_shared_sites_stay_out_of_the_bounds():
    data = rv.data.SequenceDataset(torch.randn(9, 1), [4, 5])
    narrow, wide = (evaluate(SharedMean(scale), data, num_particles=400) for scale in (1.0, 3.0))
    assert np.array_equal(narrow.log_weights, wide.log_weights)
    q = dist.Normal(0.0, nn.functional.softplus(torch.tensor(-2.0)))
    for found, scale in ((narrow, 1.0), (wide, 3.0)):
        assert found.shared_kl == pytest.approx(
            torch.distributions.kl_divergence(q, dist.Normal(0.0, scale)).item(), abs=0.15
        )
    assert "shared_kl" in narrow.to_dict()


def test_loaded_splits_bring_their_floors(rolls):
    loaded = rv.data.bach_chorales()
    assert loaded.valid.reference is loaded.train and loaded.test.subset([0]).reference is loaded.train
    model = rv.VRNN.for_data(rolls.train, z_dim=2, h_dim=6)
    found = evaluate(model, rolls.test, num_particles=3)
    assert found.floors == floors(rolls.train, rolls.test)
    assert evaluate(model, rolls.test.subset([0, 1]), num_particles=3).floors.keys() == found.floors.keys()
    unknown = rv.data.SequenceDataset(rolls.test.values, rolls.test.lengths)
    assert evaluate(model, unknown, num_particles=3).floors == {}
    assert evaluate(model, unknown, num_particles=3, train=rolls.train).floors == found.floors


def test_elements_of_codes_and_rows():
    codes = rv.data.SequenceDataset(torch.tensor([[0, -1], [1, 2], [-1, -1]]), [2, 1], kind="categories", classes=3)
    assert elements_of(codes).tolist() == [3, 0]
    rows = torch.rand(2, 3, 4)
    rows[0, 0, 0] = torch.nan
    assert elements_of(rv.data.StaticDataset(rows)).tolist() == [11, 12]


def test_what_cannot_be_evaluated_is_refused(rolls):
    model = rv.VRNN.for_data(rolls.train, z_dim=2, h_dim=6)
    with pytest.raises(
        TypeError, match="one data set .* got Splits: pass one of its sides, such as data.test"
    ):
        evaluate(model, rolls)
    with pytest.raises(TypeError, match="got Tensor: wrap arrays"):
        evaluate(model, torch.zeros(3, 4))
    with pytest.raises(
        TypeError, match="evaluate needs a SequenceVAE, got SequenceDataset: the model comes first"
    ):
        evaluate(rolls.test, model)
    with pytest.raises(ValueError, match="num_particles must be an integer of at least 1, got 0"):
        evaluate(model, rolls.test, num_particles=0)
    with pytest.raises(ValueError, match="model of sequences, the data set holds rows without time"):
        evaluate(model, rv.data.StaticDataset(torch.zeros(3, 4)))
    with pytest.raises(ValueError, match="built for frames of x_dim=4"):
        evaluate(model, rv.data.SequenceDataset(torch.zeros(3, 2), [3]))
    with pytest.raises(ValueError, match="bound with 9 particles can't be had from 2"):
        evaluate(model, rolls.test, num_particles=2).bound(9)


def test_a_kl_weight_around_the_call_is_in_no_figure(rolls):
    model = rv.VRNN.for_data(rolls.train, z_dim=2, h_dim=6)
    with rv.annealed(0.1):
        weighted = evaluate(model, rolls.test, num_particles=2)
    assert np.array_equal(weighted.log_weights, evaluate(model, rolls.test, num_particles=2).log_weights)


def test_data_in_other_units_are_refused():
    raw = rv.data.SequenceDataset(torch.randn(30, 1) * 7, [20, 10])
    data = rv.data.Splits(raw, raw, raw).standardize()
    model = rv.VRNN.for_data(data.train, z_dim=1, h_dim=4)
    assert "in the units of the transformed data" in repr(evaluate(model, data.test, num_particles=1))
    for other in (raw, rv.data.Splits(raw, raw, raw).normalize().test):
        with pytest.raises(ValueError, match="VRNN was made for data in other units"):
            evaluate(model, other)


@pytest.mark.parametrize(
    "criticise",
    [
        lambda m, x: evaluate(m, x, num_particles=2),
        collapse_report,
        lambda m, x: predictive_check(m, x, num=2),
        lambda m, x: to_arviz(m, x, 2, replicates=one_step(m, x, 2)),
    ],
)
@pytest.mark.parametrize("Model", [rv.VRNN, rv.DMM, rv.VRAE, rv.RVAE, rv.STORN])
def test_nothing_is_made_on_the_default_device(criticise, Model, rolls):
    model = Model.for_data(rolls.train, z_dim=2, h_dim=6)
    with torch.device("meta"):
        criticise(model, rolls.test)


def test_a_latent_that_the_guide_forgets_is_named(rolls):
    class Forgetful(Coin):
        def inference(self, steps, x):
            pass

    with pytest.raises(ValueError, match=r"only the model has \['z'\].*sample every latent"):
        evaluate(Forgetful(), rv.data.SequenceDataset(torch.randn(4, 1), [4]), num_particles=2)


def test_a_point_guide_gives_no_bound_and_says_so(rolls):
    torch.manual_seed(0)
    x_dim = rolls.test.x_dim
    model = rv.RAE(x_dim, 2, 4)
    found = evaluate(model, rolls.test, num_particles=3)
    assert found.point and found.kl == 0 and found.elbo == pytest.approx(found.reconstruction)
    assert "no bound" in repr(found) and "ELBO" not in repr(found) and "IWAE" not in repr(found)
    assert found.to_dict()["is_bound"] == 0.0
    ours = evaluate(rv.VRAE(x_dim, 2, 4), rolls.test, num_particles=3)
    assert not ours.point and "ELBO (3 particles)" in repr(ours) and ours.to_dict()["is_bound"] == 1.0


def test_a_point_guide_under_a_prior_with_weight_gives_no_bound_either(rolls):
    found = evaluate(rv.VRAE(rolls.test.x_dim, 2, 4, posterior=rv.Delta), rolls.test, num_particles=2)
    assert found.point and found.kl > 0
