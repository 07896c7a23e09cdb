"""What each law is at a temperature: against closed forms, scipy, and counted draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from torch import Tensor

import pyro_rvae as rv
from pyro_rvae.distributions import tempered
from pyro_rvae.distributions.counts import ExactNegativeBinomial
from pyro_rvae.distributions.temperature import CountsAtTemperature

LOGITS = torch.tensor([-1.0, 0.3, 2.0])
NUM = 10_000


def share(draws: Tensor, values: Tensor) -> Tensor:
    """How often each of ``values`` was drawn."""
    return torch.stack([(draws == v).double().mean(0) for v in values])


def near(found: Any, expected: Any, num: int = NUM) -> None:
    """Shares within five standard errors."""
    p = torch.as_tensor(expected).double()
    assert ((torch.as_tensor(found) - p).abs() <= 5 * (p * (1 - p) / num).sqrt() + 1e-4).all(), (found, expected)


@pytest.mark.parametrize("t", [0.25, 0.7, 1.6])
def test_logits_are_a_power_of_the_probabilities(t: float) -> None:
    power = dist.Categorical(logits=LOGITS).probs ** (1 / t)
    for law in (dist.Categorical(logits=LOGITS), dist.OneHotCategorical(logits=LOGITS)):
        sharp = tempered(law, t)
        assert type(sharp) is type(law)
        torch.testing.assert_close(sharp.probs, power / power.sum())
    coin = dist.Bernoulli(logits=LOGITS).to_event(1)
    odds = (coin.base_dist.probs / (1 - coin.base_dist.probs)) ** (1 / t)
    sharp = tempered(coin, t)
    assert sharp.event_shape == (3,)
    torch.testing.assert_close(sharp.base_dist.probs, odds / (1 + odds))


@pytest.mark.parametrize("t", [0.5, 1.6])
def test_a_continuous_bernoulli_is_a_power_of_its_density(t: float) -> None:
    law = rv.ContinuousBernoulli(3)(LOGITS).base_dist
    x = torch.linspace(0.01, 0.99, 50).unsqueeze(-1)
    off = tempered(law, t).log_prob(x) - law.log_prob(x) / t
    torch.testing.assert_close(off, off[:1].expand_as(off))


@pytest.mark.parametrize("t", [0.3, 2.0])
@pytest.mark.parametrize("law", [
    dist.Normal(1.0, 2.0), dist.Laplace(1.0, 2.0), dist.StudentT(5.0, 1.0, 2.0),
    dist.MultivariateNormal(torch.ones(2), torch.tensor([[2.0, 0.5], [0.5, 1.0]])),
    rv.LowRankNormal(2)(torch.linspace(-1, 1, 8)),
    rv.FullNormal(2)(torch.linspace(-1, 1, 5)),
], ids=lambda law: type(law).__name__)
def test_scales(law: Any, t: float) -> None:
    wide = tempered(law, t)
    assert type(wide) is type(law)
    torch.testing.assert_close(wide.mean, law.mean)
    torch.testing.assert_close(wide.variance, t**2 * law.variance)
    if law.event_shape:
        torch.testing.assert_close(wide.covariance_matrix, t**2 * law.covariance_matrix)


def test_a_cauchys_quartiles() -> None:
    draws = tempered(dist.Cauchy(1.0, 2.0), 0.5).sample((NUM,))
    expected = torch.tensor(scipy.stats.cauchy(1.0, 1.0).ppf([0.25, 0.5, 0.75]))
    torch.testing.assert_close(draws.quantile(torch.tensor([0.25, 0.5, 0.75])), expected, atol=0.08, rtol=0)


def test_a_beta_keeps_its_mean() -> None:
    law = rv.Beta(2)(torch.tensor([30.0, 50.0, 20.0, 100.0])).base_dist
    narrow = tempered(law, 0.5)
    torch.testing.assert_close(narrow.mean, law.mean)
    torch.testing.assert_close(narrow.variance / law.variance, torch.full((2,), 0.25), atol=0.01, rtol=0)
    shape = tempered(dist.Beta(0.4, 0.7), 3.0).sample((100,))  # a power of the density would have no integral
    assert ((shape >= 0) & (shape <= 1)).all()


def test_noise_of_what_is_sent_from_a_gaussian() -> None:
    law = dist.LogNormal(torch.tensor(0.5), torch.tensor(0.8))
    draws = tempered(law, 0.5).sample((NUM,)).log()
    assert draws.mean().item() == pytest.approx(0.5, abs=0.02) and draws.std().item() == pytest.approx(0.4, rel=0.05)
    flow = rv.InverseAutoregressive(3)
    law = flow(torch.randn(4, flow.num_params))
    torch.manual_seed(1)
    drawn = tempered(law, 0.5)()
    torch.manual_seed(1)
    torch.testing.assert_close(drawn, law.from_noise(0.5 * torch.randn(4, 3)))
    assert tempered(law, 0.5).expand(torch.Size([2, 4])).sample((5,)).shape == (5, 2, 4, 3)


def test_masks_and_points() -> None:
    mask = torch.tensor([True, False])
    law = tempered(dist.Normal(torch.zeros(2), 1.0).mask(mask).to_event(1), 0.5)
    assert law.base_dist._mask is mask and law.base_dist.base_dist.scale.tolist() == [0.5, 0.5]
    assert tempered(dist.Delta(torch.ones(2), event_dim=1), 0.1)().tolist() == [1.0, 1.0]


def power_table(law: Any, t: float, most: int = 400) -> Tensor:
    power = law.log_prob(torch.arange(float(most)).unsqueeze(-1)) / t
    return power.softmax(0)


COUNTS = [dist.Poisson(torch.tensor([0.3, 4.0, 40.0])),
          ExactNegativeBinomial(torch.tensor([0.8, 3.0, 20.0]), logits=torch.tensor([0.5, 0.0, -1.0]))]


@pytest.mark.parametrize("t", [0.4, 1.7])
@pytest.mark.parametrize("law", COUNTS, ids=["Poisson", "NegativeBinomial"])
def test_counts_are_drawn_from_the_power_of_their_law(law: Any, t: float) -> None:
    table = power_table(law, t)
    near(share(tempered(law, t).sample((3000,)), torch.arange(60.0)), table[:60], 3000)


def test_many_candidates_are_taken_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyro_rvae.distributions.temperature.AT_ONCE", 2 * NUM)
    law = CountsAtTemperature(dist.Poisson(9.0), 0.5)
    near(share(law.sample((NUM,)), torch.arange(30.0)), power_table(law.base, 0.5)[:30].squeeze(-1))
    assert law.expand(torch.Size([2])).sample((3,)).shape == (3, 2)


def test_a_large_rate() -> None:
    draws = tempered(dist.Poisson(1e5), 0.25).sample((500,))  # about N(1e5, 1e5 / 4)
    assert draws.mean().item() == pytest.approx(1e5, abs=35) and draws.std().item() == pytest.approx(158.1, rel=0.15)


def test_zero_inflated_counts() -> None:
    family = rv.ZeroInflated(2)
    raw = torch.tensor([2.0, 3.0, 0.5, -1.0])
    law = family(raw)
    gate = torch.sigmoid(raw[2:] / 0.5)
    table = power_table(family.family(raw[:2]).base_dist, 0.5)[:20]
    expected = (1 - gate) * table
    expected[0] += gate
    near(share(tempered(law, 0.5).sample((NUM,)), torch.arange(20.0)), expected)


def test_mixtures() -> None:
    law = dist.MixtureSameFamily(dist.Categorical(logits=LOGITS), dist.Normal(torch.tensor([-9.0, 0.0, 9.0]), 1.0))
    draws = tempered(law, 0.5).sample((NUM,))
    near(share((draws / 9).round(), torch.tensor([-1.0, 0.0, 1.0])), (LOGITS / 0.5).softmax(0))
    assert draws[draws > 4.5].std().item() == pytest.approx(0.5, rel=0.06)


def test_pen_strokes_as_sketch_rnn_draws_them() -> None:
    family = rv.PenStrokes(components=2)
    raw = torch.zeros(13)
    raw[:2], raw[2:4], raw[12] = torch.tensor([1.0, 0.0]), torch.tensor([50.0, -50.0]), -1.0
    law = family(raw)
    draws = tempered(law, 0.25).sample((NUM,))
    right = draws[:, 0] > 0
    near(right.double().mean(), torch.sigmoid(torch.tensor(4.0)))
    near(draws[:, 2].mean(), torch.sigmoid(torch.tensor(-4.0)))
    assert draws[right, 0].std().item() == pytest.approx(0.5 * law.scale[0, 0].item(), rel=0.06)  # sqrt(1/4)


def test_levels() -> None:
    family = rv.DiscretizedLogistics(1, levels=100, components=1)
    law = family(torch.tensor([0.0, 0.0, -2.0])).base_dist
    narrow = tempered(law, 0.5)
    draws = narrow.sample((NUM,)).squeeze(-1)
    expected = narrow.log_prob(torch.arange(100.0).unsqueeze(-1)).exp().squeeze(-1)
    near(share(draws, torch.arange(100.0)), expected)
    logistic = scipy.stats.logistic(law.loc.item(), law.scale.item() / 2)
    np.testing.assert_allclose(expected[40:60].numpy(), np.diff(logistic.cdf(np.arange(40, 61) - 0.5)), atol=1e-9)


@pytest.mark.parametrize("family", [rv.AutoregressiveBernoulli(3, hidden=6), rv.NADE(3, hidden=6, order=[2, 0, 1])],
                         ids=["masked", "NADE"])
def test_elements_drawn_in_turn(family: Any) -> None:
    """All 8 frames: the chance of each is the product of its tempered odds, given the elements before."""
    params = torch.randn(family.num_params)
    sharp = tempered(family(params), 0.4)
    frames = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)
    chance = torch.sigmoid(family.logits(frames, params.expand(8, -1)) / 0.4)
    expected = torch.where(frames == 1, chance, 1 - chance).prod(-1)
    torch.testing.assert_close(sharp.log_prob(frames).exp(), expected)
    assert expected.sum().item() == pytest.approx(1.0)
    codes = sharp.sample((NUM,)) @ torch.tensor([4.0, 2.0, 1.0])
    near(share(codes, torch.arange(8.0)), expected)


@pytest.mark.parametrize(("law", "mode"), [
    (dist.Categorical(logits=LOGITS), 2.0), (dist.Bernoulli(logits=LOGITS), [0.0, 1.0, 1.0]),
    (dist.Normal(LOGITS, 1.0), LOGITS.tolist()), (dist.Poisson(torch.tensor([0.5, 7.5])), [0.0, 7.0]),
    (rv.ContinuousBernoulli(3)(LOGITS), [0.0, 1.0, 1.0]), (dist.Beta(20.0, 60.0), 0.25),
    (dist.MixtureSameFamily(dist.Categorical(logits=LOGITS), dist.Normal(LOGITS, 1.0)), 2.0),
    (rv.distributions.LevelMixture(LOGITS, torch.tensor([1.0, 2.0, 7.2]), torch.ones(3), 10), 7.0),
], ids=lambda law: type(law).__name__)
def test_near_zero_a_draw_is_the_mode(law: Any, mode: Any) -> None:
    torch.testing.assert_close(tempered(law, 1e-6).sample(), torch.as_tensor(mode).to(tempered(law, 1e-6).sample()),
                               atol=1e-4, rtol=0)


def test_a_law_of_ones_own() -> None:
    class Own(dist.Exponential):
        pass

    with pytest.raises(ValueError, match=r"no temperature is known for Own: .*tempered.register\(Own\)"):
        tempered(Own(1.0).expand((2,)).to_event(1), 0.5)
    tempered.register(Own)(lambda fn, temperature: dist.Exponential(fn.rate / temperature))
    assert tempered(Own(1.0), 0.5).rate.item() == 2.0
