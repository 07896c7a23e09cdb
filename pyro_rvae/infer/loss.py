"""A model and an ELBO as one torch module."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as distributed
from pyro.infer import ELBO, Trace_ELBO, TraceMeanField_ELBO
from pyro.infer.autoguide import AutoGuide
from torch import Tensor, nn
from torch.distributions import biject_to, constraints

from ..core import SequenceVAE
from ..core.checks import check_count
from ..core.contexts import unregistered
from ..core.handlers import auxiliary_weight
from .elbo import differentiable_loss

__all__ = ["Loss", "count_frames"]


def count_frames(x: Tensor, mask: Tensor | None, *, static: bool = False) -> Tensor:
    """The number of frames of a batch (items, for static data), as a tensor: no host read."""
    if mask is not None:
        return mask.sum()
    # filled, not copied: a copy from the host would wait for the device
    return torch.full((), x.shape[0] if static else x.shape[0] * x.shape[1], dtype=torch.long, device=x.device)


def _check_particles(elbo: ELBO) -> None:
    """Refuse no particles, which Pyro takes for a loss of 0, and particles in the place of sequences."""
    name, number = type(elbo).__name__, getattr(elbo, "num_particles", 1)
    check_count(f"Loss: num_particles of {name}", number)
    if not getattr(elbo, "vectorize_particles", False) or number == 1:
        return
    nesting = elbo.max_plate_nesting - 1  # Pyro has added that of the particles
    if not 1 <= nesting < math.inf:
        got = "none given" if nesting == math.inf else f"max_plate_nesting={nesting}"
        raise ValueError(f"Loss: {name} with vectorize_particles=True needs max_plate_nesting=1, that of sequences "
                         f"({got}; Pyro would guess it by a run of the model, or put particles in their place): "
                         f"give {name}(num_particles={number}, vectorize_particles=True, max_plate_nesting=1).")


def _check_shared(model: SequenceVAE, elbo: ELBO) -> None:
    """Refuse a bound that would be wrong: Pyro's analytic KL leaves out the Jacobian of an AutoGuide."""
    guide = getattr(model, "shared_posterior", None)
    if not (isinstance(elbo, TraceMeanField_ELBO) and isinstance(guide, AutoGuide)):
        return
    plain = biject_to(constraints.real)
    for name, site in model._shared_sites().items():
        bijection = biject_to(site["fn"].support)
        if getattr(bijection, "base_transform", bijection) != plain:
            raise ValueError(f"TraceMeanField_ELBO leaves out the Jacobian of {type(guide).__name__} at the shared "
                             f"site {name!r}, whose support is not the whole line, so its bound would be wrong: use "
                             "Trace_ELBO, or the default shared_posterior.")


class Loss(nn.Module):
    """``-ELBO / frames``: what ``fit``, Fabric and DDP hold, and what torch optimisers take.

    ``forward(x, mask, controls=..., labels=...)`` is the ELBO's differentiable loss divided by the frames of the
    batch. Under torch.distributed the count is that of all processes, and the result is scaled so that DDP's mean
    of gradients is the gradient of the joined batch.

    Arguments:
        model: a :class:`~pyro_rvae.SequenceVAE`; it is a submodule, so ``parameters()`` are the model's.
        elbo: one of Pyro's ELBOs with a ``differentiable_loss`` (default ``Trace_ELBO()``), or of ours: ``IWAE``,
            ``PathDerivative``, ``FIVO``, ``FreeBits``, ``TargetRate``. Those of Pyro draw particles in parallel with
            ``vectorize_particles=True, max_plate_nesting=1``; ours always do.
        penalty: ``None``, or what else is minimised while the model is in training mode: a function ``(model, x, mask,
            **known)`` that gives nats summed over the batch (:class:`~pyro_rvae.infer.Contractive`, or your own). It
            is divided by the frames like the rest, and is no part of a bound.

    >>> loss = Loss(model, Trace_ELBO())  # doctest: +SKIP
    >>> optimizer = torch.optim.Adam(loss.parameters(), lr=1e-3)  # doctest: +SKIP
    """

    def __init__(self, model: SequenceVAE, elbo: ELBO | None = None,
                 penalty: Callable[..., Tensor] | None = None) -> None:
        super().__init__()
        elbo = elbo if elbo is not None else Trace_ELBO()
        if isinstance(elbo, type):
            raise TypeError(f"Loss needs an ELBO object, got the class {elbo.__name__}; pass {elbo.__name__}().")
        if not hasattr(elbo, "differentiable_loss"):
            raise TypeError(f"Loss needs an ELBO with differentiable_loss (Trace_ELBO, TraceMeanField_ELBO, "
                            f"TraceEnum_ELBO, ...); {type(elbo).__name__} has none. Use it with pyro.infer.SVI.")
        if penalty is not None and (isinstance(penalty, type) or not callable(penalty)):
            got = f"the class {penalty.__name__}" if isinstance(penalty, type) else type(penalty).__name__
            raise TypeError("Loss: penalty must be a function of (model, x, mask, **known) that gives nats, such as "
                            f"rv.Contractive(0.1), or None; got {got}.")
        _check_particles(elbo)
        _check_shared(model, elbo)
        self.model, self.elbo, self.penalty = model, elbo, penalty

    def forward(self, x: Tensor, mask: Tensor | None = None, **known: Any) -> Tensor:
        with unregistered():
            loss = differentiable_loss(self.elbo, self.model.model, self.model.guide, x, mask, **known)
            if self.penalty is not None and self.model.training:
                loss = loss + auxiliary_weight() * self.penalty(self.model, x, mask, **known)
        frames = count_frames(x, mask, static=self.model.static)
        if distributed.is_available() and distributed.is_initialized() and (world := distributed.get_world_size()) > 1:
            frames = frames.clone()
            distributed.all_reduce(frames)
            return loss * world / frames  # type: ignore[no-any-return]
        return loss / frames  # type: ignore[no-any-return]
