"""The causal law: forward equals the fold of step; and the scan against a loop."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from small_models import Attention
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

import pyro_rvae as rv
from pyro_rvae.nn import linear_scan

IN, OUT = 3, 4
CELLS = {"LSTM": rv.LSTM, "GRU": rv.GRU, "RNN": rv.RNN, "RNN relu": partial(rv.RNN, relu=True)}


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("lead", [(), (2,), (3, 2)], ids=str)
@pytest.mark.parametrize("given", [False, True], ids=["zero", "init"])
@pytest.mark.parametrize("length", [1, 5])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_forward_is_the_fold_of_step(cell: str, layers: int, length: int, given: bool, lead: tuple[int, ...]) -> None:
    causal = CELLS[cell](IN, OUT, layers=layers)
    u = torch.randn(*lead, length, IN, requires_grad=True)
    init = torch.randn(*lead, causal.state_dim) if given else None
    fused, folded = causal(u, init), rv.Causal.forward(causal, u, init)
    assert fused.shape == (*lead, length, causal.out_dim) == (*lead, length, OUT)
    close(fused, folded)
    weight = torch.randn_like(fused)
    inputs = [u, *causal.parameters()]
    for ours, theirs in zip(*(torch.autograd.grad((y * weight).sum(), inputs) for y in (fused, folded)), strict=True):
        close(ours, theirs)


def test_a_causal_part_of_ones_own_is_folded() -> None:
    causal, u = Attention(IN, OUT), torch.randn(2, 5, IN)
    state, outputs = None, []
    for t in range(5):
        y, state = causal.step(u[:, t], state)
        outputs.append(y)
    close(causal(u), torch.stack(outputs, 1))


@pytest.mark.parametrize("cell", CELLS)
def test_the_output_never_sees_the_future(cell: str) -> None:
    causal, u = CELLS[cell](IN, OUT, layers=2), torch.randn(2, 6, IN)
    later = u.clone()
    later[:, 3:] = torch.randn(2, 3, IN)
    close(causal(u)[:, :3], causal(later)[:, :3])
    assert not torch.allclose(causal(u)[:, 3:], causal(later)[:, 3:])


@pytest.mark.parametrize("cell", CELLS)
def test_leading_dims_of_state_and_input_broadcast(cell: str) -> None:
    """One start for all particles, or one input for all of them."""
    causal, u = CELLS[cell](IN, OUT), torch.randn(2, 5, IN)
    init = torch.randn(3, 2, causal.state_dim)
    expected = torch.stack([causal(u, one) for one in init])
    close(causal(u, init), expected)
    close(rv.Causal.forward(causal, u, init), expected)
    close(causal(u.expand(3, 2, 5, IN), init[0]), torch.stack([causal(u, init[0])] * 3))


@pytest.mark.parametrize("cell", CELLS)
def test_a_start_of_the_wrong_width_is_refused(cell: str) -> None:
    causal = CELLS[cell](IN, OUT, layers=2)
    with pytest.raises(ValueError, match=f"init must be {causal.state_dim} wide.*got 3; see `state_dim`"):
        causal(torch.zeros(2, 5, IN), torch.zeros(2, 3))


def test_a_causal_part_needs_a_step() -> None:
    with pytest.raises(NotImplementedError):
        rv.Causal()(torch.zeros(2, 5, IN))


@pytest.mark.parametrize("cell", CELLS)
def test_dropout_between_the_layers(cell: str) -> None:
    """In training it changes the outputs, in both readings; in evaluation it does nothing."""
    causal, u = CELLS[cell](IN, OUT, layers=2, dropout=0.5), torch.randn(2, 5, IN)
    for run in (causal, partial(rv.Causal.forward, causal)):
        assert not torch.equal(run(u), run(u))
    causal.eval()
    close(causal(u), rv.Causal.forward(causal, u))


def test_dropout_is_fresh_at_every_step() -> None:
    causal = rv.GRU(1, 64, layers=2, dropout=0.5)
    y, state = causal.step(torch.zeros(1), None)
    again, _ = causal.step(torch.zeros(1), None)
    assert not torch.equal(y, again) and len(state) == 2


# ------------------------------------------------------------------------------------------------------ the scan
def loop(a: Tensor, b: Tensor, init: Tensor | None = None) -> Tensor:
    h, outputs = torch.zeros_like(b[..., 0, :]) if init is None else init, []
    a, b = torch.broadcast_tensors(a, b)
    for t in range(b.shape[-2]):
        h = a[..., t, :] * h + b[..., t, :]
        outputs.append(h)
    return torch.stack(torch.broadcast_tensors(*outputs), -2)


LENGTHS = [1, 2, 3, 7, 8, 16, 33]


@pytest.mark.parametrize("given", [False, True], ids=["zero", "init"])
@pytest.mark.parametrize("length", LENGTHS)
def test_scan_equals_the_loop(length: int, given: bool) -> None:
    a, b = torch.randn(2, 3, length, 4), torch.randn(2, 3, length, 4)
    init = torch.randn(2, 3, 4) if given else None
    close(linear_scan(a, b, init), loop(a, b, init))


@pytest.mark.parametrize("length", LENGTHS)
def test_gradients_of_the_scan_equal_the_loops(length: int) -> None:
    inputs = [torch.randn(2, length, 3, requires_grad=True), torch.randn(2, length, 3, requires_grad=True),
              torch.randn(2, 3, requires_grad=True)]
    weight = torch.randn(2, length, 3)
    ours, theirs = (torch.autograd.grad((f(*inputs) * weight).sum(), inputs) for f in (linear_scan, loop))
    for one, other in zip(ours, theirs, strict=True):
        close(one, other)


@pytest.mark.parametrize("length", [1, 2, 5, 8])
def test_scan_passes_gradcheck_twice(length: int) -> None:
    inputs: list[Any] = [torch.randn(2, length, 2, requires_grad=True) for _ in range(2)]
    inputs.append(torch.randn(2, 2, requires_grad=True))
    assert gradcheck(linear_scan, inputs) and gradgradcheck(linear_scan, inputs)


@pytest.mark.parametrize(("a", "b", "init"), [
    ((5, 1), (2, 5, 3), None), ((2, 5, 3), (5, 3), None), ((2, 1, 3), (4, 2, 5, 3), None),
    ((5, 3), (5, 3), (2, 3)), ((1, 5, 3), (2, 5, 3), (4, 2, 3)), ((1, 3), (1, 3), (2, 3)),
], ids=str)
def test_scan_broadcasts(a: tuple[int, ...], b: tuple[int, ...], init: tuple[int, ...] | None) -> None:
    tensors = [torch.randn(shape) for shape in (a, b, init) if shape is not None]
    close(linear_scan(*tensors), loop(*tensors))


def test_scan_takes_zeros_negative_and_growing_factors() -> None:
    """It never passes through logarithms."""
    a = torch.tensor([0.0, -2.0, 3.0, 0.0, 1.5, -1.0, 0.5]).unsqueeze(-1)
    b = torch.linspace(-1, 1, 7).unsqueeze(-1)
    close(linear_scan(a, b), loop(a, b))


def test_scan_is_exact_over_a_long_sequence() -> None:
    a, b = torch.rand(1, 4097, 2), torch.randn(1, 4097, 2)
    close(linear_scan(a, b), loop(a, b))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("part", ["LSTM", "GRU", "RNN", "two layers"])
def test_step_of_is_the_step_of_the_joined_inputs(part: str, bias: bool) -> None:
    """Also where the inputs belong to different numbers of particles, from the start and from a state."""
    built = {"LSTM": lambda: rv.LSTM(5, 4), "GRU": lambda: rv.GRU(5, 4), "RNN": lambda: rv.RNN(5, 4),
             "two layers": lambda: rv.LSTM(5, 4, layers=2)}[part]()
    if not bias:
        built.rnn = type(built.rnn)(5, 4, built.rnn.num_layers, batch_first=True, bias=False)
    inputs, state, joined = (torch.randn(3, 2, 2, requires_grad=True), torch.randn(2, 3)), None, None
    for _ in range(3):
        y, state = built.step_of(inputs, state)
        expected, joined = built.step(torch.cat([inputs[0], inputs[1].expand(3, 2, 3)], -1), joined)
        torch.testing.assert_close(y, expected)
    weights = list(built.parameters())
    for a, b in zip(torch.autograd.grad(y.sum(), weights, retain_graph=True),
                    torch.autograd.grad(expected.sum(), weights), strict=True):
        torch.testing.assert_close(a, b)
