"""Encode and decode: what a model makes of sequences that its guide has seen, and of latents that it is handed."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import pyro
import pyro.poutine as poutine
import torch
from torch import Tensor

from ..core.checks import check_count, check_seed
from ..core.contexts import evaluating, forked, seed_generators
from ..core.handlers import vectorised
from ..core.noise import mean_path
from ..core.traces import guide_trace, in_batch, is_discrete, replayed, sites, traced
from ..criticism.chunks import Chunk, chunks, groups, like_of
from ..criticism.noise import ParticleNoise
from ..criticism.particles import repeatable
from ..criticism.replicates import site_of_x
from ..data.transforms import raw_units
from .inputs import as_data

__all__ = ["Latent", "decoded", "expected", "latents_of", "need_latents", "reconstruct"]


@dataclass(frozen=True)
class Latent:
    """What a guide draws at one site, for the sequences of a batch.

    Attributes:
        value: ``(..., B, *event)``; of a path the event is ``(steps, d)``. Of what is drawn once a data set no B.
        every: frames that one value of a path holds; ``None``: it is drawn once.
        discrete: whether its law is. shared: whether it is drawn once a data set.
    """

    value: Tensor
    every: int | None
    discrete: bool
    shared: bool

    @property
    def kind(self) -> str:
        """In words."""
        often = "every frame" if self.every == 1 else f"every {self.every} frames"
        if self.every is None:
            often = "once a data set" if self.shared else "once a sequence"
        return f"discrete, {often}" if self.discrete else often


def reconstruct(model: Any, data: Any, *, num: int = 1, mean: bool = False, teacher_forced: bool = False,
                labels: Any = None, controls: Any = None, seed: int = 0, batch_size: int = 20,
                max_bytes: int = 2**28) -> list[Tensor]:
    r"""Encodes and decodes: :math:`z \sim q(z \mid x)`, then :math:`x' \sim p(x \mid z)`, of the lengths of x.

    A model that feeds x back reads its own :math:`x'_{t-1}`: given the latents it runs freely, so that all of x passes
    through them. With ``teacher_forced`` it reads the observed :math:`x_{t-1}` instead, as it does in training (the
    draws of :func:`~pyro_rvae.criticism.reconstructed`). Missing elements of x are filled: x' has none.

    Arguments:
        model: a trained :class:`~pyro_rvae.SequenceVAE`, or a pair.
        data: a data set (its labels and controls are read), or arrays in raw units: a list of sequences
            ``(T_i, x_dim)``, or ``(N, T, x_dim)``; of a static model ``(N, *event_shape)``.
        num: reconstructions of each sequence.
        mean: nothing is drawn. Each latent is the mean of its law given those before it (a discrete one the most
            probable value), and x' the mean of p(x | z), of codes the most probable one. What is fed back is x' itself;
            of binary data, counts and codes their most probable value.
        teacher_forced: what a model that feeds x back reads.
        labels, controls: those that go with raw arrays.
        seed: of the draws; torch's own random state does not move.
        batch_size: most sequences at once. Draws of x depend on it, what ``mean`` gives does not.
        max_bytes: memory that the activations of one chunk should take, roughly.

    Returns a tensor ``(T_i, x_dim)`` for each sequence (``event_shape`` for each item of static data), with ``num > 1``
    ``(num, T_i, x_dim)``; in raw units, on the CPU.

    Raises:
        ValueError: the model draws no latent of a sequence; ``mean`` with ``num > 1``, or for a likelihood without a
            mean in closed form (an autoregressive frame); or data that do not suit the model.
        TypeError: no model, or no data.

    >>> again = reconstruct(model, data.test, mean=True)  # doctest: +SKIP
    """
    seed = check_seed("reconstruct", seed)
    data = as_data(model, data, "reconstruct", labels=labels, controls=controls)
    for name, value in {"num": num, "batch_size": batch_size, "max_bytes": max_bytes}.items():
        check_count(f"reconstruct: {name}", value)
    if mean and num > 1:
        raise ValueError(f"reconstruct: mean=True draws nothing, so it gives one reconstruction of each sequence, and "
                         f"num is {num}: leave one of the two out.")
    device = like_of(model).device
    made: list[list[Tensor]] = [[] for _ in range(len(data))]
    with evaluating(model), vectorised(), forked(device):
        repeat = not mean and repeatable(model, data)
        for chunk in chunks(model, data, num, groups(data, batch_size), max_bytes):
            seed_generators(device, hash((seed, 3, chunk.numbers[0], chunk.particles.start)))
            drawn = ParticleNoise(seed, chunk, like_of(model)) if repeat else nullcontext()
            noise: Any = mean_path(device) if mean else drawn
            x = raw_units(data, _again(model, chunk, noise, mean, teacher_forced).cpu())
            for j, n in enumerate(chunk.numbers):
                made[n].append(x[:, j] if model.static else x[:, j, : int(data.lengths[n])])
    joined = [torch.cat(parts) for parts in made]
    return joined if num > 1 else [x[0] for x in joined]


def _again(model: Any, chunk: Chunk, noise: AbstractContextManager[Any], mean: bool, forced: bool) -> Tensor:
    """``x' (k, B, [T,] ...)`` of a chunk, in the model's units."""
    batch, k = chunk.batch, len(chunk.particles)
    with noise, pyro.plate("particles", k, dim=-2):
        guide = guide_trace(model, batch)
    with pyro.plate("particles", k, dim=-2):
        if forced:
            law = site_of_x(replayed(model, batch, guide))["fn"]
            x = expected(law) if mean else law.sample()
        else:
            found = _found(guide)
            need_latents(model, found, "reconstruct", "with teacher_forced=True its one-step law of each frame")
            values = {name: latent.value for name, latent in found.items()}
            x = decoded(model, values, batch.mask, tuple(batch.x.shape[: 1 if model.static else 2]), batch.known, mean)
    return x.expand(k, *batch.x.shape)


# ------------------------------------------------------------------------------------------ the two halves
def latents_of(model: Any, batch: Any) -> dict[str, Latent]:
    """What the guide draws for a batch, by site; within ``mean_path`` its means."""
    return _found(guide_trace(model, batch))


def _found(guide: Any) -> dict[str, Latent]:
    return {name: Latent(site["value"], site["infer"].get("every") if site["fn"].event_dim > 1 else None,
                         is_discrete(site), not in_batch(site))
            for name, site in sites(guide, observed=False).items() if not site["infer"].get("is_auxiliary")}


def need_latents(model: Any, found: dict[str, Latent], caller: str, instead: str) -> None:
    """Refuse a model with nothing between x and x'."""
    if all(latent.shared for latent in found.values()):
        raise ValueError(f"{caller}: {type(model).__name__} draws no latent of a sequence, so nothing is encoded; "
                         f"{instead} says what it makes of x.")


def decoded(model: Any, values: dict[str, Tensor], mask: Tensor | None, size: tuple[int, ...],
            known: dict[str, Tensor], mean: bool) -> Tensor:
    """x' given latents ``(..., B, *event)``, ``(..., B, [T,] ...)`` in the model's units: drawn, or expected."""
    with mean_path(like_of(model).device) if mean else nullcontext(), poutine.condition(data=values):
        site = site_of_x(traced(model.learned_model, None, mask, size=size, **known))
    return expected(site["fn"]) if mean else site["value"]


def expected(law: Any) -> Tensor:
    """The mean of a law of x; of codes the most probable one."""
    base = law
    while hasattr(base, "base_dist"):
        base = base.base_dist
    if isinstance(base, torch.distributions.Categorical):
        return base.mode.expand(law.shape())  # type: ignore[no-any-return]
    try:
        x: Tensor = law.mean
    except NotImplementedError as error:
        raise ValueError(f"mean=True: {type(base).__name__}, the law of a frame, has no mean in closed form (its "
                         "elements depend on each other): draw with mean=False, and average draws where a mean is "
                         "needed.") from error
    return x.expand(law.shape())
