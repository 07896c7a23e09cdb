"""Convolutional networks between flat images ``(..., C H W)``, channels first, and vectors."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

__all__ = ["ConvEncoder", "ConvTransposed", "check_image"]


def check_image(what: str, shape: Sequence[int], channels: Sequence[int]) -> list[tuple[int, int]]:
    """The heights and widths of the maps, from the image's on: each layer halves them, rounding down.

    Errors: ValueError if ``shape`` is no (C, H, W), or if so many layers leave nothing.
    """
    if len(shape) != 3 or not all(isinstance(n, int) and n >= 1 for n in shape):
        raise ValueError(f"{what}: shape must be (C, H, W), three integers of at least 1, got {tuple(shape)}.")
    if not channels or not all(isinstance(n, int) and n >= 1 for n in channels):
        raise ValueError(f"{what}: channels must be one integer of at least 1 a layer, got {tuple(channels)}.")
    sides = [(shape[1], shape[2])]
    for _ in channels:
        sides.append((sides[-1][0] // 2, sides[-1][1] // 2))
    if 0 in sides[-1]:
        raise ValueError(f"{what}: {len(channels)} layers halve a {shape[1]} x {shape[2]} image to nothing; give fewer "
                         "channels.")
    return sides


class ConvEncoder(nn.Module):
    """Features of a flat image: convolutions of stride 2 (kernel 4, padding 1) with rectifiers, then a linear layer.

    What stands behind the pixels in a vector (flags of missing elements as further planes; labels) is read as well.
    Source: the encoder of Burgess et al. (2018), "Understanding disentangling in beta-VAE", arXiv:1804.03599, appendix
    A.1. We differ in the number of layers and channels, which are arguments.

    Arguments:
        in_dim: width of the flat image ``C H W`` (``images.flatten(1)``), or twice that where flags of missing
            elements stand behind it (``rv.Reader(x_dim, missing=True)``); and of what stands behind both (labels).
        h_dim: width of the features.
        shape: (C, H, W) of the image.
        channels: those of each layer; each layer halves H and W, rounding down.
    """

    def __init__(self, in_dim: int, h_dim: int, *, shape: Sequence[int] = (1, 28, 28),
                 channels: Sequence[int] = (32, 64)) -> None:
        super().__init__()
        sides, pixels = check_image("ConvEncoder", shape, channels), prod(shape)
        if in_dim < pixels:
            raise ValueError(f"ConvEncoder: an image of shape {tuple(shape)} is {pixels} numbers, and the model passes "
                             f"{in_dim}; give functools.partial(rv.ConvEncoder, shape=(C, H, W)) with C H W = x_dim.")
        planes = shape[0] * min(in_dim // pixels, 2)
        self.in_dim, self.out_dim = in_dim, h_dim
        self.image = (planes, *shape[1:])
        maps: list[nn.Module] = []
        for before, after in zip((planes, *channels), channels, strict=False):
            maps += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.ReLU()]
        self.maps = nn.Sequential(*maps)
        beside = in_dim - prod(self.image)
        self.output = nn.Sequential(nn.Linear(channels[-1] * prod(sides[-1]) + beside, h_dim), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, self.in_dim)
        image, beside = flat[:, : prod(self.image)], flat[:, prod(self.image):]
        features = self.maps(image.reshape(-1, *self.image)).flatten(1)
        out: Tensor = self.output(torch.cat([features, beside], -1))
        return out.reshape(*x.shape[:-1], self.out_dim)


class ConvTransposed(nn.Module):
    """From a vector to flat planes: a linear layer, then transposed convolutions that double the sides.

    The mirror of :class:`ConvEncoder`, for any sides (an odd one gets its row back). Planes stand one after the
    other, so of two raw parameters an element the first half of the output are the first ones. Each output has an
    offset of its own, ``output_bias``, in place of one bias a channel.

    Arguments:
        in_dim, out_dim: widths; ``out_dim`` is a multiple of ``C H W``.
        shape: (C, H, W) of the image.
        channels: those of the mirrored encoder.
    """

    def __init__(self, in_dim: int, out_dim: int, *, shape: Sequence[int] = (1, 28, 28),
                 channels: Sequence[int] = (32, 64)) -> None:
        super().__init__()
        sides, (_, height, width) = check_image("ConvTransposed", shape, channels), shape
        if out_dim % prod(shape):
            raise ValueError(f"ConvTransposed: an image of shape {tuple(shape)} is {prod(shape)} numbers, and "
                             f"{out_dim} raw parameters are no multiple of that; give shape=(C, H, W) with C H W = "
                             "x_dim.")
        self.in_dim, self.out_dim = in_dim, out_dim
        self.small = (channels[-1], *sides[-1])
        self.begin = nn.Sequential(nn.Linear(in_dim, prod(self.small)), nn.ReLU())
        maps: list[nn.Module] = []
        widths = [out_dim // (height * width), *channels]
        for i, (after, before) in reversed(list(enumerate(zip(widths, channels, strict=False)))):
            odd = (sides[i][0] % 2, sides[i][1] % 2)
            layer = nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, output_padding=odd, bias=i > 0)
            maps += [layer, nn.ReLU()] if i else [layer]
        self.maps = nn.Sequential(*maps)
        self.output_bias = nn.Parameter(torch.zeros(out_dim))

    def forward(self, h: Tensor) -> Tensor:
        small = self.begin(h.reshape(-1, self.in_dim)).reshape(-1, *self.small)
        planes: Tensor = self.maps(small)
        return planes.reshape(*h.shape[:-1], self.out_dim) + self.output_bias
