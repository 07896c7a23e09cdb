"""What to try when a latent is dead, in the words of this library."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from ..infer.schedules import Constant, Cyclical
from ..nn import WordDropout
from .collapse import CollapseReport

__all__ = ["advice"]


def advice(latent: str, report: CollapseReport, epoch: int, looks: int, model: Any, kl_weight: Any, steps: int) -> str:
    """The warning about a dead ``latent``.

    Arguments:
        report: the last look; ``epoch`` says when it was, ``looks`` for how many in a row the latent was dead.
        model, kl_weight: what is trained, and its schedule.
        steps: of the whole training.
    """
    kl, activity = report.kl_a_draw[latent], report.activity.get(latent)
    units = ""
    if activity is not None and latent not in report.unmeasured:
        units = f", and {int((activity > report.threshold).sum())} of its {len(activity)} units are active"
    found = (f"The latent {latent!r} of {report.name} is dead: after epoch {epoch} its KL is {kl:.4f} nats a draw"
             f"{units} (dead for {looks} look{'s' * (looks != 1)} in a row, at the full KL weight). The model is "
             "trained as if it had no such latent.")
    hints = [*_annealing(kl_weight, steps), *_decoder(model),
             "see which part is at fault with rv.collapse_report(model, data)"]
    return f"{found} What to try: {'; '.join(hints)}."


def _annealing(kl_weight: Any, steps: int) -> list[str]:
    rise = max(1, steps // 3)
    if isinstance(kl_weight, Constant):
        return [f"let the KL weight rise slowly, fit(kl_weight=rv.infer.linear(0.0, 1.0, {rise}))"]
    other = [] if isinstance(kl_weight, Cyclical) else [f"or again and again, rv.infer.cyclical({max(1, rise // 2)})"]
    return [", ".join(["let the KL weight rise over more steps", *other])]


def _decoder(model: Any) -> list[str]:
    """A decoder that sees x_{t-1} can do without z: what the model's own arguments offer against it."""
    accepted = inspect.signature(type(model)).parameters
    reads = getattr(model, "feedback", None)
    if "feedback" in accepted and isinstance(reads, nn.Identity):
        return ["hide the past from the decoder, feedback=partial(rv.WordDropout, p=0.5)"]
    if "feedback" in accepted and isinstance(reads, WordDropout) and reads.p < 1:
        return [f"hide more of the past from the decoder, feedback=partial(rv.WordDropout, p={(1 + reads.p) / 2:.2g})"]
    if "skip_edges" in accepted and getattr(model, "skip_x", None) is not None:
        return ["leave the skip edges from x_{t-1} out, skip_edges=False"]
    if {"recurrence", "h_dim"} <= set(accepted) and hasattr(model, "x0"):
        return ["make the network that reads x_{t-1} smaller, a lower h_dim"]
    return []
