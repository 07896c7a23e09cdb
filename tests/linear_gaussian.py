"""A model whose evidence and posterior are known: the linear-Gaussian state space model."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

import pyro_rvae as rv

C, Q, R, LENGTH = 0.9, 0.5, 0.3, 7


class LinearGaussian(rv.SequenceVAE):
    """z_t ~ N(c z_{t-1}, q), z_0 = 0;  x_t ~ N(z_t, r);  q(z_t | z_{t-1}, x) exact, or a filter's if not smooth."""

    def __init__(self, smooth: bool = True) -> None:
        super().__init__()
        self.smooth = smooth

    def transition(self, z: Tensor) -> Any:
        return dist.Normal(C * z, Q**0.5).to_event(1)

    def emission(self, z: Tensor) -> Any:
        return dist.Normal(z, R**0.5).to_event(1)

    def generative(self, steps: rv.Steps) -> None:
        for t in steps:
            z = t.sample("z", self.transition, t.prev("z", torch.zeros(1)))
            t.sample("x", self.emission, z)

    def information(self, x: Tensor) -> Tensor:
        """p(x_t..x_T | z_t) = N(eta / lam, 1 / lam) up to a constant, by the backward information filter."""
        lam = eta = torch.zeros_like(x[..., 0, :])
        out = []
        for x_t in reversed(x.unbind(-2)):
            lam, eta = lam + 1 / R, eta + x_t / R
            out.append(torch.cat([lam, eta], -1))
            k = 1 / (1 + Q * lam)
            lam, eta = C * C * lam * k, C * eta * k
        return torch.stack(out[::-1], -2)

    def posterior(self, z: Tensor, i: Tensor) -> Any:
        lam, eta = i.chunk(2, -1)
        variance = 1 / (1 / Q + lam)
        return dist.Normal(variance * (C * z / Q + eta), variance.sqrt()).to_event(1)

    def inference(self, steps: rv.Steps, x: Tensor) -> None:
        info = self.information(x) if self.smooth else torch.cat([torch.full_like(x, 1 / R), x / R], -1)
        for t in steps:
            t.sample("z", self.posterior, t.prev("z", torch.zeros(1)), t.at(info))


def dense(x: Tensor) -> Tensor:
    """The log evidence from the joint Gaussian of x_1..x_T."""
    length = x.shape[-2]
    inverse = torch.linalg.inv(torch.eye(length) - C * torch.diag(torch.ones(length - 1), -1))
    covariance = Q * inverse @ inverse.T + R * torch.eye(length)
    return dist.MultivariateNormal(torch.zeros(length), covariance).log_prob(x[..., 0])
