"""Delay and Late: forward is the fold of step, and both say what stood before."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import pyro_rvae as rv
from pyro_rvae.nn import Causal, Delay, Late


def fold(part: Any, u: Tensor, init: Tensor | None = None) -> Tensor:
    return Causal.forward(part, u, init)


@pytest.mark.parametrize("length", [1, 2, 5])
@pytest.mark.parametrize("lead", [(), (4,), (3, 1, 4)], ids=str)
@pytest.mark.parametrize("make", [lambda: Delay(3), lambda: Late(rv.LSTM(3, 6)), lambda: Late(rv.GRU(3, 6, layers=2))],
                         ids=["Delay", "Late-LSTM", "Late-GRU-2"])
def test_forward_is_the_fold_of_step(make: Any, lead: tuple[int, ...], length: int) -> None:
    part, u = make(), torch.randn(*lead, length, 3)
    out = part(u)
    assert out.shape == (*lead, length, part.out_dim)
    torch.testing.assert_close(out, fold(part, u), atol=1e-12, rtol=0)


def test_late_is_the_part_one_step_later() -> None:
    part, u = rv.LSTM(3, 6), torch.randn(2, 5, 3)
    before = Late(part)(rv.shift(u, torch.full((3,), 9.0)))
    assert torch.equal(before[:, 0], torch.zeros(2, 6))
    torch.testing.assert_close(before[:, 1:], part(u)[:, :-1], atol=1e-12, rtol=0)
    assert (Late(part).in_dim, Late(part).out_dim) == (3, 6)


def test_delay_from_a_state() -> None:
    u, init = torch.randn(2, 5, 3), torch.randn(2, 3)
    out = Delay(3)(u, init)
    assert torch.equal(out[:, 0], init) and torch.equal(out[:, 1:], u[:, :-1])
    assert torch.equal(out, fold(Delay(3), u, init))


def test_late_takes_no_state() -> None:
    with pytest.raises(ValueError, match="^Late: the part begins at its own zero state"):
        Late(rv.GRU(3, 6))(torch.randn(2, 5, 3), torch.zeros(2, 6))
