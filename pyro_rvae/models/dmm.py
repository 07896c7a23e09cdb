"""Deep Markov model."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..core import SequenceVAE, Step, Steps
from ..distributions import Bernoulli, Conditional, GaussianChain, MeanField, Normal, conditional
from ..nn import MLP, Backward, Encoder, GatedTransition, build, concat
from ..priors import StandardNormal
from .parts import check_widths, given_at_each_step, reader_for, without_prior_mean

__all__ = ["DMM", "GatedNormal"]


class GatedNormal(Conditional):
    """p(z_t | z_{t-1}, ...): a Normal whose parameters come from a :class:`~pyro_rvae.nn.GatedTransition`."""

    reads_previous = True

    def __init__(self, in_dim: int, dim: int, *, hidden: int = 200, context: Any = None, dropout: float = 0.0) -> None:
        super().__init__(GatedTransition(in_dim, dim, hidden=hidden, dropout=dropout), Normal(dim))


class DMM(SequenceVAE):
    """z_t ~ p(z_t | z_{t-1});  x_t ~ p(x_t | z_t);  q(z_t | z_{t-1}, g_t), g = encoder(x).

    With ``skip_edges``: z_t ~ p(z_t | z_{t-1}, x_{t-1});  x_t ~ p(x_t | z_t, x_{t-1}).

    Source: Krishnan, Shalit & Sontag (2017), "Structured Inference Networks for Nonlinear State Space Models",
    arXiv:1609.09869: gated transition; skip edges are their DMM-Aug. We differ in the default guide: a Gaussian
    chain, ``q(z_t | z_{t-1}, x) = N(a_t z_{t-1} + b_t, s_t^2)``, which is drawn in parallel over time and reached a
    better bound in less time than their combiner (``posterior=rv.Combiner``).

    Arguments:
        x_dim: width of a frame.
        z_dim: width of a latent.
        h_dim: width of the encoder and of the hidden layers.
        transition: p(z_t | ...), called with ``(z_{t-1}[, skip features])``; a conditional, class or Family.
        likelihood: p(x_t | ...), called with ``(z_t[, skip features])``.
        posterior: q(z_t | ...), called with ``(z_{t-1}, g_t)``: GaussianChain, Combiner, MeanField (which drops
            ``z_{t-1}``), or a Family.
        encoder: mask-aware encoder, or its class built with ``(in_dim, h_dim)``. With the Combiner, Backward is their
            ST-R (the DKS), Bidirectional ST-LR, Forward ST-L (a filter); with MeanField, Bidirectional is MF-LR.
        skip_edges: whether z_t and x_t also see x_{t-1}, each through ``relu(W x_{t-1} + b)`` of its own.
        skip_dim: width of those features.
        reader: part through which networks read x.
        layers: hidden layers of the likelihood.
        context: what the model is given at each step (:class:`~pyro_rvae.nn.Context`): controls, labels.
        dropout: on the hidden layers of the likelihood.
    """

    def __init__(self, x_dim: int, z_dim: int = 16, h_dim: int = 128, *, transition: Any = None,
                 likelihood: Any = Bernoulli, posterior: Any = GaussianChain, encoder: Any = Backward,
                 skip_edges: bool = False, skip_dim: int = 100, reader: Any = None, layers: int = 1,
                 context: Any = None, dropout: float = 0.0) -> None:
        check_widths(self, x_dim=x_dim, z_dim=z_dim, h_dim=h_dim, skip_dim=skip_dim)
        super().__init__()
        self.x_dim, self.z_dim, self.h_dim = x_dim, z_dim, h_dim
        self.reader = reader_for(reader, likelihood, x_dim)
        self.context, given = given_at_each_step(context)
        self.z0 = nn.Parameter(torch.zeros(z_dim))
        self.skip_z: nn.Module | None = None
        self.skip_x: nn.Module | None = None
        if skip_edges:
            self.x0 = nn.Parameter(torch.zeros(self.reader.out_dim))
            self.skip_z, self.skip_x = (MLP(self.reader.out_dim, skip_dim, hidden=(), output=False) for _ in "zx")
        seen = z_dim + (skip_dim if skip_edges else 0) + given
        without_prior_mean(self, "transition", transition)
        self.transition = conditional(transition or partial(GatedNormal, hidden=h_dim), seen, z_dim, hidden=(h_dim,))
        self.z0.requires_grad_(not isinstance(self.transition, StandardNormal))  # which reads nothing
        self.likelihood = conditional(likelihood, seen, x_dim, hidden=(h_dim,) * layers, dropout=dropout)
        self.encoder = build(encoder, self.reader.out_dim + given, h_dim, kind=Encoder, what="encoder")
        without_prior_mean(self, "posterior", posterior)
        self.posterior = conditional(posterior, z_dim + self.encoder.out_dim, z_dim, hidden=(h_dim,))
        self.q0 = nn.Parameter(torch.zeros(z_dim), requires_grad=not isinstance(self.posterior, MeanField))

    def generative(self, steps: Steps) -> None:
        for t in steps:
            z = t.sample("z", self.transition, t.prev("z", self.z0), *self.beside(t, self.skip_z, steps))
            t.sample("x", self.likelihood, z, *self.beside(t, self.skip_x, steps))

    def beside(self, t: Step, skip: nn.Module | None, steps: Steps) -> tuple[Tensor, ...]:
        """What stands beside a latent: a skip edge from x_{t-1}, and the context, where the model has them."""
        edge = () if skip is None else (t.prev("x", self.x0, skip),)
        return (*edge, *map(t.at, steps.context))

    def inference(self, steps: Steps, x: Tensor) -> None:
        g = self.encoder(concat([x, *steps.context]), steps.mask)
        for t in steps:
            t.sample("z", self.posterior, t.prev("z", self.q0), t.at(g))
