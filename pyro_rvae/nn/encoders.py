"""Encoders: ``(x, mask) -> features``. What stands in the padding never matters.

``forward`` gives one feature vector a step, ``summary`` one a sequence.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .causal import LSTM, Causal
from .networks import MLP

__all__ = ["Backward", "Bidirectional", "Encoder", "Forward", "Pointwise", "last", "reverse"]


def reverse(sequence: Tensor, mask: Tensor | None = None) -> Tensor:
    """Reverse each sequence ``(..., T, d)`` within its own length; the padding stays behind it."""
    if mask is None:
        return sequence.flip(-2)
    time = torch.arange(mask.shape[-1], device=mask.device)
    index = torch.where(mask, mask.sum(-1, keepdim=True) - 1 - time, time)
    return sequence.take_along_dim(_like(index, sequence), -2)


def last(sequence: Tensor, mask: Tensor | None = None) -> Tensor:
    """The value at each sequence's last valid step: ``(..., T, d) -> (..., d)``."""
    if mask is None:
        return sequence[..., -1, :]
    index = (mask.sum(-1, keepdim=True) - 1).clamp_min(0)
    return sequence.take_along_dim(_like(index, sequence), -2).squeeze(-2)


def _like(index: Tensor, sequence: Tensor) -> Tensor:
    """An index of steps ``(B, n)`` for sequences that may have further dims in front (particles)."""
    return index.unsqueeze(-1).expand(*sequence.shape[:-2], index.shape[-1], 1)


class Encoder(nn.Module):
    """Features of a sequence: ``(x (B, T, d), mask (B, T)) -> (B, T, out_dim)``.

    Attributes:
        out_dim: width of a feature vector.
        causal: whether the feature at t looks at ``x_1..x_t`` only, so that a guide built on it is a filter.
    """

    out_dim: int
    causal: bool

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        raise NotImplementedError

    def summary(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """One feature vector a sequence, ``(B, out_dim)``: the features at the last valid step."""
        return last(self(x, mask), mask)


class Pointwise(Encoder):
    """``g_t = f(x_t)``: a network at each step; the summary is its mean over the valid steps."""

    causal = True

    def __init__(self, in_dim: int, h_dim: int, *, net: nn.Module | None = None) -> None:
        super().__init__()
        self.net, self.out_dim = net or MLP(in_dim, h_dim, hidden=(h_dim,)), h_dim

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.net(x)

    def summary(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        g = self(x, mask)
        if mask is None:
            return g.mean(-2)
        return torch.where(mask.unsqueeze(-1), g, 0.0).sum(-2) / mask.sum(-1, keepdim=True).clamp_min(1)


class Forward(Encoder):
    """``g_t = f(x_1, ..., x_t)``: a filter's view.

    Arguments:
        in_dim, h_dim: widths of ``x_t`` and ``g_t``.
        cell: a causal part, or its class (LSTM, GRU, RNN), built with ``(in_dim, h_dim)``.
    """

    causal = True

    def __init__(self, in_dim: int, h_dim: int, *, cell: Causal | Callable[..., Causal] = LSTM) -> None:
        super().__init__()
        self.cell: Causal = cell if isinstance(cell, Causal) else cell(in_dim, h_dim)
        self.out_dim = self.cell.out_dim

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.cell(x)  # causal, and padding comes last: it can't reach a valid step


class Backward(Forward):
    """``g_t = f(x_t, ..., x_T)``: each sequence is read from its own last valid step to its first."""

    causal = False

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return reverse(self.cell(reverse(x, mask)), mask)

    def summary(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self(x, mask)[..., 0, :]


class Bidirectional(Encoder):
    """``g_t = [f(x_1..x_t), b(x_t..x_T)]``; the summary joins both ends' last states.

    Arguments as for :class:`Forward`; each direction is ``h_dim`` wide, so ``out_dim = 2 * h_dim``. ``cell``
    is a class or function of ``(in_dim, h_dim)``, since two are built.
    """

    causal = False

    def __init__(self, in_dim: int, h_dim: int, *, cell: Causal | Callable[..., Causal] = LSTM) -> None:
        super().__init__()
        if isinstance(cell, nn.Module):
            raise TypeError("Bidirectional builds two cells: pass the cell's class (or functools.partial of it), "
                            f"not the instance {type(cell).__name__}.")
        self.ahead, self.back = Forward(in_dim, h_dim, cell=cell), Backward(in_dim, h_dim, cell=cell)
        self.out_dim = self.ahead.out_dim + self.back.out_dim

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return torch.cat([self.ahead(x, mask), self.back(x, mask)], -1)

    def summary(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return torch.cat([self.ahead.summary(x, mask), self.back.summary(x, mask)], -1)
