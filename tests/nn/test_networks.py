"""Feed-forward parts, readers of raw frames, and the rule by which parts are built."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pyro_rvae as rv
from pyro_rvae.nn import MLP, build, concat, is_recipe
from pyro_rvae.nn.networks import joined_linear


def test_concat_broadcasts_what_stands_in_front() -> None:
    a, b = torch.randn(4, 1, 2), torch.randn(3, 5)
    joined = concat([a, b])
    assert joined.shape == (4, 3, 7)
    assert torch.equal(joined[2, 1], torch.cat([a[2, 0], b[1]])) and concat([a]) is a


def test_recipes_are_classes_and_partials_of_them() -> None:
    assert is_recipe(nn.Linear) and is_recipe(partial(partial(nn.Linear, bias=False), 3))
    assert not is_recipe(nn.Linear(1, 1)) and not is_recipe(lambda: None) and not is_recipe(partial(print))


def test_build_calls_a_recipe_with_the_widths_and_keeps_the_rest() -> None:
    part = build(partial(nn.Linear, bias=False), 3, 4)
    assert part.weight.shape == (4, 3) and part.bias is None
    assert build(part, 9, 9) is part


class Plain(nn.Module):
    """A user's own encoder, of no base class."""

    def __init__(self, in_dim: int, h_dim: int) -> None:
        super().__init__()
        self.out_dim = h_dim

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return x


class Steps:
    """A causal part of no base class."""

    out_dim = 4

    def step(self, u: Tensor, state: Any = None) -> Any:
        return u, state

    def begin(self, init: Any) -> Any:
        return init


class Forgets(rv.Causal):
    """A causal part that does not set its width."""


class ForgetsToo(rv.Encoder):
    """An encoder that does not set its width."""


def test_parts_are_told_by_what_they_have() -> None:
    assert build(Plain, 3, 4, kind=rv.Encoder).out_dim == 4
    part = Steps()
    assert build(part, 3, 4, kind=rv.Causal) is part
    assert build(partial(rv.GRU, layers=2), 3, 4, kind=rv.Causal).in_dim == 3
    for encoder in (rv.Forward, rv.Backward, rv.Bidirectional, rv.Pointwise):
        assert build(encoder, 3, 4, kind=rv.Encoder).in_dim == 3


CAUSAL = r"recurrence: expected a Causal part \(LSTM, GRU, RNN or your own subclass\), got "
ENCODER = r"encoder: expected an Encoder \(Forward, .*forward\(x, mask\)\), got "


@pytest.mark.parametrize(("part", "kind", "what", "message"), [
    (nn.LSTM, rv.Causal, "recurrence", CAUSAL + "LSTM of torch.nn; pass rv.LSTM"),
    (nn.GRU(3, 4), rv.Causal, "recurrence", CAUSAL + "GRU of torch.nn; pass rv.GRU"),
    (nn.Linear, rv.Causal, "recurrence", CAUSAL + r"Linear of torch.nn\.$"),
    (rv.Forward, rv.Causal, "recurrence", CAUSAL + "Forward of pyro_rvae.nn"),
    (None, rv.Causal, "recurrence", CAUSAL + "NoneType"),
    (lambda i, h: rv.LSTM(i, h), rv.Causal, "recurrence", CAUSAL + "function"),
    (Forgets(), rv.Causal, "recurrence", "Forgets of .* does not set out_dim"),
    (rv.LSTM, rv.Encoder, "encoder", ENCODER + r"LSTM of pyro_rvae.nn; .*partial\(rv.Forward, cell=rv.LSTM\)"),
    (nn.Linear, rv.Encoder, "encoder", ENCODER + "Linear of torch.nn"),
    (rv.MLP, rv.Encoder, "encoder", ENCODER + "MLP of pyro_rvae.nn"),
    (None, rv.Encoder, "encoder", ENCODER + "NoneType"),
    (ForgetsToo(), rv.Encoder, "encoder", "ForgetsToo of .* does not set out_dim"),
])
def test_a_part_of_another_kind_is_refused(part: Any, kind: Any, what: str, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        build(part, 3, 4, kind=kind, what=what)


@pytest.mark.parametrize(("part", "kind"), [(rv.LSTM(7, 4), rv.Causal), (rv.Backward(7, 4), rv.Encoder)])
def test_a_part_of_another_width_is_refused(part: Any, kind: Any) -> None:
    with pytest.raises(ValueError, match="part: this .* was built to read vectors 7 wide, the model passes it 3 numb"):
        build(part, 3, 4, kind=kind)


def test_mlp_layers() -> None:
    net = rv.MLP(3, 2, hidden=(5, 4), activation=nn.Tanh, dropout=0.1)
    block = [nn.Linear, nn.Tanh, nn.Dropout]
    assert [type(layer) for layer in net] == [*block, *block, nn.Linear]
    assert net(torch.zeros(7, 3)).shape == (7, 2) and net.out_dim == 2
    assert [type(layer) for layer in rv.MLP(3, 2, hidden=())] == [nn.Linear]
    ends = rv.MLP(3, 2, hidden=(), output=False)
    assert [type(layer) for layer in ends] == [nn.Linear, nn.ReLU] and (ends(torch.randn(9, 3)) >= 0).all()


@pytest.mark.parametrize("extra", [0, 2], ids=["plain", "skip"])
def test_gated_transition_is_its_formula(extra: int) -> None:
    net, u = rv.GatedTransition(3 + extra, 3, hidden=7), torch.randn(5, 3 + extra)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.5)
    z = u[:, :3]
    (g1, _, g2), (r1, _, r2) = net.gate, net.proposed
    g = torch.sigmoid(torch.relu(u @ g1.weight.T + g1.bias) @ g2.weight.T + g2.bias)
    r = torch.relu(u @ r1.weight.T + r1.bias) @ r2.weight.T + r2.bias
    loc = (1 - g) * (z @ net.linear.weight.T + net.linear.bias) + g * r
    raw = torch.relu(r) @ net.scale.weight.T + net.scale.bias
    torch.testing.assert_close(net(u), torch.cat([loc, raw], -1), rtol=0, atol=1e-12)


