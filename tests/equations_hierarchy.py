"""The hierarchies once more, in plain torch: each level's latent is looked up by the number of its block."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from equations import bernoulli, both, gaussian, late, normal, run
from torch import Tensor

Pair = tuple[Tensor, Tensor]


def level(part: Any, z: Tensor, above: list[Tensor], g: list[Tensor]) -> tuple[list[Tensor], Tensor, Tensor]:
    """h_j = f(h_{j-1}, z_{j-1}, above_j), with log p(z_j | h_j) and log q(z_j | h_j, g_j) summed over j."""
    inputs = [torch.cat([before, *rest]) for before, *rest in zip(late(part.z0, z), above, strict=True)]
    states, p, q = run(part.recurrence, inputs), torch.zeros(()), torch.zeros(())
    for h, z_j, g_j in zip(states, z, g, strict=True):
        p = p + normal(z_j, part.prior.net(h))
        q = q + normal(z_j, part.posterior.net(torch.cat([h, g_j])))
    return states, p, q


def hrae(m: Any, x: Tensor, values: dict[str, Tensor]) -> Pair:
    """One slow level, k frames a latent: frame t is in block t // k (Saxena et al. 2021, two levels)."""
    slow, fast = m.levels
    k, z, z2, g = m.every[0], values["z"], values["z2"], both(m, x)
    blocks = [t for t in range(len(x)) if t % k == 0]
    h2, p_slow, q_slow = level(slow, z2, [torch.zeros(0)] * len(blocks), [g[t] for t in blocks])
    states, p, q = level(fast, z, [torch.cat([z2[t // k], h2[t // k]]) for t in range(len(x))], g)
    for h, z_t, x_t in zip(states, z, x, strict=True):
        p = p + bernoulli(x_t, m.likelihood.net(torch.cat([h, z_t])))
    return p_slow + p, q_slow + q


def hrae_three(m: Any, x: Tensor, values: dict[str, Tensor]) -> Pair:
    """Two slow levels whose strides 2 and 3 do not divide one another: block j of z2 starts at frame 2 j."""
    third, second, fast = m.levels
    (k, slowest), T, g = m.every, len(x), both(m, x)
    z, z2, z3 = (values[name] for name in ("z", "z2", "z3"))
    h3, p3, q3 = level(third, z3, [torch.zeros(0)] * len(z3), g[::slowest])
    h2, p2, q2 = level(second, z2, [torch.cat([z3[t // slowest], h3[t // slowest]]) for t in range(0, T, k)], g[::k])
    states, p, q = level(fast, z, [torch.cat([z2[t // k], h2[t // k]]) for t in range(T)], g)
    for h, z_t, x_t in zip(states, z, x, strict=True):
        p = p + bernoulli(x_t, m.likelihood.net(torch.cat([h, z_t])))
    return p + p2 + p3, q + q2 + q3


def music_vae(m: Any, x: Tensor, values: dict[str, Tensor]) -> Pair:
    """c_j = f(c_{j-1}, v); h_t = g(h_{t-1}, x_{t-1}, c_{t // k}) (Roberts et al. 2018, section 3.2; no reset)."""
    v, T = values["v"], len(x)
    c = run(m.conductor, [v] * len(range(0, T, m.every)))
    inputs = [torch.cat([before, c[t // m.every]]) for t, before in enumerate(late(m.x0, x))]
    p = gaussian(v, 0.0, 1.0)
    for h, x_t in zip(run(m.recurrence, inputs), x, strict=True):
        p = p + bernoulli(x_t, m.likelihood.net(h))
    e = both(SimpleNamespace(encoder=m.encoder), x)
    half = len(e[0]) // 2
    return p, normal(v, m.posterior.net(torch.cat([e[-1][:half], e[0][half:]])))
