"""The mixture density of pen strokes against scipy, quadrature and marginals."""

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
from pyro_rvae.distributions import StrokeMixture, observe_elements

K = 3


def raw() -> Tensor:
    return torch.randn(6 * K + 1, generator=torch.Generator().manual_seed(4))


def components(params: Tensor) -> tuple[list[float], list[Any], float]:
    """Weights and scipy's bivariate Normals, and the chance of pen = 1, from Graves's parameters."""
    k = len(params) // 6
    logits, mean, scale, tilt = params[:k], params[k:3 * k], softplus(params[3 * k:5 * k]) + 1e-4, params[5 * k:6 * k]
    laws = []
    for j in range(k):
        sx, sy, rho = scale[j].item(), scale[k + j].item(), 0.9999 * math.tanh(tilt[j].item())
        covariance = [[sx**2, rho * sx * sy], [rho * sx * sy, sy**2]]
        laws.append(stats.multivariate_normal([mean[j].item(), mean[k + j].item()], covariance))
    return logits.softmax(0).tolist(), laws, torch.sigmoid(params[-1]).item()


def test_density_is_the_mixture_of_scipys_normals_and_a_bernoulli() -> None:
    weights, laws, pen = components(raw())
    x = torch.cat([torch.randn(6, 2), (torch.arange(6.0) % 2).unsqueeze(-1)], -1)
    density = sum(w * one.pdf(x[:, :2].numpy()) for w, one in zip(weights, laws, strict=True))
    expected = np.log(density) + np.log(np.where(x[:, 2] == 1, pen, 1 - pen))
    law = rv.PenStrokes(components=K)(raw().expand(6, -1))
    np.testing.assert_allclose(law.log_prob(x), expected, rtol=1e-10)
    assert law.event_shape == (3,) and law.batch_shape == (6,)
    assert law.expand((2, 6)).log_prob(x).shape == (2, 6)


def test_it_integrates_to_one_with_its_mean() -> None:
    law, grid = rv.PenStrokes(components=K)(raw()), torch.linspace(-20, 20, 801)
    offsets = torch.cartesian_prod(grid, grid)
    x = torch.cat([offsets, torch.zeros(len(offsets), 1)], -1)
    p = torch.stack([law.log_prob(x).exp(), law.log_prob(x + torch.tensor([0.0, 0.0, 1.0])).exp()]) * 0.05**2
    assert p.sum().item() == pytest.approx(1.0, abs=1e-6)
    torch.testing.assert_close(law.mean, torch.stack([*(p.sum(0) @ offsets), p[1].sum()]), rtol=1e-5, atol=1e-6)


def test_draws_follow_the_density() -> None:
    law, n = rv.PenStrokes(components=K)(raw()), 20000
    draws = law.sample((n,))
    weights, laws, pen = components(raw())
    for axis in (0, 1):
        def cdf(v: Any, axis: int = axis) -> Any:
            return sum(w * stats.norm(one.mean[axis], one.cov[axis, axis] ** 0.5).cdf(v)
                       for w, one in zip(weights, laws, strict=True))

        assert stats.kstest(draws[:, axis], cdf).pvalue > 0.01
    second = sum(w * (one.cov[0, 1] + one.mean[0] * one.mean[1]) for w, one in zip(weights, laws, strict=True))
    product = draws[:, 0] * draws[:, 1]
    assert product.mean().item() == pytest.approx(second, abs=4 * product.std().item() / n**0.5)
    assert draws[:, 2].mean().item() == pytest.approx(pen, abs=4 * 0.5 / n**0.5)
    assert StrokeMixture.support.check(draws).all()
    assert rv.PenStrokes(components=K)(raw().expand(2, 5, -1)).sample((7,)).shape == (7, 2, 5, 3)


@pytest.mark.parametrize("present", [[1, 1, 1], [1, 0, 1], [0, 1, 1], [1, 1, 0], [0, 0, 1], [0, 0, 0]])
def test_missing_offsets_are_marginalised_and_a_missing_pen_is_skipped(present: list[int]) -> None:
    weights, laws, pen = components(raw())
    x, there = torch.tensor([0.4, -1.2, 1.0]), torch.tensor(present, dtype=torch.bool)
    axes = [axis for axis in (0, 1) if there[axis]]
    density = 1.0
    if axes:
        density = sum(w * stats.multivariate_normal(one.mean[axes], one.cov[np.ix_(axes, axes)]).pdf(x[axes].numpy())
                      for w, one in zip(weights, laws, strict=True))
    expected = math.log(density) + (math.log(pen) if there[2] else 0.0)
    law = observe_elements(rv.PenStrokes(components=K)(raw()), there)
    for fill in (0.0, 7.0):
        assert law.log_prob(x.masked_fill(~there, fill)).item() == pytest.approx(expected, abs=1e-10)
    many = observe_elements(rv.PenStrokes(components=K)(raw()), there.expand(4, 3))
    assert many.expand((2, 4)).log_prob(x).shape == (2, 4)


