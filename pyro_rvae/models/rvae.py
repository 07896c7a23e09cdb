"""Recurrent VAE: a latent a step, decoded by a recurrence that doesn't read x."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..core import SequenceVAE, Steps
from ..distributions import Bernoulli, Normal, conditional
from ..nn import LSTM, Bidirectional, Causal, Encoder, build, concat
from ..priors import StandardNormal
from .parts import check_widths, given_at_each_step, reader_for, without_previous

__all__ = ["RVAE"]


class _PathReader:
    """What may read the latent path of an RVAE."""

    @classmethod
    def fault(cls, part: Any) -> str:
        """What keeps ``part`` from serving here: it must be causal, or an encoder."""
        return Causal.fault(part) and Encoder.fault(part) and (
            f"{Causal.fault(part)}; the non-causal form takes an Encoder (rv.Bidirectional)")


class RVAE(SequenceVAE):
    """z_t ~ N(0, I);  h_t = f(z_1..z_t), or f(z_1..z_T);  x_t ~ p(x_t | h_t);  q(z_t | [z_1..z_{t-1},] g_t), g = e(x).

    Source: Leglaive, Alameda-Pineda, Girin & Horaud (2020), "A Recurrent Variational Autoencoder for Speech
    Enhancement", arXiv:1910.10942: the causal form (equations 4-6), ``h_t = f(h_{t-1}, z_t)``, and the non-causal one
    (section 3.3), in which a bidirectional decoder reads the whole path: pass an encoder as ``recurrence``. Their
    guides follow the exact posterior and feed z back, ``q(z_t | z_1..z_{t-1}, x_t..x_T)`` or, for the non-causal
    model, all of x: ``feedback=rv.LSTM, encoder=rv.Backward`` (or Bidirectional). By default ours drops the earlier
    latents, so that all steps are drawn at once. We take any likelihood and prior, where they take a zero-mean complex
    Gaussian for speech.

    Arguments:
        x_dim: width of a frame.
        z_dim: width of a latent.
        h_dim: width of ``h_t``, of the encoder and of hidden layers.
        prior, likelihood, posterior: a whole conditional, a class built with ``(in_dim, dim)``, or a Family.
        recurrence: f: a causal part or its class (LSTM, GRU, RNN), or, for the non-causal form, an encoder of the
            latent path (``rv.Bidirectional``).
        encoder: mask-aware encoder, or its class built with ``(in_dim, h_dim)``.
        feedback: causal part (or class) through which the guide reads ``z_1..z_{t-1}``; ``None``: it does not.
        reader: part through which networks read x.
        context: what the model is given at each step (:class:`~pyro_rvae.nn.Context`): controls, labels.
        dropout: on the hidden layers of the likelihood.
    """

    def __init__(self, x_dim: int, z_dim: int = 16, h_dim: int = 128, *, prior: Any = StandardNormal,
                 likelihood: Any = Bernoulli, posterior: Any = Normal, recurrence: Any = LSTM,
                 encoder: Any = Bidirectional, feedback: Any = None, reader: Any = None, context: Any = None,
                 dropout: float = 0.0) -> None:
        check_widths(self, x_dim=x_dim, z_dim=z_dim, h_dim=h_dim)
        super().__init__()
        self.x_dim, self.z_dim, self.h_dim = x_dim, z_dim, h_dim
        self.reader = reader_for(reader, likelihood, x_dim)
        self.context, given = given_at_each_step(context)
        self.prior = conditional(without_previous(self, "prior", prior, "nothing"), given, z_dim)
        self.recurrence = build(recurrence, z_dim + given, h_dim, kind=_PathReader, what="recurrence")
        self.likelihood = conditional(likelihood, self.recurrence.out_dim, x_dim, hidden=(h_dim,), dropout=dropout)
        self.encoder = build(encoder, self.reader.out_dim + given, h_dim, kind=Encoder, what="encoder")
        self.feedback: Any = None
        if feedback is not None:
            self.q0 = nn.Parameter(torch.zeros(z_dim))
            self.feedback = build(feedback, z_dim, h_dim, kind=Causal, what="feedback")
        posterior = without_previous(self, "posterior", posterior, "g_t")
        seen = self.encoder.out_dim + (self.feedback.out_dim if feedback is not None else 0)
        self.posterior = conditional(posterior, seen, z_dim, hidden=(h_dim,))

    def generative(self, steps: Steps) -> None:
        if Causal.fault(self.recurrence):
            return self.noncausal(steps)
        for t in steps:
            c = tuple(map(t.at, steps.context))
            z = t.sample("z", self.prior, *c)
            h = t.carry("h", self.recurrence, z, *c)
            t.sample("x", self.likelihood, h)

    def noncausal(self, steps: Steps) -> None:
        """The generative body of the non-causal form: the path is drawn first, then all of it is read."""
        for t in steps:
            t.sample("z", self.prior, *map(t.at, steps.context))
        h = self.recurrence(concat([steps.path("z"), *steps.context]), steps.mask)
        for t in steps:
            t.sample("x", self.likelihood, t.at(h))

    def inference(self, steps: Steps, x: Tensor) -> None:
        g = self.encoder(concat([x, *steps.context]), steps.mask)
        for t in steps:
            past = () if self.feedback is None else (t.carry("q", self.feedback, t.prev("z", self.q0)),)
            t.sample("z", self.posterior, *past, t.at(g))
