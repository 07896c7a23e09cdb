"""Which particles live on: the resampling schemes of particle filters."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["Resampling", "effective_size", "multinomial", "systematic"]

Resampling = Callable[[Tensor, Tensor], Tensor]


def multinomial(log_weights: Tensor, uniform: Tensor) -> Tensor:
    r"""K independent draws from the particles: :math:`a^k \sim \mathrm{Categorical}(W)`.

    Arguments:
        log_weights: ``(K, B)``, normalised over the first dim.
        uniform: ``(K, B)``, independent and uniform on (0, 1).

    Returns the ancestors' numbers ``(K, B)``. Source: Gordon, Salmond & Smith (1993), "Novel approach to nonlinear /
    non-Gaussian Bayesian state estimation".
    """
    return _inverted(log_weights, uniform)


def systematic(log_weights: Tensor, uniform: Tensor) -> Tensor:
    r"""One draw for all: the points :math:`(k - 1 + u) / K` read off the cumulated weights.

    Particle i has :math:`\lfloor K W_i \rfloor` or :math:`\lceil K W_i \rceil` offspring, so the estimate of the
    evidence stays unbiased with less noise than :func:`multinomial`. Only the first row of ``uniform`` is used.
    Source: Carpenter, Clifford & Fearnhead (1999), "Improved particle filter for nonlinear problems".
    """
    k = len(log_weights)
    place = torch.arange(k, dtype=uniform.dtype, device=uniform.device).unsqueeze(-1)
    return _inverted(log_weights, (place + uniform[:1]) / k)


def _inverted(log_weights: Tensor, points: Tensor) -> Tensor:
    """For each point in (0, 1) the first particle at which the cumulated weights exceed it."""
    below = log_weights.detach().exp().cumsum(0)
    below = below / below[-1:]  # so that rounding leaves no point beyond the last
    found = torch.searchsorted(below.mT.contiguous(), points.to(below).mT.contiguous(), right=True)
    return found.mT.clamp_max(len(log_weights) - 1)


def effective_size(log_weights: Tensor) -> Tensor:
    r"""Effective sample size ``(B,)`` of normalised weights ``(K, B)``: :math:`1 / \sum_k W_k^2`, from 1 to K.

    Source: Kong, Liu & Wong (1994), "Sequential imputations and Bayesian missing data problems".
    """
    return (-(2 * log_weights).logsumexp(0)).exp()
