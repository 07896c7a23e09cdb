from __future__ import annotations

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.integrate import quad

import pyro_rvae as rv
from pyro_rvae.core.contexts import evaluating, forked
from pyro_rvae.criticism import mutual_information
from pyro_rvae.criticism.chunks import Chunk
from pyro_rvae.criticism.particles import draw

Q, R, C = 0.5, 0.3, 0.9  # of the linear-Gaussian model in conftest
SPREAD = 0.7
POINTS = torch.tensor([[-1.5], [-0.2], [0.1], [0.9], [2.5]])


class Line(rv.SequenceVAE):
    """z ~ N(0, 1), x ~ N(z, 1); q(z | x) = N(slope x, spread^2)."""

    static = True

    def __init__(self, slope=1.0, spread=SPREAD, offset=0.0):
        super().__init__()
        self.x_dim, self.slope, self.spread, self.offset = 1, slope, spread, offset

    def generative(self, steps):
        z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
        steps.observe("x", lambda z: dist.Normal(z, 1.0).to_event(1), z)

    def inference(self, steps, x):
        pyro.sample("z", dist.Normal(self.slope * x + self.offset, self.spread).to_event(1))


def points(values=POINTS):
    return rv.data.StaticDataset(values, kind="real")


def integral(function):
    return quad(function, -8, 9, points=POINTS[:, 0].tolist())[0]


def log_density(z, loc=0.0, scale=1.0):
    return -0.5 * ((z - loc) / scale) ** 2 - math.log(scale * math.sqrt(2 * math.pi))


def by_quadrature():
    """The information of five Gaussians, the KL of their mixture from N(0, 1), and the spread of the terms."""
    centres = POINTS[:, 0].tolist()

    def log_mixture(z):
        return math.log(sum(math.exp(log_density(z, x, SPREAD)) for x in centres) / 5)

    def mean(x, power):
        return integral(lambda z: math.exp(q := log_density(z, x, SPREAD)) * (q - log_mixture(z)) ** power)

    each, squares = ([mean(x, power) for x in centres] for power in (1, 2))
    mixture = integral(lambda z: math.exp(q := log_mixture(z)) * (q - log_density(z)))
    return np.mean(each), mixture, np.array(squares) - np.array(each) ** 2


def test_against_numerical_integration():
    truth, mixture, variances = by_quadrature()
    found = mutual_information(Line(), points(), num_particles=4000)
    assert abs(found.value - truth) < 4 * found.error < 0.05
    assert abs(found.aggregate_kl - mixture) < 4 * found.aggregate_error < 0.1
    assert found.error == pytest.approx(math.sqrt(variances.sum() / 4000) / 5, rel=0.1)
    kl = (0.5 * (SPREAD**2 + POINTS**2 - 1) - math.log(SPREAD)).mean().item()
    assert truth + mixture == pytest.approx(kl, abs=1e-6)  # the two parts of the KL


def test_one_draw_has_an_error_that_is_no_smaller():
    found = [mutual_information(Line(), points(), num_particles=1, seed=seed) for seed in range(200)]
    values, errors = np.array([f.value for f in found]), np.array([f.error for f in found])
    assert values.std() < 1.1 * np.sqrt((errors**2).mean())


def test_two_limits():
    data = points()
    collapsed = mutual_information(Line(slope=0.0, offset=0.3), data)
    assert np.abs(collapsed.terms).max() < 1e-12 and not collapsed.saturated
    apart = mutual_information(Line(slope=1000.0), data)
    assert apart.value == pytest.approx(math.log(5), abs=1e-12) and apart.saturated
    assert "does not" not in repr(apart) and "do not overlap" in repr(apart)


