"""Attention: against weighted means written as loops, and torch's own; the padding never matters."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pyro_rvae as rv
from pyro_rvae.nn import Causal, Lookup, build

B, N, T, Q, M, H = 3, 4, 5, 2, 3, 6
LENGTHS = [5, 3, 1]
MASK = torch.arange(T) < torch.tensor(LENGTHS)[:, None]
KINDS = pytest.mark.parametrize("kind", [rv.Attention, rv.AdditiveAttention], ids=lambda k: k.__name__)


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def one_by_one(part: Any, u: Tensor, memory: Tensor) -> Tensor:
    """One query (Q,) on one memory (n, M), head by head and key by key."""
    width, read = H // part.heads, []
    for i in range(part.heads):
        rows = slice(i * width, (i + 1) * width)
        query = part.query.weight[rows] @ u + part.query.bias[rows]
        weights = []
        for m in memory:
            key = part.key.weight[rows] @ m
            additive = isinstance(part, rv.AdditiveAttention)
            score = part.weight[i] @ torch.tanh(query + key) if additive else query @ key / math.sqrt(width)
            weights.append(score.exp())
        read.append(sum(w * (part.value.weight[rows] @ m) for w, m in zip(weights, memory, strict=True)) / sum(weights))
    return part.output(torch.cat(read))  # type: ignore[no-any-return]


@pytest.mark.parametrize("heads", [1, 2, 3])
@KINDS
def test_it_is_a_weighted_mean_over_the_valid_steps(kind: Any, heads: int) -> None:
    part, u, memory = kind(Q, M, H, heads=heads), torch.randn(B, N, Q), torch.randn(B, T, M)
    out = part.over(memory, MASK)(u)
    for b, length in enumerate(LENGTHS):
        for n in range(N):
            close(out[b, n], one_by_one(part, u[b, n], memory[b, :length]))


def test_it_equals_torchs_scaled_dot_product() -> None:
    part, u, memory = rv.Attention(Q, M, H, heads=2), torch.randn(B, N, Q), torch.randn(B, T, M)
    q, k, v = (part.split(net(x)) for net, x in ((part.query, u), (part.key, memory), (part.value, memory)))
    read = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=MASK[:, None, None])
    close(part.over(memory, MASK)(u), part.output(read.transpose(1, 2).flatten(2)))


@KINDS
def test_all_queries_at_once_are_the_fold_of_single_ones(kind: Any) -> None:
    bound = kind(Q, M, H, heads=2).over(torch.randn(B, T, M), MASK)
    u = torch.randn(7, B, N, Q)
    assert isinstance(bound, Lookup) and bound.out_dim == H
    close(bound(u), Causal.forward(bound, u))
    close(bound(u)[..., 2, :], bound.step(u[..., 2, :])[0])


@KINDS
def test_leading_dims_of_queries_and_memory_broadcast(kind: Any) -> None:
    part, P = kind(Q, M, H, heads=2), 2
    u, memory = torch.randn(P, B, N, Q), torch.randn(P, B, T, M)
    for p in range(P):
        close(part.over(memory, MASK)(u[0])[p], part.over(memory[p], MASK)(u[0]))
        close(part.over(memory[0], MASK)(u)[p], part.over(memory[0], MASK)(u[p]))
        close(part.over(memory, MASK)(u)[p], part.over(memory[p], MASK)(u[p]))
        close(part.over(memory, MASK).step(u[0, :, 0])[0][p], part.over(memory[p], MASK).step(u[0, :, 0])[0])


def test_weights_are_of_the_valid_steps_alone() -> None:
    bound = rv.Attention(Q, M, H, heads=2).over(torch.randn(B, T, M), MASK)
    weights = bound.weights(torch.randn(B, N, Q))
    assert weights.shape == (B, 2, N, T)
    close(weights.sum(-1), torch.ones(B, 2, N))
    assert not weights.masked_select(~MASK[:, None, None]).any() and (weights[0] > 0).all()


@pytest.mark.parametrize("fill", [torch.nan, torch.inf, 1e300])
@KINDS
def test_what_stands_in_the_padding_never_matters(kind: Any, fill: float) -> None:
    part, u = kind(Q, M, H, heads=2), torch.randn(B, N, Q)
    memory = torch.randn(B, T, M).masked_fill(~MASK[..., None], fill).requires_grad_()
    out = part.over(memory, MASK)(u)
    for b, length in enumerate(LENGTHS):
        close(out[b], part.over(memory[b:b + 1, :length])(u[b:b + 1])[0])
    grads = torch.autograd.grad(out.square().sum(), [memory, *part.parameters()])
    assert all(g.isfinite().all() for g in grads) and not grads[0][~MASK].any()


@KINDS
def test_a_row_of_padding_alone_gives_no_nan(kind: Any) -> None:
    part, u = kind(Q, M, H, heads=2), torch.randn(2, N, Q, requires_grad=True)
    memory, mask = torch.randn(2, T, M, requires_grad=True), torch.tensor([[True] * T, [False] * T])
    out = part.over(memory, mask)(u)
    close(out[1], part.output.bias.expand(N, H))
    assert not part.over(memory, mask).weights(u)[1].any()
    first = torch.autograd.grad(out.square().sum(), [u, memory, *part.parameters()], create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), [u, memory, *part.parameters()])
    assert all(g.isfinite().all() for g in (*first, *second)) and not first[0][1].any()


@KINDS
def test_it_differentiates_twice(kind: Any) -> None:
    part = kind(Q, M, H, heads=2)
    mask = MASK[1:]

    def read(u: Tensor, memory: Tensor) -> Tensor:
        return part.over(memory, mask)(u)  # type: ignore[no-any-return]

    inputs = torch.randn(2, 2, Q, requires_grad=True), torch.randn(2, T, M, requires_grad=True)
    assert torch.autograd.gradcheck(read, inputs) and torch.autograd.gradgradcheck(read, inputs)


def test_the_order_of_the_memory_is_not_seen() -> None:
    part, u, memory = rv.Attention(Q, M, H), torch.randn(B, N, Q), torch.randn(B, T, M)
    close(part.over(memory)(u), part.over(memory.flip(1))(u))


@KINDS
def test_every_parameter_gets_a_gradient(kind: Any) -> None:
    part = kind(Q, M, H, heads=4)  # 4 heads of width 1: h_dim need not be a multiple
    part.over(torch.randn(B, T, M), MASK)(torch.randn(B, N, Q)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 1e-9 for p in part.parameters())
    assert part.query.out_features == 4


# ------------------------------------------------------------------------------------------------ the encoder
@pytest.mark.parametrize("base", [rv.Bidirectional, rv.Forward, rv.Pointwise])
def test_self_attention_adds_what_each_step_asks_of_all(base: Any) -> None:
    part, x = rv.SelfAttention(M, 4, heads=2, base=base), torch.randn(B, T, M)
    g, e = part(x, MASK), part.base(x, MASK)
    assert g.shape == (B, T, part.out_dim)
    for b, length in enumerate(LENGTHS):
        for t in range(length):
            close(g[b, t], e[b, t] + part.attention.over(e[b:b + 1, :length])(e[b:b + 1, t:t + 1])[0, 0])


def test_self_attention_sees_the_future_and_says_so() -> None:
    part, x = rv.SelfAttention(M, 4, base=rv.Forward), torch.randn(B, T, M, requires_grad=True)
    (grad,) = torch.autograd.grad(part(x)[:, 0].sum(), x)
    assert grad[:, -1].any() and part.causal is False


@pytest.mark.parametrize("base", [rv.Bidirectional, rv.Pointwise])
def test_self_attention_is_the_same_padded_and_alone(base: Any) -> None:
    part = rv.SelfAttention(M, 4, base=base)
    x = torch.randn(B, T, M).masked_fill(~MASK[..., None], 7.0)
    g, pooled = part(x, MASK), part.summary(x, MASK)
    assert pooled.shape == (B, part.out_dim)
    for b, length in enumerate(LENGTHS):
        close(g[b, :length], part(x[b:b + 1, :length])[0])
        close(pooled[b], part.summary(x[b:b + 1, :length])[0])


def test_the_summary_asks_with_the_encoders_own() -> None:
    part, x = rv.SelfAttention(M, 4, heads=2), torch.randn(B, T, M)
    s = part.base.summary(x, MASK)
    close(part.summary(x, MASK), s + part.attention.over(part.base(x, MASK), MASK)(s[:, None])[:, 0])


def test_a_model_takes_it_as_an_encoder() -> None:
    x = (torch.rand(B, T, 5) < 0.4).double()
    for model in (rv.VRAE(5, 2, 4, encoder=rv.SelfAttention), rv.RVAE(5, 2, 4, encoder=rv.SelfAttention(5, 4))):
        rv.testing.check_model(model, x, MASK)


# ------------------------------------------------------------------------------------------------ bad input
@pytest.mark.parametrize("heads", [0, 7, -1, 1.5, True, "two"])
def test_heads_that_cannot_be(heads: Any) -> None:
    with pytest.raises(ValueError, match=r"Attention: heads must be an integer from 1 to h_dim=6, got"):
        rv.Attention(Q, M, H, heads=heads)


def test_a_memory_of_another_width() -> None:
    with pytest.raises(ValueError, match=r"reads a memory 3 wide, got \(3, 5, 4\)"):
        rv.Attention(Q, M, H).over(torch.randn(B, T, M + 1))


def test_a_state_for_what_has_none() -> None:
    with pytest.raises(ValueError, match="attention has no state"):
        rv.Attention(Q, M, H).over(torch.randn(B, T, M))(torch.randn(B, N, Q), torch.zeros(H))


def test_what_is_no_attention_part() -> None:
    with pytest.raises(TypeError, match=r"attention: expected an attention part.*MultiheadAttention of torch.nn"):
        build(nn.MultiheadAttention(H, 2), Q, M, H, kind=rv.Attention, what="attention")
    with pytest.raises(ValueError, match=r"built to read vectors 2 wide, the model passes it 4 numbers"):
        build(rv.Attention(Q, M, H), 4, M, H, kind=rv.Attention, what="attention")


def test_what_is_no_encoder_below() -> None:
    with pytest.raises(TypeError, match="base: expected an Encoder"):
        rv.SelfAttention(M, 4, base=rv.LSTM)


def test_a_base_without_a_summary() -> None:
    class Bare(nn.Module):
        out_dim = M

        def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
            return x

    part = rv.SelfAttention(M, 4, base=Bare())
    assert part(torch.randn(B, T, M), MASK).shape == (B, T, M)
    with pytest.raises(TypeError, match="Bare has no summary"):
        part.summary(torch.randn(B, T, M), MASK)
