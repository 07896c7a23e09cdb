"""Missing elements: skipped, marginalised or refused; never a silent zero, never a NaN gradient."""

from __future__ import annotations

from functools import partial
from typing import Any

import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from laws import form, loss_and_gradients, per_sequence, same, same_all
from pyro.infer import Trace_ELBO
from torch import Tensor, nn
from zoo import MASK, ZOO, B, H, T, X, Z

import pyro_rvae as rv
from pyro_rvae.distributions import conditional

GAPS = [name for name, case in ZOO.items() if case.missing]


@pytest.mark.parametrize("explicit", [False, True], ids=["vectorised", "explicit"])
@pytest.mark.parametrize("name", GAPS)
def test_gradients_are_finite(name: str, explicit: bool) -> None:
    case = ZOO[name]
    mask = None if case.static else MASK
    loss, gradients = loss_and_gradients(case.make(), Trace_ELBO(), case.x(), mask, explicit=explicit)
    assert loss == loss and all(g.isfinite().all() for g in gradients.values())


def absent(x: Tensor) -> Tensor:
    return x.isnan() if x.is_floating_point() else x < 0


def score(model: Any, x: Tensor, z: Tensor, explicit: bool) -> Tensor:
    values = {f"z_{t}": z[:, t] for t in range(T)} if explicit else {"z": z}
    with form(explicit):
        return per_sequence(poutine.trace(poutine.condition(model.model, values)).get_trace(x))


@pytest.mark.parametrize("explicit", [False, True], ids=["vectorised", "explicit"])
@pytest.mark.parametrize("likelihood", [rv.Bernoulli, rv.Normal, rv.Poisson, rv.StudentT])
def test_skipping_is_the_likelihood_of_the_observed_elements(likelihood: Any, explicit: bool) -> None:
    """x is not fed back, so log p(x, z) = log p(z) + the sum over the present elements of log p(x_i | z)."""
    model, z = rv.RVAE(X, Z, H, likelihood=likelihood), torch.randn(B, T, Z)
    x = (torch.rand(B, T, X) < 0.5).double()
    gone = torch.rand(B, T, X) < 0.3
    law = model.likelihood(model.recurrence(z)).base_dist
    prior = dist.Normal(0.0, 1.0).log_prob(z).sum((-1, -2))
    expected = prior + law.log_prob(x).masked_fill(gone, 0.0).sum((-1, -2))
    same(score(model, x.masked_fill(gone, torch.nan), z, explicit), expected, "log joint")


@pytest.mark.parametrize("explicit", [False, True], ids=["vectorised", "explicit"])
def test_missing_codes_are_skipped(explicit: bool) -> None:
    model = rv.RVAE(2, Z, H, likelihood=partial(rv.Categorical, classes=4))
    z, x = torch.randn(B, T, Z), torch.randint(0, 4, (B, T, 2))
    gone = torch.rand(B, T, 2) < 0.3
    law = model.likelihood(model.recurrence(z)).base_dist
    prior = dist.Normal(0.0, 1.0).log_prob(z).sum((-1, -2))
    expected = prior + law.log_prob(x).masked_fill(gone, 0.0).sum((-1, -2))
    same(score(model, x.masked_fill(gone, -1), z, explicit), expected, "log joint")


@pytest.mark.parametrize("explicit", [False, True], ids=["vectorised", "explicit"])
def test_a_full_covariance_is_marginalised(explicit: bool) -> None:
    model, x, z = ZOO["gaps-full"].make(), ZOO["gaps-full"].x(), torch.randn(B, T, Z)
    full, missing = model.likelihood(z), absent(x)
    complete = score(model, torch.zeros(B, T, X), z, explicit) - full.log_prob(torch.zeros(B, T, X)).sum(-1)
    dense = torch.zeros(B, T)
    for b in range(B):
        for t in range(T):
            keep = ~missing[b, t]
            covariance = full.covariance_matrix[b, t][keep][:, keep]
            if keep.any():
                dense[b, t] = dist.MultivariateNormal(full.loc[b, t][keep], covariance).log_prob(x[b, t][keep])
    same(score(model, x, z, explicit), complete + dense.sum(-1), "log joint")


