"""Models whose regime switches: a neural hidden Markov model, and switching linear-Gaussian dynamics."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..core import SequenceVAE, Step, Steps, shift
from ..distributions import (
    Bernoulli,
    GaussianChain,
    MeanField,
    OneHot,
    RegimePosterior,
    SwitchingNormal,
    conditional,
)
from ..nn import Backward, Causal, Encoder, build, concat
from ..priors import StandardNormal
from .parts import behind_regime, check_regimes, check_widths, given_at_each_step, reader_for, without_prior_mean

__all__ = ["NeuralHMM", "SwitchingLDS"]


class NeuralHMM(SequenceVAE):
    """s_t ~ p(s_t | s_{t-1}[, h_t]);  x_t ~ p(x_t | s_t[, h_t]);  h_t = f(h_{t-1}, x_{t-1}), if there is a recurrence.

    ``s_t`` is one of ``modes`` regimes, a one-hot vector. The guide draws the regimes from their exact posterior by
    backward messages, so the ELBO is the log evidence at every draw. Within ``explicit()`` TraceEnum_ELBO sums them out
    instead: the same bound, with the exact gradient in place of an unbiased one. A KL weight leaves it as it is.

    Source: Rabiner (1989); Tran, Bisk, Vaswani, Marcu & Knight (2016), "Unsupervised Neural Hidden Markov Models",
    arXiv:1609.09007, whose recurrence over past observations feeds the transitions; here it may feed the emission too.
    We differ: any likelihood (theirs are words), and a part where they have an embedding and a character CNN.

    Arguments:
        x_dim: width of a frame.
        modes: number of regimes K, the width of ``s_t``.
        h_dim: width of ``h_t`` and of hidden layers.
        prior: p(s_t | ...), called with ``(s_{t-1}[, h_t][, c_t])``; before the first step ``s_0`` is a vector of
            zeros. Of s alone it is a linear map: the transition matrix, and the first law.
        likelihood: p(x_t | ...), called with ``(s_t[, h_t][, c_t])``.
        recurrence: causal part f over past frames, or its class (LSTM, GRU, RNN); ``None``: a plain HMM.
        reader: part through which the recurrence reads x; without one it is frozen.
        layers: hidden layers of the likelihood.
        context: what the model is given at each step (:class:`~pyro_rvae.nn.Context`): controls, labels.
        dropout: on the hidden layers of the likelihood. In training mode each evaluation has its own, so the
            posterior is then that of a slightly other model.

    Errors: ValueError where a width or ``modes`` is no integer of at least 1, and at the first batch with gaps if the
    likelihood can neither skip nor marginalise them; TypeError where ``recurrence`` is no causal part.

    >>> with rv.explicit():  # doctest: +SKIP
    ...     rv.fit(model, data, elbo=TraceEnum_ELBO(max_plate_nesting=1))
    """

    summed_out = exact_sites = ("s",)

    def __init__(self, x_dim: int, modes: int = 4, h_dim: int = 128, *, prior: Any = OneHot,
                 likelihood: Any = Bernoulli, recurrence: Any = None, reader: Any = None, layers: int = 1,
                 context: Any = None, dropout: float = 0.0) -> None:
        check_widths(self, x_dim=x_dim, modes=modes, h_dim=h_dim)
        super().__init__()
        self.x_dim, self.modes, self.h_dim = x_dim, modes, h_dim
        self.reader = reader_for(reader, likelihood, x_dim)
        self.context, beside = given_at_each_step(context)
        self.recurrence: Any = None
        if recurrence is None:  # then no network reads x
            for parameter in self.reader.parameters():
                parameter.requires_grad_(False)
        else:
            self.x0 = nn.Parameter(torch.zeros(self.reader.out_dim))
            self.recurrence = build(recurrence, self.reader.out_dim + beside, h_dim, kind=Causal, what="recurrence")
            beside += self.recurrence.out_dim
        self.s0: Tensor
        self.register_buffer("s0", torch.zeros(modes), persistent=False)
        self.prior = conditional(prior, modes + beside, modes, hidden=(h_dim,) if beside else ())
        check_regimes(self, prior, self.s0, self.s0.new_zeros(beside))
        self.likelihood = conditional(likelihood, modes + beside, x_dim, hidden=(h_dim,) * layers, dropout=dropout)
        self.posterior = RegimePosterior(modes)

    def generative(self, steps: Steps) -> None:
        for t in steps:
            beside = self.beside(t, steps)
            s = t.sample("s", self.prior, t.prev("s", self.s0), *beside)
            t.sample("x", self.likelihood, s, *beside)

    def beside(self, t: Step, steps: Steps) -> tuple[Tensor, ...]:
        """What stands beside a regime: the state of the recurrence and the context, where the model has them."""
        c = tuple(map(t.at, steps.context))
        if self.recurrence is None:
            return c
        return (t.carry("h", self.recurrence, t.prev("x", self.x0), *c), *c)

    def inference(self, steps: Steps, x: Tensor) -> None:
        if "s" in steps.summed_out:
            return
        rows = self.smoothed(steps, x)
        for t in steps:
            t.sample("s", self.posterior, t.prev("s", self.posterior.start), t.at(rows))

    @torch.no_grad()
    def smoothed(self, steps: Steps, x: Tensor) -> Tensor:
        """The posterior's table ``(B, T, K * K)``."""
        beside = steps.context
        if self.recurrence is not None:
            beside = (self.recurrence(concat([shift(x, self.x0), *beside])), *beside)
        value, present = steps.gaps(steps.path("x"))
        emitted = self.posterior.emitted(self.likelihood, value, *beside, present=present)
        return self.posterior.rows(self.prior, self.s0, emitted, *beside, mask=steps.mask)


