"""Every model's densities against its paper's equations, written again in plain torch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import equations as eq
import equations_attention
import equations_dynamic as dyn
import equations_hierarchy
import equations_labels as labels
import equations_posteriors as post
import equations_recurrent
import equations_static
import pyro.poutine as poutine
import pytest
import torch
from equations_kvae import kvae
from laws import form, in_plate, per_sequence, same
from torch import Tensor
from zoo import LENGTHS, MASK, ZOO, B, T, Z

import pyro_rvae as rv


def of_z(equation: Callable[..., Any], **settings: Any) -> Callable[..., Any]:
    """An equation of (model, x, z) as one of (model, x, all latents by name)."""
    return lambda model, x, values: equation(model, x, values["z"], **settings)


# name in the zoo -> f(model, x (T, x_dim), latents by name) -> (log p(x, z), log q(z | x)) of one sequence
EQUATIONS: dict[str, Callable[..., Any]] = {
    "VRNN": of_z(eq.vrnn), "RVAE": of_z(eq.rvae), "STORN": of_z(eq.storn), "VRAE": of_z(eq.vrae),
    "DMM": of_z(eq.dmm), "VAE": of_z(eq.vae), "DMM-skip": of_z(eq.dmm),
    "DMM-combiner": of_z(eq.dmm, posterior=eq.combiner),
    "DMM-combiner-both": of_z(eq.dmm, posterior=eq.combiner),
    "DMM-skip-combiner": of_z(eq.dmm, posterior=eq.combiner),
    "SRNN": dyn.srnn, "SRNN-filter": dyn.srnn, "SRNN-plain": partial(dyn.srnn, residual=False), "DSAE": dyn.dsae,
    "DSAE-factorised": dyn.dsae, "ZForcing": dyn.zforcing, "ZForcing-plain": dyn.zforcing, "VRNN-deep": of_z(eq.vrnn),
    "RVAE-noncausal": dyn.rvae, "RVAE-feedback": dyn.rvae, "RVAE-noncausal-feedback": dyn.rvae,
    "DMM-ST-L": partial(dyn.dmm, posterior=eq.combiner), "DMM-MF-L": partial(dyn.dmm, posterior=dyn.mean_field),
    "DMM-MF-LR": partial(dyn.dmm, posterior=dyn.mean_field),
    "DMM-full": partial(dyn.dmm, posterior=post.full_step), "DMM-residual": of_z(post.dmm_residual),
    "DMM-flow": partial(dyn.dmm, posterior=post.flow_step), "VRNN-residual": of_z(post.vrnn),
    "VRNN-low-rank": of_z(post.vrnn, family=post.low_rank),
    "KVAE": kvae, "KVAE-2": kvae, "KVAE-linear": kvae, "KVAE-gaps": kvae,
    "ARAE": equations_attention.arae,
    "ARAE-additive": partial(equations_attention.arae, score=equations_attention.additive),
    "VariationalAttention": equations_attention.variational_attention,
    "VariationalAttention-fed": equations_attention.variational_attention,
    "HRAE": equations_hierarchy.hrae, "HRAE-2-3": equations_hierarchy.hrae_three,
    "MusicVAE": equations_hierarchy.music_vae,
    "supervised-VRNN": labels.vrnn_classes, "supervised-VRAE": labels.vrae_numbers,
    "supervised-VAE": labels.vae_classes, "supervised-summary": labels.rvae_summary, "word-dropout": labels.text,
    "deterministic": equations_recurrent.deterministic,
    "VAE-tied": equations_static.tied_vae, "ConvVAE": equations_static.images,
}


def latents(model: rv.SequenceVAE, x: Tensor, known: dict[str, Tensor]) -> dict[str, Tensor]:
    """Values for every latent of a model, at random: drawn neither by the guide nor by the prior."""
    trace = poutine.trace(model.guide).get_trace(x, **known)
    drawn = {n: s for n, s in trace.nodes.items() if s["type"] == "sample" and not s["is_observed"] and in_plate(s)}
    return {name: torch.randn(site["fn"].shape()) for name, site in drawn.items()}


def by_step(values: dict[str, Tensor], trace: Any) -> dict[str, Tensor]:
    """Whole paths as the explicit form names them."""
    split = {}
    for name, value in values.items():
        paths = {f"{name}_{t}": v for t, v in enumerate(value.unbind(-2))} if f"{name}_0" in trace.nodes else {}
        split |= paths or {name: value}
    return split


def cut(value: Tensor, i: int, length: int) -> Tensor:
    """One sequence's part: ``(T, d)``, on a slower clock ``(ceil(T / k), d)``, or ``(d,)`` once a sequence."""
    return value[i, : -(-length * value.shape[1] // T)] if value.dim() == 3 else value[i]


@pytest.mark.parametrize("explicit", [False, True], ids=["vectorised", "explicit"])
@pytest.mark.parametrize("masked", [False, True], ids=["full", "ragged"])
@pytest.mark.parametrize("name", EQUATIONS)
def test_both_readings_equal_the_papers_equations(name: str, masked: bool, explicit: bool) -> None:
    case = ZOO[name]
    if case.static and masked:
        pytest.skip("static data have no mask")
    model, x, known = case.make().eval(), case.x(), case.extra()  # eval: no auxiliary cost beside the bound
    mask, values = MASK if masked else None, latents(model, x, known)
    with form(explicit):
        named = by_step(values, poutine.trace(model.guide).get_trace(x, mask, **known))
        p = poutine.trace(poutine.condition(model.model, named)).get_trace(x, mask, **known)
        q = poutine.trace(poutine.condition(model.guide, named)).get_trace(x, mask, **known)
    for i, length in enumerate(LENGTHS.tolist() if masked else [T] * B):
        log_p, log_q = EQUATIONS[name](model, x[i] if case.static else x[i, :length],
                                       {n: cut(v, i, length) for n, v in values.items()}
                                       | {n: v[i] for n, v in known.items() if n == "labels"})
        same(per_sequence(p)[i], log_p, f"{name}: log joint of sequence {i}")
        same(per_sequence(q)[i], log_q, f"{name}: log guide of sequence {i}")


def test_a_wrong_equation_is_seen() -> None:
    """The same comparison fails for a VRNN whose prior sees the step before's h."""
    model, x, z = ZOO["VRNN"].make(), ZOO["VRNN"].x(), torch.randn(B, T, Z)
    trace = poutine.trace(poutine.condition(model.model, {"z": z})).get_trace(x)
    log_p, _ = eq.vrnn(model, x[0], z[0].roll(1, 0))
    with pytest.raises(AssertionError, match="differs"):
        same(per_sequence(trace)[0], log_p, "log joint")
