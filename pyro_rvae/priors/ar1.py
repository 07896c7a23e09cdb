"""The stationary autoregression of order one."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ..distributions.families import MIN_SCALE, inverse_softplus
from ..nn import linear_scan

__all__ = ["AR1"]

_MOST = 1.0 - 1e-5  # of |phi|: at 1 the chain has no stationary law


class AR1(nn.Module):
    r"""``z_1 ~ N(m, s^2)``, ``z_t ~ N(m + phi (z_{t-1} - m), (1 - phi^2) s^2)``: each ``z_t`` alone is ``N(m, s^2)``.

    Elements are independent, each with its own ``phi`` in (-1, 1), ``m`` and ``s``, all learned. Called with
    ``(z_{t-1}, first_t)``, ``first_t`` 1 at the first step and 0 after it, which a model passes to a part that has
    ``reads_start`` (DMM, SRNN); further inputs are ignored. Its whole path is drawn by one scan.
    Source: Hamilton (1994), "Time Series Analysis", section 3.4.

    Arguments:
        in_dim: ignored (a model gives its widths first).
        dim: width of the latent.
        phi: what each ``phi`` starts at.
        scale: what each ``s``, the scale of the stationary law, starts at.

    Raises:
        ValueError: ``phi`` not within (-1, 1), or a scale not above 1e-4; and, by the model, where it passes no
            previous latent.

    >>> rv.DMM(5, transition=rv.AR1)  # doctest: +SKIP
    """

    reads_previous = True
    reads_start = True

    def __init__(self, in_dim: int, dim: int, *, phi: float = 0.9, scale: float = 1.0) -> None:
        super().__init__()
        if not -_MOST < phi < _MOST:
            raise ValueError(f"AR1: phi must lie within -1 and 1 (else there is no stationary law), got {phi}.")
        if not scale > MIN_SCALE:
            raise ValueError(f"AR1: scale must be a number above {MIN_SCALE}, got {scale}.")
        self.dim = dim
        self.loc = nn.Parameter(torch.zeros(dim))
        self.raw_phi = nn.Parameter(torch.full((dim,), phi / _MOST).atanh())
        self.raw_scale = nn.Parameter(inverse_softplus(scale - MIN_SCALE).expand(dim).clone())

    @property
    def phi(self) -> Tensor:
        """``(dim,)``: the correlation of one step with the next."""
        return _MOST * torch.tanh(self.raw_phi)

    @property
    def scale(self) -> Tensor:
        """``(dim,)``: the scale of the stationary law."""
        return softplus(self.raw_scale) + MIN_SCALE

    def coefficients(self, first: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``(a, b, s)`` of ``N(a z_{t-1} + b, s^2)``, each ``(..., dim)``."""
        a = self.phi * (1.0 - first)
        return a, self.loc * (1.0 - a), self.scale * (1.0 - a.square()).sqrt()

    def forward(self, z: Tensor, first: Tensor, *inputs: Any) -> dist.TorchDistribution:
        a, b, s = self.coefficients(first)
        return dist.Normal(b + a * z, s, validate_args=False).to_event(1)

    def draw_path(self, init: Tensor, first: Tensor, *inputs: Any,
                  noise: Tensor) -> tuple[Tensor, dist.TorchDistribution]:
        """The whole path from standard noise ``(..., T, dim)``, with its law."""
        a, b, s = (c.expand(noise.shape) for c in self.coefficients(first))
        z = linear_scan(a, torch.addcmul(b, s, noise), init)
        before = torch.cat([init.expand_as(z[..., 0, :]).unsqueeze(-2), z[..., :-1, :]], -2)
        return z, dist.Normal(b + a * before, s, validate_args=False).to_event(1)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"
