"""The particle reading: equal to the other readings where nothing is resampled, and to a filter written by hand."""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from laws import iwae, per_sequence
from linear_gaussian import C, LinearGaussian, Q, R, dense
from pyro.infer import Trace_ELBO, TraceEnum_ELBO
from pyro.poutine.runtime import _DIM_ALLOCATOR, _PYRO_STACK
from torch import Tensor
from zoo import LENGTHS, MASK, ZOO, Case

import pyro_rvae as rv
from pyro_rvae.core.filtering import particle_filter
from pyro_rvae.core.resampling import effective_size, multinomial, reweighed, systematic


def filters(case: Case) -> bool:
    """Whether the case draws a latent in the loop that samples x."""
    try:
        particle_filter(case.make(), case.x(), MASK, num_particles=1, **case.extra())
    except ValueError as error:
        assert "no latent in the loop that samples x" in str(error)
        return False
    return True


SEQUENTIAL = [name for name, case in ZOO.items() if not case.static]


@pytest.fixture(params=SEQUENTIAL)
def case(request: pytest.FixtureRequest) -> Case:
    found = ZOO[request.param]
    if not filters(found):
        pytest.skip("draws no latent in the loop that samples x, which the filter says")
    return found


def weights_of(model: Any, case: Case, particles: int) -> Tensor:
    """Log importance weights ``(K, B)`` by a plate of particles, in the vectorised reading."""
    with rv.given_noise(0), pyro.plate("particles", particles, dim=-2):
        q = poutine.trace(model.guide).get_trace(case.x(), MASK, **case.extra())
        p = poutine.trace(poutine.replay(model.model, q)).get_trace(case.x(), MASK, **case.extra())
    return (per_sequence(p) - per_sequence(q)).expand(particles, -1)


def test_without_resampling_it_is_the_importance_weighted_bound(case: Case) -> None:
    model = case.make().eval()
    if type(model).shared is not rv.SequenceVAE.shared:
        pytest.skip("the plate of particles draws what is shared for each particle")
    with rv.given_noise(0):
        found = particle_filter(model, case.x(), MASK, num_particles=3, threshold=0.0, **case.extra())
    torch.testing.assert_close(found.log_evidence, iwae(weights_of(model, case, 3)), rtol=0, atol=1e-9)
    assert not found.resampled.any()


def test_one_particle_is_the_elbo_with_its_gradient(case: Case) -> None:
    model = case.make().eval()

    def run(elbo: Any) -> tuple[float, dict[str, Tensor]]:
        model.zero_grad(set_to_none=True)
        with rv.given_noise(0), rv.annealed(0.7):
            loss = elbo.loss_and_grads(model.model, model.guide, case.x(), MASK, **case.extra())
        return loss, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    expected, oracle = run(Trace_ELBO())
    loss, gradients = run(rv.FIVO(1))
    assert loss == pytest.approx(expected, rel=1e-12, abs=1e-9)
    assert gradients.keys() == oracle.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, oracle[name], rtol=1e-8, atol=1e-8, msg=name)


def test_padding_never_matters_while_particles_are_resampled(case: Case) -> None:
    model, x, extra = case.make().eval(), case.x(), case.extra()
    with rv.given_noise(0):
        together = particle_filter(model, x, MASK, num_particles=3, threshold=2.0, **extra)
    assert together.resampled.any()
    for b, length in enumerate(LENGTHS.tolist()):
        own = {name: v[b:b + 1, :length] if name == "controls" else v[b:b + 1] for name, v in extra.items()}
        with rv.given_noise(0, torch.tensor([b])):
            alone = particle_filter(model, x[b:b + 1, :length], num_particles=3, threshold=2.0, **own)
        torch.testing.assert_close(alone.log_evidence[0], together.log_evidence[b], rtol=0, atol=1e-8)
        for name, path in alone.paths.items():
            torch.testing.assert_close(path[:, 0], together.paths[name][:, b, :length], rtol=0, atol=1e-8)


