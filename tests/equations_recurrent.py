"""The deterministic recurrent network once more, in plain torch: log p(x) of one sequence."""

from __future__ import annotations

from typing import Any

import torch
from equations import Pair, bernoulli, late, run
from torch import Tensor


def deterministic(m: Any, x: Tensor, values: dict[str, Tensor]) -> Pair:
    """h_t = f(h_{t-1}, x_{t-1}); x_t ~ p(x_t | h_t): Boulanger-Lewandowski et al. (2012). Nothing is latent."""
    assert not values
    p = torch.zeros(())
    for h, x_t in zip(run(m.recurrence, late(m.x0, x)), x, strict=True):
        p = p + bernoulli(x_t, m.likelihood.net(h))
    return p, torch.zeros(())
