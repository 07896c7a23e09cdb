"""Causal parts that give what stood before a step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .causal import Causal

__all__ = ["Delay", "Late"]


class Delay(Causal):
    """``y_t = u_{t-1}``: what it read a step before; at the start its initial state, zeros if none is given.

    Arguments:
        in_dim: width of ``u_t``.
    """

    def __init__(self, in_dim: int) -> None:
        super().__init__()
        self.in_dim = self.out_dim = self.state_dim = in_dim

    def step(self, u: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(u) if state is None else state, u

    def forward(self, u: Tensor, init: Tensor | None = None) -> Tensor:
        first = torch.zeros_like(u[..., :1, :]) if init is None else init.unsqueeze(-2).expand_as(u[..., :1, :])
        return torch.cat([first, u[..., :-1, :]], -2)


class Late(Causal):
    """``y_t = h_{t-1}``, the output of a recurrence before its step t: given ``u_{t-1}`` at step t, for which it waits.

    ``y_1 = h_0 = 0``, whatever stands in the first input; then ``y_t = f(y_{t-1}, u)`` with the input of step t. So a
    body may read ``h_{t-1}`` before it draws what ``h_t = f(h_{t-1}, u_t)`` reads: it carries both, of the same part.

    Arguments:
        part: the causal part f.
    """

    def __init__(self, part: Any) -> None:
        super().__init__()
        self.part, self.out_dim = part, part.out_dim
        if hasattr(part, "in_dim"):
            self.in_dim = part.in_dim

    def begin(self, init: Tensor | None) -> None:
        if init is not None:
            raise ValueError("Late: the part begins at its own zero state, so it takes no init.")

    def step(self, u: Tensor, state: tuple[Any] | None = None) -> tuple[Tensor, tuple[Any]]:
        if state is None:
            return u.new_zeros(*u.shape[:-1], self.out_dim), (None,)
        y, inner = self.part.step(u, state[0])
        return y, (inner,)

    def forward(self, u: Tensor, init: Tensor | None = None) -> Tensor:
        self.begin(init)
        first = u.new_zeros(*u.shape[:-2], 1, self.out_dim)
        return torch.cat([first, self.part(u[..., 1:, :])], -2) if u.shape[-2] > 1 else first
