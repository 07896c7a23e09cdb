"""The differentiable loss of Pyro's two commonest ELBOs, without reading anything back from the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyro.distributions.util import scale_and_mask
from pyro.infer import ELBO, Trace_ELBO, TraceMeanField_ELBO
from pyro.poutine import Trace
from pyro.poutine.util import site_is_subsample
from torch import Tensor
from torch.distributions import kl_divergence

__all__ = ["differentiable_loss", "is_analytic", "is_drawn_with_gradient", "is_reparametrised"]


def differentiable_loss(elbo: ELBO, model: Callable[..., Any], guide: Callable[..., Any], *args: Any,
                        **kwargs: Any) -> Tensor:
    """``elbo.differentiable_loss(model, guide, *args, **kwargs)``: the same number and gradient.

    Pyro's own reads each site's density back to the host (``.item()``), which makes the host wait for a GPU in each
    step. Where every latent is reparametrised the surrogate is the loss itself, so there is nothing to read. Any other
    ELBO (a subclass too), and any other guide, is left to Pyro.
    """
    if type(elbo) not in (Trace_ELBO, TraceMeanField_ELBO):
        return elbo.differentiable_loss(model, guide, *args, **kwargs)  # type: ignore[no-any-return]
    total: Any = 0.0
    for program, drawn in elbo._get_traces(model, guide, args, kwargs):
        if not is_reparametrised(drawn):
            value, surrogate = elbo._differentiable_loss_particle(program, drawn)  # type: ignore[attr-defined]
            total = total + (value + (surrogate - surrogate.detach())) / elbo.num_particles
        elif type(elbo) is TraceMeanField_ELBO:
            total = total - _mean_field(program, drawn) / elbo.num_particles
        else:
            total = total - (program.log_prob_sum() - drawn.log_prob_sum()) / elbo.num_particles
    return total  # type: ignore[no-any-return]


def is_analytic(elbo: Any) -> bool:
    """Whether an ELBO takes the KL in closed form where there is one; log and validation then do the same."""
    return isinstance(elbo, TraceMeanField_ELBO) or bool(getattr(elbo, "analytic", False))


def is_reparametrised(guide: Trace) -> bool:
    """Whether the gradient of each draw of a guide is that of its value: no score function, no enumeration."""
    return all(site["is_observed"] or is_drawn_with_gradient(site)
               for site in guide.nodes.values() if site["type"] == "sample" and not site_is_subsample(site))


def is_drawn_with_gradient(site: Any) -> bool:
    """The same of one latent site."""
    return bool(site["fn"].has_rsample) and not site["infer"].get("enumerate")


def _mean_field(program: Trace, drawn: Trace) -> Any:
    """The bound with each site's KL taken analytically, given the draws that it depends on."""
    total: Any = 0.0
    for name, site in program.nodes.items():
        if site["type"] != "sample":
            continue
        if site["is_observed"] or site_is_subsample(site):
            total = total + site["log_prob_sum"]
            continue
        other = drawn.nodes[name]
        try:
            kl = scale_and_mask(kl_divergence(other["fn"], site["fn"]), other["scale"], other["mask"])
            total = total - kl.sum()
        except NotImplementedError:
            total = total + site["log_prob_sum"] - other["log_prob_sum"]
    for name, site in drawn.nodes.items():
        if site["type"] == "sample" and name not in program.nodes:  # auxiliary
            total = total - site["log_prob_sum"]
    return total
