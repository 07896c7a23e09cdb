"""The stationary autoregression: against its joint Gaussian, in the models that pass z_{t-1} and the start."""

from __future__ import annotations

from typing import Any

import pyro.poutine as poutine
import pytest
import torch
from laws import form
from zoo import B, H, T, X, Z, awake

import pyro_rvae as rv


def made() -> Any:
    return awake(rv.DMM(X, Z, H, transition=rv.AR1, likelihood=rv.Normal)).eval()


@pytest.mark.parametrize("explicit", [False, True], ids=["vectorised", "explicit"])
def test_the_path_is_a_stationary_gaussian(explicit: bool) -> None:
    """A path's log density in a DMM equals that of the dense Gaussian ``N(m, s^2 phi^|t - t'|)``."""
    model, z = made(), torch.randn(B, T, Z)
    given = {f"z_{t}": z[:, t] for t in range(T)} if explicit else {"z": z}
    with form(explicit):
        trace = poutine.trace(poutine.condition(model.model, given)).get_trace(size=(B, T))
    trace.compute_log_prob()
    ours = sum(site["log_prob"] for name, site in trace.nodes.items() if name.partition("_")[0] == "z")
    prior, gap = model.transition, (torch.arange(T)[:, None] - torch.arange(T)).abs()
    covariance = prior.scale[:, None, None].square() * prior.phi[:, None, None] ** gap
    dense = torch.distributions.MultivariateNormal(prior.loc[:, None].expand(Z, T), covariance)
    torch.testing.assert_close(ours, dense.log_prob(z.mT).sum(-1))


@pytest.mark.parametrize("explicit", [False, True], ids=["vectorised", "explicit"])
@torch.no_grad()
def test_draws_are_stationary_and_correlated(explicit: bool) -> None:
    model = made()
    with form(explicit):
        trace = poutine.trace(model.model).get_trace(size=(4000, 5))
    z = torch.stack([trace.nodes[f"z_{t}"]["value"] for t in range(5)], 1) if explicit else trace.nodes["z"]["value"]
    e = (z - model.transition.loc) / model.transition.scale
    assert (e.mean(0).abs() < 0.08).all() and (e.std(0) - 1.0).abs().max() < 0.06  # at every step, the first too
    assert ((e[:, 1:] * e[:, :-1]).mean((0, 1)) - model.transition.phi).abs().max() < 0.05


def test_both_readings_and_the_scan_draw_the_same_path() -> None:
    model, drawn = made(), []
    for explicit in (False, True):
        with form(explicit), rv.given_noise(0):
            trace = poutine.trace(model.model).get_trace(size=(B, T))
        drawn.append(torch.stack([trace.nodes[f"z_{t}"]["value"] for t in range(T)], 1) if explicit
                     else trace.nodes["z"]["value"])
    torch.testing.assert_close(drawn[0], drawn[1])


def test_a_forecast_goes_on_from_the_last_latent() -> None:
    """Given a beginning, what follows starts from its last value, not from the stationary law."""
    model = made()
    past = 50.0 + torch.zeros(B, 3, Z)
    for explicit in (False, True):
        with form(explicit), rv.given(z=past):
            trace = poutine.trace(model.model).get_trace(torch.zeros(B, 3, X), size=(B, 4))
        z = trace.nodes["z_3"]["value"] if explicit else trace.nodes["z"]["value"][:, 3]
        expected = model.transition.loc + model.transition.phi * (50.0 - model.transition.loc)
        assert ((z - expected).abs() < 6 * model.transition.scale).all()


def test_the_model_has_no_start_of_its_own_to_learn() -> None:
    assert not rv.DMM(X, Z, H, transition=rv.AR1).z0.requires_grad and rv.DMM(X, Z, H).z0.requires_grad


@pytest.mark.parametrize("phi", [1.0, -1.5])
def test_without_a_stationary_law_it_is_refused(phi: float) -> None:
    with pytest.raises(ValueError, match="phi must lie within -1 and 1"):
        rv.AR1(0, 2, phi=phi)


def test_a_scale_must_be_positive() -> None:
    with pytest.raises(ValueError, match="AR1: scale must be a number above 0.0001, got 0.0"):
        rv.AR1(0, 2, scale=0.0)


@pytest.mark.parametrize(("build", "match"), [
    (lambda: rv.VRNN(X, Z, H, prior=rv.AR1), "AR1 reads the previous latent; VRNN's prior is given h_t"),
    (lambda: rv.VRAE(X, Z, H, prior=rv.AR1), "AR1 reads the previous latent; VRAE's prior is given nothing"),
    (lambda: rv.VAE(X, Z, H, prior=rv.AR1), "AR1 reads the previous latent; VAE's prior is given nothing"),
    (lambda: rv.SwitchingLDS(X, Z, H, transition=rv.AR1), "AR1 reads the previous latent first; SwitchingLDS's trans"),
    (lambda: rv.NeuralHMM(X, 3, prior=rv.AR1), "NeuralHMM: the latent s is one of several regimes, and AR1 is"),
])
def test_where_it_does_not_fit(build: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        build()
