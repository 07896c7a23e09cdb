"""The bound and its terms as costs, sequence by sequence."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from pyro.poutine import Trace
from torch import Tensor
from torch.distributions import kl_divergence

from ..core import SequenceVAE
from ..core.checks import check_count
from ..core.contexts import unregistered
from ..core.traces import guide_trace, in_batch, is_point, replayed, sites
from ..data import Batch

__all__ = ["Terms", "measure", "traces"]


class Terms(NamedTuple):
    """Costs, each ``(B,)``, in nats per sequence (not per frame), lower is better: ``elbo = reconstruction + kl``."""

    elbo: Tensor
    reconstruction: Tensor
    kl: Tensor


@torch.no_grad()
def measure(model: SequenceVAE, batch: Batch, num_particles: int = 1, *, analytic: bool = False) -> Terms:
    r"""One-sample (or averaged) estimates of minus the ELBO and its terms, for each sequence of a batch.

    .. math::
        \mathrm{reconstruction} = -\log p(x \mid z), \qquad
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
    check_count("num_particles", num_particles)
    draws = [_draw(model, batch, analytic) for _ in range(num_particles)]
    reconstruction = sum(r for r, _ in draws) / num_particles
    kl = sum(k for _, k in draws) / num_particles
    return Terms(reconstruction + kl, reconstruction, kl)  # type: ignore[operator,arg-type]


def traces(model: SequenceVAE, batch: Batch) -> tuple[Trace, Trace]:
    """The trace of the guide, and of the model replayed against it."""
    with unregistered():
        guide = guide_trace(model, batch)
        return guide, replayed(model, batch, guide)


def _draw(model: SequenceVAE, batch: Batch, analytic: bool) -> tuple[Tensor, Tensor]:
    guide, program = traces(model, batch)
    drawn, stated = sites(guide), sites(program)
    zero = torch.zeros(len(batch), device=batch.x.device)
    reconstruction, kl = zero, zero
    for name, site in stated.items():
        if site["is_observed"]:
            reconstruction = reconstruction - _density(site, len(batch))
        elif not (analytic and name in drawn and _formula(drawn[name], site) is not None):
            kl = kl - _density(site, len(batch))
    for name, site in drawn.items():
        formula = _formula(site, stated[name]) if analytic and name in stated else None
        kl = kl + (_density(site, len(batch)) if formula is None else _each(formula, site, len(batch)))
    return reconstruction, kl


def _density(site: Any, size: int) -> Tensor:
    return _each(site["fn"].log_prob(site["value"]), site, size)


def _formula(guide: Any, program: Any) -> Tensor | None:
    if is_point(guide) and not in_batch(guide):  # of an AutoGuide: Pyro's formula leaves its Jacobian out
        return None
    try:
        return kl_divergence(guide["fn"], program["fn"])
    except NotImplementedError:
        return None


def _each(value: Tensor, site: Any, size: int) -> Tensor:
    """A site's term as ``(B,)``: what isn't drawn within the plate of sequences is shared out among them."""
    value = value * site["scale"]
    if in_batch(site):
        return value.expand(size)
    return (value.sum() / size).expand(size)
