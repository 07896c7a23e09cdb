"""The priors that need nothing: the standard normal law, and the one without weight."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn

__all__ = ["StandardNormal", "Weightless"]


class StandardNormal(nn.Module):
    """``z ~ N(0, I)``, whatever the inputs.

    Arguments:
        in_dim: ignored (a model gives its widths first).
        dim: width of the latent.
    """

    zero: Tensor

    def __init__(self, in_dim: int, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.register_buffer("zero", torch.zeros(dim), persistent=False)

    def forward(self, *inputs: Any) -> dist.TorchDistribution:
        return dist.Normal(self.zero, torch.ones_like(self.zero), validate_args=False).to_event(1)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Weightless(StandardNormal):
    """A prior that carries no weight: its log density is 0 everywhere, so a deterministic autoencoder pays nothing.

    It goes with ``posterior=Delta`` alone: ``fit`` and ``evaluate`` refuse it beside a guide with a density. It is
    improper, and what it draws (N(0, I)) only gives the latent its shape: samples of a deterministic autoencoder need a
    density fitted to its codes.
    """

    def forward(self, *inputs: Any) -> dist.TorchDistribution:
        return super().forward(*inputs).mask(False)  # type: ignore[no-any-return]
