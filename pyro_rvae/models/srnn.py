"""The stochastic recurrent network with a deterministic layer under a state space model."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..core import SequenceVAE, Steps, shift
from ..distributions import Bernoulli, Normal, ResidualNormal, conditional, mean_of
from ..nn import LSTM, Backward, Causal, Encoder, Pointwise, build, concat
from .parts import (
    check_widths,
    given_at_each_step,
    reader_for,
    reads_prior_mean,
    reads_start,
    start_for,
    without_prior_mean,
)

__all__ = ["SRNN"]


class SRNN(SequenceVAE):
    """d_t = f(d_{t-1}, x_{t-1});  z_t ~ p(z_t | z_{t-1}, d_t);  x_t ~ p(x_t | z_t, d_t);  q(z_t | z_{t-1}, d_t, a_t).

    The guide's ``a_t = g(a_{t+1}, [d_t, x_t])`` looks back from the end (smoothing), or is ``g([d_t, x_t])`` (with
    ``smoothing=False``: a filter). The mean of q is that of p(z_t | z_{t-1}, d_t) plus what a network makes of
    ``z_{t-1}, a_t``; with another posterior (``rv.Normal``) the prior's mean is not read: q(z_t | z_{t-1}, a_t).

    Source: Fraccaro, Sønderby, Paquet & Winther (2016), "Sequential Neural Models with Stochastic Layers",
    arXiv:1605.07571, section 3 and algorithm 1, with the input u_t = x_{t-1} (beside it stands our context). We differ
    in the cell (theirs is a GRU: ``recurrence=rv.GRU, encoder=partial(rv.Backward, cell=rv.GRU)``), in the networks'
    widths, and in the start: ``x_0`` and ``z_0`` are learned.

    Arguments:
        x_dim: width of a frame.
        z_dim: width of a latent.
        h_dim: width of ``d_t``, of the encoder and of hidden layers.
        transition: p(z_t | ...), called with ``(z_{t-1}, d_t)``; a conditional, class or Family. One with
            ``reads_start`` (``rv.AR1``) is told behind ``z_{t-1}`` which step is the first.
        likelihood: p(x_t | ...), called with ``(z_t, d_t)``.
        posterior: q(z_t | ...), called with ``(z_{t-1}, a_t)``, and with the prior's mean in front where it has
            ``reads_prior_mean`` (ResidualNormal, the default).
        recurrence: causal part f, or its class (LSTM, GRU, RNN).
        encoder: mask-aware encoder of ``[d_t, x_t]``, or its class built with ``(in_dim, h_dim)``; default: Backward
            if smoothing, else Pointwise.
        smoothing: whether the guide may look ahead.
        feedback: what the model reads of x_{t-1}, a module of that width or its class (``rv.FrameDropout``,
            ``rv.WordDropout``); default: all of it. The guide reads all of it.
        reader: part through which networks read x.
        context: what the model is given at each step (:class:`~pyro_rvae.nn.Context`): controls, labels.
        dropout: on the hidden layers of the likelihood.

    Raises:
        ValueError: ``smoothing=False``, and the encoder looks ahead or does not say that it doesn't (``causal``).
        TypeError: at the first call, if the posterior reads a prior's mean that the transition does not have.
    """

    def __init__(self, x_dim: int, z_dim: int = 16, h_dim: int = 128, *, transition: Any = Normal,
                 likelihood: Any = Bernoulli, posterior: Any = None, recurrence: Any = LSTM, encoder: Any = None,
                 smoothing: bool = True, feedback: Any = None, reader: Any = None, context: Any = None,
                 dropout: float = 0.0) -> None:
        check_widths(self, x_dim=x_dim, z_dim=z_dim, h_dim=h_dim)
        super().__init__()
        self.x_dim, self.z_dim, self.h_dim = x_dim, z_dim, h_dim
        self.reader = reader_for(reader, likelihood, x_dim)
        self.context, given = given_at_each_step(context)
        self.x0, self.z0 = nn.Parameter(torch.zeros(self.reader.out_dim)), nn.Parameter(torch.zeros(z_dim))
        self.feedback = build(feedback or nn.Identity, self.reader.out_dim)
        self.recurrence = build(recurrence, self.reader.out_dim + given, h_dim, kind=Causal, what="recurrence")
        seen = z_dim + self.recurrence.out_dim
        without_prior_mean(self, "transition", transition)
        self.transition = conditional(transition, seen + reads_start(transition), z_dim, hidden=(h_dim,))
        self.likelihood = conditional(likelihood, seen, x_dim, hidden=(h_dim,), dropout=dropout)
        encoder = encoder or (Backward if smoothing else Pointwise)
        self.encoder = build(encoder, self.recurrence.out_dim + self.reader.out_dim, h_dim, kind=Encoder,
                             what="encoder")
        if not smoothing:
            _check_filter(self.encoder)
        posterior = posterior or partial(ResidualNormal, hidden=(h_dim,))
        self.residual = reads_prior_mean(posterior)
        width = z_dim + self.encoder.out_dim + (z_dim if self.residual else 0)
        self.posterior = conditional(posterior, width, z_dim, hidden=(h_dim,))

    def generative(self, steps: Steps) -> None:
        start = start_for(self.transition, steps)
        for t in steps:
            d = t.carry("d", self.recurrence, t.prev("x", self.x0, self.feedback), *map(t.at, steps.context))
            z = t.sample("z", self.transition, t.prev("z", self.z0), *map(t.at, start), d)
            t.sample("x", self.likelihood, z, d)

    def inference(self, steps: Steps, x: Tensor) -> None:
        d = self.recurrence(concat([shift(x, self.x0), *steps.context]))  # of x alone: one call
        a = self.encoder(concat([d, x]), steps.mask)
        start = start_for(self.transition, steps)
        for t in steps:
            before = t.prev("z", self.z0)
            prior = (mean_of(self.transition, before, *map(t.at, start), t.at(d)),) if self.residual else ()
            t.sample("z", self.posterior, *prior, before, t.at(a))


def _check_filter(encoder: Any) -> None:
    causal = getattr(encoder, "causal", None)
    if causal:
        return
    fault = "looks ahead" if causal is False else "does not say whether it looks ahead"
    raise ValueError(f"encoder: with smoothing=False the guide is a filter, and {type(encoder).__name__} {fault}; pass "
                     "rv.Pointwise, rv.Forward, or a module of your own with the attribute causal = True.")
