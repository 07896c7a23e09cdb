"""The streaming reading: on the same noise it is the particle reading, for every model of the zoo that it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro.poutine as poutine
import pytest
import torch
from laws import same
from linear_gaussian import LinearGaussian
from torch import Tensor, nn
from zoo import ZOO, B, Case, T

import pyro_rvae as rv
from pyro_rvae.core.filtering import particle_filter
from pyro_rvae.core.resampling import multinomial
from pyro_rvae.core.stream_engine import Engine, Seen
from pyro_rvae.core.streaming import Moment, Unstreamable
from pyro_rvae.nn import Late
from pyro_rvae.nn.unfolding import frame_by_frame, refuse_frames, unfolding

# Whose guide is a filter.
FILTERS = {
    "VRNN", "STORN", "KVAE", "VRNN-GRU", "VRNN-RNN-2", "SRNN-filter", "VRNN-deep", "DMM-ST-L", "DMM-MF-L", "KVAE-2",
    "KVAE-linear", "KVAE-gaps", "KVAE-point", "conditional-KVAE", "DMM-filter", "VRNN-residual", "VRNN-low-rank",
    "STORN-flow", "gaps-low-rank", "RVAE-pointwise", "normal", "student", "poisson", "categorical", "nade",
    "gaps-VRNN", "gaps-STORN", "gaps-codes", "mixture-prior", "student-prior", "conditional-VRNN",
    "conditional-STORN", "continuous-Bernoulli", "frame-dropout-VRNN", "frame-dropout-STORN", "standard-VRNN",
    "flow-VRNN", "conditional-STORN-linear-Gaussian", "deterministic", "deterministic-gaps", "deterministic-context",
}
# Whose generative program looks at more than the frames so far, or draws nothing at a frame.
WHOLE = {
    "VRAE", "VRAE-GRU-2", "conditional-VRAE", "student-fixed", "gaps-continuous-Bernoulli", "RAE", "word-dropout",
    "vamp-VRAE", "mixture-VRAE", "path-prior", "ARAE", "ARAE-GRU", "ARAE-additive", "ARAE-point", "ARAE-codes",
    "conditional-ARAE", "HRAE", "HRAE-2-3", "HRAE-point", "HRAE-gaps", "conditional-HRAE", "MusicVAE",
    "MusicVAE-point", "conditional-MusicVAE", "RVAE-noncausal", "RVAE-noncausal-feedback", "two-loops", "slow-clock",
    "DMM-process", "RVAE-dense", "supervised-VRNN", "supervised-VRAE", "supervised-summary", "supervised-HRAE",
}
NO_NOISE = {"SRNN-mixture", "mixture-prior", "mixture-chain", "student-prior"}  # priors that no Gaussian is sent to
K = 3


def engine(model: Any, series: int = B, particles: int = K, **settings: Any) -> Engine:
    given = {"seed": 0, "bootstrap": False, "labels": None, "control_dim": 0, "resampling": multinomial,
             "threshold": 2.0, "expected": False} | settings
    return Engine(model, series, particles, **given)


def of_case(case: Case, model: Any, **settings: Any) -> Engine:
    extra = case.extra()
    return engine(model, labels=extra.get("labels"), control_dim=2 if "controls" in extra else 0, **settings)


def fed(stream: Engine, x: Tensor, controls: Tensor | None = None) -> list[Seen]:
    return [stream.advance(list(range(len(x))), frame, None if controls is None else controls[:, t])
            for t, frame in enumerate(x.unbind(1))]


def refused(model: Any, match: str, **settings: Any) -> None:
    with pytest.raises(Unstreamable, match=match):
        engine(model, **settings)


# ------------------------------------------------------------------------------------------------ the law
@pytest.mark.parametrize("bootstrap", [False, True], ids=["guide", "bootstrap"])
@pytest.mark.parametrize("name", [name for name, case in ZOO.items() if not case.static])
def test_it_is_the_particle_filter_on_the_same_noise(name: str, bootstrap: bool) -> None:
    case = ZOO[name]
    model, x, extra = case.make().eval(), case.x(), case.extra()
    if name in WHOLE or (not bootstrap and name not in FILTERS):
        with pytest.raises(Unstreamable, match=r"rv.tasks.score|bootstrap=True|`base`|more and more memory"):
            of_case(case, model, bootstrap=bootstrap)
        return
    if bootstrap and name in NO_NOISE:
        assert len(fed(of_case(case, model, bootstrap=True), x)) == T  # what its trial has compared, by densities
        return
    with rv.given_noise(0), torch.no_grad():
        seen = fed(of_case(case, model, bootstrap=bootstrap), x, extra.get("controls"))
    increments = torch.stack([s.increments for s in seen])
    if name.startswith("deterministic"):
        return same(increments, by_step(model, x, extra), "log density")
    with rv.given_noise(0), torch.no_grad():
        found = particle_filter(model, x, num_particles=K, threshold=2.0, bootstrap=bootstrap, resampling=multinomial,
                                **extra)
    assert found.resampled.all()
    same(increments, found.increments[:-1], "log density")
    same(torch.stack([s.log_weights for s in seen]).exp(), found.step_weights.exp(), "weights")
    same(torch.stack([s.effective_sizes for s in seen]), found.effective_sizes, "effective sizes")
    assert found.filtering.keys() == seen[0].drawn.keys()
    for site, path in found.filtering.items():
        same(torch.stack([s.drawn[site] for s in seen], -2), path, site)


def by_step(model: Any, x: Tensor, extra: dict[str, Tensor]) -> Tensor:
    with rv.explicit(), torch.no_grad():
        trace = poutine.trace(model.model).get_trace(x, **extra)
    trace.compute_log_prob()
    return torch.stack([trace.nodes[f"x_{t}"]["log_prob"] for t in range(x.shape[1])])


def test_the_lists_name_models_of_the_zoo() -> None:
    assert FILTERS <= ZOO.keys() and WHOLE <= ZOO.keys() and NO_NOISE <= ZOO.keys() and not FILTERS & WHOLE


@pytest.mark.parametrize("threshold", [0.0, 0.6])
def test_where_only_some_are_resampled(threshold: float) -> None:
    model, x = LinearGaussian(smooth=False).eval(), 3 * torch.randn(5, 9, 1)
    with rv.given_noise(1):
        seen = fed(engine(model, 5, 6, threshold=threshold), x)
        found = particle_filter(model, x, num_particles=6, threshold=threshold, resampling=multinomial)
    same(torch.stack([s.increments for s in seen]), found.increments[:-1], "log density")
    same(seen[-1].log_weights.exp(), found.log_weights.exp(), "weights")
    assert bool(found.resampled.any()) == (threshold > 0) and not found.resampled.all()


def test_one_particle_is_the_guides_draw() -> None:
    model = ZOO["VRNN"].make().eval()
    x = ZOO["VRNN"].x()
    with rv.given_noise(0), torch.no_grad():
        seen = fed(engine(model, particles=1), x)
        z = poutine.trace(model.guide).get_trace(x).nodes["z"]["value"]
    same(torch.stack([s.drawn["z"][0] for s in seen], -2), z, "z")
    assert all(s.log_weights.eq(0).all() for s in seen)


# ------------------------------------------------------------------------------------------------ series
@pytest.mark.parametrize(("name", "bootstrap"), [("VRNN", False), ("SRNN-filter", False), ("KVAE-gaps", False),
                                                 ("ZForcing", True), ("DSAE", True), ("AR1-DMM", True),
                                                 ("conditional-STORN-linear-Gaussian", False)])
def test_series_of_any_age_are_as_if_alone(name: str, bootstrap: bool) -> None:
    """Each begins at its own time, misses calls, and starts anew: as streams of their own."""
    case, calls = ZOO[name], [[2], [2, 0], [1, 2], [0, 1, 2], [2, 0], [1, 0, 2], [0, 1]]
    model, extra = case.make().eval(), case.extra()
    x, u = case.x(shape=(3, len(calls))), extra.get("controls", torch.zeros(3, T, 2))[:3, :T]
    labels = extra["labels"][:3] if "labels" in extra else None
    settings: dict[str, Any] = {"bootstrap": bootstrap, "control_dim": 2 if "controls" in extra else 0}
    with rv.given_noise(0):
        shared = engine(model, 3, labels=labels, **settings)
        alone = [engine(model, 1, labels=None if labels is None else labels[n:n + 1], **settings) for n in range(3)]
    for t, series in enumerate(calls):
        if t == 4:
            shared.reset([2])
            alone[2].reset([0])
        known = u[series, min(t, T - 1)] if "controls" in extra else None
        with rv.given_noise(t, torch.tensor(series)):
            seen = shared.advance(series, x[series, t], known)
        for place, n in enumerate(series):
            with rv.given_noise(t, torch.tensor([n])):
                own = alone[n].advance([0], x[n:n + 1, t], None if known is None else known[place:place + 1])
            same(seen.increments[place], own.increments[0], f"log density of series {n}")
            same(seen.log_weights[:, place].exp(), own.log_weights[:, 0].exp(), f"weights of series {n}")
            for site, value in own.drawn.items():
                same(seen.drawn[site][:, place], value[:, 0], f"{site} of series {n}")
    assert shared.ages == [stream.ages[0] for stream in alone] == [5, 4, 2]


def test_series_whose_states_have_another_form_are_read_apart() -> None:
    """Without given noise series of several ages go together, but for the first frames of a Late part."""
    model, x = rv.DeterministicRNN(5, 8, recurrence=Late(rv.LSTM(5, 8))).eval(), ZOO["VRNN"].x(shape=(3, 6))
    stream, expected = engine(model, 3), by_step(model, x, {})
    for t, late in enumerate([[0], [0, 1], [0, 1, 2], [2, 0, 1], [1, 2, 0]]):
        series = [n for n in late if t - n >= 0]
        seen = stream.advance(series, torch.stack([x[n, t - n] for n in series]))
        same(seen.increments, torch.stack([expected[t - n, n] for n in series]), f"log density at {t}")
    assert stream.layout.age(9) == 2


@pytest.mark.parametrize(("name", "frames"), [("VRNN-RNN-2", 200), ("KVAE", 40), ("DMM-ST-L", 40),
                                              ("conditional-STORN-linear-Gaussian", 40)])
def test_the_state_keeps_its_size(name: str, frames: int) -> None:
    case = ZOO[name]
    stream = of_case(case, case.make().eval())
    x, u = case.x(shape=(B, frames)), torch.randn(B, frames, 2) if "controls" in case.known else None
    sizes = []
    for t in range(frames):
        stream.advance(list(range(B)), x[:, t], None if u is None else u[:, t])
        sizes.append({n: (v.shape, v.dtype, v.untyped_storage().nbytes()) for n, v in stream.state.items()})
        assert all(v.grad_fn is None for v in stream.state.values())
    assert all(size.keys() == sizes[0].keys() for size in sizes) and sizes[5] == sizes[20] == sizes[-1]


def test_what_both_programs_carry_is_kept_once() -> None:
    stream = engine(ZOO["VRNN"].make().eval())
    fed(stream, ZOO["VRNN"].x())
    assert stream.state["/model/carried/h/0/0"] is stream.state["/guide/carried/h/0/0"]


# ------------------------------------------------------------------------------------------------ the trial
class Custom(rv.STORN):
    """Its guide reads ``features(x)``."""

    def __init__(self, features: Callable[[Tensor], Tensor]) -> None:
        super().__init__(5, 3, 8, encoder=rv.Pointwise)
        self.features = features

    def inference(self, steps: rv.Steps, x: Tensor) -> None:
        g = self.encoder(self.features(x), steps.mask)
        for t in steps:
            t.sample("z", self.posterior, t.at(g))


class TorchLSTM(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(5, 5, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x)[0]


class Smoothed(rv.Causal):
    """y_t = (y_{t-1} + u_t) / 2, with a fused call of its own."""

    out_dim = 5

    def step(self, u: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        y = 0.5 * (u if state is None else u + state)
        return y, y

    def forward(self, u: Tensor, init: Tensor | None = None) -> Tensor:
        half = torch.full_like(u, 0.5)
        return rv.linear_scan(half, half * u)


class Window(nn.Module):
    """A causal convolution over three frames, by hand."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.pad(x, (0, 0, 2, 0)).unfold(-2, 3, 1).mean(-1)


