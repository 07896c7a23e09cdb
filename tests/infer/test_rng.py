"""Random streams: forked, seeded by rank, saved."""

from __future__ import annotations

import torch

from pyro_rvae.infer.rng import forked, get_states, seed_generators, set_states

CPU = torch.device("cpu")


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


def test_states_come_back() -> None:
    states = get_states(CPU)
    assert states["cpu"].dtype == torch.uint8
    expected = torch.rand(2)
    set_states(CPU, states)
    assert torch.equal(torch.rand(2), expected)