# ------------------------------------------------------------------------------------------------ by hand
def by_hand(x: Tensor, noise: Tensor, uniform: Tensor, threshold: float) -> tuple[Tensor, list[Any]]:
    """FIVO of one sequence of the linear-Gaussian model with its filter's guide: no torch but for arithmetic."""
    k, z, log_w, total, ancestry = noise.shape[0], torch.zeros(noise.shape[0]), [0.0] * noise.shape[0], 0.0, []
    variance = 1 / (1 / Q + 1 / R)
    normal = lambda v, m, s2: -0.5 * (v - m) ** 2 / s2 - 0.5 * math.log(2 * math.pi * s2)  # noqa: E731
    log_w = [-math.log(k)] * k
    for t in range(len(x)):
        before, log_alpha = z.tolist(), []
        for i in range(k):
            mean = variance * (C * before[i] / Q + x[t].item() / R)
            z[i] = mean + math.sqrt(variance) * noise[i, t].item()
            log_alpha.append(normal(z[i].item(), C * before[i], Q) + normal(x[t].item(), z[i].item(), R)
                             - normal(z[i].item(), mean, variance))
        joint = [w + a for w, a in zip(log_w, log_alpha, strict=True)]
        increment = math.log(sum(map(math.exp, joint)))
        total += increment
        log_w = [j - increment for j in joint]
        share = [math.exp(w) for w in log_w]
        chosen = None
        if 1 / sum(s * s for s in share) < threshold * k and t + 1 < len(x):
            points = uniform[:, t].tolist()
            chosen = [next(i for i in range(k) if sum(share[:i + 1]) >= u or i == k - 1) for u in points]
            z, log_w = z[chosen], [-math.log(k)] * k
        ancestry.append(chosen)
    return torch.tensor(total), ancestry


@pytest.mark.parametrize("threshold", [0.6, 2.0])
def test_against_a_filter_written_by_hand(threshold: float) -> None:
    length, k = 9, 4
    model, x = LinearGaussian(smooth=False), 2 * torch.randn(2, length, 1)
    with rv.given_noise(3) as noise:
        found = particle_filter(model, x, num_particles=k, threshold=threshold, resampling=multinomial)
    draws = noise.path("z", length, torch.Size((k, 2, 1)))[..., 0]
    uniform = torch.special.ndtr(noise.path("resampling", length, torch.Size((k, 2, 1)))[..., 0])
    for b in range(2):
        total, ancestry = by_hand(x[b, :, 0], draws[:, b], uniform[:, b], threshold)
        torch.testing.assert_close(found.log_evidence[b], total, rtol=0, atol=1e-10)
        assert found.resampled[:, b].tolist() == [chosen is not None for chosen in ancestry[:-1]]
    assert found.resampled.any()


@pytest.mark.parametrize("scheme", [multinomial, systematic])
@pytest.mark.parametrize("bootstrap", [False, True], ids=["guide", "bootstrap"])
def test_the_estimate_is_unbiased_for_the_kalman_evidence(scheme: Any, bootstrap: bool) -> None:
    torch.manual_seed(1)
    model, x, repeats = LinearGaussian(smooth=False), torch.randn(1, 6, 1), 20_000
    found = particle_filter(model, x.expand(repeats, -1, -1), num_particles=4, resampling=scheme, bootstrap=bootstrap)
    ratio = (found.log_evidence - dense(x)).exp()
    error = ratio.std() / repeats**0.5
    assert found.resampled.any()
    assert abs(ratio.mean() - 1) < 3 * error and error < 0.02
    assert found.log_evidence.mean() < dense(x)  # and so a lower bound on average


def test_more_particles_make_a_tighter_bound() -> None:
    model, x = LinearGaussian(smooth=False), torch.randn(1, 7, 1).expand(4000, -1, -1)
    bounds = [particle_filter(model, x, num_particles=k).log_evidence.mean().item() for k in (1, 2, 4, 16)]
    assert bounds == sorted(bounds) and bounds[-1] < dense(x[:1]).item()


