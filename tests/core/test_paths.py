"""Conditionals over whole paths in the core: both readings, particles, prefixes, and who else reads the site."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from laws import ELBOS, form, forms_agree, gradients_arrive, padding_never_matters, same
from pyro.infer import Trace_ELBO
from torch import Tensor, nn
from zoo import MASK, B, H, T, X, Z, awake, make_data

import pyro_rvae as rv
from pyro_rvae.core import vectorised

BOTH = pytest.mark.parametrize("explicit", [False, True], ids=["vectorised", "explicit"])


class MeanOfThePast:
    """z_t ~ N(mean of z_1..z_{t-1} + u_t, I): a user's own law, no base class, no draw_path."""

    reads_path = True

    def __init__(self) -> None:
        self.shape: list[torch.Size] = []

    def step(self, before: Any, *inputs: Tensor, state: Any = None) -> tuple[Any, Any]:
        past = [] if before is None else [*state, before]
        mean = sum(past, torch.zeros(Z)) / max(len(past), 1)
        return dist.Normal(mean + sum(inputs, torch.zeros(Z)), 1.0).to_event(1), past

    def __call__(self, path: Tensor, *inputs: Tensor) -> Any:
        self.shape.append(path.shape)
        count = torch.arange(path.shape[-2]).clamp_min(1).unsqueeze(-1)
        mean = torch.cat([torch.zeros_like(path[..., :1, :]), path[..., :-1, :].cumsum(-2)], -2) / count
        return dist.Normal(mean + sum(inputs, torch.zeros(Z)), 1.0).to_event(1)


class Own(rv.SequenceVAE):
    """z ~ the law over paths;  x_t ~ p(x_t | z_t, z_{t-1}), where the likelihood looks back;  q from an encoder."""

    def __init__(self, prior: Any, *, posterior: Any = rv.Normal, back: str = "no") -> None:
        super().__init__()
        self.x_dim, self.prior, self.back = X, prior, back
        self.encoder, self.z0 = rv.Backward(X, H), nn.Parameter(torch.zeros(Z), requires_grad=back != "no")
        self.posterior = rv.distributions.conditional(posterior, H, Z)
        self.likelihood = rv.Conditional(nn.Linear(2 * Z if back != "no" else Z, X), rv.Bernoulli(X))

    def generative(self, steps: rv.Steps) -> None:
        for t in steps:
            first = (t.prev("z", self.z0),) if self.back == "before" else ()
            z = t.sample("z", self.prior)
            later = (t.prev("z", self.z0),) if self.back == "after" else ()
            t.sample("x", self.likelihood, z, *first, *later)

    def inference(self, steps: rv.Steps, x: Tensor) -> None:
        g = self.encoder(x, steps.mask)
        for t in steps:
            t.sample("z", self.posterior, t.at(g))


PRIORS: dict[str, Callable[[], Any]] = {
    "own": MeanOfThePast, "process": partial(rv.GaussianProcess, 0, Z), "linear": partial(rv.LinearGaussian, 0, Z),
}


def own(prior: str, **parts: Any) -> Own:
    torch.manual_seed(0)
    return Own(PRIORS[prior](), **parts)


def path_of(trace: Any, name: str = "z") -> Tensor:
    """The path of a site, ``(..., B, T, d)``, in either reading."""
    if name in trace.nodes:
        return trace.nodes[name]["value"]  # type: ignore[no-any-return]
    steps = [trace.nodes[n]["value"] for n in trace.nodes if n.rpartition("_")[0] == name]
    return torch.stack(torch.broadcast_tensors(*steps), -2)


def density(trace: Any, name: str = "z") -> Tensor:
    trace.compute_log_prob()
    return sum((s["log_prob"] for n, s in trace.nodes.items() if n == name or n.rpartition("_")[0] == name),
               torch.zeros(()))


# ------------------------------------------------------------------------------------------------------ the readings
@pytest.mark.parametrize("elbo", ELBOS)
@pytest.mark.parametrize("posterior", [rv.Normal, partial(rv.DenseGaussian, longest=T)], ids=["steps", "dense"])
@pytest.mark.parametrize("back", ["no", "before", "after"])
@pytest.mark.parametrize("prior", PRIORS)
def test_both_readings_agree(prior: str, back: str, posterior: Any, elbo: str) -> None:
    forms_agree(own(prior, posterior=posterior, back=back), ELBOS[elbo](), make_data("binary", 0, (B, T)), MASK)


@BOTH
@pytest.mark.parametrize("prior", PRIORS)
def test_padding_never_matters_to_a_law_over_paths(prior: str, explicit: bool) -> None:
    padding_never_matters(own(prior, back="before"), make_data("binary", 0, (B, T)), MASK, explicit=explicit)


@pytest.mark.parametrize("back", ["no", "before", "after"])
@pytest.mark.parametrize("prior", PRIORS)
def test_both_readings_generate_the_same(prior: str, back: str) -> None:
    drawn = []
    for explicit in (False, True):
        model = own(prior, back=back)
        model.likelihood = rv.Conditional(model.likelihood.net, rv.Normal(X, scale=0.5))  # noise draws it
        with form(explicit), rv.given_noise(3):
            trace = poutine.trace(model.model).get_trace(size=(B, T))
        same(density(trace), model.prior(path_of(trace)).log_prob(path_of(trace)).sum(-1), "density")
        drawn.append((path_of(trace), path_of(trace, "x")))
    same(drawn[0][0], drawn[1][0], "path")
    same(drawn[0][1], drawn[1][1], "frames")


