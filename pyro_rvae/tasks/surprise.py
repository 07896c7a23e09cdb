"""Negative log predictive densities of a data set, by each of the ways there are to sum the latents out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.contexts import seed_generators
from ..core.filtering import particle_filter
from ..core.traces import in_batch, is_point
from ..criticism.chunks import Chunk, chunks, groups, lengths_of, like_of
from ..criticism.noise import ParticleNoise
from ..criticism.particles import Draws, check_guide, draw, repeatable
from ..data import Batch
from .proposals import gaussian_prior, looks_ahead

__all__ = ["METHODS", "Surprise", "check_method"]

Array = NDArray[np.float64]
METHODS = ("filter", "bootstrap", "prefix", "whole", "reconstruction")


@dataclass(frozen=True, eq=False)
class Surprise:
    """What is to be scored, and what its guide draws; each method gives scores by step and by sequence."""

    model: Any
    data: Any
    num_particles: int
    seed: int
    batch_size: int
    max_bytes: int
    latent: bool  # whether anything is drawn for a sequence
    point: bool  # whether some of it is a point
    in_loop: bool  # whether all of it is drawn at each step

    @classmethod
    def of(cls, model: Any, data: Any, num_particles: int, seed: int, batch_size: int, max_bytes: int) -> Surprise:
        drawn = [site for site in check_guide(model, data).values() if in_batch(site)]
        in_loop = hasattr(model, "generative") and all(site["infer"].get("every") == 1 for site in drawn)
        return cls(model, data, num_particles, seed, batch_size, max_bytes, bool(drawn), any(map(is_point, drawn)),
                   in_loop)

    def scores(self, method: str | None) -> tuple[str, tuple[Array | None, Array]]:
        """The method that was used, and scores by step and by sequence."""
        if not self.latent:
            return "exact", self.reconstruction(1)
        if method == "reconstruction" or self.point:
            return "reconstruction", self.reconstruction(self.num_particles)
        if method == "whole" or self.model.static:
            return "whole", self.whole()
        used = method or self.suited()
        return used, self.prefixes() if used == "prefix" else self.filtered(used == "bootstrap")

    def suited(self) -> str:
        """The method by step: of none may a score depend on later frames."""
        return "filter" if self.in_loop and looks_ahead(self.model, self.data) is False else "prefix"

    # -------------------------------------------------------------------------------------- the methods
    def filtered(self, bootstrap: bool) -> tuple[Array, Array]:
        """Minus the increments of a particle filter; all particles of a sequence together."""
        steps, whole = self._zeros(), np.empty(len(self.data))
        k, repeat = self.num_particles, repeatable(self.model, self.data)
        if bootstrap:
            repeat = repeat and gaussian_prior(self.model, self.data)
        for one in chunks(self.model, self.data, 1, groups(self.data, self.batch_size), max(1, self.max_bytes // k)):
            increments = self._increments(replace(one, particles=range(k)), repeat, bootstrap)
            steps[one.numbers, : len(increments) - 1] -= increments[:-1].T
            whole[one.numbers] = -increments.sum(0)
        return steps, whole

    def prefixes(self) -> tuple[Array, Array]:
        """Differences of the importance-weighted bounds of all beginnings."""
        lengths = lengths_of(self.data)
        total, order = self._zeros(), np.argsort(lengths, kind="stable")
        for past in np.arange(lengths.max()) + 1:
            long = order[lengths[order] >= past].tolist()
            together = [long[i : i + self.batch_size] for i in range(0, len(long), self.batch_size)]
            total[long, past - 1] = self._bounds(together, int(past))[long]
        with np.errstate(invalid="ignore"):  # behind what has density 0
            steps = np.diff(total, axis=1, prepend=0.0)
        return np.where(np.isnan(steps) & ~np.isnan(total), np.inf, steps), total[np.arange(len(lengths)), lengths - 1]

    def whole(self) -> tuple[Array | None, Array]:
        """The importance-weighted bound of whole sequences."""
        found = self._bounds(groups(self.data, self.batch_size), None)
        return (found[:, None] if self.model.static else None), found

    def reconstruction(self, k: int) -> tuple[Array | None, Array]:
        """The mean cost of the frames, given draws of the guide."""
        steps, whole, stepped = self._zeros(), np.zeros(len(self.data)), []

        def keep(rows: Array, columns: Array, draws: Draws) -> None:
            observed = draws.observed
            stepped.append(observed.stepped)
            steps[rows, : observed.steps.shape[-1]] -= observed.steps.double().sum(0).cpu().numpy() / k
            whole[rows] -= observed.total.double().sum(0).cpu().numpy() / k

        self._each(groups(self.data, self.batch_size), k, keep, None)
        by_step = whole[:, None].copy() if self.model.static else steps
        return (by_step if self.model.static or all(stepped) else None), whole

    # -------------------------------------------------------------------------------------- their parts
    def _increments(self, chunk: Chunk, repeat: bool, bootstrap: bool) -> Array:
        """``(T + 1, B)``."""
        like = like_of(self.model)
        seed_generators(like.device, hash((self.seed, 3, chunk.numbers[0])))

        def run() -> Tensor:
            return particle_filter(self.model, *chunk.batch, num_particles=self.num_particles, bootstrap=bootstrap,
                                   **chunk.batch.known).increments

        if not repeat:
            return run().double().cpu().numpy()  # type: ignore[no-any-return]
        with _StepNoise(self.seed, chunk, like):
            return run().double().cpu().numpy()  # type: ignore[no-any-return]

    def _bounds(self, together: list[list[int]], past: int | None) -> Array:
        """Minus the importance-weighted bound of the first ``past`` frames (None: all) ``(N,)``, NaN of the others."""
        weights = np.full((len(self.data), self.num_particles), np.nan)

        def keep(rows: Array, columns: Array, draws: Draws) -> None:
            weights[rows[:, None], columns] = draws.log_weights.double().cpu().numpy().T

        self._each(together, self.num_particles, keep, past)
        found, rows = np.full(len(self.data), np.nan), np.concatenate(together)
        found[rows] = np.log(self.num_particles) - np.logaddexp.reduce(weights[rows], axis=1)
        return found

    def _each(self, together: list[list[int]], k: int, keep: Callable[[Any, Any, Draws], None],
              past: int | None) -> None:
        """Hand on the draws of every (sequence, particle), of the first ``past`` frames."""
        repeat = repeatable(self.model, self.data)
        for chunk in chunks(self.model, self.data, k, together, self.max_bytes, frames=past):
            seen = chunk if past is None else replace(chunk, batch=_beginning(chunk.batch, past))
            keep(np.array(chunk.numbers), np.array(chunk.particles), draw(self.model, seen, self.seed, repeat=repeat))

    def _zeros(self) -> Array:
        """``(N, T)``, NaN in the padding."""
        lengths = lengths_of(self.data)
        return np.where(np.arange(lengths.max()) < lengths[:, None], 0.0, np.nan)


class _StepNoise(ParticleNoise):
    """The noise of a chunk's filter: each particle's stream is read once, in the order of time."""

    def __init__(self, seed: int, chunk: Chunk, like: Tensor) -> None:
        super().__init__(seed, chunk, like)
        self.read: dict[str, Tensor] = {}

    def normal(self, name: str, step: int | None, shape: torch.Size, dim: int = -2) -> Tensor:
        if step is None:
            return super().normal(name, step, shape, dim)
        if name not in self.read:
            self.read[name] = self.stream(name, (self.chunk.batch.x.shape[1], *shape[dim:][1:]))
        return self.read[name][:, :, step].expand(shape)


def _beginning(batch: Any, past: int) -> Batch:
    controls = None if batch.controls is None else batch.controls[:, :past]
    return Batch(batch.x[:, :past], batch.mask[:, :past], controls, batch.labels)


def check_method(asked: Surprise, method: str | None) -> None:
    """Refuse a method that there is not, or that the model cannot have."""
    name = type(asked.model).__name__
    if method is not None and method not in METHODS:
        raise ValueError(f"score: method must be one of {', '.join(METHODS)}, or None for what suits the model; got "
                         f"{method!r}.")
    if asked.point and method not in (None, "reconstruction"):
        raise ValueError(f"score: the guide of {name} draws a point, so there are no weights and no predictive "
                         f"density, which method={method!r} needs: use method='reconstruction', or a model with a "
                         "posterior that has a density.")
    if asked.model.static and method in ("filter", "bootstrap", "prefix"):
        raise ValueError(f"score: {name} is static, its items have no steps, which method={method!r} needs: use "
                         "method='whole' or 'reconstruction'.")