def test_filtering_draws_are_those_of_the_kalman_filter() -> None:
    torch.manual_seed(0)
    x, k = torch.randn(1, 5, 1), 20_000
    found = particle_filter(LinearGaussian(smooth=False), x, num_particles=k)
    mean, variance = torch.zeros(()), torch.zeros(())
    for t in range(5):
        mean, variance = C * mean, C * C * variance + Q
        gain = variance / (variance + R)
        mean, variance = mean + gain * (x[0, t, 0] - mean), (1 - gain) * variance
        weights, z = found.step_weights[t, :, 0].exp(), found.filtering["z"][:, 0, t, 0]
        assert weights @ z == pytest.approx(mean.item(), abs=0.03)
        assert weights @ (z - mean) ** 2 == pytest.approx(variance.item(), abs=0.03)


class Offset(rv.SequenceVAE):
    """s ~ N(0, 1) once a data set; v ~ N(0, 1) once a sequence; z_t ~ N(0, 1); x_t ~ N(z_t + v + s, 1/4)."""

    def __init__(self, shared: bool) -> None:
        super().__init__()
        self.with_shared = shared
        self.shared_posterior = lambda: pyro.sample("s", dist.Normal(torch.full((1,), 0.1), 0.05).to_event(1))

    def shared(self) -> None:
        pyro.sample("s", dist.Normal(torch.zeros(1), 1.0).to_event(1))

    def generative(self, steps: rv.Steps) -> None:
        v = pyro.sample("v", dist.Normal(torch.zeros(1), 1.0).to_event(1))
        s = steps.shared["s"] * self.with_shared
        for t in steps:
            z = t.sample("z", lambda: dist.Normal(torch.zeros(1), 1.0).to_event(1))
            t.sample("x", lambda z, v, s: dist.Normal(z + v + s, 0.5).to_event(1), z, t.hold(v), t.hold(s))

    def inference(self, steps: rv.Steps, x: Tensor) -> None:
        pyro.sample("v", dist.Normal(0.5 * x.mean(-2), 1.0).to_event(1))
        for t in steps:
            t.sample("z", lambda x: dist.Normal(0.5 * x, 0.7).to_event(1), t.at(x))


@pytest.mark.parametrize("bootstrap", [False, True], ids=["guide", "bootstrap"])
def test_what_is_drawn_once_a_sequence_counts_once(bootstrap: bool) -> None:
    torch.manual_seed(0)
    x = torch.tensor([[1.0], [0.2], [-0.7]])
    exact = dist.MultivariateNormal(torch.zeros(3), 1.25 * torch.eye(3) + torch.ones(3, 3)).log_prob(x[:, 0])
    found = particle_filter(Offset(shared=False), x.expand(20_000, -1, -1), num_particles=8, bootstrap=bootstrap)
    ratio = (found.log_evidence - exact).exp()
    assert abs(ratio.mean() - 1) < 3 * ratio.std() / 20_000**0.5 and ratio.std() / 20_000**0.5 < 0.03


@pytest.mark.parametrize("bootstrap", [False, True], ids=["guide", "bootstrap"])
def test_what_is_drawn_once_a_data_set_has_its_kl(bootstrap: bool) -> None:
    model, x = Offset(shared=True), torch.tensor([[[1.0], [0.2], [-0.7]]])
    found = torch.stack([particle_filter(model, x, num_particles=2, bootstrap=bootstrap).shared for _ in range(400)])
    kl = torch.distributions.kl_divergence(dist.Normal(0.1, 0.05), dist.Normal(0.0, 1.0))
    assert found.mean().item() == pytest.approx(-kl.item(), abs=4 * found.std().item() / 20)
    exact = dist.MultivariateNormal(torch.zeros(3), 1.25 * torch.eye(3) + 2 * torch.ones(3, 3)).log_prob(x[0, :, 0])
    elbo = rv.FIVO(200, bootstrap=bootstrap)
    losses = torch.tensor([elbo.loss(model.model, model.guide, x) for _ in range(30)])
    assert losses.mean() > -exact  # a bound


@pytest.mark.parametrize(("wrong", "got"), [
    (lambda w, u: u, r"\(3, 2\) of torch.float64"), (lambda w, u: torch.zeros(3, dtype=torch.long), r"\(3,\) of"),
    (lambda w, u: u > 0.5, "torch.bool"), (lambda w, u: None, "NoneType"),
])
def test_a_resampling_function_that_returns_no_ancestors(wrong: Any, got: str) -> None:
    with pytest.raises(TypeError, match=r"must return the ancestors' numbers, a tensor \(3, 2\).*" + got):
        particle_filter(LinearGaussian(), torch.randn(2, 4, 1), num_particles=3, threshold=2.0, resampling=wrong)


