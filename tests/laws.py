"""The laws as functions: each takes a model and data, and raises AssertionError where the law is broken."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pyro
import pyro.poutine as poutine
import torch
from pyro.infer import SVI, RenyiELBO, Trace_ELBO, TraceMeanField_ELBO
from torch import Tensor

import pyro_rvae as rv

Gradients = dict[str, Tensor]

ELBOS = {
    "Trace": Trace_ELBO,
    "MeanField": TraceMeanField_ELBO,
    "particles": lambda: Trace_ELBO(num_particles=3, vectorize_particles=True, max_plate_nesting=1),
    "Renyi": lambda: RenyiELBO(num_particles=2, vectorize_particles=True, max_plate_nesting=1),
}


def form(explicit: bool) -> Any:
    return rv.explicit() if explicit else nullcontext()


def collect(model: rv.SequenceVAE) -> Gradients:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def same(a: Tensor | float, b: Tensor | float, what: str, tolerance: float = 1e-10) -> None:
    a, b = torch.as_tensor(a), torch.as_tensor(b)
    assert a.shape == b.shape, f"{what}: shapes {tuple(a.shape)} and {tuple(b.shape)}"
    assert a.isfinite().all() and b.isfinite().all(), f"{what}: not finite"
    difference = ((a - b).abs() / (1 + a.abs())).max().item() if a.numel() else 0.0
    assert difference <= tolerance, f"{what}: differs by {difference:.3g}"


def same_all(a: Gradients, b: Gradients, what: str, tolerance: float = 1e-10) -> None:
    assert a.keys() == b.keys(), f"{what}: {sorted(a.keys() ^ b.keys())} on one side only"
    for name in a:
        same(a[name], b[name], f"{what}: {name}", tolerance)


def loss_and_gradients(model: rv.SequenceVAE, elbo: Any, x: Tensor, mask: Tensor | None = None, *,
                       explicit: bool = False, sequences: Tensor | None = None,
                       **known: Any) -> tuple[float, Gradients]:
    model.zero_grad(set_to_none=True)
    with form(explicit), rv.given_noise(0, sequences):
        loss = elbo.loss_and_grads(model.model, model.guide, x, mask, **known)
    return float(loss), collect(model)


def forms_agree(model: rv.SequenceVAE, elbo: Any, x: Tensor, mask: Tensor | None = None, **known: Any) -> None:
    """The explicit and the vectorised reading give the same loss and gradients on the same noise."""
    loss, gradients = loss_and_gradients(model, elbo, x, mask, **known)
    oracle, expected = loss_and_gradients(model, elbo, x, mask, explicit=True, **known)
    same(loss, oracle, "forms: loss")
    same_all(gradients, expected, "forms: gradient")


def weights(model: rv.SequenceVAE, x: Tensor, mask: Tensor | None = None, *, seed: int = 0, explicit: bool = False,
            sequences: Tensor | None = None, particles: int = 1, **known: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """Log importance weights ``(particles, B)``, log p(x, z) - log q(z | x), and the first particle's latents."""
    rows, latents = [], {}
    for particle in range(particles):
        with form(explicit), rv.given_noise(seed + particle, sequences):
            q = poutine.trace(model.guide).get_trace(x, mask, **known)
            p = poutine.trace(poutine.replay(model.model, q)).get_trace(x, mask, **known)
        rows.append(per_sequence(p) - per_sequence(q))
        if not particle:
            latents = {n: s["value"] for n, s in q.iter_stochastic_nodes() if in_plate(s)}
    return torch.stack(rows), latents


def in_plate(site: Any) -> bool:
    return any(frame.name == "batch" for frame in site["cond_indep_stack"])


def per_sequence(trace: Any) -> Tensor:
    trace.compute_log_prob()
    nothing = torch.zeros(len(trace.nodes["batch"]["value"]))  # a model without latents has a guide without sites
    return sum((s["log_prob"] for s in trace.nodes.values() if s["type"] == "sample" and in_plate(s)), nothing)


def iwae(log_weights: Tensor) -> Tensor:
    return log_weights.logsumexp(0) - torch.tensor(float(len(log_weights))).log()


def garbage(x: Tensor, mask: Tensor, fill: float) -> Tensor:
    """x with something else under the mask."""
    if not x.is_floating_point():
        fill = int(torch.tensor(fill).nan_to_num(nan=-1.0, posinf=1e6, neginf=-1e6))
    return torch.where(mask[..., None], x, torch.full_like(x, fill))


def padding_never_matters(model: rv.SequenceVAE, x: Tensor, mask: Tensor, fill: float = torch.nan, *,
                          explicit: bool = False, **known: Any) -> None:
    """Each sequence alone, and padded in the batch with garbage under the mask: same numbers."""
    padded = garbage(x, mask, fill)
    if "controls" in known:
        known["controls"] = garbage(known["controls"], mask, fill)
    whole, latents = weights(model, padded, mask, explicit=explicit, particles=3, **known)
    total, gradients = loss_and_gradients(model, Trace_ELBO(), padded, mask, explicit=explicit, **known)
    losses, summed = 0.0, {name: torch.zeros_like(g) for name, g in gradients.items()}
    for i, length in enumerate(mask.sum(1).tolist()):
        alone, one = x[i:i + 1, :length], torch.tensor([i])
        mine = {k: v[i:i + 1, :length] if k == "controls" else v[i:i + 1] for k, v in known.items()}
        apart, its = weights(model, alone, explicit=explicit, sequences=one, particles=3, **mine)
        same(whole[:, i], apart[:, 0], f"padding: importance weights of sequence {i}")
        same(iwae(whole[:, i]), iwae(apart[:, 0]), f"padding: IWAE bound of sequence {i}")
        for name, value in its.items():
            ours = latents[name][i]
            ours = ours[: value.shape[1]] if ours.dim() > 1 else ours
            same(ours, value[0], f"padding: latent {name} of sequence {i}")
        loss, gradient = loss_and_gradients(model, Trace_ELBO(), alone, explicit=explicit, sequences=one, **mine)
        losses += loss
        for name, value in gradient.items():
            summed[name] += value
    same(total, losses, "padding: loss")
    same_all(gradients, summed, "padding: gradient")


def gradients_arrive(model: rv.SequenceVAE, x: Tensor, mask: Tensor | None = None, **known: Any) -> None:
    """Every parameter gets a gradient, finite and not all zero."""
    _, gradients = loss_and_gradients(model, Trace_ELBO(), x, mask, **known)
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:  # a part that the other parts leave without use
            continue
        assert name in gradients, f"{name} gets no gradient"
        assert gradients[name].isfinite().all(), f"{name}: gradient is not finite"
        assert gradients[name].any(), f"{name}: gradient is zero everywhere"


def train(model: rv.SequenceVAE, x: Tensor, mask: Tensor | None = None, *, steps: int = 2, **known: Any) -> list[float]:
    """A few steps of a plain Pyro script."""
    svi = SVI(model.model, model.guide, pyro.optim.Adam({"lr": 1e-2}), Trace_ELBO())
    return [svi.step(x, mask, **known) for _ in range(steps)]


def still(model: rv.SequenceVAE, before: dict[str, Tensor]) -> list[str]:
    """The parameters that training has not moved."""
    return [name for name, p in model.named_parameters() if p.requires_grad and torch.equal(p, before[name])]
