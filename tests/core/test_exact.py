"""Against exact answers: a linear-Gaussian model, and a hidden Markov model summed over all its paths."""

from __future__ import annotations

import itertools
from typing import Any

import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from laws import form, iwae, weights
from linear_gaussian import LENGTH, C, LinearGaussian, Q, R, dense
from pyro.infer import RenyiELBO, Trace_ELBO, TraceEnum_ELBO, TraceMeanField_ELBO, config_enumerate
from torch import Tensor

import pyro_rvae as rv


@pytest.mark.parametrize("explicit", [False, True], ids=["vectorised", "explicit"])
@pytest.mark.parametrize("seed", range(3))
def test_with_the_exact_posterior_every_draw_gives_the_evidence(seed: int, explicit: bool) -> None:
    model, x = LinearGaussian(), torch.randn(4, LENGTH, 1)
    torch.manual_seed(seed)
    with form(explicit):
        loss = Trace_ELBO().loss(model.model, model.guide, x)
    assert abs(loss + dense(x).sum().item()) < 1e-9


def test_ragged_sequences_and_the_evidence() -> None:
    """The exact guide of each length: information starts at its own last step."""
    model, x, lengths = LinearGaussian(), torch.randn(3, LENGTH, 1), [7, 4, 1]
    for row, length in enumerate(lengths):
        loss = Trace_ELBO().loss(model.model, model.guide, x[row:row + 1, :length])
        assert abs(loss + dense(x[row:row + 1, :length]).item()) < 1e-9


def test_the_likelihood_is_that_of_gaussian_hmm() -> None:
    """An independent implementation of the same model, Pyro's, gives the evidence that our exact guide gives."""
    x, one = torch.randn(4, LENGTH, 1), torch.ones(1, 1)
    first = dist.MultivariateNormal(torch.zeros(1), 1e-12 * one)  # z_0 = 0
    noise = [dist.MultivariateNormal(torch.zeros(1), v * one) for v in (Q, R)]
    hmm = dist.GaussianHMM(first, C * one, noise[0], one, noise[1], duration=LENGTH)
    torch.testing.assert_close(hmm.log_prob(x), dense(x), rtol=0, atol=1e-6)


def test_bounds_are_ordered() -> None:
    """ELBO <= IWAE-2 <= IWAE-4 ... <= log evidence; the weights' mean is the evidence."""
    x = torch.randn(1, LENGTH, 1)
    log_w, _ = weights(LinearGaussian(smooth=False), x.expand(4096, -1, -1))
    log_w = log_w[0] - dense(x)
    bounds = [iwae(log_w.reshape(k, -1)).mean().item() for k in (1, 2, 4, 16, 64, 512)]
    assert bounds == sorted(bounds) and bounds[0] < -0.05
    mean, error = log_w.exp().mean().item(), log_w.exp().std().item() / 64
    assert abs(mean - 1) < 4 * error and abs(bounds[-1]) < 0.05


def test_renyi_with_50_particles_stays_below_the_evidence() -> None:
    model, x = LinearGaussian(smooth=False), torch.randn(1, LENGTH, 1)
    renyi = RenyiELBO(alpha=0, num_particles=50, vectorize_particles=True, max_plate_nesting=1)
    bounds = torch.tensor([-renyi.loss(model.model, model.guide, x) for _ in range(100)]) - dense(x)
    elbo = torch.tensor([-Trace_ELBO().loss(model.model, model.guide, x) for _ in range(100)]) - dense(x)
    assert elbo.mean() < bounds.mean() < 3 * bounds.std() / 10
    assert bounds.mean() > -0.1


def test_mean_field_elbo_of_the_exact_posterior() -> None:
    """The analytic KL is of each step given the draw before; in expectation the bound is the evidence."""
    model, x = LinearGaussian(), torch.randn(1, LENGTH, 1)
    elbo = TraceMeanField_ELBO(num_particles=20000, vectorize_particles=True, max_plate_nesting=1)
    assert abs(-elbo.loss(model.model, model.guide, x) - dense(x).item()) < 0.05


# ------------------------------------------------------------------------------------------------------ discrete
STATES, SYMBOLS, SHORT = 3, 2, 4


class Code(dist.TorchDistribution):
    """A Categorical as a vector of one number, so that it has event_dim 1."""

    arg_constraints: dict[str, Any] = {}
    support = dist.constraints.real_vector
    has_enumerate_support = True

    def __init__(self, base: Any) -> None:
        self.base = base
        super().__init__(base.batch_shape, torch.Size([1]), validate_args=False)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        return self.base.sample(sample_shape).double().unsqueeze(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.base.log_prob(value[..., 0])

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> Code:
        return Code(self.base.expand(batch_shape))

    def enumerate_support(self, expand: bool = True) -> Tensor:
        return self.base.enumerate_support(expand).double().unsqueeze(-1)


class HMM(rv.SequenceVAE):
    """z_t ~ Categorical(A[z_{t-1}]);  x_t ~ Categorical(E[z_t])."""

    def __init__(self) -> None:
        super().__init__()
        self.A = torch.softmax(torch.randn(STATES + 1, STATES), -1)  # the last row starts the chain
        self.E = torch.softmax(torch.randn(STATES, SYMBOLS), -1)

    def generative(self, steps: rv.Steps) -> None:
        for t in steps:
            before = t.prev("z", torch.full((1,), float(STATES)))
            z = t.sample("z", lambda z: Code(dist.Categorical(self.A[z[..., 0].long()])), before)
            t.sample("x", lambda z: Code(dist.Categorical(self.E[z[..., 0].long()])), z)

    def inference(self, steps: rv.Steps, x: Tensor) -> None:
        """Nothing: every latent is summed out."""


def test_enumeration_is_the_sum_over_all_paths() -> None:
    model, x = HMM(), torch.randint(0, SYMBOLS, (2, SHORT, 1)).double()
    brute = torch.zeros(())
    for row in x[..., 0].long().tolist():
        paths = [sum(model.A[z[t - 1] if t else STATES, z[t]].log() + model.E[z[t], row[t]].log() for t in range(SHORT))
                 for z in itertools.product(range(STATES), repeat=SHORT)]
        brute = brute + torch.stack(paths).logsumexp(0)
    program = config_enumerate(model.model, "parallel")
    with rv.explicit():
        evidence = -TraceEnum_ELBO(max_plate_nesting=1).loss(program, lambda *a: None, x)
    assert abs(evidence - brute.item()) < 1e-10


def test_the_vectorised_form_refuses_enumeration() -> None:
    model, x = HMM(), torch.zeros(2, SHORT, 1)
    with pytest.raises(RuntimeError, match=r"explicit\(\)"):
        TraceEnum_ELBO(max_plate_nesting=1).loss(config_enumerate(model.model, "parallel"), lambda *a: None, x)


def test_discrete_latents_have_equal_densities_in_both_forms() -> None:
    model, x = HMM(), torch.randint(0, SYMBOLS, (2, SHORT, 1)).double()
    drawn = poutine.trace(model.model).get_trace(x)
    z = drawn.nodes["z"]["value"]
    with rv.explicit():
        values = {f"z_{t}": z[:, t] for t in range(SHORT)}
        stepwise = poutine.trace(poutine.condition(model.model, values)).get_trace(x)
    assert abs(drawn.log_prob_sum() - stepwise.log_prob_sum()) < 1e-12
