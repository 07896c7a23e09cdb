"""A law is worth its mutants: each mistake, put into the library or a model, makes its law fail."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from laws import forms_agree, padding_never_matters, same, weights
from pyro.infer import Trace_ELBO
from torch import Tensor
from zoo import MASK, ZOO, H, T, X, Z, awake

import pyro_rvae as rv
from pyro_rvae.core import steps as steps_module
from pyro_rvae.core import vectorised


def agree(name: str, mask: Tensor | None = None) -> None:
    forms_agree(ZOO[name].make(), Trace_ELBO(), ZOO[name].x(), mask)


def padding(name: str, **given: Any) -> None:
    padding_never_matters(ZOO[name].make(), ZOO[name].x(), MASK, 1.0, **given)


@pytest.mark.parametrize("name", ["VRNN", "DMM", "STORN", "VRAE", "DMM-combiner", "hierarchical"])
def test_a_shift_by_two(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    once = vectorised.shift
    agree(name)
    monkeypatch.setattr(vectorised, "shift", lambda sequence, init: once(once(sequence, init), init))
    with pytest.raises(AssertionError, match="forms"):
        agree(name)


@pytest.mark.parametrize("name", ["DMM", "STORN", "hierarchical"])
def test_a_prior_that_sees_the_present(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a shift p(z_t | z_{t-1}) reads z_t itself, and h_t reads x_t."""
    monkeypatch.setattr(vectorised, "shift", lambda sequence, init: sequence + 0 * init)
    with pytest.raises(AssertionError, match="forms"):
        agree(name)


@pytest.mark.parametrize("explicit", [False, True], ids=["vectorised", "explicit"])
@pytest.mark.parametrize("name", ["VRNN", "DMM", "RVAE", "STORN"])
def test_a_mask_on_x_only(name: str, explicit: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    law = steps_module.Steps.law

    def on_x(self: Any, fn: Any, present: Any, mask: Any) -> Any:
        return law(self, fn, present, mask if "Bernoulli" in type(fn.base_dist).__name__ else None)

    monkeypatch.setattr(steps_module.Steps, "law", on_x)
    with pytest.raises(AssertionError, match="padding"):
        padding(name, explicit=explicit)


@pytest.mark.parametrize("name", ["DMM", "DMM-combiner-both", "RVAE"])
def test_an_encoder_that_ignores_the_mask(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyro_rvae.nn import encoders

    padding(name)
    monkeypatch.setattr(encoders, "reverse", lambda sequence, mask=None: sequence.flip(-2))
    with pytest.raises(AssertionError, match="padding"):
        padding(name)


def test_a_summary_that_ignores_the_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    from pyro_rvae.nn import encoders

    monkeypatch.setattr(encoders, "last", lambda sequence, mask=None: sequence[..., -1, :])
    with pytest.raises(AssertionError, match="padding"):
        padding("VRAE")


class LoopCarried(rv.STORN):
    """A mistake: a Python variable that is carried from one step to the next."""

    def generative(self, steps: rv.Steps) -> None:
        memory: Any = 0.0
        for t in steps:
            z = t.sample("z", self.prior)
            h = t.carry("h", self.recurrence, t.prev("x", self.x0), z)
            memory = 0.5 * memory + h
            t.sample("x", self.likelihood, memory)


def test_a_loop_carried_variable() -> None:
    torch.manual_seed(0)
    model = awake(LoopCarried(X, Z, H))
    with pytest.raises(AssertionError, match="forms: loss"):
        forms_agree(model, Trace_ELBO(), ZOO["STORN"].x(shape=(1, T)))  # with more sequences its shapes clash


class Peeks(rv.DMM):
    """A mistake: the transition reads x at its own step."""

    def generative(self, steps: rv.Steps) -> None:
        for t in steps:
            z = t.sample("z", self.transition, t.prev("z", self.z0))
            t.sample("x", self.likelihood, z)

    def inference(self, steps: rv.Steps, x: Tensor) -> None:
        g = self.encoder(x)  # forgets the mask
        for t in steps:
            t.sample("z", self.posterior, t.prev("z", self.q0), t.at(g))


def test_a_guide_that_forgets_the_mask() -> None:
    torch.manual_seed(0)
    with pytest.raises(AssertionError, match="padding"):
        padding_never_matters(awake(Peeks(X, Z, H)), ZOO["DMM"].x(), MASK, 1.0)


def test_a_rollout_that_shares_its_noise_between_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = vectorised.Rollout.noise

    def first(self: Any, name: str, batch: Any, dim: int) -> Tensor:
        noise(self, name, batch, dim)
        return self._unbound[("noise", name)][1][0]

    monkeypatch.setattr(vectorised.Rollout, "noise", first)
    with pytest.raises(AssertionError, match="forms"):
        agree("VRNN")


def test_gaps_that_are_read_as_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    """Filling before the reader hides the flags of what is missing."""
    from pyro_rvae.core.stepwise import ExplicitStep

    before = ExplicitStep.prev

    def filled(self: Any, name: str, *rest: Any) -> Tensor:
        if name in self.drawn:
            self.raw = {k: [v.nan_to_num(0.0) for v in values] for k, values in self.raw.items()}
        return before(self, name, *rest)

    monkeypatch.setattr(ExplicitStep, "prev", filled)
    with pytest.raises(AssertionError, match="forms"):
        agree("gaps-VRNN")


def test_the_frames_of_the_padding_do_not_train(monkeypatch: pytest.MonkeyPatch) -> None:
    """The law itself: with and without two frames of padding the weights are equal; without a mask they aren't."""
    model, x = ZOO["VRNN"].make(), ZOO["VRNN"].x()
    masked, _ = weights(model, x, MASK)
    bare, _ = weights(model, x)
    with pytest.raises(AssertionError, match="differs"):
        same(masked, bare, "weights")
    assert x.shape[1] == T
