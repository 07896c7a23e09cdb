"""Auxiliary rewards: their sign, mask, weight and particles; none in evaluation mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.poutine as poutine
import pytest
import torch
from laws import ELBOS, form, forms_agree, loss_and_gradients, same, same_all, weights
from pyro.infer import RenyiELBO, Trace_ELBO
from torch import Tensor
from zoo import MASK, B, H, T, X, Z, awake, make_data

import pyro_rvae as rv
from pyro_rvae.core.handlers import weighted_auxiliaries

x = make_data("binary", 0, (B, T))


def reward(z: Tensor) -> Tensor:
    """What the guide below is rewarded with, ``(..., B, T)``."""
    return -((z - 0.3).square().sum(-1))


class Rewarded(rv.DMM):
    """A DMM whose guide is drawn step by step, and rewarded for small latents."""

    law: Callable[[Tensor], Tensor] = staticmethod(reward)

    def inference(self, steps: rv.Steps, x: Tensor) -> None:
        super().inference(steps, x)
        steps.auxiliary("reward", type(self).law(steps.path("z")))


def make(model: Any = Rewarded) -> Any:
    torch.manual_seed(0)
    return awake(model(X, Z, H, posterior=rv.Normal))


def path(model: Any, mask: Tensor | None, particles: int) -> Tensor:
    """z of one run on the given noise, ``(particles, B, T, Z)``."""
    with rv.given_noise(0):
        if particles == 1:
            return poutine.trace(model.guide).get_trace(x, mask).nodes["z"]["value"][None]  # type: ignore[no-any-return]
        with pyro.plate("particles", particles, dim=-2):
            return poutine.trace(model.guide).get_trace(x, mask).nodes["z"]["value"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("explicit", [False, True], ids=["vectorised", "explicit"])
@pytest.mark.parametrize("mask", [None, MASK], ids=["full", "ragged"])
@pytest.mark.parametrize(("elbo", "particles"), [("Trace", 1), ("MeanField", 1), ("particles", 3)])
def test_the_loss_falls_by_the_reward(elbo: str, particles: int, mask: Tensor | None, explicit: bool) -> None:
    model = make()
    with_reward, _ = loss_and_gradients(model, ELBOS[elbo](), x, mask, explicit=explicit)
    without, _ = loss_and_gradients(model.eval(), ELBOS[elbo](), x, mask, explicit=explicit)
    mine = reward(path(model, mask, particles)).mean(0)
    expected = (mine if mask is None else mine[mask]).sum()
    same(without - with_reward, expected, "the reward")


@pytest.mark.parametrize("elbo", ELBOS)
@pytest.mark.parametrize("mask", [None, MASK], ids=["full", "ragged"])
def test_forms_agree(elbo: str, mask: Tensor | None) -> None:
    forms_agree(make(), ELBOS[elbo](), x, mask)


def test_its_gradient_is_that_of_the_reward() -> None:
    model = make()
    _, both = loss_and_gradients(model, Trace_ELBO(), x, MASK)
    _, bound = loss_and_gradients(model.eval(), Trace_ELBO(), x, MASK)
    model.zero_grad()
    reward(path(model, MASK, 1)[0])[MASK].sum().backward()
    for name, parameter in model.named_parameters():
        added = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        same(bound[name] - both[name], added, name)


def test_a_renyi_bound_takes_it_for_a_log_weight() -> None:
    """exp(reward) multiplies a weight: log mean exp(w_k + r_k) of each sequence."""
    model = make()
    renyi = RenyiELBO(num_particles=2, vectorize_particles=True, max_plate_nesting=1)
    loss, _ = loss_and_gradients(model, renyi, x, MASK)
    z = path(model, MASK, 2)
    rewards = torch.where(MASK, reward(z), 0.0).sum(-1)
    with rv.given_noise(0), pyro.plate("particles", 2, dim=-2):
        q = poutine.trace(model.eval().guide).get_trace(x, MASK)
        p = poutine.trace(poutine.replay(model.model, q)).get_trace(x, MASK)
    for trace in (p, q):
        trace.compute_log_prob()
    w = p.nodes["z"]["log_prob"] + p.nodes["x"]["log_prob"] - q.nodes["z"]["log_prob"]
    same(loss, -((w + rewards).logsumexp(0) - torch.tensor(2.0).log()).sum(), "Renyi")


def test_none_in_evaluation_mode() -> None:
    model = make().eval()
    plain = make(rv.DMM)
    plain.load_state_dict(model.state_dict())
    loss, gradients = loss_and_gradients(model, Trace_ELBO(), x, MASK)
    expected, theirs = loss_and_gradients(plain, Trace_ELBO(), x, MASK)
    same(loss, expected, "loss")
    same_all(gradients, theirs, "gradients")
    same(weights(model, x, MASK)[0], weights(plain, x, MASK)[0], "importance weights")


@pytest.mark.parametrize("weight", [0.25, torch.tensor(0.25), 0.0], ids=["number", "tensor", "zero"])
def test_its_weight(weight: float | Tensor) -> None:
    model = make()
    full = loss_and_gradients(model, Trace_ELBO(), x, MASK)[0]
    with weighted_auxiliaries(weight):
        some = loss_and_gradients(model, Trace_ELBO(), x, MASK)[0]
    bound = loss_and_gradients(model.eval(), Trace_ELBO(), x, MASK)[0]
    same(some, bound + float(weight) * (full - bound), "weighted")


def test_the_kl_weight_leaves_it_alone() -> None:
    model = make()
    with rv.annealed(0.1):
        both, _ = loss_and_gradients(model, Trace_ELBO(), x, MASK)
        bound, _ = loss_and_gradients(model.eval(), Trace_ELBO(), x, MASK)
    same(bound - both, reward(path(model, MASK, 1)[0])[MASK].sum(), "the reward")


@pytest.mark.parametrize("explicit", [False, True], ids=["vectorised", "explicit"])
def test_what_stands_in_the_padding_does_not_count(explicit: bool) -> None:
    class Garbage(Rewarded):
        law = staticmethod(lambda z: reward(z).masked_fill(~MASK, torch.nan))

    losses = [loss_and_gradients(make(m), Trace_ELBO(), x, MASK, explicit=explicit)[0] for m in (Rewarded, Garbage)]
    same(*losses, "loss")


def test_it_stays_on_the_models_device() -> None:
    loss = rv.Loss(make(), Trace_ELBO())
    torch.set_default_device("meta")
    try:
        assert loss(x, MASK).device.type == "cpu"
    finally:
        torch.set_default_device(None)


@pytest.mark.parametrize("explicit", [False, True], ids=["vectorised", "explicit"])
def test_refusals(explicit: bool) -> None:
    class Inside(rv.DMM):
        def inference(self, steps: rv.Steps, x: Tensor) -> None:
            g = self.encoder(x, steps.mask)
            for t in steps:
                z = t.sample("z", self.posterior, t.prev("z", self.q0), t.at(g))
                steps.auxiliary("reward", reward(z))

    class Unsummed(Rewarded):
        law = staticmethod(lambda z: -z.square())

    with form(explicit), pytest.raises(RuntimeError, match=r"auxiliary\('reward'\) is called within `for t in steps`"):
        make(Inside).guide(x)
    with form(explicit), pytest.raises(ValueError, match=r"one number a step, \(B, T\) = \(4, 6\), got \(4, 6, 3\)"):
        make(Unsummed).guide(x)
