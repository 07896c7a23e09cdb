"""Priors are callables from a model's inputs to a distribution."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import pytest
import torch
from laws import forms_agree
from pyro.infer import Trace_ELBO
from zoo import ZOO, H, MixturePrior, StudentPrior, X, Z, awake

import pyro_rvae as rv
from pyro_rvae.priors import StandardNormal


def test_standard_normal_ignores_what_it_is_given() -> None:
    prior = StandardNormal(7, Z)
    for inputs in ((), (torch.randn(2, 5),), (torch.randn(2, 5), torch.randn(3))):
        law = prior(*inputs)
        assert law.event_shape == (Z,) and law.batch_shape == ()
        z = torch.randn(Z)
        torch.testing.assert_close(law.log_prob(z), dist.Normal(0.0, 1.0).log_prob(z).sum())
    assert not list(prior.parameters()) and not prior.state_dict() and f"dim={Z}" in repr(prior)
    assert prior.float()().sample().dtype == torch.float32


def plain(*inputs: torch.Tensor) -> Any:
    """A prior may be a plain function."""
    return dist.Laplace(torch.zeros(Z), 1.0).to_event(1)


FITS = {  # which prior fits which model: what a model passes to its prior
    "VRNN": [StandardNormal, rv.Normal, MixturePrior, StudentPrior(), plain],
    "RVAE": [StandardNormal, StudentPrior(), plain],
    "STORN": [StandardNormal, StudentPrior(), plain],
    "VRAE": [StandardNormal, StudentPrior(), plain],
    "VAE": [StandardNormal, StudentPrior(), plain],
}


@pytest.mark.parametrize(("name", "prior"), [(n, p) for n, fits in FITS.items() for p in fits],
                         ids=lambda v: v if isinstance(v, str) else getattr(v, "__name__", type(v).__name__))
def test_the_table_of_priors(name: str, prior: Any) -> None:
    torch.manual_seed(0)
    model = awake(getattr(rv, name)(X, Z, H, prior=prior))
    forms_agree(model, Trace_ELBO(), ZOO[name].x())


@pytest.mark.parametrize("transition", [StandardNormal, rv.Normal, MixturePrior, rv.GatedNormal, StudentPrior(), plain],
                         ids=lambda v: getattr(v, "__name__", type(v).__name__))
def test_the_transitions_of_a_dmm(transition: Any) -> None:
    torch.manual_seed(0)
    forms_agree(awake(rv.DMM(X, Z, H, transition=transition)), Trace_ELBO(), ZOO["DMM"].x())


def test_a_chain_may_be_the_prior_of_a_model_that_passes_both() -> None:
    """A Gaussian chain as a transition reads the previous latent and, with skip edges, features of x_{t-1}."""
    torch.manual_seed(0)
    model = awake(rv.DMM(X, Z, H, transition=rv.GaussianChain, skip_edges=True, skip_dim=H))
    forms_agree(model, Trace_ELBO(), ZOO["DMM"].x())


def test_a_prior_of_the_wrong_width_is_refused() -> None:
    with pytest.raises(ValueError, match="Normal was built for 2 elements, the model needs 3"):
        rv.VRNN(X, Z, H, prior=rv.Normal(2))
