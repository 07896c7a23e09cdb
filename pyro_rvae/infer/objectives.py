"""The terms of the bound, sequence by sequence."""

from __future__ import annotations

from typing import Any, NamedTuple

import pyro.poutine as poutine
import torch
from pyro.poutine import Trace
from torch import Tensor
from torch.distributions import kl_divergence

from ..core import SequenceVAE
from ..core.sequence_vae import unregistered
from ..data import Batch

__all__ = ["Terms", "measure"]


class Terms(NamedTuple):
    """``elbo = reconstruction - kl``, each ``(B,)``: nats per sequence (not per frame)."""

    elbo: Tensor
    reconstruction: Tensor
    kl: Tensor


@torch.no_grad()
def measure(model: SequenceVAE, batch: Batch, num_particles: int = 1, *, analytic: bool = False) -> Terms:
    r"""One-sample (or averaged) estimates of the bound's terms, for each sequence of a batch.

    .. math::
        \mathrm{reconstruction} = \log p(x \mid z), \qquad
        \mathrm{kl} = \log q(z \mid x) - \log p(z), \qquad z \sim q

    Handlers around the call (``explicit``, ``annealed``, ``trusted``) act as always; the module's train or eval
    mode is what it is. Nothing enters Pyro's parameter store. A latent that is drawn once a data set (``shared``)
    counts with its scale B/N, in equal parts on the B sequences.

    Arguments:
        model: any model of the package, or a user's.
        batch: a :class:`~pyro_rvae.data.Batch`.
        num_particles: how many draws are averaged; memory does not grow with them.
        analytic: take each site's KL from ``torch.distributions.kl_divergence``, given the draws it depends on, as
            TraceMeanField_ELBO does; where no formula is registered the sampled one is used.
    """
    if isinstance(num_particles, bool) or not isinstance(num_particles, int) or num_particles < 1:
        raise ValueError(f"num_particles must be an integer of at least 1, got {num_particles!r}.")
    draws = [_draw(model, batch, analytic) for _ in range(num_particles)]
    reconstruction = sum(r for r, _ in draws) / num_particles
    kl = sum(k for _, k in draws) / num_particles
    return Terms(reconstruction - kl, reconstruction, kl)  # type: ignore[operator,arg-type]


def traces(model: SequenceVAE, batch: Batch) -> tuple[Trace, Trace]:
    """The trace of the guide, and of the model replayed against it."""
    with unregistered():
        guide = poutine.trace(model.guide).get_trace(*batch, **batch.known)
        return guide, poutine.trace(poutine.replay(model.model, trace=guide)).get_trace(*batch, **batch.known)


def _draw(model: SequenceVAE, batch: Batch, analytic: bool) -> tuple[Tensor, Tensor]:
    guide, program = traces(model, batch)
    drawn, stated = sites(guide), sites(program)
    zero = torch.zeros(len(batch), device=batch.x.device)
    reconstruction, kl = zero, zero
    for name, site in stated.items():
        if site["is_observed"]:
            reconstruction = reconstruction + _density(site, len(batch))
        elif not (analytic and name in drawn and _formula(drawn[name], site) is not None):
            kl = kl - _density(site, len(batch))
    for name, site in drawn.items():
        formula = _formula(site, stated[name]) if analytic and name in stated else None
        kl = kl + (_density(site, len(batch)) if formula is None else _each(formula, site, len(batch)))
    return reconstruction, kl


def sites(trace: Trace) -> dict[str, Any]:
    """The sample sites of a trace, without the plates' own."""
    return {name: site for name, site in trace.nodes.items()
            if site["type"] == "sample" and type(site["fn"]).__name__ != "_Subsample"}


def _density(site: Any, size: int) -> Tensor:
    return _each(site["fn"].log_prob(site["value"]), site, size)


def _formula(guide: Any, program: Any) -> Tensor | None:
    try:
        return kl_divergence(guide["fn"], program["fn"])
    except NotImplementedError:
        return None


def _each(value: Tensor, site: Any, size: int) -> Tensor:
    """A site's term as ``(B,)``: what isn't drawn within the plate of sequences is shared out among them."""
    value = value * site["scale"]
    if any(frame.name == "batch" for frame in site["cond_indep_stack"]):
        return value.expand(size)
    return (value.sum() / size).expand(size)
