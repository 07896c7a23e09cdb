"""Full-covariance and low-rank Gaussians against dense ones."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from laws import forms_agree
from pyro.infer import Trace_ELBO
from torch import Tensor
from zoo import H, Z, make_data

import pyro_rvae as rv
from pyro_rvae.core.noise import rsample_from
from pyro_rvae.distributions import FullGaussian, LowRankGaussian, observe_elements

D = 4
FAMILIES = {"full": lambda d: rv.FullNormal(d), "rank 1": lambda d: rv.LowRankNormal(d, rank=1),
            "rank 2": lambda d: rv.LowRankNormal(d), "rank 6": lambda d: rv.LowRankNormal(d, rank=6)}
COVARIANCE = [[1.0, 0.6, 0.0, -0.3], [0.6, 2.0, 0.4, 0.0], [0.0, 0.4, 0.5, 0.1], [-0.3, 0.0, 0.1, 0.8]]


def law_of(name: str, *batch: int, d: int = D, seed: int = 0) -> Any:
    family = FAMILIES[name](d)
    return family(torch.randn(*batch, family.num_params, generator=torch.Generator().manual_seed(seed)))


def dense(value: Tensor, loc: Tensor, covariance: Tensor) -> Tensor:
    """log N by determinant and inverse."""
    off = (value - loc).unsqueeze(-1)
    distance = (off.mT @ torch.linalg.inv(covariance) @ off).squeeze(-1).squeeze(-1)
    return -0.5 * (distance + torch.logdet(covariance) + value.shape[-1] * math.log(2 * math.pi))


def test_the_full_covariance_is_that_of_its_factor() -> None:
    raw = torch.randn(2 * 3 + 3)
    law = rv.FullNormal(3)(raw)
    a, b, c = (math.log1p(math.exp(r)) + 1e-4 for r in raw[3:6].tolist())
    tril = torch.tensor([[a, 0, 0], [b * raw[6], b, 0], [c * raw[7], c * raw[8], c]])
    torch.testing.assert_close(law.covariance_matrix, tril @ tril.T, rtol=1e-12, atol=0)
    assert torch.equal(law.loc, raw[:3])


def test_the_low_rank_covariance() -> None:
    raw = torch.randn(3 * 4)
    law = rv.LowRankNormal(3, rank=2)(raw)
    scale, v = torch.diag(torch.log1p(raw[3:6].exp()) + 1e-4), raw[6:].reshape(3, 2)
    torch.testing.assert_close(law.covariance_matrix, scale @ (torch.eye(3) + v @ v.T) @ scale, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("d", [1, 2, D])
@pytest.mark.parametrize("name", FAMILIES)
def test_the_density_is_the_dense_gaussians(name: str, d: int) -> None:
    law, value = law_of(name, 5, 2, d=d), torch.randn(3, 5, 2, d)
    expected = dense(value, law.loc, law.covariance_matrix)
    torch.testing.assert_close(law.log_prob(value), expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(law.expand([3, 5, 2]).log_prob(value), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_density_of_one_element_integrates_to_one(name: str) -> None:
    grid = torch.linspace(-40, 40, 40001).unsqueeze(-1)
    assert abs(torch.trapezoid(law_of(name, d=1).log_prob(grid).exp(), grid[:, 0]) - 1) < 1e-8


@pytest.mark.parametrize("name", FAMILIES)
def test_a_draw_is_a_root_of_the_covariance_times_noise(name: str) -> None:
    """The draw is affine in the noise; its matrix times its transpose is the covariance, exactly."""
    law = law_of(name)
    root = (rsample_from(law, torch.eye(D)) - rsample_from(law, torch.zeros(D))).T
    torch.testing.assert_close(root @ root.T, law.covariance_matrix, rtol=1e-10, atol=1e-12)
    assert torch.equal(rsample_from(law, torch.zeros(D)), law.loc)
    noise = torch.randn(6, D)
    torch.testing.assert_close(rsample_from(law, noise), law.loc + noise @ root.T, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_familys_direct_draw_is_its_laws(name: str) -> None:
    family, noise = FAMILIES[name](D), torch.randn(7, 5, D)
    params = torch.randn(5, family.num_params)
    torch.testing.assert_close(family.rsample(params, noise), rsample_from(family(params), noise))


@pytest.mark.parametrize("name", FAMILIES)
def test_draws_agree_with_the_density(name: str) -> None:
    """Mahalanobis distances of draws are chi-squared: their mean is d, their variance 2 d; so is the entropy."""
    law = law_of(name)
    draws = law.rsample([40000])
    assert draws.shape == (40000, D)
    off = draws - law.loc
    distance = (off @ torch.linalg.inv(law.covariance_matrix) * off).sum(-1)
    assert abs(distance.mean() - D) < 0.06 and abs(distance.var() - 2 * D) < 0.4
    assert abs(-law.log_prob(draws).mean() - law.entropy()) < 0.03


def test_the_low_rank_draw_has_gradients_where_the_factor_is_zero() -> None:
    loc, factor = torch.randn(3, requires_grad=True), torch.zeros(3, 2, requires_grad=True)
    diagonal, noise = (torch.rand(3) + 0.5).requires_grad_(), torch.randn(3)

    def drawn(loc: Tensor, factor: Tensor, diagonal: Tensor) -> Tensor:
        law = LowRankGaussian(loc, factor, diagonal, validate_args=False)
        value = law.from_noise(noise)
        return torch.stack([value.sum(), value.square().sum(), law.log_prob(value + 1.0)])

    assert torch.autograd.gradcheck(drawn, (loc, factor, diagonal))
    assert torch.autograd.gradcheck(drawn, (loc, torch.randn(3, 2, requires_grad=True), diagonal))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [-80.0, 80.0])
@pytest.mark.parametrize("name", FAMILIES)
def test_extreme_parameters_are_finite(name: str, size: float, dtype: torch.dtype) -> None:
    family = FAMILIES[name](D).to(dtype)
    raw = torch.full([family.num_params], size, dtype=dtype, requires_grad=True)
    law = family(raw)
    loss = law.log_prob(rsample_from(law, torch.ones(D))).sum() + law.log_prob(torch.zeros(D, dtype=dtype))
    loss.backward()
    assert loss.isfinite() and raw.grad is not None and raw.grad.isfinite().all() and loss.dtype == dtype


# ------------------------------------------------------------------------------------------------ KL
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_kl_to_independent_normals_is_the_dense_one(name: str, masked: bool) -> None:
    """As the core builds them: a mask, then time in the event shape."""
    p = law_of(name, 3, 2)
    loc, scale = torch.randn(2, D), torch.rand(3, 2, D) + 0.5
    q = dist.Normal(loc, scale).to_event(1)
    apart = dist.MultivariateNormal(loc.expand(3, 2, D), torch.diag_embed(scale.square()))
    expected = torch.distributions.kl_divergence(dist.MultivariateNormal(p.loc, p.covariance_matrix), apart)
    torch.testing.assert_close(torch.distributions.kl_divergence(p, q), expected, rtol=1e-9, atol=1e-9)
    if masked:
        mask = torch.tensor([[True, False], [True, True], [False, False]])
        p, q, expected = p.mask(mask), q.mask(mask), torch.where(mask, expected, 0.0)
    found = torch.distributions.kl_divergence(p.to_event(1), q.to_event(1))
    torch.testing.assert_close(found, expected.sum(-1), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", FAMILIES)
def test_kl_to_others_is_left_to_sampling(name: str) -> None:
    with pytest.raises(NotImplementedError):
        torch.distributions.kl_divergence(law_of(name), dist.StudentT(3.0, torch.zeros(D), 1.0).to_event(1))


# ------------------------------------------------------------------------------------------------ missing elements
@pytest.mark.parametrize("name", FAMILIES)
def test_missing_elements_are_marginalised(name: str) -> None:
    law, value = law_of(name), torch.randn(D)
    for keep in ([0, 2], [3], [0, 1, 2, 3], []):
        present = torch.zeros(D, dtype=torch.bool)
        present[keep] = True
        found = observe_elements(law, present).log_prob(torch.where(present, value, 0.0))
        expected = dense(value[keep], law.loc[keep], law.covariance_matrix[keep][:, keep]) if keep else torch.zeros(())
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


# ------------------------------------------------------------------------------------------------ a given covariance
@pytest.mark.parametrize("matrix", [COVARIANCE, torch.tensor(COVARIANCE)], ids=["lists", "tensor"])
def test_a_given_covariance_is_that_of_each_frame(matrix: Any) -> None:
    family = rv.FullNormal(D, covariance=matrix)
    law = family(torch.randn(3, D))
    assert family.num_params == D and not list(family.parameters())
    torch.testing.assert_close(law.covariance_matrix, torch.tensor(COVARIANCE).expand(3, D, D), rtol=1e-10, atol=1e-12)


def test_a_learned_covariance_starts_there_and_moves() -> None:
    family = rv.FullNormal(D, covariance=COVARIANCE, learned=True)
    law = family(torch.zeros(D))
    torch.testing.assert_close(law.covariance_matrix, torch.tensor(COVARIANCE), rtol=1e-10, atol=1e-12)
    law.log_prob(torch.ones(D)).backward()
    assert family.raw_tril is not None and family.raw_tril.grad is not None and (family.raw_tril.grad != 0).all()


@pytest.mark.parametrize("name", FAMILIES)
def test_bias_is_the_marginals_of_the_data(name: str) -> None:
    family = FAMILIES[name](D)
    values = torch.randn(4000, D) @ torch.linalg.cholesky(torch.tensor(COVARIANCE)).T + torch.arange(D)
    law = family(family.bias(values))
    covariance = torch.cov(values.T, correction=0)
    expected = covariance if name == "full" else torch.diag(covariance.diagonal())
    torch.testing.assert_close(law.loc, values.mean(0))
    torch.testing.assert_close(law.covariance_matrix, expected, rtol=1e-3, atol=1e-3)
    values[::3, 1], values[:, 2] = torch.nan, torch.nan
    law = family(family.bias(values))
    assert law.loc.isfinite().all() and law.loc[2] == 0 and law.covariance_matrix.isfinite().all()


def test_a_covariance_is_saved_by_name(tmp_path: Path) -> None:
    model = rv.VRAE(D, Z, H, likelihood=partial(rv.FullNormal, covariance=COVARIANCE, learned=True))
    rv.save_pretrained(model, tmp_path / "model")
    again = rv.from_pretrained(tmp_path / "model")
    x = torch.randn(2, 3, D)
    with rv.given_noise(0):
        expected = Trace_ELBO().loss(model.model, model.guide, x)
    with rv.given_noise(0):
        assert Trace_ELBO().loss(again.model, again.guide, x) == expected


# ------------------------------------------------------------------------------------------------ in models
def test_full_and_low_rank_gaussians_fit_everywhere() -> None:
    """As likelihood, prior and posterior of one model."""
    model = rv.VRNN(5, Z, H, likelihood=rv.FullNormal, prior=rv.LowRankNormal, posterior=rv.FullNormal)
    forms_agree(model, Trace_ELBO(), make_data("real", 0, (2, 3)))
    forms_agree(model, Trace_ELBO(), make_data("real gaps", 0, (2, 3)).nan_to_num(0.0))


# ------------------------------------------------------------------------------------------------ errors
@pytest.mark.parametrize(("covariance", "message"), [
    ([[1.0, 0.0], [0.0, 1.0]], r"FullNormal: covariance must be a matrix \(4, 4\), got \(2, 2\)"),
    ([1.0, 2.0, 3.0, 4.0], r"FullNormal: covariance must be a matrix \(4, 4\), got \(4,\)"),
    (torch.diag(torch.tensor([1.0, 1.0, -0.5, 1.0])), "FullNormal: covariance must be symmetric and positive definite"
                                                      ".*smallest eigenvalue of the given one is -0.5"),
    (torch.ones(D, D), "FullNormal: covariance must be symmetric and positive definite"),
    (torch.eye(D) + torch.diag(torch.full([D - 1], 0.5), 1), "FullNormal: covariance must be symmetric"),
    (torch.full([D, D], torch.nan), "FullNormal: .*smallest eigenvalue of the given one is NaN"),
    (1e-12 * torch.eye(D), "FullNormal: .*above 0.0001.*standardise the data"),
])
def test_no_covariance(covariance: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        rv.FullNormal(D, covariance=covariance)


@pytest.mark.parametrize("rank", [0, -1, 1.5, True, None])
def test_a_rank_is_a_count(rank: Any) -> None:
    with pytest.raises(ValueError, match=f"^LowRankNormal: rank must be an integer of at least 1, got {rank!r}"):
        rv.LowRankNormal(D, rank=rank)


def test_learned_needs_a_covariance() -> None:
    with pytest.raises(ValueError, match="^FullNormal: learned=True needs covariance="):
        rv.FullNormal(D, learned=True)


@pytest.mark.parametrize("family", [rv.FullNormal(Z + 1), rv.LowRankNormal(Z + 1), rv.InverseAutoregressive(Z + 1)])
def test_a_family_of_the_wrong_width(family: Any) -> None:
    what = f"^{type(family).__name__} was built for {Z + 1} elements, the model needs {Z}"
    with pytest.raises(ValueError, match=what):
        rv.DMM(5, Z, H, posterior=family)


def test_the_laws_are_known_by_their_class() -> None:
    assert type(rv.FullNormal(2)(torch.zeros(5))) is FullGaussian
    assert type(rv.LowRankNormal(2)(torch.zeros(8)).expand([3])) is LowRankGaussian
