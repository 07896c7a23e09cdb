"""The continuous Bernoulli law, exact at every logit: torch's own clamps its probability, and with it the gradient."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor

from .families import Family, _known

__all__ = ["ContinuousBernoulli", "ExactContinuousBernoulli"]

SMALL = 0.25  # below it, in |logit|, a Taylor series of four terms is exact to 1e-13


class ExactContinuousBernoulli(dist.ContinuousBernoulli):
    r"""``p(x) = exp(l x) l / (exp(l) - 1)`` on [0, 1], with ``l`` the logit: uniform where ``l = 0``.

    .. math::
        \log p(x) = l (x - \tfrac12) - g(l), \qquad g(l) = \log\frac{\sinh(l / 2)}{l / 2}, \qquad
        E[x] = \tfrac12 + g'(l)

    which is the normalised :math:`\lambda^x (1 - \lambda)^{1 - x}`, :math:`\lambda = \sigma(l)`. Source:
    Loaiza-Ganem & Cunningham (2019), "The continuous Bernoulli: fixing a pervasive error in variational autoencoders",
    arXiv:1907.06845, equations 5 to 8. We differ in working with the logit throughout, by which nothing overflows or
    cancels. Arguments as of ``torch.distributions.ContinuousBernoulli``.
    """

    def log_prob(self, value: Tensor) -> Tensor:
        size, small = self._size()
        end = torch.where(self.logits > 0, 1.0 - value, value)  # the distance from the end that is favoured
        far = -size * end - torch.log(-torch.expm1(-size) / size)
        square = self._near().square()
        series = square * (1 / 24 - square * (1 / 2880 - square * (1 / 181440 - square / 9676800)))
        return torch.where(small, self._near() * (value - 0.5) - series, far)

    @property
    def mean(self) -> Tensor:
        size, small = self._size()
        far = 1.0 / -torch.expm1(-size) - 1.0 / size
        near, square = self._near(), self._near().square()
        series = 0.5 + near * (1 / 12 - square * (1 / 720 - square * (1 / 30240 - square / 1209600)))
        return torch.where(small, series, torch.where(self.logits > 0, far, 1.0 - far))

    @property
    def variance(self) -> Tensor:
        size, small = self._size()
        far = size.square().reciprocal() - torch.exp(-size) / torch.expm1(-size).square()
        square = self._near().square()
        return torch.where(small, 1 / 12 - square * (1 / 240 - square * (1 / 6048 - square / 172800)), far)

    def cdf(self, value: Tensor) -> Tensor:
        size, small = self._size()
        end = torch.where(self.logits > 0, 1.0 - value, value)
        far = torch.expm1(-size * end) / torch.expm1(-size)
        near, even = self._near(), self._near() == 0
        first = torch.where(even, value, torch.expm1(near * value) / torch.expm1(torch.where(even, 1.0, near)))
        return torch.where(small, first, torch.where(self.logits > 0, 1.0 - far, far)).clamp(0.0, 1.0)

    def icdf(self, value: Tensor) -> Tensor:
        """Where the distribution function is ``value``; draws are made with it, so they are reparametrised."""
        size, small = self._size()
        u = torch.where(self.logits > 0, 1.0 - value, value)
        inside = (u * torch.expm1(-size)).clamp_min(torch.finfo(u.dtype).eps - 1.0)  # a draw u = 0 has no logarithm
        far = -torch.log1p(inside) / size
        near = self._near()
        tiny = near.abs() < 1e-4  # two terms are exact to 1e-9 there, and the quotient is not at 0
        whole = torch.where(tiny, 1.0, near)
        close = torch.where(tiny, value + 0.5 * near * value * (1.0 - value),
                            torch.log1p(value * torch.expm1(whole)) / whole)
        return torch.where(small, close, torch.where(self.logits > 0, 1.0 - far, far)).clamp(0.0, 1.0)

    def entropy(self) -> Tensor:
        return -self.log_prob(self.mean)  # the log-density is affine in x

    def _size(self) -> tuple[Tensor, Tensor]:
        """``|l|``, and where it is small; there it is 1, so that neither a value nor a gradient is NaN."""
        size = self.logits.abs()
        small = size < SMALL
        return torch.where(small, 1.0, size), small

    def _near(self) -> Tensor:
        """The logit where it is small, elsewhere 0."""
        return torch.where(self.logits.abs() < SMALL, self.logits, 0.0)


class ContinuousBernoulli(Family):
    """``x_i ~ CB(sigmoid(raw_i))`` on [0, 1], density proportional to ``exp(raw_i x_i)``, elements independent.

    For grey levels, of which :class:`Bernoulli` is no density (most inputs are neither 0 nor 1): the constant that is
    missing there depends on raw. No data set chooses it by itself; pass ``likelihood=rv.ContinuousBernoulli``, and
    values from 0 to 1 (others are refused). Source: Loaiza-Ganem & Cunningham (2019), arXiv:1907.06845.
    """

    kinds = ("real",)

    def __init__(self, dim: int) -> None:
        super().__init__(dim, dim)

    def forward(self, params: Tensor) -> dist.TorchDistribution:
        return ExactContinuousBernoulli(logits=params, validate_args=False).to_event(1)

    def bias(self, values: Tensor) -> Tensor:
        """The raw parameters whose means are those of the columns, by bisection; means of at least 1e-3 from an end."""
        mean = _known(values.nanmean(0), 0.5).clamp(1e-3, 1.0 - 1e-3)
        raw = torch.zeros_like(mean)
        for step in (2.0 ** torch.arange(10.0, -40.0, -1.0)).tolist():
            low = ExactContinuousBernoulli(logits=raw, validate_args=False).mean < mean
            raw = raw + torch.where(low, step, -step)
        return raw
