"""The disentangled sequential autoencoder: one static latent and one dynamic latent a step."""

from __future__ import annotations

from typing import Any

import pyro
import torch
from torch import Tensor, nn

from ..core import SequenceVAE, Steps
from ..distributions import Bernoulli, Normal, conditional
from ..nn import LSTM, RNN, Bidirectional, Causal, Encoder, Pointwise, build, concat
from ..priors import GaussianProcess, StandardNormal
from .parts import check_summary, check_widths, given_at_each_step, reader_for, without_previous

__all__ = ["DSAE"]


class DSAE(SequenceVAE):
    """v ~ N(0, I) once;  h_t = f(h_{t-1}, z_{t-1}), z_t ~ p(z_t | h_t);  x_t ~ p(x_t | z_t, v);  q(v, z | x).

    The guide is ``q(v | x)`` times

    - with ``full``: ``q(z_t | r_t)``, ``r_t = s(r_{t-1}, g_t)``, ``g = encoder([x_t, v])``, in two directions;
    - without: ``q(z_t | g_t)``, ``g_t = encoder(x_t)``, a network of one frame ("factorised").

    Source: Li & Mandt (2018), "Disentangled Sequential Autoencoder", arXiv:1803.02991: their f is our v.
    In both of their guides a bidirectional LSTM gives ``q(v | x)``, and in the full one a simple recurrent network s
    stands on another. We differ in that ``h_t`` of the prior begins at zero and first reads a learned ``z_0``, and in
    the frames' network (theirs is convolutional).

    Arguments:
        x_dim: width of a frame.
        z_dim: width of a latent ``z_t``.
        h_dim: width of ``h_t``, of each direction of the encoders and of hidden layers.
        v_dim: width of v; default: ``z_dim``.
        full: which of the two guides.
        prior, likelihood, posterior: p(z_t | h_t), p(x_t | z_t, v), q(z_t | ...): a whole conditional, a class built
            with ``(in_dim, dim)``, or a Family.
        prior_v, posterior_v: p(v) and q(v | summary), as above.
        recurrence: causal part f, or its class (LSTM, GRU, RNN).
        encoder: mask-aware encoder of ``[x_t, v]`` or of ``x_t``, or its class built with ``(in_dim, h_dim)``;
            default: Bidirectional, or Pointwise.
        smoother: causal part s of the full guide, or its class.
        static_encoder: mask-aware encoder whose summary gives ``q(v | x)``, or its class.
        reader: part through which networks read x.
        context: what the model is given at each step (:class:`~pyro_rvae.nn.Context`): controls, labels.
        dropout: on the hidden layers of the likelihood.
    """

    def __init__(self, x_dim: int, z_dim: int = 16, h_dim: int = 128, *, v_dim: int | None = None, full: bool = True,
                 prior: Any = Normal, prior_v: Any = StandardNormal, likelihood: Any = Bernoulli,
                 posterior: Any = Normal, posterior_v: Any = Normal, recurrence: Any = LSTM, encoder: Any = None,
                 smoother: Any = RNN, static_encoder: Any = Bidirectional, reader: Any = None, context: Any = None,
                 dropout: float = 0.0) -> None:
        v_dim = z_dim if v_dim is None else v_dim
        check_widths(self, x_dim=x_dim, z_dim=z_dim, h_dim=h_dim, v_dim=v_dim)
        super().__init__()
        self.x_dim, self.z_dim, self.h_dim, self.v_dim, self.full = x_dim, z_dim, h_dim, v_dim, full
        self.reader = reader_for(reader, likelihood, x_dim)
        self.context, given = given_at_each_step(context)
        self.z0 = nn.Parameter(torch.zeros(z_dim))
        self.prior_v = conditional(without_previous(self, "prior_v", prior_v, "nothing", once=True), 0, v_dim)
        self.recurrence = build(recurrence, z_dim + given, h_dim, kind=Causal, what="recurrence")
        prior = without_previous(self, "prior", prior, "h_t")
        self.prior = conditional(prior, self.recurrence.out_dim, z_dim, hidden=(h_dim,))
        if isinstance(self.prior, (StandardNormal, GaussianProcess)):  # laws that read no h_t: f has nothing to learn
            for parameter in (self.z0, *self.recurrence.parameters()):
                parameter.requires_grad_(False)
        self.likelihood = conditional(likelihood, z_dim + v_dim + given, x_dim, hidden=(h_dim,), dropout=dropout)
        seen = self.reader.out_dim + given
        self.static_encoder = build(static_encoder, seen, h_dim, kind=Encoder, what="static_encoder")
        check_summary(self, self.static_encoder)
        posterior_v = without_previous(self, "posterior_v", posterior_v, "the encoder's summary", once=True)
        self.posterior_v = conditional(posterior_v, self.static_encoder.out_dim, v_dim, hidden=(h_dim,))
        encoder = encoder or (Bidirectional if full else Pointwise)
        self.encoder = build(encoder, seen + (v_dim if full else 0), h_dim, kind=Encoder, what="encoder")
        self.smoother = build(smoother, self.encoder.out_dim, h_dim, kind=Causal, what="smoother") if full else None
        posterior = without_previous(self, "posterior", posterior, "r_t" if full else "g_t")
        self.posterior = conditional(posterior, (self.smoother or self.encoder).out_dim, z_dim, hidden=(h_dim,))

    def generative(self, steps: Steps) -> None:
        v = pyro.sample("v", self.prior_v())
        for t in steps:
            c = tuple(map(t.at, steps.context))
            h = t.carry("h", self.recurrence, t.prev("z", self.z0), *c)
            z = t.sample("z", self.prior, h)
            t.sample("x", self.likelihood, z, t.hold(v), *c)

    def inference(self, steps: Steps, x: Tensor) -> None:
        seen = concat([x, *steps.context])
        v = pyro.sample("v", self.posterior_v(self.static_encoder.summary(seen, steps.mask)))
        if self.full:
            seen = concat([seen, v.unsqueeze(-2)])  # v beside every frame
        g = self.encoder(seen, steps.mask)
        for t in steps:
            r = t.at(g) if self.smoother is None else t.carry("r", self.smoother, t.at(g))
            t.sample("z", self.posterior, r)
