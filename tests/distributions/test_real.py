"""Laplace and Beta against scipy, quadrature and moments."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import scipy.stats as stats
import torch
from scipy import integrate
from torch import Tensor
from torch.nn.functional import softplus

import pyro_rvae as rv
from pyro_rvae.distributions import OpenBeta, observe_elements

DIM = 3
CONCENTRATIONS = [1e-3, 0.5, 2.0, 7.999, 8.001, 60.0, 2e4]


def beta(a: Any, b: Any, dtype: torch.dtype = torch.float64) -> OpenBeta:
    return OpenBeta(torch.as_tensor(a, dtype=dtype), torch.as_tensor(b, dtype=dtype), validate_args=False)


# ------------------------------------------------------------------------------------------------------ Laplace
def test_laplace_is_scipys() -> None:
    raw, x = torch.randn(6, 2 * DIM), torch.randn(6, DIM)
    expected = stats.laplace(raw[:, :DIM], softplus(raw[:, DIM:]) + 1e-4).logpdf(x).sum(-1)
    np.testing.assert_allclose(rv.Laplace(DIM)(raw).log_prob(x), expected)
    fixed = rv.Laplace(DIM, scale=0.7)
    assert fixed.num_params == DIM
    np.testing.assert_allclose(fixed(raw[:, :DIM]).log_prob(x), stats.laplace(raw[:, :DIM], 0.7).logpdf(x).sum(-1))
    torch.testing.assert_close(fixed(raw[:, :DIM]).mean, raw[:, :DIM])


def test_laplace_draws_follow_the_density() -> None:
    raw = torch.tensor([0.5, -0.3])
    draws = rv.Laplace(1)(raw).sample((3000,)).squeeze(-1)
    assert stats.kstest(draws, stats.laplace(0.5, softplus(raw[1]).item() + 1e-4).cdf).pvalue > 0.01


def test_laplace_bias_is_the_maximum_of_the_likelihood() -> None:
    x = torch.tensor([[0.0, 3.0], [1.0, torch.nan], [5.0, torch.nan]])
    x = torch.cat([x, torch.full((3, 1), torch.nan)], -1)
    raw = rv.Laplace(DIM).bias(x)
    assert raw[:DIM].tolist() == [1.0, 3.0, 0.0]
    assert softplus(raw[DIM:]).tolist() == pytest.approx([5 / 3, 1e-2, 1.0])
    assert rv.Laplace(DIM, scale=1.0).bias(x).tolist() == [1.0, 3.0, 0.0]
    with pytest.raises(ValueError, match="Laplace: scale must be positive and finite, got 0.0"):
        rv.Laplace(2, scale=0.0)


# ------------------------------------------------------------------------------------------------------ Beta
@pytest.mark.parametrize("a", CONCENTRATIONS)
@pytest.mark.parametrize("b", CONCENTRATIONS)
def test_beta_density_is_scipys(a: float, b: float) -> None:
    x = np.array([1e-6, 0.1, 0.4999, 0.5, 0.9, 1 - 1e-9])
    ours = beta(a, b).log_prob(torch.as_tensor(x))
    np.testing.assert_allclose(ours, stats.beta.logpdf(x, a, b), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(("a", "b"), [(3e4, 5e4), (1e7, 2e7), (2.0, 1e6), (0.5, 9.0)])
def test_beta_keeps_its_digits_in_float32(a: float, b: float) -> None:
    """Against float64, around the mean, where torch's own in float32 is off by up to millions of nats."""
    x = (a / (a + b) * torch.tensor([0.999, 1.0, 1.001], dtype=torch.float32))
    np.testing.assert_allclose(beta(a, b, torch.float32).log_prob(x), stats.beta.logpdf(x.double(), a, b), rtol=2e-3,
                               atol=2e-2)


def test_beta_integrates_to_one_with_its_mean() -> None:
    for a, b in ((0.8, 3.0), (12.0, 9.0)):
        def density(x: float, a: float = a, b: float = b) -> float:
            return beta(a, b).log_prob(torch.tensor(x)).exp().item()

        assert integrate.quad(density, 0, 1)[0] == pytest.approx(1.0, abs=1e-6)
        assert integrate.quad(lambda x: x * density(x), 0, 1)[0] == pytest.approx(beta(a, b).mean.item(), abs=1e-6)


