"""Filters and smoothers by what they do: does the law of z_t change when a frame after t does?"""

from __future__ import annotations

from functools import partial
from typing import Any

import pyro.poutine as poutine
import pytest
import torch
from laws import form
from torch import Tensor
from zoo import LENGTHS, MASK, ZOO, B, H, T, X, Z

import pyro_rvae as rv

FILTERS = ["VRNN", "VRNN-deep", "STORN", "SRNN-filter", "DMM-filter", "DMM-ST-L", "DMM-MF-L", "RVAE-pointwise"]
SMOOTHERS = ["SRNN", "SRNN-plain", "DMM", "DMM-combiner", "DMM-combiner-both", "DMM-MF-LR", "RVAE", "RVAE-feedback",
             "RVAE-noncausal-feedback", "DSAE", "ZForcing"]


def path(model: Any, x: Tensor, explicit: bool = False) -> Tensor:
    """z ``(B, T, d)`` on the given noise: as a draw moves, so does its law."""
    with form(explicit), rv.given_noise(0), torch.no_grad():
        nodes = poutine.trace(model.guide).get_trace(x, MASK).nodes
    return torch.stack([nodes[f"z_{t}"]["value"] for t in range(T)], -2) if explicit else nodes["z"]["value"]


def moved(model: Any, x: Tensor, first: int, explicit: bool = False) -> Tensor:
    """How far each z_t moves, ``(B, T)``, when the frames from ``first`` on are others."""
    changed = torch.where(torch.arange(T)[:, None] < first, x, 1 - x)
    return (path(model, x, explicit) - path(model, changed, explicit)).abs().amax(-1)


@pytest.mark.parametrize("explicit", [False, True], ids=["vectorised", "explicit"])
@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_never_looks_ahead(name: str, explicit: bool) -> None:
    model, x = ZOO[name].make(), ZOO[name].x()
    for first in range(1, T):
        by = moved(model, x, first, explicit)
        assert by[:, :first].max() == 0
        assert (by[LENGTHS > first, first] > 1e-6).all()  # it looks at its own frame


@pytest.mark.parametrize("name", SMOOTHERS)
def test_a_smoother_looks_ahead(name: str) -> None:
    """Every z_t, to the first, moves with the last frame of its sequence."""
    model, x = ZOO[name].make(), ZOO[name].x()
    for i, length in enumerate(LENGTHS.tolist()):
        assert (moved(model, x, length - 1)[i, :length] > 1e-12).all()


def test_the_factorised_guide_of_the_dsae_looks_at_one_frame() -> None:
    """v looks at all of x; q(z_t | x_t) at one frame."""
    model, x = ZOO["DSAE-factorised"].make(), ZOO["DSAE-factorised"].x()
    changed = x.clone()
    changed[:, 2] = 1 - x[:, 2]
    by = (path(model, x) - path(model, changed)).abs().amax(-1)
    assert (by[LENGTHS > 2, 2] > 1e-6).all() and by[:, [0, 1, 3, 4, 5]].max() == 0


# ------------------------------------------------------------------------------------------------ SRNN's argument
class Own(rv.Pointwise):
    """An encoder of one's own that says nothing of its direction."""

    causal: Any = None


@pytest.mark.parametrize(("encoder", "message"), [
    (rv.Backward, "Backward looks ahead"),
    (partial(rv.Bidirectional, cell=rv.GRU), "Bidirectional looks ahead"),
    (rv.Backward(H + X, H), "Backward looks ahead"),
    (Own, "Own does not say whether it looks ahead"),
])
def test_a_filtering_srnn_refuses_an_encoder_that_may_look_ahead(encoder: Any, message: str) -> None:
    match = f"^encoder: with smoothing=False the guide is a filter, and {message}; pass rv.Pointwise, rv.Forward, or"
    with pytest.raises(ValueError, match=match):
        rv.SRNN(X, Z, H, smoothing=False, encoder=encoder)
    rv.SRNN(X, Z, H, encoder=encoder)  # a smoother may


@pytest.mark.parametrize("encoder", [None, rv.Pointwise, rv.Forward])
def test_a_filtering_srnn_takes_a_causal_encoder(encoder: Any) -> None:
    model = rv.SRNN(X, Z, H, smoothing=False, encoder=encoder)
    x = torch.zeros(B, T, X)
    by = moved(model, x, 3)
    assert by[:, :3].max() == 0 and by[0, 3] > 0
