"""Z-forcing: its auxiliary cost in training mode, the plain bound in evaluation mode."""

from __future__ import annotations

from functools import partial
from typing import Any

import equations_dynamic as dyn
import pyro.poutine as poutine
import pytest
import torch
from laws import form, loss_and_gradients, same, same_all, weights
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from torch import Tensor
from zoo import LENGTHS, MASK, ZOO, B, H, T, X, Z

import pyro_rvae as rv

x = ZOO["ZForcing"].x()


def make(**weight: float) -> Any:
    from zoo import awake

    torch.manual_seed(0)
    return awake(rv.ZForcing(X, Z, H, **weight))


def plain(model: Any) -> Any:
    """The same model without the auxiliary networks."""
    twin = rv.ZForcing(X, Z, H, auxiliary=0.0)
    twin.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("predictor")})
    return twin


def drawn(model: Any, mask: Tensor | None) -> Tensor:
    with rv.given_noise(0):
        return poutine.trace(model.guide).get_trace(x, mask).nodes["z"]["value"]  # type: ignore[no-any-return]


WEIGHTS = [{"auxiliary": 1.0}, {"auxiliary": 0.3, "reverse": 0.2}]


@pytest.mark.parametrize("explicit", [False, True], ids=["vectorised", "explicit"])
@pytest.mark.parametrize("masked", [False, True], ids=["full", "ragged"])
@pytest.mark.parametrize("elbo", [Trace_ELBO, TraceMeanField_ELBO])
@pytest.mark.parametrize("weight", WEIGHTS, ids=["alpha", "alpha and beta"])
def test_the_training_loss_is_the_bound_less_the_rewards(weight: Any, elbo: Any, masked: bool, explicit: bool) -> None:
    """The rewards written again from the paper, sequence by sequence, without the padding."""
    model, mask = make(**weight), MASK if masked else None
    z = drawn(model, mask)
    lengths = LENGTHS.tolist() if masked else [T] * B
    reward = sum(dyn.forcing(model, x[i, :n], {"z": z[i, :n]}) for i, n in enumerate(lengths))
    loss, _ = loss_and_gradients(model, elbo(), x, mask, explicit=explicit)
    bound, _ = loss_and_gradients(model.eval(), elbo(), x, mask, explicit=explicit)
    same(bound - loss, reward, "rewards")


@pytest.mark.parametrize("explicit", [False, True], ids=["vectorised", "explicit"])
@pytest.mark.parametrize("weight", WEIGHTS, ids=["alpha", "alpha and beta"])
def test_in_evaluation_mode_it_is_the_plain_model(weight: Any, explicit: bool) -> None:
    model = make(**weight).eval()
    loss, gradients = loss_and_gradients(model, Trace_ELBO(), x, MASK, explicit=explicit)
    for twin in (plain(model), plain(model).eval()):
        expected, theirs = loss_and_gradients(twin, Trace_ELBO(), x, MASK, explicit=explicit)
        same(loss, expected, "loss")
        same_all(gradients, theirs, "gradients")
    same(weights(model, x, MASK)[0], weights(plain(model), x, MASK)[0], "importance weights")


def test_no_gradient_flows_from_the_forcing_into_b() -> None:
    """It reaches the encoder through z alone: held at its values, z gives it none."""
    model = make()
    z = drawn(model, None).detach()
    with form(False), poutine.condition(data={"z": z}):
        q = poutine.trace(model.guide).get_trace(x)
    q.compute_log_prob()
    q.nodes["auxiliary"]["log_prob"].sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in model.encoder.parameters())
    assert all(p.grad is not None and p.grad.any() for p in model.predictor.parameters())


def test_the_reverse_cost_trains_b() -> None:
    model = make(auxiliary=0.0, reverse=1.0)
    q = poutine.trace(model.guide).get_trace(x)
    q.compute_log_prob()
    q.nodes["reverse"]["log_prob"].sum().backward()
    for part in (model.encoder, model.predictor_x):
        assert all(p.grad is not None and p.grad.any() for p in part.parameters())


def test_missing_elements_are_skipped_by_the_reverse_cost() -> None:
    model = make(reverse=1.0)
    gaps = x.clone()
    gaps[:, 2] = torch.nan
    terms = []
    for data in (gaps, gaps.nan_to_num(0.0)):
        q = poutine.trace(model.guide).get_trace(data)
        q.compute_log_prob()
        terms.append(q.nodes["reverse"]["log_prob"])
    b = model.encoder(gaps.nan_to_num(0.0))
    same(terms[0] - terms[1], model.predictor_x(b[:, 3]).log_prob(torch.zeros(B, X)), "the missing frame's term")


@pytest.mark.parametrize("name", ["ZForcing", "ZForcing-reverse"])
def test_a_latent_may_be_read_before_it_is_carried(name: str) -> None:
    """h_{t-1}, read by prior and guide, is the h_t of the step before."""
    model = ZOO[name].make()
    z = torch.randn(B, T, Z)
    u = torch.cat([rv.shift(x, model.x0), z], -1)
    h = model.recurrence(u)
    trace = poutine.trace(poutine.condition(model.model, {"z": z})).get_trace(x)
    before = rv.shift(h, torch.zeros(H))
    same(trace.nodes["z"]["fn"].mean, model.prior(before).mean, "prior")
    same(trace.nodes["x"]["fn"].mean, model.likelihood(h).mean, "likelihood")


@pytest.mark.parametrize("weight", [-0.1, float("inf"), float("nan"), "1", True, None])
@pytest.mark.parametrize("argument", ["auxiliary", "reverse"])
def test_weights_are_numbers(argument: str, weight: Any) -> None:
    with pytest.raises(ValueError, match=f"{argument} must be a finite number of at least 0, got {weight!r}"):
        rv.ZForcing(X, Z, H, **{argument: weight})


def test_what_it_refuses() -> None:
    whole = rv.ZForcing(X, Z, H).likelihood
    with pytest.raises(ValueError, match="^reverse: .*pass that as a Family or a class, not as a whole Conditional"):
        rv.ZForcing(X, Z, H, likelihood=whole, reverse=1.0)
    assert rv.ZForcing(X, Z, H, likelihood=partial(rv.Normal, scale=0.5), reverse=1.0).predictor_x is not None
    with pytest.raises(ValueError, match="^Combiner reads the previous latent; ZForcing's posterior is given h_{t-1}"):
        rv.ZForcing(X, Z, H, posterior=rv.Combiner)
    with pytest.raises(ValueError, match="ZForcing's prior is given h_{t-1}"):
        rv.ZForcing(X, Z, H, prior=rv.GatedNormal)
