"""More updates for the guide than for the model, while the guide lags behind."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..core import SequenceVAE
from ..core.checks import check_count
from ..core.contexts import evaluating, forked, unregistered
from ..core.traces import guide_trace, replayed, sites
from ..data import Batch

if TYPE_CHECKING:
    from .trainer import Trainer

__all__ = ["Aggressive", "Turns", "own_parameters"]


@dataclass(frozen=True)
class Aggressive:
    """Of each ``updates + 1`` optimizer steps the first ``updates`` train the guide alone, the last the model alone.

    The guide's parameters are those that log p(x, z) does not depend on, z being given; a part that both programs
    read (the recurrence of a VRNN, an embedding, an encoder within a VampPrior) belongs to the model. With ``rising``,
    a function of the model, the first epoch at whose end it is not above the epoch before is the last one of this
    kind: from then on each step trains all parameters. The paper takes the mutual information of x and z on
    validation data.

    Source: He, Spokoyny, Neubig & Berg-Kirkpatrick (2019), "Lagging Inference Networks and Posterior Collapse in
    Variational Autoencoders", arXiv:1901.05534, algorithm 1. We differ in a number of inner steps that is fixed; theirs
    go on until the ELBO stops rising.

    Arguments:
        updates: steps of the guide for one of the model, at least 1.
        rising: ``model -> float``, called at the end of each epoch in evaluation mode; ``None``: to the end.

    >>> information = lambda model: rv.criticism.mutual_information(model, valid).value  # doctest: +SKIP
    >>> rv.fit(model, data, encoder_updates=rv.infer.Aggressive(10, information))  # doctest: +SKIP
    """

    updates: int
    rising: Callable[[SequenceVAE], float] | None = None

    def __post_init__(self) -> None:
        check_count("Aggressive: updates", self.updates, hint=" (steps of the guide for one of the model)")
        if self.rising is not None and not callable(self.rising):
            raise TypeError("Aggressive: rising must be a function of the model that gives a number (its mutual "
                            f"information, say), or None; got {self.rising!r}.")

    def __repr__(self) -> str:
        from .snapshot import describe

        return f"Aggressive({self.updates}, rising={None if self.rising is None else describe(self.rising)})"


class Turns:
    """Whose turn it is: which gradients a step of a run drops.

    Arguments:
        run: the training run. plan: what it was asked for; ``None``: each step trains all parameters.
    """

    def __init__(self, run: Trainer, plan: Aggressive | None) -> None:
        self.run, self.plan = run, plan
        self.active, self.last = plan is not None, -math.inf
        self._guide: list[Tensor] = []
        self._model: list[Tensor] = []

    def find(self, batch: Batch) -> None:
        """Tell the parameters of guide and model apart, by a batch."""
        if self.plan is None:
            return
        own = own_parameters(self.run.model, batch)
        self._guide = [p for p in self.run.parameters if id(p) in own]
        self._model = [p for p in self.run.parameters if id(p) not in own]
        if not self._guide or not self._model:
            raise ValueError(f"fit: encoder_updates trains the guide apart from the model, and of "
                             f"{type(self.run.model).__name__} no trained parameter belongs to "
                             f"{'the model' if self._guide else 'the guide'} alone: leave it out.")

    def drop(self, step: int) -> None:
        """Forget the gradients of those whose turn it is not, at optimizer step ``step`` (0 first)."""
        if self.plan is not None and self.active:
            inner = step % (self.plan.updates + 1) < self.plan.updates
            for parameter in self._model if inner else self._guide:
                parameter.grad = None

    def end_epoch(self) -> None:
        """Stop where what should rise has not."""
        if self.plan is None or self.plan.rising is None or not self.active:
            return
        with evaluating(self.run.model), forked(self.run.device):
            now = float(self.plan.rising(self.run.model))
        self.active, self.last = self.run.agree(now > self.last), now


def own_parameters(model: SequenceVAE, batch: Batch) -> set[int]:
    """The ids of the parameters that log p(x, z), z being given, does not depend on."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    with unregistered(), forked(batch.x.device):
        with torch.no_grad():
            drawn = guide_trace(model, batch)
        program = replayed(model, batch, drawn)
    total: Any = sum(site["fn"].log_prob(site["value"]).sum() for site in sites(program).values())
    if not total.requires_grad:
        return set(map(id, parameters))
    slopes = torch.autograd.grad(total, parameters, allow_unused=True)
    return {id(p) for p, slope in zip(parameters, slopes, strict=True) if slope is None}
