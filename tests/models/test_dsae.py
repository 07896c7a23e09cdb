"""DSAE: the two guides, and static parts swapped between sequences by plain Pyro handlers."""

from __future__ import annotations

from typing import Any

import pyro.poutine as poutine
import pytest
import torch
from laws import form, same
from torch import Tensor
from zoo import LENGTHS, MASK, ZOO, B, H, T, X, Z

import pyro_rvae as rv


def inferred(model: Any, x: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
    trace = poutine.trace(model.guide).get_trace(x, mask)
    return {name: site["value"] for name, site in trace.iter_stochastic_nodes() if name != "batch"}


@pytest.mark.parametrize("explicit", [False, True], ids=["vectorised", "explicit"])
@pytest.mark.parametrize("name", ["DSAE", "DSAE-factorised"])
def test_static_parts_are_swapped_by_plain_handlers(name: str, explicit: bool) -> None:
    """v of b, z of a: each frame is drawn from p(x_t | z_t of a, v of b)."""
    model = ZOO[name].make()
    a, b = (inferred(model, ZOO[name].x(seed)) for seed in (0, 1))
    swapped = poutine.condition(model.model, {"v": b["v"], **_named(a["z"], explicit)})
    with form(explicit):
        trace = poutine.trace(swapped).get_trace(size=(B, T))
    logits = model.likelihood.net(torch.cat([a["z"], b["v"].unsqueeze(1).expand(-1, T, -1)], -1))
    laws = [trace.nodes[f"x_{t}"]["fn"] for t in range(T)] if explicit else [trace.nodes["x"]["fn"]]
    drawn = torch.stack([law.mean for law in laws], 1) if explicit else laws[0].mean
    same(drawn, logits.sigmoid(), "x given z of a and v of b")
    own = model.likelihood.net(torch.cat([a["z"], a["v"].unsqueeze(1).expand(-1, T, -1)], -1)).sigmoid()
    assert (drawn - own).abs().amax((1, 2)).min() > 1e-6


def _named(z: Tensor, explicit: bool) -> dict[str, Tensor]:
    return {f"z_{t}": z[:, t] for t in range(T)} if explicit else {"z": z}


def test_swapped_twice_is_the_first() -> None:
    model = ZOO["DSAE"].make()
    a = inferred(model, ZOO["DSAE"].x(0), MASK)
    flipped = {"v": a["v"].flip(0), "z": a["z"]}
    again = {"v": flipped["v"].flip(0), "z": flipped["z"]}
    means = [poutine.trace(poutine.condition(model.model, v)).get_trace(size=(B, T)).nodes["x"]["fn"].mean
             for v in (a, again)]
    same(*means, "x")


def test_v_is_drawn_once_and_looks_at_the_whole_sequence() -> None:
    model, x = ZOO["DSAE"].make(), ZOO["DSAE"].x()
    for t in range(T):
        changed = x.clone()
        changed[:, t] = 1 - x[:, t]
        with rv.given_noise(0):
            v = inferred(model, x, MASK)["v"]
        with rv.given_noise(0):
            moved = (inferred(model, changed, MASK)["v"] - v).abs().amax(-1)
        assert v.shape == (B, Z)
        assert (moved[LENGTHS > t] > 1e-9).all() and (moved[LENGTHS <= t] == 0).all()


@pytest.mark.parametrize(("full", "depends"), [(True, True), (False, False)])
def test_only_the_full_guide_of_z_reads_v(full: bool, depends: bool) -> None:
    model, x = rv.DSAE(X, Z, H, full=full), ZOO["DSAE"].x()
    paths = []
    for v in (torch.zeros(B, Z), torch.ones(B, Z)):
        with rv.given_noise(0):
            paths.append(inferred(poutine_guide(model, v), x)["z"])
    assert bool(((paths[0] - paths[1]).abs() > 1e-9).any()) is depends


def poutine_guide(model: Any, v: Tensor) -> Any:
    class Conditioned:
        guide = staticmethod(poutine.condition(model.guide, {"v": v}))

    return Conditioned


def test_its_own_width_of_v_and_what_it_refuses() -> None:
    model = rv.DSAE(X, Z, H, v_dim=7)
    assert inferred(model, ZOO["DSAE"].x())["v"].shape == (B, 7)
    with pytest.raises(ValueError, match="DSAE: v_dim must be an integer of at least 1, got 0"):
        rv.DSAE(X, Z, H, v_dim=0)
    with pytest.raises(TypeError, match="^static_encoder: expected an Encoder .*got LSTM of pyro_rvae.nn"):
        rv.DSAE(X, Z, H, static_encoder=rv.LSTM)
    with pytest.raises(TypeError, match="^smoother: expected a Causal part .*got Backward"):
        rv.DSAE(X, Z, H, smoother=rv.Backward)
    with pytest.raises(ValueError, match="^GaussianChain reads the previous latent; DSAE's posterior is given r_t"):
        rv.DSAE(X, Z, H, posterior=rv.GaussianChain)


@pytest.mark.parametrize("prior", [rv.StandardNormal, rv.Weightless])
def test_a_prior_without_inputs_leaves_the_recurrence_untrained(prior: Any) -> None:
    model = rv.DSAE(X, Z, H, prior=prior)
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert frozen and all(name == "z0" or name.startswith("recurrence.") for name in frozen)
