"""A Bernoulli frame whose elements depend on each other: a masked network, its density in one pass."""

from __future__ import annotations

from typing import Any, Protocol

import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from .families import Bernoulli, Family

__all__ = ["AutoregressiveBernoulli", "MaskedBernoulli"]


class AutoregressiveBernoulli(Family):
    r"""Elements of a frame given the ones before them.

    .. math::
        p(x) = \prod_i \mathrm{Bern}(x_i \mid \sigma(c_i + V_i\, \mathrm{relu}(b + W_{<i} x_{<i})))

    where the conditional's network gives the hidden bias :math:`b` and the output bias :math:`c`. Hidden
    units are in ``dim`` groups of about equal size: group i reads :math:`x_{<i}`, element i reads groups up to i, so
    the density of a frame is one pass of a masked network. Drawing takes ``dim`` passes.

    Source: the conditioning is that of RNN-NADE (Boulanger-Lewandowski et al. 2012, arXiv:1206.6392); masks as
    in MADE (Germain et al. 2015, arXiv:1502.03509). We differ from NADE in not sharing weights among positions.

    Arguments:
        dim: elements of a frame, in the order in which they condition each other.
        hidden: hidden units.
        dropout: probability on the hidden units, in training mode.
    """

    kind = "binary"
    mask_in: Tensor
    mask_out: Tensor

    def __init__(self, dim: int, *, hidden: int = 500, dropout: float = 0.0) -> None:
        super().__init__(dim, hidden + dim)
        self.hidden = hidden
        degree = torch.arange(hidden) * dim // hidden  # a unit of degree d reads x_0 .. x_{d-1}
        element = torch.arange(dim)
        self.register_buffer("mask_in", (element < degree.unsqueeze(-1)).to(torch.get_default_dtype()),
                             persistent=False)
        self.register_buffer("mask_out", (degree <= element.unsqueeze(-1)).to(torch.get_default_dtype()),
                             persistent=False)
        self.read = nn.Linear(dim, hidden, bias=False)
        self.write = nn.Linear(hidden, dim, bias=False)
        self.dropout = nn.Dropout(dropout)

    def logits(self, x: Tensor, params: Tensor) -> Tensor:
        """Log-odds of every element given the ones before it: ``x (..., dim) -> (..., dim)``."""
        b, c = params.split([self.hidden, self.dim], -1)
        hidden = torch.relu(b + nn.functional.linear(x, self.read.weight * self.mask_in))
        return c + nn.functional.linear(self.dropout(hidden), self.write.weight * self.mask_out)

    def forward(self, params: Tensor) -> dist.TorchDistribution:
        return MaskedBernoulli(self, params)

    def draw(self, params: Tensor, temperature: float = 1.0) -> Tensor:
        """A frame ``(..., dim)`` for each row of raw parameters, by ``dim`` passes."""
        x = params.new_zeros(*params.shape[:-1], self.dim)
        for i in range(self.dim):
            x[..., i] = torch.bernoulli((self.logits(x, params)[..., i] / temperature).sigmoid())
        return x

    def bias(self, values: Tensor) -> Tensor:
        marginal = Bernoulli(self.dim).bias(values)
        return torch.cat([marginal.new_zeros(self.hidden), marginal])


class Ordered(Protocol):
    """A family whose elements are drawn one after the other."""

    dim: int

    def logits(self, x: Tensor, params: Tensor) -> Tensor: ...

    def draw(self, params: Tensor, temperature: float = 1.0) -> Tensor: ...


class MaskedBernoulli(dist.TorchDistribution):
    """One frame under an :class:`AutoregressiveBernoulli` or a :class:`~pyro_rvae.NADE`, given raw parameters.

    At a ``temperature`` the log-odds of each element, given the ones before it, are divided by it.
    """

    arg_constraints: dict[str, Any] = {}
    support = constraints.independent(constraints.boolean, 1)
    has_rsample = False

    def __init__(self, family: Ordered, params: Tensor, temperature: float = 1.0) -> None:
        self.family, self.params, self.temperature = family, params, temperature
        super().__init__(params.shape[:-1], torch.Size([family.dim]), validate_args=False)

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> MaskedBernoulli:
        return MaskedBernoulli(self.family, self.params.expand(*batch_shape, -1), self.temperature)

    def log_prob(self, value: Tensor) -> Tensor:
        logits = self.family.logits(value, self.params) / self.temperature
        value = value.expand_as(logits)
        return -binary_cross_entropy_with_logits(logits, value, reduction="none").sum(-1)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        with torch.no_grad():
            told = () if self.temperature == 1.0 else (self.temperature,)  # a family of your own may know of none
            return self.family.draw(self.params.expand(*sample_shape, *self.params.shape), *told)
