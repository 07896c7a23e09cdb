"""The six models once more, in plain torch from the papers: log p(x, z) and log q(z | x) of one sequence.

Nothing here goes through a body, a reading of the loop, a family or a causal part: only networks (as functions) and
the raw weights of the recurrence are taken from the model. ``x (T, x_dim)`` is binary; ``z`` is ``(T, z_dim)``, or
``(z_dim,)`` once a sequence.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

Pair = tuple[Tensor, Tensor]


def normal(value: Tensor, raw: Tensor) -> Tensor:
    """log N(value; loc, softplus(rho) + 1e-4) of raw = [loc, rho]."""
    loc, rho = raw.chunk(2, -1)
    return gaussian(value, loc, softplus(rho) + 1e-4)


def gaussian(value: Tensor, loc: Tensor | float, scale: Tensor | float) -> Tensor:
    scale = torch.as_tensor(scale)
    return (-((value - loc) / scale) ** 2 / 2 - scale.log() - math.log(2 * math.pi) / 2).sum()


def bernoulli(x: Tensor, logits: Tensor) -> Tensor:
    p = 1 / (1 + torch.exp(-logits))
    return torch.where(x == 1, p.log(), (1 - p).log()).sum()


def lstm(part: Any, u: Tensor, state: Pair | None) -> tuple[Tensor, Pair]:
    """One step of Hochreiter & Schmidhuber's cell, gates i, f, g, o."""
    net = part.rnn
    h, c = state if state is not None else (torch.zeros(net.hidden_size),) * 2
    i, f, g, o = (net.weight_ih_l0 @ u + net.bias_ih_l0 + net.weight_hh_l0 @ h + net.bias_hh_l0).chunk(4)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    h = torch.sigmoid(o) * torch.tanh(c)
    return h, (h, c)


def run(part: Any, inputs: list[Tensor], start: Pair | None = None) -> list[Tensor]:
    outputs, state = [], start
    for u in inputs:
        h, state = lstm(part, u, state)
        outputs.append(h)
    return outputs


def backward(part: Any, inputs: list[Tensor]) -> list[Tensor]:
    return run(part, inputs[::-1])[::-1]


def both(model: Any, x: Tensor) -> list[Tensor]:
    ahead, back = run(model.encoder.cells[0], list(x)), backward(model.encoder.cells[1], list(x))
    return [torch.cat(pair) for pair in zip(ahead, back, strict=True)]


def late(first: Tensor, path: Tensor) -> list[Tensor]:
    return [first, *path[:-1]]


def vrnn(m: Any, x: Tensor, z: Tensor) -> Pair:
    """h_t = f(h_{t-1}, phi(x_{t-1}), phi(z_{t-1})): Chung et al. (2015), eq. 5-9, their h_{t-1} as our h_t."""
    inputs = [torch.cat([m.phi_x(a), m.phi_z(b)]) for a, b in zip(late(m.x0, x), late(m.z0, z), strict=True)]
    p = q = torch.zeros(())
    for h, x_t, z_t in zip(run(m.recurrence, inputs), x, z, strict=True):
        p = p + normal(z_t, m.prior.net(h)) + bernoulli(x_t, m.likelihood.net(torch.cat([h, m.phi_z(z_t)])))
        q = q + normal(z_t, m.posterior.net(torch.cat([h, m.phi_x(x_t)])))
    return p, q


def rvae(m: Any, x: Tensor, z: Tensor) -> Pair:
    """z_t ~ N(0, I); h_t = f(h_{t-1}, z_t): Leglaive et al. (2020), eq. 4-6."""
    p = q = torch.zeros(())
    for h, g, x_t, z_t in zip(run(m.recurrence, list(z)), both(m, x), x, z, strict=True):
        p = p + gaussian(z_t, 0.0, 1.0) + bernoulli(x_t, m.likelihood.net(h))
        q = q + normal(z_t, m.posterior.net(g))
    return p, q


