"""Gradients along the paths of the draws: at the exact posterior, under dropout, what they refuse; plain scripts."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from pyro.infer import Trace_ELBO
from torch import Tensor, nn
from zoo import MASK, ZOO, H, X, Z

import pyro_rvae as rv

K = 3
DOUBLY = rv.IWAE(K, doubly_reparametrized=True)
OURS = [rv.IWAE(K), DOUBLY, rv.PathDerivative(K)]
IDS = ["IWAE", "DReG", "path"]


# ------------------------------------------------------------------------------------------- the exact posterior
C, Q, R = 0.9, 0.5, 0.3


class Chain(rv.SequenceVAE):
    """z_t ~ N(c z_{t-1}, q);  x_t ~ N(z_t, r);  q(z_t | z_{t-1}, x) = N(w_t (c z_{t-1} / q + u_t) + b, e^s w_t)."""

    def __init__(self) -> None:
        super().__init__()
        self.x_dim, self.c = 1, nn.Parameter(torch.tensor(C))
        self.b, self.s = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
        self.gain = nn.Parameter(torch.tensor(C))

    def generative(self, steps: rv.Steps) -> None:
        for t in steps:
            z = t.sample("z", lambda z: dist.Normal(self.c * z, Q**0.5).to_event(1), t.prev("z", torch.zeros(1)))
            t.sample("x", lambda z: dist.Normal(z, R**0.5).to_event(1), z)

    def inference(self, steps: rv.Steps, x: Tensor) -> None:
        """The backward information filter: p(x_t..x_T | z_t) is a Gaussian of precision l and information u."""
        precision = information = torch.zeros_like(x[..., 0, :])
        found = []
        for x_t in reversed(x.unbind(-2)):
            precision, information = precision + 1 / R, information + x_t / R
            found.append(torch.cat([precision, information], -1))
            gain = 1 / (1 + Q * precision)
            precision, information = C * C * precision * gain, C * information * gain
        message = torch.stack(found[::-1], -2)
        for t in steps:
            t.sample("z", self.posterior, t.prev("z", torch.zeros(1)), t.at(message))

    def posterior(self, z: Tensor, message: Tensor) -> Any:
        precision, information = message.chunk(2, -1)
        variance = 1 / (1 / Q + precision)
        return dist.Normal(variance * (self.gain * z / Q + information) + self.b,
                           variance.sqrt() * self.s.exp()).to_event(1)


@pytest.mark.parametrize("explicit", [False, True], ids=["vectorised", "explicit"])
def test_at_the_exact_posterior_each_single_gradient_is_zero(explicit: bool) -> None:
    model, x = Chain(), torch.randn(3, 5, 1)
    own = [model.b, model.s, model.gain]
    for seed in range(5):
        torch.manual_seed(seed)
        with rv.explicit() if explicit else pyro.validation_enabled():
            ours = rv.PathDerivative().differentiable_loss(model.model, model.guide, x)
            plain = Trace_ELBO().differentiable_loss(model.model, model.guide, x)
        assert all(g.abs().max() < 1e-10 for g in torch.autograd.grad(ours, own))
        assert all(g.abs().max() > 1e-3 for g in torch.autograd.grad(plain, own))
    weights, = torch.autograd.grad(rv.PathDerivative().differentiable_loss(model.model, model.guide, x), [model.c])
    assert weights.abs() > 1e-3  # the model learns on


# ------------------------------------------------------------------------------------------- dropout, refusals
@pytest.mark.parametrize("elbo", OURS[1:], ids=IDS[1:])
def test_dropout_before_the_first_draw_meets_the_same_masks(elbo: Any) -> None:
    """The value is that of the first run: nothing would be the same otherwise, and the random stream is moved once."""
    torch.manual_seed(0)
    encoder = rv.Bidirectional(X, H, dropout=0.5)
    model, x = rv.DMM(X, Z, H, encoder=encoder, posterior=rv.Combiner).train(), ZOO["DMM"].x()
    torch.manual_seed(1)
    loss, after = elbo.differentiable_loss(model.model, model.guide, x, MASK), torch.rand(1)
    torch.manual_seed(1)
    again = elbo.differentiable_loss(model.model, model.guide, x, MASK)
    assert loss == again and loss.requires_grad and torch.equal(torch.rand(1), after)


def test_dropout_between_draws_is_refused() -> None:
    posterior = rv.Conditional(rv.MLP(2 * H, 2 * Z, hidden=(H,), dropout=0.5), rv.Normal(Z))
    model = rv.VRNN(X, Z, H, posterior=posterior).train()
    x = ZOO["VRNN"].x()
    for elbo in OURS[1:]:
        with pytest.raises(ValueError, match="a second time at its draws, and got another density.*dropout between"):
            elbo.loss(model.model, model.guide, x, MASK)
    rv.IWAE(K).loss(model.model, model.guide, x, MASK)


def test_refusals() -> None:
    for kind in (rv.IWAE, rv.PathDerivative):
        with pytest.raises(ValueError, match=f"{kind.__name__}: num_particles must be an integer of at least 1, got 0"):
            kind(0)
    hmm, x = rv.NeuralHMM(5, 3, 8), ZOO["VRNN"].x()
    for elbo in OURS[1:]:
        with pytest.raises(ValueError, match="follows the gradient through each draw, and 's' is drawn from"):
            elbo.loss(hmm.model, hmm.guide, x)
    rv.IWAE(2).loss(hmm.model, hmm.guide, x)
    point = ZOO["AE"].make()
    with pytest.raises(ValueError, match="PathDerivative: the guide draws 'z' from a point mass.*Trace_ELBO"):
        rv.PathDerivative().loss(point.model, point.guide, ZOO["AE"].x())
    model, x = ZOO["HRAE"].make(), ZOO["HRAE"].x()
    first = next(n for n, s in poutine.trace(model.guide).get_trace(x).iter_stochastic_nodes() if s["cond_indep_stack"])
    with pytest.raises(ValueError, match="weighted by unlike scales"):
        DOUBLY.differentiable_loss(Unlike(first)(model.model), Unlike(first)(model.guide), x)
    with pytest.raises(ValueError, match=r"IWAE needs to know the sequences apart: .*pyro.plate\('batch'"):
        rv.IWAE(2).loss(lambda: pyro.sample("x", dist.Normal(0.0, 1.0), obs=torch.tensor(1.0)), lambda: None)


class Unlike(poutine.messenger.Messenger):
    """A KL weight for one site."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] == self.name:
            msg["scale"] = msg["scale"] * 0.5


