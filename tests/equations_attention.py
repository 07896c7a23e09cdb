"""The attentional models once more, in plain torch: each weight of each query on each latent, one by one."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import torch
from equations import bernoulli, both, gaussian, late, normal, run
from torch import Tensor

Pair = tuple[Tensor, Tensor]


def product(part: Any, query: Tensor, key: Tensor, head: int) -> Tensor:
    """Luong et al. (2015), score "general", scaled as by Vaswani et al. (2017)."""
    return (query * key).sum() / math.sqrt(len(key))


def additive(part: Any, query: Tensor, key: Tensor, head: int) -> Tensor:
    """Bahdanau et al. (2015), appendix A.1.2: v . tanh(W s + U h)."""
    return (part.weight[head] * torch.tanh(query + key)).sum()


def attend(part: Any, u: Tensor, memory: list[Tensor], score: Any = product) -> Tensor:
    """sum_s exp(e_s) V m_s / sum_s exp(e_s) in each head, then one linear map of all heads."""
    width, read = part.query.out_features // part.heads, []
    for head in range(part.heads):
        rows = slice(head * width, (head + 1) * width)
        query = part.query.weight[rows] @ u + part.query.bias[rows]
        weights = [torch.exp(score(part, query, part.key.weight[rows] @ m, head)) for m in memory]
        values = [w * (part.value.weight[rows] @ m) for w, m in zip(weights, memory, strict=True)]
        read.append(sum(values) / sum(weights))
    return part.output.weight @ torch.cat(read) + part.output.bias


def attentive(encoder: Any, x: Tensor) -> list[Tensor]:
    """g_t = e_t + attention(e_t; e_1..e_T), e bidirectional."""
    e = both(SimpleNamespace(encoder=encoder.base), x)
    return [e_t + attend(encoder.attention, e_t, e) for e_t in e]


def arae(m: Any, x: Tensor, values: dict[str, Tensor], score: Any = product) -> Pair:
    """z_t ~ N(0, I); h_t = f(h_{t-1}, x_{t-1}); c_t = attention(h_t; z_1..z_T); x_t ~ p(x_t | h_t, c_t)."""
    z, p, q = values["z"], torch.zeros(()), torch.zeros(())
    for h, g, x_t, z_t in zip(run(m.recurrence, late(m.x0, x)), attentive(m.encoder, x), x, z, strict=True):
        c = attend(m.attention, h, list(z), score)
        p = p + gaussian(z_t, 0.0, 1.0) + bernoulli(x_t, m.likelihood.net(torch.cat([h, c])))
        q = q + normal(z_t, m.posterior.net(g))
    return p, q


def variational_attention(m: Any, x: Tensor, values: dict[str, Tensor]) -> Pair:
    """h_t = f(h_{t-1}, x_{t-1}, [a_{t-1},] v); a_t ~ N(0, I) or p(a_t | h_t); q(a_t | attention(h_t; g))."""
    v, a = values["v"], values["a"]
    fed = [v] * len(x) if m.a0 is None else [torch.cat([b, v]) for b in late(m.a0, a)]
    states = run(m.recurrence, [torch.cat(pair) for pair in zip(late(m.x0, x), fed, strict=True)])
    g = attentive(m.encoder, x)
    e = both(SimpleNamespace(encoder=m.encoder.base), x)
    half = len(e[0]) // 2
    s = torch.cat([e[-1][:half], e[0][half:]])  # each direction's last state
    p, q = gaussian(v, 0.0, 1.0), normal(v, m.posterior_v.net(s + attend(m.encoder.attention, s, e)))
    for h, x_t, a_t in zip(states, x, a, strict=True):
        p = p + (gaussian(a_t, 0.0, 1.0) if m.a0 is None else normal(a_t, m.prior.net(h)))
        p = p + bernoulli(x_t, m.likelihood.net(torch.cat([h, a_t])))
        q = q + normal(a_t, m.posterior.net(attend(m.attention, h, g)))
    return p, q
