"""Missing elements of a frame, drawn given its present ones."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from .missing import Marginal
from .strokes import StrokeMixture

__all__ = ["complete", "draw_missing"]


def complete(fn: Any, value: Tensor, present: Tensor, noise: Tensor | None = None) -> Tensor:
    r"""``value`` with its missing elements drawn, :math:`x_{mis} \sim p(x_{mis} \mid x_{obs})` in each frame.

    Arguments:
        fn: the law of all frames of a site: that of one frame, under masks, with time in its event or not.
        value: ``(..., d)``; what stands at a missing element is not read.
        present: boolean ``(..., d)``, True where an element was observed.
        noise: ``(..., d)`` standard normal numbers, from which Normal, Bernoulli and Categorical elements, and
            multivariate Normals, are made; other laws (and all of them without ``noise``) take torch's own.

    Elements that are independent are drawn one by one; of a multivariate Normal the missing ones given the present
    ones; of a mixture the component first, from its probability given the present ones.

    Raises:
        ValueError: a law whose elements depend on each other in a way not known here.
    """
    shape = fn.batch_shape + fn.event_shape
    while type(fn).__name__ in ("Independent", "MaskedDistribution", "ExpandedDistribution"):
        fn = fn.base_dist
    fn = fn.base if isinstance(fn, Marginal) else fn
    fn = fn.expand(shape[: len(shape) - len(fn.event_shape)])
    present, value = present.expand(shape), value.expand(shape)
    known = torch.where(present, value, torch.zeros_like(value))
    drawn = draw_missing(fn, known, present, noise) if fn.event_shape else _element(fn, noise)
    return torch.where(present, value, drawn.to(value.dtype))


@singledispatch
def draw_missing(fn: Any, value: Tensor, present: Tensor, noise: Tensor | None) -> Tensor:
    """A frame's missing elements given its present ones, ``(..., d)``; what stands at the present ones is not read.

    Register a function for a distribution of your own, beside that for :func:`observe_elements`:
    ``draw_missing.register(MyDistribution)(function)``.

    Arguments:
        fn: the law of one frame, ``event_shape (d,)``.
        value: ``(..., d)``, 0 where an element is missing.
        present: boolean ``(..., d)``.
        noise: as of :func:`complete`.
    """
    raise ValueError(f"{type(fn).__name__} can't draw missing elements of a frame given its present ones: choose a "
                     "likelihood whose elements are independent, or a multivariate Normal.")


@draw_missing.register(dist.MultivariateNormal)
def _normal(fn: Any, value: Tensor, present: Tensor, noise: Tensor | None) -> Tensor:
    return _gaussian(fn.loc, fn.scale_tril, value, present, noise)


@draw_missing.register(dist.LowRankMultivariateNormal)
def _low_rank(fn: Any, value: Tensor, present: Tensor, noise: Tensor | None) -> Tensor:
    """With the square root of the covariance by which :class:`LowRankGaussian` draws."""
    scale = fn._unbroadcasted_cov_diag.sqrt()
    relative = fn._unbroadcasted_cov_factor / scale.unsqueeze(-1)
    lower = fn._capacitance_tril
    one = torch.diag_embed(torch.ones_like(lower[..., 0]))
    within = torch.linalg.solve_triangular(lower + one, relative.mT, upper=False)
    root = scale.unsqueeze(-1) * (torch.diag_embed(torch.ones_like(scale)) + relative @ within)
    return _gaussian(fn.loc, root, value, present, noise)


def _gaussian(loc: Tensor, root: Tensor, value: Tensor, present: Tensor, noise: Tensor | None) -> Tensor:
    r"""Of ``loc + root e``: the noise :math:`e + L_o^+ (x_o - loc_o - L_o e)` gives the present elements (Matheron).

    :math:`L_o` are the rows of ``root`` that belong to them. By a QR of these rows, as their density is, and not of
    the covariance, in which half of the digits are lost.
    """
    noise = torch.randn_like(value) if noise is None else noise.to(value)
    rows = root * present.unsqueeze(-1)
    absent = torch.diag_embed((~present).to(value.dtype))
    upper = torch.linalg.qr(torch.cat([rows, absent], -1).mT)[1]
    drawn = loc + (root @ noise.unsqueeze(-1)).squeeze(-1)
    off = torch.where(present, value - drawn, 0.0).unsqueeze(-1)
    white = torch.linalg.solve_triangular(upper.mT, off, upper=False)
    shift = rows.mT @ torch.linalg.solve_triangular(upper, white, upper=True)
    return drawn + (root @ shift).squeeze(-1)


@draw_missing.register(StrokeMixture)
def _stroke(fn: StrokeMixture, value: Tensor, present: Tensor, noise: Tensor | None) -> Tensor:
    """The component given the offset that is there; then the other offset given both, and the pen by itself."""
    there = present[..., :2].unsqueeze(-1)
    off = torch.where(there, (value[..., :2].unsqueeze(-1) - fn.loc) / fn.scale, 0.0)
    one = torch.where(there, -0.5 * off.square() - fn.scale.log(), 0.0).sum(-2)  # of at most one offset: no correlation
    which = dist.Categorical(logits=fn.logits.log_softmax(-1) + one, validate_args=False).sample().unsqueeze(-1)
    index = which.unsqueeze(-2).expand(*which.shape[:-1], 2, 1)
    off, loc, scale = (part.gather(-1, index).squeeze(-1) for part in (off, fn.loc, fn.scale))
    rho = fn.correlation.gather(-1, which)
    e = torch.randn_like(off)
    first = torch.where(present[..., :2], off, e)
    tilted = rho * first.flip(-1) + (1 - rho.square()).sqrt() * e  # each given the other
    both_absent = ~present[..., :2].any(-1, keepdim=True)
    tilted = torch.where(both_absent, torch.cat([e[..., :1], tilted[..., 1:]], -1), tilted)
    return torch.cat([loc + scale * tilted, torch.bernoulli(fn.pen.sigmoid()).unsqueeze(-1)], -1)


def _element(fn: Any, noise: Tensor | None) -> Tensor:
    """Independent elements: from their noise where that is simple, else as the law draws them."""
    if noise is None or type(fn) not in (dist.Normal, dist.Bernoulli, dist.Categorical):
        return fn.sample()  # type: ignore[no-any-return]
    if isinstance(fn, dist.Normal):
        return fn.loc + fn.scale * noise.to(fn.loc)  # type: ignore[no-any-return]
    u = torch.special.ndtr(noise.double())
    if isinstance(fn, dist.Bernoulli):
        return u < fn.probs
    return (fn.probs.double().cumsum(-1)[..., :-1] < u.unsqueeze(-1)).sum(-1)
