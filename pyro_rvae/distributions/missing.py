"""Missing elements of an observed frame: skip them, or marginalise them, or say that neither can be done."""

from __future__ import annotations

import math
from functools import singledispatch
from typing import Any, Self

import pyro.distributions as dist
import torch
from torch import Tensor

__all__ = ["Marginal", "observe_elements"]


@singledispatch
def observe_elements(fn: Any, present: Tensor) -> dist.TorchDistribution:
    """The distribution of the present elements of a frame, as one over the whole (filled) frame.

    Arguments:
        fn: a distribution with ``event_shape (d,)``.
        present: boolean ``(..., d)``, True where an element was observed.

    The value that it scores must be filled with finite numbers beforehand. Register a function for a
    distribution of your own: ``observe_elements.register(MyDistribution)(function)``.
    """
    raise ValueError(
        f"{type(fn).__name__} can neither skip nor marginalise missing elements (NaN, or -1 in codes), and x has "
        f"some. Choose a likelihood whose elements are independent, a multivariate Normal, or fill x beforehand.")


@observe_elements.register(dist.Independent)
def _independent(fn: Any, present: Tensor) -> dist.TorchDistribution:
    if fn.reinterpreted_batch_ndims != 1 or fn.base_dist.event_dim:
        return observe_elements.dispatch(object)(fn, present)  # type: ignore[no-any-return]
    shape = torch.broadcast_shapes(fn.base_dist.batch_shape, present.shape)
    return fn.base_dist.expand(shape).mask(present).to_event(1)  # type: ignore[no-any-return]


@observe_elements.register(dist.MultivariateNormal)
def _marginal_normal(fn: Any, present: Tensor) -> dist.TorchDistribution:
    return _MarginalNormal(fn, present)


class Marginal(dist.TorchDistribution):
    """The law ``base`` of a vector, of which only the elements that are present count; a subclass gives the density.

    Arguments:
        base: a distribution with ``event_shape (d,)``.
        present: boolean ``(..., d)``.
    """

    arg_constraints: dict[str, Any] = {}
    support = dist.constraints.real_vector

    def __init__(self, base: Any, present: Tensor) -> None:
        self.base, self.present = base, present
        shape = torch.broadcast_shapes(base.batch_shape, present.shape[:-1])
        super().__init__(shape, base.event_shape, validate_args=False)

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> Self:
        return type(self)(self.base.expand(batch_shape), self.present)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        return self.base.expand(self.batch_shape).sample(sample_shape)  # type: ignore[no-any-return]

    @property
    def mean(self) -> Tensor:
        """Of the whole frame."""
        return self.base.expand(self.batch_shape).mean  # type: ignore[no-any-return]


class _MarginalNormal(Marginal):
    """A multivariate Normal of the present elements: the absent ones are replaced by independent N(0, 1) at 0."""

    def log_prob(self, value: Tensor) -> Tensor:
        # Rows of the Cholesky factor, and not of the covariance, in which half of the digits are lost.
        absent = (~self.present).to(value.dtype)
        rows = self.base.scale_tril * self.present.unsqueeze(-1)
        rows = torch.cat([rows, torch.diag_embed(absent).expand_as(rows)], -1)
        upper = torch.linalg.qr(rows.mT)[1]  # R^T R is the covariance of the present elements, and 1 for the others
        difference = torch.where(self.present, value - self.base.loc, 0.0).unsqueeze(-1)
        white = torch.linalg.solve_triangular(upper.mT, difference, upper=False).squeeze(-1)
        log_det = upper.diagonal(dim1=-2, dim2=-1).abs().log().sum(-1)
        count = value.shape[-1] - absent.sum(-1)
        return -0.5 * (white.square().sum(-1) + math.log(2 * math.pi) * count) - log_det  # type: ignore[no-any-return]
