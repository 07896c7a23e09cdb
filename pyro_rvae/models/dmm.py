"""Deep Markov model."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..core import SequenceVAE, Step, Steps
from ..distributions import Bernoulli, Conditional, GaussianChain, MeanField, Normal, conditional, mean_of
from ..nn import MLP, Backward, Encoder, GatedTransition, build, concat
from ..priors import StandardNormal
from .parts import (
    check_widths,
    given_at_each_step,
    reader_for,
    reads_path,
    reads_prior_mean,
    reads_start,
    start_for,
    without_prior_mean,
)

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
        transition: p(z_t | ...), called with ``(z_{t-1}[, skip features])``; a conditional, class or Family. One with
            ``reads_start`` (``rv.AR1``) is told behind ``z_{t-1}`` which step is the first; a law over the whole path
            (:class:`~pyro_rvae.PathLaw`: GaussianProcess, LinearGaussian) is not given ``z_{t-1}``.
        likelihood: p(x_t | ...), called with ``(z_t[, skip features])``.
        posterior: q(z_t | ...), called with ``(z_{t-1}, g_t)``: GaussianChain, Combiner, MeanField (which drops
            ``z_{t-1}``), or a Family; with the prior's mean in front where it has ``reads_prior_mean``
            (ResidualNormal), and without ``z_{t-1}`` where it is a law over the whole path (DenseGaussian).
        encoder: mask-aware encoder, or its class built with ``(in_dim, h_dim)``. With the Combiner, Backward is their
            ST-R (the DKS), Bidirectional ST-LR, Forward ST-L (a filter); with MeanField, Bidirectional is MF-LR.
        skip_edges: whether z_t and x_t also see x_{t-1}, each through ``relu(W x_{t-1} + b)`` of its own.
        skip_dim: width of those features.
        skip: what computes those that x_t sees, a class called with ``(width of x, skip_dim)``; None: as for z_t.
            ``nn.Identity`` with ``skip_dim=x_dim`` passes x_{t-1} as it stands, as :class:`~pyro_rvae.PreviousNADE`
            needs it.
        reader: part through which networks read x.
        layers: hidden layers of the likelihood.
        context: what the model is given at each step (:class:`~pyro_rvae.nn.Context`): controls, labels.
        dropout: on the hidden layers of the likelihood.
    """

    def __init__(self, x_dim: int, z_dim: int = 16, h_dim: int = 128, *, transition: Any = None,
                 likelihood: Any = Bernoulli, posterior: Any = GaussianChain, encoder: Any = Backward,
                 skip_edges: bool = False, skip_dim: int = 100, skip: Any = None, reader: Any = None,
                 layers: int = 1, context: Any = None, dropout: float = 0.0) -> None:
        check_widths(self, x_dim=x_dim, z_dim=z_dim, h_dim=h_dim, skip_dim=skip_dim)
        super().__init__()
        self.x_dim, self.z_dim, self.h_dim = x_dim, z_dim, h_dim
        self.reader = reader_for(reader, likelihood, x_dim)
        self.context, given = given_at_each_step(context)
        self.z0 = nn.Parameter(torch.zeros(z_dim))
        self.skip_z: nn.Module | None = None
        self.skip_x: nn.Module | None = None
        if skip is not None and not skip_edges:
            raise ValueError(f"{type(self).__name__}: skip computes the skip edges' features; give skip_edges=True.")
        if skip_edges:
            self.x0 = nn.Parameter(torch.zeros(self.reader.out_dim))
            features = partial(MLP, hidden=(), output=False)
            self.skip_z, self.skip_x = (build(f, self.reader.out_dim, skip_dim) for f in (features, skip or features))
        seen = z_dim + (skip_dim if skip_edges else 0) + given
        transition = transition or partial(GatedNormal, hidden=h_dim)
        without_prior_mean(self, "transition", transition)
        start, path = reads_start(transition), reads_path(transition)
        self.transition = conditional(transition, seen + start - path * z_dim, z_dim, hidden=(h_dim,))
        read = not (start or path or isinstance(self.transition, StandardNormal))
        self.z0.requires_grad_(read)  # a law of z_1 of its own needs no z_0, and one of nothing reads none
        self.likelihood = conditional(likelihood, seen, x_dim, hidden=(h_dim,) * layers, dropout=dropout)
        self.encoder = build(encoder, self.reader.out_dim + given, h_dim, kind=Encoder, what="encoder")
        self.residual = reads_prior_mean(posterior)
        path = reads_path(posterior)
        width = self.encoder.out_dim + z_dim * (not path) + z_dim * self.residual
        self.posterior = conditional(posterior, width, z_dim, hidden=(h_dim,))
        self.q0 = nn.Parameter(torch.zeros(z_dim), requires_grad=not (path or isinstance(self.posterior, MeanField)))

    def generative(self, steps: Steps) -> None:
        for t in steps:
            z = t.sample("z", self.transition, *self.before(t, steps))
            t.sample("x", self.likelihood, z, *self.beside(t, self.skip_x, steps))

    def before(self, t: Step, steps: Steps) -> tuple[Tensor, ...]:
        """What the transition is called with: z_{t-1}, and what stands beside it; a law over paths has its own past."""
        past = () if reads_path(self.transition) else (t.prev("z", self.z0),)
        start = start_for(self.transition, steps)
        return (*past, *map(t.at, start), *self.beside(t, self.skip_z, steps))

    def beside(self, t: Step, skip: nn.Module | None, steps: Steps) -> tuple[Tensor, ...]:
        """What stands beside a latent: a skip edge from x_{t-1}, and the context, where the model has them."""
        edge = () if skip is None else (t.prev("x", self.x0, skip),)
        return (*edge, *map(t.at, steps.context))

    def inference(self, steps: Steps, x: Tensor) -> None:
        g = self.encoder(concat([x, *steps.context]), steps.mask)
        for t in steps:
            prior = (mean_of(self.transition, *self.before(t, steps)),) if self.residual else ()
            past = () if reads_path(self.posterior) else (t.prev("z", self.q0),)
            t.sample("z", self.posterior, *prior, *past, t.at(g))
