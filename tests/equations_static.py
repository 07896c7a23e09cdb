"""The models of static data once more, in plain torch: autoencoders, tied autoencoders, images, grey levels."""

from __future__ import annotations

from typing import Any

import torch
from equations import Pair, bernoulli, gaussian, normal
from torch import Tensor


def continuous_bernoulli(x: Tensor, logits: Tensor) -> Tensor:
    """log C(p) p^x (1 - p)^(1 - x), C = 2 artanh(1 - 2 p) / (1 - 2 p): Loaiza-Ganem & Cunningham (2019), eq. 5-6."""
    p = 1 / (1 + torch.exp(-logits))
    constant = 2 * torch.atanh(1 - 2 * p) / (1 - 2 * p)
    return (constant.log() + x * p.log() + (1 - x) * (1 - p).log()).sum()


def layers(m: Any) -> tuple[list[Tensor], list[Tensor]]:
    """W_1..W_L and b_1..b_L of the encoder; the last are those of the posterior."""
    linears = [part for part in m.encoder if isinstance(part, torch.nn.Linear)] + [m.posterior.net[-1]]
    return [part.weight for part in linears], [part.bias for part in linears]


def encode(m: Any, x: Tensor) -> Tensor:
    """h_i = relu(W_i h_{i-1} + b_i); the last layer is linear."""
    h = x
    (*weights, last), (*biases, end) = layers(m)
    for w, b in zip(weights, biases, strict=True):
        h = torch.relu(w @ h + b)
    return last @ h + end


def decode_tied(m: Any, z: Tensor) -> Tensor:
    """g_{i-1} = relu(W_i^T g_i + c_i), and linear at the end: Vincent et al. (2010), section 2.2."""
    weights, _ = layers(m)
    weights[-1] = weights[-1][: len(z)]
    *hidden, first = weights[::-1]
    g = z
    for w, c in zip(hidden, m.likelihood.net.biases, strict=True):
        g = torch.relu(w.T @ g + c)
    return first.T @ g + m.likelihood.net.output_bias


def autoencoder(m: Any, x: Tensor, values: dict[str, Tensor]) -> Pair:
    """x ~ p(x | z) alone counts: the prior has no weight, and the guide is a point."""
    return bernoulli(x, m.likelihood.net(values["z"])), torch.zeros(())


def tied(m: Any, x: Tensor, values: dict[str, Tensor]) -> Pair:
    return bernoulli(x, decode_tied(m, values["z"])), torch.zeros(())


def tied_vae(m: Any, x: Tensor, values: dict[str, Tensor]) -> Pair:
    """z ~ N(0, I); the decoder's first layer is the transposed one of the posterior's mean."""
    z = values["z"]
    return gaussian(z, 0.0, 1.0) + continuous_bernoulli(x, decode_tied(m, z)), normal(z, encode(m, x))


def images(m: Any, x: Tensor, values: dict[str, Tensor]) -> Pair:
    z = values["z"]
    p = gaussian(z, 0.0, 1.0) + bernoulli(x, m.likelihood.net(z))
    return p, normal(z, m.posterior.net(m.encoder(x)))
