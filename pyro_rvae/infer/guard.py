"""Stop a run at the first number that isn't finite, and say where it came from."""

from __future__ import annotations

import math
import warnings
from contextlib import nullcontext
from typing import Any, Self

import torch
from torch import Tensor

from ..core import SequenceVAE, explicit, trusted
from ..core.contexts import forked, unregistered
from ..core.traces import sites
from ..data import Batch
from .elbo import differentiable_loss
from .objectives import traces

__all__ = ["Guard", "TrainingDiverged", "culprit"]

LAG = 16  # steps between two looks at the losses, on a device that the host should not wait for


class TrainingDiverged(FloatingPointError):
    """A loss or a gradient became NaN or infinite.

    Attributes:
        step: the optimizer step, 1 for the first.
        site: name of the Pyro site that was not finite first; ``None`` if all were and only a gradient was not.
        sequences: numbers, in the data set, of the sequences of the batch.
    """

    def __init__(self, message: str, step: int, site: str | None, sequences: list[int]) -> None:
        super().__init__(message)
        self.step, self.site, self.sequences = step, site, sequences

    @classmethod
    def at(cls, step: int, epoch: int, site: str | None, what: str, batch: Batch, saved_in: str | None) -> Self:
        """The error of a step: ``what`` is a clause about the culprit, ``saved_in`` the folder of the checkpoint."""
        sequences = [] if batch.index is None else batch.index.tolist()
        shown = ", ".join(map(str, sequences[:20])) + ", ..." * (len(sequences) > 20)
        kept = "" if saved_in is None else f", and {saved_in} holds the last good checkpoint"
        return cls(f"training diverged at step {step} (epoch {epoch + 1}): the loss or its gradient is not finite; "
                   f"{what}. The batch holds the sequences {shown}. The model has its last good weights again{kept}. "
                   "Try a smaller lr or clip, and look at these sequences.", step, site, sequences)


class Guard:
    """Watches the loss and the gradient's norm, and keeps the last weights that it knows to be good.

    On a CPU it looks at each step before its update, so that a bad one never reaches the weights. Elsewhere it looks
    every 16 steps, so that no step waits for the device; nothing is saved without a look.

    Arguments:
        model: whose weights to keep.
        device: where it is trained.
    """

    def __init__(self, model: SequenceVAE, device: torch.device) -> None:
        self.eager = device.type == "cpu"
        self.parameters: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
        self.good = [p.detach().clone() for p in self.parameters]
        self._pending: list[tuple[Any, Tensor]] = []
        self._last: Any = None

    def watch(self, where: Any, loss: Tensor, norm: Tensor) -> Any:
        """Take in one step, before its update. Returns the ``where`` of a bad step, if it looked and found one."""
        self._last = where
        if self.eager:
            return None if math.isfinite(loss + norm) else where
        self._pending.append((where, loss + norm))
        return self.look() if len(self._pending) >= LAG else None

    @torch.no_grad()
    def look(self) -> Any:
        """Look at all steps since the last look, and at the weights: the ``where`` of the first bad step, or None.

        If all is well the weights of this moment are the good ones.
        """
        pending, self._pending = self._pending, []
        weights = torch.stack([norm.double() for norm in torch._foreach_norm(self.parameters, math.inf)]).sum()
        finite = torch.stack([total.double() for _, total in pending] + [weights]).isfinite().tolist()
        if all(finite):
            torch._foreach_copy_(self.good, self.parameters)
            return None
        return [*(where for where, _ in pending), self._last][finite.index(False)]

    @torch.no_grad()
    def restore(self) -> None:
        """Give the model its last good weights."""
        torch._foreach_copy_(self.parameters, self.good)


def culprit(model: SequenceVAE, elbo: Any, batch: Batch, noise: Tensor | None = None) -> tuple[str | None, str]:
    """Run a batch once more: the first site that isn't finite, and a clause about it.

    Without one, the clause names a parameter whose value or gradient is not finite.

    Arguments:
        elbo: whose gradient to look at, where all sites are finite.
        noise: state of the CPU's generator before the step; ``None``: other noise will do.
    """
    for name, parameter in model.named_parameters():
        if not bool(parameter.isfinite().all()):
            return None, f"the parameter {name} is not finite"
    what = ""
    with forked(batch.x.device), trusted(missing=_has_gaps(batch.x)):
        for step_by_step in (True, False):  # the first names the step; the second has the very noise of the failure
            if noise is not None:
                torch.set_rng_state(noise)
            site, what = _scan(model, batch, step_by_step)
            if site is not None:
                return site, what
        if noise is not None:
            torch.set_rng_state(noise)
        bad = None if what else _bad_gradient(model, elbo, batch)
    if bad is not None:
        return None, f"every site is finite, but the gradient of the parameter {bad} is not"
    return None, what or "all is finite when the batch is run again with the last good weights"


def _bad_gradient(model: SequenceVAE, elbo: Any, batch: Batch) -> str | None:
    """The first parameter whose gradient is not finite. (Clipping has spoilt the gradients of the step itself.)"""
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    with unregistered():
        loss = differentiable_loss(elbo, model.model, model.guide, *batch, **batch.known)
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    bad = [n for n, g in zip(named, found, strict=True) if g is not None and not bool(g.isfinite().all())]
    return bad[0] if bad else None


def _scan(model: SequenceVAE, batch: Batch, step_by_step: bool) -> tuple[str | None, str]:
    try:
        with torch.no_grad(), explicit() if step_by_step else nullcontext(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            both = traces(model, batch)
    except (ValueError, RuntimeError, NotImplementedError) as error:
        return None, f"running the batch again raises {type(error).__name__}: {error}"
    for trace, program in zip(both, ("guide", "model"), strict=True):
        for name, site in sites(trace).items():
            if not site["is_observed"] and not bool(site["value"].isfinite().all()):
                return name, f"the first site that is not finite is {name!r} (its value, in the {program})"
            if not bool(site["fn"].log_prob(site["value"]).isfinite().all()):
                return name, f"the first site that is not finite is {name!r} (its log-density, in the {program})"
    return None, ""


def _has_gaps(x: Tensor) -> bool:
    return bool((x.isnan() if x.is_floating_point() else x < 0).any())
