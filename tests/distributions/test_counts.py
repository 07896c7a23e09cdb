"""Negative binomial and zero-inflated counts against scipy, torch and sums."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pyro.distributions as dist
import pytest
import scipy.stats as stats
import torch
from torch import Tensor
from torch.nn.functional import softplus

import pyro_rvae as rv
from pyro_rvae.distributions import ExactNegativeBinomial, observe_elements

DIM = 3
INFLATED = partial(rv.ZeroInflated, family=rv.NegativeBinomial)


def law(mean: Any, r: Any, dtype: torch.dtype = torch.float64) -> ExactNegativeBinomial:
    mean, r = torch.as_tensor(mean, dtype=dtype), torch.as_tensor(r, dtype=dtype)
    return ExactNegativeBinomial(r, logits=mean.log() - r.log(), validate_args=False)


@pytest.mark.parametrize("r", [1e-4, 0.3, 2.0, 7.999, 8.0, 30.0, 1e4])
@pytest.mark.parametrize("mean", [1e-6, 0.5, 6.0, 300.0])
def test_density_is_scipys(mean: float, r: float) -> None:
    k = np.array([0, 1, 2, 6, 7, 8, 20, 500])
    ours = law(mean, r).log_prob(torch.as_tensor(k, dtype=torch.float64))
    np.testing.assert_allclose(ours, stats.nbinom.logpmf(k, r, r / (r + mean)), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("mean", [0.5, 6.0])
def test_float32_keeps_its_digits_up_to_the_poisson_limit(mean: float) -> None:
    k = torch.tensor([0.0, 1.0, 5.0, 20.0])
    for r in (0.01, 5.0, 1e3, 1e8):
        expected = stats.nbinom.logpmf(k.numpy(), r, 1 / (1 + mean / r)) if r < 1e8 else stats.poisson.logpmf(k, mean)
        np.testing.assert_allclose(law(mean, r, torch.float32).log_prob(k.float()), expected, rtol=2e-5, atol=2e-5)
    theirs = dist.NegativeBinomial(torch.tensor(1e8), logits=torch.tensor(mean / 1e8, dtype=torch.float32).log())
    assert abs(theirs.log_prob(torch.tensor(5.0, dtype=torch.float32)) - stats.poisson.logpmf(5, mean)) > 1.0


@pytest.mark.parametrize("r", [0.5, 7.9, 8.1, 40.0])
def test_it_sums_to_one_with_the_mean_and_the_variance_of_its_docstring(r: float) -> None:
    k, m = torch.arange(4000.0), 5.0
    p = law(m, r).log_prob(k).exp()
    assert p.sum().item() == pytest.approx(1.0, abs=1e-8)
    assert (p * k).sum().item() == pytest.approx(m, rel=1e-8) == law(m, r).mean.item()
    assert (p * k.square()).sum().item() - m**2 == pytest.approx(m + m**2 / r, rel=1e-8)


@pytest.mark.parametrize("r", [0.5, 7.9, 8.1, 1e3])
def test_gradients_are_those_of_the_plain_formula(r: float) -> None:
    k, at = torch.tensor([0.0, 3.0, 9.0, 40.0]), torch.tensor([2.0, r])

    def plain(v: Tensor) -> Tensor:
        m, n = v
        gammas = torch.lgamma(k + n) - torch.lgamma(k + 1) - torch.lgamma(n)
        return gammas + n * (n / (n + m)).log() + k * (m / (n + m)).log()

    ours = torch.autograd.functional.jacobian(lambda v: law(2.0, 1.0).__class__(v[1], logits=(v[0] / v[1]).log())
                                              .log_prob(k), at)
    torch.testing.assert_close(ours, torch.autograd.functional.jacobian(plain, at), rtol=1e-6, atol=1e-9)


def test_the_families_are_their_formulas() -> None:
    raw, x = torch.randn(6, 3 * DIM), torch.poisson(torch.full((6, DIM), 2.0))
    m, r, gate = softplus(raw[:, :DIM]) + 1e-6, softplus(raw[:, DIM:2 * DIM]) + 1e-4, torch.sigmoid(raw[:, 2 * DIM:])
    plain = torch.as_tensor(stats.nbinom.pmf(x.numpy(), r.numpy(), (r / (r + m)).numpy()))
    torch.testing.assert_close(rv.NegativeBinomial(DIM)(raw[:, :2 * DIM]).log_prob(x), plain.log().sum(-1))
    inflated = gate * (x == 0) + (1 - gate) * plain
    torch.testing.assert_close(INFLATED(DIM)(raw).log_prob(x), inflated.log().sum(-1))
    torch.testing.assert_close(INFLATED(DIM)(raw).mean, (1 - gate) * m)
    poisson = torch.as_tensor(stats.poisson.pmf(x.numpy(), m.numpy()))
    inflated = gate * (x == 0) + (1 - gate) * poisson
    torch.testing.assert_close(rv.ZeroInflated(DIM)(raw[:, [0, 1, 2, 6, 7, 8]]).log_prob(x), inflated.log().sum(-1))
    fixed = rv.NegativeBinomial(DIM, total_count=4.0)
    assert fixed.num_params == DIM
    torch.testing.assert_close(fixed(raw[:, :DIM]).log_prob(x), law(m, 4.0).log_prob(x).sum(-1))


@pytest.mark.parametrize("family", [rv.NegativeBinomial, partial(rv.NegativeBinomial, total_count=3.0),
                                    rv.ZeroInflated, INFLATED], ids=["nb", "fixed", "zip", "zinb"])
def test_draws_follow_the_density(family: Any) -> None:
    made, n = family(1), 3000
    raw = torch.tensor([2.0, 0.5, -0.5])[: made.num_params]
    draws = made(raw).sample((n,)).squeeze(-1)
    k = torch.arange(40.0)
    expected = n * made(raw).log_prob(k.unsqueeze(-1)).exp()
    counts = torch.stack([(draws == i).sum() for i in k])
    keep = expected > 5
    scaled = expected[keep] * counts[keep].sum() / expected[keep].sum()
    assert stats.chisquare(counts[keep].numpy(), scaled.numpy()).pvalue > 0.01
    assert draws.mean().item() == pytest.approx(made(raw).mean.item(), rel=0.1)


# ------------------------------------------------------------------------------------------------------ bias
def test_bias_has_the_moments_of_the_data() -> None:
    x = law(torch.tensor([2.0, 5.0, 1.0]), torch.tensor([0.8, 4.0, 1e6])).sample((20000,))
    raw = rv.NegativeBinomial(DIM).bias(x)
    torch.testing.assert_close(softplus(raw[:DIM]), x.mean(0))
    assert softplus(raw[DIM:]).tolist() == pytest.approx([0.8, 4.0, 100.0], rel=0.2)
    assert rv.NegativeBinomial(DIM, total_count=1.0).bias(x).shape == (DIM,)
    gaps = x.masked_fill(torch.rand(x.shape) < 0.3, torch.nan)
    gaps[:, 1] = torch.nan
    raw = rv.NegativeBinomial(DIM).bias(gaps)
    assert softplus(raw).tolist()[1::3] == pytest.approx([1.0, 1.0]) and raw.isfinite().all()
    assert rv.NegativeBinomial(DIM).bias(torch.zeros(9, DIM)).isfinite().all()


def test_a_zero_inflated_start_has_the_mean_and_the_zeros_of_the_data() -> None:
    x = torch.poisson(torch.full((10000, DIM), 4.0)) * (torch.rand(10000, DIM) < 0.6)
    x[::7, 0], x[:, 2] = torch.nan, torch.nan
    family = rv.ZeroInflated(DIM)
    mean = family(family.bias(x)).mean
    torch.testing.assert_close(mean[:2], x[:, :2].nanmean(0), rtol=1e-2, atol=0.0)
    assert 0.15 < torch.sigmoid(family.bias(x)[DIM]) < 0.25  # half of about 0.41
    assert family.bias(x).isfinite().all() and family.bias(torch.zeros(9, DIM)).isfinite().all()

    class Plain(rv.Poisson):
        def bias(self, values: Tensor) -> None:
            return None

    assert rv.ZeroInflated(DIM, family=Plain).bias(x) is None


# ------------------------------------------------------------------------------------------------------ the rest
@pytest.mark.parametrize("family", [rv.NegativeBinomial, rv.ZeroInflated, INFLATED], ids=["nb", "zip", "zinb"])
def test_a_missing_element_is_skipped(family: Any) -> None:
    made, x = family(DIM), torch.tensor([2.0, 0.0, 5.0])
    raw, present = torch.randn(made.num_params), torch.tensor([True, False, True])
    law = made(raw)
    torch.testing.assert_close(observe_elements(law, present).log_prob(x), law.base_dist.log_prob(x)[[0, 2]].sum())


@pytest.mark.parametrize(("build", "error", "message"), [
    (lambda: rv.NegativeBinomial(2, total_count=0.0), ValueError, "total_count must be positive and finite, got 0.0"),
    (lambda: rv.NegativeBinomial(2, total_count=float("inf")), ValueError, "got inf; for the limit .* rv.Poisson"),
    (lambda: rv.ZeroInflated(2, family=rv.Normal), TypeError, "expected a family of counts .*got Normal"),
    (lambda: rv.ZeroInflated(2, family=rv.ZeroInflated), TypeError, "got ZeroInflated"),
    (lambda: rv.ZeroInflated(2, family=lambda dim: "counts"), TypeError, "got str"),
    (lambda: rv.ZeroInflated(2, family=rv.Poisson(3)), ValueError, "Poisson was built for 3 elements, not 2"),
])
def test_wrong_arguments(build: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        build()


def test_a_family_whose_elements_depend_on_each_other_cannot_be_inflated() -> None:
    class Joint(rv.Family):
        kind = "counts"

        def forward(self, params: Tensor) -> Any:
            return dist.Multinomial(4, logits=params)

    with pytest.raises(TypeError, match="elements of Joint are not independent"):
        rv.ZeroInflated(2, family=Joint(2, 2))(torch.zeros(4))
