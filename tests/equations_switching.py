"""NeuralHMM and SwitchingLDS once more, in plain torch; their regimes are summed over all K^T paths.

``x (T, x_dim)`` is binary, NaN where an element is missing; ``s (T, K)`` one-hot; ``z (T, z_dim)``.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from equations import backward, bernoulli, chain, late, normal, run
from torch import Tensor

Values = dict[str, Tensor]


def every_path(modes: int, length: int) -> Tensor:
    """All ``(K^T, T)`` paths of regimes."""
    return torch.tensor(list(itertools.product(range(modes), repeat=length)))


def chain_of_regimes(m: Any, beside: list[Tensor]) -> list[Tensor]:
    """log p(s_t = k | s_{t-1} = j) as one K x K table a step; before the first step s is a vector of zeros."""
    one_hot = torch.eye(m.modes)
    tables = []
    for t, h in enumerate(beside):
        rows = one_hot if t else torch.zeros(m.modes, m.modes)
        tables.append(torch.stack([torch.log_softmax(m.prior.net(torch.cat([row, h])), -1) for row in rows]))
    return tables


def of_paths(tables: list[Tensor], emitted: Tensor, paths: Tensor) -> Tensor:
    """log p(s, y) of each of the paths ``(N, T)``: ``emitted (T, K)`` is log p(y_t | s_t = k)."""
    total, before = torch.zeros(len(paths)), torch.zeros(len(paths), dtype=torch.long)
    for t, table in enumerate(tables):
        total = total + table[before, paths[:, t]] + emitted[t, paths[:, t]]
        before = paths[:, t]
    return total


def seen(x: Tensor, logits: Tensor) -> Tensor:
    """The Bernoulli density of what is there of a frame."""
    there = ~x.isnan()
    return bernoulli(x[there], logits[there])


def both_parts(m: Any, tables: list[Tensor], emitted: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    """log p(s, y), and log p(y): the sum over every path."""
    return (of_paths(tables, emitted, s.argmax(-1).unsqueeze(0))[0],
            of_paths(tables, emitted, every_path(m.modes, len(s))).logsumexp(0))


def neural_hmm(m: Any, x: Tensor, values: Values, summed: bool = False) -> tuple[Tensor, Tensor]:
    """p(s_t | s_{t-1}[, h_t]) p(x_t | s_t[, h_t]), h_t = f(x_{<t}); the guide is p(s | x). ``summed``: log p(x) too."""
    filled = x.nan_to_num(0.0)
    h = [torch.zeros(0)] * len(x) if m.recurrence is None else run(m.recurrence, late(m.x0, filled))
    emitted = torch.stack([torch.stack([seen(x_t, m.likelihood.net(torch.cat([k, h_t]))) for k in torch.eye(m.modes)])
                           for x_t, h_t in zip(x, h, strict=True)])
    joint, evidence = both_parts(m, chain_of_regimes(m, h), emitted, values["s"])
    return (joint, evidence) if summed else (joint, joint - evidence)


def switching(m: Any, x: Tensor, values: Values, summed: bool = False) -> tuple[Tensor, Tensor]:
    """z_t ~ N(A_k z_{t-1} + b_k, diag softplus(r_k)^2), k = s_t; x_t ~ p(x_t | z_t); the guide is q(z | x) p(s | z).

    ``summed``: (log p(x, z), log q(z | x)) instead, the regimes summed out.
    """
    z, net, d = values["z"], m.transition.net, m.z_dim
    rows = [slice(k * d, (k + 1) * d) for k in range(m.modes)]
    a, b, r = ([w[row] for row in rows] for w in (net.linear.weight, net.linear.bias, net.scale.weight.T.flatten()))
    emitted = torch.stack([torch.stack([normal(z_t, torch.cat([a[k] @ before + b[k], r[k]])) for k in range(m.modes)])
                           for z_t, before in zip(z, late(m.z0, z), strict=True)])
    nothing = [torch.zeros(0)] * len(x)
    joint, evidence = both_parts(m, chain_of_regimes(m, nothing), emitted, values["s"])
    likelihood = sum(seen(x_t, m.likelihood.net(z_t)) for x_t, z_t in zip(x, z, strict=True))
    g = backward(m.encoder.cells[0], list(x.nan_to_num(0.0)))
    guide = sum(chain(m, z_t, before, g_t) for z_t, before, g_t in zip(z, late(m.q0, z), g, strict=True))
    if summed:
        return evidence + likelihood, guide
    return joint + likelihood, guide + joint - evidence
