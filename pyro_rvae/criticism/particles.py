"""Many draws of the guide for each sequence, scored under guide and model."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from torch import Tensor

from ..core.contexts import seed_generators
from ..core.traces import check_latents, guide_trace, in_batch, is_point, replayed, sites
from .by_step import Terms, log_prob, terms
from .chunks import Chunk, like_of
from .noise import ParticleNoise, is_reparametrised

__all__ = ["Draws", "draw", "elementwise", "log_prob", "repeatable", "replay", "score"]


@dataclass(frozen=True)
class Draws:
    """Traces of one chunk, and its log-densities, for k particles of B sequences."""

    guide: Any
    model: Any
    observed: Terms  # of log p(x | z)
    latent: Terms  # of log p(z)
    drawn: Terms  # of log q(z | x)
    point: bool  # whether a sequence's latent is a point of the guide: the weights then give no bound
    shared: Tensor  # (k,) log q(s) - log p(s) of what is drawn once a data set, unscaled; 0 if nothing is

    @property
    def likelihood(self) -> Tensor:
        """``log p(x | z)``, as the three that follow ``(k, B)``."""
        return self.observed.total

    @property
    def prior(self) -> Tensor:
        """``log p(z)``."""
        return self.latent.total

    @property
    def posterior(self) -> Tensor:
        """``log q(z | x)``."""
        return self.drawn.total

    @property
    def log_weights(self) -> Tensor:
        """``log p(x, z) - log q(z | x)``."""
        return self.likelihood + self.prior - self.posterior


def elementwise(site: Any) -> tuple[Any, Tensor | None]:
    """The distribution over single numbers whose product a site's is (or None), and the mask upon it."""
    fn = site["fn"]
    mask: Tensor | None = None
    while type(fn).__name__ in ("Independent", "MaskedDistribution", "ExpandedDistribution"):
        if type(fn).__name__ == "MaskedDistribution":
            here = _tensor(fn._mask, site["value"])
            here = here.reshape(here.shape + (1,) * fn.event_dim)
            mask = here if mask is None else mask & here
        fn = fn.base_dist
    return (None if fn.event_shape else fn), mask


def _tensor(mask: Tensor | bool, like: Tensor) -> Tensor:
    return mask if isinstance(mask, Tensor) else torch.tensor(mask, device=like.device)


def repeatable(model: Any, data: Any) -> bool:
    """Whether :class:`ParticleNoise` can make every latent of the guide: they come from Gaussian noise."""
    if getattr(model, "unamortised", False):  # its guide knows the whole data set only
        return False
    batch = data.padded([0]).to(like_of(model).device)
    with pyro.plate("particles", 1, dim=-2):
        trace = guide_trace(model, batch)
    return all(is_reparametrised(site["fn"]) for site in sites(trace, observed=False).values())


def draw(model: Any, chunk: Chunk, seed: int, *, repeat: bool) -> Draws:
    """Draw the chunk's particles from the guide, replay the model on them, and score both.

    With ``repeat`` from :class:`ParticleNoise`, otherwise from torch's generator, seeded by the chunk.
    """
    like = like_of(model)
    seed_generators(like.device, hash((seed, chunk.numbers[0], chunk.particles.start)))
    noise = ParticleNoise(seed, chunk, like) if repeat else nullcontext()
    with noise, pyro.plate("particles", len(chunk.particles), dim=-2):
        guide = guide_trace(model, chunk.batch)
    return score(model, chunk, guide)


def replay(model: Any, chunk: Chunk, guide: Any) -> Any:
    """The model's trace on the values of a guide's trace."""
    with pyro.plate("particles", len(chunk.particles), dim=-2):
        return replayed(model, chunk.batch, guide)


def score(model: Any, chunk: Chunk, guide: Any) -> Draws:
    """The model replayed on the guide's values, both with their log-densities."""
    program = replay(model, chunk, guide)
    drawn, latents = sites(guide, observed=False), sites(program, observed=False)
    check_latents(type(model).__name__, drawn, latents)
    k, like, mask = len(chunk.particles), like_of(model), chunk.batch.mask
    size = (k, len(chunk.numbers), 0 if mask is None else mask.shape[1])

    def of(found: dict[str, Any]) -> Terms:
        return terms((site for site in found.values() if in_batch(site)), like, size)

    def shared(found: dict[str, Any]) -> Tensor:
        parts = (log_prob(site) for site in found.values() if not in_batch(site))
        return sum((part.reshape(k, -1).sum(-1) for part in parts), like.new_zeros(())).expand(k)

    return Draws(
        guide,
        program,
        of(sites(program, observed=True)),
        of(latents),
        of(drawn),
        any(in_batch(site) and is_point(site) for site in drawn.values()),
        shared(drawn) - shared(latents),
    )
