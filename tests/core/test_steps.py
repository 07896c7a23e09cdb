"""The loop variable: what each verb gives in each reading, when a rollout runs, and what it costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from laws import form, forms_agree, same
from pyro.infer import Trace_ELBO
from torch import Tensor, nn
from zoo import MASK, ZOO, B, H, T, X, Z, make_data

import pyro_rvae as rv
from pyro_rvae.core import vectorised
from pyro_rvae.core.handlers import is_explicit

BOTH = pytest.mark.parametrize("explicit", [False, True], ids=["vectorised", "explicit"])


class Body(rv.SequenceVAE):
    """A model whose generative body is the test's."""

    def __init__(self, body: Callable[[Any], None]) -> None:
        super().__init__()
        self.body, self.weight = [body], nn.Parameter(torch.ones(()))

    def generative(self, steps: rv.Steps) -> None:
        self.body[0](steps)


def unit(loc: Tensor) -> Any:
    return dist.Normal(loc, 1.0).to_event(1)


def locs(trace: Any, name: str) -> Tensor:
    """The location of each step's law: ``(B, T, d)`` in either reading."""
    if name in trace.nodes:
        return trace.nodes[name]["fn"].base_dist.loc
    steps = [n for n in trace.nodes if n.rpartition("_")[0] == name]
    return torch.stack([trace.nodes[f"{name}_{t}"]["fn"].base_dist.loc.expand(B, -1) for t in range(len(steps))], 1)


def run(body: Callable[[Any], None], explicit: bool, **given: Any) -> Any:
    with form(explicit):
        return poutine.trace(Body(body).model).get_trace(**({"size": (B, T)} | given))


def test_shift_is_one_step_later() -> None:
    x = torch.arange(6.0).reshape(1, 3, 2)
    assert rv.shift(x, torch.tensor([8.0, 9.0])).tolist() == [[[8, 9], [0, 1], [2, 3]]]
    assert rv.shift(x[:, :1], torch.zeros(2)).tolist() == [[[0, 0]]]


@BOTH
def test_at_reads_a_sequence_and_hold_keeps_a_value(explicit: bool) -> None:
    sequence, value = torch.randn(B, T, Z), torch.randn(B, Z)

    def body(steps: Any) -> None:
        for t in steps:
            t.sample("z", unit, t.at(sequence, torch.exp) + t.hold(value))

    same(locs(run(body, explicit), "z"), sequence.exp() + value[:, None], "location")


@BOTH
def test_prev_is_the_value_before_through_via(explicit: bool) -> None:
    z, init = torch.randn(B, T, Z), torch.randn(Z)

    def body(steps: Any) -> None:
        for t in steps:
            t.sample("z", unit, t.prev("z", init, torch.tanh))

    with form(explicit):
        values = {f"z_{t}": z[:, t] for t in range(T)} if explicit else {"z": z}
        trace = poutine.trace(poutine.condition(Body(body).model, values)).get_trace(size=(B, T))
    before = torch.cat([init.expand(B, 1, Z), z[:, :-1]], 1)
    same(locs(trace, "z"), before.tanh(), "location")


@BOTH
def test_carry_is_the_causal_part_over_its_inputs(explicit: bool) -> None:
    causal, u, init = rv.GRU(3, Z), torch.randn(B, T, 3), torch.randn(B, Z)

    def body(steps: Any) -> None:
        for t in steps:
            t.sample("z", unit, t.carry("h", causal, t.at(u[..., :1]), t.at(u[..., 1:]), init=init))

    same(locs(run(body, explicit), "z"), causal(u, init), "location")


@BOTH
def test_a_slow_clock_reads_its_frames_and_holds_its_values(explicit: bool) -> None:
    """T = 6, k = 4: steps at frames 0 and 4; the second covers two frames."""
    sequence, seen = torch.randn(B, T, Z), {}

    def body(steps: Any) -> None:
        slow = steps.every(4)
        assert slow.length == 2 and steps.every(4) is slow and steps.every(1).length == T
        for j in slow:
            j.sample("y", unit, j.at(sequence))
        seen["path"] = slow.path("y")

    trace = run(body, explicit)
    y = torch.stack([trace.nodes[f"y_{j}"]["value"] for j in (0, 1)], 1) if explicit else trace.nodes["y"]["value"]
    same(locs(trace, "y"), sequence[:, ::4], "location")
    same(seen["path"], y[:, [0, 0, 0, 0, 1, 1]], "path")


