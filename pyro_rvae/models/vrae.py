"""Variational recurrent autoencoder: one latent a sequence."""

from __future__ import annotations

from typing import Any

import pyro
import torch
from torch import Tensor, nn

from ..core import SequenceVAE, Steps
from ..distributions import Bernoulli, Normal, conditional
from ..nn import LSTM, MLP, Forward, build
from ..priors import StandardNormal
from .parts import reader_for

__all__ = ["VRAE"]


class VRAE(SequenceVAE):
    """z ~ N(0, I) once a sequence;  h_0 = tanh(W z + b), h_t = f(h_{t-1}, x_{t-1});  x_t ~ p(x_t | h_t);  q(z | x).

    Source: Fabius & van Amersfoort (2015), "Variational Recurrent Auto-Encoders", arXiv:1412.6581, section 2: the
    encoder's last state gives q. We differ in the cell (theirs is a tanh network: ``recurrence=rv.RNN``) and in a
    hidden layer before the likelihood.

    Arguments:
        x_dim: width of a frame.
        z_dim: width of the latent.
        h_dim: width of ``h_t``, of the encoder and of hidden layers.
        prior, likelihood, posterior: a whole conditional, a class built with ``(in_dim, dim)``, or a Family.
        recurrence: causal part f, or its class (LSTM, GRU, RNN).
        encoder: mask-aware encoder, or its class built with ``(in_dim, h_dim)``; its summary is read.
        reader: part through which networks read x.
        dropout: on the hidden layers of the likelihood.
    """

    def __init__(self, x_dim: int, z_dim: int = 16, h_dim: int = 128, *, prior: Any = StandardNormal,
                 likelihood: Any = Bernoulli, posterior: Any = Normal, recurrence: Any = LSTM,
                 encoder: Any = Forward, reader: Any = None, dropout: float = 0.0) -> None:
        super().__init__()
        self.x_dim, self.z_dim, self.h_dim = x_dim, z_dim, h_dim
        self.reader = reader_for(reader, likelihood, x_dim)
        self.x0 = nn.Parameter(torch.zeros(self.reader.out_dim))
        self.prior = conditional(prior, 0, z_dim)
        self.recurrence = build(recurrence, self.reader.out_dim, h_dim)
        self.begin = nn.Sequential(MLP(z_dim, self.recurrence.state_dim, hidden=()), nn.Tanh())
        self.likelihood = conditional(likelihood, h_dim, x_dim, hidden=(h_dim,), dropout=dropout)
        self.encoder = build(encoder, self.reader.out_dim, h_dim)
        self.posterior = conditional(posterior, self.encoder.out_dim, z_dim, hidden=(h_dim,))

    def generative(self, steps: Steps) -> None:
        z = pyro.sample("z", self.prior())
        start = self.begin(z)
        for t in steps:
            h = t.carry("h", self.recurrence, t.prev("x", self.x0), init=start)
            t.sample("x", self.likelihood, h)

    def inference(self, steps: Steps, x: Tensor) -> None:
        pyro.sample("z", self.posterior(self.encoder.summary(x, steps.mask)))
