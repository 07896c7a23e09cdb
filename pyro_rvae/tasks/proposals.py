"""Whether a step's score can change with what comes later: tried, on sequences that the model draws itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.contexts import seeded
from ..core.filtered import Unfiltered
from ..core.filtering import particle_filter
from ..core.handlers import secluded, vectorised
from ..core.noise import without_noise
from ..core.traces import sites, traced
from ..criticism.chunks import lengths_of, like_of
from ..criticism.noise import is_reparametrised

__all__ = ["gaussian_prior", "looks_ahead"]

FRAMES, SERIES, PARTICLES = 8, 3, 3


def looks_ahead(model: Any, data: Any) -> bool | None:
    """Whether the steps of a particle filter depend on frames behind them; None if the model can't be filtered.

    Two filters with the same random numbers read sequences that are alike in their first half. They are short, drawn
    from the model, with the controls and labels of the longest sequences of ``data``; those of one frame have no
    future.
    """
    longest = np.argsort(lengths_of(data), kind="stable")[-SERIES:].tolist()
    frames = min(FRAMES, int(lengths_of(data)[longest[0]]))
    if frames < 2:
        longest, frames = longest[-1:], min(FRAMES, int(lengths_of(data)[longest[-1]]))
    known, half, device = _known(model, data, longest, frames), (frames + 1) // 2, like_of(model).device
    with secluded(), vectorised(), without_noise(), torch.no_grad():
        with seeded(0, device):
            x, other = (_drawn(model, (len(longest), frames), known) for _ in range(2))
        changed = torch.cat([x[:, :half], other[:, half:]], 1)
        try:
            one, two = (_steps(model, one, known)[:half] for one in (x, changed))
        except Unfiltered:
            return None
    near = torch.isclose(one, two, rtol=1e-9 if one.dtype == torch.float64 else 1e-4, equal_nan=True)
    return not bool(near.all())


def gaussian_prior(model: Any, data: Any) -> bool:
    """Whether the model's own draws of its latents can be made of Gaussian noise."""
    known = _known(model, data, [0], 1)
    with secluded(), vectorised(), without_noise(), torch.no_grad(), seeded(0, like_of(model).device):
        trace = traced(model.learned_model, size=(1, 1), **known)
    return all(is_reparametrised(site["fn"]) for name, site in sites(trace, observed=False).items() if name != "x")


def _known(model: Any, data: Any, numbers: list[int], frames: int) -> dict[str, Any]:
    """Controls and labels of the batch."""
    batch = data.padded(numbers).to(like_of(model).device)
    return {name: value[:, :frames] if name == "controls" else value for name, value in batch.known.items()}


def _drawn(model: Any, size: tuple[int, int], known: dict[str, Any]) -> Tensor:
    return sites(traced(model.learned_model, size=size, **known))["x"]["value"]  # type: ignore[no-any-return]


def _steps(model: Any, x: Tensor, known: dict[str, Any]) -> Tensor:
    """``(T + 1, B)``."""
    with seeded(1, x.device):
        return particle_filter(model, x, num_particles=PARTICLES, **known).increments
