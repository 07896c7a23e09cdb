"""The discretised mixture of logistics against sums, scipy and quadrature."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.stats as stats
import torch
from torch import Tensor
from torch.nn.functional import softplus

import pyro_rvae as rv
from pyro_rvae.distributions import LevelMixture, LevelReader, observe_elements


def law(loc: Any, scale: Any, levels: int = 16, logits: Any = None, dtype: torch.dtype = torch.float64) -> LevelMixture:
    loc, scale = (torch.as_tensor(p, dtype=dtype) for p in (loc, scale))
    logits = torch.zeros_like(loc) if logits is None else torch.as_tensor(logits, dtype=dtype)
    return LevelMixture(logits, loc, scale, levels)


def test_the_family_is_its_formula() -> None:
    """With scipy's logistic, edge bins open to the outside."""
    dim, k, levels = 2, 3, 16
    family = rv.DiscretizedLogistics(dim, levels=levels, components=k)
    assert family.num_params == 18
    raw = torch.randn(18)
    logits, loc, scale = raw.view(3, k, dim)
    x = torch.tensor([[0.0, 15.0], [1.0, 14.0], [7.0, 7.0]])
    expected = []
    for row in x:
        total = 0.0
        for d in range(dim):
            low = -math.inf if row[d] == 0 else row[d].item() - 0.5
            high = math.inf if row[d] == 15 else row[d].item() + 0.5
            parts = [stats.logistic((7.5 * (1 + loc[j, d])).item(), (7.5 * softplus(scale[j, d])).item() + 0.05)
                     for j in range(k)]
            chance = sum(w * (p.cdf(high) - p.cdf(low)) for w, p in zip(logits[:, d].softmax(0).tolist(), parts,
                                                                        strict=True))
            total += math.log(chance)
        expected.append(total)
    np.testing.assert_allclose(family(raw).log_prob(x), expected, rtol=1e-10)
    torch.testing.assert_close(family(raw).log_prob(x.long()), family(raw).log_prob(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("levels", [2, 256, 65536])
@pytest.mark.parametrize("scale", [0.05, 0.7, 40.0, 1e6])
def test_probabilities_sum_to_one(scale: float, levels: int, dtype: torch.dtype) -> None:
    middle = levels / 3
    mixture = law([middle, middle + 0.5, -9.0], [scale, 2 * scale, 0.3], levels, [0.0, 1.0, -1.0], dtype)
    total = mixture.log_prob(torch.arange(levels, dtype=dtype)).logsumexp(0)
    assert abs(total.item()) < (1e-4 if dtype == torch.float32 else 1e-9)


@pytest.mark.parametrize(("loc", "scale"), [(0.2, 0.05), (100.4, 0.3), (100.5, 0.99), (254.8, 1.01), (30.0, 8.0),
                                            (-40.0, 3.0), (400.0, 50.0), (1e6, 0.05), (-1e6, 2.0), (120.0, 1e4)])
def test_mean_is_the_sum_over_all_levels(loc: float, scale: float) -> None:
    mixture = law([loc], [scale], 256)
    x = torch.arange(256.0)
    assert mixture.mean.item() == pytest.approx((x * mixture.log_prob(x).exp()).sum().item(), abs=1e-6)


def test_mean_of_a_mixture() -> None:
    mixture, x = law([20.0, 200.0], [0.4, 9.0], 256, [1.0, 0.0]), torch.arange(256.0)
    assert mixture.mean.item() == pytest.approx((x * mixture.log_prob(x).exp()).sum().item(), abs=1e-6)


def test_draws_follow_the_density() -> None:
    mixture, n = law([2.0, 12.5], [0.4, 2.0], 16, [0.3, 0.0]), 4000
    draws, x = mixture.sample((n,)), torch.arange(16.0)
    assert draws.shape == (n,) and mixture.support.check(draws).all()
    expected = n * mixture.log_prob(x).exp()
    counts = torch.stack([(draws == i).sum() for i in x])
    keep = expected > 5
    scaled = expected[keep] * counts[keep].sum() / expected[keep].sum()
    assert stats.chisquare(counts[keep].numpy(), scaled.numpy()).pvalue > 0.01


def test_a_certain_level_costs_next_to_nothing_at_16_bits_in_float32() -> None:
    family = rv.DiscretizedLogistics(1, levels=65536, components=1)
    for x in (0.0, 1.0, 32768.0, 65535.0):
        raw = torch.tensor([0.0, x / family.centre - 1.0, -30.0], dtype=torch.float32)
        assert -0.01 < family(raw).log_prob(torch.tensor([x], dtype=torch.float32)).item() <= 0.0


@pytest.mark.parametrize("k", [1, 2, 10])
def test_bias_has_the_moments_of_the_data(k: int) -> None:
    family = rv.DiscretizedLogistics(3, levels=256, components=k)
    x = (120 + torch.tensor([1.0, 10.0, 0.0]) * torch.randn(5000, 3)).round().clamp(0, 255)
    x[::5, 0], x[:, 2] = torch.nan, torch.nan
    law = family(family.bias(x))
    draws = law.sample((20000,))
    torch.testing.assert_close(law.mean[:2], x.nanmean(0)[:2], rtol=1e-3, atol=0.0)
    # a level is as wide as the logistic's: its variance, 1/12, comes on top
    assert (draws.std(0)[:2] / x[~x[:, 0].isnan()].std(0)[:2]).tolist() == pytest.approx([1.0, 1.0], abs=0.06)
    assert law.mean[2].item() == pytest.approx(127.5, abs=0.5) and family.bias(x).isfinite().all()
    assert family.bias(torch.full((4, 3), 9.0)).isfinite().all()


def test_a_missing_element_is_skipped() -> None:
    family, raw = rv.DiscretizedLogistics(2, levels=8, components=2), torch.randn(12)
    x, present = torch.tensor([3.0, 0.0]), torch.tensor([True, False])
    each = family(raw).base_dist.log_prob(x)
    torch.testing.assert_close(observe_elements(family(raw), present).log_prob(x), each[0])


def test_networks_read_levels_from_minus_one_to_one() -> None:
    reader = rv.DiscretizedLogistics(2, levels=256).reader(missing=True)
    assert isinstance(reader, LevelReader) and reader.out_dim == 4
    assert reader(torch.tensor([255.0, torch.nan])).tolist() == [1.0, 0.0, 1.0, 0.0]
    model = rv.VRNN(2, 2, 4, likelihood=rv.DiscretizedLogistics)
    assert isinstance(model.reader, LevelReader)
    x = torch.randint(0, 256, (2, 4, 2))
    with rv.given_noise(0):
        as_codes = rv.Loss(model)(x)
    with rv.given_noise(0):
        assert as_codes == rv.Loss(model)(x.double())


def test_levels_outside_are_refused() -> None:
    model, x = rv.VRNN(2, 2, 4, likelihood=rv.DiscretizedLogistics), torch.zeros(2, 4, 2)
    for value in (256.0, -1.0, 3.5):
        x[1, 3, 0] = value
        with pytest.raises(ValueError, match=rf"x holds {value} at \(1, 3, 0\).* of its likelihood LevelMixture"):
            rv.Loss(model)(x)


@pytest.mark.parametrize(("given", "message"), [
    ({"levels": 1}, "levels must be an integer of at least 2 .* got 1"),
    ({"levels": 2**24 + 1}, "levels must be"), ({"levels": 256.0}, "got 256.0"),
    ({"components": 0}, "components must be an integer of at least 1"), ({"components": True}, "got True"),
])
def test_wrong_arguments(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"DiscretizedLogistics: .*{message}"):
        rv.DiscretizedLogistics(2, **given)


def test_gradients_are_those_of_the_plain_formula() -> None:
    x = torch.tensor([0.0, 4.0, 15.0])

    def plain(v: Tensor) -> Tensor:
        high, low = torch.sigmoid((x + 0.5 - v[0]) / v[1]), torch.sigmoid((x - 0.5 - v[0]) / v[1])
        return (torch.where(x == 15, 1.0, high) - torch.where(x == 0, 0.0, low)).log()

    def ours(v: Tensor) -> Tensor:
        return LevelMixture(torch.zeros(3, 1), v[0].expand(3, 1), v[1].expand(3, 1), 16).log_prob(x)

    at = torch.tensor([5.0, 1.3])
    torch.testing.assert_close(torch.autograd.functional.jacobian(ours, at),
                               torch.autograd.functional.jacobian(plain, at))
