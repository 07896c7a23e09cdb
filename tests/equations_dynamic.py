"""SRNN, DSAE, Z-forcing and the further guides of DMM, VRNN and RVAE once more, in plain torch from the papers."""

from __future__ import annotations

from typing import Any

import torch
from equations import Pair, backward, bernoulli, gated, gaussian, late, normal, run
from torch import Tensor
from torch.nn.functional import softplus

Values = dict[str, Tensor]


def elman(part: Any, inputs: list[Tensor]) -> list[Tensor]:
    """h_t = tanh(W u_t + b + U h_{t-1} + c)."""
    net, h, outputs = part.rnn, torch.zeros(part.out_dim), []
    for u in inputs:
        h = torch.tanh(net.weight_ih_l0 @ u + net.bias_ih_l0 + net.weight_hh_l0 @ h + net.bias_hh_l0)
        outputs.append(h)
    return outputs


def two_ways(encoder: Any, inputs: list[Tensor]) -> list[Tensor]:
    pairs = zip(run(encoder.cells[0], inputs), backward(encoder.cells[1], inputs), strict=True)
    return [torch.cat(pair) for pair in pairs]


def features(encoder: Any, inputs: list[Tensor]) -> list[Tensor]:
    """What an encoder makes of a sequence, by its class."""
    return {
        "Forward": lambda: run(encoder.cells[0], inputs),
        "Backward": lambda: backward(encoder.cells[0], inputs),
        "Bidirectional": lambda: two_ways(encoder, inputs),
        "Pointwise": lambda: [encoder.net(u) for u in inputs],
    }[type(encoder).__name__]()


def srnn(m: Any, x: Tensor, values: Values, residual: bool = True) -> Pair:
    """Fraccaro et al. (2016): d_t = f(d_{t-1}, x_{t-1}); p(z_t | z_{t-1}, d_t); p(x_t | z_t, d_t); algorithm 1."""
    z = values["z"]
    d = run(m.recurrence, late(m.x0, x))
    a = features(m.encoder, [torch.cat(pair) for pair in zip(d, x, strict=True)])
    p = q = torch.zeros(())
    for before, z_t, d_t, a_t, x_t in zip(late(m.z0, z), z, d, a, x, strict=True):
        prior = m.transition.net(torch.cat([before, d_t]))
        p = p + normal(z_t, prior) + bernoulli(x_t, m.likelihood.net(torch.cat([z_t, d_t])))
        added, rho = m.posterior.net(torch.cat([before, a_t])).chunk(2)
        mean = prior.chunk(2)[0] + added if residual else added
        q = q + gaussian(z_t, mean, softplus(rho) + 1e-4)
    return p, q


def dsae(m: Any, x: Tensor, values: Values) -> Pair:
    """Li & Mandt (2018): v ~ N(0, I); z_t ~ p(z_t | z_{<t}); x_t ~ p(x_t | z_t, v); the guide by ``full``."""
    v, z = values["v"], values["z"]
    p = gaussian(v, 0.0, 1.0)
    for h, z_t, x_t in zip(run(m.recurrence, late(m.z0, z)), z, x, strict=True):
        p = p + normal(z_t, m.prior.net(h)) + bernoulli(x_t, m.likelihood.net(torch.cat([z_t, v])))
    cells = m.static_encoder.cells  # each direction's last state
    q = normal(v, m.posterior_v.net(torch.cat([run(cells[0], list(x))[-1], backward(cells[1], list(x))[0]])))
    if m.full:
        r = elman(m.smoother, features(m.encoder, [torch.cat([x_t, v]) for x_t in x]))
    else:
        r = features(m.encoder, list(x))
    for r_t, z_t in zip(r, z, strict=True):
        q = q + normal(z_t, m.posterior.net(r_t))
    return p, q


def zforcing(m: Any, x: Tensor, values: Values) -> Pair:
    """Goyal et al. (2017): z_t ~ p(z_t | h_{t-1}); h_t = f(h_{t-1}, x_{t-1}, z_t); x_t ~ p(x_t | h_t)."""
    z = values["z"]
    h = run(m.late.part, [torch.cat(pair) for pair in zip(late(m.x0, x), z, strict=True)])
    p = q = torch.zeros(())
    b = backward(m.encoder.cells[0], list(x))
    for before, h_t, b_t, z_t, x_t in zip([torch.zeros_like(h[0]), *h], h, b, z, x, strict=False):
        p = p + normal(z_t, m.prior.net(before)) + bernoulli(x_t, m.likelihood.net(h_t))
        q = q + normal(z_t, m.posterior.net(torch.cat([before, b_t])))
    return p, q


def forcing(m: Any, x: Tensor, values: Values) -> Tensor:
    """The auxiliary rewards: alpha log p(b_t | z_t) at each step, and beta log p(x_{t-1} | b_t) from the second on."""
    total, b = torch.zeros(()), backward(m.encoder.cells[0], list(x))
    for t, z_t in enumerate(values["z"]):
        total = total + m.auxiliary * normal(b[t].detach(), m.predictor.net(z_t))
        if t and m.reverse:
            total = total + m.reverse * bernoulli(x[t - 1], m.predictor_x.net(b[t]))
    return total


def mean_field(m: Any, z: Tensor, before: Tensor, g: Tensor) -> Tensor:
    """q(z_t | x) = q(z_t | g_t): the MF guides of Krishnan et al. (2017)."""
    return normal(z, m.posterior.given_features.net(g))


def dmm(m: Any, x: Tensor, values: Values, posterior: Any) -> Pair:
    """The DMM without skip edges and with any encoder."""
    z, g = values["z"], features(m.encoder, list(x))
    p = q = torch.zeros(())
    for t, (before, z_t, x_t) in enumerate(zip(late(m.z0, z), z, x, strict=True)):
        p = p + normal(z_t, gated(m.transition.net, before, before)) + bernoulli(x_t, m.likelihood.net(z_t))
        q = q + posterior(m, z_t, m.q0 if t == 0 else z[t - 1], g[t])
    return p, q


def rvae(m: Any, x: Tensor, values: Values) -> Pair:
    """Leglaive et al. (2020): h from z_1..z_t, or from all of z; the guide may read z_1..z_{t-1}."""
    z, g = values["z"], features(m.encoder, list(x))
    causal = hasattr(m.recurrence, "rnn")
    h = run(m.recurrence, list(z)) if causal else two_ways(m.recurrence, list(z))
    past = [torch.zeros(0)] * len(z) if m.feedback is None else run(m.feedback, late(m.q0, z))
    p = q = torch.zeros(())
    for h_t, g_t, past_t, z_t, x_t in zip(h, g, past, z, x, strict=True):
        p = p + gaussian(z_t, 0.0, 1.0) + bernoulli(x_t, m.likelihood.net(h_t))
        q = q + normal(z_t, m.posterior.net(torch.cat([past_t, g_t])))
    return p, q
