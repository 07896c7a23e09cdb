"""Priors once a data set: weights and a noise scale, each with an AutoGuide beside the amortised guide."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pyro
import pyro.poutine as poutine
import pytest
import torch
from laws import ELBOS, forms_agree, gradients_arrive, padding_never_matters, still, train
from pyro.infer import SVI, Trace_ELBO, TraceMeanField_ELBO
from pyro.infer.autoguide import AutoDelta, AutoDiagonalNormal, AutoMultivariateNormal, AutoNormal
from small_models import BayesianDecoder, GammaScale
from torch import Tensor
from zoo import MASK, B, T, X, Z, awake, make_data

import pyro_rvae as rv

GUIDES = [None, AutoNormal, AutoDiagonalNormal, AutoMultivariateNormal, AutoDelta]


@pytest.mark.parametrize("model", [BayesianDecoder, GammaScale])
@pytest.mark.parametrize("guide", GUIDES, ids=lambda g: getattr(g, "__name__", "default"))
def test_an_autoguide_stands_beside_the_amortised_guide(model: Any, guide: Any) -> None:
    torch.manual_seed(0)
    made, x = awake(model(guide=guide)), make_data("real", 0, (B, T))
    made.num_sequences = B
    assert any(name.startswith("shared_posterior") for name, _ in made.named_parameters())  # before the first call
    for elbo in ELBOS.values():
        if not (guide is AutoDelta and model is GammaScale):
            forms_agree(made, elbo(), x, MASK)
    if not (guide is AutoMultivariateNormal and model is GammaScale):  # one number has no correlations to learn
        gradients_arrive(made, x, MASK)
    padding_never_matters(made, x, MASK)
    other = model(guide=guide)
    other.load_state_dict(made.state_dict())


@pytest.mark.parametrize("guide", GUIDES[1:], ids=lambda g: g.__name__)
def test_two_models_with_an_autoguide_never_meet(guide: Any) -> None:
    """An AutoGuide names its parameters alike in each model; they belong to the models all the same."""
    first, second, x = BayesianDecoder(guide=guide), BayesianDecoder(guide=guide), make_data("real", 0, (B, T))
    third = copy.deepcopy(first)
    start = [copy.deepcopy(dict(m.named_parameters())) for m in (first, second, third)]
    train(first, x)
    assert not still(first, start[0]) and len(still(second, start[1])) == len(start[1])
    train(second, x)
    train(third, x)
    assert not still(second, start[1]) and not still(third, start[2])
    names = list(pyro.get_param_store().keys())
    assert len(names) == 3 * len(start[0]) and all("BayesianDecoder#" in name for name in names)


class Regression(rv.SequenceVAE):
    """W, b ~ N(0, 1) once a data set;  x_t ~ N(W c_t + b, 0.5^2), the controls c_t known: no latent but the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.x_dim = 1
        self.likelihood = rv.BayesianLinear(2, 1, family=partial(rv.Normal, scale=0.5))
        self.shared_posterior = AutoMultivariateNormal(self.shared, init_scale=0.2)

    def shared(self) -> None:
        pyro.sample("w", self.likelihood.shared_law())

    def generative(self, steps: rv.Steps) -> None:
        for t in steps:
            t.sample("x", self.likelihood, t.at(steps.controls), t.hold(steps.shared["w"]))

    def inference(self, steps: rv.Steps, x: Tensor) -> None:
        pass


def test_the_posterior_of_weights_is_that_of_bayesian_regression() -> None:
    """Mean, covariance and evidence in closed form: ``S = (I + c'c / s^2)^-1``, ``m = S c'x / s^2``."""
    torch.manual_seed(0)
    model, controls = Regression(), torch.randn(6, 4, 2)
    x = (controls @ torch.tensor([1.0, -0.5]) + 0.3).unsqueeze(-1) + 0.5 * torch.randn(6, 4, 1)
    model.num_sequences = 6
    loss, optimizer = rv.Loss(model, Trace_ELBO()), torch.optim.Adam(model.parameters(), lr=0.03)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.993)
    for _ in range(700):
        optimizer.zero_grad()
        loss(x, controls=controls).backward()
        optimizer.step()
        schedule.step()
    c = torch.cat([controls.reshape(-1, 2), torch.ones(24, 1)], -1)
    covariance = torch.linalg.inv(torch.eye(3) + c.mT @ c / 0.25)
    mean = covariance @ c.mT @ x.reshape(-1) / 0.25
    guide: Any = model.shared_posterior
    tril = guide.scale.unsqueeze(-1) * guide.scale_tril
    torch.testing.assert_close(guide.loc.detach(), mean, rtol=0, atol=0.03)
    torch.testing.assert_close((tril @ tril.mT).detach(), covariance, rtol=0, atol=0.004)
    evidence = torch.distributions.MultivariateNormal(torch.zeros(24), c @ c.mT + 0.25 * torch.eye(24))
    with torch.no_grad():
        elbo = -24 * torch.stack([loss(x, controls=controls) for _ in range(200)]).mean()
    assert abs(elbo - evidence.log_prob(x.reshape(-1))) < 0.1


