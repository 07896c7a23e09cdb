"""A posterior that is centred on the prior: what x adds to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from ..nn import MLP, concat
from .conditional import Conditional
from .families import Normal

__all__ = ["ResidualNormal", "mean_of"]


class ResidualNormal(Conditional):
    """q(z_t | ...) = N(m + loc, s^2): m is the prior's mean, and a network of the other inputs gives loc and s.

    Where the network gives loc = 0 the mean is the prior's, so q has only to learn what x adds to it.
    Source: Fraccaro, Sønderby, Paquet & Winther (2016), arXiv:1605.07571, section 3 and algorithm 1.

    Arguments:
        in_dim: width of the prior's mean (first, ``dim`` numbers) and the other inputs together.
        dim: width of the latent.
        hidden: widths of the hidden layers.
        dropout: probability on them.
    """

    reads_prior_mean = True  # a model that has such a mean passes it first

    def __init__(self, in_dim: int, dim: int, *, hidden: Sequence[int] = (128,), dropout: float = 0.0) -> None:
        if in_dim <= dim:
            raise ValueError(f"ResidualNormal reads the prior's mean, {dim} wide, and other inputs beside it; the "
                             f"model passes {in_dim} numbers in all.")
        super().__init__(MLP(in_dim - dim, 2 * dim, hidden=hidden, dropout=dropout), Normal(dim))

    def params(self, *inputs: Tensor) -> Tensor:
        loc, rho = super().params(*inputs[1:]).chunk(2, -1)
        return concat([inputs[0] + loc, rho])


def mean_of(prior: Callable[..., Any], *inputs: Tensor) -> Tensor:
    """The mean of what ``prior(*inputs)`` returns.

    Raises:
        TypeError: its distribution has none, or it is a law of paths.
    """
    if getattr(prior, "reads_path", False):
        raise TypeError(f"the posterior is centred on the prior's mean at one step, and {type(prior).__name__} is a "
                        "law of whole paths; pass another prior, or a posterior that does not read its mean "
                        "(rv.Normal).")
    law = prior(*inputs)
    try:
        return law.mean  # type: ignore[no-any-return]
    except (AttributeError, NotImplementedError) as error:
        name = type(getattr(law, "base_dist", law)).__name__
        raise TypeError(f"the posterior is centred on the prior's mean, and {name} has none; pass another prior, or a "
                        "posterior that does not read it (rv.Normal).") from error
