"""Supervised models and text once more, in plain torch: log p(x, z, y) and log q(z | x) of one sequence.

``values`` holds the latents by name, and ``labels``: the sequence's own (-1, or NaN, where it is unknown).
"""

from __future__ import annotations

from typing import Any

import equations as eq
import torch
from equations import Pair, gaussian, normal, run
from torch import Tensor
from torch.nn.functional import softplus


def class_term(m: Any, s: Tensor, y: Tensor) -> Tensor:
    """log p(y | s) of one code; an unknown one has no term."""
    scores = m.head.net(s)
    return torch.zeros(()) if y < 0 else (scores.exp() / scores.exp().sum())[y].log()


def number_term(m: Any, s: Tensor, y: Tensor) -> Tensor:
    """The sum of log N(y_i; loc_i, scale_i) over the known numbers of a label."""
    loc, rho = m.head.net(s).chunk(2, -1)
    total = torch.zeros(())
    for y_i, loc_i, rho_i in zip(y, loc, rho, strict=True):
        if y_i == y_i:
            total = total + gaussian(y_i, loc_i, softplus(rho_i) + 1e-4)
    return total


def mean(path: Tensor) -> Tensor:
    total = torch.zeros(path.shape[1])
    for z_t in path:
        total = total + z_t
    return total / len(path)


def ends(m: Any, path: Tensor) -> Tensor:
    """The last states of a forward and of a backward reading."""
    ahead, back = run(m.summary.cells[0], list(path)), run(m.summary.cells[1], list(path.flip(0)))
    return torch.cat([ahead[-1], back[-1]])


def vrnn_classes(m: Any, x: Tensor, values: dict[str, Tensor]) -> Pair:
    p, q = eq.vrnn(m.base, x, values["z"])
    return p + class_term(m, mean(values["z"]), values["labels"]), q


def vrae_numbers(m: Any, x: Tensor, values: dict[str, Tensor]) -> Pair:
    p, q = eq.vrae(m.base, x, values["z"])
    return p + number_term(m, values["z"], values["labels"]), q


def vae_classes(m: Any, x: Tensor, values: dict[str, Tensor]) -> Pair:
    p, q = eq.vae(m.base, x, values["z"])
    return p + class_term(m, values["z"], values["labels"]), q


def rvae_summary(m: Any, x: Tensor, values: dict[str, Tensor]) -> Pair:
    p, q = eq.rvae(m.base, x, values["z"])
    return p + class_term(m, ends(m, values["z"]), values["labels"]), q


def embedded(m: Any, codes: Tensor) -> Tensor:
    """Each channel's row of the table (row 0 of a channel stands for a missing code), side by side."""
    table = m.reader.embedding.weight.view(m.x_dim, m.reader.classes + 1, -1)
    return torch.cat([table[channel, code + 1] for channel, code in enumerate(codes.tolist())])


def text(m: Any, x: Tensor, values: dict[str, Tensor], read: list[Tensor] | None = None) -> Pair:
    """z ~ N(0, I); h_0 = tanh(W z + b), h_t = f(h_{t-1}, e(x_{t-1})); log softmax(W h_t)[x_t], a token at a time.

    Bowman et al. (2016), section 3; ``read`` is what the decoder reads at each step: by default the embedded token
    before, or the unknown word where ``p`` is 1.
    """
    z, words = values["z"], [embedded(m, codes) for codes in x]
    if read is None:
        read = [m.feedback.unknown] * len(x) if m.feedback.p == 1.0 else [m.x0, *words[:-1]]
    linear = m.begin[0][0]
    h, c = torch.tanh(linear.weight @ z + linear.bias).chunk(2)
    p = gaussian(z, 0.0, 1.0)
    for h_t, codes in zip(run(m.recurrence, read, (h, c)), x, strict=True):
        scores = m.likelihood.net(h_t).view(m.x_dim, -1)
        for row, code in zip(scores, codes.tolist(), strict=True):
            p = p + (row.exp() / row.exp().sum())[code].log()
    return p, normal(z, m.posterior.net(run(m.encoder.cells[0], words)[-1]))
