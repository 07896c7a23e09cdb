"""Posterior means and draws of latents, sequence by sequence."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyro
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.checks import check_count
from ..core.contexts import evaluating, forked, seed_generators
from ..core.handlers import vectorised
from ..core.traces import guide_trace, in_batch, sites
from .by_dimension import has_steps
from .chunks import Chunk, check_data, chunks, groups, lengths_of, like_of
from .noise import ParticleNoise
from .particles import repeatable

__all__ = ["Latent", "posterior_latents", "posterior_means"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Latent:
    """What a guide says of one latent.

    Attributes:
        name: of its site.
        values: for each sequence its mean ``(S_n, d)``, or its draws ``(R, S_n, d)``; S_n is 1 where it is drawn once.
        every: frames that a step of its clock holds for; ``None``: it is drawn once a sequence.
    """

    name: str
    values: list[Array]
    every: int | None


def posterior_means(
    model: Any,
    data: Any,
    site: str | None = None,
    *,
    num_particles: int = 10,
    batch_size: int = 20,
    seed: int = 0,
    max_bytes: int = 2**28,
) -> tuple[str, list[Array]]:
    r""":math:`E_{q(z \mid x_n)}[z]` of one latent: :func:`posterior_latents` of the site, or of the guide's first one.

    Returns the site's name, and ``(steps, d)`` for each sequence: its frames, fewer on a slower clock, 1 where the
    latent is drawn once.
    """
    check_data(model, data, "posterior_means")
    found = posterior_latents(model, data, site, num_particles=num_particles, batch_size=batch_size, seed=seed,
                              max_bytes=max_bytes)
    first = next(iter(found.values()))
    return first.name, first.values


def posterior_latents(
    model: Any,
    data: Any,
    site: str | None = None,
    *,
    num_particles: int = 10,
    draws: bool = False,
    batch_size: int = 20,
    seed: int = 0,
    max_bytes: int = 2**28,
) -> dict[str, Latent]:
    r"""Means or draws of the latents of each sequence, by the guide alone (the model is not run).

    The mean is taken of the law that the guide draws from, given what it has drawn before,

    .. math::
        E_q[z_t] \approx \frac1K \sum_{k \le K} E_q[z_t \mid z_{<t}^{(k)}, x],

    (Rao-Blackwell), so that it is exact, and the same for any K, where the law of a latent depends on no other draw.
    Where a law knows no mean (a flow) the draw itself stands for it.

    Arguments:
        model: a :class:`~pyro_rvae.SequenceVAE`.
        data: a data set, as :func:`~pyro_rvae.evaluate` takes it.
        site: a latent of the guide. Default: all of them. Of a regime (a one-hot vector) the mean is its probabilities.
        num_particles: K; or how many draws are wanted.
        draws: whether to return the draws themselves.
        batch_size, seed, max_bytes: as for :func:`~pyro_rvae.evaluate`.

    Raises:
        ValueError: no such latent, no ``site`` of that name, or one whose steps can't be told.
    """
    check_count("num_particles", num_particles)
    gathered: dict[str, list[Array]] = {}
    clocks: dict[str, int | None] = {}
    lengths = lengths_of(data)
    with evaluating(model), forked(like_of(model).device), vectorised():
        repeat = repeatable(model, data)
        for chunk in chunks(model, data, num_particles, groups(data, batch_size), max_bytes):
            for name, drawn in _chosen(model, _drawn(model, chunk, seed, repeat), site).items():
                every = _clock(model, name, drawn, chunk)
                own = gathered.setdefault(name, [np.zeros(0)] * len(data))
                _add(own, _flat(drawn["value"] if draws else _mean(drawn), drawn, every), every, chunk, lengths,
                     num_particles, draws)
                # a clock may be no slower than the batch is long: the longest batch shows it
                clocks[name] = every if every is None else max(every, clocks.get(name) or 1)
    return {name: Latent(name, values, clocks[name]) for name, values in gathered.items()}


def _drawn(model: Any, chunk: Chunk, seed: int, repeat: bool) -> dict[str, Any]:
    like = like_of(model)
    seed_generators(like.device, hash((seed, chunk.numbers[0], chunk.particles.start)))
    noise = ParticleNoise(seed, chunk, like) if repeat else nullcontext()
    with noise, pyro.plate("particles", len(chunk.particles), dim=-2):
        return sites(guide_trace(model, chunk.batch), observed=False)


def _chosen(model: Any, drawn: dict[str, Any], site: str | None) -> dict[str, Any]:
    known = {
        name: found
        for name, found in drawn.items()
        if in_batch(found) and found["value"].is_floating_point() and not found["infer"].get("is_auxiliary")
    }
    if not known:
        raise ValueError(f"{type(model).__name__} draws no continuous latent for each sequence: there is nothing to "
                         "map or embed. A model that has one is rv.VRAE, or without a density rv.RAE.")
    if site is None:
        return known
    if site not in known:
        raise ValueError(f"site must be a continuous latent of the guide ({', '.join(known)}), got {site!r}.")
    return {site: known[site]}


def _clock(model: Any, name: str, site: Any, chunk: Chunk) -> int | None:
    """Frames that a step of a site holds for; None for what is drawn once."""
    if has_steps(site):
        return int(site["infer"]["every"])
    if site["fn"].event_dim < 2:
        return None
    mask = chunk.batch.mask
    if mask is not None and site["value"].shape[-2] == mask.shape[1] and site["fn"].event_dim == 2:
        return 1  # a path that a program of the user's own draws in one piece, (T, d)
    raise ValueError(f"site {name!r} of {type(model).__name__} has events of shape {tuple(site['fn'].event_shape)}, "
                     "which are neither a vector nor (T, d): in which step its numbers stand can't be told. Write it "
                     "as t.sample within `for t in steps`, or as a vector if it is drawn once a sequence.")


def _mean(site: Any) -> Tensor:
    """The mean of a site's law ``(k, B, *event)``; a draw stands for what has none."""
    value: Tensor = site["value"]
    try:
        mean = site["fn"].mean.expand(value.shape)
    except NotImplementedError:
        return value
    return torch.where(mean.isfinite(), mean, value)


def _flat(values: Tensor, site: Any, every: int | None) -> Array:
    """``(k, B, S, d)``, in double precision."""
    start = values.shape[: values.dim() - site["fn"].event_dim]
    steps = 1 if every is None else values.shape[len(start)]
    flat: Array = values.reshape(*start, steps, -1).double().cpu().numpy()
    return flat


def _add(gathered: list[Array], values: Array, every: int | None, chunk: Chunk, lengths: NDArray[np.int64],
         total: int, draws: bool) -> None:
    """Put a chunk's draws into the arrays of their sequences, without the padding; or add them to the means."""
    for j, n in enumerate(chunk.numbers):
        steps = 1 if every is None else -(-int(lengths[n]) // every)
        own = values[:, j, :steps]
        if not gathered[n].size:
            gathered[n] = np.zeros((total, *own.shape[1:]) if draws else own.shape[1:])
        if draws:
            gathered[n][chunk.particles.start : chunk.particles.stop] = own
        else:
            gathered[n] += own.sum(0) / total
