"""Hierarchies of time scales: latents on slower clocks above a fast one, and a conductor above a decoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyro
import torch
from torch import Tensor, nn

from ..core import SequenceVAE, Step, Steps
from ..core.checks import check_count
from ..distributions import Bernoulli, Family, Normal, conditional
from ..nn import LSTM, Bidirectional, Causal, Encoder, build, concat
from ..priors import StandardNormal
from .parts import check_summary, check_widths, first_frame, given_at_each_step, reader_for, without_previous

__all__ = ["HRAE", "MusicVAE"]


class Level(nn.Module):
    """One level of a hierarchy: h_j = f(h_{j-1}, z_{j-1}, above_j), p(z_j | h_j) and q(z_j | h_j, g)."""

    def __init__(self, name: str, stride: int, z_dim: int, h_dim: int, *, above: int, features: int, prior: Any,
                 posterior: Any, recurrence: Any) -> None:
        super().__init__()
        self.name, self.carried, self.stride = name, f"h of {name}", stride
        self.z0 = nn.Parameter(torch.zeros(z_dim))
        self.recurrence = build(recurrence, z_dim + above, h_dim, kind=Causal, what="recurrence")
        self.prior = conditional(prior, self.recurrence.out_dim, z_dim, hidden=(h_dim,))
        self.posterior = conditional(posterior, self.recurrence.out_dim + features, z_dim, hidden=(h_dim,))

    def state(self, t: Step, above: tuple[Tensor, ...]) -> Tensor:
        """h_j, of which the level above and the context are known at every frame."""
        return t.carry(self.carried, self.recurrence, t.prev(self.name, self.z0), *map(t.at, above))

    def extra_repr(self) -> str:
        return f"{self.name}, every {self.stride}"


class HRAE(SequenceVAE):
    """h^l_j = f(h^l_{j-1}, z^l_{j-1}, [z, h]^{l+1}); z^l_j ~ p(z^l_j | h^l_j); x_t ~ p(x_t | h_t, z_t); q(z | h, g).

    Level l has a latent every k_l frames, and reads the latent and state of the level above that hold at its frame; the
    fastest, ``z``, has one a frame. q reads ``g = encoder(x)`` at frame j k_l and shares f. With ``prior=rv.Weightless,
    posterior=rv.Delta`` it is the deterministic hierarchical recurrent autoencoder.
    Source: Saxena, Ba & Hafner (2021), "Clockwork Variational Autoencoders", arXiv:2102.09532, section 3. We differ: g
    is one recurrent encoder of x (theirs embeds, for each level, the frames of its block alone); strides need not be
    powers of one number, and the last block of a sequence may be shorter than
    k_l. A batch that is shorter than k_l has one latent of that level, as a short sequence in a long batch has. With a
    Forward encoder a slow latent's law knows only the first frame of its block.

    The sites are ``z`` (every frame), ``z2`` (every ``every[0]`` frames), ``z3`` (every ``every[1]``) and so on.

    Arguments:
        x_dim: width of a frame.
        z_dim: width of every level's latents.
        h_dim: width of ``h``, of the encoder and of hidden layers.
        every: frames for which each slower level's latent holds, ascending (from the level next to the fastest to the
            slowest), an integer for one level. None need divide the next, or a sequence's length.
        prior: p(z^l_j | h^l_j), one for each level: a class built with ``(in_dim, dim)``, or a Family.
        likelihood: p(x_t | h_t, z_t): a whole conditional, a class, or a Family.
        posterior: q(z^l_j | h^l_j, g), one for each level, as ``prior``.
        recurrence: class of a causal part f (LSTM, GRU, RNN), one for each level.
        encoder: mask-aware encoder, or its class built with ``(in_dim, h_dim)``; all levels read it.
        reader: part through which networks read x.
        context: what the model is given at each step (:class:`~pyro_rvae.nn.Context`): controls, labels. A slower level
            reads that of its block's first frame.
        dropout: on the hidden layers of the likelihood.

    Raises:
        ValueError: ``every`` is not ascending integers from 2, or (``for_data``, ``fit``) exceeds the longest sequence.
    """

    def __init__(self, x_dim: int, z_dim: int = 16, h_dim: int = 128, *, every: int | Sequence[int] = (4,),
                 prior: Any = Normal, likelihood: Any = Bernoulli, posterior: Any = Normal, recurrence: Any = LSTM,
                 encoder: Any = Bidirectional, reader: Any = None, context: Any = None,
                 dropout: float = 0.0) -> None:
        check_widths(self, x_dim=x_dim, z_dim=z_dim, h_dim=h_dim)
        super().__init__()
        self.x_dim, self.z_dim, self.h_dim = x_dim, z_dim, h_dim
        self.every = _strides(self, every)
        self.reader = reader_for(reader, likelihood, x_dim)
        self.context, given = given_at_each_step(context)
        self.encoder = build(encoder, self.reader.out_dim + given, h_dim, kind=Encoder, what="encoder")
        without_previous(self, "prior", prior, "the level's state")
        without_previous(self, "posterior", posterior, "the level's state and g")
        for name, part in (("prior", prior), ("posterior", posterior), ("recurrence", recurrence)):
            _one_a_level(name, part)
        parts = {"prior": prior, "posterior": posterior, "recurrence": recurrence, "features": self.encoder.out_dim}
        self.levels: Any = nn.ModuleList()  # the slowest first, as they are drawn
        out_dim = above = 0
        for n, k in reversed([(1, 1), *enumerate(self.every, 2)]):
            level = Level(f"z{n if n > 1 else ''}", k, z_dim, h_dim, above=above + given, **parts)
            self.levels.append(level)
            out_dim = level.recurrence.out_dim
            above = z_dim + out_dim
        self.likelihood = conditional(likelihood, out_dim + z_dim, x_dim, hidden=(h_dim,), dropout=dropout)

    def check_length(self, longest: int) -> None:
        _fill_a_block(self, self.every[-1], longest)

    def generative(self, steps: Steps) -> None:
        for level, clock, above in self.ticking(steps):
            for t in clock:
                h = level.state(t, above)
                z = t.sample(level.name, level.prior, h)
                if clock is steps:
                    t.sample("x", self.likelihood, h, z)

    def ticking(self, steps: Steps) -> Iterator[tuple[Level, Steps, tuple[Tensor, ...]]]:
        """Each level, its clock, and what it knows at every frame: the level above, drawn before, and the context."""
        above: tuple[Tensor, ...] = ()
        for level in self.levels:
            clock = steps if level.stride == 1 else steps.every(min(level.stride, steps.length))
            yield level, clock, (*above, *steps.context)
            above = (clock.path(level.name), clock.path(level.carried))

    def inference(self, steps: Steps, x: Tensor) -> None:
        g = self.encoder(concat([x, *steps.context]), steps.mask)
        for level, clock, above in self.ticking(steps):
            for t in clock:
                t.sample(level.name, level.posterior, level.state(t, above), t.at(g))


class MusicVAE(SequenceVAE):
    """v ~ N(0, I); c_j = f(c_{j-1}, v); h_t = g(h_{t-1}, x_{t-1}, c_j); x_t ~ p(x_t | h_t); q(v | encoder(x)).

    With v once a sequence and c_j every k frames: block j holds the frames j k .. j k + k - 1. The conductor f spreads
    v over the blocks, so that the decoder g need not remember it for the whole sequence. With ``prior=rv.Weightless,
    posterior=rv.Delta`` it is deterministic.
    Source: Roberts, Engel, Raffel, Hawthorne & Eck (2018), "A Hierarchical Latent Vector Model for Learning Long-Term
    Structure in Music", arXiv:1803.05428, section 3.2. We differ: their decoder starts anew in each block, from a state
    that c_j gives, and ours keeps its state (so c_j reaches it as an input alone); v enters the conductor at every
    step, where theirs gives its first state; a hidden layer stands before the likelihood; the last block may be short.

    Arguments:
        x_dim: width of a frame.
        z_dim: width of v.
        h_dim: width of ``c_j``, ``h_t``, of the encoder and of hidden layers.
        every: frames in a block, k. A batch shorter than k is one block.
        prior, likelihood, posterior: a whole conditional, a class built with ``(in_dim, dim)``, or a Family.
        conductor, recurrence: causal parts f and g, or their classes (LSTM, GRU, RNN).
        encoder: mask-aware encoder, or its class built with ``(in_dim, h_dim)``; its summary is read.
        feedback: what the decoder reads of x_{t-1}, a module of that width or its class (``rv.WordDropout``); default:
            all of it.
        reader: part through which networks read x.
        context: what the model is given at each step (:class:`~pyro_rvae.nn.Context`): controls, labels.
        dropout: on the hidden layers of the likelihood.

    Raises:
        ValueError: ``every`` is not an integer from 2; ``for_data`` and ``fit``: it exceeds the longest sequence.
    """

    def __init__(self, x_dim: int, z_dim: int = 16, h_dim: int = 128, *, every: int = 16, prior: Any = StandardNormal,
                 likelihood: Any = Bernoulli, posterior: Any = Normal, conductor: Any = LSTM, recurrence: Any = LSTM,
                 encoder: Any = Bidirectional, feedback: Any = None, reader: Any = None, context: Any = None,
                 dropout: float = 0.0) -> None:
        check_widths(self, x_dim=x_dim, z_dim=z_dim, h_dim=h_dim)
        super().__init__()
        self.x_dim, self.z_dim, self.h_dim = x_dim, z_dim, h_dim
        self.every = _stride(self, every)
        self.reader = reader_for(reader, likelihood, x_dim)
        self.context, given = given_at_each_step(context)
        seen = self.reader.out_dim
        self.feedback = build(feedback or nn.Identity, seen)
        self.x0 = first_frame(self.feedback, seen)
        self.prior = conditional(without_previous(self, "prior", prior, "nothing", once=True), 0, z_dim)
        self.conductor = build(conductor, z_dim, h_dim, kind=Causal, what="conductor")
        self.recurrence = build(recurrence, seen + self.conductor.out_dim + given, h_dim, kind=Causal,
                                what="recurrence")
        self.likelihood = conditional(likelihood, self.recurrence.out_dim, x_dim, hidden=(h_dim,), dropout=dropout)
        self.encoder = build(encoder, seen + given, h_dim, kind=Encoder, what="encoder")
        check_summary(self, self.encoder)
        posterior = without_previous(self, "posterior", posterior, "the encoder's summary", once=True)
        self.posterior = conditional(posterior, self.encoder.out_dim, z_dim, hidden=(h_dim,))

    def check_length(self, longest: int) -> None:
        _fill_a_block(self, self.every, longest)

    def generative(self, steps: Steps) -> None:
        v = pyro.sample("v", self.prior())
        blocks = steps.every(min(self.every, steps.length))
        c = blocks.spread(self.conductor(v.unsqueeze(-2).expand(*v.shape[:-1], blocks.length, v.shape[-1])))
        for t in steps:
            before = t.prev("x", self.x0, self.feedback)
            h = t.carry("h", self.recurrence, before, t.at(c), *map(t.at, steps.context))
            t.sample("x", self.likelihood, h)

    def inference(self, steps: Steps, x: Tensor) -> None:
        pyro.sample("v", self.posterior(self.encoder.summary(concat([x, *steps.context]), steps.mask)))


def _strides(model: Any, every: Any) -> tuple[int, ...]:
    """The slower levels' strides, checked."""
    strides = tuple(_stride(model, k) for k in (every if isinstance(every, list | tuple) else (every,)))
    if not strides or list(strides) != sorted(set(strides)):
        raise ValueError(f"{type(model).__name__}: every must name the slower levels' strides in ascending order, each "
                         f"once, such as (4, 16); got {every!r}.")
    return strides


def _stride(model: Any, k: Any) -> int:
    """One stride, checked."""
    check_count(f"{type(model).__name__}: every", k, 2,
                hint=" (frames from one step of the slower clock to the next)")
    return int(k)


def _fill_a_block(model: Any, slowest: int, longest: int) -> None:
    """Refuse a stride that the longest sequence of a data set does not fill."""
    if slowest > longest:
        raise ValueError(f"{type(model).__name__}: every is {slowest}, and the longest sequence has {longest} frames: "
                         f"that clock would tick once a sequence. Choose every <= {longest}; for one latent a sequence "
                         "take a VRAE.")


def _one_a_level(name: str, part: Any) -> None:
    """Refuse a module already built: the levels are of different widths, and each has weights of its own."""
    if isinstance(part, nn.Module) and not isinstance(part, Family):
        raise TypeError(f"{name}: HRAE builds one for each level; pass the class (or functools.partial of it), not the "
                        f"instance {type(part).__name__}.")
