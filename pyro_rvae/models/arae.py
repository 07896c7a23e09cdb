"""Attentional autoencoders: a decoder that looks at the whole latent path, or whose attention is the latent."""

from __future__ import annotations

from typing import Any

import pyro
import torch
from torch import Tensor, nn

from ..core import SequenceVAE, Step, Steps
from ..distributions import Bernoulli, Normal, conditional
from ..nn import LSTM, Attention, Causal, Encoder, SelfAttention, build, concat
from ..priors import StandardNormal
from .parts import check_summary, check_widths, first_frame, given_at_each_step, reader_for, without_previous

__all__ = ["ARAE", "VariationalAttention"]


class ARAE(SequenceVAE):
    """z_t ~ N(0, I); h_t = f(h_{t-1}, x_{t-1}), c_t = attention(h_t; z_1..z_T); x_t ~ p(x_t | h_t, c_t); q(z_t | g_t).

    With g = encoder(x). The path is drawn first and read by a second loop, whose every step looks at all of it. With
    ``prior=rv.Weightless, posterior=rv.Delta`` it is the deterministic attentional recurrent autoencoder, the sequence
    to sequence network that reproduces its input.
    Source: Bahdanau, Cho & Bengio (2015), arXiv:1409.0473, for attention to the annotations of an encoder (their
    score: ``attention=rv.AdditiveAttention``); Luong, Pham & Manning (2015), arXiv:1508.04025, section 3, for the order
    taken here: first the state h_t, then attention with it as the query, then the output (Bahdanau et al. ask with
    h_{t-1}, before the state). We differ: annotations are latents; h_1 starts at zero, not at the encoder's last state,
    so that all of x passes through z; the likelihood has a hidden layer in place of Luong's tanh of [h_t, c_t].

    Arguments:
        x_dim: width of a frame.
        z_dim: width of a latent.
        h_dim: width of ``h_t``, ``c_t``, of the encoder and of hidden layers.
        prior, likelihood, posterior: a whole conditional, a class built with ``(in_dim, dim)``, or a Family.
        recurrence: causal part f, or its class (LSTM, GRU, RNN).
        encoder: mask-aware encoder, or its class built with ``(in_dim, h_dim)``.
        attention: attention part, or its class built with ``(query width, memory width, h_dim)``.
        memory: encoder of the latent path (or class) to whose features the decoder attends, which then know where in
            the path they stand; ``None``: it attends to the latents themselves, whose order p(x | z) does not see.
        feedback: what the decoder reads of x_{t-1}, a module of that width or its class (``rv.WordDropout``); default:
            all of it.
        reader: part through which networks read x.
        context: what the model is given at each step (:class:`~pyro_rvae.nn.Context`): controls, labels.
        dropout: on the hidden layers of the likelihood.
    """

    def __init__(self, x_dim: int, z_dim: int = 16, h_dim: int = 128, *, prior: Any = StandardNormal,
                 likelihood: Any = Bernoulli, posterior: Any = Normal, recurrence: Any = LSTM,
                 encoder: Any = SelfAttention, attention: Any = Attention, memory: Any = None, feedback: Any = None,
                 reader: Any = None, context: Any = None, dropout: float = 0.0) -> None:
        check_widths(self, x_dim=x_dim, z_dim=z_dim, h_dim=h_dim)
        super().__init__()
        self.x_dim, self.z_dim, self.h_dim = x_dim, z_dim, h_dim
        self.reader = reader_for(reader, likelihood, x_dim)
        self.context, given = given_at_each_step(context)
        self.feedback = build(feedback or nn.Identity, self.reader.out_dim)
        self.x0 = first_frame(self.feedback, self.reader.out_dim)
        self.prior = conditional(without_previous(self, "prior", prior, "nothing"), given, z_dim)
        self.recurrence = build(recurrence, self.reader.out_dim + given, h_dim, kind=Causal, what="recurrence")
        self.memory: Any = None
        if memory is not None:
            self.memory = build(memory, z_dim + given, h_dim, kind=Encoder, what="memory")
        looked_at, out_dim = z_dim if memory is None else self.memory.out_dim, self.recurrence.out_dim
        self.attention = build(attention, out_dim, looked_at, h_dim, kind=Attention, what="attention")
        self.likelihood = conditional(likelihood, out_dim + self.attention.out_dim, x_dim, hidden=(h_dim,),
                                      dropout=dropout)
        self.encoder = build(encoder, self.reader.out_dim + given, h_dim, kind=Encoder, what="encoder")
        posterior = without_previous(self, "posterior", posterior, "g_t")
        self.posterior = conditional(posterior, self.encoder.out_dim, z_dim, hidden=(h_dim,))

    def generative(self, steps: Steps) -> None:
        for t in steps:
            t.sample("z", self.prior, *map(t.at, steps.context))
        path = steps.path("z")
        if self.memory is not None:
            path = self.memory(concat([path, *steps.context]), steps.mask)
        attention = self.attention.over(path, steps.mask)
        for t in steps:
            h = t.carry("h", self.recurrence, t.prev("x", self.x0, self.feedback), *map(t.at, steps.context))
            t.sample("x", self.likelihood, h, t.carry("c", attention, h))

    def inference(self, steps: Steps, x: Tensor) -> None:
        g = self.encoder(concat([x, *steps.context]), steps.mask)
        for t in steps:
            t.sample("z", self.posterior, t.at(g))