def ahead(x: Tensor) -> Tensor:
    return torch.cat([x[..., 1:, :], x[..., -1:, :]], -2)


MIXERS: dict[str, Callable[[Tensor], Tensor]] = {
    "ahead": ahead, "mean": lambda x: x + x.mean(-2, keepdim=True), "LSTM": TorchLSTM(), "window": Window(),
    "length": lambda x: x * x.shape[-2],
}


@pytest.mark.parametrize("features", MIXERS.values(), ids=MIXERS)
def test_a_part_that_mixes_frames_by_itself_is_caught(features: Any) -> None:
    refused(Custom(features).eval(), "the density of frame .* is off by")


@pytest.mark.parametrize("features", [Smoothed(), nn.Linear(5, 5), nn.Identity()])
def test_a_part_that_looks_back_or_at_the_frame_alone_streams(features: Any) -> None:
    model, x = Custom(features).eval(), ZOO["STORN"].x()
    with rv.given_noise(0), torch.no_grad():
        seen = fed(engine(model), x)
        found = particle_filter(model, x, num_particles=K, threshold=2.0, resampling=multinomial)
    same(torch.stack([s.increments for s in seen]), found.increments[:-1], "log density")


def test_a_part_that_fails_on_one_frame_is_refused() -> None:
    refused(Custom(lambda x: nn.functional.conv1d(x.mT, torch.ones(5, 5, 2)).mT.repeat(1, 2, 1)[:, : x.shape[1]]),
            "given one frame it fails")