def test_a_gamma_prior_on_the_noise_recovers_it() -> None:
    torch.manual_seed(0)
    model, x = GammaScale(guide=AutoNormal), 1.0 + 0.3 * torch.randn(20, T, X)
    model.num_sequences = 20
    svi = SVI(model.model, model.guide, pyro.optim.Adam({"lr": 0.05}), Trace_ELBO())
    for _ in range(150):
        svi.step(x)
    with torch.no_grad():
        draws = [poutine.trace(model.guide).get_trace(x).nodes["w"]["value"] for _ in range(50)]
    assert abs(torch.stack(draws).mean() - 0.3) < 0.06


def test_a_bayesian_decoder_takes_any_family() -> None:
    model, x = BayesianDecoder(rv.Bernoulli), make_data("binary", 0, (B, T))
    forms_agree(model, Trace_ELBO(), x)
    w, z = torch.randn(X * (Z + 1)), torch.randn(Z)
    rows = w.reshape(X, Z + 1)
    torch.testing.assert_close(model.likelihood(z, w).base_dist.logits, rows[:, :Z] @ z + rows[:, Z])


def test_weights_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match="BayesianLinear reads its inputs, and last 40 weights; got widths .3, 39."):
        rv.BayesianLinear(Z, X)(torch.zeros(Z), torch.zeros(39))


def test_an_analytic_kl_that_pyro_gets_wrong_is_refused() -> None:
    """TraceMeanField_ELBO takes an AutoGuide's Delta without its Jacobian, which a scale has, and a weight has not."""
    with pytest.raises(ValueError, match="leaves out the Jacobian of AutoNormal at the shared site 'w'"):
        rv.Loss(GammaScale(guide=AutoNormal), TraceMeanField_ELBO())
    rv.Loss(GammaScale(), TraceMeanField_ELBO())
    rv.Loss(BayesianDecoder(guide=AutoNormal), TraceMeanField_ELBO())


def test_the_analytic_kl_of_the_library_has_the_jacobian() -> None:
    """``measure(analytic=True)`` and without agree on the term of the shared scale; z is the point mass here."""
    torch.manual_seed(0)
    model = GammaScale(guide=AutoNormal)
    with torch.no_grad():
        model.posterior = rv.Conditional(model.posterior.net, FewPoints(Z))
    batch = rv.data.Batch(make_data("real", 0, (B, T)), None)
    terms = []
    for analytic in (False, True):
        with torch.no_grad(), rv.given_noise(3):
            terms.append(rv.infer.measure(model, batch, analytic=analytic).elbo)
    torch.testing.assert_close(*terms)


class FewPoints(rv.Delta):
    """The mean of a Normal's raw parameters, with certainty."""

    def forward(self, params: Tensor) -> Any:
        return super().forward(params[..., :Z])

    def rsample(self, params: Tensor, noise: Tensor) -> Tensor:
        return params[..., :Z]


@pytest.mark.parametrize(("build", "error", "match"), [
    (lambda: rv.BayesianLinear(2, 1, scale=0.0), ValueError, "BayesianLinear: scale must be a positive number"),
    (lambda: rv.BayesianLinear(2, 1, family=torch.nn.Linear(2, 1)), TypeError, "family must be a Family.*got Linear"),
    (lambda: rv.GammaNoise(2, 1, rate=-1.0), ValueError, "GammaNoise: rate must be a positive number, got -1.0"),
    (lambda: rv.GammaNoise(2, 1)(torch.zeros(2), torch.ones(3)), ValueError, "last the scale, a vector of one"),
    (lambda: rv.VRNN(X, Z, 8, likelihood=rv.BayesianLinear).model(size=(B, T)), ValueError, "Declare them in `shared`"),
])
def test_what_does_not_fit_is_refused(build: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        build()
