"""Affine change of units between the data as they were measured and the data a model sees."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Affine", "raw_units"]


class Affine(nn.Module):
    r"""Elementwise :math:`y = (x - \mathrm{loc}) / \mathrm{scale}`, with its inverse.

    The two vectors are buffers, so that they are saved with a model that holds the transform, and
    move with it to another device. NaN (a missing element) stays NaN.

    :param loc: what is taken off each feature, ``(x_dim,)`` or the event shape of a static data set,
        in the units of the raw data.
    :param scale: what each feature is divided by, of the same shape, positive and finite.
    :raises ValueError: if the shapes differ, or a scale is not positive and finite, or a loc not finite.

    >>> units = Affine(torch.tensor([10.0]), torch.tensor([2.0]))
    >>> units(torch.tensor([[14.0]])).item(), units.inverse(torch.tensor([[2.0]])).item()
    (2.0, 14.0)
    """

    loc: Tensor
    scale: Tensor

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        super().__init__()
        if loc.shape != scale.shape:
            raise ValueError(
                f"loc and scale must have one shape, got {tuple(loc.shape)} and {tuple(scale.shape)}: "
                "give one number of each per feature"
            )
        if not (torch.isfinite(loc).all() and torch.isfinite(scale).all() and (scale > 0).all()):
            raise ValueError(
                "loc must be finite and scale positive and finite for every feature: "
                f"got loc {loc.tolist()}, scale {scale.tolist()}; a constant feature wants scale 1"
            )
        self.register_buffer("loc", loc.detach().clone())
        self.register_buffer("scale", scale.detach().clone())

    @classmethod
    def standardize(cls, values: Tensor) -> Affine:
        """The transform that gives ``values (rows, *features)`` mean 0 and standard deviation 1.

        Missing elements (NaN) are left out; the deviation divides by the count (no Bessel term).
        A feature that is constant, or wholly missing, keeps its scale (``scale = 1``).
        """
        known = ~torch.isnan(_floating(values))
        count = known.sum(0).clamp(min=1)
        loc = values.nan_to_num(0.0).sum(0) / count
        spread = (((values - loc).nan_to_num(0.0) ** 2).sum(0) / count).sqrt()
        return cls(loc, _no_zero(spread, loc))

    @classmethod
    def normalize(cls, values: Tensor) -> Affine:
        """The transform that maps ``values (rows, *features)`` onto [0, 1], feature by feature.

        Missing elements (NaN) are left out; a constant or wholly missing feature has ``scale = 1``.
        """
        known = ~torch.isnan(_floating(values))
        low = values.masked_fill(~known, torch.inf).amin(0)
        high = values.masked_fill(~known, -torch.inf).amax(0)
        seen = known.any(0)
        low, high = low.where(seen, torch.zeros_like(low)), high.where(seen, torch.zeros_like(high))
        return cls(low, _no_zero(high - low, low))

    def forward(self, x: Tensor) -> Tensor:
        """Raw units to model units, ``(..., *features)`` to the same shape."""
        return (x - self.loc) / self.scale

    def inverse(self, y: Tensor) -> Tensor:
        """Model units back to raw units, ``(..., *features)`` to the same shape."""
        return y * self.scale + self.loc

    def extra_repr(self) -> str:
        return f"features={tuple(self.loc.shape)}"


def raw_units(owner: Any, x: Tensor) -> Tensor:
    """``x`` in the units of the raw data; ``owner`` is the data set, or the model, whose units it is in."""
    return x if owner.transform is None else owner.transform.inverse(x)  # type: ignore[no-any-return]


def _floating(values: Tensor) -> Tensor:
    """`values`, if they are real numbers in rows."""
    if not values.is_floating_point() or values.dim() < 2 or not len(values):
        raise ValueError(
            "a transform is fitted on real numbers of shape (rows, x_dim) with at least one row, "
            f"got {values.dtype} of shape {tuple(values.shape)}: change the type with values.float()"
        )
    return values


def _no_zero(spread: Tensor, loc: Tensor) -> Tensor:
    """1 in place of a spread that is zero but for rounding (of numbers as large as `loc`)."""
    tiny = torch.finfo(spread.dtype).eps * 8 * loc.abs()
    return spread.where(spread > tiny, torch.ones_like(spread))
