"""Every model's densities against its paper's equations, written again in plain torch."""

from __future__ import annotations

from functools import partial

import equations as eq
import pyro.poutine as poutine
import pytest
import torch
from laws import form, per_sequence, same
from torch import Tensor
from zoo import LENGTHS, MASK, ZOO, B, T, Z

EQUATIONS = {
    "VRNN": eq.vrnn, "RVAE": eq.rvae, "STORN": eq.storn, "VRAE": eq.vrae, "DMM": eq.dmm, "VAE": eq.vae,
    "DMM-skip": eq.dmm,
    "DMM-combiner": partial(eq.dmm, posterior=eq.combiner),
    "DMM-combiner-both": partial(eq.dmm, posterior=eq.combiner),
    "DMM-skip-combiner": partial(eq.dmm, posterior=eq.combiner),
}


def latents(name: str) -> Tensor:
    return torch.randn(B, Z) if name in ("VRAE", "VAE") else torch.randn(B, T, Z)


@pytest.mark.parametrize("explicit", [False, True], ids=["vectorised", "explicit"])
@pytest.mark.parametrize("masked", [False, True], ids=["full", "ragged"])
@pytest.mark.parametrize("name", EQUATIONS)
def test_both_readings_equal_the_papers_equations(name: str, masked: bool, explicit: bool) -> None:
    if name == "VAE" and masked:
        pytest.skip("static data have no mask")
    model, x, z = ZOO[name].make(), ZOO[name].x(), latents(name)
    mask = MASK if masked else None
    values = {f"z_{t}": z[:, t] for t in range(T)} if explicit and z.dim() == 3 else {"z": z}
    with form(explicit):
        p = poutine.trace(poutine.condition(model.model, values)).get_trace(x, mask)
        q = poutine.trace(poutine.condition(model.guide, values)).get_trace(x, mask)
    lengths = LENGTHS.tolist() if masked else [T] * B
    for i, length in enumerate(lengths):
        mine = [v[i, :length] if v.dim() == 3 else v[i] for v in (x, z)]
        log_p, log_q = EQUATIONS[name](model, *mine)
        same(per_sequence(p)[i], log_p, f"{name}: log joint of sequence {i}")
        same(per_sequence(q)[i], log_q, f"{name}: log guide of sequence {i}")


def test_a_wrong_equation_is_seen() -> None:
    """The same comparison fails for a VRNN whose prior sees the step before's h."""
    model, x, z = ZOO["VRNN"].make(), ZOO["VRNN"].x(), torch.randn(B, T, Z)
    trace = poutine.trace(poutine.condition(model.model, {"z": z})).get_trace(x)
    log_p, _ = eq.vrnn(model, x[0], z[0].roll(1, 0))
    with pytest.raises(AssertionError, match="differs"):
        same(per_sequence(trace)[0], log_p, "log joint")
