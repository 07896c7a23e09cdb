"""A conditional over images."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from ..nn import ConvTransposed
from .conditional import Conditional
from .families import Bernoulli, Family

__all__ = ["ConvDecoder"]


class ConvDecoder(Conditional):
    """``p(x | inputs)`` of a flat image ``(..., C H W)``: transposed convolutions, and a family.

    The likelihood beside :class:`~pyro_rvae.nn.ConvEncoder`: ``rv.VAE(784, encoder=rv.ConvEncoder,
    likelihood=rv.ConvDecoder)``, with ``images.flatten(1)`` as data, or with :func:`functools.partial` where shape or
    family are others.

    Arguments:
        in_dim: width of the inputs together.
        dim: elements of an image, ``C H W``.
        family: class (or partial) of a Family, or one built for ``dim`` elements. Its raw parameters are planes:
            of two an element, the first C planes are the first ones.
        shape: (C, H, W) of the image.
        channels: those of the mirrored encoder; each layer doubles H and W.

    Errors: ValueError where ``dim`` is not ``C H W``; TypeError for a family whose raw parameters are no planes.
    """

    family: Family

    takes_family = True  # `for_data` gives it the family that suits the data

    def __init__(self, in_dim: int, dim: int, *, family: Any = Bernoulli, shape: Sequence[int] = (1, 28, 28),
                 channels: Sequence[int] = (32, 64)) -> None:
        built = family if isinstance(family, Family) else family(dim)
        if len(shape) == 3 and prod(shape) != dim:
            raise ValueError(f"ConvDecoder: an image of shape {tuple(shape)} is {prod(shape)} numbers, the model's x "
                             f"has {dim}; give functools.partial(rv.ConvDecoder, shape=(C, H, W)) with C H W = x_dim.")
        if isinstance(built, Family) and built.dim != dim:
            raise ValueError(f"{type(built).__name__} was built for {built.dim} elements, the model needs {dim}.")
        if not isinstance(built, Family) or built.kind == "categories" or built.num_params % dim:
            raise TypeError(f"ConvDecoder: expected a Family with a whole number of planes of raw parameters "
                            f"(Bernoulli, ContinuousBernoulli, Normal, StudentT, Poisson), got {type(built).__name__}.")
        super().__init__(ConvTransposed(in_dim, built.num_params, shape=shape, channels=channels), built)
