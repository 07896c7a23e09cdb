"""Stochastic recurrent network."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ..core import SequenceVAE, Steps
from ..distributions import Bernoulli, Normal, conditional
from ..nn import LSTM, Causal, Encoder, Forward, build, concat
from ..priors import StandardNormal
from .parts import check_widths, first_frame, given_at_each_step, reader_for, without_previous

__all__ = ["STORN"]


class STORN(SequenceVAE):
    """z_t ~ N(0, I);  h_t = f(h_{t-1}, x_{t-1}, z_t);  x_t ~ p(x_t | h_t);  q(z_t | g_t), g = encoder(x).

    Source: Bayer & Osendorfer (2014), "Learning Stochastic Recurrent Networks", arXiv:1411.7610, section 3. As
    there, the guide is a recurrent network of its own that reads ``x_1..x_t``; another encoder may stand in.

    Arguments:
        x_dim: width of a frame.
        z_dim: width of a latent.
        h_dim: width of ``h_t``, of the encoder and of hidden layers.
        prior, likelihood, posterior: a whole conditional, a class built with ``(in_dim, dim)``, or a Family.
        recurrence: causal part f, or its class (LSTM, GRU, RNN).
        encoder: mask-aware encoder, or its class built with ``(in_dim, h_dim)``.
        feedback: what the model reads of x_{t-1}, a module of that width or its class (``rv.FrameDropout``,
            ``rv.WordDropout``); default: all of it.
        reader: part through which networks read x.
        context: what the model is given at each step (:class:`~pyro_rvae.nn.Context`): controls, labels.
        dropout: on the hidden layers of the likelihood.
    """

    def __init__(self, x_dim: int, z_dim: int = 16, h_dim: int = 128, *, prior: Any = StandardNormal,
                 likelihood: Any = Bernoulli, posterior: Any = Normal, recurrence: Any = LSTM,
                 encoder: Any = Forward, feedback: Any = None, reader: Any = None, context: Any = None,
                 dropout: float = 0.0) -> None:
        check_widths(self, x_dim=x_dim, z_dim=z_dim, h_dim=h_dim)
        super().__init__()
        self.x_dim, self.z_dim, self.h_dim = x_dim, z_dim, h_dim
        self.reader = reader_for(reader, likelihood, x_dim)
        self.context, given = given_at_each_step(context)
        self.feedback = build(feedback or nn.Identity, self.reader.out_dim)
        self.x0 = first_frame(self.feedback, self.reader.out_dim)
        self.prior = conditional(without_previous(self, "prior", prior, "nothing"), given, z_dim)
        self.recurrence = build(recurrence, self.reader.out_dim + z_dim + given, h_dim, kind=Causal, what="recurrence")
        self.likelihood = conditional(likelihood, self.recurrence.out_dim, x_dim, hidden=(h_dim,), dropout=dropout)
        self.encoder = build(encoder, self.reader.out_dim + given, h_dim, kind=Encoder, what="encoder")
        posterior = without_previous(self, "posterior", posterior, "g_t")
        self.posterior = conditional(posterior, self.encoder.out_dim, z_dim, hidden=(h_dim,))

    def generative(self, steps: Steps) -> None:
        for t in steps:
            c = tuple(map(t.at, steps.context))
            z = t.sample("z", self.prior, *c)
            h = t.carry("h", self.recurrence, t.prev("x", self.x0, self.feedback), z, *c)
            t.sample("x", self.likelihood, h)

    def inference(self, steps: Steps, x: Tensor) -> None:
        g = self.encoder(concat([x, *steps.context]), steps.mask)
        for t in steps:
            t.sample("z", self.posterior, t.at(g))