def test_reprs() -> None:
    assert repr(rv.IWAE(16)) == "IWAE(16)" and repr(rv.PathDerivative(2)) == "PathDerivative(2)"
    assert repr(DOUBLY) == "IWAE(3, doubly_reparametrized=True)"


# ------------------------------------------------------------------------------------------- where it is used
@pytest.mark.parametrize("elbo", [*OURS, rv.FreeBits(0.0, num_particles=K)], ids=[*IDS, "free bits"])
def test_auxiliary_costs_are_what_they_are_in_pyros(elbo: Any) -> None:
    """Their mean over particles, added to the loss and no part of a weight; and their gradient."""
    model, x, found = ZOO["ZForcing"].make(), ZOO["ZForcing"].x(), []
    pyros = Trace_ELBO(K, vectorize_particles=True, max_plate_nesting=1)
    for objective in (elbo, pyros):
        losses = []
        for weight in (1.0, 0.0):
            with rv.weighted_auxiliaries(weight), rv.given_noise(0):
                losses.append(objective.differentiable_loss(model.model, model.guide, x, MASK))
        slopes = torch.autograd.grad(losses[0] - losses[1], list(model.predictor.parameters()))
        found.append([losses[0].item() - losses[1].item(), *slopes])
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-9) and abs(found[1][0]) > 1e-3
    torch.testing.assert_close(found[0][1:], found[1][1:], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("elbo", OURS, ids=IDS)
def test_in_a_plain_pyro_script(elbo: Any) -> None:
    model, x, mask = ZOO["VRNN"].make().eval(), ZOO["VRNN"].x(), MASK
    svi = pyro.infer.SVI(model.model, model.guide, pyro.optim.Adam({"lr": 0.02}), elbo)
    losses = [svi.step(x, mask) for _ in range(40)]
    assert sum(losses[-5:]) < sum(losses[:5])
