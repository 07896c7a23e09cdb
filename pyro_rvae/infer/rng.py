"""Random numbers of a run: seeded, kept from the caller's stream, saved and restored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

__all__ = ["forked", "get_states", "seed_generators", "set_states"]

_SPREAD = 0x9E3779B97F4A7C15  # 2^64 / golden ratio: ranks and seeds that are neighbours land far apart


def seed_generators(device: torch.device, seed: int, rank: int = 0) -> None:
    """Seed torch's generator of the CPU and that of ``device``, and no other."""
    mixed = (seed + rank * _SPREAD) % 2**63
    torch.default_generator.manual_seed(mixed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(mixed)


@contextmanager
def forked(device: torch.device) -> Iterator[None]:
    """Within it random numbers may be drawn; afterwards torch's streams stand where they stood before."""
    devices = [device.index if device.index is not None else torch.cuda.current_device()] \
        if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        yield


def get_states(device: torch.device) -> dict[str, Tensor]:
    """The state of each generator that a run on ``device`` draws from, as bytes ``(n,)`` uint8."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_states(device: torch.device, states: dict[str, Tensor]) -> None:
    """Restore what :func:`get_states` gave. On another kind of device the run goes on with other noise."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