def test_the_filter_checks_what_the_objective_checks() -> None:
    model, x = LinearGaussian(), torch.randn(2, 4, 1)
    with pytest.raises(ValueError, match="at least 0"):
        particle_filter(model, x, threshold=-1)
    with pytest.raises(TypeError, match="got 'systematic'"):
        particle_filter(model, x, resampling="systematic")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="give resampling=rv.infer.multinomial"):
        particle_filter(model, x, resampling_gradient=True)


# ------------------------------------------------------------------------------------------------ schemes
@pytest.mark.parametrize("scheme", [multinomial, systematic])
def test_offspring_are_as_many_as_their_weights_say(scheme: Any) -> None:
    log_weights = torch.tensor([0.5, 0.2, 0.0, 0.3]).log().unsqueeze(-1).expand(4, 5000)
    ancestors = scheme(log_weights, torch.rand(4, 5000))
    shares = torch.stack([(ancestors == i).sum(0).double().mean() / 4 for i in range(4)])
    torch.testing.assert_close(shares, torch.tensor([0.5, 0.2, 0.0, 0.3]), rtol=0, atol=0.012)
    if scheme is systematic:
        assert {int(n) for n in (ancestors == 0).sum(0)} == {2}  # 4 * 0.5 exactly, each time


def test_the_effective_size_of_even_and_of_degenerate_weights() -> None:
    even = torch.full((4, 1), 0.25).log()
    alone = torch.tensor([[1.0], [0.0], [0.0], [0.0]]).log()
    assert effective_size(even).item() == pytest.approx(4) and effective_size(alone).item() == pytest.approx(1)


# ------------------------------------------------------------------------------------------------ manners
class Forgets(LinearGaussian):
    """Its guide draws nothing."""

    def inference(self, steps: rv.Steps, x: Tensor) -> None:
        for _ in steps:
            pass


class Stumbles(LinearGaussian):
    """Its body fails in the middle of its loop."""

    def emission(self, z: Tensor) -> Any:
        if z.dim() == 3 and z.abs().max() > 0:
            raise ArithmeticError("in a user's own code")
        return super().emission(z)


@pytest.mark.parametrize(("model", "error"), [
    (Forgets(), "one loop; that of Forgets draws none of them"),
    (Stumbles(), "in a user's own code"),
])
def test_an_error_leaves_pyros_stacks_as_they_were(model: Any, error: str) -> None:
    before = list(_PYRO_STACK), list(_DIM_ALLOCATOR._stack)
    with pytest.raises((ValueError, ArithmeticError), match=error):
        particle_filter(model, torch.randn(2, 4, 1), num_particles=3)
    assert (list(_PYRO_STACK), list(_DIM_ALLOCATOR._stack)) == before
    Trace_ELBO().loss(LinearGaussian().model, LinearGaussian().guide, torch.randn(2, 4, 1))


@pytest.mark.parametrize("build", [lambda: rv.VAE(5, 3, 8), lambda: rv.VRAE(5, 3, 8), lambda: rv.DeterministicRNN(5, 8),
                                   lambda: rv.RVAE(5, 3, 8, recurrence=rv.Bidirectional)])
def test_a_model_without_a_latent_a_step_is_refused(build: Any) -> None:
    model = build()
    x = torch.ones(2, 5) if model.static else torch.ones(2, 4, 5)
    with pytest.raises(ValueError, match="RenyiELBO"):
        particle_filter(model, x)


class Fresh(LinearGaussian):
    """Makes the map of x_{t-1} anew at each step, and counts the frames that it is given."""

    frames = 0

    def look(self, x: Tensor) -> Tensor:
        self.frames += x.shape[-2] if x.dim() == 3 else 1
        return x

    def generative(self, steps: rv.Steps) -> None:
        for t in steps:
            seen = t.prev("x", torch.zeros(1), lambda x: self.look(x))
            z = t.sample("z", self.transition, t.prev("z", torch.zeros(1)) + 0 * seen)
            t.sample("x", self.emission, z)


