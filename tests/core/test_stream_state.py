"""The state of a stream: names for a tree of tensors, and which of their dims are particles and series."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import pytest
import torch
from torch import Tensor

from pyro_rvae.core.stream_state import SIZES, Layout, flatten, layout_of, rebuild
from pyro_rvae.nn.unfolding import Unstreamable

Pair = namedtuple("Pair", ["mean", "scale"])


def trials(make: Any, frames: int = 5) -> list[list[Any]]:
    return [[make(t, k, b) for t in range(frames)] for k, b in SIZES]


def test_a_tree_has_names_and_comes_back() -> None:
    h, tree = torch.ones(2), {"a": [(torch.zeros(1), None)], "b": Pair(torch.ones(3), [])}
    tree["a"].append(h)
    state, template = flatten(tree)
    assert list(state) == ["/a/0/0", "/a/1", "/b/mean".replace("mean", "0")]
    back = rebuild(template, state)
    assert isinstance(back["b"], Pair) and isinstance(back["a"][0], tuple) and back["a"][1] is h
    assert back["a"][0][1] is None and back["b"].scale == []


def test_which_dims_are_whose() -> None:
    layout = layout_of(trials(lambda t, k, b: {
        "both": torch.zeros(k, b, 7), "series": torch.zeros(b, 3, 3), "none": torch.eye(4), "one": torch.zeros(1, b, 2),
        "later": torch.zeros(b, 2) if t < 2 else torch.zeros(k, b, 2), "bare": torch.zeros(2) if not t else
        torch.zeros(k, b, 2)}))
    assert layout.axes == {"/both": 2, "/series": 1, "/none": 0, "/one": 2, "/later": 2, "/bare": 2}
    assert layout.like["/later"].shape == (2,) and layout.like["/none"].shape == (4, 4)
    assert {n: tuple(v.shape) for n, v in layout.empty(6, 3).items()} == {
        "/both": (6, 3, 7), "/series": (3, 3, 3), "/none": (4, 4), "/one": (6, 3, 2), "/later": (6, 3, 2),
        "/bare": (6, 3, 2)}
    assert layout.age(1) == layout.age(9) == 1  # its form never changes


def test_a_form_that_settles() -> None:
    layout = layout_of(trials(lambda t, k, b: {"late": (None,) if t < 2 else (torch.zeros(k, b),)}))
    assert [layout.age(n) for n in (1, 2, 3, 4, 99)] == [1, 2, 3, 3, 3]


def moved(layout: Layout) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    h = torch.arange(6.0).reshape(3, 2, 1)
    state = layout.spread({"/h": h, "/same": h, "/x": torch.tensor([[5.0], [6.0]])}, 3, 2)
    ancestors = torch.tensor([[2, 0], [2, 1], [0, 1]])
    return state, layout.survived(state, ancestors), h


def test_particles_survive_and_series_are_picked() -> None:
    layout = layout_of(trials(lambda t, k, b: {"h": torch.zeros(k, b, 1), "same": torch.zeros(k, b, 1),
                                               "x": torch.zeros(b, 1)}))
    state, later, h = moved(layout)
    assert later["/h"].squeeze(-1).tolist() == [[4, 1], [4, 3], [0, 3]] and later["/h"] is later["/same"]
    assert later["/x"] is state["/x"]
    rows = torch.tensor([1])
    mine = layout.picked(later, rows)
    assert mine["/h"].squeeze(-1).tolist() == [[1], [3], [3]] and mine["/x"].tolist() == [[6.0]]
    back = layout.replaced(state, rows, mine)
    assert back["/h"].squeeze(-1).tolist() == [[0, 1], [2, 3], [4, 3]] and back["/h"] is back["/same"]
    assert torch.equal(state["/h"], h)  # nothing is written into


@pytest.mark.parametrize(("make", "error"), [
    (lambda t, k, b: {"s": torch.zeros(b, k)}, r"'/s' has shape \(3, 2\) for 2 particles of 3 series"),
    (lambda t, k, b: {"s": torch.zeros(k, 2)}, "needs .particles, series"),
    (lambda t, k, b: {"s": torch.zeros(k, b, t)}, "'/s' grows from frame to frame"),
    (lambda t, k, b: {"s": torch.full((2,), float(t))}, "changes with time and has no dim of the series"),
    (lambda t, k, b: {"s": [torch.zeros(b)] * t}, "another form at each frame"),
    (lambda t, k, b: {"s": torch.zeros(b), **({"first": torch.zeros(b)} if not t else {})}, "first frames only"),
    (lambda t, k, b: {"s": 1.0}, "holds a float"),
])
def test_states_that_can_not_be_kept(make: Any, error: str) -> None:
    with pytest.raises(Unstreamable, match=error):
        layout_of(trials(make))
