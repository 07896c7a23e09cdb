"""Missing elements, drawn given all that was observed."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pyro
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core import SequenceVAE
from ..core.checks import check_count, check_seed
from ..core.contexts import evaluating, forked, seed_generators
from ..core.handlers import vectorised
from ..core.traces import guide_trace, sites
from ..criticism.chunks import Chunk, chunks, groups, lengths_of, like_of
from ..criticism.noise import ParticleNoise
from ..criticism.particles import Draws, repeatable, score
from ..criticism.replicates import site_of_x
from ..criticism.tables import count
from ..data import Batch
from ..data.transforms import raw_units
from ..distributions import complete
from .imputation import Imputation
from .inputs import as_data, in_double

__all__ = ["impute"]

SWEEPS = 30  # of a model that has never read a gap; 10 leave a bias that 2000 draws show
_SPREAD = 0x9E3779B97F4A7C15  # seeds of sweeps that follow each other land far apart


def impute(model: Any, data: Any, num: int = 100, *, num_particles: int = 1, sweeps: int | None = None,
           labels: Any = None, controls: Any = None, seed: int = 0, batch_size: int = 20,
           max_bytes: int = 2**28) -> Imputation:
    r"""Draws of the missing elements of each sequence, given all of its observed ones:

    .. math:: z \sim q(z \mid x_{obs}), \qquad x_{mis} \sim p(x_{mis} \mid x_{obs}, z)

    Elements that are independent given z are drawn one by one; of a Gaussian frame with a full covariance the missing
    elements given the present ones of that frame. Networks read gaps as they did in training: filled, with a flag
    beside them. A frame may be missing wholly, and so may a sequence. Where nothing is missing a draw is the data.

    ``num_particles`` K > 1 replaces q by what sampling-importance-resampling makes of it: each draw of z is one of K
    of the guide, chosen with probability proportional to :math:`p(x_{obs}, z) / q(z \mid x_{obs})`. As K grows its law
    goes to the posterior :math:`p(z \mid x_{obs})`; with a few it is already nearer than q. The draws stay
    independent of each other. It costs K runs of guide and model a draw, and gives little where the weights of a long
    sequence rest on one particle.

    A model that was trained on data without gaps (``model.data_card``; without one: a reader without flags) has never
    read one. It reads gaps as 0 for a first draw, then ``sweeps`` times its own last draw in their place:
    :math:`z \sim q(z \mid x_{obs}, x_{mis})`, then :math:`x_{mis} \sim p(x_{mis} \mid x_{obs}, z)` anew, for each draw
    a chain of its own. Where the guide is the posterior this is a Gibbs sampler; else it is as good as the guide, and
    num_particles makes it better. A model that feeds x back fills a gap of L frames in L sweeps. It is better to train
    with gaps: ``rv.data.hold_out(data.train, 0.2)[0]`` makes some.

    A model whose guide leaves latents of missing frames alone may have a method ``draw_gaps(drawn, batch, noise)``
    that draws them from their law given the others; a :class:`~pyro_rvae.KVAE` does, by backward sampling. Such a
    model skips missing frames in its sweeps too, since it needs none for them.

    Source: Rezende, Mohamed & Wierstra (2014), arXiv:1401.4082, appendix F (the chain); Mattei & Frellsen (2018),
    arXiv:1802.04826 and (2019) arXiv:1812.02633 (training on gaps, importance weights). We differ from the latter,
    who choose all draws among the same particles; here each has its own K.

    Arguments:
        model: a trained :class:`~pyro_rvae.SequenceVAE`.
        data: a data set, in the model's units or raw, or raw numbers (see :mod:`~pyro_rvae.tasks`): missing elements
            are NaN (-1 in codes).
        num, num_particles: draws; K above.
        sweeps: ``None``: 0, or 30 for a model that was trained without gaps. Each costs as much as the first draw. (10
            left a linear-Gaussian model a bias of a twentieth of a standard deviation, 30 none that 2000 draws show.)
        labels, controls: that go with raw numbers.
        seed: the draws are a function of it, and torch's own random state is left alone. Where latents are Gaussian,
            and elements Normal, Bernoulli or Categorical, they don't depend on batch_size or max_bytes.
        batch_size, max_bytes: most sequences at once; memory that the activations of a chunk should take, roughly.

    Returns an :class:`~pyro_rvae.tasks.Imputation`, in raw units.

    Raises:
        TypeError: no model, no data, a seed that is none.
        ValueError: counts that are not positive (sweeps: 0 or more); K > 1 where the guide is a point; a likelihood
            that knows no missing elements; an AutoGuide; other features than the model was trained on.

    >>> filled = impute(model, data.test, seed=0)  # doctest: +SKIP
    >>> low, high = filled.interval(0.8)  # doctest: +SKIP
    """
    data, seed = as_data(model, data, "impute", labels=labels, controls=controls), check_seed("impute", seed)
    sweeps = _checked(model, num, num_particles, sweeps, batch_size, max_bytes)
    rows, features = _missing(data)
    data = in_double(data)
    draws = np.empty((num, len(rows)), dtype=raw_units(data, data.values[:1]).numpy().dtype)
    device = like_of(model).device
    with evaluating(model), forked(device), vectorised():
        repeat = len(rows) > 0 and repeatable(model, _labelled(model, data))
        for chunk in _chunks(model, data, num, num_particles, batch_size, max_bytes, rows):
            x = _filled(model, chunk, num_particles, sweeps, seed, repeat)
            _write(draws, raw_units(data, x.cpu()), chunk, data, rows, features)
    _check_numbers(draws)
    return Imputation.of(data, draws, rows, features, f"{type(model).__name__}{_how(num_particles, sweeps)}")


# ------------------------------------------------------------------------------------------------ arguments
def _checked(model: Any, num: int, num_particles: int, sweeps: int | None, batch_size: int, max_bytes: int) -> int:
    if not isinstance(model, SequenceVAE):
        raise TypeError(f"impute needs a SequenceVAE, whose law of each element it knows; got {type(model).__name__}. "
                        "Of another pair draw x with criticism.reconstructed.")
    for name, value in {"num": num, "num_particles": num_particles, "batch_size": batch_size,
                        "max_bytes": max_bytes}.items():
        check_count(f"impute: {name}", value)
    if sweeps is None:
        return SWEEPS if _never_read_gaps(model) else 0
    check_count("impute: sweeps", sweeps, 0)
    return int(sweeps)


def _never_read_gaps(model: Any) -> bool:
    """Whether the model was trained on data without gaps, as far as it is known."""
    card = model.data_card if model.data_card is not None else getattr(getattr(model, "base", None), "data_card", None)
    return not (getattr(model.reader, "missing", False) if card is None else card.missing)


def _how(num_particles: int, sweeps: int) -> str:
    return f", each of {count(num_particles)}" * bool(num_particles > 1) + f", {count(sweeps, 'sweep')}" * (sweeps > 0)


def _missing(data: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Frames and features of the missing elements, in the order of both."""
    frames, features = (~_present(data.values.flatten(1))).numpy().nonzero()
    return frames, features


