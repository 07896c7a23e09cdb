"""The default guide of what is drawn once a data set."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import torch
from torch import nn
from torch.distributions import biject_to

from .contexts import forked

__all__ = ["SharedPosterior"]


class SharedPosterior(nn.Module):
    """A mean-field Normal guide, in unconstrained space, for what is drawn once a data set.

    Each site of ``program`` gets ``loc`` and ``softplus(raw)`` of its unconstrained shape; the draw is carried to
    the site's support (Kucukelbir et al. 2017, arXiv:1603.00788).
    """

    def __init__(self, program: Any) -> None:
        super().__init__()
        with poutine.block(), forked():  # the prior's draws only tell shapes
            trace = poutine.trace(program).get_trace()
        self.loc, self.raw = nn.ParameterDict(), nn.ParameterDict()
        self.transforms: dict[str, Any] = {}
        for name, site in trace.iter_stochastic_nodes():
            if site["fn"].support.is_discrete:
                raise ValueError(f"shared site {name!r} is discrete; a Normal guide can't stand for it. "
                                 "Set self.shared_posterior to a guide of your own.")
            if site["fn"].batch_shape:
                raise ValueError(f"shared site {name!r} has batch shape {tuple(site['fn'].batch_shape)} outside of any "
                                 "plate; make it one event: `.to_event(1)` is missing.")
            self.transforms[name] = biject_to(site["fn"].support)
            start = self.transforms[name].inv(site["value"])
            self.loc[name] = nn.Parameter(torch.zeros_like(start))
            self.raw[name] = nn.Parameter(torch.full_like(start, -2.0))

    def forward(self) -> None:
        for name, transform in self.transforms.items():
            loc, scale = self.loc[name], nn.functional.softplus(self.raw[name])
            base = dist.Normal(loc, scale).to_event(loc.dim())
            pyro.sample(name, dist.TransformedDistribution(base, [transform]))
