"""Stop a run at the first number that isn't finite, and say where it came from."""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ..core import SequenceVAE, explicit, trusted
from ..data import Batch
from .objectives import sites, traces
from .rng import forked

__all__ = ["Guard", "TrainingDiverged", "diverged"]


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


class Guard:
    """Watches loss and gradient norm. On a CPU it looks before each update; elsewhere it looks every ``lag`` steps,
    so that no step waits for the device, and keeps a copy of the last weights that it knows to be good.

    Arguments:
        model: whose weights to keep.
        lag: how many steps pass between two looks.
    """

    def __init__(self, model: nn.Module, lag: int) -> None:
        self.lag, self.pending = lag, list[tuple[Any, Tensor, Tensor]]()
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.good = [p.detach().clone() for p in self.parameters] if lag > 1 else None

    def watch(self, where: Any, loss: Tensor, norm: Tensor) -> Any:
        """Take in one step, before its update. Returns the first bad ``where`` if it looked and found one."""
        self.pending.append((where, loss, norm))
        if len(self.pending) < self.lag:
            return None
        return self.look()

    @torch.no_grad()
    def look(self) -> Any:
        """Look at the steps since the last look: the first bad ``where``, or None."""
        pending, self.pending = self.pending, []
        if not pending:
            return None
        finite = torch.stack([loss + norm for _, loss, norm in pending]).isfinite()
        if not bool(finite.all()):
            if self.good is not None:
                torch._foreach_copy_(self.parameters, self.good)
            return pending[int((~finite).nonzero()[0])][0]
        if self.good is not None and all(bool(p.isfinite().all()) for p in self.parameters):
            torch._foreach_copy_(self.good, self.parameters)
        return None


def diverged(model: SequenceVAE, batch: Batch, step: int, epoch: int, noise: Tensor | None) -> TrainingDiverged:
    """The error to raise for a bad step, whose batch is run once more from the CPU generator's state ``noise``."""
    with forked(batch.x.device), trusted(missing=True):
        site, what = _culprit(model, batch, noise)
    sequences = [] if batch.index is None else batch.index.tolist()
    shown = ", ".join(map(str, sequences[:20])) + (", ..." if len(sequences) > 20 else "")
    return TrainingDiverged(
        f"training diverged at step {step} (epoch {epoch + 1}): the loss or its gradient is not finite; {what}. The batch "
        f"holds the sequences {shown}. The model has its last good weights again; try a smaller lr or clip, or "
        "look at these sequences.", step, site, sequences)


def _culprit(model: SequenceVAE, batch: Batch, noise: Tensor | None) -> tuple[str | None, str]:
    """Run a batch once more, step by step: the first site that isn't finite, and a sentence about it.

    Without one, the sentence names a parameter whose value or gradient is not finite.
    """
    for name, parameter in model.named_parameters():
        if not bool(parameter.isfinite().all()):
            return None, f"the parameter {name} is not finite"
    for reading in (True, False):  # step by step names the step; all at once draws the noise of the failed step
        if noise is not None:
            torch.set_rng_state(noise)
        site, what = _scan(model, batch, step_by_step=reading)
        if what:
            return site, what
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and not bool(parameter.grad.isfinite().all()):
            return None, f"every site is finite, but the gradient of the parameter {name} is not"
    return None, "no site is off when the batch is run again with the last good weights"


def _scan(model: SequenceVAE, batch: Batch, *, step_by_step: bool) -> tuple[str | None, str]:
    try:
        with torch.no_grad(), explicit() if step_by_step else nullcontext(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            both = traces(model, batch)
    except (ValueError, RuntimeError, NotImplementedError) as error:
        return None, "" if step_by_step else f"running the batch again raises {type(error).__name__}: {error}"
    for trace, program in zip(both, ("guide", "model"), strict=True):
        for name, site in sites(trace).items():
            if not bool(torch.as_tensor(site["value"]).isfinite().all()) and not site["is_observed"]:
                return name, f"the first site that is not finite is {name!r} (its value, in the {program})"
            if not bool(site["fn"].log_prob(site["value"]).isfinite().all()):
                return name, f"the first site that is not finite is {name!r} (its log-density, in the {program})"
    return None, ""
