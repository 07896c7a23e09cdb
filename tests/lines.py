"""A model whose every mean is known in closed form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

import pyro_rvae as rv

B = torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)


class Line(rv.SequenceVAE):
    """v ~ N(0, I) once;  z_t ~ N(0, I);  x_t ~ N(feedback x_{t-1} + B v + z_t [+ c_t] [+ y], 0.1^2 I).

    The guide: v ~ N(mean of x, 0.2^2 I), z_t ~ N(x_t / 2, 0.3^2 I).
    """

    def __init__(self, feedback: float = 0.0) -> None:
        super().__init__()
        self.x_dim, self.feedback = 2, feedback
        self.loc = torch.nn.Parameter(torch.zeros(2))

    @staticmethod
    def normal(loc: Tensor, scale: float) -> Any:
        return dist.Normal(loc, scale).to_event(1)

    def frame(self, before: Tensor, v: Tensor, z: Tensor, *told: Tensor) -> Any:
        return self.normal(self.feedback * before + v @ B.T + z + sum(told), 0.1)

    def generative(self, steps: rv.Steps) -> None:
        v = pyro.sample("v", self.normal(self.loc, 1.0))
        for t in steps:
            told = [] if steps.controls is None else [t.at(steps.controls)]
            told += [] if steps.labels is None else [t.hold(steps.labels.unsqueeze(-1).expand(-1, 2).to(v))]
            z = t.sample("z", lambda before: self.normal(0 * before, 1.0), t.prev("z", self.loc))
            t.sample("x", self.frame, t.prev("x", self.loc), t.hold(v), z, *told)

    def inference(self, steps: rv.Steps, x: Tensor) -> None:
        there = torch.ones(x.shape[:2]) if steps.mask is None else steps.mask.to(x)
        mean = (x * there.unsqueeze(-1)).sum(-2) / there.sum(-1, keepdim=True)
        pyro.sample("v", self.normal(mean + self.loc, 0.2))
        for t in steps:
            t.sample("z", lambda x: self.normal(x / 2, 0.3), t.at(x))


def again(x: Any, feedback: float = 0.0, *, v: Any = None, z: Any = None, forced: bool = False) -> Any:
    """The reconstruction's mean, frame by frame, in NumPy."""
    x = np.asarray(x)
    v = x.mean(0) if v is None else np.asarray(v)
    z = x / 2 if z is None else np.asarray(z)
    made: list[Any] = []
    for t in range(len(z)):
        before = np.zeros(2) if t == 0 else x[t - 1] if forced else made[-1]
        made.append(feedback * before + np.asarray(B) @ v + z[t])
    return np.stack(made)