class VariationalAttention(SequenceVAE):
    """v ~ N(0, I); h_t = f(h_{t-1}, x_{t-1}, v); a_t ~ N(0, I); x_t ~ p(x_t | h_t, a_t); q(v | g), q(a_t | c_t).

    With v once a sequence, g = encoder(x) and ``c_t = attention(h_t; g_1..g_T)``: the attention vector of each step is
    itself a latent, so that x cannot slip past v through it. With ``input_feeding``: ``h_t = f(h_{t-1}, x_{t-1},
    a_{t-1}, v)``.
    With ``prior=rv.Weightless, posterior=rv.Delta``, for v too, it is the deterministic network.
    Source: Bahuleyan, Mou, Vechtomova & Poupart (2018), "Variational Attention for Sequence-to-Sequence Models",
    arXiv:1712.08207, with the sequence itself as the target. We differ: both parameters of q(a_t | c_t) come from a
    network, where their mean is c_t itself; their second prior, centred on the mean of the source's states, would give
    away x and is left out (``prior=rv.Normal`` is one given h_t instead); v is read at every step; and weights on the
    two KL terms are no part of the model (handlers and ``rv.fit`` weigh them).

    Arguments:
        x_dim: width of a frame.
        z_dim: width of v, and of a_t.
        h_dim: width of ``h_t``, ``c_t``, of the encoder and of hidden layers.
        prior: p(a_t | ...), called with ``h_t``: a whole conditional, a class built with ``(in_dim, dim)``, or a
            Family.
        likelihood, posterior: p(x_t | h_t, a_t) and q(a_t | c_t), likewise.
        prior_v, posterior_v: p(v) and q(v | the encoder's summary), likewise.
        recurrence: causal part f, or its class (LSTM, GRU, RNN).
        encoder: mask-aware encoder with a summary, or its class built with ``(in_dim, h_dim)``.
        attention: attention part, or its class built with ``(query width, memory width, h_dim)``.
        input_feeding: whether h_t sees a_{t-1} (Luong et al. 2015, arXiv:1508.04025, section 3.3); then the guide
            draws a_t one step at a time.
        feedback: what the decoder reads of x_{t-1}, a module of that width or its class (``rv.WordDropout``); default:
            all of it.
        reader: part through which networks read x.
        context: what the model is given at each step (:class:`~pyro_rvae.nn.Context`): controls, labels.
        dropout: on the hidden layers of the likelihood.
    """

    def __init__(self, x_dim: int, z_dim: int = 16, h_dim: int = 128, *, prior: Any = StandardNormal,
                 likelihood: Any = Bernoulli, posterior: Any = Normal, prior_v: Any = StandardNormal,
                 posterior_v: Any = Normal, recurrence: Any = LSTM, encoder: Any = SelfAttention,
                 attention: Any = Attention, input_feeding: bool = False, feedback: Any = None, reader: Any = None,
                 context: Any = None, dropout: float = 0.0) -> None:
        check_widths(self, x_dim=x_dim, z_dim=z_dim, h_dim=h_dim)
        super().__init__()
        self.x_dim, self.z_dim, self.h_dim = x_dim, z_dim, h_dim
        self.reader = reader_for(reader, likelihood, x_dim)
        self.context, given = given_at_each_step(context)
        seen = self.reader.out_dim
        self.feedback = build(feedback or nn.Identity, seen)
        self.x0 = first_frame(self.feedback, seen)
        self.a0 = nn.Parameter(torch.zeros(z_dim)) if input_feeding else None
        fed = z_dim if input_feeding else 0
        self.recurrence = build(recurrence, seen + z_dim + fed + given, h_dim, kind=Causal, what="recurrence")
        self.encoder = build(encoder, seen + given, h_dim, kind=Encoder, what="encoder")
        check_summary(self, self.encoder)
        out_dim = self.recurrence.out_dim
        self.attention = build(attention, out_dim, self.encoder.out_dim, h_dim, kind=Attention, what="attention")
        self.prior_v = conditional(without_previous(self, "prior_v", prior_v, "nothing", once=True), 0, z_dim)
        posterior_v = without_previous(self, "posterior_v", posterior_v, "the encoder's summary", once=True)
        self.posterior_v = conditional(posterior_v, self.encoder.out_dim, z_dim, hidden=(h_dim,))
        self.prior = conditional(without_previous(self, "prior", prior, "h_t"), out_dim, z_dim, hidden=(h_dim,))
        posterior = without_previous(self, "posterior", posterior, "c_t")
        self.posterior = conditional(posterior, self.attention.out_dim, z_dim, hidden=(h_dim,))
        self.likelihood = conditional(likelihood, out_dim + z_dim, x_dim, hidden=(h_dim,), dropout=dropout)

    def generative(self, steps: Steps) -> None:
        v = pyro.sample("v", self.prior_v())
        for t in steps:
            h = self.state(t, v, steps.context)
            a = t.sample("a", self.prior, h)
            t.sample("x", self.likelihood, h, a)

    def state(self, t: Step, v: Tensor, context: tuple[Tensor, ...]) -> Tensor:
        """h_t = f(h_{t-1}, x_{t-1}, [a_{t-1},] v), which model and guide share."""
        fed = () if self.a0 is None else (t.prev("a", self.a0),)
        return t.carry("h", self.recurrence, t.prev("x", self.x0, self.feedback), *fed, t.hold(v),
                       *map(t.at, context))

    def inference(self, steps: Steps, x: Tensor) -> None:
        seen = concat([x, *steps.context])
        v = pyro.sample("v", self.posterior_v(self.encoder.summary(seen, steps.mask)))
        attention = self.attention.over(self.encoder(seen, steps.mask), steps.mask)
        for t in steps:
            t.sample("a", self.posterior, t.carry("c", attention, self.state(t, v, steps.context)))
