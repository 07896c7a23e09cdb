"""A linear-Gaussian model whose posterior and evidence are known."""

from __future__ import annotations

from types import SimpleNamespace

import pyro.distributions as dist
import pytest
import torch

import pyro_rvae as rv

Q, R, C = 0.5, 0.3, 0.9


class LinearGaussian(rv.SequenceVAE):
    """z_t ~ N(C z_{t-1}, Q), z_0 = 0;  x_t ~ N(z_t, R);  q: the exact smoother, or a wrong one.

    ``spread`` multiplies the posterior's scale and ``offset`` is added to its mean.
    """

    def __init__(self, spread=1.0, offset=0.0):
        super().__init__()
        self.x_dim, self.spread, self.offset = 1, spread, offset

    def transition(self, z):
        return dist.Normal(C * z, Q**0.5).to_event(1)

    def likelihood(self, z):
        return dist.Normal(z, R**0.5).to_event(1)

    def posterior(self, z, information):
        precision, eta = information.chunk(2, -1)
        variance = 1 / (1 / Q + precision)
        return dist.Normal(
            variance * (C * z / Q + eta) + self.offset, self.spread * variance.sqrt()
        ).to_event(1)

    def generative(self, steps):
        for t in steps:
            z = t.sample("z", self.transition, t.prev("z", torch.zeros(1)))
            t.sample("x", self.likelihood, z)

    def inference(self, steps, x):
        information = backward_filter(x, steps.mask)
        for t in steps:
            t.sample("z", self.posterior, t.prev("z", torch.zeros(1)), t.at(information))


def backward_filter(x, mask):
    """p(x_{t:T} | z_t) = N(eta / precision, 1 / precision) up to a constant, of the frames in the mask."""
    precision, eta, found = torch.zeros(x.shape[0], 1), torch.zeros(x.shape[0], 1), []
    for t in reversed(range(x.shape[1])):
        inside = 1.0 if mask is None else mask[:, t, None].to(x.dtype)
        precision, eta = precision + inside / R, eta + inside * x[:, t] / R
        found.append(torch.cat([precision, eta], -1))
        k = 1 / (1 + Q * precision)
        precision, eta = C * C * precision * k, C * eta * k
    return torch.stack(found[::-1], 1)


def log_evidence(sequence):
    """The log-density of ``x (T, 1)`` as one dense Gaussian."""
    steps = len(sequence)
    lower = torch.linalg.inv(torch.eye(steps) - C * torch.diag(torch.ones(steps - 1), -1))
    covariance = Q * lower @ lower.T + R * torch.eye(steps)
    return dist.MultivariateNormal(torch.zeros(steps), covariance).log_prob(sequence[:, 0])


@pytest.fixture
def gaussian():
    """Ragged data, the exact evidence ``(N,)`` of each sequence, and the class of models."""
    torch.manual_seed(3)
    lengths = [7, 2, 5, 1, 7]
    data = rv.data.SequenceDataset(torch.randn(sum(lengths), 1), lengths)
    evidence = torch.stack([log_evidence(x) for x in data])
    return SimpleNamespace(data=data, evidence=evidence, Model=LinearGaussian)


@pytest.fixture
def rolls():
    """A small training and test set of binary frames."""
    torch.manual_seed(1)
    sides = []
    for lengths in ([6, 9, 4, 8, 5], [5, 3, 8]):
        values = (torch.rand(sum(lengths), 4) < torch.tensor([0.2, 0.5, 0.7, 0.9])).to(
            torch.get_default_dtype()
        )
        sides.append(rv.data.SequenceDataset(values, lengths))
    return rv.data.Splits(sides[0], sides[1], sides[1]).linked()
