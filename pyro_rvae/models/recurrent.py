"""The deterministic recurrent network: the family's member without a latent."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..core import SequenceVAE, Steps
from ..distributions import Bernoulli, conditional
from ..nn import LSTM, Causal, build
from .parts import check_widths, given_at_each_step, reader_for

__all__ = ["DeterministicRNN"]


class DeterministicRNN(SequenceVAE):
    """h_t = f(h_{t-1}, x_{t-1});  x_t ~ p(x_t | h_t);  no latent, so the likelihood is exact.

    The twin against which a latent is measured: with nothing to infer the guide draws nothing, and what is called
    ELBO or IWAE of this model is log p(x) itself. Its KL is 0 and no swap of latents costs anything; a figure of
    ``collapse_report`` or of several particles says nothing more here. It trains, generates, forecasts from a prefix,
    takes missing values and is saved like every model of the family.

    Source: the recurrent network of Boulanger-Lewandowski, Bengio & Vincent (2012), arXiv:1206.6392, and of the
    tables since. We differ in the cell (an LSTM; theirs is a tanh network: ``recurrence=rv.RNN``), in a hidden layer
    before the likelihood, and in ``x_0``, which is learned.

    Arguments:
        x_dim: width of a frame.
        h_dim: width of ``h_t`` and of the hidden layer. There is no ``z_dim``.
        likelihood: a whole conditional, a class built with ``(in_dim, dim)``, or a Family.
        recurrence: causal part f, or its class (LSTM, GRU, RNN).
        reader: part through which networks read x.
        context: what the model is given at each step (:class:`~pyro_rvae.nn.Context`): controls, labels.
        dropout: on the hidden layer of the likelihood.
    """

    def __init__(self, x_dim: int, h_dim: int = 128, *, likelihood: Any = Bernoulli, recurrence: Any = LSTM,
                 reader: Any = None, context: Any = None, dropout: float = 0.0) -> None:
        check_widths(self, x_dim=x_dim, h_dim=h_dim)
        super().__init__()
        self.x_dim, self.h_dim = x_dim, h_dim
        self.reader = reader_for(reader, likelihood, x_dim)
        self.context, given = given_at_each_step(context)
        self.x0 = nn.Parameter(torch.zeros(self.reader.out_dim))
        self.recurrence = build(recurrence, self.reader.out_dim + given, h_dim, kind=Causal, what="recurrence")
        self.likelihood = conditional(likelihood, self.recurrence.out_dim, x_dim, hidden=(h_dim,), dropout=dropout)

    def generative(self, steps: Steps) -> None:
        for t in steps:
            h = t.carry("h", self.recurrence, t.prev("x", self.x0), *map(t.at, steps.context))
            t.sample("x", self.likelihood, h)

    def inference(self, steps: Steps, x: Tensor) -> None:
        """Nothing: there is no latent to infer."""
