"""Contexts put back what they changed: modes, gradients, Pyro's store, random streams."""

from __future__ import annotations

import pyro
import pyro.poutine as poutine
import pytest
import torch
from torch import nn
from zoo import ZOO

from pyro_rvae.core.contexts import evaluating, forked, keeping_modes, seed_generators, seeded

CPU = torch.device("cpu")


def network() -> nn.Sequential:
    net = nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.5), nn.Linear(3, 1))
    net[1].eval()
    return net


def test_modes_come_back_one_by_one_even_if_something_fails() -> None:
    net = network()
    with pytest.raises(RuntimeError, match="on purpose"), keeping_modes(net):
        net.eval()
        raise RuntimeError("on purpose")
    assert [m.training for m in net] == [True, False, True]


def test_evaluating() -> None:
    net = network()
    with evaluating(net):
        assert not any(m.training for m in net.modules())
        assert not torch.is_grad_enabled()
    assert [m.training for m in net] == [True, False, True] and torch.is_grad_enabled()


def test_evaluating_registers_nothing() -> None:
    model, x = ZOO["VRNN"].make(), ZOO["VRNN"].x()
    with evaluating(model):
        poutine.trace(model.guide).get_trace(x)
    assert not dict(pyro.get_param_store().items())
    poutine.trace(model.guide).get_trace(x)
    assert dict(pyro.get_param_store().items())


def test_forked_leaves_the_stream() -> None:
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    with forked(CPU):
        seed_generators(CPU, 5)
        torch.rand(7)
    assert torch.equal(torch.rand(2), expected)


def test_one_process_has_the_seed_itself_and_ranks_differ() -> None:
    torch.manual_seed(5)
    expected = torch.rand(2)
    seed_generators(CPU, 5)
    assert torch.equal(torch.rand(2), expected)
    seed_generators(CPU, 5, rank=1)
    assert not torch.equal(torch.rand(2), expected)


def test_seeded_is_forked_and_seeded() -> None:
    torch.manual_seed(5)
    expected = torch.rand(2)
    state = torch.get_rng_state()
    with seeded(5):
        assert torch.equal(torch.rand(2), expected)
    assert torch.equal(torch.get_rng_state(), state)
    with seeded(5, CPU, 1):
        assert not torch.equal(torch.rand(2), expected)


def test_without_a_seed_the_callers_stream_moves() -> None:
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    with seeded(None):
        assert torch.equal(torch.rand(2), expected)
    assert not torch.equal(torch.rand(2), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpus_stream_is_seeded_and_put_back() -> None:
    device = torch.device("cuda")
    state = torch.cuda.get_rng_state(device)
    drawn = []
    for _ in range(2):
        with seeded(5, device):
            drawn.append(torch.rand(2, device=device))
    assert torch.equal(*drawn) and torch.equal(torch.cuda.get_rng_state(device), state)


def test_the_stream_of_mps_is_seeded_and_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of calls only: such a device is rarely at hand."""
    calls: list[tuple[str, object]] = []
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda: "before")
    monkeypatch.setattr(torch.mps, "manual_seed", lambda seed: calls.append(("seed", seed)))
    monkeypatch.setattr(torch.mps, "set_rng_state", lambda state: calls.append(("put back", state)))
    with seeded(5, torch.device("mps")):
        assert calls == [("seed", 5)]
    assert calls[1:] == [("put back", "before")]