@BOTH
def test_a_clock_of_a_clock(explicit: bool) -> None:
    sequence, seen = torch.randn(B, T, Z), {}

    def body(steps: Any) -> None:
        slower = steps.every(2).every(2)
        assert slower.length == 2
        for j in slower:
            j.sample("y", unit, j.at(sequence))
        seen["path"] = slower.path("y")

    same(locs(run(body, explicit), "y"), sequence[:, ::4], "location")
    assert seen["path"].shape == (B, T, Z) and torch.equal(seen["path"][:, 0], seen["path"][:, 3])


def test_a_slow_clock_takes_its_mask_from_the_frames_it_stands_at() -> None:
    trace = poutine.trace(ZOO["slow-clock"].make().model).get_trace(ZOO["slow-clock"].x(), MASK)
    trace.compute_log_prob()
    alone = poutine.condition(ZOO["slow-clock"].make().model, {n: trace.nodes[n]["value"] for n in ("y", "z")})
    whole = poutine.trace(alone).get_trace(ZOO["slow-clock"].x())
    whole.compute_log_prob()
    for row, length in enumerate([6, 3, 5, 1]):  # the second block starts at frame 4
        equal = bool(torch.isclose(trace.nodes["y"]["log_prob"][row], whole.nodes["y"]["log_prob"][row]))
        assert equal is (length > 4)


@BOTH
def test_a_known_beginning_of_a_slow_path(explicit: bool) -> None:
    model, y = ZOO["slow-clock"].make(), torch.randn(B, 1, Z)
    with form(explicit), rv.given(y=y):
        trace = poutine.trace(model.model).get_trace(size=(B, T))
    first = trace.nodes["y_0"]["value"] if explicit else trace.nodes["y"]["value"][:, 0]
    assert torch.equal(first, y[:, 0])


def test_contexts_end_with_their_block_even_after_an_error() -> None:
    with pytest.raises(ValueError, match="within"), rv.explicit(), rv.given(z=torch.zeros(1)), rv.trusted(missing=True):
        assert is_explicit()
        raise ValueError("within")
    assert not is_explicit() and not vectorised.noise_source()
    run(lambda steps: [t.sample("z", unit, t.hold(torch.zeros(B, Z))) for t in steps], False)


@BOTH
def test_a_loop_without_sites_and_a_body_without_a_loop(explicit: bool) -> None:
    def body(steps: Any) -> None:
        for _ in steps:
            pass
        pyro.sample("v", unit(torch.zeros(Z)))

    assert "v" in run(body, explicit).nodes


# ------------------------------------------------------------------------------------------------------ rollouts
PARALLEL = ["RVAE", "STORN", "DMM", "DMM-skip", "two-loops", "gaps-DMM", "labels", "shared", "autoregressive"]
SEQUENTIAL = ["VRNN", "DMM-combiner", "hierarchical", "slow-clock"]


def rollouts(name: str, monkeypatch: pytest.MonkeyPatch, run: Callable[[Any, Any, Any], Any]) -> int:
    case, started = ZOO[name], []
    make = vectorised.Rollout.__init__

    def counted(self: Any, *args: Any) -> None:
        started.append(1)
        make(self, *args)

    monkeypatch.setattr(vectorised.Rollout, "__init__", counted)
    model = case.make()
    run(model, case.x(), case.extra())
    return len(started)


@pytest.mark.parametrize("name", PARALLEL)
def test_where_nothing_waits_for_the_step_before_no_rollout_runs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not rollouts(name, monkeypatch, lambda m, x, known: Trace_ELBO().loss(m.model, m.guide, x, **known))


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_a_training_step_rolls_out_the_guide_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rollouts(name, monkeypatch, lambda m, x, known: Trace_ELBO().loss(m.model, m.guide, x, **known)) == 1


def test_a_chain_as_a_prior_generates_in_parallel(monkeypatch: pytest.MonkeyPatch) -> None:
    def generate(model: Any, x: Tensor, known: Any) -> None:
        poutine.trace(model.model).get_trace(size=(B, T), **known)

    assert not rollouts("chain-prior", monkeypatch, generate)


