"""Linear recurrences whose coefficients are matrices, drawn in parallel over time."""

from __future__ import annotations

import torch
from torch import Tensor

from .unfolding import refuse_frames

__all__ = ["affine_scan"]


def affine_scan(a: Tensor, b: Tensor, init: Tensor | None = None) -> Tensor:
    """``h_t = A_t h_{t-1} + b_t`` over time, with ``h_0 = init`` (zero if not given).

    Odd-even recursion over pairs of affine maps, in about ``2 log2 T`` batched operations: about ``2 T`` products of
    matrices in all, where a loop needs none, so it pays for short vectors and long paths.
    :func:`~pyro_rvae.nn.linear_scan` is for diagonal A.

    Arguments:
        a: ``(..., T, d, d)``.
        b: ``(..., T, d)``; leading dims broadcast.
        init: ``(..., d)``.

    Returns ``h (..., T, d)``. Source: Blelloch (1990), "Prefix sums and their applications".

    >>> affine_scan(torch.full((3, 1, 1), 2.0), torch.ones(3, 1)).squeeze(-1)
    tensor([1., 3., 7.])
    """
    refuse_frames("affine_scan runs over a whole path (a subclass of rv.Causal takes a step)")
    if init is not None:
        first = _moved(a[..., :1, :, :], init.unsqueeze(-2)) + b[..., :1, :]
        b = torch.cat([first, b[..., 1:, :].expand(*first.shape[:-2], -1, -1)], -2)
    return _odd_even(a, b)


def _odd_even(a: Tensor, b: Tensor) -> Tensor:
    """The scan of pairs of steps gives every second value; one more batched operation gives the others."""
    if b.shape[-2] == 1:
        return b
    last = b.shape[-2] // 2 * 2
    a_odd = a[..., 1::2, :, :]
    odd = _odd_even(a_odd @ a[..., :last:2, :, :], b[..., 1::2, :] + _moved(a_odd, b[..., :last:2, :]))
    later = b[..., 2::2, :]
    later = later + _moved(a[..., 2::2, :, :], odd[..., : later.shape[-2], :])
    even = torch.cat([b[..., :1, :].expand(*odd.shape[:-2], -1, -1), later], -2)
    pairs = torch.stack([even[..., : odd.shape[-2], :], odd], -2).flatten(-3, -2)
    return torch.cat([pairs, even[..., odd.shape[-2]:, :]], -2)


def _moved(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)
