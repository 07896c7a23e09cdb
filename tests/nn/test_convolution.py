"""Convolutional parts against sums written out; the decoder as a conditional."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

import pyro_rvae as rv
from pyro_rvae.nn import MLP, ConvTransposed, Transposed


def convolved(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """y[o, i, j] = b[o] + sum_{c, k, l} w[o, c, k, l] x[c, 2 i + k - 1, 2 j + l - 1], zero outside."""
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1))
    rows, columns = x.shape[1] // 2, x.shape[2] // 2
    y = torch.empty(len(weight), rows, columns)
    for i in range(rows):
        for j in range(columns):
            y[:, i, j] = (weight * padded[:, 2 * i: 2 * i + 4, 2 * j: 2 * j + 4]).sum((1, 2, 3)) + bias
    return y


def spread(x: Tensor, weight: Tensor, bias: Tensor | float, sides: tuple[int, int]) -> Tensor:
    """The transpose: y[o, 2 i + k - 1, 2 j + l - 1] += w[c, o, k, l] x[c, i, j]."""
    y = torch.zeros(weight.shape[1], sides[0] + 4, sides[1] + 4)
    for i in range(x.shape[1]):
        for j in range(x.shape[2]):
            y[:, 2 * i: 2 * i + 4, 2 * j: 2 * j + 4] += torch.einsum("c,cokl->okl", x[:, i, j], weight)
    return y[:, 1: sides[0] + 1, 1: sides[1] + 1] + bias


@pytest.mark.parametrize("shape", [(1, 4, 4), (2, 7, 5), (1, 28, 28)])
def test_the_encoder_is_the_sums_of_a_convolution(shape: tuple[int, int, int]) -> None:
    pixels = shape[0] * shape[1] * shape[2]
    part = rv.ConvEncoder(pixels, 6, shape=shape, channels=(3, 4))
    x = torch.randn(2, 3, pixels)
    first, second = part.maps[0], part.maps[2]
    for at in [(0, 0), (1, 2)]:
        h = torch.relu(convolved(x[at].reshape(shape), first.weight, first.bias))
        h = torch.relu(convolved(h, second.weight, second.bias)).flatten()
        expected = torch.relu(part.output[0].weight @ h + part.output[0].bias)
        torch.testing.assert_close(part(x)[at], expected)


@pytest.mark.parametrize("shape", [(1, 4, 4), (2, 7, 5), (1, 28, 28)])
def test_the_decoder_is_its_transpose_with_planes_one_after_the_other(shape: tuple[int, int, int]) -> None:
    channels, height, width = shape
    pixels = channels * height * width
    part = ConvTransposed(3, 2 * pixels, shape=shape, channels=(3, 4))
    part.output_bias.data.normal_()
    h = torch.randn(5, 3)
    small = torch.relu(part.begin[0](h[4])).reshape(4, height // 4, width // 4)
    big, last = part.maps[0], part.maps[2]
    g = torch.relu(spread(small, big.weight, big.bias[:, None, None], (height // 2, width // 2)))
    planes = spread(g, last.weight, 0.0, (height, width))
    torch.testing.assert_close(part(h)[4], planes.flatten() + part.output_bias)
    loc = part(h).chunk(2, -1)[0]
    torch.testing.assert_close(loc[4].reshape(shape), (planes[:channels].flatten() + part.output_bias[:pixels])
                               .reshape(shape))


def test_what_stands_behind_the_pixels_is_read() -> None:
    """Flags of missing elements are planes; labels go to the linear layer."""
    flags = rv.ConvEncoder(32, 6, shape=(1, 4, 4), channels=(2,))
    assert flags.maps[0].in_channels == 2
    labels = rv.ConvEncoder(19, 6, shape=(1, 4, 4), channels=(2,))
    assert labels.maps[0].in_channels == 1 and labels.output[0].in_features == 2 * 2 * 2 + 3
    for part, width in ((flags, 32), (labels, 19)):
        x = torch.randn(2, width, requires_grad=True)
        slope, = torch.autograd.grad(part(x).sum(), x)
        assert slope[:, 16:].any()


@pytest.mark.parametrize("build, message", [
    (lambda: rv.ConvEncoder(784, 8, shape=(28, 28)), r"shape must be \(C, H, W\).*got \(28, 28\)"),
    (lambda: rv.ConvEncoder(16, 8, shape=(1, 4, 4), channels=()), "channels must be one integer of at least 1 a layer"),
    (lambda: rv.ConvEncoder(16, 8, shape=(1, 4, 4), channels=(2, 2, 2)), "3 layers halve a 4 x 4 image to nothing"),
    (lambda: rv.ConvEncoder(5, 8), r"shape \(1, 28, 28\) is 784 numbers, and the model passes 5; give functools"),
    (lambda: ConvTransposed(3, 5, shape=(1, 4, 4)), "is 16 numbers, and 5 raw parameters are no multiple of that"),
    (lambda: rv.ConvDecoder(3, 5), r"shape \(1, 28, 28\) is 784 numbers, the model's x has 5; give functools.partial"),
])
def test_wrong_shapes(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize("family", [partial(rv.Categorical, classes=3), partial(rv.AutoregressiveBernoulli, hidden=7)])
def test_a_family_without_planes_is_refused(family: Any) -> None:
    with pytest.raises(TypeError, match="ConvDecoder: expected a Family with a whole number of planes.*got"):
        rv.ConvDecoder(3, 16, shape=(1, 4, 4), family=family)


def test_a_family_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="Bernoulli was built for 5 elements, the model needs 16"):
        rv.ConvDecoder(3, 16, shape=(1, 4, 4), family=rv.Bernoulli(5))


@pytest.mark.parametrize("family", [rv.Bernoulli, rv.Normal, rv.StudentT, rv.ContinuousBernoulli])
def test_the_decoders_bias_is_set_pixel_by_pixel(family: Any) -> None:
    part = rv.ConvDecoder(3, 16, family=family, shape=(1, 4, 4), channels=(2,))
    raw = torch.randn(part.family.num_params)
    plain = part.params(torch.randn(3))
    assert plain.shape == raw.shape
    h = torch.randn(4, 3)
    before = part.params(h)
    part.set_bias(raw)
    torch.testing.assert_close(part.params(h), before + raw)
    with pytest.raises(ValueError, match="set_bias: the last linear layer has bias"):
        part.set_bias(raw[:-1])


def test_transposed_layers_with_dropout() -> None:
    mlp = MLP(5, 4, hidden=(7,), dropout=0.5, output=False)
    part = Transposed([*mlp, torch.nn.Linear(4, 3)], dropout=0.5)
    h = torch.randn(6, 3)
    assert not torch.equal(part(h), part(h)) and torch.equal(part.eval()(h), part(h))
    assert {name for name, _ in part.named_parameters()} == {"biases.0", "biases.1", "output_bias"}
    assert "3 -> 4 -> 7 -> 5" in repr(part)
