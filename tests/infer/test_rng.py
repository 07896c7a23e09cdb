"""The state of a run's random numbers comes back."""

from __future__ import annotations

import torch

from pyro_rvae.infer.rng import get_states, set_states

CPU = torch.device("cpu")


def test_states_come_back() -> None:
    states = get_states(CPU)
    assert states["cpu"].dtype == torch.uint8
    expected = torch.rand(2)
    set_states(CPU, states)
    assert torch.equal(torch.rand(2), expected)
