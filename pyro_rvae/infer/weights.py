"""Copies of a model's weights: moving averages, and exchanging them for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["Average", "copy_of", "exchanged"]


def copy_of(model: nn.Module) -> dict[str, Tensor]:
    """Weights and buffers, by name, as tensors of their own."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


class Average:
    r"""Exponential moving average of a model's trainable weights.

    .. math::
        \bar w_s = d_s \bar w_{s-1} + (1 - d_s) w_s, \qquad d_s = \min(d, (1 + s) / (10 + s))

    so that the random start is forgotten at once (the rule of TensorFlow's ExponentialMovingAverage).
    Source: Polyak & Juditsky (1992), "Acceleration of Stochastic Approximation by Averaging".

    Arguments:
        model: whose weights; the average starts at them.
        decay: d, between 0 and 1.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        named = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.decay = decay
        self.parameters: list[Tensor] = list(named.values())
        self.values = {name: p.detach().clone() for name, p in named.items()}
        self._list = list(self.values.values())

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after optimizer step ``step`` (1 for the first)."""
        torch._foreach_lerp_(self._list, self.parameters, 1.0 - min(self.decay, (1 + step) / (10 + step)))

    @torch.no_grad()
    def give(self) -> None:
        """Make the average the model's weights."""
        torch._foreach_copy_(self.parameters, self._list)

    @torch.no_grad()
    def load(self, values: dict[str, Tensor]) -> None:
        """Go on from a saved average."""
        for name, value in self.values.items():
            value.copy_(values[name])


@contextmanager
def exchanged(average: Average | None) -> Iterator[None]:
    """Within it the model has its averaged weights (nothing happens without an average)."""
    if average is None:
        yield
        return
    with torch.no_grad():
        own = [p.detach().clone() for p in average.parameters]
        torch._foreach_copy_(average.parameters, average._list)
    try:
        yield
    finally:
        with torch.no_grad():
            torch._foreach_copy_(average.parameters, own)
