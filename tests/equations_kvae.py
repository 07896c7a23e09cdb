"""The Kalman VAE once more, in plain torch: all z of a sequence as one dense Gaussian, and no filter.

Only networks (as functions) and raw weights are taken from the model. ``z = (z_1, ..., z_T)`` solves ``F z = shift +
noise`` with ``F`` the identity less the transitions, so its mean and covariance are those of one linear map.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from equations import Pair, bernoulli, gaussian, lstm, normal
from torch import Tensor
from torch.nn.functional import softplus


class Joint(NamedTuple):
    """Mean and covariance of all z, the matrix C of all steps, and the variances R of all steps."""

    mean: Tensor
    covariance: Tensor
    emission: Tensor
    noise: Tensor

    @property
    def a(self) -> Pair:
        """Mean and covariance of all a."""
        c = self.emission
        return c @ self.mean, c @ self.covariance @ c.T + torch.diag(self.noise)


def variance(raw: Tensor) -> Tensor:
    return torch.log1p(torch.exp(raw)) + 1e-4


def joint(d: Any, weights: Tensor, controls: Tensor | None = None) -> Joint:
    """The Gaussian of steps 1..T, given the weights ``(T, K)`` of the modes (Fraccaro et al. 2017, eq. 2-4, 9)."""
    a, c = (torch.einsum("tk,kij->tij", weights, matrices) for matrices in (d.transition, d.emission))
    t, n = len(weights), d.mean.shape[0]
    f, shift = torch.eye(t * n), [d.mean]
    for s in range(1, t):
        f[s * n:(s + 1) * n, (s - 1) * n:s * n] = -a[s]
        b = torch.zeros(n) if controls is None else torch.einsum("k,kij,j->i", weights[s], d.control, controls[s])
        shift.append(b)
    noise = torch.cat([variance(d.raw_initial), variance(d.raw_process).repeat(t - 1)])
    inverse = torch.linalg.inv(f)
    return Joint(inverse @ torch.cat(shift), inverse @ torch.diag(noise) @ inverse.T, torch.block_diag(*c),
                 variance(d.raw_noise).repeat(t))


def posterior(model: Joint, a: Tensor, seen: Tensor) -> Pair:
    """Mean and covariance of all z given the a of the frames seen, ``a (T, a_dim)``, ``seen (T,)``."""
    keep = seen.repeat_interleave(a.shape[-1])
    mean, covariance = model.a
    c = model.emission[keep]
    gain = torch.linalg.solve(covariance[keep][:, keep], c @ model.covariance).T
    return (model.mean + gain @ (a.flatten() - mean)[keep], model.covariance - gain @ c @ model.covariance)


def evidence(model: Joint, a: Tensor, seen: Tensor) -> Tensor:
    """log p of the a of the frames seen."""
    keep = seen.repeat_interleave(a.shape[-1])
    if not keep.any():
        return torch.zeros(())
    mean, covariance = model.a
    return torch.distributions.MultivariateNormal(mean[keep], covariance[keep][:, keep]).log_prob(a.flatten()[keep])


def modes(d: Any, a: Tensor, seen: Tensor, first: Tensor, controls: Tensor | None = None) -> Tensor:
    """w_t of each step, ``(T, K)``: the LSTM reads a_{t-1}, or its mean given the a seen before it."""
    if d.modes == 1:
        return torch.ones(len(a), 1)
    rows: list[Tensor] = []
    state, read = None, first
    for t in range(len(a)):
        h, state = lstm(d.recurrence, read, state)
        rows.append((d.logits.weight @ h + d.logits.bias).softmax(-1))
        past = joint(d, torch.stack(rows), controls)
        before = seen[:t + 1].clone()
        before[t] = False
        expected = (past.emission @ posterior(past, a[:t + 1], before)[0])[-a.shape[-1]:]
        read = a[t] if seen[t] else expected
    return torch.stack(rows)


def kvae(m: Any, x: Tensor, values: dict[str, Tensor]) -> Pair:
    """log p(x | a) + log p(a), and log q(a | x): Fraccaro et al. (2017), eq. 2-6. A frame that is missing has none."""
    a, absent = values["a"], x.isnan()
    seen, filled = ~absent.all(-1), x.masked_fill(absent, 0.0)
    p = evidence(joint(m.dynamics, modes(m.dynamics, a, seen, m.a0)), a, seen)
    read = torch.cat([filled, (~absent).to(x)], -1) if m.reader.missing else filled
    q = torch.zeros(())
    for a_t, x_t, u_t, here, gone in zip(a, filled, read, seen, absent, strict=True):
        raw, there = m.likelihood.net(a_t), ~gone
        if m.likelihood.family.num_params == len(x_t):
            p = p + bernoulli(x_t[there], raw[there])
        else:
            loc, rho = raw.chunk(2)
            p = p + gaussian(x_t[there], loc[there], softplus(rho[there]) + 1e-4)
        q = q + normal(a_t, m.posterior.net(m.encoder.net(u_t))) * here
    return p, q
