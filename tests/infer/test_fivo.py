"""FIVO as an objective: its gradient, its place in SVI and fit, and particles that die."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from linear_gaussian import LinearGaussian
from torch import Tensor, nn

import pyro_rvae as rv
from pyro_rvae.infer import ParticlesDied, multinomial


class Tilted(LinearGaussian):
    """The linear-Gaussian model with a guide that is off by ``shift``, a parameter."""

    def __init__(self) -> None:
        super().__init__(smooth=False)
        self.shift = nn.Parameter(torch.tensor(0.4))

    def posterior(self, z: Tensor, i: Tensor) -> Any:
        law = super().posterior(z, i).base_dist
        return dist.Normal(law.loc + self.shift, law.scale).to_event(1)


class Coin(rv.SequenceVAE):
    """s_t ~ Bernoulli(sigmoid(a s_{t-1}));  x_t ~ N(2 s_t, 1);  q(s_t) = Bernoulli(sigmoid(b))."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.tensor(0.5)), nn.Parameter(torch.tensor(0.3))

    def generative(self, steps: rv.Steps) -> None:
        for t in steps:
            s = t.sample("s", lambda s: dist.Bernoulli(logits=self.a * s).to_event(1), t.prev("s", torch.zeros(1)))
            t.sample("x", lambda s: dist.Normal(2 * s, 1.0).to_event(1), s)

    def inference(self, steps: rv.Steps, x: Tensor) -> None:
        for t in steps:
            t.sample("s", lambda x: dist.Bernoulli(logits=self.b.expand_as(x)).to_event(1), t.at(x))


def draws(model: Any, parameter: Tensor, elbo: rv.FIVO, x: Tensor, repeats: int) -> Tensor:
    """Gradients of minus the estimate by many single draws."""
    rows = []
    for _ in range(repeats):
        loss = rv.Loss(model, elbo)(x) * x.shape[0] * x.shape[1]
        rows.append(torch.autograd.grad(loss, parameter)[0] / x.shape[0])
    return torch.stack(rows)


def slope(model: Any, parameter: Tensor, elbo: rv.FIVO, x: Tensor, step: float) -> tuple[float, float]:
    """The derivative of the expected estimate by a difference on equal random numbers, and its standard error."""
    found = []
    for sign in (1, -1):
        torch.manual_seed(0)
        with torch.no_grad():
            parameter += sign * step
            found.append(-elbo.run(model, x).log_evidence)
            parameter -= sign * step
    rows = (found[0] - found[1]) / (2 * step)
    return rows.mean().item(), (rows.std() / len(rows) ** 0.5).item()


def test_with_the_score_of_the_ancestors_the_gradient_is_unbiased() -> None:
    model, x = Tilted(), torch.tensor([0.5, -1.0, 2.0]).reshape(1, 3, 1)
    many = x.expand(2000, -1, -1)
    kept = partial(rv.FIVO, 3, resampling=multinomial, threshold=2.0)
    expected, error = slope(model, model.shift, kept(), x.expand(400_000, -1, -1), 0.1)
    right = draws(model, model.shift, kept(resampling_gradient=True), many, 60)
    plain = draws(model, model.shift, kept(), many, 60)
    spread = (right.std() ** 2 / 60 + error**2).sqrt()
    assert abs(right.mean() - expected) < 3.5 * spread
    assert abs(plain.mean() - expected) > 6 * (plain.std() ** 2 / 60 + error**2).sqrt()  # the known bias
    assert right.std() > plain.std()  # and what it buys


@pytest.mark.parametrize("name", ["a", "b"])
def test_latents_that_are_not_reparametrised_have_their_score_function(name: str) -> None:
    model, x = Coin(), torch.tensor([0.5, 2.5, 1.0]).reshape(1, 3, 1)
    parameter = getattr(model, name)
    exact = _exact_slope(model, parameter, x)
    found = draws(model, parameter, rv.FIVO(2, threshold=0.0), x.expand(4000, -1, -1), 40)
    assert abs(found.mean() - exact) < 3.5 * found.std() / 40**0.5


class Switch(rv.SequenceVAE):
    """s ~ Bernoulli(1/2) once a data set; z_t ~ N(0, 1); x_t ~ N(z_t + 2 s, 1); q(s) = Bernoulli(sigmoid(c))."""

    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Parameter(torch.tensor(0.4))
        self.shared_posterior = lambda: pyro.sample("s", dist.Bernoulli(logits=self.c.view(1)).to_event(1))

    def shared(self) -> None:
        pyro.sample("s", dist.Bernoulli(torch.full((1,), 0.5)).to_event(1))

    def generative(self, steps: rv.Steps) -> None:
        for t in steps:
            z = t.sample("z", lambda: dist.Normal(torch.zeros(1), 1.0).to_event(1))
            t.sample("x", lambda z, s: dist.Normal(z + 2 * s, 1.0).to_event(1), z, t.hold(steps.shared["s"]))

    def inference(self, steps: rv.Steps, x: Tensor) -> None:
        for t in steps:  # the exact posterior for s = 0 or 1 would read s; the prior will do
            t.sample("z", lambda x: dist.Normal(0 * x, 1.0).to_event(1), t.at(x))


