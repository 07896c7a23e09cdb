"""Noise that belongs to a sequence and a particle, whatever chunk they stand in."""

from __future__ import annotations

from typing import Any
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

from ..core.noise import Noise, rsample_from
from ..core.traces import in_batch
from .chunks import Chunk

__all__ = ["ParticleNoise", "is_reparametrised"]


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
        return self.draws(self.chunk.particles, name, size, step, shared=shared)

    def draws(
        self, particles: range, name: str, size: tuple[int, ...], step: int = -1, *, shared: bool = False
    ) -> Tensor:
        """The streams of some particles."""
        key = np.array([self.seed % 2**64, crc32(name.encode())], dtype=np.uint64)
        numbers = [0] if shared else self.chunk.numbers
        out = np.empty((len(particles), len(numbers), *size))
        for i, particle in enumerate(particles):
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
        shared = not in_batch(msg)
        noise = self.stream(msg["name"], event, shared=shared)
        if noise.dim() > len(batch) + len(event):  # a filter draws what is shared once, not once a particle
            noise = noise[0, 0]
        msg["value"] = rsample_from(msg["fn"], noise.expand((*batch, *event)))


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
