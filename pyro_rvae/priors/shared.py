"""Conditionals with something that is drawn once a data set: weights with a prior, a noise scale with a prior.

Each has ``shared_law()``, the prior of what it shares, and takes its value as the last input:

    def shared(self):
        sample("w", self.likelihood.shared_law())        # Pyro's sample statement

    def generative(self, steps):
        w = steps.shared["w"]
        for t in steps:
            ...
            t.sample("x", self.likelihood, z, t.hold(w))

The guide of what is shared is a mean-field Normal, or ``self.shared_posterior = AutoNormal(self.shared)`` (any of
``pyro.infer.autoguide``), beside the amortised guide of the latents.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..distributions import Family, Normal
from ..nn import MLP, concat, is_recipe

__all__ = ["BayesianLinear", "GammaNoise"]


def _positive(part: str, **values: float) -> None:
    for name, value in values.items():
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"{part}: {name} must be a positive number, got {value}.")


class BayesianLinear(nn.Module):
    r"""``p(x | u, W, b) = family(W u + b)``, and ``W, b ~ N(0, scale^2)`` once a data set: a Bayesian decoder.

    With as many weights as ``(in_dim + 1) * num_params``, in one vector: the rows of ``[W, b]`` one after another.
    Source: MacKay (1992), "A practical Bayesian framework for backpropagation networks"; the latents beside them as in
    Kingma & Welling (2014), arXiv:1312.6114, appendix F (full variational Bayes).

    Arguments:
        in_dim: width of the inputs u.
        dim: elements of a frame.
        family: a Family, or its class (or partial) built with ``dim``.
        scale: of each weight's prior.

    Raises:
        ValueError: ``scale`` is no positive number, or at a call a vector of weights of another width.
        TypeError: ``family`` is no Family.
    """

    def __init__(self, in_dim: int, dim: int, *, family: Any = Normal, scale: float = 1.0) -> None:
        super().__init__()
        _positive("BayesianLinear", scale=scale)
        self.family = family(dim) if is_recipe(family) else family
        if not isinstance(self.family, Family):
            raise TypeError(f"BayesianLinear: family must be a Family or its class, got {type(self.family).__name__}.")
        self.in_dim, self.dim, self.scale = in_dim, dim, scale
        self.rows = (self.family.num_params, in_dim + 1)
        self.zero: Tensor
        self.register_buffer("zero", torch.zeros(math.prod(self.rows)), persistent=False)

    def shared_law(self) -> dist.TorchDistribution:
        """The prior of the weights, a vector."""
        return dist.Normal(self.zero, torch.full_like(self.zero, self.scale)).to_event(1)

    def forward(self, *inputs: Tensor) -> dist.TorchDistribution:
        *read, weights = inputs
        if not read or weights.shape[-1] != len(self.zero):
            raise ValueError(f"BayesianLinear reads its inputs, and last {len(self.zero)} weights; got widths "
                             f"{[i.shape[-1] for i in inputs]}. Declare them in `shared` and pass t.hold(weights).")
        u = concat(read).unsqueeze(-2)
        rows = weights.unflatten(-1, self.rows)
        return self.family((rows[..., :-1] * u).sum(-1) + rows[..., -1])  # type: ignore[no-any-return]

    def extra_repr(self) -> str:
        return f"in_dim={self.in_dim}, dim={self.dim}, scale={self.scale}"


class GammaNoise(nn.Module):
    r"""``p(x | u, s) = N(f(u), s^2)``, elements independent, and ``s ~ Gamma(shape, rate)`` once a data set.

    Source: Gelman (2006), "Prior distributions for variance parameters in hierarchical models": a gamma of shape 2
    keeps the scale off zero.

    Arguments:
        in_dim: width of the inputs u.
        dim: elements of a frame.
        hidden: widths of the hidden layers of f.
        shape, rate: of the Gamma law of s, whose mean is ``shape / rate``.

    Raises:
        ValueError: ``shape`` or ``rate`` is no positive number, or the model does not pass s last, a vector of one.
    """

    def __init__(self, in_dim: int, dim: int, *, hidden: Sequence[int] = (128,), shape: float = 2.0,
                 rate: float = 2.0) -> None:
        super().__init__()
        _positive("GammaNoise", shape=shape, rate=rate)
        self.net, self.shape, self.rate = MLP(in_dim, dim, hidden=hidden), shape, rate

    def shared_law(self) -> dist.TorchDistribution:
        """The prior of s, a scalar."""
        like = next(self.parameters())
        return dist.Gamma(like.new_tensor(self.shape), like.new_tensor(self.rate))

    def forward(self, *inputs: Tensor) -> dist.TorchDistribution:
        *read, s = inputs
        if not read or s.shape[-1] != 1:
            raise ValueError(f"GammaNoise reads its inputs, and last the scale, a vector of one; got widths "
                             f"{[i.shape[-1] for i in inputs]}. Declare it in `shared` and pass t.hold(s).")
        return dist.Normal(self.net(concat(read)), s, validate_args=False).to_event(1)