@pytest.mark.parametrize("explicit", [False, True], ids=["vectorised", "explicit"])
def test_a_frame_that_is_autoregressive_within_refuses_gaps(explicit: bool) -> None:
    model = rv.RVAE(X, Z, H, likelihood=partial(rv.AutoregressiveBernoulli, hidden=10))
    x = torch.zeros(B, T, X)
    x[1, 2, 3] = torch.nan
    with form(explicit), pytest.raises(ValueError, match="can neither skip nor marginalise missing elements"):
        poutine.trace(model.model).get_trace(x)


def test_z_is_drawn_where_all_of_x_is_missing() -> None:
    """A frame without any element is still a frame: its z has a density, its x has none."""
    model, z = rv.RVAE(X, Z, H), torch.randn(B, T, Z)
    x = torch.full((B, T, X), torch.nan)
    same(score(model, x, z, False), dist.Normal(0.0, 1.0).log_prob(z).sum((-1, -2)), "log prior")


@pytest.mark.parametrize("missing", [False, True])
def test_trust_gives_the_same_numbers(missing: bool) -> None:
    case = ZOO["gaps-VRNN" if missing else "VRNN"]
    model = case.make()
    loss, gradients = loss_and_gradients(model, Trace_ELBO(), case.x(), MASK)
    with rv.trusted(missing=missing):
        trusting, theirs = loss_and_gradients(model, Trace_ELBO(), case.x(), MASK)
    assert abs(loss - trusting) < 1e-12
    same_all(gradients, theirs, "gradients")


class TwoPasses(rv.SequenceVAE):
    """z_t ~ N(0, I);  x_t ~ p(x_t | z_t);  a second loop: y_t ~ p(y_t | x_{t-1}), read from the first loop's x."""

    def __init__(self) -> None:
        super().__init__()
        self.x_dim, self.reader = X, rv.Reader(X, missing=True)
        self.x0 = nn.Parameter(torch.zeros(2 * X))
        self.prior = rv.priors.StandardNormal(0, Z)
        self.likelihood = conditional(rv.Bernoulli, Z, X, hidden=())
        self.second, self.posterior = (conditional(rv.Normal, 2 * X, Z, hidden=()) for _ in "yz")

    def generative(self, steps: rv.Steps) -> None:
        for t in steps:
            t.sample("x", self.likelihood, t.sample("z", self.prior))
        for t in steps:
            t.sample("y", self.second, t.prev("x", self.x0))

    def inference(self, steps: rv.Steps, x: Tensor) -> None:
        for t in steps:
            t.sample("z", self.posterior, t.at(x))
            t.sample("y", self.posterior, t.at(x))


@pytest.mark.parametrize("name", ["argument", "drawn", "prefix"])
def test_a_second_loop_reads_the_gaps_of_the_first(name: str) -> None:
    model, x = TwoPasses(), ZOO["gaps-DMM"].x()
    z, y = torch.randn(2, B, T, Z).unbind(0)
    densities = []
    if name == "drawn":
        x = x.nan_to_num(0.0)
    for explicit in (False, True):
        values = {"z": z, "y": y} if name != "drawn" else {"z": z, "y": y, "x": x}
        if explicit:
            values = {f"{k}_{t}": v[:, t] for k, v in values.items() for t in range(T)}
        given = {"x": x} if name == "argument" else {"size": (B, T)}
        if name == "prefix":  # frames 0..3 are known, with gaps; the last two are drawn: fixed here by a handler
            values = {k: v for k, v in values.items() if not k.startswith("x")}
            given = {"x": x[:, : T - 1], "size": (B, T)}
        with form(explicit):
            trace = poutine.trace(poutine.condition(model.model, values)).get_trace(**given)
        trace.compute_log_prob()
        densities.append(sum(s["log_prob"] for n, s in trace.nodes.items() if n.startswith("y")))
    same(densities[0], densities[1], "density of what the second loop draws")