def _check_numbers(draws: NDArray[Any]) -> None:
    if np.isnan(draws).any():
        raise ValueError("impute: the draws have NaN: look for NaN in the model's parameters.")


def _labelled(model: Any, data: Any) -> Any:
    """The data set for the model's own calls: a head whose labels are not there is given unknown ones."""
    if data.labels is None and hasattr(model, "unknown"):
        data = data.subset(slice(None))
        data.labels = model.unknown(len(data)).cpu()
    return data


def _chunks(model: Any, data: Any, num: int, num_particles: int, batch_size: int, max_bytes: int,
            rows: NDArray[np.int64]) -> Any:
    """Sequences with gaps, and their draws; a draw's particles stay together."""
    if not len(rows):
        return
    ends = np.cumsum(lengths_of(data))
    some = set(np.unique(np.searchsorted(ends, rows, side="right")).tolist())
    together = [kept for group in groups(data, batch_size) if (kept := [n for n in group if n in some])]
    yield from chunks(model, _labelled(model, data), num, together, max(1, max_bytes // num_particles))


def _write(draws: NDArray[Any], x: Tensor, chunk: Chunk, data: Any, rows: NDArray[Any], features: NDArray[Any]) -> None:
    """Drawn frames ``(k, B, T, d)`` into the draws of the missing elements, sequence by sequence."""
    lengths = lengths_of(data)
    starts = np.cumsum(lengths) - lengths
    made = x.reshape(len(chunk.particles), len(chunk.numbers), -1, data.x_dim).numpy()
    which = slice(chunk.particles.start, chunk.particles.stop)
    for j, n in enumerate(chunk.numbers):
        a, b = np.searchsorted(rows, [starts[n], starts[n] + lengths[n]])
        draws[which, a:b] = made[:, j, rows[a:b] - starts[n], features[a:b]]


# ------------------------------------------------------------------------------------------------ drawing
def _filled(model: Any, chunk: Chunk, num_particles: int, sweeps: int, seed: int, repeat: bool) -> Tensor:
    """x of a chunk with its gaps drawn: ``(k, B, [T,] d)`` for its k draws."""
    present = _present(chunk.batch.x)
    x = _draw(model, chunk, num_particles, seed, repeat, present)
    unread = torch.zeros_like(present)
    if _hook(model) is not None:  # it needs no sweep for a frame that is missing as a whole
        unread = ~present.any(-1, keepdim=True)
    absent = torch.full_like(x, torch.nan if x.is_floating_point() else -1)
    # Each draw of each sequence is a chain of its own. What is drawn once a data set is drawn for all chains that run
    # together, so then those of one draw do.
    shared = bool(model._shared_sites())
    together = [slice(r, r + 1) for r in chunk.particles] if shared else [slice(None)]
    for sweep in range(sweeps):
        read = torch.where(unread, absent, x)
        for rows in together:
            at = slice(rows.start - chunk.particles.start, rows.stop - chunk.particles.start) if shared else rows
            chains = _chains(chunk, read[at], range(rows.start, rows.stop) if shared else None)
            known = present.expand_as(read[at]).flatten(0, 1)
            made = _draw(model, chains, num_particles, seed + _SPREAD * (sweep + 1), repeat, known)
            x[at] = made.reshape(read[at].shape)
    return x


def _chains(chunk: Chunk, x: Tensor, draws: range | None) -> Chunk:
    """Draws ``x (k, B, [T,] d)`` as k B sequences of which one draw is wanted, that of number ``draws``."""
    batch, k = chunk.batch, len(x)
    known = (None if part is None else part.repeat(k, *(1,) * (part.dim() - 1))
             for part in (batch.mask, batch.controls, batch.labels))
    numbers = [n * 2**20 + r for r in (draws or chunk.particles) for n in chunk.numbers]
    return Chunk(Batch(x.flatten(0, 1), *known), numbers, draws or range(1))


def _draw(model: Any, chunk: Chunk, num_particles: int, seed: int, repeat: bool, present: Tensor) -> Tensor:
    """``x (k, B, [T,] d)``: of each draw the gaps under one of its particles."""
    like, x = like_of(model), chunk.batch.x
    seed_generators(like.device, hash((seed, 3, chunk.numbers[0], chunk.particles.start)))
    first, last = chunk.particles.start * num_particles, chunk.particles.stop * num_particles
    all_of_them = replace(chunk, particles=range(first, last))
    with ParticleNoise(seed, all_of_them, like) if repeat else nullcontext(), \
            pyro.plate("particles", last - first, dim=-2):
        guide = guide_trace(model, chunk.batch)
    _draw_gaps(model, chunk.batch, guide, ParticleNoise(seed, all_of_them, like))
    draws = score(model, all_of_them, guide)
    own = ParticleNoise(seed, chunk, like)
    noise = own.stream("x where missing", tuple(x.shape[1:])).repeat_interleave(num_particles, 0)
    made = complete(site_of_x(draws.model)["fn"], x, present, noise)
    return made if num_particles == 1 else _chosen(made, draws, num_particles, own)


def _hook(model: Any) -> Any:
    """The method of a model, or of the one inside it, that draws what its guide leaves alone."""
    return getattr(model, "draw_gaps", None) or getattr(getattr(model, "base", None), "draw_gaps", None)


def _draw_gaps(model: Any, batch: Batch, guide: Any, noise: ParticleNoise) -> None:
    """In a guide's trace, latents of missing frames from their law given the others, if the model says how."""
    hook, steps = _hook(model), tuple(batch.x.shape[1:2])
    if hook is None:
        return
    drawn = {name: site["value"] for name, site in sites(guide, observed=False).items()}
    for name, value in hook(drawn, batch, lambda name, width: noise.stream(name, (*steps, width))).items():
        guide.nodes[name]["value"] = value


def _chosen(x: Tensor, draws: Draws, num_particles: int, noise: ParticleNoise) -> Tensor:
    """Of each draw's particles one, in proportion to their weights: ``(k K, B, ...)`` to ``(k, B, ...)``."""
    if draws.point:
        raise ValueError("impute: the guide is a point (a deterministic autoencoder), so its draws have no importance "
                         "weights: leave num_particles at 1.")
    size = x.shape[1]
    weights = draws.log_weights.reshape(-1, num_particles, size).double().softmax(1).cumsum(1)
    u = torch.special.ndtr(noise.stream("particle", (1,)).double()).squeeze(-1)
    which = (weights[:, :-1] < u.unsqueeze(1)).sum(1)  # (k, B)
    each = x.unflatten(0, (-1, num_particles))
    rows, columns = (torch.arange(n, device=x.device) for n in which.shape)
    return each[rows.unsqueeze(1), which, columns]


def _present(x: Tensor) -> Tensor:
    return ~x.isnan() if x.is_floating_point() else x >= 0
