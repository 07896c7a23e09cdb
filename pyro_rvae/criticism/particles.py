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

__all__ = ["Draws", "check_guide", "draw", "elementwise", "log_prob", "paths", "repeatable", "replay", "score"]


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
    likelihoods: dict[str, Tensor]  # (k, B) log p of each observed site of a sequence, by name; their sum is likelihood

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


def paths(found: dict[str, Any]) -> dict[str, list[str]]:
    """The names of sites that are the steps of one path, in the order of time, by the name of the path.

    A site of all steps is a path by itself. In the explicit reading ``z_0, z_1, ...`` are the path ``z``.
    """
    result: dict[str, list[str]] = {}
    for name, site in sorted(found.items(), key=lambda item: item[1]["infer"].get("step", -1)):
        result.setdefault(name.rpartition("_")[0] if "step" in site["infer"] else name, []).append(name)
    return result


def repeatable(model: Any, data: Any) -> bool:
    """Whether :class:`ParticleNoise` can make every latent of the guide: they come from Gaussian noise."""
    if getattr(model, "unamortised", False):  # its guide knows the whole data set only
        return False
    batch = data.padded([0]).to(like_of(model).device)
    with pyro.plate("particles", 1, dim=-2):
        trace = guide_trace(model, batch)
    return all(is_reparametrised(site["fn"]) for site in sites(trace, observed=False).values())


def check_guide(model: Any, data: Any, number: int = 0) -> dict[str, Any]:
    """What the guide draws for one sequence; refused where the model's latents are others."""
    batch = data.padded([number]).to(like_of(model).device)
    with pyro.plate("particles", 1, dim=-2):
        guide = guide_trace(model, batch)
        program = replayed(model, batch, guide)
    drawn = sites(guide, observed=False)
    check_latents(type(model).__name__, drawn, sites(program, observed=False))
    return drawn


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

    seen = {name: site for name, site in sites(program, observed=True).items() if in_batch(site)}

    def shared(found: dict[str, Any]) -> Tensor:
        parts = (log_prob(site) for site in found.values() if not in_batch(site))
        return sum((part.reshape(k, -1).sum(-1) for part in parts), like.new_zeros(())).expand(k)

    observed, names = of(seen), dict(sorted(paths(seen).items(), key=lambda item: item[0] != "x"))  # x first
    each = (observed,) if len(names) == 1 else tuple(of({one: seen[one] for one in steps}) for steps in names.values())
    return Draws(
        guide,
        program,
        observed,
        of(latents),
        of(drawn),
        any(in_batch(site) and is_point(site) for site in drawn.values()),
        shared(drawn) - shared(latents),
        {name: part.total for name, part in zip(names, each, strict=True)},
    )