def test_a_linear_gaussian_model_in_closed_form():
    """x = z + noise of variance r with the exact guide: I is that of a Gaussian channel, and the mixture the prior."""
    torch.manual_seed(1)
    r = 0.5
    data = points(torch.randn(1000, 1) * math.sqrt(1 + r))
    model = Line(slope=1 / (1 + r), spread=math.sqrt(r / (1 + r)))
    found = mutual_information(model, data, num_particles=2)
    assert found.value == pytest.approx(0.5 * math.log(1 + 1 / r), abs=0.04)
    assert abs(found.aggregate_kl) < 0.02


def dense_posteriors(sequences):
    """p(z_1..z_T | x) of each sequence ``(T, 1)`` as one dense Gaussian."""
    steps = len(sequences[0])
    lower = torch.linalg.inv(torch.eye(steps) - C * torch.diag(torch.ones(steps - 1), -1))
    prior = Q * lower @ lower.T
    gain = prior @ torch.linalg.inv(prior + R * torch.eye(steps))
    covariance = prior - gain @ prior
    return [dist.MultivariateNormal(gain @ x[:, 0], (covariance + covariance.T) / 2) for x in sequences]


def test_paths_of_ragged_sequences_by_hand(gaussian):
    data, model = gaussian.data.subset([0, 2, 4]), gaussian.Model()  # lengths 7, 5, 7
    cut = rv.data.SequenceDataset.from_sequences([x[:5] for x in data])
    with evaluating(model), forked():
        z = draw(model, Chunk(cut.padded(), [0, 1, 2], range(4)), 3, repeat=True).guide.nodes["z"]["value"][..., 0]
    laws = dense_posteriors(list(cut))
    densities = torch.stack([law.log_prob(z) for law in laws], -1)  # (k, n, m)
    terms = densities.diagonal(dim1=-2, dim2=-1) - densities.logsumexp(-1) + math.log(3)
    found = mutual_information(model, data, num_particles=4, seed=3)
    assert found.frames == 5 and "all 3 sequences, first 5 frames, 4 draws each" in found.of
    assert "all 3 sequences, 5 frames, 4 draws each" in mutual_information(gaussian.Model(), cut, num_particles=4).of
    assert np.allclose(found.terms, terms, atol=1e-8)
    parts = mutual_information(model, data, num_particles=4, seed=3, max_bytes=1, batch_size=2)
    assert np.allclose(found.terms, parts.terms, atol=1e-8) and np.allclose(found.surplus, parts.surplus, atol=1e-8)


def test_what_is_drawn_once_reads_whole_sequences(rolls):
    torch.manual_seed(0)
    model, data = rv.VRAE.for_data(rolls.train, z_dim=2, h_dim=4), rolls.test
    laws, draws = [], []
    with evaluating(model), forked():
        for i in range(len(data)):
            site = draw(model, Chunk(data.padded([i]), [i], range(3)), 0, repeat=True).guide.nodes["z"]
            laws.append(site["fn"])
            draws.append(site["value"])  # (k, 1, d)
    densities = torch.stack([torch.stack([law.log_prob(z)[:, 0] for law in laws], -1) for z in draws], 1)
    terms = densities.diagonal(dim1=-2, dim2=-1) - densities.logsumexp(-1) + math.log(len(data))
    found = mutual_information(model, data, num_particles=3)
    assert found.frames is None and np.allclose(found.terms, terms, atol=1e-10)


class Regimes(rv.SequenceVAE):
    """z ~ Categorical(1/3), and a guide that knows x's class with probability 0.8."""

    static = True
    x_dim = 1

    def generative(self, steps):
        z = pyro.sample("z", dist.Categorical(torch.ones(3) / 3))
        steps.observe("x", lambda z: dist.Normal(1.0 * z.unsqueeze(-1), 1.0).to_event(1), z)

    def inference(self, steps, x):
        near = torch.nn.functional.one_hot(x[..., 0].long(), 3)
        pyro.sample("z", dist.Categorical(0.7 * near + 0.1))


