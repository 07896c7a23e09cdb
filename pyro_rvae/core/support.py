"""Whether observed values lie in the support of their law."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .handlers import trust

__all__ = ["check_support"]


def check_support(fn: Any, name: str, value: Tensor, present: Tensor | None,
                  step: int | None = None, mask: Tensor | None = None) -> None:
    """Refuse observed values outside the support of their law, in no gap and under no padding."""
    if trust() is not None or value.device.type == "meta":
        return
    support = getattr(fn, "support", None)
    if not value.is_floating_point() and "Bernoulli" in type(getattr(fn, "base_dist", fn)).__name__:
        raise ValueError(f"{name} is {value.dtype}, and a Bernoulli takes 0.0 and 1.0 of floating point: pass "
                         f"x.to(torch.get_default_dtype()).")
    element = getattr(support, "base_constraint", None)
    good = (element or support).check(value) if support is not None else None
    if good is not None and mask is not None:
        good = good | ~(mask.unsqueeze(-1) if good.dim() == value.dim() else mask)
    if good is None or bool(good.all()):
        return
    if present is not None and good.shape == present.shape and bool((good | ~present).all()):
        return
    where = (~good).nonzero()[0].tolist()
    culprit = value[tuple(where)]
    shown = culprit.item() if culprit.numel() == 1 else culprit.tolist()
    base = getattr(fn, "base_dist", fn)
    where = where if step is None else [*where[:1], step, *where[1:]]
    axes = "(sequence, element)" if len(where) == 2 else "(sequence, step, element)"
    raise ValueError(f"{name} holds {shown} at {tuple(where)} {axes}, outside the support of "
                     f"its likelihood {type(base).__name__} ({element or support}). Transform the data, or pass "
                     f"another likelihood.")
