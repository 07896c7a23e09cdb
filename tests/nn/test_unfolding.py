"""Parts that read a sequence one frame at a time give what they give of all of it, or say that they can't."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

import pyro_rvae as rv
from pyro_rvae.core.streaming import Frame, Moment
from pyro_rvae.nn import Delay, Late, last, reverse
from pyro_rvae.nn.unfolding import Unstreamable, frame_by_frame, unfolding

B, T, D, H = 2, 5, 3, 4

PARTS: dict[str, Any] = {
    "LSTM": partial(rv.LSTM, D, H), "GRU-2": partial(rv.GRU, D, H, layers=2), "RNN": partial(rv.RNN, D, H),
    "delay": partial(Delay, D), "late": lambda: Late(rv.LSTM(D, H)),
    "Kalman": lambda: rv.MixtureKalman(D - 1, 2, H, modes=2), "forward": partial(rv.Forward, D, H, append=True),
    "pointwise": partial(rv.Pointwise, D, H),
}


def unfolded(program: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """``program``, run once for each frame."""
    outputs, old = [], None
    for frame in x.split(1, -2):
        moment = Moment((1, B), old)
        with frame_by_frame(Frame(moment, "guide", "a model")):
            outputs.append(program(frame))
        old = moment.new
    return torch.cat(outputs, -2)


@pytest.mark.parametrize("make", PARTS.values(), ids=PARTS)
def test_frame_by_frame_it_gives_what_it_gives_of_all(make: Any) -> None:
    part, x = make(), torch.randn(B, T, D)
    torch.testing.assert_close(unfolded(part, x), part(x))


@pytest.mark.parametrize("part", [rv.LSTM(D, H), rv.GRU(D, H), Delay(D)])
def test_it_begins_where_it_is_told_to(part: Any) -> None:
    x, init = torch.randn(B, T, D), torch.randn(B, part.state_dim)
    torch.testing.assert_close(unfolded(lambda frame: part(frame, init), x), part(x, init))


def test_each_call_has_a_state_of_its_own() -> None:
    part, x, init = rv.LSTM(D, D), torch.randn(B, T, D), torch.randn(D)

    def program(x: Tensor) -> Tensor:
        return rv.shift(part(rv.shift(part(x), init)), 2 * init) + part(x)

    torch.testing.assert_close(unfolded(program, x), program(x))


def test_a_sequence_along_another_axis_is_read_as_ever() -> None:
    part, x = rv.LSTM(D, H), torch.randn(B, T, 6, D)
    with frame_by_frame(Frame(Moment((1, B)), "guide", "a model")):
        torch.testing.assert_close(part(x[:, 0]), rv.LSTM.forward(part, x[:, 0]))


LOOK: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "Backward": (rv.Backward(D, H), "from a sequence's end looks ahead"),
    "Bidirectional": (rv.Bidirectional(D, H), "from a sequence's end"),
    "SelfAttention": (rv.SelfAttention(D, 6, heads=2), "looks ahead"),
    "SelfAttention-forward": (rv.SelfAttention(D, 6, base=rv.Forward), "Attention attends to a whole sequence"),
    "reverse": (reverse, "from a sequence's end"), "last": (last, "a summary is of a whole sequence"),
    "Forward.summary": (rv.Forward(D, H).summary, "a summary is of a whole sequence"),
    "Pointwise.summary": (rv.Pointwise(D, H).summary, "a summary is of a whole sequence"),
    "Attention": (rv.Attention(D, D, H).over, "attends to a whole sequence"),
    "messages": (lambda x: rv.BackwardMessages(2).smooth(torch.zeros(B, 1, 2, 2)), "looks ahead"),
    "scan": (lambda x: rv.linear_scan(x, x), "linear_scan runs over a whole path"),
    "affine scan": (lambda x: rv.affine_scan(torch.zeros(1, D, D), x), "affine_scan runs over a whole path"),
}


@pytest.mark.parametrize("look", LOOK.values(), ids=LOOK)
def test_what_looks_ahead_says_so(look: tuple[Any, str]) -> None:
    part, why = look
    part(torch.randn(B, 1, D))
    with pytest.raises(Unstreamable, match=f"guide of a model.*{why}"):
        unfolded(part, torch.randn(B, T, D))
    assert unfolding() is None