def test_a_known_sequence_is_read_once_whatever_its_map() -> None:
    model, x = Fresh(smooth=False), torch.randn(2, 40, 1)
    particle_filter(model, x, num_particles=3)
    assert model.frames <= 40 + 2 + 1  # all of them at once, and the start, of the probe and of the first step


def test_a_handler_that_fixes_a_latent_is_refused() -> None:
    model, x = LinearGaussian(), torch.randn(2, 4, 1)
    with pytest.raises(RuntimeError, match="fixes site 'z'"), poutine.condition(data={"z": torch.zeros(2, 4, 1)}):
        particle_filter(model, x)


# ------------------------------------------------------------------------------------------------ discrete latents
def test_with_the_exact_posterior_of_an_hmm_one_particle_gives_its_evidence() -> None:
    model, x = rv.NeuralHMM(5, modes=3), (torch.rand(4, 6, 5) < 0.4).double()
    with rv.explicit():
        exact = -TraceEnum_ELBO(max_plate_nesting=1).loss(model.model, model.guide, x, MASK)
    with torch.no_grad():
        assert particle_filter(model, x, MASK, num_particles=1).log_evidence.sum().item() == pytest.approx(exact)
        blind = particle_filter(model, x.repeat(500, 1, 1), MASK.repeat(500, 1), num_particles=8, bootstrap=True)
    ratio = (blind.log_evidence.view(500, 4).sum(1) - exact).exp()
    assert abs(ratio.mean() - 1) < 3 * ratio.std() / 500**0.5


def test_a_guide_that_draws_the_loops_latents_in_several_loops_is_refused() -> None:
    with pytest.raises(ValueError, match=r"draws \['s', 'z'\].*in one loop; that of SwitchingLDS draws \['z'\]"):
        particle_filter(rv.SwitchingLDS(5, 3, 8, modes=3), torch.ones(2, 4, 5))


# ------------------------------------------------------------------------------------------------ devices
@pytest.mark.parametrize("name", ["VRNN", "DMM", "HRAE", "KVAE", "DMM-process", "conditional-STORN", "supervised-VRNN"])
def test_nothing_is_made_on_the_default_device_and_no_step_waits_for_one(name: str) -> None:
    """Under another default device all stays where the model is; and a step runs where no tensor has a value."""
    model, x, extra, elbo = ZOO[name].make(), ZOO[name].x(), ZOO[name].extra(), rv.FIVO(3, threshold=2.0)
    torch.set_default_device("meta")
    try:
        here = elbo.differentiable_loss(model.model, model.guide, x, MASK, **extra)
    finally:
        torch.set_default_device(None)
    assert here.device.type == "cpu" and here.isfinite()
    extra, model = {key: value.to("meta") for key, value in extra.items()}, model.to("meta")
    with pyro.validation_enabled(False), rv.trusted(missing=False):
        loss = elbo.differentiable_loss(model.model, model.guide, x.to("meta"), MASK.to("meta"), **extra)
        loss.backward()
    assert loss.device.type == "meta"


def test_weights_sum_to_one_however_small_the_densities() -> None:
    before = torch.full((200, 2), 1 / 200, dtype=torch.float32).log()
    total = before - 5e6 - 3 * torch.randn(200, 2, dtype=torch.float32)
    total[3, 1] = -torch.inf
    found, increment = reweighed(before, total.requires_grad_())
    torch.testing.assert_close(found.exp().sum(0), torch.ones(2, dtype=torch.float32))
    torch.testing.assert_close(increment, total.double().logsumexp(0).float())
    assert bool((effective_size(found) <= 200.01).all())
    (slope,) = torch.autograd.grad(increment.sum(), total)  # the log of the sum has the weights as its gradient
    torch.testing.assert_close(slope, found.exp())
    dead, nothing = reweighed(before, torch.full_like(before, -torch.inf))
    assert torch.equal(dead, before) and bool(nothing.isneginf().all())
