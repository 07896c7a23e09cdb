"""Encoders: reversal and last steps within each sequence's length; padding never matters."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

import pyro_rvae as rv
from pyro_rvae.nn import last, reverse

B, T, IN, OUT = 3, 5, 2, 4
LENGTHS = [5, 3, 1]
MASK = torch.arange(T) < torch.tensor(LENGTHS)[:, None]
ENCODERS: dict[str, Any] = {
    "pointwise": rv.Pointwise, "forward": rv.Forward, "backward": rv.Backward, "both": rv.Bidirectional,
    "forward GRU": partial(rv.Forward, cell=rv.GRU),
    "both, two layers": partial(rv.Bidirectional, cell=partial(rv.RNN, layers=2)),
    "backward, appended": partial(rv.Backward, append=True),
    "both, appended": partial(rv.Bidirectional, append=True),
}


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_reverse_turns_each_sequence_within_its_length() -> None:
    x = torch.arange(1.0, B * T + 1).reshape(B, T, 1)
    turned = reverse(x, MASK)
    for row, length in enumerate(LENGTHS):
        assert torch.equal(turned[row, :length], x[row, :length].flip(0))
        assert torch.equal(turned[row, length:], x[row, length:])
    assert torch.equal(reverse(turned, MASK), x) and torch.equal(reverse(x), x.flip(1))


def test_last_is_the_last_valid_step() -> None:
    x = torch.randn(B, T, 2)
    assert torch.equal(last(x, MASK), torch.stack([x[i, n - 1] for i, n in enumerate(LENGTHS)]))
    assert torch.equal(last(x), x[:, -1])


@pytest.mark.parametrize("act", [reverse, last])
def test_particles_in_front(act: Any) -> None:
    x = torch.randn(6, B, T, 2)
    assert torch.equal(act(x, MASK), torch.stack([act(one, MASK) for one in x]))


@pytest.mark.parametrize("name", ENCODERS)
def test_a_sequence_alone_has_the_same_features_and_summary(name: str) -> None:
    encoder, x = ENCODERS[name](IN, OUT), torch.randn(B, T, IN)
    x[~MASK] = 1e3
    features, summary = encoder(x, MASK), encoder.summary(x, MASK)
    assert features.shape == (B, T, encoder.out_dim) and summary.shape == (B, encoder.out_dim)
    for row, length in enumerate(LENGTHS):
        alone = x[row:row + 1, :length]
        close(features[row, :length], encoder(alone)[0])
        close(summary[row], encoder.summary(alone)[0])


@pytest.mark.parametrize("name", ENCODERS)
def test_no_gradient_reaches_the_padding(name: str) -> None:
    encoder, x = ENCODERS[name](IN, OUT), torch.randn(B, T, IN, requires_grad=True)
    loss = (encoder(x, MASK) * MASK.unsqueeze(-1)).sum() + encoder.summary(x, MASK).sum()
    gradient = torch.autograd.grad(loss, x)[0]
    assert not gradient[~MASK].any() and gradient[MASK].any()


@pytest.mark.parametrize("name", ENCODERS)
def test_causal_says_whether_features_see_the_future(name: str) -> None:
    encoder, x = ENCODERS[name](IN, OUT), torch.randn(1, T, IN)
    later = x.clone()
    later[:, 3:] += 1.0
    same = torch.allclose(encoder(x)[:, :3], encoder(later)[:, :3])
    assert same is encoder.causal


def test_a_backward_encoder_is_the_forward_one_of_the_reversed_sequence() -> None:
    back, ahead = rv.Backward(IN, OUT), rv.Forward(IN, OUT)
    ahead.load_state_dict(back.state_dict())
    x = torch.randn(B, T, IN)
    close(back(x), ahead(x.flip(1)).flip(1))
    close(back.summary(x), ahead.summary(x.flip(1)))


def test_pointwise_summary_is_the_mean_over_valid_steps() -> None:
    encoder, x = rv.Pointwise(IN, OUT), torch.randn(B, T, IN)
    x[~MASK] = torch.nan
    close(encoder.summary(x, MASK), torch.stack([encoder(x[i, :n]).mean(0) for i, n in enumerate(LENGTHS)]))


def test_dropout_is_on_the_features_and_append_adds_the_input() -> None:
    encoder, x = rv.Bidirectional(IN, OUT, dropout=0.5, append=True), torch.randn(B, T, IN)
    assert encoder.out_dim == 2 * OUT + IN
    assert not torch.equal(encoder(x), encoder(x))
    assert torch.equal(encoder(x)[..., -IN:], x)
    encoder.eval()
    assert torch.equal(encoder(x), encoder(x))


@pytest.mark.parametrize("encoder", [rv.Forward, rv.Backward, rv.Bidirectional])
def test_a_built_cell_is_refused(encoder: Any) -> None:
    with pytest.raises(TypeError, match="pass the cell's class .*not the instance GRU"):
        encoder(IN, OUT, cell=rv.GRU(IN, OUT))


@pytest.mark.parametrize("encoder", [rv.Forward, rv.Backward, rv.Bidirectional])
def test_a_cell_is_a_causal_part(encoder: Any) -> None:
    with pytest.raises(TypeError, match=f"{encoder.__name__}: cell: expected a Causal part .*torch.nn; pass rv.LSTM"):
        encoder(IN, OUT, cell=torch.nn.LSTM)


def test_an_encoder_is_as_wide_as_its_cells() -> None:
    wide = rv.Bidirectional(IN, OUT, cell=lambda i, h: rv.GRU(i, h + 1))
    assert wide.out_dim == 2 * (OUT + 1) == wide(torch.randn(B, T, IN)).shape[-1]
