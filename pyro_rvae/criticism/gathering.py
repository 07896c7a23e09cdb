"""Draws of a model's sites for a whole data set, gathered chunk by chunk in arrays on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyro
import pyro.poutine as poutine
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.contexts import evaluating, forked, seed_generators
from ..core.traces import in_batch, is_weightless, sites, traced
from ..data.transforms import raw_units
from .chunks import Chunk, chunks, groups, lengths_of, like_of
from .particles import Draws, draw, elementwise, repeatable
from .replicates import site_of_x

__all__ = ["Gathered", "from_guide", "from_prior", "x_dims", "x_event"]

Array = NDArray[Any]


def _is_ragged(data: Any) -> bool:
    """Whether there is padding."""
    lengths = lengths_of(data)
    return bool((lengths != lengths[0]).any())


class Gathered:
    """Variables ``(draw, sequence, *event)`` by name, with the names of their dims; NaN where there is nothing.

    Longest sequences have to come first: they tell the size of the arrays, which then hold the draws of all chunks and
    nothing else.
    """

    def __init__(self, data: Any, num_draws: int) -> None:
        self.data, self.num_draws, self.ragged = data, num_draws, _is_ragged(data)
        self.arrays: dict[str, Array] = {}
        self.dims: dict[str, tuple[str, ...]] = {}
        self.once: set[tuple[str, int]] = set()  # what is drawn once a data set, and the first particle of its chunk

    @property
    def variables(self) -> dict[str, tuple[tuple[str, ...], Array]]:
        """For xarray: dims and values, with a chain in front."""
        return {name: (("chain", "draw", *self.dims[name]), array[None]) for name, array in self.arrays.items()}

    def add_site(self, name: str, site: Any, chunk: Chunk) -> None:
        """A latent's draws, from a trace of the chunk."""
        value, (_, mask) = site["value"], elementwise(site)
        event = tuple(site["fn"].event_shape)
        if not in_batch(site):  # one for all sequences: of all chunks of these particles, the first
            if (name, chunk.particles.start) not in self.once:
                self.once.add((name, chunk.particles.start))
                value = value.expand(len(chunk.particles), *value.shape[1:]).reshape(len(chunk.particles), *event)
                self._of(name, value, tuple(f"{name}_dim_{i}" for i in range(len(event))))[_rows(chunk)] = _numpy(value)
            return
        value = value.expand(len(chunk.particles), len(chunk.numbers), *event)
        if mask is not None and self.ragged:
            value = value if value.is_floating_point() else value.to(torch.get_default_dtype())
            value = torch.where(mask.expand(value.shape), value, torch.nan)
        self._put(name, value, chunk, _dims(name, site, chunk.batch.mask))

    def add_x(self, value: Tensor, chunk: Chunk) -> None:
        """Draws of x, in raw units, NaN in the padding."""
        k, mask, event = len(chunk.particles), chunk.batch.mask, x_event(self.data)
        value = raw_units(self.data, value.cpu()).expand(k, *value.shape[1:])
        value = value.reshape(k, len(chunk.numbers), *(() if mask is None else mask.shape[1:]), *event)
        if mask is not None and self.ragged:
            value = value if value.is_floating_point() else value.to(torch.get_default_dtype())
            value = torch.where(mask.cpu().reshape(*mask.shape, *(1,) * len(event)), value, torch.nan)
        self._put("x", value, chunk, x_dims(self.data))

    def _put(self, name: str, value: Tensor, chunk: Chunk, dims: tuple[str, ...]) -> None:
        found = _numpy(value)
        out = self._of(name, value, dims, of_sequences=True)
        part = tuple(slice(size) for size in found.shape[2:])
        for j, n in enumerate(chunk.numbers):
            index: tuple[Any, ...] = (_rows(chunk), n, *part)
            out[index] = found[:, j]

    def _of(self, name: str, value: Tensor, dims: tuple[str, ...], *, of_sequences: bool = False) -> Array:
        if name not in self.arrays:
            lead = (self.num_draws, len(self.data)) if of_sequences else (self.num_draws,)
            shape, dtype = (*lead, *value.shape[len(lead) :]), _numpy(value[:0]).dtype
            self.arrays[name] = np.full(shape, np.nan if dtype.kind == "f" else 0, dtype)
            self.dims[name] = dims
        return self.arrays[name]


def _numpy(value: Tensor) -> Array:
    result: Array = value.detach().cpu().numpy()
    return result


def _rows(chunk: Chunk) -> slice:
    return slice(chunk.particles.start, chunk.particles.stop)


