"""What a user did wrong, and the message that says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from laws import form
from pyro.infer import Trace_ELBO
from torch import Tensor, nn
from zoo import B, H, T, X, Z

import pyro_rvae as rv
from pyro_rvae.distributions import conditional

BOTH = pytest.mark.parametrize("explicit", [False, True], ids=["vectorised", "explicit"])


class Body(rv.SequenceVAE):
    """A model whose generative body is the test's."""

    def __init__(self, body: Callable[[Any, Any], None]) -> None:
        super().__init__()
        self.body = [body]
        self.z0 = nn.Parameter(torch.zeros(Z))
        self.prior = rv.priors.StandardNormal(0, Z)
        self.likelihood = conditional(rv.Bernoulli, Z, X, hidden=())

    def generative(self, steps: rv.Steps) -> None:
        self.body[0](self, steps)


def run(body: Callable[[Any, Any], None], explicit: bool = False, **given: Any) -> None:
    with form(explicit):
        poutine.trace(Body(body).model).get_trace(**(given or {"size": (B, T)}))


# ------------------------------------------------------------------------------------------------------ bodies
def leaves_early(m: Any, steps: Any) -> None:
    for t in steps:
        t.sample("z", m.prior)
        break


def returns_early(m: Any, steps: Any) -> None:
    for t in steps:
        t.sample("z", m.prior)
        return


@BOTH
@pytest.mark.parametrize("body", [leaves_early, returns_early])
def test_leaving_the_loop_early(body: Any, explicit: bool) -> None:
    with pytest.raises(RuntimeError, match="left `for t in steps` before its end"):
        run(body, explicit)


@BOTH
def test_leaving_a_slow_clock_early(explicit: bool) -> None:
    def body(m: Any, steps: Any) -> None:
        for j in steps.every(2):
            j.sample("y", m.prior)
            break

    with pytest.raises(RuntimeError, match="before its end"):
        run(body, explicit)


@BOTH
def test_a_site_sampled_twice(explicit: bool) -> None:
    def body(m: Any, steps: Any) -> None:
        for t in steps:
            t.sample("z", m.prior)
            t.sample("z", m.prior)

    with pytest.raises((ValueError, RuntimeError), match="'z' is sampled twice|Multiple sample sites named 'z_0'"):
        run(body, explicit)


@BOTH
def test_a_conditional_without_to_event(explicit: bool) -> None:
    def body(m: Any, steps: Any) -> None:
        for t in steps:
            t.sample("z", lambda: dist.Normal(torch.zeros(Z), 1.0))

    with pytest.raises(ValueError, match=r"site 'z'.*event_dim 1.*to_event\(1\).*got event_dim 0"):
        run(body, explicit)


@BOTH
def test_a_conditional_that_returns_no_distribution(explicit: bool) -> None:
    def body(m: Any, steps: Any) -> None:
        for t in steps:
            t.sample("z", lambda: torch.zeros(Z))

    with pytest.raises(ValueError, match="site 'z'.*must return a distribution.*got Tensor"):
        run(body, explicit)


@BOTH
def test_prev_of_an_unknown_site(explicit: bool) -> None:
    def body(m: Any, steps: Any) -> None:
        for t in steps:
            t.sample("z", lambda before: dist.Normal(before, 1.0).to_event(1), t.prev("zz", m.z0))

    with pytest.raises(ValueError, match=r"prev\('zz'\): no site of that name"):
        run(body, explicit)


@BOTH
def test_path_before_its_loop(explicit: bool) -> None:
    with pytest.raises(ValueError, match=r"path\('z'\): no earlier loop.*none"):
        run(lambda m, steps: steps.path("z"), explicit)


@pytest.mark.parametrize("k", [0, -1, T + 1, 1.5])
def test_a_clock_that_cannot_be(k: Any) -> None:
    with pytest.raises(ValueError, match=f"every.k.: k must be an integer from 1 to the number of steps, {T}; got"):
        run(lambda m, steps: steps.every(k))


class Noisy(nn.Module):
    """A bare callable with dropout inside, that reads the previous latent."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.dropout = nn.Linear(Z, Z), nn.Dropout(0.5)

    def forward(self, z: Tensor) -> Any:
        return dist.StudentT(5.0, self.dropout(self.net(z)), 1.0).to_event(1)


def test_dropout_inside_a_bare_callable() -> None:
    noisy = Noisy()

    def body(m: Any, steps: Any) -> None:
        for t in steps:
            t.sample("z", noisy, t.prev("z", m.z0))

    with pytest.raises(RuntimeError, match=r"dropout inside Noisy.*Conditional\(net, family\).*explicit\(\)"):
        run(body)
    run(body, explicit=True)
    noisy.eval()
    run(body)


def test_dropout_in_a_map_that_a_bare_callable_reads_through() -> None:
    via = rv.MLP(Z, Z, hidden=(4,), dropout=0.5)

    def body(m: Any, steps: Any) -> None:
        for t in steps:
            t.sample("z", lambda z: dist.StudentT(5.0, z, 1.0).to_event(1), t.prev("z", m.z0, via))

    with pytest.raises(RuntimeError, match=r"site 'z': the dropout inside MLP would differ"):
        run(body)
    via.eval()
    run(body)


def test_a_path_drawn_at_once_is_given_to_one_reader() -> None:
    chain = rv.GaussianChain(Z + H, Z)

    def body(m: Any, steps: Any) -> None:
        for t in steps:
            before, g = t.prev("z", m.z0), t.hold(torch.zeros(H))
            z = t.sample("z", chain, before, g)
            t.sample("x", m.likelihood, z + before)

    with pytest.raises(RuntimeError, match=r"prev\('z'\) was given to two readers"):
        run(body)


@BOTH
def test_a_part_that_needs_what_the_model_does_not_pass(explicit: bool) -> None:
    model = rv.RVAE(X, Z, H, prior=lambda z: dist.Normal(z, 1.0).to_event(1))
    with form(explicit), pytest.raises(TypeError, match="missing 1 required positional argument"):
        model.model(size=(B, T))


def test_a_guide_that_forgets_a_latent_is_reported() -> None:
    class Forgets(rv.RVAE):
        def inference(self, steps: rv.Steps, x: Tensor) -> None:
            """Nothing."""

    model = Forgets(X, Z, H)
    with pytest.warns(UserWarning, match="Found vars in model but not guide: {'z'}"):
        Trace_ELBO().loss(model.model, model.guide, torch.zeros(B, T, X))


def test_given_noise_refuses_what_is_no_gaussian() -> None:
    with rv.given_noise(0), pytest.raises(TypeError, match="given_noise can't draw from Bernoulli"):
        poutine.trace(rv.VRNN(X, Z, H).model).get_trace(size=(B, T))


def test_loss_refuses_an_elbo_without_a_differentiable_loss() -> None:
    with pytest.raises(TypeError, match="Loss needs an ELBO with differentiable_loss.*RenyiELBO has none"):
        rv.Loss(rv.VRNN(X, Z, H), pyro.infer.RenyiELBO())


def test_a_model_without_bodies_is_no_model() -> None:
    with pytest.raises(NotImplementedError):
        rv.SequenceVAE().model(size=(B, T))