@pytest.mark.parametrize(("a", "b"), [(0.5, 3.0), (9.0, 2.0), (11.0, 15.0)])
def test_beta_gradients_are_those_of_the_plain_formula(a: float, b: float) -> None:
    x = torch.tensor([0.05, 0.4, 0.97])

    def plain(v: Tensor) -> Tensor:
        constant = torch.lgamma(v.sum()) - torch.lgamma(v[0]) - torch.lgamma(v[1])
        return (v[0] - 1) * x.log() + (v[1] - 1) * (1 - x).log() + constant

    at = torch.tensor([a, b])
    ours = torch.autograd.functional.jacobian(lambda v: OpenBeta(v[0], v[1]).log_prob(x), at)
    torch.testing.assert_close(ours, torch.autograd.functional.jacobian(plain, at), rtol=1e-7, atol=1e-8)


def test_beta_draws_follow_the_density_and_stay_inside() -> None:
    raw = torch.tensor([0.5, 1.5])
    draws = rv.Beta(1)(raw).sample((3000,)).squeeze(-1)
    a, b = (softplus(raw) + 1e-4).tolist()
    assert stats.kstest(draws, stats.beta(a, b).cdf).pvalue > 0.01
    for dtype in (torch.float32, torch.float64):
        ends = beta(1e-4, 1e-4, dtype).sample((500,))
        assert OpenBeta.support.check(ends).all() and ends.dtype == dtype
        assert beta(1e-4, 1e-4, dtype).log_prob(ends).isfinite().all()


def test_beta_bias_has_the_moments_of_the_data() -> None:
    x = beta([2.0, 0.5, 30.0], [6.0, 0.5, 10.0]).sample((20000,))
    x[::3, 0] = torch.nan
    law = rv.Beta(DIM)(rv.Beta(DIM).bias(x)).base_dist
    torch.testing.assert_close(law.mean, x.nanmean(0), rtol=1e-3, atol=0.0)
    torch.testing.assert_close(law.variance, (x - x.nanmean(0)).square().nanmean(0), rtol=1e-2, atol=0.0)
    x[:, 1], x[:, 2] = torch.nan, 0.25
    law = rv.Beta(DIM)(rv.Beta(DIM).bias(x)).base_dist
    assert law.concentration1[1].item() == pytest.approx(1.0, rel=1e-3) == law.concentration0[1].item()
    assert (law.concentration1 + law.concentration0)[2].item() == pytest.approx(1000.0, rel=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("family", [rv.Beta, rv.Laplace], ids=["beta", "laplace"])
def test_what_stands_for_a_missing_element_poisons_no_gradient(family: Any, dtype: torch.dtype) -> None:
    raw = torch.randn(2 * DIM, dtype=dtype, requires_grad=True)
    x, present = torch.tensor([0.2, 0.0, 0.7], dtype=dtype), torch.tensor([True, False, True])
    density = observe_elements(family(DIM)(raw), present).log_prob(x)
    torch.testing.assert_close(density, family(DIM)(raw).base_dist.log_prob(x)[[0, 2]].sum())
    gradient, = torch.autograd.grad(density, raw)
    assert gradient.isfinite().all() and not gradient[1::DIM].any()


@pytest.mark.parametrize("end", [0.0, 1.0, 1.5])
def test_beta_refuses_the_ends(end: float) -> None:
    model, x = rv.RVAE(DIM, 2, 4, likelihood=rv.Beta), torch.full((2, 4, DIM), 0.5)
    x[1, 2, 0] = end
    message = rf"x holds {end} at \(1, 2, 0\).*outside the support of its likelihood OpenBeta \(0 < x < 1\)"
    for context in (rv.explicit(), partial(rv.annealed, 1.0)()):
        with context, pytest.raises(ValueError, match=message):
            rv.Loss(model)(x)
    x[1, 2, 0] = torch.nan
    assert torch.isfinite(rv.Loss(model)(x))


def test_what_stands_in_the_padding_is_not_outside_the_support() -> None:
    model, x = rv.RVAE(DIM, 2, 4, likelihood=rv.Beta), torch.full((2, 4, DIM), 0.5)
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    x[1, 2:] = torch.nan
    for context in (rv.explicit(), rv.annealed(1.0)):
        with context:
            assert torch.isfinite(rv.Loss(model)(x, mask))
    x[1, 1, 0] = 1.0
    with pytest.raises(ValueError, match=r"x holds 1.0 at \(1, 1, 0\)"):
        rv.Loss(model)(x, mask)
