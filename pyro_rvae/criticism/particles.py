"""Many draws of the guide for each sequence of a data set, scored under guide and model, in chunks that fit
memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
import pyro
import pyro.poutine as poutine
import torch
from torch import Tensor

from ..core.handlers import Noise, rsample_from
from ..core.sequence_vae import unregistered

__all__ = [
    "Chunk",
    "Draws",
    "ParticleNoise",
    "check_count",
    "check_data",
    "chunks",
    "criticising",
    "draw",
    "elementwise",
    "groups",
    "in_batch",
    "like_of",
    "repeatable",
    "replay",
    "score",
    "sites",
]


@dataclass(frozen=True)
class Chunk:
    """Some sequences of the data set and some of their particles."""

    batch: Any  # rv.data.Batch, on the model's device
    numbers: list[int]  # of its sequences in the data set
    particles: range


@dataclass(frozen=True)
class Draws:
    """Traces of one chunk, and its log-densities, each ``(k, B)``: k particles of B sequences."""

    guide: Any
    model: Any
    likelihood: Tensor  # log p(x | z)
    prior: Tensor  # log p(z)
    posterior: Tensor  # log q(z | x)
    shared: Tensor  # (k,) log q(s) - log p(s) of what is drawn once a data set, unscaled; 0 if nothing is

    @property
    def log_weights(self) -> Tensor:
        """``log p(x, z) - log q(z | x)``."""
        return self.likelihood + self.prior - self.posterior


@contextmanager
def criticising(model: Any) -> Iterator[None]:
    """Look at a model and leave no trace: eval mode (restored module by module), no gradient, torch's random
    state forked, nothing in Pyro's parameter store.
    """
    modes = [(module, module.training) for module in model.modules()]
    devices = {p.device for p in model.parameters() if p.device.type == "cuda"}
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=list(devices)), unregistered():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def check_data(model: Any, data: Any, caller: str) -> None:
    """Refuse what is no data set, and a data set without time for a model with it (or the reverse)."""
    if not hasattr(data, "padded"):
        hint = (
            "pass one of its sides, such as data.test"
            if hasattr(data, "test")
            else "wrap arrays in rv.data.SequenceDataset(values, lengths)"
        )
        raise TypeError(
            f"{caller} needs one data set (SequenceDataset or StaticDataset), got "
            f"{type(data).__name__}: {hint}."
        )
    if bool(model.static) == hasattr(data, "lengths"):
        needs, got = (
            ("rows without time", "sequences") if model.static else ("sequences", "rows without time")
        )
        raise ValueError(
            f"{type(model).__name__} is a model of {needs}, the data set holds {got}: pass a "
            f"{'StaticDataset' if model.static else 'SequenceDataset'}."
        )


def check_count(value: Any, name: str, least: int = 1) -> None:
    """Refuse what is no integer of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}.")


# ------------------------------------------------------------------------------------------------ chunks
def groups(data: Any, batch_size: int, least: int = 1) -> list[list[int]]:
    """Numbers of the sequences, sorted by length, cut into batches; a last one under ``least`` joins its
    neighbour.
    """
    order = data.lengths.argsort(stable=True).tolist() if hasattr(data, "lengths") else list(range(len(data)))
    cut = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    if len(cut) > 1 and len(cut[-1]) < least:
        cut[-2:] = [cut[-2] + cut[-1]]
    return cut


