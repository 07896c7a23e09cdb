"""The state of a run's random numbers: saved and restored. (Seeding and forking: ``core/contexts.py``.)"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["get_states", "set_states"]


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
