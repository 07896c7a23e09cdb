"""One-hot regimes, dynamics that switch, and the posterior of a chain of regimes."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

import pyro_rvae as rv

K, Z, B, T = 3, 2, 4, 5


def test_one_hot() -> None:
    raw = torch.randn(B, K)
    law = rv.OneHot(K)(raw)
    assert law.event_shape == (K,) and law.batch_shape == (B,)
    torch.testing.assert_close(law.log_prob(torch.eye(K)[1]), torch.log_softmax(raw, -1)[:, 1])
    assert rv.OneHot(K).num_params == K and set(law.sample().unique().tolist()) == {0.0, 1.0}


def test_dynamics_are_those_of_the_regime() -> None:
    part = rv.SwitchingNormal(K + Z + 2, Z, modes=K)
    net, z, c = part.net, torch.randn(B, Z), torch.randn(B, 2)
    for k in range(K):
        law = part(torch.eye(K)[k].expand(B, -1), z, c).base_dist
        a, b = net.linear.weight[k * Z:(k + 1) * Z], net.linear.bias[k * Z:(k + 1) * Z]
        torch.testing.assert_close(law.loc, z @ a.T + b + c @ net.control.weight.T)
        torch.testing.assert_close(law.scale, (nn.functional.softplus(net.scale.weight[:, k]) + 1e-4).expand(B, -1))
        assert (a - torch.eye(Z)).abs().max() < 0.2, "near the identity at first"


def test_dynamics_need_a_regime_and_a_latent() -> None:
    with pytest.raises(ValueError, match="SwitchingNormal reads a regime, 3 wide, and the previous latent, 2 wide"):
        rv.SwitchingNormal(K + Z - 1, Z, modes=K)


def emission(s: Tensor, *c: Tensor) -> Any:
    return dist.Normal(sum((u.sum(-1, keepdim=True) for u in c), s[..., :1] * 2 - s[..., 1:2]), 0.7).to_event(1)


@pytest.mark.parametrize("beside", [0, 1])
@pytest.mark.parametrize("lead", [(), (B,), (2, B)], ids=str)
def test_the_table_of_densities_is_that_of_each_regime(lead: tuple[int, ...], beside: int) -> None:
    value, inputs = torch.randn(*lead, T, 1), [torch.randn(*lead, T, 2)] * beside
    table = rv.RegimePosterior(K).emitted(emission, value, *inputs)
    assert table.shape == (*lead, T, K) and not table.requires_grad
    for k in range(K):
        torch.testing.assert_close(table[..., k], emission(torch.eye(K)[k], *inputs).log_prob(value))


def test_missing_elements_tell_nothing_and_a_law_may_ignore_its_regime() -> None:
    part, value = rv.RegimePosterior(K), torch.randn(T, Z)
    present = torch.arange(T)[:, None] > torch.tensor([0, 2])
    law = dist.Normal(torch.zeros(Z), torch.ones(Z)).to_event(1)
    table = part.emitted(lambda s: law, value, present=present)
    expected = torch.where(present, -value**2 / 2 - 0.5 * math.log(2 * math.pi), 0.0).sum(-1)
    torch.testing.assert_close(table, expected.unsqueeze(-1).expand(-1, K))


def test_without_emissions_the_posterior_is_the_prior() -> None:
    prior = rv.Conditional(nn.Linear(K, K), rv.OneHot(K))
    part, s0 = rv.RegimePosterior(K), torch.zeros(K)
    rows = part.rows(prior, s0, torch.zeros(B, T, K)).unflatten(-1, (K, K))
    torch.testing.assert_close(rows[:, 1:], prior(torch.eye(K)).logits.expand(B, T - 1, K, K))
    torch.testing.assert_close(rows[:, 0], prior(s0).logits.expand(B, K, K))
    assert not rows.requires_grad
    s = torch.eye(K)[[2, 0, 1, 1]]
    torch.testing.assert_close(part(s, rows[:, 3].flatten(-2)).logits, prior(s).logits)


def test_the_padding_is_not_read() -> None:
    prior, part = rv.Conditional(nn.Linear(K, K), rv.OneHot(K)), rv.RegimePosterior(K)
    emitted, mask = torch.randn(B, T, K), torch.arange(T) < torch.tensor([5, 2, 1, 4])[:, None]
    rows = partial(part.rows, prior, torch.zeros(K))
    full = rows(emitted.masked_fill(~mask.unsqueeze(-1), torch.nan), mask=mask)
    assert full.isfinite().all()
    for i, n in enumerate(mask.sum(1).tolist()):
        torch.testing.assert_close(full[i, :n], rows(emitted[i:i + 1, :n])[0], rtol=0.0, atol=1e-12)