class SwitchingLDS(SequenceVAE):
    """s_t ~ p(s_t | s_{t-1});  z_t ~ N(A_{s_t} z_{t-1} + b_{s_t}, diag Q_{s_t});  x_t ~ p(x_t | z_t);  q(z | x) p(s|z).

    ``s_t`` is one of ``modes`` regimes, a one-hot vector. The guide draws the path z, then the regimes from their exact
    posterior given it, so they cost the bound nothing. Within ``explicit()`` TraceEnum_ELBO sums them out instead (with
    a KL weight of 1: a weight within the sum is refused).

    Source: Ghahramani & Hinton (2000), "Variational learning for switching state-space models" (Neural Computation 12),
    where the regime chooses among several chains z; here it chooses the dynamics of one, as in Kim (1994). That the
    regimes are summed out given a drawn path is the idea of Dong, Seybold, Murphy & Bui (2020), "Collapsed Amortized
    Variational Inference for Switching Nonlinear Dynamical Systems", arXiv:1910.09588. We differ from the latter:
    dynamics linear in z unless another ``transition`` is given, and regimes whose prior reads neither z nor x.

    Arguments:
        x_dim: width of a frame.
        z_dim: width of ``z_t``.
        h_dim: width of the encoder and of the hidden layers.
        modes: number of regimes K, the width of ``s_t``.
        prior: p(s_t | ...), called with ``(s_{t-1}[, c_t])``; before the first step ``s_0`` is a vector of zeros.
        transition: p(z_t | ...), called with ``(s_t, z_{t-1}[, c_t])``; default
            :class:`~pyro_rvae.distributions.SwitchingNormal`. With a Family it is a network of them all.
        likelihood: p(x_t | ...), called with ``(z_t[, c_t])``.
        posterior: q(z_t | ...), called with ``(z_{t-1}, g_t)``: GaussianChain, Combiner, MeanField or a Family.
        encoder: mask-aware encoder, or its class built with ``(in_dim, h_dim)``.
        reader: part through which networks read x.
        layers: hidden layers of the likelihood; 0: a linear map.
        context: what the model is given at each step (:class:`~pyro_rvae.nn.Context`): controls, labels.
        dropout: on the hidden layers of the likelihood.

    Errors: ValueError where a width or ``modes`` is no integer of at least 1, or a part does not fit the widths.
    """

    summed_out = ("s",)

    def __init__(self, x_dim: int, z_dim: int = 16, h_dim: int = 128, *, modes: int = 4, prior: Any = OneHot,
                 transition: Any = None, likelihood: Any = Bernoulli, posterior: Any = GaussianChain,
                 encoder: Any = Backward, reader: Any = None, layers: int = 1, context: Any = None,
                 dropout: float = 0.0) -> None:
        check_widths(self, x_dim=x_dim, z_dim=z_dim, h_dim=h_dim, modes=modes)
        super().__init__()
        self.x_dim, self.z_dim, self.h_dim, self.modes = x_dim, z_dim, h_dim, modes
        self.reader = reader_for(reader, likelihood, x_dim)
        self.context, given = given_at_each_step(context)
        self.s0: Tensor
        self.register_buffer("s0", torch.zeros(modes), persistent=False)
        self.z0 = nn.Parameter(torch.zeros(z_dim))
        self.prior = conditional(prior, modes + given, modes, hidden=(h_dim,) if given else ())
        check_regimes(self, prior, self.s0, self.s0.new_zeros(given))
        transition = transition if transition is not None else partial(SwitchingNormal, modes=modes)
        behind_regime(self, "transition", without_prior_mean(self, "transition", transition))
        self.transition = conditional(transition, modes + z_dim + given, z_dim, hidden=(h_dim,))
        self.z0.requires_grad_(not isinstance(self.transition, StandardNormal))  # which reads nothing
        self.likelihood = conditional(likelihood, z_dim + given, x_dim, hidden=(h_dim,) * layers, dropout=dropout)
        self.encoder = build(encoder, self.reader.out_dim + given, h_dim, kind=Encoder, what="encoder")
        without_prior_mean(self, "posterior", posterior)
        self.posterior = conditional(posterior, z_dim + self.encoder.out_dim, z_dim, hidden=(h_dim,))
        self.q0 = nn.Parameter(torch.zeros(z_dim), requires_grad=not isinstance(self.posterior, MeanField))
        self.regimes = RegimePosterior(modes)

    def generative(self, steps: Steps) -> None:
        for t in steps:
            c = tuple(map(t.at, steps.context))
            s = t.sample("s", self.prior, t.prev("s", self.s0), *c)
            z = t.sample("z", self.transition, s, t.prev("z", self.z0), *c)
            t.sample("x", self.likelihood, z, *c)

    def inference(self, steps: Steps, x: Tensor) -> None:
        g = self.encoder(concat([x, *steps.context]), steps.mask)
        for t in steps:
            t.sample("z", self.posterior, t.prev("z", self.q0), t.at(g))
        if "s" in steps.summed_out:
            return
        rows = self.smoothed(steps, steps.path("z"))
        for t in steps:
            t.sample("s", self.regimes, t.prev("s", self.regimes.start), t.at(rows))

    @torch.no_grad()
    def smoothed(self, steps: Steps, z: Tensor) -> Tensor:
        """The table of the regimes' posterior given the path ``z (..., B, T, z_dim)``, ``(..., B, T, K * K)``."""
        emitted = self.regimes.emitted(self.transition, z, shift(z, self.z0), *steps.context)
        return self.regimes.rows(self.prior, self.s0, emitted, *steps.context, mask=steps.mask)
