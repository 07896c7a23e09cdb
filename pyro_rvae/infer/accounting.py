"""The annealed loss of a batch, and the unannealed costs summed over an epoch."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from torch import Tensor

from ..core import SequenceVAE, annealed
from ..core.contexts import forked, unregistered
from ..core.handlers import auxiliary_weight, weighted_auxiliaries
from ..core.traces import guide_trace
from ..data import Batch
from .batches import wide_zeros
from .elbo import is_analytic, is_reparametrised
from .loss import Loss
from .objectives import measure

__all__ = ["Accounts", "Means"]


class Means(NamedTuple):
    """Costs in nats per frame, ``elbo = reconstruction + kl``, and the mean gradient norm of the steps."""

    elbo: float
    reconstruction: float
    kl: float
    grad_norm: float


class Accounts:
    r"""The loss with KL weight :math:`\beta`, and the sums from which the cost without it is read.

    The loss per frame is :math:`L = \beta\,\mathrm{KL} + \mathrm{recon} + \alpha A`, with A the auxiliary costs and
    the penalty and :math:`\alpha = 1`. So :math:`\partial L / \partial\beta` is the KL and :math:`\partial L /
    \partial\alpha` what is no part of the bound: the backward pass gives the terms, and no second pass is needed. That
    holds where each latent is reparametrised; elsewhere the terms are measured with one more draw. All sums are
    tensors: adding a step reads nothing back from the device.

    Arguments:
        loss: whose terms. device: where. world: number of processes.
    """

    def __init__(self, loss: Loss, device: torch.device, world: int) -> None:
        self.model, self.elbo, self.world = loss.model, loss.elbo, world
        like = next(loss.model.parameters())
        self.beta = torch.ones((), dtype=like.dtype, device=device, requires_grad=True)
        self.alpha = torch.ones_like(self.beta, requires_grad=True)
        # reconstruction and KL in nats, and gradient norms: summed over the epoch so far
        self.sums = wide_zeros(3, device)
        self.frames = self.steps = 0
        self._slope: bool | None = None

    def loss(self, module: Any, batch: Batch, weight: float) -> Tensor:
        """The loss of a batch under KL weight ``weight``."""
        with torch.no_grad():
            self.beta.fill_(weight)
        self.beta.grad = self.alpha.grad = None
        if self._slope is None:
            self._slope = _kl_is_a_slope(self.model, self.elbo, batch)
        beta = self.beta if self._slope else weight  # TraceEnum_ELBO compares scales, and as numbers
        with annealed(beta), weighted_auxiliaries(self.alpha * auxiliary_weight()):
            return module(*batch, **batch.known)  # type: ignore[no-any-return]

    @torch.no_grad()
    def add(self, loss: Tensor, weight: float, batch: Batch, frames: int, share: float) -> None:
        """Count a batch after the backward pass of ``share`` times its loss; ``frames`` are those of all processes."""
        recon, kl = self.sums[0], self.sums[1]
        if self._slope:
            slope, aside = self.beta.grad, self.alpha.grad
            recon.add_(loss, alpha=frames)
            if aside is not None:
                recon.sub_(aside, alpha=frames / share)
            if slope is not None:  # None: a model without latents
                recon.sub_(slope, alpha=frames / share * weight)
                kl.add_(slope, alpha=frames / share)
        else:
            with weighted_auxiliaries(0.0):
                terms = measure(self.model, batch, analytic=is_analytic(self.elbo))
            recon.add_(terms.reconstruction.sum(), alpha=self.world)
            kl.add_(terms.kl.sum(), alpha=self.world)
        self.frames += frames

    def count(self, norm: Tensor) -> None:
        """Count an optimizer step, whose gradient has this norm."""
        self.sums[2].add_(norm.detach())
        self.steps += 1

    def means(self, sums: Tensor | None = None) -> Means:
        """What the sums say (the caller may pass those of all processes). This waits for the device."""
        if not self.steps:
            return Means(math.nan, math.nan, math.nan, math.nan)
        reconstruction, kl, norm = (self.sums if sums is None else sums).tolist()
        reconstruction, kl = reconstruction / self.frames, kl / self.frames
        return Means(reconstruction + kl, reconstruction, kl, norm / self.steps)

    def clear(self) -> None:
        self.sums.zero_()
        self.frames = self.steps = 0


def _kl_is_a_slope(model: SequenceVAE, elbo: Any, batch: Batch) -> bool:
    """Whether the derivative of the loss by the KL weight is the KL."""
    if type(elbo) not in (Trace_ELBO, TraceMeanField_ELBO):
        return False
    with torch.no_grad(), unregistered(), forked(batch.x.device):
        return is_reparametrised(guide_trace(model, batch))
