"""A model trained on data that come from a known prior recovers it: x = z + a little noise, so the truth is seen."""

from __future__ import annotations

from functools import partial
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor
from zoo import H

import pyro_rvae as rv
from pyro_rvae.priors import AffineCoupling, Spline

NOISE = 0.1
mixture = dist.MixtureSameFamily(
    dist.Categorical(torch.tensor([0.3, 0.7])),
    dist.Normal(torch.tensor([[-2.0, 0.0], [1.0, 1.0]], dtype=torch.float64), 0.5).to_event(1))
normal = dist.Normal(torch.tensor([1.0, -2.0], dtype=torch.float64), torch.tensor([0.5, 1.5],
                                                                               dtype=torch.float64)).to_event(1)
laplace = dist.Laplace(torch.tensor([1.0, 0.0], dtype=torch.float64), 0.6).to_event(1)


def seen(z: Tensor, *inputs: Any) -> Any:
    return dist.Normal(z, NOISE).to_event(1)


class Near(torch.nn.Module):
    """q(z | x) = N(x, s^2): right but for a little shrinkage."""

    def __init__(self) -> None:
        super().__init__()
        self.raw = torch.nn.Parameter(torch.tensor(NOISE).log())

    def forward(self, *inputs: Tensor) -> Any:
        return dist.Normal(inputs[-1], self.raw.exp()).to_event(1)


class Whole(torch.nn.Module):
    """Items, and frames, as they are."""

    out_dim = 2

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return x


def train(model: rv.SequenceVAE, x: Tensor, steps: int, lr: float = 0.05) -> None:
    loss = rv.Loss(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(x).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()


@torch.no_grad()
def divergence(truth: Any, prior: Any) -> float:
    """``KL(truth || prior)`` by sampling, in nats."""
    z = truth.sample((4000,))
    return float((truth.log_prob(z) - prior.log_prob(z)).mean())


PRIORS = {
    "Normal": (normal, rv.Normal, 0.02),
    "Laplace": (laplace, rv.Laplace, 0.04),
    "StudentT": (dist.StudentT(4.0, normal.base_dist.loc, 0.7).to_event(1), partial(rv.StudentT, df=4.0), 0.02),
    "mixture": (mixture, partial(rv.MixtureOfGaussians, components=3), 0.04),
    "couplings": (mixture, partial(rv.FlowPrior, layer=partial(AffineCoupling, hidden=(16,))), 0.15),
    "splines": (mixture, partial(rv.FlowPrior, layers=3, layer=Spline), 0.08),
    "vamp": (mixture, partial(rv.VampPrior, components=4, weighted=True), 0.04),
}


@pytest.mark.parametrize("name", PRIORS)
def test_the_prior_of_a_vae_is_recovered(name: str) -> None:
    truth, prior, least = PRIORS[name]
    torch.manual_seed(0)
    z = truth.sample((600,))
    x = z + NOISE * torch.randn_like(z)
    guide = {} if name == "vamp" else {"posterior": Near(), "encoder": Whole()}  # a mixture of Near is no wider than it
    model = rv.VAE(2, 2, 16, prior=prior, likelihood=seen, **guide)
    start = divergence(truth, law(model))
    train(model, x, 400 if name in ("vamp", "couplings") else 250, 0.01 if name == "couplings" else 0.05)
    reached = divergence(truth, law(model))
    assert reached < least < start, f"{name}: {start} to {reached}"


@torch.no_grad()
def law(model: Any) -> Any:
    return model.prior(model.encoded) if isinstance(model.prior, rv.VampPrior) else model.prior()


def test_the_correlation_of_an_autoregression_is_recovered() -> None:
    torch.manual_seed(0)
    phi, loc, scale = torch.tensor([0.8, -0.5]), torch.tensor([1.0, 0.0]), torch.tensor([0.7, 1.5])
    z = [loc + scale * torch.randn(80, 2)]
    for _ in range(29):
        z.append(loc + phi * (z[-1] - loc) + (1 - phi**2).sqrt() * scale * torch.randn(80, 2))
    path = torch.stack(z, 1)
    model = rv.DMM(2, 2, H, transition=rv.AR1, likelihood=seen, posterior=Near(), encoder=Whole())
    train(model, path + NOISE * torch.randn_like(path), 250)
    prior: Any = model.transition
    for found, truth in ((prior.phi, phi), (prior.loc, loc), (prior.scale, scale)):
        assert ((found - truth).abs() < 0.1).all(), f"{found} for {truth}"

