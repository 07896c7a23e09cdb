"""Bounds by particle filters, sequence by sequence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.contexts import evaluating, forked, seed_generators
from ..infer.fivo import FIVO
from .chunks import chunks, groups, like_of
from .noise import ParticleNoise
from .particles import repeatable

__all__ = ["check_filters", "filtered_bounds"]


def check_filters(filters: Any) -> None:
    """Refuse what is no list of filters, and two that would stand under one name."""
    if not isinstance(filters, list | tuple) or not all(isinstance(one, FIVO) for one in filters):
        raise TypeError(f"evaluate: filters must be a list of rv.FIVO(...), got {filters!r}.")
    labels = [one.label for one in filters]
    if len(set(labels)) < len(labels):
        raise ValueError(f"evaluate: filters must have different names, got {labels}: evaluate once for each scheme or "
                         "threshold of the same number of particles.")


def filtered_bounds(model: Any, data: Any, objective: FIVO, *, batch_size: int, seed: int,
                    max_bytes: int) -> NDArray[np.float64]:
    """``(N,)``: the log of each sequence's estimated evidence, minus infinity where all its particles died.

    All particles of a sequence are filtered together, so a chunk holds fewer sequences where memory is short. Noise is
    a function of (seed, site, sequence, particle, step), as for the other bounds, where latents come from Gaussian
    noise.
    """
    particles = range(objective.num_particles)
    found = np.empty(len(data))
    with evaluating(model), forked(like_of(model).device):
        repeat = not objective.bootstrap and repeatable(model, data)
        for one in chunks(model, data, 1, groups(data, batch_size), max(1, max_bytes // len(particles))):
            chunk = replace(one, particles=particles)
            like = like_of(model)
            seed_generators(like.device, hash((seed, chunk.numbers[0])))
            if repeat:
                with ParticleNoise(seed, chunk, like):
                    filtered = objective.run(model, *chunk.batch, **chunk.batch.known)
            else:
                filtered = objective.run(model, *chunk.batch, **chunk.batch.known)
            found[chunk.numbers] = filtered.log_evidence.double().cpu().numpy()
    return found