class Counter(Smoothed):
    """Keeps count of its steps beside the state."""

    def __init__(self, kind: Callable[[Any], Any]) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, u: Tensor, init: Tensor | None = None) -> Tensor:
        return rv.Causal.forward(self, u, init)

    def step(self, u: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        before, counted = (None, self.kind(None)) if state is None else state
        y, before = super().step(u, before)
        return y, (before, self.kind(counted))


@pytest.mark.parametrize(("kind", "error"), [
    (lambda n: 0 if n is None else n + 1, "holds a int, of which a stream can't keep one for each series"),
    (lambda n: torch.zeros(2) if n is None else n + 1, "changes with time and has no dim of the series"),
    (lambda n: torch.zeros(1) if n is None else torch.cat([n, n[:1]]), "grows from frame to frame"),
    (lambda n: () if n is None else (*n, torch.zeros(1)), "another form at each frame"),
])
def test_a_state_that_can_not_be_kept_is_refused(kind: Any, error: str) -> None:
    refused(Custom(Counter(kind)).eval(), error)


def test_what_is_refused_says_what_to_use() -> None:
    refused(ZOO["SRNN"].make(), r"guide of SRNN.*looks ahead.*bootstrap=True.*SRNN\(smoothing=False\)")
    refused(ZOO["HRAE"].make(), r"rv.tasks.score")
    refused(ZOO["HRAE"].make(), r"steps.every\(k\), a slower clock", bootstrap=True)
    refused(ZOO["two-loops"].make(), r"steps.path\('z'\) is a whole path", bootstrap=True)
    refused(ZOO["DMM-process"].make(), "rv.LinearGaussian, rv.AR1", bootstrap=True)
    refused(ZOO["supervised-VRNN"].make(), "its `base`, a VRNN", labels=ZOO["supervised-VRNN"].extra()["labels"])
    refused(ZOO["VAE"].make(), "VAE is static")
    refused(ZOO["VRAE"].make(), "draws .'z'. once a sequence and nothing at each frame", bootstrap=True)
    refused(Guessing(), "the guide of Guessing.*draws 'v' once a sequence")


class Guessing(LinearGaussian):
    """Its guide draws something once a sequence, without looking."""

    def inference(self, steps: rv.Steps, x: Tensor) -> None:
        import pyro

        pyro.sample("v", pyro.distributions.Normal(torch.zeros(1), 1.0).to_event(1))
        super().inference(steps, x)


class Twice(LinearGaussian):
    """Loops again over its steps."""

    def generative(self, steps: rv.Steps) -> None:
        super().generative(steps)
        for _ in steps:
            pass


def test_a_second_loop_is_refused() -> None:
    refused(Twice(smooth=False), "a second loop over time")


# ------------------------------------------------------------------------------------------------ manners
def test_the_trial_leaves_everything_as_it_was() -> None:
    model, state = ZOO["VRNN"].make().train(), torch.get_rng_state()
    stream = engine(model)
    fed(stream, ZOO["VRNN"].x())
    assert model.training and torch.equal(torch.get_rng_state(), state) and unfolding() is None
    assert all(p.grad is None for p in model.parameters())


def test_a_frame_that_fails_changes_nothing() -> None:
    stream = engine(ZOO["VRNN"].make().eval())
    x = ZOO["VRNN"].x()
    fed(stream, x[:, :2])
    kept = dict(stream.state)
    with pytest.raises(ValueError, match="support"):
        stream.advance([0, 1], torch.full((2, 5), 7.0))
    assert all(stream.state[n] is v for n, v in kept.items()) and stream.ages == [2] * B and stream.count == 2


def test_parts_ask_whether_frames_unfold() -> None:
    refuse_frames("nothing")
    moment = Moment((1, 2))
    with pytest.raises(Unstreamable, match="a thing that looks ahead"), moment._program(LinearGaussian(), "guide"):
        assert unfolding() is not None
        with frame_by_frame(None):
            refuse_frames("a thing that looks ahead")
        refuse_frames("a thing that looks ahead")


def test_nothing_is_made_on_the_default_device() -> None:
    model, x = ZOO["VRNN"].make().eval(), ZOO["VRNN"].x()
    with torch.device("meta"):
        stream = engine(model, expected=True)
        stream.advance([2, 0], x[:2, 0])
        seen = stream.advance([0, 1, 2, 3], x[:, 1])
        assert stream.ahead([1, 3], 2, 5, None, 0).device == seen.increments.device == x.device
        stream.reset([1])
