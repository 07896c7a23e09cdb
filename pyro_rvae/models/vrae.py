"""Variational recurrent autoencoder: one latent a sequence."""

from __future__ import annotations

from typing import Any

import pyro
from torch import Tensor, nn

from ..core import SequenceVAE, Steps
from ..distributions import Bernoulli, Normal, conditional
from ..nn import LSTM, MLP, Causal, Encoder, Forward, build, concat
from ..priors import StandardNormal
from .parts import (
    check_state,
    check_summary,
    check_widths,
    first_frame,
    given_at_each_step,
    posterior_for,
    reader_for,
    told,
    without_previous,
)

__all__ = ["VRAE"]


class VRAE(SequenceVAE):
    """z ~ N(0, I) once a sequence;  h_0 = tanh(W z + b), h_t = f(h_{t-1}, x_{t-1});  x_t ~ p(x_t | h_t);  q(z | x).

    Source: Fabius & van Amersfoort (2015), "Variational Recurrent Auto-Encoders", arXiv:1412.6581, section 2: the
    encoder's last state gives q. We differ in the cell (theirs is a tanh network: ``recurrence=rv.RNN``), in a hidden
    layer before the likelihood and one before q, and in ``x_0``, which is learned. With an LSTM the cell state starts
    as a tanh of z as well as the hidden state.

    Arguments:
        x_dim: width of a frame.
        z_dim: width of the latent.
        h_dim: width of ``h_t``, of the encoder and of hidden layers.
        prior, likelihood, posterior: a whole conditional, a class built with ``(in_dim, dim)``, or a Family. A prior
            with ``reads_posterior`` (``rv.VampPrior``) is called with q(z | .) first.
        recurrence: causal part f, or its class (LSTM, GRU, RNN).
        encoder: mask-aware encoder, or its class built with ``(in_dim, h_dim)``; its summary is read.
        feedback: what the decoder reads of x_{t-1}, a module of that width or its class (``rv.WordDropout``); default:
            all of it. ``rv.WordDropout(p=1)`` leaves z alone to tell the decoder where it is.
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
        self.prior = conditional(told(self, prior, likelihood), 0, z_dim)
        self.recurrence = build(recurrence, self.reader.out_dim + given, h_dim, kind=Causal, what="recurrence")
        check_state(self, self.recurrence)
        self.begin = nn.Sequential(MLP(z_dim, self.recurrence.state_dim, hidden=()), nn.Tanh())
        self.likelihood = conditional(likelihood, self.recurrence.out_dim, x_dim, hidden=(h_dim,), dropout=dropout)
        self.encoder = build(encoder, self.reader.out_dim + given, h_dim, kind=Encoder, what="encoder")
        check_summary(self, self.encoder)
        posterior = without_previous(self, "posterior", posterior, "the encoder's summary", once=True)
        self.posterior = conditional(posterior, self.encoder.out_dim, z_dim, hidden=(h_dim,))

    def generative(self, steps: Steps) -> None:
        z = pyro.sample("z", self.prior(*posterior_for(self.prior, self.encoded)))
        start = self.begin(z)
        for t in steps:
            before = t.prev("x", self.x0, self.feedback)
            h = t.carry("h", self.recurrence, before, *map(t.at, steps.context), init=start)
            t.sample("x", self.likelihood, h)

    def inference(self, steps: Steps, x: Tensor) -> None:
        pyro.sample("z", self.encoded(concat([x, *steps.context]), steps.mask))

    def encoded(self, x: Tensor, mask: Tensor | None = None) -> Any:
        """q(z | x), of sequences as networks read them (with the context behind)."""
        return self.posterior(self.encoder.summary(x, mask))
