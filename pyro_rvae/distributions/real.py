"""Real-valued elements: Laplace on the line, Beta between 0 and 1."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.nn.functional import softplus

from .families import MIN_SCALE, Family, _known, inverse_softplus
from .special import LARGE, log_quotient, stirling, stirling_ratio

__all__ = ["Beta", "Laplace", "OpenBeta"]


class Laplace(Family):
    """``x_i ~ Laplace(loc_i, scale_i)``, density ``exp(-|x - loc| / scale) / (2 scale)``, elements independent.

    Tails between a Normal's and a Student t's; with a fixed scale the cost is the mean absolute error.

    Arguments:
        dim: elements of a frame.
        scale: ``None``: the network gives ``softplus(raw_i) + 1e-4`` for each element, after the locs. A number: fixed.

    Raises:
        ValueError: a scale that is not positive and finite.
    """

    def __init__(self, dim: int, *, scale: float | None = None) -> None:
        if scale is not None and not (scale > 0 and math.isfinite(scale)):
            raise ValueError(f"Laplace: scale must be positive and finite, got {scale}.")
        super().__init__(dim, 2 * dim if scale is None else dim)
        self.scale = scale

    def forward(self, params: Tensor) -> dist.TorchDistribution:
        loc, *raw = params.split(self.dim, -1)
        scale = softplus(raw[0]) + MIN_SCALE if raw else torch.full_like(loc, self.scale)  # type: ignore[arg-type]
        return dist.Laplace(loc, scale, validate_args=False).to_event(1)

    def bias(self, values: Tensor) -> Tensor:
        """Its maximum likelihood: the median, and the mean distance from it."""
        loc = _known(values.nanmedian(0).values, 0.0)
        if self.scale is not None:
            return loc
        spread = _known((values - loc).abs().nanmean(0), 1.0).clamp_min(1e-2)
        return torch.cat([loc, inverse_softplus(spread)])


class _OpenUnit(torch.distributions.constraints.Constraint):
    """0 < x < 1."""

    def check(self, value: Tensor) -> Tensor:
        return (value > 0) & (value < 1)

    def __repr__(self) -> str:
        return "0 < x < 1"


class OpenBeta(dist.Beta):
    """The Beta law between its ends, where the density is finite; draws do not round to them.

    Its log-density keeps its digits at large concentrations, where torch's own subtracts large gamma functions.
    Arguments as of ``torch.distributions.Beta``.
    """

    support: ClassVar[Any] = _OpenUnit()

    def log_prob(self, value: Tensor) -> Tensor:
        a, b, x = self.concentration1, self.concentration0, _inside(value)
        both = torch.minimum(a, b) >= LARGE
        peaked = _peaked(x, torch.where(both, a, LARGE), torch.where(both, b, LARGE))
        high, low = torch.maximum(a, b), torch.where(both, 1.0, torch.minimum(a, b))
        far = high >= LARGE
        series = stirling_ratio(torch.where(far, high, LARGE), low)
        near = torch.where(far, 1.0, high)
        beta = torch.where(far, series, torch.lgamma(near + low) - torch.lgamma(near)) - torch.lgamma(low)
        broad = (a - 1.0) * torch.log(x) + (b - 1.0) * torch.log1p(-x) + beta
        return torch.where(both, peaked, broad)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        return _inside(super().rsample(sample_shape))  # type: ignore[no-any-return]


def _inside(x: Tensor) -> Tensor:
    """Off the ends by one rounding: what stands for a missing element (0) must not make a gradient NaN."""
    info = torch.finfo(x.dtype)
    return x.clamp(info.tiny, 1.0 - info.eps)


def _peaked(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The log-density where both concentrations are large: of the size of its value, no larger."""
    n = a + b
    off = x - a / n
    exponent = a * log_quotient(x, a / n, off) + b * log_quotient(1.0 - x, b / n, -off)
    height = 0.5 * (torch.log(a) + torch.log(b) - torch.log(n) - math.log(2 * math.pi))
    return exponent + height - torch.log(x) - torch.log1p(-x) + stirling(n) - stirling(a) - stirling(b)


class Beta(Family):
    """``x_i ~ Beta(a_i, b_i)``, ``a = softplus(raw) + 1e-4``, ``b = softplus(raw) + 1e-4``, elements independent.

    For shares, strictly between 0 and 1 (0 and 1 have no finite density, and are refused: move them inside by
    ``(x (n - 1) + 0.5) / n``, Smithson & Verkuilen 2006, or take :class:`ContinuousBernoulli`, which has them).
    Source: Ferrari & Cribari-Neto (2004), "Beta Regression for Modelling Rates and Proportions". We differ: a network
    gives both concentrations, the ``a`` first.

    Arguments:
        dim: elements of a frame.
    """

    kinds = ("real",)

    def __init__(self, dim: int) -> None:
        super().__init__(dim, 2 * dim)

    def forward(self, params: Tensor) -> dist.TorchDistribution:
        a, b = (softplus(params) + MIN_SCALE).chunk(2, -1)
        return OpenBeta(a, b, validate_args=False).to_event(1)

    def bias(self, values: Tensor) -> Tensor:
        """Mean and variance of the data, ``a + b`` from 0.1 to 1000; of a missing column the uniform law."""
        mean = _known(values.nanmean(0), 0.5).clamp(1e-3, 1.0 - 1e-3)
        variance = _known((values - mean).square().nanmean(0), 1 / 12).clamp_min(1e-12)
        total = (mean * (1.0 - mean) / variance - 1.0).clamp(0.1, 1000.0)
        return inverse_softplus(torch.cat([mean * total, (1.0 - mean) * total]).clamp_min(2 * MIN_SCALE))
