"""What a user did wrong, and the message that says so."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from laws import form
from pyro.infer import Trace_ELBO
from torch import Tensor, nn
from zoo import MASK, ZOO, B, H, T, X, Z

import pyro_rvae as rv

BOTH = pytest.mark.parametrize("explicit", [False, True], ids=["vectorised", "explicit"])


class Body(rv.SequenceVAE):
    """A model whose generative body is the test's."""

    def __init__(self, body: Callable[[Any, Any], None]) -> None:
        super().__init__()
        self.body = [body]
        self.z0 = nn.Parameter(torch.zeros(Z))
        self.prior = rv.priors.StandardNormal(0, Z)
        self.likelihood = rv.conditional(rv.Bernoulli, Z, X, hidden=())

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
    with pytest.raises(ValueError, match=r"path\('z'\): no earlier loop.*nothing"):
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


# ------------------------------------------------------------------------------------------------------ data
def vrnn() -> rv.VRNN:
    return rv.VRNN(X, Z, H)


def zeros(*shape: int) -> Tensor:
    return torch.zeros(*(shape or (B, T, X)))


@pytest.mark.parametrize(("x", "given", "message"), [
    (zeros(B, T), {}, r"VRNN: expected x as a tensor \(B, T, x_dim\), got \(4, 6\)"),
    (zeros(1, B, T, X), {}, r"expected x as a tensor \(B, T, x_dim\), got \(1, 4, 6, 5\)"),
    ([[0.0]], {}, "expected x as a tensor.*got list"),
    (zeros(B, T, X + 1), {}, r"built for frames of x_dim=5, got x \(4, 6, 6\)"),
    (zeros(), {"mask": MASK[:, 1:]}, r"mask must start with \(B, T\) = \(4, 6\), got \(4, 5\)"),
    (zeros(), {"mask": MASK.double()}, "mask must be boolean"),
    (zeros(), {"mask": MASK.flip(1)}, "each row of mask must be True, then False.*row 1 is not"),
    (zeros(), {"mask": torch.zeros(B, T, dtype=torch.bool)}, "at least one frame.*row 0"),
    (zeros(), {"controls": zeros(B, T + 1, 2)}, r"controls must start with \(B, T\) = \(4, 6\), got \(4, 7, 2\)"),
    (zeros(), {"labels": torch.zeros(3)}, r"labels must have one row a sequence, 4; got \(3,\)"),
    (zeros(), {"size": (B, T - 1)}, "must have x's batch size and at least its length"),
    (zeros(), {"size": (B + 1, T)}, "must have x's batch size and at least its length"),
    (zeros().fill_(torch.inf), {}, r"x is infinite at \(0, 0, 0\).*a missing element is NaN"),
    (None, {}, r"VRNN.model needs data x \(B, T, x_dim\), or size=\(B, T\)"),
])
def test_wrong_arguments(x: Any, given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        vrnn().model(x, **given)
    if x is not None and "size" not in given:
        with pytest.raises(ValueError, match=message):
            vrnn().guide(x, **given)


def test_the_guide_needs_data() -> None:
    with pytest.raises(ValueError, match=r"VRNN.guide needs x; to generate, call model\(size=\(B, T\)\)"):
        vrnn().guide(None)


def test_static_models_say_their_own_shape() -> None:
    with pytest.raises(ValueError, match=r"expected x as a tensor \(B, \*event_shape\), got \(5,\)"):
        rv.VAE(X, Z, H).model(zeros(X))


@pytest.mark.parametrize(("likelihood", "x_dim", "bad", "message"), [
    (rv.Bernoulli, X, 0.5, r"x holds 0.5 at \(1, 2, 0\).*outside the support of its likelihood Bernoulli"),
    (rv.Bernoulli, X, 2.0, "x holds 2.0"),
    (rv.Poisson, X, -1.0, "x holds -1.0.*Poisson"),
    (rv.Poisson, X, 0.5, "x holds 0.5.*Poisson"),
    (partial(rv.Categorical, classes=4), 2, 4, r"x holds 4 at \(1, 2, 0\).*Categorical.*another likelihood"),
    (partial(rv.AutoregressiveBernoulli, hidden=10), X, 0.5, "x holds 0.5.*outside the support"),
])
@BOTH
def test_data_outside_the_support(likelihood: Any, x_dim: int, bad: float, message: str, explicit: bool) -> None:
    model = rv.RVAE(x_dim, Z, H, likelihood=likelihood)
    x = torch.zeros(B, T, x_dim, dtype=torch.long if isinstance(bad, int) else torch.float64)
    x[1, 2, 0] = bad
    with form(explicit), pytest.raises(ValueError, match=message):
        model.model(x)


@BOTH
def test_data_outside_the_support_are_welcome_in_the_padding(explicit: bool) -> None:
    x = zeros()
    x[~MASK] = 0.5
    with form(explicit):
        assert Trace_ELBO().loss(vrnn().model, vrnn().guide, x, MASK) > 0


def test_a_guide_that_forgets_a_latent_is_reported() -> None:
    class Forgets(rv.RVAE):
        def inference(self, steps: rv.Steps, x: Tensor) -> None:
            """Nothing."""

    model = Forgets(X, Z, H)
    with pytest.warns(UserWarning, match="Found vars in model but not guide: {'z'}"):
        Trace_ELBO().loss(model.model, model.guide, zeros())


def test_given_noise_refuses_what_is_no_gaussian() -> None:
    with rv.given_noise(0), pytest.raises(TypeError, match="given_noise can't draw from Bernoulli"):
        poutine.trace(vrnn().model).get_trace(size=(B, T))


def test_loss_refuses_an_elbo_without_a_differentiable_loss() -> None:
    with pytest.raises(TypeError, match="Loss needs an ELBO with differentiable_loss.*RenyiELBO has none"):
        rv.Loss(vrnn(), pyro.infer.RenyiELBO())


def test_a_model_without_bodies_is_no_model() -> None:
    with pytest.raises(NotImplementedError):
        rv.SequenceVAE().model(size=(B, T))


def test_trusted_data_are_not_checked() -> None:
    x = zeros().fill_(0.5)
    with rv.trusted(missing=False):
        assert torch.isfinite(poutine.trace(ZOO["VRNN"].make().model).get_trace(x).log_prob_sum())
