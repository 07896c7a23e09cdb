"""Stating the sites of all steps to Pyro."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyro
import torch
from torch import Tensor

if TYPE_CHECKING:
    from .steps import Steps

__all__ = ["check_law", "emit", "emit_drawn"]


def check_law(fn: Any, name: str) -> None:
    if getattr(fn, "event_dim", None) != 1:
        got = f"event_dim {fn.event_dim}" if hasattr(fn, "event_dim") else type(fn).__name__
        raise ValueError(f"site {name!r}: a conditional must return a distribution over the vector of one frame, "
                         f"with event_dim 1 (often `.to_event(1)` is missing); got {got}.")


def emit_drawn(steps: Steps, name: str, law: Any, value: Tensor) -> Tensor:
    """State a site that the rollout has drawn; its beginning may have been known, and then have gaps."""
    filled, present = steps.gaps(value) if name in steps.data else (value, None)
    return emit(steps, name, law, filled, observed=False, present=present, stated=value)


def emit(steps: Steps, name: str, law: Any, value: Tensor | None, *, observed: bool, present: Tensor | None = None,
         stated: Tensor | None = None) -> Tensor:
    """State one site of all steps to Pyro: time joins the event shape, padding and gaps are masked."""
    check_law(law, name)
    shape = torch.broadcast_shapes(law.batch_shape, (*steps.batch_shape, steps.length))
    law = law if law.batch_shape == shape else law.expand(shape)
    if observed and value is not None:
        steps.check_support(law, name, value, present, mask=steps.mask)
    law = steps.law(law, present, steps.mask).to_event(1)
    new = pyro.sample(name, law, obs=value, infer={"is_observed": observed, "exact": name in steps.exact,
                                                   "every": steps.stride})
    if value is not None and new is not value and new is not stated:
        raise RuntimeError(f"a handler replaced site {name!r} after its values were drawn; run the model within "
                           "`explicit()` to use that handler.")
    steps.values[name] = value if value is not None else new
    if stated is not None and stated is not value:
        steps.raw[name] = stated
    return steps.values[name]
