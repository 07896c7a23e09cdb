"""What is drawn once a data set."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from laws import form, loss_and_gradients, same, same_all
from pyro.infer import Trace_ELBO
from torch import nn
from zoo import ZOO, B, SharedScale, T

import pyro_rvae as rv
from pyro_rvae.distributions import conditional

N = 6


@pytest.mark.parametrize("explicit", [False, True], ids=["vectorised", "explicit"])
def test_minibatch_gradients_average_to_the_full_one(explicit: bool) -> None:
    """Over the minibatches of an epoch, N/B times the gradient has the mean of the full data's gradient."""
    model, x = ZOO["shared"].make(), ZOO["shared"].x(shape=(N, T))
    model.num_sequences = N
    full, expected = loss_and_gradients(model, Trace_ELBO(), x, explicit=explicit)
    total, mean = 0.0, {name: torch.zeros_like(g) for name, g in expected.items()}
    for part in torch.arange(N).split(2):  # three minibatches of two: each counts N/B = 3 times, and a third
        loss, gradients = loss_and_gradients(model, Trace_ELBO(), x[part], sequences=part, explicit=explicit)
        total += loss
        for name, gradient in gradients.items():
            mean[name] += gradient
    assert abs(total - full) < 1e-10
    same_all(mean, expected, "mean of minibatch gradients")


def test_the_scale_is_that_of_the_batch_over_the_data() -> None:
    model, x = ZOO["shared"].make(), ZOO["shared"].x()
    for size, scale in ((None, 1.0), (B, 1.0), (40, B / 40)):
        model.num_sequences = size
        for program in (model.model, model.guide):
            assert poutine.trace(program).get_trace(x).nodes["s"]["scale"] == scale


def test_shared_is_drawn_once_and_reaches_every_step() -> None:
    model, x = ZOO["shared"].make(), ZOO["shared"].x()
    trace = poutine.trace(poutine.condition(model.model, {"s": torch.tensor(2.5)})).get_trace(x)
    assert (trace.nodes["x"]["fn"].base_dist.scale == 2.5).all()
    q = poutine.trace(model.guide).get_trace(x)
    assert q.nodes["s"]["value"].shape == () and q.nodes["s"]["value"] > 0


def test_the_scale_of_the_noise_is_learned() -> None:
    """Data with noise of scale 0.3 about a constant: the posterior of s finds it."""
    model, x = SharedScale(), 1.0 + 0.3 * torch.randn(20, T, 5)
    model.num_sequences = 20
    svi = pyro.infer.SVI(model.model, model.guide, pyro.optim.Adam({"lr": 0.05}), Trace_ELBO())
    for _ in range(150):
        svi.step(x)
    with torch.no_grad():
        draws = [poutine.trace(model.guide).get_trace(x).nodes["s"]["value"] for _ in range(50)]
    assert abs(torch.stack(draws).mean() - 0.3) < 0.06


class SharedWeights(rv.SequenceVAE):
    """w ~ N(0, I) (a matrix) once a data set;  z_t ~ N(0, I);  x_t ~ N(w z_t, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.prior, self.posterior = rv.priors.StandardNormal(0, 2), conditional(rv.Normal, 3, 2, hidden=())

    def shared(self) -> None:
        pyro.sample("w", dist.Normal(torch.zeros(3, 2), 1.0).to_event(2))

    def emission(self, z: torch.Tensor, w: torch.Tensor) -> Any:
        loc = (w.unflatten(-1, (3, 2)) @ z.unsqueeze(-1)).squeeze(-1)
        return dist.Normal(loc, 1.0).to_event(1)

    def generative(self, steps: rv.Steps) -> None:
        w = steps.shared["w"].flatten(-2)
        for t in steps:
            t.sample("x", self.emission, t.sample("z", self.prior), t.hold(w))

    def inference(self, steps: rv.Steps, x: torch.Tensor) -> None:
        for t in steps:
            t.sample("z", self.posterior, t.at(x))


def test_a_shared_matrix_agrees_in_both_forms() -> None:
    model, x, results = SharedWeights(), torch.randn(B, T, 3), []
    for explicit in (False, True):
        results.append(loss_and_gradients(model, Trace_ELBO(), x, explicit=explicit))
    same(results[0][0], results[1][0], "loss")
    same_all(results[0][1], results[1][1], "gradients")
    assert {"shared_posterior.loc.w", "shared_posterior.raw.w"} <= results[0][1].keys()


def test_a_discrete_shared_site_is_refused() -> None:
    class Discrete(rv.SequenceVAE):
        def shared(self) -> None:
            pyro.sample("k", dist.Categorical(torch.ones(3)))

    with pytest.raises(ValueError, match="shared site 'k' is discrete.*guide of your own"):
        Discrete()


def test_a_guide_of_ones_own_for_what_is_shared() -> None:
    class Own(SharedScale):
        def __init__(self) -> None:
            super().__init__()
            self.shared_posterior = Point()

    class Point(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.value = nn.Parameter(torch.tensor(0.7))

        def forward(self) -> None:
            pyro.sample("s", dist.Delta(self.value))

    model, x = Own(), torch.randn(B, T, 5)
    for explicit in (False, True):
        with form(explicit):
            assert poutine.trace(model.guide).get_trace(x).nodes["s"]["value"] == 0.7
    _, gradients = loss_and_gradients(model, Trace_ELBO(), x)
    assert gradients["shared_posterior.value"] != 0


def test_building_a_model_with_shared_draws_no_random_number() -> None:
    state = torch.get_rng_state()
    model = SharedScale.__new__(SharedScale)
    torch.set_rng_state(state)
    nn.Module.__init__(model)
    rv.core.sequence_vae.SharedPosterior(model.shared)
    assert torch.equal(torch.get_rng_state(), state)