def test_gated_transition_starts_at_the_identity() -> None:
    net = rv.GatedTransition(3, 3, hidden=7)
    assert torch.equal(net.linear.weight, torch.eye(3)) and not net.linear.bias.any()


def test_gated_transition_drops_out_in_training_only() -> None:
    net, u = rv.GatedTransition(3, 3, hidden=50, dropout=0.5), torch.randn(5, 3)
    assert not torch.equal(net(u), net(u))
    net.eval()
    assert torch.equal(net(u), net(u))


def test_reader_fills_and_flags() -> None:
    x = torch.tensor([[1.0, torch.nan], [torch.nan, 2.0]])
    assert rv.Reader(2)(x).tolist() == [[1.0, 0.0], [0.0, 2.0]]
    assert rv.Reader(2, missing=True)(x).tolist() == [[1, 0, 1, 0], [0, 2, 0, 1]]
    assert (rv.Reader(2).out_dim, rv.Reader(2, missing=True).out_dim) == (2, 4)
    assert rv.Reader(2)(torch.ones(3, 2, dtype=torch.long)).dtype == torch.get_default_dtype()
    assert "missing=True" in repr(rv.Reader(2, missing=True))


def test_code_reader_embeds_each_channel_apart_and_a_missing_code_too() -> None:
    reader = rv.CodeReader(2, classes=3, dim=4)
    x = torch.tensor([[0, 2], [-1, -1], [2, 0]])
    table = reader.embedding.weight.reshape(2, 4, 4)  # channel, code + 1, dim
    expected = torch.stack([torch.cat([table[0, a + 1], table[1, b + 1]]) for a, b in x.tolist()])
    assert torch.equal(reader(x), expected) and reader.out_dim == 8
    assert torch.equal(reader(x.double()), expected)


def test_no_gradient_through_what_is_missing() -> None:
    x = torch.tensor([[1.0, torch.nan]], requires_grad=True)
    gradient = torch.autograd.grad((rv.Reader(2)(x) ** 2).sum(), x)[0]
    assert gradient.tolist() == [[2.0, 0.0]]


def test_inputs_of_different_leading_dims_are_mapped_as_if_they_were_joined() -> None:
    a, b, c = torch.randn(3, 4, 2), torch.randn(4, 3), torch.randn(3, 4, 1)
    layer, net = nn.Linear(6, 5), MLP(6, 7, hidden=(8,))
    torch.testing.assert_close(joined_linear([a, b, c], layer.weight, layer.bias), layer(concat([a, b, c])))
    torch.testing.assert_close(joined_linear([b, a, c], layer.weight, None),
                               nn.functional.linear(concat([b, a, c]), layer.weight))
    torch.testing.assert_close(net.of(a, b, c), net(concat([a, b, c])))
