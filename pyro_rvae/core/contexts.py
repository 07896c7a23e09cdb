"""Contexts that look at a model, or draw random numbers, and leave everything as they found it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import nn

__all__ = ["evaluating", "forked", "is_registered", "keeping_modes", "seed_generators", "seeded", "unregistered"]

CPU = torch.device("cpu")
_registered: ContextVar[bool] = ContextVar("registered", default=True)
_SPREAD = 0x9E3779B97F4A7C15  # 2^64 / golden ratio: ranks and seeds that are neighbours land far apart


# ------------------------------------------------------------------------------------------ models
@contextmanager
def unregistered() -> Iterator[None]:
    """Leave Pyro's parameter store alone: a torch module holds the parameters."""
    token = _registered.set(False)
    try:
        yield
    finally:
        _registered.reset(token)


def is_registered() -> bool:
    """Whether a call of a model puts its parameters in Pyro's store."""
    return _registered.get()


@contextmanager
def keeping_modes(model: nn.Module) -> Iterator[None]:
    """Afterwards each submodule is in train or eval mode again as it was."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Within it the model is in eval mode (no dropout), no gradient is kept and nothing enters Pyro's store."""
    with keeping_modes(model), torch.no_grad(), unregistered():
        model.eval()
        yield


# ------------------------------------------------------------------------------------------ random numbers
def seed_generators(device: torch.device, seed: int, rank: int = 0) -> None:
    """Seed torch's generator of the CPU and that of ``device``, and no other."""
    mixed = (seed + rank * _SPREAD) % 2**63
    torch.default_generator.manual_seed(mixed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(mixed)
    elif device.type == "mps":
        torch.mps.manual_seed(mixed)


@contextmanager
def forked(device: torch.device = CPU) -> Iterator[None]:
    """Within it random numbers may be drawn; afterwards torch's streams stand where they stood before.

    They are those of the CPU and of ``device``.
    """
    devices = [device.index if device.index is not None else torch.cuda.current_device()] \
        if device.type == "cuda" else []
    state = torch.mps.get_rng_state() if device.type == "mps" else None  # fork_rng knows no MPS
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        if state is not None:
            torch.mps.set_rng_state(state)


@contextmanager
def seeded(seed: int | None, device: torch.device = CPU, rank: int = 0) -> Iterator[None]:
    """Within it random numbers are those of ``seed`` (and ``rank``); afterwards the streams stand as before.

    With ``None`` nothing happens: the caller's streams are drawn from, and move.
    """
    if seed is None:
        yield
        return
    with forked(device):
        seed_generators(device, seed, rank)
        yield