def test_a_discrete_latent_by_its_sum():
    data = points(torch.tensor([[0.0], [1.0], [2.0], [2.0]]))
    q = 0.7 * torch.eye(3)[[0, 1, 2, 2]] + 0.1
    truth = (q * (q.log() - q.mean(0).log())).sum(-1).mean().item()
    found = mutual_information(Regimes(), data, num_particles=4000)
    assert abs(found.value - truth) < 4 * found.error < 0.1
    report = rv.collapse_report(Regimes(), data, num_particles=3)
    assert report.num_units == 0 and "no continuous latent" in repr(report)


def test_impossible_draws_of_others_are_no_error():
    class Bounded(Line):  # supports that do not overlap
        def inference(self, steps, x):
            pyro.sample("z", dist.Uniform(x, x + 0.05).to_event(1))

    assert mutual_information(Bounded(), points()).value == pytest.approx(math.log(5))


def test_a_part_of_the_data_is_named():
    data = points(torch.randn(30, 1))
    found = mutual_information(Line(), data, sequences=7, num_particles=2)
    assert found.num_sequences == 7 and "7 of 30 items, 2 draws each" in repr(found)
    assert found.to_dict()["mutual_information_ceiling"] == pytest.approx(math.log(7))
    assert not np.allclose(found.terms, mutual_information(Line(), data, sequences=7, num_particles=2, seed=1).terms)


def test_a_prior_that_reads_the_data_has_no_mixture_part(rolls):
    torch.manual_seed(0)
    found = mutual_information(rv.VRNN.for_data(rolls.train, z_dim=2, h_dim=4), rolls.test)
    assert found.surplus is None and math.isnan(found.aggregate_kl) and "the prior reads the data" in repr(found)
    assert mutual_information(rv.STORN.for_data(rolls.train, z_dim=2, h_dim=4), rolls.test).surplus is not None


def test_a_path_that_is_one_value_of_its_own_is_cut_too(rolls):
    from small_models import PathPrior

    data = rv.data.SequenceDataset(torch.randn(15, 5), [4, 6, 5], kind="real")
    data = rv.data.SequenceDataset((data.values > 0).double(), data.lengths)
    assert mutual_information(PathPrior(), data).frames == 4


def test_nothing_is_left_behind(gaussian):
    model, state = gaussian.Model().train(), torch.get_rng_state()
    mutual_information(model, gaussian.data)
    assert torch.equal(torch.get_rng_state(), state) and model.training and not pyro.get_param_store()


@pytest.mark.parametrize(("wrong", "match"), [
    ({"num_particles": 0}, "num_particles must be an integer of at least 1, got 0"),
    ({"batch_size": 0}, "batch_size must be an integer of at least 1"),
    ({"max_bytes": 0}, "max_bytes must be an integer of at least 1"),
    ({"sequences": 1}, "sequences must be an integer of at least 2 .draws are compared between sequences., or None"),
])
def test_sizes(gaussian, wrong, match):
    with pytest.raises(ValueError, match=match):
        mutual_information(gaussian.Model(), gaussian.data, **wrong)


def test_refusals(gaussian, rolls):
    with pytest.raises(ValueError, match="is not measurable with one sequence. It needs at least two sequences"):
        mutual_information(gaussian.Model(), gaussian.data.subset([0]))
    with pytest.raises(ValueError, match="of VRAE is none: the guide draws a point"):
        mutual_information(rv.RAE(rolls.test.x_dim, 2, 4), rolls.test)
    with pytest.raises(ValueError, match="of DeterministicRNN is none: nothing is drawn for a sequence"):
        mutual_information(rv.DeterministicRNN(rolls.test.x_dim, 4), rolls.test)
    with pytest.raises(TypeError, match="mutual_information needs one data set"):
        mutual_information(gaussian.Model(), rolls)

    class Missing(gaussian.Model):
        def inference(self, steps, x):
            for t in steps:
                t.sample("y", lambda x: dist.Normal(x, 1.0).to_event(1), t.at(x))

    with pytest.raises(ValueError, match="must draw the same latents; only the model has"):
        mutual_information(Missing(), gaussian.data)
