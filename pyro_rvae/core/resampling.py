"""Which particles live on: the resampling schemes of particle filters."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from .noise import noise_source

__all__ = ["Resampling", "check_ancestors", "check_scheme", "drawn_indices", "effective_size", "evened", "multinomial",
           "offspring", "reweighed", "systematic", "uniforms"]

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


def uniforms(step: int, shape: tuple[int, int], like: Tensor) -> Tensor:
    """Uniform numbers ``(K, B)`` in (0, 1) for the resampling after a step, from the noise that is given, if one is."""
    source = noise_source()
    if source is None:
        return torch.rand(shape, dtype=like.dtype, device=like.device)
    normal = source.normal("resampling", step, torch.Size((*shape, 1))).squeeze(-1)
    return torch.special.ndtr(normal.to(like)).clamp_max(1 - torch.finfo(like.dtype).eps)


def offspring(scheme: Resampling, log_weights: Tensor, uniform: Tensor, due: Tensor) -> Tensor:
    """The ancestors ``(K, B)``: those that ``scheme`` chooses for the sequences ``due (B,)``, itself for all others."""
    own = torch.arange(len(log_weights), device=due.device).unsqueeze(-1)
    chosen = scheme(log_weights.detach(), uniform)
    check_ancestors(chosen, log_weights.shape)
    return torch.where(due, chosen, own)


def evened(log_weights: Tensor, due: Tensor) -> Tensor:
    """The weights after resampling: even ones for the sequences ``due (B,)``."""
    return torch.where(due, torch.full_like(log_weights, -math.log(len(log_weights))), log_weights)


def reweighed(before: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
    """Normalised log-weights ``(K, B)``, and the log of their sum ``(B,)``.

    Where all particles have died, ``before``, the weights before this step, stay. The largest is taken off first: where
    log-densities are as large as 1e6 their sum rounds to a multiple of 0.1 in float32, and weights from which that was
    taken would not sum to one.

    Arguments:
        before: ``(K, B)``, normalised.
        total: ``before`` and the factors of this step, ``(K, B)``.
    """
    top = total.detach().amax(0)
    dead = top.isneginf()
    apart = total - torch.where(dead, 0.0, top)
    size = apart.logsumexp(0)
    return torch.where(dead, before, apart - torch.where(dead, 0.0, size)), top + size


def drawn_indices(log_weights: Tensor, uniform: Tensor) -> Tensor:
    """Numbers of particles ``(num, B)`` drawn by their weights ``(K, B)``, one for each of ``uniform (num, B)``."""
    return _inverted(log_weights, uniform)


def check_scheme(owner: str, resampling: Any, threshold: Any, gradient: bool) -> None:
    """Refuse what can't resample, a threshold that is none, and a score function of draws that depend on each other."""
    if isinstance(resampling, str) or not callable(resampling):
        raise TypeError(f"{owner}: resampling must be rv.infer.systematic, rv.infer.multinomial or a function of "
                        f"(log_weights, uniform), got {resampling!r}.")
    if isinstance(threshold, bool) or not isinstance(threshold, Real) or not float(threshold) >= 0:
        raise ValueError(f"{owner}: threshold must be a number of at least 0 (a share of the particles), got "
                         f"{threshold!r}.")
    if gradient and resampling is not multinomial:
        raise ValueError(f"{owner}: resampling_gradient is the score function of independent draws: give "
                         "resampling=rv.infer.multinomial too.")


def check_ancestors(ancestors: Any, shape: torch.Size) -> None:
    """Refuse what a resampling function of a user's own returns, unless it is a number for each particle."""
    right = isinstance(ancestors, Tensor) and ancestors.shape == shape and ancestors.dtype == torch.long
    if not right:
        got = f"{tuple(ancestors.shape)} of {ancestors.dtype}" if isinstance(ancestors, Tensor) \
            else type(ancestors).__name__
        raise TypeError(f"a resampling function must return the ancestors' numbers, a tensor {tuple(shape)} of "
                        f"torch.long (particles, sequences), each from 0 to {shape[0] - 1}; got {got}.")


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
