"""Encoders: ``(x, mask) -> features``. What stands in the padding never matters.

``forward`` gives one feature vector a step, ``summary`` one a sequence.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .causal import LSTM, Causal
from .networks import MLP, lacks, origin
from .unfolding import refuse_frames

__all__ = ["Backward", "Bidirectional", "Encoder", "Forward", "Pointwise", "last", "reverse"]


def reverse(sequence: Tensor, mask: Tensor | None = None) -> Tensor:
    """Reverse each sequence ``(..., T, d)`` within its own length; the padding stays behind it."""
    refuse_frames("an encoder or a smoother that reads from a sequence's end looks ahead")
    if mask is None:
        return sequence.flip(-2)
    time = torch.arange(mask.shape[-1], device=mask.device)
    index = torch.where(mask, mask.sum(-1, keepdim=True) - 1 - time, time)
    return sequence.take_along_dim(_like(index, sequence), -2)


def last(sequence: Tensor, mask: Tensor | None = None) -> Tensor:
    """The value at each sequence's last valid step: ``(..., T, d) -> (..., d)``."""
    refuse_frames("a summary is of a whole sequence")
    if mask is None:
        return sequence[..., -1, :]
    index = (mask.sum(-1, keepdim=True) - 1).clamp_min(0)
    return sequence.take_along_dim(_like(index, sequence), -2).squeeze(-2)


def _takes_mask(part: Any) -> bool:
    """Whether ``part(x, mask)`` can be called; what has no signature is believed."""
    if not callable(part):
        return False
    try:
        inspect.signature(getattr(part, "forward", part)).bind(None, None)
    except TypeError:
        return False
    except ValueError:
        return True
    return True


def _like(index: Tensor, sequence: Tensor) -> Tensor:
    """An index of steps ``(B, n)`` for sequences that may have further dims in front (particles)."""
    return index.unsqueeze(-1).expand(*sequence.shape[:-2], index.shape[-1], 1)


class Encoder(nn.Module):
    """Features of a sequence: ``(x (B, T, d), mask (B, T)) -> (B, T, out_dim)``.

    Attributes:
        out_dim: width of a feature vector.
        causal: whether the feature at t looks at ``x_1..x_t`` only, so that a guide built on it is a filter.

    A model takes any module with ``out_dim`` and ``forward(x, mask)``; the base class adds the summary.
    """

    out_dim: int
    causal: bool

    @classmethod
    def fault(cls, part: Any) -> str:
        """What keeps ``part`` from serving as an encoder, or an empty string; no base class is asked for."""
        missing = lacks(part, "out_dim")
        if isinstance(part, Encoder) and missing:
            return f"{origin(part)} does not set {', '.join(missing)} in its constructor"
        if not missing and not isinstance(part, Causal) and _takes_mask(part):
            return ""
        cell = f"; to encode with it, functools.partial(rv.Forward, cell=rv.{type(part).__name__})"
        return ("expected an Encoder (Forward, Backward, Bidirectional, Pointwise, or a module of your own with "
                f"out_dim and forward(x, mask)), got {origin(part)}"
                + (cell if type(part).__name__ in ("LSTM", "GRU", "RNN") else ""))

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
        self.net, self.in_dim, self.out_dim = net or MLP(in_dim, h_dim, hidden=(h_dim,)), in_dim, h_dim

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.net(x)  # type: ignore[no-any-return]

    def summary(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        refuse_frames("a summary is of a whole sequence")
        g = self(x, mask)
        if mask is None:
            return g.mean(-2)  # type: ignore[no-any-return]
        return torch.where(mask.unsqueeze(-1), g, 0.0).sum(-2) / mask.sum(-1, keepdim=True).clamp_min(1)


class _Recurrent(Encoder):
    """What the recurrent encoders share: dropout on the features, and x_t itself beside them.

    Arguments:
        in_dim, h_dim: widths of ``x_t`` and of one direction's features.
        cell: class of a causal part (LSTM, GRU, RNN), or a function of ``(in_dim, h_dim)`` that builds one.
        dropout: on the features, in training mode.
        append: whether ``x_t`` stands behind the recurrent features, so that no gate lies between it and a guide.
    """

    directions = 1

    def __init__(self, in_dim: int, h_dim: int, *, cell: Callable[[int, int], Causal] = LSTM, dropout: float = 0.0,
                 append: bool = False) -> None:
        super().__init__()
        if isinstance(cell, nn.Module):
            raise TypeError(f"{type(self).__name__}: pass the cell's class (or functools.partial of it), "
                            f"not the instance {type(cell).__name__}.")
        cells = [cell(in_dim, h_dim) for _ in range(self.directions)]
        fault = Causal.fault(cells[0])
        if fault:
            raise TypeError(f"{type(self).__name__}: cell: {fault}.")
        self.cells = nn.ModuleList(cells)
        self.dropout, self.append = nn.Dropout(dropout), append
        self.in_dim, self.out_dim = in_dim, sum(cell.out_dim for cell in cells) + (in_dim if append else 0)

    def read(self, x: Tensor, mask: Tensor | None) -> list[Tensor]:
        """The features of each direction."""
        raise NotImplementedError

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        features = [self.dropout(g) for g in self.read(x, mask)]
        return torch.cat([*features, x], -1) if self.append else torch.cat(features, -1)

    def extra_repr(self) -> str:
        return f"out_dim={self.out_dim}, append={self.append}"


class Forward(_Recurrent):
    """``g_t = f(x_1, ..., x_t)``: a filter's view."""

    causal = True

    def read(self, x: Tensor, mask: Tensor | None) -> list[Tensor]:
        return [self.cells[0](x)]  # padding comes last: it can't reach a valid step


class Backward(_Recurrent):
    """``g_t = f(x_t, ..., x_T)``: each sequence is read from its own last valid step to its first."""

    causal = False
    anticausal = True  # the feature at t looks at nothing before x_t

    def read(self, x: Tensor, mask: Tensor | None) -> list[Tensor]:
        return [reverse(self.cells[0](reverse(x, mask)), mask)]

    def summary(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self(x, mask)[..., 0, :]  # type: ignore[no-any-return]


class Bidirectional(_Recurrent):
    """``g_t = [f(x_1..x_t), b(x_t..x_T)]``; the summary joins both directions' last states."""

    causal = False
    directions = 2

    def read(self, x: Tensor, mask: Tensor | None) -> list[Tensor]:
        return [self.cells[0](x), reverse(self.cells[1](reverse(x, mask)), mask)]

    def summary(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        ahead, back = self.read(x, mask)
        features = [self.dropout(last(ahead, mask)), self.dropout(back[..., 0, :])]
        return torch.cat([*features, last(x, mask)] if self.append else features, -1)
