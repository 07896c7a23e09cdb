"""Each family against scipy's densities; its bias, its extremes and its draws."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import scipy.stats as stats
import torch
from torch import Tensor
from torch.nn.functional import softplus

import pyro_rvae as rv
from pyro_rvae.distributions import Family, family_for
from pyro_rvae.distributions.families import inverse_softplus

DIM, N = 3, 400
FAMILIES: dict[str, Any] = {
    "bernoulli": rv.Bernoulli, "normal": rv.Normal, "normal fixed": partial(rv.Normal, scale=0.7),
    "normal learned": partial(rv.Normal, scale=0.7, learned=True), "student": rv.StudentT,
    "student fixed": partial(rv.StudentT, df=3.0), "poisson": rv.Poisson,
    "categorical": partial(rv.Categorical, classes=4),
    "autoregressive": partial(rv.AutoregressiveBernoulli, hidden=12),
}


def scipy_law(name: str, raw: Tensor) -> Any:
    """The frozen scipy law of each element of a frame."""
    plus = lambda v: softplus(v).numpy()  # noqa: E731
    if name == "bernoulli":
        return stats.bernoulli(1 / (1 + np.exp(-raw.numpy())))
    if name == "normal":
        return stats.norm(raw[..., :DIM].numpy(), plus(raw[..., DIM:]) + 1e-4)
    if name.startswith("normal"):
        return stats.norm(raw.numpy(), 0.7)
    if name.startswith("student"):
        df = 3.0 if "fixed" in name else 2 + plus(raw[..., 2 * DIM:])
        return stats.t(df, raw[..., :DIM].numpy(), plus(raw[..., DIM:2 * DIM]) + 1e-4)
    return stats.poisson(plus(raw) + 1e-6)


def values(family: Family, shape: tuple[int, ...] = (6,)) -> Tensor:
    if family.kind == "categories":
        return torch.randint(0, 4, (*shape, DIM))
    if family.kind == "real":
        return torch.randn(*shape, DIM)
    return torch.poisson(torch.full((*shape, DIM), 1.0)).clamp_max(1.0 if family.kind == "binary" else 9.0)


@pytest.mark.parametrize("name", [n for n in FAMILIES if n not in ("categorical", "autoregressive")])
def test_density_is_scipys(name: str) -> None:
    family = FAMILIES[name](DIM)
    raw, x = torch.randn(6, family.num_params), values(family)
    law = scipy_law(name, raw)
    expected = (law.logpdf if family.kind == "real" else law.logpmf)(x.numpy()).sum(-1)
    with torch.no_grad():
        np.testing.assert_allclose(family(raw).log_prob(x).numpy(), expected, rtol=1e-9)


def test_categorical_density_is_the_log_softmax() -> None:
    family, raw, x = rv.Categorical(DIM, classes=4), torch.randn(6, 12), torch.randint(0, 4, (6, DIM))
    table = raw.reshape(6, DIM, 4).log_softmax(-1)
    expected = torch.stack([sum(table[n, c, x[n, c]] for c in range(DIM)) for n in range(6)])
    torch.testing.assert_close(family(raw).log_prob(x), expected)


@pytest.mark.parametrize("name", FAMILIES)
def test_shapes(name: str) -> None:
    family = FAMILIES[name](DIM)
    law = family(torch.randn(2, 5, family.num_params))
    assert law.batch_shape == (2, 5) and law.event_shape == (DIM,) and law.event_dim == 1
    assert law.sample().shape == (2, 5, DIM) and law.sample((4,)).shape == (4, 2, 5, DIM)
    assert law.expand((3, 2, 5)).log_prob(values(family, (3, 2, 5))).shape == (3, 2, 5)
    assert family.dim == DIM and f"num_params={family.num_params}" in repr(family)


@pytest.mark.parametrize("name", [n for n in FAMILIES if n not in ("categorical", "autoregressive")])
def test_draws_follow_the_density(name: str) -> None:
    """A Kolmogorov-Smirnov test of the continuous, a chi-square test of the counted."""
    family = FAMILIES[name](DIM)
    raw = torch.randn(family.num_params)
    with torch.no_grad():
        draws = family(raw.expand(N, -1)).sample()[:, 0].numpy()
    if family.kind == "real":
        one = list(raw.reshape(-1, DIM)[:, 0])
        frozen = {1: lambda: stats.norm(one[0], 0.7), 2: lambda: stats.norm(one[0], softplus(one[1]) + 1e-4)}
        if name.startswith("student"):
            df = 3.0 if "fixed" in name else 2 + softplus(one[2])
            frozen[len(one)] = lambda: stats.t(df, one[0], softplus(one[1]) + 1e-4)
        assert stats.kstest(draws, frozen[len(one)]().cdf).pvalue > 0.01
        return
    law = scipy_law(name, raw[:1])
    counts = np.array([(draws == k).sum() for k in range(12)])
    expected = N * law.pmf(np.arange(12))
    keep = expected > 3
    assert stats.chisquare(counts[keep], expected[keep] * counts[keep].sum() / expected[keep].sum()).pvalue > 0.01


@pytest.mark.parametrize("name", ["normal", "normal fixed", "normal learned"])
def test_a_direct_draw_is_loc_plus_scale_times_noise(name: str) -> None:
    family = FAMILIES[name](DIM)
    raw, noise = torch.randn(5, family.num_params), torch.randn(5, DIM)
    law = family(raw).base_dist
    torch.testing.assert_close(family.rsample(raw, noise), law.loc + law.scale * noise)


# ------------------------------------------------------------------------------------------------------ bias
def with_gaps(x: Tensor) -> Tensor:
    gone = torch.rand(x.shape) < 0.2
    return x.masked_fill(gone, torch.nan) if x.is_floating_point() else x.masked_fill(gone, -1)


@pytest.mark.parametrize("gaps", [False, True], ids=["full", "gaps"])
@pytest.mark.parametrize("name", FAMILIES)
def test_bias_matches_the_marginals(name: str, gaps: bool) -> None:
    family = FAMILIES[name](DIM)
    x = values(family, (N,))
    x = x + 2.0 * torch.arange(DIM) if family.kind == "real" else x
    x = with_gaps(x) if gaps else x
    raw = family.bias(x)
    assert raw.shape == (family.num_params,) and raw.isfinite().all()
    if name == "autoregressive":
        raw = raw[family.hidden:]
        assert not family.bias(x)[: family.hidden].any()
    if family.kind == "categories":
        shares = torch.stack([(x == k).double().sum(0) for k in range(4)], -1)
        expected = (shares + 1) / (shares + 1).sum(-1, keepdim=True)
        torch.testing.assert_close(raw.reshape(DIM, 4).softmax(-1), expected)
    elif family.kind == "binary":
        n = (~x.isnan()).sum(0)
        torch.testing.assert_close(torch.sigmoid(raw), (x.nansum(0) + 1) / (n + 2))
    elif family.kind == "counts":
        torch.testing.assert_close(softplus(raw), x.nanmean(0))
    else:
        centre = x.nanmedian(0).values if "student" in name else x.nanmean(0)
        torch.testing.assert_close(raw[:DIM], centre)
        if name in ("normal", "student"):
            assert ((softplus(raw[DIM:2 * DIM]) - 1).abs() < 0.25).all()  # the data have scale 1


def test_bias_of_constant_data_is_finite() -> None:
    for name in FAMILIES:
        family = FAMILIES[name](DIM)
        x = torch.zeros(9, DIM, dtype=torch.long if family.kind == "categories" else torch.float64)
        assert family.bias(x).isfinite().all()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_column_that_is_missing_throughout_gets_loc_0_scale_1_rate_1(name: str) -> None:
    family = FAMILIES[name](DIM)
    x = values(family, (40,))
    whole = family.bias(x)
    x[:, 1] = -1 if family.kind == "categories" else torch.nan
    raw, column = family.bias(x), torch.arange(DIM) == 1
    assert raw.isfinite().all() and family(raw).log_prob(values(family, ())).isfinite()
    if family.kind == "categories":
        raw, whole = raw.reshape(DIM, 4), whole.reshape(DIM, 4)
        torch.testing.assert_close(raw[1].softmax(-1), torch.full((4,), 0.25))
        torch.testing.assert_close(raw[~column], whole[~column])
        return
    at = raw[family.hidden:] if name == "autoregressive" else raw
    other = whole[family.hidden:] if name == "autoregressive" else whole
    torch.testing.assert_close(at[:DIM][~column], other[:DIM][~column])
    assert at[1] == 0.0 if family.kind != "counts" else softplus(at[1]) == pytest.approx(1.0)
    if name in ("normal", "student"):
        assert softplus(at[DIM + 1]) == pytest.approx(1.0)


def test_a_family_without_a_bias_says_none() -> None:
    assert Family(2, 2).bias(torch.zeros(3, 2)) is None
    with pytest.raises(NotImplementedError):
        Family(2, 2)(torch.zeros(2))


# ------------------------------------------------------------------------------------------------------ extremes
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("size", [-1e4, -50.0, 50.0, 1e4])
@pytest.mark.parametrize("name", FAMILIES)
def test_extreme_parameters_give_finite_densities_and_gradients(name: str, size: float, dtype: torch.dtype) -> None:
    family = FAMILIES[name](DIM).to(dtype)
    raw = torch.full((2, family.num_params), size, dtype=dtype, requires_grad=True)
    x = values(family, (2,))
    x = x if family.kind == "categories" else x.to(dtype)
    density = family(raw).log_prob(x).sum()
    gradient = torch.autograd.grad(density, raw)[0]
    assert density.isfinite() and gradient.isfinite().all()


def test_inverse_softplus() -> None:
    y = torch.tensor([1e-6, 1e-2, 1.0, 30.0, 500.0])
    torch.testing.assert_close(softplus(inverse_softplus(y)), y)


def test_a_fixed_scale_is_the_number_and_does_not_train() -> None:
    for scale in (2e-4, 0.01, 1.0, 40.0):
        fixed = rv.Normal(2, scale=scale)
        torch.testing.assert_close(fixed(torch.zeros(2)).base_dist.scale, torch.full((2,), scale))
        assert not list(fixed.parameters()) and "raw_scale" in fixed.state_dict()
    assert [n for n, _ in rv.Normal(2, scale=1.0, learned=True).named_parameters()] == ["raw_scale"]


def test_a_learned_scale_gets_its_gradient() -> None:
    family = rv.Normal(DIM, scale=0.7, learned=True)
    family(torch.zeros(DIM)).log_prob(torch.ones(DIM)).backward()
    assert family.raw_scale.grad.all()


# ------------------------------------------------------------------------------------------------------ refusals
def test_categories_need_their_number() -> None:
    for build in (lambda: rv.Categorical(2), lambda: rv.VRNN(2, likelihood=rv.Categorical)):
        with pytest.raises(TypeError, match=r"number of classes is needed.*partial\(rv.Categorical, classes=K\)"):
            build()


@pytest.mark.parametrize(("build", "message"), [
    (lambda: rv.Normal(2, scale=0.0), "Normal: scale must be a number above 0.0001, got 0.0"),
    (lambda: rv.Normal(2, scale=-1.0), "got -1.0"),
    (lambda: rv.Normal(2, scale=float("inf")), "got inf"),
    (lambda: rv.Normal(2, learned=True), "learned=True needs scale="),
    (lambda: rv.StudentT(2, df=-1.0), "StudentT: df must be positive, got -1.0"),
    (lambda: rv.StudentT(2, df=0.0), "StudentT: df must be positive, got 0.0"),
    (lambda: rv.Categorical(2, classes=1), "classes must be at least 2, got 1"),
    (lambda: family_for("pictures"), "kind must be one of .*'binary'.*got 'pictures'"),
])
def test_wrong_arguments(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_family_for_a_kind_of_data() -> None:
    assert [type(family_for(k)(2)) for k in ("binary", "real", "counts")] == [rv.Bernoulli, rv.Normal, rv.Poisson]
    assert family_for("categories", 5)(2).num_params == 10


def test_readers_of_the_families() -> None:
    assert rv.Bernoulli(3).reader(missing=True).out_dim == 6
    assert isinstance(rv.Categorical(3, classes=4).reader(), rv.CodeReader)
