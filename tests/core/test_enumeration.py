"""Sites that TraceEnum_ELBO sums out: what a body may do with them, and what is refused."""

from __future__ import annotations

import itertools
from typing import Any

import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from laws import form, same
from pyro.infer import Trace_ELBO, TraceEnum_ELBO
from torch import Tensor, nn

import pyro_rvae as rv

K, B, T = 2, 3, 4
MASK = torch.arange(T) < torch.tensor([4, 1, 3])[:, None]


class Switch(rv.SequenceVAE):
    """s_t ~ p(s_t | s_{t-1});  x_t ~ N(W s_t, 1); the guide draws nothing, or (``draws``) always s."""

    summed_out = ("s",)

    def __init__(self, draws: bool = False) -> None:
        super().__init__()
        self.draws, self.step = draws, nn.Linear(K, K)
        self.emit = nn.Linear(K, 1)
        self.register_buffer("s0", torch.zeros(K), persistent=False)

    def prior(self, s: Tensor) -> Any:
        return dist.OneHotCategorical(logits=self.step(s))

    def likelihood(self, s: Tensor) -> Any:
        return dist.Normal(self.emit(s), 1.0).to_event(1)

    def generative(self, steps: rv.Steps) -> None:
        for t in steps:
            s = t.sample("s", self.prior, t.prev("s", self.s0))
            t.sample("x", self.likelihood, s)

    def inference(self, steps: rv.Steps, x: Tensor) -> None:
        if self.draws or "s" not in steps.summed_out:
            for t in steps:
                t.sample("s", self.prior, t.prev("s", self.s0))


