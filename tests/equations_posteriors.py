"""Posteriors of one step once more: residual to the prior, dense Gaussians, and a flow inverted element by element."""

from __future__ import annotations

import math
from typing import Any

import torch
from equations import Pair, backward, bernoulli, gated, gaussian, late, normal, run
from torch import Tensor
from torch.nn.functional import softplus


def dense(value: Tensor, loc: Tensor, covariance: Tensor) -> Tensor:
    """log N(value; loc, covariance) by the determinant and the inverse."""
    off = value - loc
    distance = off @ torch.linalg.inv(covariance) @ off
    return -0.5 * (distance + torch.logdet(covariance) + len(value) * math.log(2 * math.pi))


def full(value: Tensor, raw: Tensor) -> Tensor:
    """N(loc, L L^T), L = diag(s) (I + V): raw = [loc, of s, V below the diagonal by rows]."""
    dim = len(value)
    numbers, tril = iter(raw[2 * dim:]), torch.zeros(dim, dim)
    for i in range(dim):
        tril[i, i] = softplus(raw[dim + i]) + 1e-4
        for j in range(i):
            tril[i, j] = tril[i, i] * next(numbers)
    return dense(value, raw[:dim], tril @ tril.T)


def low_rank(value: Tensor, raw: Tensor) -> Tensor:
    """N(loc, S (I + V V^T) S), S = diag(softplus(.) + 1e-4)."""
    dim = len(value)
    scale, v = torch.diag(softplus(raw[dim: 2 * dim]) + 1e-4), raw[2 * dim:].reshape(dim, -1)
    return dense(value, raw[:dim], scale @ (torch.eye(dim) + v @ v.T) @ scale)


def masked(net: Any, x: Tensor) -> Tensor:
    """[m, logits of sigma] of a masked network with one hidden layer."""
    first, last = net.layers
    hidden = torch.relu((first.weight * first.mask) @ x + first.bias)
    return (last.weight * last.mask) @ hidden + last.bias


def flow(family: Any, value: Tensor, raw: Tensor) -> Tensor:
    """Kingma et al. (2016): z = sigma z + (1 - sigma) m, undone transform by transform and element by element."""
    dim, total = len(value), torch.zeros(())
    for k in reversed(range(len(family.transforms))):
        order = range(dim) if k % 2 else reversed(range(dim))
        x = torch.zeros(dim)
        for i in order:
            m, logit = masked(family.transforms[k].nn, torch.cat([raw[2 * dim:], x])).reshape(2, dim)[:, i]
            sigma = torch.sigmoid(logit + 2)
            x[i] = (value[i] - (1 - sigma) * m) / sigma
            total = total - sigma.log()
        value = x
    return total + gaussian(value, raw[:dim], softplus(raw[dim: 2 * dim]) + 1e-4)


def vrnn(m: Any, x: Tensor, z: Tensor, family: Any = None) -> Pair:
    """The VRNN with a posterior centred on the prior's mean, or with the law ``family`` of raw numbers."""
    inputs = [torch.cat([m.phi_x(a), m.phi_z(b)]) for a, b in zip(late(m.x0, x), late(m.z0, z), strict=True)]
    p = q = torch.zeros(())
    for h, x_t, z_t in zip(run(m.recurrence, inputs), x, z, strict=True):
        prior, raw = m.prior.net(h), m.posterior.net(torch.cat([h, m.phi_x(x_t)]))
        p = p + normal(z_t, prior) + bernoulli(x_t, m.likelihood.net(torch.cat([h, m.phi_z(z_t)])))
        q = q + (normal(z_t, raw + torch.cat([prior.chunk(2)[0], torch.zeros(len(z_t))])) if family is None
                 else family(z_t, raw))
    return p, q


def dmm_residual(m: Any, x: Tensor, z: Tensor) -> Pair:
    """The DMM with skip edges; the mean of q(z_t | z_{t-1}, g_t) is that of p(z_t | z_{t-1}, x_{t-1}) and more."""
    p = q = torch.zeros(())
    g = backward(m.encoder.cells[0], list(x))
    for i, (z_t, x_t) in enumerate(zip(z, x, strict=True)):
        before, seen = (z[i - 1], x[i - 1]) if i else (m.z0, m.x0)
        prior = gated(m.transition.net, torch.cat([before, m.skip_z(seen)]), before)
        p = p + normal(z_t, prior) + bernoulli(x_t, m.likelihood.net(torch.cat([z_t, m.skip_x(seen)])))
        loc, rho = m.posterior.net(torch.cat([z[i - 1] if i else m.q0, g[i]])).chunk(2)
        q = q + gaussian(z_t, prior.chunk(2)[0] + loc, softplus(rho) + 1e-4)
    return p, q


def full_step(m: Any, z: Tensor, before: Tensor, g: Tensor) -> Tensor:
    return full(z, m.posterior.net(torch.cat([before, g])))


def flow_step(m: Any, z: Tensor, before: Tensor, g: Tensor) -> Tensor:
    part = m.posterior
    return flow(part.family, z, part.output((torch.tanh(part.latent(before)) + part.features(g)) / 2))
