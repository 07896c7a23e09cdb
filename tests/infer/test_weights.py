"""Averages and exchanges leave a model as they found it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pyro_rvae.infer.weights import Average, copy_of, exchanged


def model() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.5), nn.Linear(3, 1))


def test_exchanged_for_a_while_even_if_something_fails() -> None:
    net = model()
    average, before = Average(net, 0.5), copy_of(net)
    for p in net.parameters():
        p.data += 1.0
    average.update(1)
    moved = copy_of(net)
    with pytest.raises(RuntimeError, match="on purpose"), exchanged(average):
        for name, value in net.state_dict().items():  # decay (1 + 1) / (10 + 1)
            torch.testing.assert_close(value, before[name] * 2 / 11 + moved[name] * 9 / 11)
        raise RuntimeError("on purpose")
    assert all(torch.equal(moved[name], value) for name, value in net.state_dict().items())
    average.give()
    assert all(torch.equal(average.values[name], p) for name, p in net.named_parameters())


def test_without_an_average_nothing_happens() -> None:
    net = model()
    with exchanged(None):
        assert net[0].weight.requires_grad


def test_frozen_weights_are_not_averaged() -> None:
    net = model()
    net[0].requires_grad_(False)
    assert set(Average(net, 0.9).values) == {"2.weight", "2.bias"}


def test_a_copy_is_of_its_own() -> None:
    net = model()
    copy = copy_of(net)
    net[0].weight.data += 1.0
    assert not torch.equal(copy["0.weight"], net[0].weight) and not copy["0.weight"].requires_grad