def _dims(name: str, site: Any, mask: Tensor | None) -> tuple[str, ...]:
    """Names of a site's dims behind the draw; a slower clock has its own time."""
    event = tuple(site["fn"].event_shape)
    timed = mask is not None and len(event) == 2 and ("every" in site["infer"] or event[0] == mask.shape[1])
    if timed:
        assert mask is not None
        return ("sequence", "time" if event[0] == mask.shape[1] else f"{name}_time", f"{name}_dim")
    if len(event) == 1:
        return ("sequence", f"{name}_dim")
    return ("sequence", *(f"{name}_dim_{i}" for i in range(len(event))))


def x_event(data: Any) -> tuple[int, ...]:
    """Shape of one frame (of static data: of one item)."""
    return (data.x_dim,) if hasattr(data, "lengths") else tuple(data.event_shape)


def x_dims(data: Any) -> tuple[str, ...]:
    """Names of the dims of x without draws."""
    inner = tuple(f"x_dim_{i}" for i in range(len(x_event(data)) - 1))
    return ("sequence", *(("time",) if hasattr(data, "lengths") else ()), *inner, "feature")


# ------------------------------------------------------------------------------------------------ passes
def _longest_first(model: Any, data: Any, num_draws: int, batch_size: int, max_bytes: int) -> Iterator[Chunk]:
    yield from chunks(model, data, num_draws, groups(data, batch_size)[::-1], max_bytes)


def from_guide(model: Any, data: Any, num_draws: int, batch_size: int, seed: int, max_bytes: int, *,
               predictive: bool) -> tuple[Gathered, Gathered, dict[str, Array], dict[str, Array]]:
    """Latents of the guide, x given them (if ``predictive``), log-densities, and the likelihood by observed site."""
    latents, made = Gathered(data, num_draws), Gathered(data, num_draws)
    stats = {name: np.empty((num_draws, len(data))) for name in ("likelihood", "prior", "posterior")}
    likelihoods: dict[str, Array] = {}
    device = like_of(model).device
    with evaluating(model), forked(device):
        repeat = repeatable(model, data)
        for chunk in _longest_first(model, data, num_draws, batch_size, max_bytes):
            draws: Draws = draw(model, chunk, seed, repeat=repeat)
            for name, values in stats.items():
                values[np.ix_(chunk.particles, chunk.numbers)] = _numpy(getattr(draws, name).double())
            for name, density in draws.likelihoods.items():
                values = likelihoods.setdefault(name, np.zeros((num_draws, len(data))))
                values[np.ix_(chunk.particles, chunk.numbers)] = _numpy(density.double())
            for name, site in sites(draws.guide, observed=False).items():
                if not site["infer"].get("is_auxiliary"):
                    latents.add_site(name, site, chunk)
            if predictive:
                made.add_x(site_of_x(draws.model)["fn"].sample(), chunk)
    return latents, made, stats, likelihoods


def from_prior(model: Any, data: Any, num_draws: int, batch_size: int, seed: int,
               max_bytes: int) -> tuple[Gathered, Gathered]:
    """Latents of the model on its own, for sequences of the data's lengths, and the x made from them."""
    latents, made = Gathered(data, num_draws), Gathered(data, num_draws)
    device = like_of(model).device
    with evaluating(model), forked(device):
        for chunk in _longest_first(model, data, num_draws, batch_size, max_bytes):
            seed_generators(device, hash((seed, 1, chunk.numbers[0], chunk.particles.start)))
            size = tuple(chunk.batch.x.shape[: 1 if model.static else 2])
            with pyro.plate("particles", len(chunk.particles), dim=-2):
                own = getattr(model, "learned_model", model.model)
                trace = traced(own, None, chunk.batch.mask, size=size, **chunk.batch.known)
            found = sites(trace)
            once = {} if all(in_batch(site) for site in found.values()) else _shared_prior(model, data, chunk)
            for name, site in {**{n: site for n, site in found.items() if in_batch(site)}, **once}.items():
                if not (site["is_observed"] or name == "x" or is_weightless(site) or site["infer"].get("is_auxiliary")):
                    latents.add_site(name, site, chunk)
            made.add_x(site_of_x(trace)["value"], chunk)
    return latents, made


def _shared_prior(model: Any, data: Any, chunk: Chunk) -> dict[str, Any]:
    """What is drawn once a data set, from its prior, for the particles of a chunk."""
    batch = data.padded(chunk.numbers[:1]).to(like_of(model).device)
    with pyro.plate("particles", len(chunk.particles), dim=-2):
        trace = poutine.trace(model.model).get_trace(
            None, batch.mask, size=tuple(batch.x.shape[: 1 if model.static else 2]), **batch.known)
    return {name: site for name, site in sites(trace).items() if not in_batch(site)}
