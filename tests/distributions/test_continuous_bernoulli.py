"""The continuous Bernoulli against quadrature, closed forms and torch's own, at every size of the logit."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import integrate
from torch import Tensor

import pyro_rvae as rv
from pyro_rvae.distributions.continuous_bernoulli import ExactContinuousBernoulli

LOGITS = [-60.0, -5.0, -0.2501, -0.2499, -1e-3, -1e-9, 0.0, 1e-6, 0.1, 0.26, 2.0, 30.0]


def law(logit: float | Tensor, dtype: torch.dtype = torch.float64) -> ExactContinuousBernoulli:
    return ExactContinuousBernoulli(logits=torch.as_tensor(logit, dtype=dtype), validate_args=False)


def density(x: float, logit: float) -> float:
    """lambda^x (1 - lambda)^(1 - x), without its constant."""
    p = 1 / (1 + math.exp(-logit))
    return math.exp(x * math.log(p) - (1 - x) * math.log1p(math.exp(logit)))


@pytest.mark.parametrize("logit", LOGITS)
def test_density_mean_variance_and_distribution_function_are_those_of_quadrature(logit: float) -> None:
    def moment(power: int, end: float = 1.0) -> float:
        return integrate.quad(lambda x: x**power * density(x, logit), 0, end, epsabs=1e-14, epsrel=1e-12,
                              points=[0.05, 0.95] if end == 1.0 else None, limit=200)[0]

    total, fn = moment(0), law(logit)
    for x in (0.0, 0.3, 1.0):
        assert fn.log_prob(torch.tensor(x)).item() == pytest.approx(math.log(density(x, logit) / total), abs=1e-9)
    mean = moment(1) / total
    assert fn.mean.item() == pytest.approx(mean, rel=1e-9)
    assert fn.variance.item() == pytest.approx(moment(2) / total - mean**2, rel=1e-6)
    assert fn.cdf(torch.tensor(0.3)).item() == pytest.approx(moment(0, 0.3) / total, rel=1e-8, abs=1e-12)
    entropy = -integrate.quad(lambda x: density(x, logit) / total * math.log(max(density(x, logit) / total, 1e-300)),
                              0, 1, limit=200, points=[0.05, 0.95])[0]
    assert fn.entropy().item() == pytest.approx(entropy, abs=1e-7)


def test_it_is_torchs_where_torch_does_not_clamp() -> None:
    logits, x = torch.randn(50, dtype=torch.float64) * 3, torch.rand(50)
    theirs = torch.distributions.ContinuousBernoulli(logits=logits)
    torch.testing.assert_close(law(logits).log_prob(x), theirs.log_prob(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nothing_is_nan_at_any_logit(dtype: torch.dtype) -> None:
    raw = torch.tensor([0.0, 1e-30, 1e-4, 0.2499, 0.2501, 1.0, 16.0, 90.0, 1e4, 1e8], dtype=dtype)
    raw = torch.cat([-raw, raw]).requires_grad_()
    u = torch.tensor([[0.0], [0.5], [1.0]], dtype=dtype)
    for value in (law(raw, dtype).log_prob(u), law(raw, dtype).mean, law(raw, dtype).icdf(u), law(raw, dtype).variance):
        slope, = torch.autograd.grad(value.sum(), raw)
        assert value.isfinite().all() and slope.isfinite().all()
        assert value.dtype == dtype


@pytest.mark.parametrize("logit", LOGITS)
def test_the_gradient_is_the_value_less_the_mean(logit: float) -> None:
    """d log p / d logit = x - E[x], of any exponential family; torch's own is 0 where it clamps."""
    raw = torch.tensor(logit, requires_grad=True)
    slope, = torch.autograd.grad(law(raw).log_prob(torch.tensor(0.7)), raw)
    assert slope.item() == pytest.approx(0.7 - law(logit).mean.item(), abs=1e-11)
    slope, = torch.autograd.grad(law(raw).mean, raw)
    assert slope.item() == pytest.approx(law(logit).variance.item(), rel=1e-6)


@pytest.mark.parametrize("logit", LOGITS)
def test_draws_invert_the_distribution_function(logit: float) -> None:
    u = torch.linspace(0.01, 0.99, 21)
    fn = law(torch.full_like(u, logit))
    torch.testing.assert_close(fn.cdf(fn.icdf(u)), u, rtol=1e-8, atol=1e-8)
    draws = law(torch.tensor([logit])).expand((4000,)).rsample()
    assert draws.mean().item() == pytest.approx(fn.mean[0].item(), abs=4 * fn.stddev[0].item() / 4000**0.5)


def test_the_family() -> None:
    family = rv.ContinuousBernoulli(3)
    assert family.num_params == 3 and family.kind == "real"
    raw, x = torch.randn(4, 3), torch.rand(4, 3)
    torch.testing.assert_close(family(raw).log_prob(x), law(raw).log_prob(x).sum(-1))
    values = torch.rand(500, 3) ** torch.tensor([0.2, 1.0, 8.0])
    np.testing.assert_allclose(family(family.bias(values)).mean, values.mean(0), atol=1e-9)
    values[:, 1], values[:, 2], values[0, 0] = torch.nan, 0.0, torch.nan
    raw = family.bias(values)
    assert raw.isfinite().all() and raw[1].abs() < 1e-9
    torch.testing.assert_close(family(raw).mean, torch.stack([values[1:, 0].mean(), torch.tensor(0.5),
                                                              torch.tensor(1e-3)]), rtol=1e-6, atol=1e-9)


def test_values_outside_the_unit_interval_are_refused() -> None:
    model = rv.VAE(3, 2, 4, likelihood=rv.ContinuousBernoulli)
    with pytest.raises(ValueError, match=r"x holds 1.5 at \(0, 2\).*outside the support of its likelihood"):
        model.model(torch.tensor([[0.0, 1.0, 1.5]]))