@pytest.mark.parametrize(("prior", "back", "expected"), [
    ("process", "no", 0), ("process", "before", 1), ("linear", "no", 1), ("own", "no", 1)])
def test_a_path_is_drawn_at_once_where_it_can_be(prior: str, back: str, expected: int,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []
    make = vectorised.Rollout.__init__
    monkeypatch.setattr(vectorised.Rollout, "__init__", lambda self, *a: (started.append(1), make(self, *a))[1])
    model = own(prior, back=back, posterior=partial(rv.DenseGaussian, longest=T))
    poutine.trace(model.model).get_trace(size=(B, T))
    assert len(started) == expected
    Trace_ELBO().loss(model.model, model.guide, make_data("binary", 0, (B, T)))
    assert len(started) == expected, "given the path, nothing is sequential"


@BOTH
def test_the_part_is_asked_for_its_path_with_particles_in_front(explicit: bool) -> None:
    model, x = own("own"), make_data("binary", 0, (B, T))
    with form(explicit):
        Trace_ELBO(num_particles=3, vectorize_particles=True, max_plate_nesting=1).loss(model.model, model.guide, x)
    assert model.prior.shape == ([] if explicit else [torch.Size([3, B, T, Z])])


# ------------------------------------------------------------------------------------------------------ prefixes
@BOTH
@pytest.mark.parametrize("back", ["no", "before"])
@pytest.mark.parametrize("prior", PRIORS)
def test_a_beginning_is_continued_given_all_of_it(prior: str, back: str, explicit: bool) -> None:
    model, known = own(prior, back=back), torch.randn(B, 3, Z)
    with form(explicit), rv.given(z=known):
        trace = poutine.trace(model.model).get_trace(make_data("binary", 0, (B, 2)), size=(B, T))
    path = path_of(trace)
    assert torch.equal(path[:, :3], known) and path.shape == (B, T, Z)
    same(density(trace), model.prior(path).log_prob(path).sum(-1), "density of the whole path")


@BOTH
def test_a_process_forecasts_as_the_conditional_of_a_dense_gaussian(explicit: bool) -> None:
    """The mean of what follows, drawn from zero noise, against K_21 K_11^-1 z."""
    model, known = own("process"), torch.randn(B, 3, Z)
    with form(explicit), rv.given(z=known), rv.core.mean_path():
        model.likelihood = rv.Conditional(model.likelihood.net, rv.Normal(X, scale=0.5))
        path = path_of(poutine.trace(model.model).get_trace(size=(B, T)))
    k = model.prior.covariance(T)[0]
    same(path[:, 3:], k[3:, :3] @ torch.linalg.solve(k[:3, :3], known), "forecast", 1e-8)


@BOTH
def test_a_dmm_with_a_process_forecasts(explicit: bool) -> None:
    """The GP-VAE: whole, from a beginning, and for data."""
    model = rv.DMM(X, Z, H, transition=rv.GaussianProcess)
    x = make_data("binary", 0, (B, 4))
    with form(explicit):
        z = path_of(poutine.trace(model.guide).get_trace(x)).detach()
        with rv.given(z=z):
            trace = poutine.trace(model.model).get_trace(x, size=(B, 9))
    assert torch.equal(path_of(trace)[:, :4], z) and path_of(trace, "x").shape == (B, 9, X)


def test_a_dmm_gives_a_law_over_paths_no_previous_latent() -> None:
    """Whose q_0 is then no parameter to train; the width of the features is that of the encoder alone."""
    model = awake(rv.DMM(X, Z, H, posterior=partial(rv.DenseGaussian, longest=T), skip_edges=True, skip_dim=H))
    assert not model.q0.requires_grad and model.z0.requires_grad and model.posterior.net[0].in_features == H
    forms_agree(model, Trace_ELBO(), make_data("binary", 0, (B, T)), MASK)
    gradients_arrive(model, make_data("binary", 0, (B, T)), MASK)


# ------------------------------------------------------------------------------------------------------ as data
class PathLikelihood(rv.SequenceVAE):
    """x ~ a linear-Gaussian path: a law over the path of what is observed."""

    def __init__(self) -> None:
        super().__init__()
        self.likelihood = rv.LinearGaussian(0, X)

    def generative(self, steps: rv.Steps) -> None:
        for t in steps:
            t.sample("x", self.likelihood)

    def inference(self, steps: rv.Steps, x: Tensor) -> None:
        """No latents."""


def test_a_law_over_paths_as_likelihood() -> None:
    model, x = PathLikelihood(), make_data("real", 0, (B, T))
    forms_agree(model, Trace_ELBO(), x, MASK)
    loss = Trace_ELBO().loss(model.model, model.guide, x)
    assert loss == pytest.approx(-model.likelihood(x).log_prob(x).sum().item())


@BOTH
def test_it_refuses_missing_elements(explicit: bool) -> None:
    x = make_data("real gaps", 0, (B, T))
    with form(explicit), pytest.raises(ValueError, match="site 'x' has missing elements, and LinearGaussian, a law"):
        PathLikelihood().model(x)


def test_a_posterior_centred_on_the_prior_needs_a_law_of_one_step() -> None:
    model = rv.SRNN(X, Z, H, transition=rv.GaussianProcess)
    with pytest.raises(TypeError, match="GaussianProcess is a law of whole paths"):
        model.guide(make_data("binary", 0, (B, T)))


def test_a_part_without_a_step_is_no_law_over_paths() -> None:
    with pytest.raises(NotImplementedError):
        Own(rv.PathLaw()).model(size=(B, T))
