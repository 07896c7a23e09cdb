"""The sites of a trace, and whose they are."""

from __future__ import annotations

import pytest
import torch
from zoo import MASK, ZOO, B

from pyro_rvae.core.traces import guide_trace, in_batch, replayed, sites
from pyro_rvae.data import Batch


@pytest.mark.parametrize(("name", "shared"), [("VRNN", False), ("shared", True)])
def test_sites(name: str, shared: bool) -> None:
    case = ZOO[name]
    model, batch = case.make(), Batch(case.x(), MASK, index=torch.arange(B), **case.extra())
    guide = guide_trace(model, batch)
    program = replayed(model, batch, guide)
    latents = sites(program, observed=False)
    assert sites(program, observed=True).keys() == {"x"} and "batch" in program.nodes
    assert sites(program).keys() == {"x", *latents} and latents.keys() == sites(guide).keys()
    assert all(latents[n]["value"] is site["value"] for n, site in sites(guide).items())
    assert in_batch(latents["z"]) and in_batch(program.nodes["x"])
    assert all(in_batch(site) for site in latents.values()) != shared