def storn(m: Any, x: Tensor, z: Tensor) -> Pair:
    """z_t ~ N(0, I); h_t = f(h_{t-1}, x_{t-1}, z_t): Bayer & Osendorfer (2014), section 3."""
    inputs = [torch.cat([a, b]) for a, b in zip(late(m.x0, x), z, strict=True)]
    p = q = torch.zeros(())
    for h, g, x_t, z_t in zip(run(m.recurrence, inputs), run(m.encoder.cells[0], list(x)), x, z, strict=True):
        p = p + gaussian(z_t, 0.0, 1.0) + bernoulli(x_t, m.likelihood.net(h))
        q = q + normal(z_t, m.posterior.net(g))
    return p, q


def vrae(m: Any, x: Tensor, z: Tensor) -> Pair:
    """z ~ N(0, I) once; h_0 = tanh(W z + b), h_t = f(h_{t-1}, x_{t-1}): Fabius & van Amersfoort (2015)."""
    linear = m.begin[0][0]
    h, c = torch.tanh(linear.weight @ z + linear.bias).chunk(2)
    p = gaussian(z, 0.0, 1.0)
    for h_t, x_t in zip(run(m.recurrence, late(m.x0, x), (h, c)), x, strict=True):
        p = p + bernoulli(x_t, m.likelihood.net(h_t))
    return p, normal(z, m.posterior.net(run(m.encoder.cells[0], list(x))[-1]))


def gated(part: Any, u: Tensor, z: Tensor) -> Tensor:
    """Krishnan et al. (2017), section 5: the gated transition."""
    g, r = torch.sigmoid(part.gate(u)), part.proposed(u)
    loc = (1 - g) * (part.linear.weight @ z + part.linear.bias) + g * r
    return torch.cat([loc, part.scale.weight @ torch.relu(r) + part.scale.bias])


def chain(m: Any, z: Tensor, before: Tensor, g: Tensor) -> Tensor:
    """q = N(a z_{t-1} + b, s^2), a = sigmoid(alpha + 1), s = softplus(rho) + 1e-4."""
    alpha, b, rho = m.posterior.net(g).chunk(3)
    return gaussian(z, torch.sigmoid(alpha + 1) * before + b, softplus(rho) + 1e-4)


def combiner(m: Any, z: Tensor, before: Tensor, g: Tensor) -> Tensor:
    """h = (tanh(W z_{t-1} + b) + V g + c) / 2: Krishnan et al. (2017), section 4, as in Pyro's tutorial."""
    return normal(z, m.posterior.output((torch.tanh(m.posterior.latent(before)) + m.posterior.features(g)) / 2))


def dmm(m: Any, x: Tensor, z: Tensor, posterior: Any = chain) -> Pair:
    """z_t ~ p(z_t | z_{t-1}[, x_{t-1}]); x_t ~ p(x_t | z_t[, x_{t-1}]); q(z_t | z_{t-1}, g_t)."""
    g = both(m, x) if len(m.encoder.cells) == 2 else backward(m.encoder.cells[0], list(x))
    p = q = torch.zeros(())
    for i, (x_t, z_t) in enumerate(zip(x, z, strict=True)):
        before, seen = (m.z0 if i == 0 else z[i - 1]), [m.x0 if i == 0 else x[i - 1]] if m.skip_z else []
        p = p + normal(z_t, gated(m.transition.net, torch.cat([before, *map(m.skip_z, seen)]), before))
        p = p + bernoulli(x_t, m.likelihood.net(torch.cat([z_t, *map(m.skip_x, seen)])))
        q = q + posterior(m, z_t, m.q0 if i == 0 else z[i - 1], g[i])
    return p, q


def vae(m: Any, x: Tensor, z: Tensor) -> Pair:
    """z ~ N(0, I); x ~ p(x | z); q(z | x): Kingma & Welling (2014), appendix C."""
    p = gaussian(z, 0.0, 1.0) + bernoulli(x, m.likelihood.net(z))
    return p, normal(z, m.posterior.net(m.encoder(x)))
