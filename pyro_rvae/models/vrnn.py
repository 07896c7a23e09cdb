"""The variational recurrent neural network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..core import SequenceVAE, Step, Steps
from ..distributions import Bernoulli, Normal, conditional, mean_of
from ..nn import LSTM, MLP, Causal, build
from .parts import check_widths, given_at_each_step, reader_for, reads_prior_mean, without_previous

__all__ = ["VRNN"]


class VRNN(SequenceVAE):
    """h_t = f(h_{t-1}, x_{t-1}, z_{t-1});  z_t ~ p(z_t | h_t);  x_t ~ p(x_t | h_t, z_t);  q(z_t | h_t, x_t).

    Source: Chung, Kastner, Dinh, Goel, Courville & Bengio (2015), "A Recurrent Latent Variable Model for Sequential
    Data", arXiv:1506.02216, equations 5-9. The guide is a filter and shares f. We differ in one index: our ``h_t``
    is their ``h_{t-1}``, so that no body holds a value over a step. With ``posterior=rv.ResidualNormal`` the mean of q
    is that of p(z_t | h_t) plus what a network makes of ``h_t, x_t`` (Fraccaro et al. 2016).

    Arguments:
        x_dim: width of a frame.
        z_dim: width of a latent.
        h_dim: width of ``h_t`` and of the hidden layers.
        prior, likelihood, posterior: a whole conditional, a class built with ``(in_dim, dim)``, or a Family. The
            posterior is given the prior's mean in front where it has ``reads_prior_mean`` (ResidualNormal).
        recurrence: causal part f, or its class (LSTM, GRU, RNN).
        features: hidden layers of the networks ``phi`` through which x and z are read (Chung et al. have several of
            the width of ``h_t``: ``features=(h_dim,) * 3``); by default each is one layer with a rectifier.
        layers: hidden layers of prior, likelihood and posterior.
        feedback: what the model reads of x_{t-1} before phi, a module of that width or its class (``rv.FrameDropout``,
            ``rv.WordDropout``); default: all of it. The guide reads all of it.
        reader: part through which networks read x.
        context: what the model is given at each step (:class:`~pyro_rvae.nn.Context`): controls, labels.
        dropout: on the hidden layers of the likelihood.
    """

    def __init__(self, x_dim: int, z_dim: int = 16, h_dim: int = 128, *, prior: Any = Normal,
                 likelihood: Any = Bernoulli, posterior: Any = Normal, recurrence: Any = LSTM,
                 features: Sequence[int] = (), layers: int = 1, feedback: Any = None, reader: Any = None,
                 context: Any = None, dropout: float = 0.0) -> None:
        check_widths(self, x_dim=x_dim, z_dim=z_dim, h_dim=h_dim)
        super().__init__()
        self.x_dim, self.z_dim, self.h_dim = x_dim, z_dim, h_dim
        self.reader = reader_for(reader, likelihood, x_dim)
        self.context, given = given_at_each_step(context)
        self.x0, self.z0 = nn.Parameter(torch.zeros(self.reader.out_dim)), nn.Parameter(torch.zeros(z_dim))
        self.feedback = None if feedback is None else build(feedback, self.reader.out_dim)
        self.phi_x = MLP(self.reader.out_dim, h_dim, hidden=features, output=False)
        self.phi_z = MLP(z_dim, h_dim, hidden=features, output=False)
        self.recurrence = build(recurrence, 2 * h_dim + given, h_dim, kind=Causal, what="recurrence")
        prior = without_previous(self, "prior", prior, "h_t")
        posterior = without_previous(self, "posterior", posterior, "h_t and x_t", prior_mean=True)
        self.residual = reads_prior_mean(posterior)
        out_dim = self.recurrence.out_dim
        self.prior = conditional(prior, out_dim, z_dim, hidden=(h_dim,) * layers)
        self.likelihood = conditional(likelihood, out_dim + h_dim, x_dim, hidden=(h_dim,) * layers, dropout=dropout)
        seen = out_dim + h_dim + (z_dim if self.residual else 0)
        self.posterior = conditional(posterior, seen, z_dim, hidden=(h_dim,) * layers)

    def generative(self, steps: Steps) -> None:
        for t in steps:
            h = self.state(t, steps.context, self.feedback)
            z = t.sample("z", self.prior, h)
            t.sample("x", self.likelihood, h, self.phi_z(z))

    def state(self, t: Step, context: tuple[Tensor, ...], feedback: Any = None) -> Tensor:
        """h_t = f(h_{t-1}, phi(x_{t-1}), phi(z_{t-1})), which model and guide share."""
        before = t.prev("x", self.x0, feedback or self.phi_x)
        seen = before if feedback is None else self.phi_x(before)
        return t.carry("h", self.recurrence, seen, t.prev("z", self.z0, self.phi_z), *map(t.at, context))

    def inference(self, steps: Steps, x: Tensor) -> None:
        for t in steps:
            h = self.state(t, steps.context)
            prior = (mean_of(self.prior, h),) if self.residual else ()
            t.sample("z", self.posterior, *prior, h, t.at(x, self.phi_x))