def chunks(
    model: Any,
    data: Any,
    num_particles: int,
    together: list[list[int]],
    max_bytes: int,
    *,
    whole: bool = False,
) -> Iterator[Chunk]:
    """Every (sequence, particle) once, from batches of sequences.

    A chunk's activations take about ``max_bytes``, but never less than what one particle of one sequence
    needs (of one batch, where batches must stay ``whole``).
    """
    like = like_of(model)
    # numbers a frame, if every layer's output were kept
    width = data.x_dim + sum(p.shape[0] for p in model.parameters() if p.dim() > 1)
    for group in together:
        frames = int(data.lengths[group].max()) if hasattr(data, "lengths") else 1
        each = frames * width * like.element_size()
        size = len(group) if whole else min(len(group), max(1, max_bytes // each))
        at_once = max(1, max_bytes // (each * size))
        for i in range(0, len(group), size):
            numbers = group[i : i + size]
            batch = data.padded(numbers).to(like.device)
            for start in range(0, num_particles, at_once):
                yield Chunk(batch, numbers, range(start, min(start + at_once, num_particles)))


# ------------------------------------------------------------------------------------------------ noise
class ParticleNoise(Noise):
    """Standard noise that is a function of (seed, site, sequence, particle, step) only.

    A figure that is computed with it doesn't depend on how sequences and particles were cut into chunks, nor
    on padding or device, but for rounding. Each (site, sequence, particle) has its own counter-based stream
    (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), read in the order of time.
    """

    def __init__(self, seed: int, chunk: Chunk, like: Tensor) -> None:
        super().__init__(seed, None)
        self.chunk, self.like = chunk, like

    def stream(self, name: str, size: tuple[int, ...], step: int = -1, *, shared: bool = False) -> Tensor:
        """``(k, B, *size)``; with ``shared``, one stream a particle: ``(k, 1, *size)``."""
        key = np.array([self.seed % 2**64, crc32(name.encode())], dtype=np.uint64)
        numbers = [0] if shared else self.chunk.numbers
        out = np.empty((len(self.chunk.particles), len(numbers), *size))
        for i, particle in enumerate(self.chunk.particles):
            for j, sequence in enumerate(numbers):
                bits = np.random.Philox(
                    key=key, counter=np.array([0, step + 1, sequence, particle], dtype=np.uint64)
                )
                out[i, j] = np.random.Generator(bits).standard_normal(size)
        return torch.from_numpy(out).to(self.like.device, self.like.dtype)

    def normal(self, name: str, step: int | None, shape: torch.Size, dim: int = -2) -> Tensor:
        """Noise ``shape = (k, B, *event)`` of a site at one step; ``dim`` is that of the sequences."""
        return self.stream(name, tuple(shape[dim:])[1:], -1 if step is None else step).expand(shape)

    def path(self, name: str, length: int, shape: torch.Size) -> Tensor:
        """Noise of all steps, ``(k, B, T, d)``, for ``shape = (k, B, d)``."""
        return self.stream(name, (length, *shape[2:])).expand(*shape[:2], length, *shape[2:])

    def _pyro_sample(self, msg: Any) -> None:
        if (
            msg["value"] is not None
            or type(msg["fn"]).__name__ == "_Subsample"
            or not is_reparametrised(msg["fn"])
        ):
            return
        event, batch = tuple(msg["fn"].event_shape), msg["fn"].batch_shape
        shared = not any(frame.name == "batch" for frame in msg["cond_indep_stack"])
        noise = self.stream(msg["name"], event, shared=shared)
        msg["value"] = rsample_from(msg["fn"], noise.expand(*batch, *event))


def is_reparametrised(fn: Any) -> bool:
    """Whether ``fn``'s draw is a function of standard normal noise that we know."""
    try:
        rsample_from(fn, torch.zeros(fn.shape(), device=_device(fn)))
    except (TypeError, NotImplementedError):
        return False
    return True


def _device(fn: Any) -> torch.device:
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    return next((v.device for v in vars(fn).values() if isinstance(v, Tensor)), torch.device("cpu"))


# ------------------------------------------------------------------------------------------------ draws
def sites(trace: Any, *, observed: bool = False) -> dict[str, Any]:
    """The observed, or else the latent, sites of a trace by name."""
    return {
        name: site
        for name, site in trace.nodes.items()
        if site["type"] == "sample"
        and type(site["fn"]).__name__ != "_Subsample"
        and bool(site["is_observed"]) == observed
    }


def in_batch(site: Any) -> bool:
    """Whether a site belongs to a sequence; else it is shared, drawn once a data set."""
    return any(frame.name == "batch" for frame in site["cond_indep_stack"])


def elementwise(fn: Any) -> tuple[Any, Tensor | None]:
    """The distribution over single numbers whose product ``fn`` is (or None), and the mask upon it."""
    mask: Tensor | None = None
    while type(fn).__name__ in ("Independent", "MaskedDistribution", "ExpandedDistribution"):
        if type(fn).__name__ == "MaskedDistribution":
            here = torch.as_tensor(fn._mask)
            here = here.reshape(here.shape + (1,) * fn.event_dim)
            mask = here if mask is None else mask & here
        fn = fn.base_dist
    return (None if fn.event_shape else fn), mask


def repeatable(model: Any, data: Any) -> bool:
    """Whether every latent of the guide is drawn from Gaussian noise, so that :class:`ParticleNoise` can give
    it.
    """
    batch = data.padded([0]).to(like_of(model).device)
    with pyro.plate("particles", 1, dim=-2):
        trace = poutine.trace(model.guide).get_trace(*batch, **batch.known)
    return all(is_reparametrised(site["fn"]) for site in sites(trace).values())


def draw(model: Any, chunk: Chunk, seed: int, *, repeat: bool) -> Draws:
    """Draw the chunk's particles from the guide, replay the model on them, and score both.

    With ``repeat`` from :class:`ParticleNoise`, otherwise from torch's generator, seeded by the chunk.
    """
    torch.manual_seed(hash((seed, chunk.numbers[0], chunk.particles.start)) % 2**63)
    noise = ParticleNoise(seed, chunk, like_of(model)) if repeat else nullcontext()
    with noise, pyro.plate("particles", len(chunk.particles), dim=-2):
        guide = poutine.trace(model.guide).get_trace(*chunk.batch, **chunk.batch.known)
    return score(model, chunk, guide)


def replay(model: Any, chunk: Chunk, guide: Any) -> Any:
    """The model's trace on the values of a guide's trace."""
    with pyro.plate("particles", len(chunk.particles), dim=-2):
        return poutine.trace(poutine.replay(model.model, trace=guide)).get_trace(
            *chunk.batch, **chunk.batch.known
        )


def score(model: Any, chunk: Chunk, guide: Any) -> Draws:
    """The model replayed on the guide's values, both with their log-densities."""
    replayed = replay(model, chunk, guide)
    _check_sites(model, sites(guide), sites(replayed))
    guide.compute_log_prob()
    replayed.compute_log_prob()
    k, zero = len(chunk.particles), like_of(model).new_zeros(())

    def total(found: dict[str, Any]) -> Tensor:
        terms = (site["log_prob"] for site in found.values() if in_batch(site))
        return sum(terms, zero).expand(k, len(chunk.numbers))

    def shared(found: dict[str, Any]) -> Tensor:  # without the scale B/N
        terms = (site["fn"].log_prob(site["value"]) for site in found.values() if not in_batch(site))
        return sum((term.reshape(k, -1).sum(-1) for term in terms), zero).expand(k)

    latents, drawn = sites(replayed), sites(guide)
    return Draws(
        guide,
        replayed,
        total(sites(replayed, observed=True)),
        total(latents),
        total(drawn),
        shared(drawn) - shared(latents),
    )


def _check_sites(model: Any, drawn: dict[str, Any], latents: dict[str, Any]) -> None:
    """A site that only one side has would make a bound of something else."""
    name = type(model).__name__
    only_model = latents.keys() - drawn.keys()
    only_guide = {s for s in drawn.keys() - latents.keys() if not drawn[s]["infer"].get("is_auxiliary")}
    if only_model or only_guide:
        raise ValueError(
            f"model and guide of {name} must draw the same latents; only the model has "
            f"{sorted(only_model) or 'none'}, only the guide {sorted(only_guide) or 'none'}: sample every "
            "latent of `generative` in `inference`, under the same name."
        )


def like_of(model: Any) -> Tensor:
    """A tensor with the model's device and dtype."""
    return next((p.detach() for p in model.parameters()), torch.empty(0))