def graph(loss: Tensor) -> Counter[str]:
    """The operations of a backward pass, counted."""
    seen, todo, names = set(), [loss.grad_fn], Counter[str]()
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        names[type(node).__name__] += 1
        todo += [parent for parent, _ in node.next_functions]
    return names


@pytest.mark.parametrize("name", ["VRNN", "DMM", "DMM-combiner", "STORN", "hierarchical"])
def test_the_backward_pass_is_linear_in_time(name: str) -> None:
    """No operation selects a step out of a whole sequence (each would cost O(T) in the backward pass)."""
    case, sizes = ZOO[name], []
    for length in (4, 8, 16):
        model, x = case.make(), case.x(shape=(2, length))
        q = poutine.trace(model.guide).get_trace(x)
        p = poutine.trace(poutine.replay(model.model, q)).get_trace(x)
        names = graph(p.log_prob_sum() - q.log_prob_sum())
        assert not names["SelectBackward0"] and not names["IndexBackward0"]
        sizes.append(sum(names.values()))
    assert sizes[2] - sizes[1] <= 2.2 * (sizes[1] - sizes[0]) + 8


def test_no_random_number_is_drawn_that_nobody_asked_for() -> None:
    """Where every value is fixed, the probe and the pass over all steps draw none."""
    for name in ("VRNN", "DMM", "RVAE", "hierarchical"):
        model, x = ZOO[name].make(), ZOO[name].x()
        values = {n: s["value"] for n, s in poutine.trace(model.guide).get_trace(x).iter_stochastic_nodes()}
        state = torch.get_rng_state()
        poutine.trace(poutine.condition(model.model, values)).get_trace(x)
        assert torch.equal(torch.get_rng_state(), state)


def test_one_seed_gives_one_draw() -> None:
    model, drawn = ZOO["VRNN"].make(), []
    for _ in range(2):
        pyro.set_rng_seed(7)
        drawn.append(poutine.trace(model.model).get_trace(size=(B, T)).nodes["x"]["value"])
    assert torch.equal(*drawn) and drawn[0].shape == (B, T, X)


def test_a_model_keeps_no_state_of_a_call() -> None:
    model, x = ZOO["VRNN"].make(), ZOO["VRNN"].x()
    before = set(model.__dict__)
    Trace_ELBO().loss(model.model, model.guide, x, MASK)
    assert set(model.__dict__) == before


# ------------------------------------------------------------------------------------- the path of a carried state
class CarriedPath(rv.SequenceVAE):
    """z_t ~ N(0, I); h_t = f(h_{t-1}, z_{t-1}) every 2 frames; x_t ~ p(x_t | h that holds at t): two loops."""

    def __init__(self) -> None:
        super().__init__()
        self.x_dim, self.z0 = X, torch.nn.Parameter(torch.zeros(Z))
        self.prior, self.f = rv.StandardNormal(0, Z), rv.LSTM(Z, H)
        self.likelihood = rv.Conditional(torch.nn.Linear(H, X), rv.Bernoulli(X))
        self.posterior = rv.Conditional(torch.nn.Linear(X, 2 * Z), rv.Normal(Z))

    def generative(self, steps: rv.Steps) -> None:
        slow = steps.every(min(2, steps.length))
        for j in slow:
            j.carry("h", self.f, j.prev("z", self.z0))
            j.sample("z", self.prior)
        h = steps.path("h")
        for t in steps:
            t.sample("x", self.likelihood, t.at(h))

    def inference(self, steps: rv.Steps, x: Tensor) -> None:
        for j in steps.every(min(2, steps.length)):
            j.sample("z", self.posterior, j.at(x))


def test_the_path_of_a_carried_state_is_read_after_its_loop() -> None:
    torch.manual_seed(0)
    forms_agree(CarriedPath(), Trace_ELBO(), make_data("binary", 0, (B, T)), MASK)
    rv.testing.check_model(CarriedPath(), make_data("binary", 0, (B, T)))
    for explicit in (False, True):  # z drawn, so the state comes from the rollout
        with form(explicit):
            CarriedPath().model(size=(2, 5))


def test_a_path_that_nobody_drew_names_what_there_is() -> None:
    steps = rv.Steps(3)
    with pytest.raises(ValueError, match=r"sampled 'h', or carried it \(there are: none\)"):
        steps.path("h")