@pytest.mark.parametrize("objective", [rv.FIVO, rv.IWAE])
def test_a_shared_draw_without_a_gradient_of_its_own_has_its_score_function(objective: Any) -> None:
    torch.manual_seed(0)
    model, x, repeats = Switch(), torch.tensor([[[1.5], [2.5]]]), 3000
    bounds = []
    for s in (0.0, 1.0):  # E over z of the one-particle bound given s, by quadrature
        z = torch.linspace(-8, 8, 4001)
        density = dist.Normal(0.0, 1.0).log_prob(z).exp()
        each = [(density * dist.Normal(z + 2 * s, 1.0).log_prob(v)).sum() * (z[1] - z[0]) for v in x.flatten()]
        bounds.append(sum(each))
    q = model.c.sigmoid()
    expected = (1 - q) * (bounds[0] + torch.log(0.5 / (1 - q))) + q * (
        bounds[1] + torch.log(0.5 / q))
    exact = -torch.autograd.grad(expected, model.c)[0]
    found = torch.stack([torch.autograd.grad(objective(1).differentiable_loss(model.model, model.guide, x), model.c)[0]
                         for _ in range(repeats)])
    assert abs(found.mean() - exact) < 3.5 * found.std() / repeats**0.5


def _exact_slope(model: Coin, parameter: Tensor, x: Tensor) -> Tensor:
    """The derivative of E log (w_1 + w_2) / 2 by summing over all pairs of paths of q."""
    paths = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)
    before = torch.cat([torch.zeros(8, 1), paths[:, :-1]], 1)
    log_p = (dist.Bernoulli(logits=model.a * before).log_prob(paths)
             + dist.Normal(2 * paths, 1.0).log_prob(x[0, :, 0])).sum(1)
    log_q = dist.Bernoulli(logits=model.b.expand(8, 3)).log_prob(paths).sum(1)
    log_w = log_p - log_q
    pairs = torch.logsumexp(torch.stack(torch.broadcast_tensors(log_w[:, None], log_w)), 0) - torch.tensor(2.0).log()
    expected = ((log_q[:, None] + log_q).exp() * pairs).sum()
    return -torch.autograd.grad(expected, parameter)[0]


# ------------------------------------------------------------------------------------------------ in use
def test_svi_and_fit_take_it() -> None:
    data = rv.data.bach_chorales()
    few = data.train.subset(range(12))
    model = rv.VRNN.for_data(few, z_dim=2, h_dim=8)
    svi = pyro.infer.SVI(model.model, model.guide, pyro.optim.Adam({"lr": 1e-2}), rv.FIVO(3))
    x, mask = few.batches(4)[0]
    first = svi.evaluate_loss(x, mask)
    losses = [svi.step(x, mask) for _ in range(15)]
    assert losses[-1] < first
    history = rv.fit(model, few, epochs=2, elbo=rv.FIVO(3), progress=False, batch_size=4)
    assert history["elbo"][-1] > history["reconstruction"][-1] > 0  # the logged cost is that of one particle


def test_it_prints_how_it_was_made() -> None:
    assert repr(rv.FIVO(8)) == "FIVO(8, resampling=systematic, threshold=0.5)"


@pytest.mark.parametrize(("arguments", "error", "message"), [
    ({"num_particles": 0}, ValueError, "num_particles must be an integer of at least 1, got 0"),
    ({"threshold": -1.0}, ValueError, "at least 0"),
    ({"resampling": "systematic"}, TypeError, "rv.infer.systematic"),
    ({"resampling_gradient": True}, ValueError, "give resampling=rv.infer.multinomial"),
])
def test_bad_arguments(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        rv.FIVO(**arguments)


def test_it_takes_the_programs_of_one_model() -> None:
    with pytest.raises(TypeError, match="two programs of one SequenceVAE"):
        rv.FIVO(2).loss(lambda x: None, lambda x: None, torch.zeros(1, 2, 1))


# ------------------------------------------------------------------------------------------------ death
class Bounded(LinearGaussian):
    """x_t ~ U(z_t - 1, z_t + 1): a frame that is far from every particle has no density."""

    def emission(self, z: Tensor) -> Any:
        return dist.Uniform(z - 1, z + 1, validate_args=False).to_event(1)


def test_particles_that_all_die_are_named() -> None:
    model, x = Bounded(smooth=False), torch.zeros(3, 5, 1)
    x[1, 2] = 1e3
    with pytest.raises(ParticlesDied, match="all 4 particles of sequence 1 .* at step 2") as caught:
        rv.FIVO(4).loss(model.model, model.guide, x)
    assert (caught.value.sequence, caught.value.step) == (1, 2)


def test_fit_survives_a_batch_whose_particles_die_and_says_so() -> None:
    torch.manual_seed(0)
    x = 0.1 * torch.randn(8, 5, 1)
    x[3, 2] = 1e3  # no particle comes near
    data = rv.data.SequenceDataset(x.flatten(0, 1), torch.full((8,), 5))
    model = BoundedTilt()
    start = model.shift.item()
    with pytest.warns(RuntimeWarning, match="step . skips a batch, since sequence 3 of the training data lost all"):
        history = rv.fit(model, data, epochs=2, batch_size=2, elbo=rv.FIVO(64), progress=False, lr=1e-2)
    assert model.shift.item() != start and math.isfinite(model.shift.item())
    assert history["step"][-1] == 8


class BoundedTilt(Tilted):
    """The same with a guide that learns."""

    def emission(self, z: Tensor) -> Any:
        return dist.Uniform(z - 3, z + 3, validate_args=False).to_event(1)
