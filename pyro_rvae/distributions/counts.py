"""Counts that a Poisson law does not fit: overdispersed, and with too many zeros."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.nn.functional import softplus

from .families import MIN_SCALE, Family, Poisson, _known, inverse_softplus
from .special import LARGE, log_quotient, stirling, stirling_ratio

__all__ = ["ExactNegativeBinomial", "NegativeBinomial", "ZeroInflated"]

MIN_RATE = 1e-6  # as of a Poisson


class ExactNegativeBinomial(dist.NegativeBinomial):
    r"""The negative binomial law, to full precision up to its Poisson limit.

    With mean m and total count r (:math:`m = r e^{logits}`), and :math:`c` what Stirling's formula leaves out,

    .. math::
        \log p(k) = k \log m - k - \log k! + (r + k) \log\frac{r + k}{r + m} - \tfrac12 \log(1 + k / r)
        + c(r + k) - c(r)

    for r >= 8, where torch's own subtracts gamma functions of the size r log r (in float32, at r = 1e8, it is wrong
    by hundreds of nats). Arguments as of ``torch.distributions.NegativeBinomial``.
    """

    def log_prob(self, value: Tensor) -> Tensor:
        r, m = self.total_count, self.mean
        far = r >= LARGE
        return torch.where(far, _near_poisson(value, torch.where(far, r, LARGE), m),
                           _overdispersed(value, torch.where(far, LARGE, r), m))


def _near_poisson(k: Tensor, r: Tensor, m: Tensor) -> Tensor:
    """The log-probability for r >= 8."""
    poisson = k * torch.log(m) - k - torch.lgamma(k + 1.0)
    rest = stirling(r + k) - stirling(r) - 0.5 * torch.log1p(k / r)
    return poisson + (r + k) * log_quotient(r + k, r + m, k - m) + rest


def _overdispersed(k: Tensor, r: Tensor, m: Tensor) -> Tensor:
    """The log-probability for r <= 8."""
    many = k + 1.0 >= LARGE
    series = stirling_ratio(torch.where(many, k + 1.0, LARGE), r - 1.0)
    choices = torch.where(many, series, torch.lgamma(k + r) - torch.lgamma(k + 1.0)) - torch.lgamma(r)
    return choices - r * torch.log1p(m / r) - k * torch.log1p(r / m)


class NegativeBinomial(Family):
    r"""``x_i ~ NB(mean m_i, total count r_i)``, counts 0, 1, 2, ..., elements independent.

    .. math::
        p(k) = \frac{\Gamma(k + r)}{k!\, \Gamma(r)} \Big(\frac{r}{r + m}\Big)^r \Big(\frac{m}{r + m}\Big)^k, \qquad
        E[k] = m, \quad \mathrm{Var}[k] = m + m^2 / r

    with ``m = softplus(raw) + 1e-6`` and ``r = softplus(raw) + 1e-4``: counts more spread than a Poisson's, which is
    the limit of large r. Source: Hilbe (2011), "Negative Binomial Regression", the form NB2.

    Arguments:
        dim: elements of a frame.
        total_count: r, a fixed positive number; ``None``: the network gives it for each element, after the means.

    Raises:
        ValueError: a total count that is not positive and finite.
    """

    kind = "counts"

    def __init__(self, dim: int, *, total_count: float | None = None) -> None:
        if total_count is not None and not (total_count > 0 and math.isfinite(total_count)):
            raise ValueError(f"NegativeBinomial: total_count must be positive and finite, got {total_count}; for the "
                             "limit of a large one take rv.Poisson.")
        super().__init__(dim, dim if total_count is not None else 2 * dim)
        self.total_count = total_count

    def forward(self, params: Tensor) -> dist.TorchDistribution:
        mean, *raw = params.split(self.dim, -1)
        mean = softplus(mean) + MIN_RATE
        r = softplus(raw[0]) + MIN_SCALE if raw else torch.full_like(mean, self.total_count)  # type: ignore[arg-type]
        return ExactNegativeBinomial(r, logits=mean.log() - r.log(), validate_args=False).to_event(1)

    def bias(self, values: Tensor) -> Tensor:
        """Mean and variance of the data, the total count from 0.1 to 100."""
        mean = _known(values.nanmean(0), 1.0).clamp_min(1e-3)
        raw = inverse_softplus(mean)
        if self.total_count is not None:
            return raw
        beyond = (values - mean).square().nanmean(0) - mean  # by how much the variance exceeds a Poisson's
        r = torch.where(beyond > 0, mean.square() / beyond.clamp_min(1e-6), 100.0).clamp(0.1, 100.0)
        r = torch.where(values.isnan().all(0), 1.0, r)
        return torch.cat([raw, inverse_softplus(r)])


class ZeroInflated(Family):
    r"""A count family with more zeros: with probability ``g_i = sigmoid(raw_i)`` an element is 0, else of the family.

    .. math:: p(k) = g\,[k = 0] + (1 - g)\, p_{family}(k)

    elements independent. ``rv.ZeroInflated`` is the zero-inflated Poisson law;
    ``partial(rv.ZeroInflated, family=rv.NegativeBinomial)`` the zero-inflated negative binomial one.
    Source: Lambert (1992), "Zero-Inflated Poisson Regression", Technometrics 34.

    Arguments:
        dim: elements of a frame.
        family: a count family (its class, a ``functools.partial`` of it, or one built for ``dim`` elements) whose
            elements are independent. Its raw parameters come first, then the gates'.

    Raises:
        TypeError: what is no family of counts, or one whose elements depend on each other.
        ValueError: a family built for another number of elements.
    """

    kind = "counts"

    def __init__(self, dim: int, *, family: Callable[[int], Family] | Family = Poisson) -> None:
        base = family if isinstance(family, Family) else family(dim)
        if not isinstance(base, Family) or base.kind != "counts" or isinstance(base, ZeroInflated):
            raise TypeError(f"ZeroInflated: expected a family of counts (rv.Poisson, rv.NegativeBinomial, or your own "
                            f"with kind = 'counts'), got {type(base).__name__}.")
        if base.dim != dim:
            raise ValueError(f"ZeroInflated: {type(base).__name__} was built for {base.dim} elements, not {dim}.")
        super().__init__(dim, base.num_params + dim)
        self.family = base

    def forward(self, params: Tensor) -> dist.TorchDistribution:
        raw, gate = params.split([self.family.num_params, self.dim], -1)
        law: Any = self.family(raw)
        if not isinstance(law, dist.Independent) or law.base_dist.event_dim:
            raise TypeError(f"ZeroInflated: the elements of {type(self.family).__name__} are not independent, so none "
                            "of them can be set to 0 by itself; take a family that ends with `.to_event(1)`.")
        inflated = dist.ZeroInflatedDistribution(law.base_dist, gate_logits=gate, validate_args=False)
        return inflated.to_event(1)

    def bias(self, values: Tensor) -> Tensor | None:
        """Half of the zeros come from the gate, and the family starts from the other values."""
        zero = values == 0
        from_gate = zero & (zero.cumsum(0) % 2 == 1)  # every second zero
        base = self.family.bias(values.masked_fill(from_gate, torch.nan))
        if base is None:
            return None
        known = (~values.isnan()).sum(0)
        share = (from_gate.sum(0) + 1.0) / (known + 2.0)
        return torch.cat([base, torch.log(share) - torch.log1p(-share)])
