"""What every prior of the package has in common: it is saved by name, its KL is right, wrong widths are refused."""

from __future__ import annotations

from functools import partial
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from torch.distributions import kl_divergence
from zoo import B, H, T, X, Z, awake, make_data

import pyro_rvae as rv
from pyro_rvae.distributions import conditional
from pyro_rvae.priors import AffineCoupling, Spline

PARTS: dict[str, Any] = {
    "Normal": rv.Normal,
    "Laplace": rv.Laplace,
    "StudentT": partial(rv.StudentT, df=4.0),
    "mixture": partial(rv.MixtureOfGaussians, components=2, hidden=[4]),
    "couplings": partial(rv.FlowPrior, layers=2, layer=partial(AffineCoupling, hidden=[4])),
    "splines": partial(rv.FlowPrior, layers=2, layer=partial(Spline, bins=4)),
    "AR1": partial(rv.AR1, phi=0.5),
}


@pytest.mark.parametrize("name", PARTS)
def test_a_model_with_the_prior_is_saved_and_loaded(name: str, tmp_path: Any) -> None:
    torch.manual_seed(0)
    model, x = awake(rv.DMM(X, Z, H, transition=PARTS[name])).eval(), make_data("binary", 0, (B, T))
    rv.save_pretrained(model, tmp_path / "saved")
    again = rv.from_pretrained(tmp_path / "saved").eval()
    with torch.no_grad(), rv.given_noise(0):
        assert rv.Loss(again, Trace_ELBO())(x) == rv.Loss(model, Trace_ELBO())(x)


# ------------------------------------------------------------------------------------------------------ KL
def law(part: Any) -> Any:
    torch.manual_seed(1)
    made = awake(conditional(part, 0, Z))
    return made(torch.ones(Z), torch.zeros(1)) if isinstance(made, rv.AR1) else made()


ANALYTIC = {"Normal", "Laplace", "AR1"}


@pytest.mark.parametrize("name", PARTS)
def test_the_kl_is_analytic_where_it_exists_and_right(name: str) -> None:
    """Of a diagonal Gaussian posterior, against quadrature; elsewhere TraceMeanField_ELBO falls back on samples."""
    prior, q = law(PARTS[name]), dist.Normal(torch.tensor([0.3, -0.5, 0.1]), 0.7).to_event(1)
    if name not in ANALYTIC:
        with pytest.raises(NotImplementedError):
            kl_divergence(q, prior)
        return
    grid = torch.linspace(-8.0, 8.0, 20_001).unsqueeze(-1).expand(-1, Z)
    density = q.base_dist.log_prob(grid)
    expected = (density.exp() * (density - prior.base_dist.log_prob(grid))).sum() * 16.0 / 20_000
    torch.testing.assert_close(kl_divergence(q, prior), expected, rtol=1e-6, atol=1e-6)


# ------------------------------------------------------------------------------------------------------ bad input
@pytest.mark.parametrize(("build", "match"), [
    (lambda: rv.VRNN(X, Z, H, prior=rv.MixtureOfGaussians(7, Z)), "this MixtureOfGaussians was built to read 7"),
    (lambda: rv.VRNN(X, Z, H, prior=rv.FlowPrior(7, Z)), "built to read 7 numbers, the model passes 8"),
    (lambda: rv.VRNN(X, Z, H, prior=rv.MixtureOfGaussians(H, 2)), "built for 2 elements.*needs 3"),
    (lambda: rv.STORN(X, Z, H, prior=rv.StandardNormal(0, 2)), "this StandardNormal was built for 2 elements"),
    (lambda: rv.STORN(X, Z, H, prior=rv.FlowPrior(0, 4)), "this FlowPrior was built for 4 elements"),
    (lambda: rv.DMM(X, Z, H, transition=rv.AR1(0, 4)), "this AR1 was built for 4 elements, the model needs 3"),
    (lambda: rv.MixtureOfGaussians(0, 2, components=0), "MixtureOfGaussians: components must be .* got 0"),
    (lambda: rv.priors.GaussianMixture(2, components=1.5), "GaussianMixture: components must be .* got 1.5"),
    (lambda: rv.FlowPrior(0, 2, layers=0), "FlowPrior: layers must be an integer of at least 1, got 0"),
    (lambda: rv.FlowPrior(0, 1), "couples one half of the latent to the other, and its width is 1"),
    (lambda: Spline(0, 2, bins=1), "at least 2 bins and a positive bound are needed, got 1 and 5.0"),
    (lambda: rv.NeuralHMM(X, 3, prior=rv.FlowPrior), "one of several regimes, and FlowPrior is a density"),
    (lambda: rv.SwitchingLDS(X, Z, H, transition=rv.GatedNormal), "transition is called with the regime"),
])
def test_what_does_not_fit_is_refused(build: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        build()


def test_an_unconditional_prior_fits_a_model_that_passes_a_state() -> None:
    """Built without inputs it ignores them."""
    x = make_data("binary", 0, (B, T))
    for prior in (rv.MixtureOfGaussians(0, Z), rv.FlowPrior(0, Z)):
        assert rv.Loss(rv.VRNN(X, Z, H, prior=prior))(x).isfinite()
