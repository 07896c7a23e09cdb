"""Every draw of every sequence's posterior, scored under the posteriors of all."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pyro
import pyro.poutine as poutine
import torch
from numpy.typing import NDArray
from pyro.poutine import Trace
from torch import Tensor

from ..core.traces import guide_trace, in_batch, replayed, sites
from .by_dimension import has_steps
from .by_step import log_prob
from .chunks import Chunk, like_of
from .particles import draw, paths, repeatable

__all__ = ["cross_terms", "grow_with_time", "latents_of"]

Array = NDArray[np.float64]


def latents_of(model: Any, data: Any, number: int) -> dict[str, Any]:
    """What the guide draws for one sequence."""
    with pyro.plate("particles", 1, dim=-2):
        trace = guide_trace(model, data.padded([number]).to(like_of(model).device))
    return {name: site for name, site in sites(trace, observed=False).items() if in_batch(site)}


def grow_with_time(model: Any, data: Any, latents: dict[str, Any]) -> bool:
    """Whether a longer sequence has more of these latents, so that it has no density at a shorter one's draw."""
    if any(has_steps(node) for node in latents.values()) or any(len(names) > 1 for names in paths(latents).values()):
        return True
    if model.static:
        return False
    ends = [latents_of(model, data, int(end)) for end in (data.lengths.argmin(), data.lengths.argmax())]
    shapes = [{name: node["fn"].event_shape for name, node in found.items()} for found in ends]
    return shapes[0] != shapes[1]  # a path that the body draws as one value of its own


def cross_terms(model: Any, data: Any, numbers: list[int], frames: int | None, num_particles: int, batch_size: int,
                seed: int, max_bytes: int) -> tuple[Array, Array | None]:
    """``log q(z | x_n) - log mean_m q(z | x_m)`` and ``log mean_m q(z | x_m) - log p(z)``, ``(k, B)`` each.

    The second is None where the prior reads the data. ``frames``: how many first frames are read; None: all.
    """
    size, repeat, reads_data = len(numbers), repeatable(model, data), False
    rows, columns, at_once = _block_sizes(model, data, numbers, frames, batch_size, max_bytes)
    own, mixed, prior = (np.empty((num_particles, size)) for _ in range(3))

    def batch(places: range) -> Any:
        return _cut(data.padded([numbers[i] for i in places]).to(like_of(model).device), frames)

    for these in _blocks(size, rows):
        for particles in _blocks(num_particles, at_once):
            draws = draw(model, Chunk(batch(these), [numbers[i] for i in these], particles), seed, repeat=repeat)
            densities = torch.cat([_densities(model.guide, draws.guide, batch(those))
                                   for those in _blocks(size, columns)], -1).double()  # (k', rows, B)
            place = np.ix_(np.array(particles), np.array(these))
            own[place] = densities[..., these.start : these.stop].diagonal(dim1=-2, dim2=-1).cpu().numpy()
            mixed[place] = (densities.logsumexp(-1) - math.log(size)).cpu().numpy()
            prior[place] = draws.prior.double().cpu().numpy()
            if these.start == particles.start == 0:
                reads_data = any(_prior_reads(model, draws.guide, batch(those), draws.prior[0, 0])
                                 for those in _blocks(size, columns))
    return own - mixed, None if reads_data else mixed - prior


def _block_sizes(model: Any, data: Any, numbers: list[int], frames: int | None, batch_size: int,
                 max_bytes: int) -> tuple[int, int, int]:
    """How many sequences' draws, how many posteriors and how many particles one pass takes."""
    width = data.x_dim + sum(p.shape[0] for p in model.parameters() if p.dim() > 1)  # as in `chunks`
    longest = frames or (int(data.lengths[numbers].max()) if hasattr(data, "lengths") else 1)
    pairs = max(1, max_bytes // (longest * width * like_of(model).element_size()))
    columns = min(len(numbers), pairs)
    rows = min(len(numbers), batch_size, max(1, pairs // columns))
    return rows, columns, max(1, pairs // (columns * rows))


def _blocks(size: int, at_once: int) -> Iterator[range]:
    return (range(start, min(start + at_once, size)) for start in range(0, size, at_once))


def _cut(batch: Any, frames: int | None) -> Any:
    """The first frames of a batch."""
    if frames is None:
        return batch
    cut = {name: value[:, :frames] for name in ("x", "mask", "controls") if (value := getattr(batch, name)) is not None}
    return replace(batch, **cut, frames=frames * len(batch))


def _densities(program: Any, guide: Any, batch: Any) -> Tensor:
    """``log q(z_in | x_m)`` of the draws ``(k, B')`` of a guide's trace, for M sequences: ``(k, B', M)``.

    Without validation: under another sequence's posterior a draw may be impossible, which is no error.
    """
    drawn = sites(guide, observed=False)
    k, rows = next(site["value"].shape[:2] for site in drawn.values() if in_batch(site))
    trace = _spread(drawn, rows, len(batch))
    with pyro.validation_enabled(False), pyro.plate("particles", k * rows, dim=-2):
        replay = poutine.trace(poutine.replay(program, trace=trace)).get_trace(*batch, **batch.known)
        terms = [log_prob(site) for site in sites(replay, observed=False).values() if in_batch(site)]
    return sum(terms, terms[0].new_zeros(())).expand(k * rows, len(batch)).unflatten(0, (k, rows))


def _spread(drawn: dict[str, Any], rows: int, columns: int) -> Trace:
    """Draws of sequences as draws of particles, each for every one of ``columns`` sequences."""
    trace = Trace()
    for name, site in drawn.items():
        value = site["value"]
        if in_batch(site):
            value = value.flatten(0, 1).unsqueeze(1)
            value = value.expand(-1, columns, *value.shape[2:])
        elif value.dim():  # once a data set: what was drawn with the particle
            value = value.repeat_interleave(rows, 0)
        trace.add_node(name, **{**site, "value": value})
    return trace


def _prior_reads(model: Any, guide: Any, batch: Any, first: Tensor) -> bool:
    """Whether the prior's density of one draw differs between sequences, so that it depends on their data."""
    drawn = sites(guide, observed=False)
    one = {name: {**site, "value": site["value"][:1, :1] if in_batch(site) else site["value"][:1]}
           for name, site in drawn.items()}
    with pyro.plate("particles", 1, dim=-2):
        program = replayed(model, batch, _spread(one, 1, len(batch)))
    densities = sum((log_prob(site) for site in sites(program, observed=False).values() if in_batch(site)),
                    torch.zeros_like(first))
    return not torch.allclose(densities, first, rtol=1e-4, atol=1e-4)