class Remembers(Switch):
    """x_t ~ N(U h_t, 1), h_t = f(h_{t-1}, s_t): a state that reads the site that is summed out."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrence, self.out = rv.LSTM(K, 3), nn.Linear(3, 1)

    def generative(self, steps: rv.Steps) -> None:
        for t in steps:
            h = t.carry("h", self.recurrence, t.sample("s", self.prior, t.prev("s", self.s0)))
            t.sample("x", lambda h: dist.Normal(self.out(h), 1.0).to_event(1), h)


class Begins(Remembers):
    """h_t = f(h_{t-1}, x_{t-1}), and its first state is a function of s."""

    def generative(self, steps: rv.Steps) -> None:
        x0 = torch.zeros(1)
        for t in steps:
            s = t.sample("s", self.prior, t.prev("s", self.s0))
            before = t.prev("x", x0, lambda x: x.expand(*x.shape[:-1], K))
            h = t.carry("h", self.recurrence, before, init=s.repeat_interleave(3, -1))
            t.sample("x", lambda h: dist.Normal(self.out(h), 1.0).to_event(1), h)


class Twice(Switch):
    """x_t ~ N(W s_t, 1) in a second loop, which would have to know the path."""

    def __init__(self, slow: int = 0) -> None:
        super().__init__()
        self.slow = slow

    def generative(self, steps: rv.Steps) -> None:
        clock = steps.every(self.slow) if self.slow else steps
        for t in clock:
            t.sample("s", self.prior, t.prev("s", self.s0))
        s = clock.path("s")
        for t in steps:
            t.sample("x", self.likelihood, t.at(s))


def enumeration(**settings: Any) -> TraceEnum_ELBO:
    return TraceEnum_ELBO(max_plate_nesting=1, **settings)


PARTICLES: dict[str, Any] = {"num_particles": 2, "vectorize_particles": True}


def evidence(model: Switch, x: Tensor, s: Tensor | None = None) -> Tensor:
    """log p(x) of one sequence by all its paths; with ``s`` (T0,), the known beginning of the path, log p(x, s)."""
    start = 0 if s is None else len(s)
    terms = []
    for path in itertools.product(range(K), repeat=len(x)):
        if s is not None and list(path[:start]) != s.tolist():
            continue
        total, before = torch.zeros(()), torch.zeros(K)
        for k, x_t in zip(path, x, strict=True):
            now = torch.eye(K)[k]
            total = total + torch.log_softmax(model.step(before), -1)[k]
            total = total + dist.Normal(model.emit(now), 1.0).log_prob(x_t).sum()
            before = now
        terms.append(total)
    return torch.stack(terms).logsumexp(0)


def test_the_padding_adds_nothing() -> None:
    """Each padded frame would add log K if the law of s were masked there."""
    model, x = Switch(), torch.randn(B, T, 1)
    expected = sum(evidence(model, x[i, :n]) for i, n in enumerate(MASK.sum(1).tolist()))
    with rv.explicit():
        same(-enumeration().loss(model.model, model.guide, x, MASK), expected.detach(), "evidence")
        same(-enumeration(**PARTICLES).loss(model.model, model.guide, x, MASK), expected.detach(), "evidence")


@pytest.mark.parametrize("settings", [{}, PARTICLES], ids=["one", "particles"])
@pytest.mark.parametrize("kind", [Remembers, Begins])
def test_a_recurrent_state_may_not_read_it(kind: Any, settings: dict[str, Any]) -> None:
    model = kind()
    with rv.explicit(), pytest.raises(ValueError, match=r"carry\('h'\): a recurrent state may not read .* \['s'\]"):
        enumeration(**settings).loss(model.model, model.guide, torch.randn(B, T, 1))
    if kind is Remembers:
        assert Trace_ELBO().loss(model.model, model.guide, torch.randn(B, T, 1)) > 0, "a state may read what is drawn"


@pytest.mark.parametrize("settings", [{}, PARTICLES], ids=["one", "particles"])
@pytest.mark.parametrize("data", [None, "half"], ids=["full", "gaps"])
def test_a_recurrence_over_x_may_stand_beside_it(data: str | None, settings: dict[str, Any]) -> None:
    model = rv.NeuralHMM(2, K, 3, recurrence=rv.LSTM)
    x = (torch.rand(B, T, 2) < 0.5).double()
    if data:
        x[0, 1] = torch.nan
    with rv.explicit():
        summed = enumeration(**settings).loss(model.model, model.guide, x, MASK)
    same(summed, Trace_ELBO().loss(model.model, model.guide, x, MASK), "the evidence")


def test_the_vectorised_form_names_the_explicit_one() -> None:
    model = Switch()
    with pytest.raises(RuntimeError, match=r"\['s'\] can be summed out one step at a time only.*rv\.explicit\(\)"):
        enumeration().loss(model.model, model.guide, torch.randn(B, T, 1))


def test_a_guide_does_not_draw_it() -> None:
    model = Switch(draws=True)
    with rv.explicit(), pytest.raises(ValueError, match="the guide draws 's', which is summed out here"):
        enumeration().loss(model.model, model.guide, torch.randn(B, T, 1))
    for explicit in (False, True):
        with form(explicit):
            assert Trace_ELBO().loss(model.model, model.guide, torch.randn(B, T, 1)) > 0


@pytest.mark.parametrize("slow", [0, 2], ids=["frames", "slow clock"])
def test_it_has_no_path(slow: int) -> None:
    model, x = Twice(slow), torch.randn(B, T, 1)
    with rv.explicit(), pytest.raises(ValueError, match=r"path\('s'\): 's' is summed out, so it has no path"):
        enumeration().loss(model.model, model.guide, x)


@pytest.mark.parametrize("until", [2, T])
def test_what_is_given_is_not_summed(until: int) -> None:
    """The known beginning of a path counts with its density, but not in the padding."""
    model, x, s = Switch(), torch.randn(B, T, 1), torch.randint(K, (B, until))
    expected = sum(evidence(model, x[i, :n], s[i, :n]) for i, n in enumerate(MASK.sum(1).tolist()))
    with rv.explicit(), rv.given(s=torch.eye(K)[s]):
        loss = enumeration(strict_enumeration_warning=until < T).loss(model.model, model.guide, x, MASK)
    same(-loss, expected.detach(), "log p(x, s)")


def test_what_another_handler_fixes_is_refused_in_padded_batches() -> None:
    """It would count in the padding, where only a sum is without weight."""
    model, x = Switch(), torch.randn(B, T, 1)
    first = torch.zeros(B, dtype=torch.long)
    fixed = poutine.condition(model.model, {"s_0": torch.eye(K)[first]})
    with rv.explicit():
        with pytest.raises(ValueError, match=r"a handler fixes s_0.*rv\.given\(s=\.\.\.\)"):
            enumeration().loss(fixed, model.guide, x, MASK)
        loss = enumeration().loss(fixed, model.guide, x)
    same(-loss, sum(evidence(model, x[i], first[i:i + 1]) for i in range(B)).detach(), "log p(x, s_0)")


def test_one_value_needs_no_sum() -> None:
    """Pyro squeezes the only value that such a site has."""
    model = rv.NeuralHMM(2, 1, 3, recurrence=rv.LSTM)
    x = (torch.rand(B, T, 2) < 0.5).double()
    with rv.explicit():
        summed = enumeration().loss(model.model, model.guide, x, MASK)
    same(summed, Trace_ELBO().loss(model.model, model.guide, x, MASK), "the evidence")


def test_a_kl_weight_leaves_it_alone() -> None:
    model, x = Switch(), torch.randn(B, T, 1)
    with rv.explicit():
        plain = enumeration().loss(model.model, model.guide, x, MASK)
        with rv.annealed(0.1):
            same(enumeration().loss(model.model, model.guide, x, MASK), plain, "loss")
