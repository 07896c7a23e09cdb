"""Logarithms of gamma functions without cancellation: a difference of two large ones has no digit left in float32."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["LARGE", "log_quotient", "stirling", "stirling_ratio"]

LARGE = 8.0  # from here Stirling's series of three terms is exact to 3e-10


def stirling(x: Tensor) -> Tensor:
    r"""What Stirling's formula leaves out: :math:`\log\Gamma(x) - (x - 1/2) \log x + x - \log(2\pi) / 2`, x >= 8."""
    square = x.square()
    return (1 / 12 - (1 / 360 - 1 / (1260 * square)) / square) / x


def stirling_ratio(x: Tensor, k: Tensor) -> Tensor:
    r""":math:`\log\Gamma(x + k) - \log\Gamma(x)` for x >= 8 and k > -1; near ``k log x`` where x is large."""
    return (x - 0.5) * torch.log1p(k / x) + k * torch.log(x + k) - k + stirling(x + k) - stirling(x)


def log_quotient(x: Tensor, y: Tensor, difference: Tensor) -> Tensor:
    """``log(x / y)`` of positive numbers, from their ``difference`` x - y where they are nearly equal."""
    change = difference / y
    near = change.abs() < 0.5
    return torch.where(near, torch.log1p(torch.where(near, change, 0.0)), torch.log(x) - torch.log(y))