@pytest.mark.parametrize("k", [1, 2, 3, 20])
def test_bias_has_the_moments_of_the_data(k: int) -> None:
    x = torch.randn(5000, 3) * torch.tensor([3.0, 0.5, 1.0]) + torch.tensor([1.0, -2.0, 0.0])
    x[:, 2] = (x[:, 2] > 1.0).double()
    x[::4, 0], x[::5, 2] = torch.nan, torch.nan
    family = rv.PenStrokes(components=k)
    law = family(family.bias(x))
    torch.testing.assert_close(law.mean, x.nanmean(0), rtol=1e-3, atol=1e-3)
    draws = law.sample((20000,))
    spread = (x - x.nanmean(0)).square().nanmean(0).sqrt()
    assert (draws.std(0)[:2] / spread[:2]).tolist() == pytest.approx([1.0, 1.0], abs=0.04)
    assert len({tuple(m) for m in law.loc.mT.tolist()}) == (k if k > 2 else 1)
    x[:, 1] = torch.nan
    assert family.bias(x).isfinite().all() and family.bias(torch.zeros(5, 3)).isfinite().all()


def test_gradients_are_those_of_a_multivariate_normal() -> None:
    family, params, x = rv.PenStrokes(components=1), raw()[:7], torch.tensor([0.3, 0.9, 0.0])

    def plain(v: Tensor) -> Tensor:
        scale, rho = softplus(v[3:5]) + 1e-4, 0.9999 * torch.tanh(v[5])
        off = rho * scale[0] * scale[1]
        covariance = torch.stack([torch.stack([scale[0] ** 2, off]), torch.stack([off, scale[1] ** 2])])
        law = torch.distributions.MultivariateNormal(v[1:3], covariance)
        return law.log_prob(x[:2]) + torch.nn.functional.logsigmoid(-v[6])

    ours = torch.autograd.functional.jacobian(lambda v: family(v).log_prob(x), params)
    torch.testing.assert_close(ours, torch.autograd.functional.jacobian(plain, params))


@pytest.mark.parametrize("explicit", [False, True], ids=["vectorised", "explicit"])
def test_a_pen_between_up_and_down_is_refused(explicit: bool) -> None:
    model, x = rv.RVAE(3, 2, 4, likelihood=rv.PenStrokes), torch.zeros(2, 4, 3)
    x[1, 2, 2] = 0.4
    message = r"x holds 0.4 at \(1, 2, 2\) \(sequence, step, element\), outside the .* StrokeMixture .*pen 0 or 1"
    with rv.explicit() if explicit else rv.annealed(1.0), pytest.raises(ValueError, match=message):
        rv.Loss(model)(x)
    x[1, 2, 2], x[0, 1, 0] = torch.nan, torch.nan
    with rv.explicit() if explicit else rv.annealed(1.0):
        assert torch.isfinite(rv.Loss(model)(x))


@pytest.mark.parametrize(("build", "message"), [
    (lambda: rv.PenStrokes(4), r"frames \(dx, dy, pen\), 3 wide, and these are 4 wide"),
    (lambda: rv.RVAE(2, likelihood=rv.PenStrokes), "these are 2 wide"),
    (lambda: rv.PenStrokes(components=0), "components must be an integer of at least 1, got 0"),
    (lambda: rv.PenStrokes(components=True), "got True"),
])
def test_wrong_arguments(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"PenStrokes.*{message}"):
        build()


def test_offsets_are_scaled_and_the_pen_is_not() -> None:
    """As the docstring says; and standardising the pen too is noticed."""
    values = torch.randn(30, 3) * 50
    values[:, 2] = (values[:, 2] > 0).double()
    data = rv.data.SequenceDataset(values, [10] * 3)
    scaled = data.transformed(rv.data.Affine(torch.zeros(3), torch.tensor([50.0, 50.0, 1.0])))
    model = rv.VRNN.for_data(scaled, likelihood=rv.PenStrokes, z_dim=2, h_dim=4)
    assert torch.isfinite(rv.Loss(model)(*scaled.padded()))
    drawn = rv.generate(model, 2, 5, seed=0)
    assert set(drawn[..., 2].flatten().tolist()) <= {0.0, 1.0} and drawn[..., :2].abs().max() > 5
    whole = rv.data.Splits(data, data, data).standardize().train
    model = rv.VRNN.for_data(whole, likelihood=rv.PenStrokes, z_dim=2, h_dim=4)
    with pytest.raises(ValueError, match="outside the support of its likelihood StrokeMixture"):
        rv.Loss(model)(*whole.padded())
