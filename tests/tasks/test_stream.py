"""Streams as a user meets them: against Kalman, in raw units, saved and resumed, and with wrong input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyro.poutine as poutine
import pytest
import torch
from linear_gaussian import C, LinearGaussian, Q, R, dense
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from zoo import ZOO, B

import pyro_rvae as rv
from pyro_rvae.core.resampling import multinomial, systematic
from pyro_rvae.data import Affine
from pyro_rvae.tasks import Stream, Streamed, Unstreamable

MANY = 20_000


def kalman(x: Tensor) -> tuple[Tensor, Tensor, list[Tensor], list[Tensor]]:
    """Mean and variance of z_t given x_{<=t} at the end, and of x_t given x_{<t} at each step."""
    mean, variance, expected, spread = torch.zeros(()), torch.zeros(()), [], []
    for value in x:
        mean, variance = C * mean, C * C * variance + Q
        expected.append(mean)
        spread.append(variance + R)
        gain = variance / (variance + R)
        mean, variance = mean + gain * (value - mean), (1 - gain) * variance
    return mean, variance, expected, spread


@pytest.mark.parametrize("bootstrap", [False, True], ids=["guide", "bootstrap"])
def test_against_kalman(bootstrap: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(6)
    stream = Stream(LinearGaussian(smooth=bootstrap), 1, MANY, bootstrap=bootstrap, expected=True)
    found = [stream.update(value.reshape(1, 1)) for value in x]
    mean, variance, expected, spread = kalman(x)
    assert sum(f.log_density[0] for f in found) == pytest.approx(dense(x[None, :, None]).item(), abs=0.06)
    for t, f in enumerate(found):
        assert f.expected[0, 0] == pytest.approx(expected[t].item(), abs=0.03)
        law = torch.distributions.Normal(expected[t], spread[t].sqrt())
        assert f.log_density[0] == pytest.approx(law.log_prob(x[t]).item(), abs=0.04)
    assert found[-1].mean["z"][0, 0] == pytest.approx(mean.item(), abs=0.03)
    assert found[-1].deviation["z"][0, 0] ** 2 == pytest.approx(variance.item(), abs=0.02)


def test_a_forecast_is_that_of_kalman() -> None:
    torch.manual_seed(1)
    x = 2 * torch.randn(5)
    stream = Stream(LinearGaussian(smooth=False), 2, 4000)
    for value in x:
        stream.update(value.expand(2, 1))
    before = {name: value.clone() for name, value in stream.state.items()}
    draws = stream.forecast(4, MANY)
    assert draws.shape == (MANY, 2, 4, 1)
    assert all(torch.equal(before[name], value) for name, value in stream.state.items()) and stream.ages == [5, 5]
    mean, variance, _, _ = kalman(x)
    for h in range(4):
        mean, variance = C * mean, C * C * variance + Q
        assert draws[:, :, h, 0].mean(0) == pytest.approx(mean.item(), abs=0.06)
        assert draws[:, :, h, 0].var(0) == pytest.approx((variance + R).item(), abs=0.06)
    assert (draws == stream.forecast(4, MANY)).all()
    paths = draws[:, 0, :2, 0] - draws[:, 0, :2, 0].mean(0)
    assert (paths[:, 0] * paths[:, 1]).mean() > 0.3  # a draw is a path


@pytest.mark.parametrize("name", ["DMM-ST-L", "SRNN-filter", "VRNN-RNN-2", "KVAE", "conditional-KVAE"])
def test_a_forecast_goes_on_as_the_model_does(name: str) -> None:
    """From one particle, on the same noise: what the model draws behind the frames, given the path."""
    if ZOO[name].data == "binary":
        model = _normal(name)
    x, horizon = torch.randn(2, 7, 5), 3
    controls = torch.randn(2, 7 + horizon, 2) if name.startswith("cond") else None
    labels = torch.tensor([1, 2]) if controls is not None else None
    known = {} if controls is None else {"controls": controls, "labels": labels}
    with rv.given_noise(2), torch.no_grad():
        stream = Stream(model, 2, 1, labels=labels)
        seen = [stream.update(x[:, t], None if controls is None else controls[:, t]) for t in range(7)]
        draws = stream.forecast(horizon, 1, None if controls is None else controls[:, 7:])
        (site,) = seen[0].draws
        path = torch.stack([torch.from_numpy(f.draws[site][0]) for f in seen], -2)
        with rv.given(**{site: path}):
            whole = poutine.trace(model.model).get_trace(x, size=(2, 7 + horizon), **known).nodes["x"]["value"]
    np.testing.assert_allclose(draws[0], whole[:, 7:].numpy(), atol=1e-9)


def _normal(name: str) -> rv.SequenceVAE:
    """The case with a Gaussian likelihood, which draws from noise."""
    from functools import partial

    X, Z, H = 5, 3, 8
    context = rv.Context(control_dim=2, classes=3, dim=4)
    build: dict[str, Any] = {
        "DMM-ST-L": partial(rv.DMM, posterior=partial(rv.Combiner, hidden=H), encoder=rv.Forward),
        "SRNN-filter": partial(rv.SRNN, smoothing=False), "VRNN-RNN-2": partial(rv.VRNN, recurrence=partial(
            rv.RNN, layers=2)), "KVAE": rv.KVAE, "conditional-KVAE": partial(rv.KVAE, context=context)}
    return build[name](X, Z, H, likelihood=rv.Normal).eval()  # type: ignore[no-any-return]


def test_a_series_that_has_not_begun_is_forecast_from_its_start() -> None:
    stream = Stream(LinearGaussian(smooth=False), 3, 50)
    stream.update([[4.0]], series=[1])
    draws = stream.forecast(2, 5000)
    assert draws[:, [0, 2], 0, 0].mean(0) == pytest.approx(0.0, abs=0.06) and draws[:, 1, 0, 0].mean() > 1
    np.testing.assert_array_equal(stream.forecast(2, 30, series=[2, 1]).shape, (30, 2, 2, 1))


# ------------------------------------------------------------------------------------------------ units
def test_everything_is_in_raw_units() -> None:
    model = rv.VRNN(2, 3, 8, likelihood=rv.Normal)
    plain = Stream(model, 2, 20, expected=True)
    x = torch.randn(3, 2, 2)
    x[1, 0, 1] = torch.nan
    found = [plain.update(frame) for frame in x]
    ahead = plain.forecast(2, 10)
    scale, loc = torch.tensor([10.0, 0.5]), torch.tensor([3.0, -1.0])
    model.transform = Affine(loc, scale)
    raw = Stream(model, 2, 20, expected=True)
    for frame, before in zip(x, found, strict=True):
        f = raw.update((frame * scale + loc).numpy())
        np.testing.assert_allclose(f.log_density, before.log_density, atol=1e-9)
        taken = (scale.log() * ~frame.isnan()).sum(-1).numpy()
        np.testing.assert_allclose(f.log_density_raw, before.log_density - taken, atol=1e-9)
        np.testing.assert_allclose(f.expected, before.expected * scale.numpy() + loc.numpy(), atol=1e-9)
    np.testing.assert_allclose(raw.forecast(2, 10), ahead * scale.numpy() + loc.numpy(), atol=1e-9)


def test_a_frame_that_is_missing_moves_time_on() -> None:
    case = ZOO["gaps-VRNN"]
    stream = Stream(case.make().eval(), 2, 10)
    found = stream.update(torch.full((2, 5), torch.nan))
    assert stream.ages == [1, 1] and found.age.tolist() == [1, 1] and np.isfinite(found.mean["z"]).all()
    assert np.isnan(found.log_density).all() and np.isnan(found.log_density_raw).all()  # nothing was observed
    codes = Stream(ZOO["gaps-codes"].make().eval(), 1, 5, bootstrap=True)
    assert np.isnan(codes.update([[-1, -1]]).log_density) and np.isfinite(codes.update([[-1, 1]]).log_density)


def test_a_model_without_latents_is_exact() -> None:
    case = ZOO["deterministic-context"]
    model, x, u = case.make().eval(), case.x(), case.extra()["controls"]
    one, many = Stream(model, B, 1, expected=True), Stream(model, B, 7)
    for t in range(x.shape[1]):
        a, b = one.update(x[:, t], u[:, t]), many.update(x[:, t], u[:, t])
        np.testing.assert_allclose(a.log_density, b.log_density, atol=1e-12)
        assert a.draws == {} and b.effective_size == pytest.approx(7.0)
        law = np.where(x[:, t] > 0, a.expected, 1 - a.expected)
        np.testing.assert_allclose(np.log(law).sum(-1), a.log_density, atol=1e-9)  # the mean of 0/1 is its law


@pytest.mark.parametrize("name", ["VRNN", "DMM-ST-L"])
def test_its_densities_are_the_scores_by_step(name: str) -> None:
    """In one unit, and missing where the other is: a threshold of ``score`` is one for a stream."""
    model = rv.VRNN(2, 2, 6, likelihood=rv.Normal) if name == "VRNN" else rv.DMM(
        2, 2, 6, likelihood=rv.Normal, posterior=rv.Combiner, encoder=rv.Forward)
    model.transform = Affine(torch.tensor([3.0, -1.0]), torch.tensor([10.0, 0.01]))
    x = torch.randn(5, 1, 2) * model.transform.scale + model.transform.loc
    x[1, 0, 1], x[3] = torch.nan, torch.nan
    scores = rv.tasks.score(model, [x[:, 0]], 4000, expected=None)
    stream = Stream(model.eval(), 1, 4000)
    found = np.concatenate([stream.update(frame).log_density for frame in x])
    assert scores.method == "filter"
    np.testing.assert_allclose(-found, scores.by_step[0], atol=0.05)


# ------------------------------------------------------------------------------------------------ extreme frames
@pytest.mark.parametrize("far", [3e3, 1e4, 1e5])
def test_weights_sum_to_one_after_a_spike(far: float) -> None:
    model = LinearGaussian(smooth=False).float()
    torch.set_default_dtype(torch.float32)
    stream = Stream(model, 1, 200)
    for value in (0.1, far, 0.2):
        found = stream.update([[value]])
        assert found.weights.sum() == pytest.approx(1.0, abs=1e-5)
        assert 1 - 1e-5 <= found.effective_size[0] <= 200 * (1 + 1e-5)


def test_a_frame_after_which_the_state_is_not_finite_is_refused() -> None:
    model = rv.KVAE(2, 2, 6, likelihood=rv.Normal).float().eval()
    stream = Stream(model, 3, 5)
    usual = np.zeros((3, 2), np.float32)
    stream.update(usual)
    kept = {name: value.clone() for name, value in stream.state.items()}
    with pytest.raises(ValueError, match=r"frame of series 1 can't be taken in.*KVAE would not be finite.*1e\+38"):
        stream.update(np.array([[0.0, 0], [1e38, 3], [0, 0]], np.float32))
    assert stream.ages == [1, 1, 1] and all(torch.equal(kept[n], v) for n, v in stream.state.items())
    assert np.isfinite(stream.update(usual).log_density).all()


def test_a_density_of_zero_recovers() -> None:
    stream = Stream(LinearGaussian(smooth=False), 1, 20)
    stream.update([[0.1]])
    found = stream.update([[1e160]])  # the square is infinite
    assert found.log_density[0] == -np.inf and found.weights.sum() == pytest.approx(1.0)
    assert np.isfinite(stream.forecast(1, 3)).all()


# ------------------------------------------------------------------------------------------------ files
@pytest.mark.parametrize(("name", "settings"), [
    ("VRNN", {}), ("KVAE-gaps", {"threshold": 2.0}), ("DSAE", {"bootstrap": True, "resampling": multinomial}),
    ("conditional-STORN-linear-Gaussian", {}), ("ZForcing", {"bootstrap": True, "threshold": 2.0}),
    ("bayesian", {"bootstrap": True}), ("gaps-codes", {"resampling": multinomial, "threshold": 0.9}),
])
def test_saved_and_resumed_it_goes_on_bit_for_bit(name: str, settings: dict[str, Any], tmp_path: Path) -> None:
    case = ZOO[name]
    model, x, extra = case.make().eval(), case.x(), case.extra()
    u = extra.get("controls")
    stream = Stream(model, B, 6, seed=3, labels=extra.get("labels"), **settings)

    def step(stream: Stream, t: int, series: list[int]) -> Streamed:
        return stream.update(x[series, t], None if u is None else u[series, t], series=series)

    for t, series in enumerate([[0, 1, 2], [2], [2, 0]]):
        step(stream, t, series)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        again = Stream.load(stream.save(tmp_path / "stream.safetensors"), model)
    assert again.ages == stream.ages and again.state.keys() == stream.state.keys()
    for t, series in enumerate([[3, 1, 0, 2], [0, 1, 2, 3]], 3):
        a, b = step(stream, t, series), step(again, t, series)
        for field in ("log_density", "weights", "effective_size"):
            np.testing.assert_array_equal(getattr(a, field), getattr(b, field), field)
        assert all(np.array_equal(a.draws[site], b.draws[site]) for site in a.draws)
    ahead = None if u is None else torch.zeros(B, 2, 2)
    assert np.array_equal(stream.forecast(2, 5, ahead), again.forecast(2, 5, ahead))


def rewritten(path: Path, to: Path, version: int) -> None:
    """The file as another version of the package says that it wrote it."""
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["pyro_rvae.Stream"]) | {"version": version}
    if version == 1:
        del about["version"]
    save_file(load_file(path), to, {"pyro_rvae.Stream": json.dumps(about)})


def test_files_that_are_no_stream_of_the_model(tmp_path: Path) -> None:
    model, path = rv.VRNN(5, 3, 8), tmp_path / "stream.safetensors"
    stream = Stream(model, 2, 4)
    stream.update(torch.zeros(2, 5))
    stream.save(path)
    with pytest.raises(ValueError, match="stream of a VRNN, got a STORN"):
        Stream.load(path, rv.STORN(5, 3, 8))
    with pytest.raises(ValueError, match="a VRNN with other weights"):
        Stream.load(path, rv.VRNN(5, 3, 8))
    flipped = rv.VRNN(5, 3, 8)
    flipped.load_state_dict(model.state_dict())
    next(flipped.parameters()).data.neg_()  # the sum of the absolute values stays
    with pytest.raises(ValueError, match="a VRNN with other weights"):
        Stream.load(path, flipped)
    flipped.load_state_dict(model.state_dict())
    assert Stream.load(path, flipped).ages == [1, 1]
    flipped.transform = Affine(torch.zeros(5), torch.full((5,), 2.0))
    with pytest.raises(ValueError, match="or another transform of its data"):
        Stream.load(path, flipped)
    for version, match in ((1, "an earlier version of pyro_rvae, which could not tell"), (9, "a newer version")):
        rewritten(path, tmp_path / "form", version)
        with pytest.raises(ValueError, match=match):
            Stream.load(tmp_path / "form", model)
    with pytest.raises(ValueError, match="there is no file"):
        Stream.load(tmp_path / "none", model)
    (tmp_path / "half").write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match="no whole file of Stream.save"):
        Stream.load(tmp_path / "half", model)
    rv.tasks.save_weights(model, tmp_path / "weights")
    with pytest.raises(ValueError, match="holds tensors, and no stream"):
        Stream.load(tmp_path / "weights", model)
    with pytest.raises(ValueError, match="the folder .* must exist"):
        stream.save(tmp_path / "nowhere" / "stream")

    def scheme(w: Tensor, u: Tensor) -> Tensor:
        return systematic(w, u)

    own = Stream(model, 2, 4, resampling=scheme)
    with pytest.raises(ValueError, match="a function of your own"):
        Stream.load(own.save(path), model)
    assert Stream.load(path, model, resampling=scheme).num_particles == 4


# ------------------------------------------------------------------------------------------------ wrong input
def controlled(**settings: Any) -> Stream:
    return Stream(ZOO["deterministic-context"].make().eval(), 2, 1, **settings)


@pytest.mark.parametrize(("call", "error"), [
    (lambda s: s.update(torch.zeros(3, 5)), r"one frame of each of 2 series, \(B, x_dim\) = \(2, 5\), got \(3, 5\)"),
    (lambda s: s.update(torch.zeros(2, 4)), r"got \(2, 4\)"),
    (lambda s: s.update(torch.zeros(2, 1, 5)), r"got \(2, 1, 5\)"),
    (lambda s: s.update("text"), "an array of numbers"),
    (lambda s: s.update(torch.full((2, 5), torch.inf)), "x is infinite"),
    (lambda s: s.update(torch.full((2, 5), 0.5)), "outside the support"),
    (lambda s: s.update(torch.zeros(1, 5), series=[2]), "there is no series 2; this stream has 2, numbered 0 to 1"),
    (lambda s: s.update(torch.zeros(1, 5), series=[-1]), "there is no series -1"),
    (lambda s: s.update(torch.zeros(2, 5), series=[1, 1]), "names a series twice"),
    (lambda s: s.update(torch.zeros(0, 5), series=[]), "one or more series, integers"),
    (lambda s: s.update(torch.zeros(2, 5), series=[True, False]), "integers; got"),
    (lambda s: s.update(torch.zeros(2, 5), controls=torch.zeros(2, 1)), "controls were given, and this stream reads"),
    (lambda s: s.reset([7]), "there is no series 7"),
    (lambda s: s.forecast(0), "horizon must be an integer of at least 1"),
    (lambda s: s.forecast(2, 0), "num must be an integer of at least 1"),
])
def test_wrong_frames_are_refused_and_change_nothing(call: Any, error: str) -> None:
    stream = Stream(rv.VRNN(5, 3, 8), 2, 4)
    stream.update(torch.ones(2, 5))
    kept = {name: value.clone() for name, value in stream.state.items()}
    with pytest.raises(ValueError, match=error):
        call(stream)
    assert stream.ages == [1, 1] and all(torch.equal(kept[n], v) for n, v in stream.state.items())


def test_wrong_controls_codes_and_gaps_are_refused() -> None:
    with pytest.raises(ValueError, match=r"reads controls, \(2, 2\), and none were given"):
        controlled().update(torch.zeros(2, 5))
    with pytest.raises(ValueError, match=r"controls must be \(2, 2\), got \(2, 3\)"):
        controlled().update(torch.zeros(2, 5), torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"forecast: controls must be \(2, 4, 2\), got \(2, 2\)"):
        controlled().forecast(4, controls=torch.zeros(2, 2))
    codes = Stream(ZOO["categorical"].make().eval(), 1, 3)
    with pytest.raises(ValueError, match="integer codes"):
        codes.update(torch.zeros(1, 2))
    with pytest.raises(ValueError, match="its codes are 0..3"):
        codes.update([[0, 4]])
    with pytest.raises(ValueError, match="neither skip nor marginalise"):
        Stream(ZOO["autoregressive"].make().eval(), 1, 3, bootstrap=True).update(torch.full((1, 5), torch.nan))
    labels = ZOO["conditional-VRNN"]
    with pytest.raises(ValueError, match="the model reads labels"):
        Stream(labels.make().eval(), 2, 3)
    with pytest.raises(ValueError, match="labels must have one row a sequence, 2"):
        Stream(labels.make().eval(), 2, 3, labels=[0, 1, 2])


def test_wrong_settings_are_refused() -> None:
    model = rv.VRNN(5, 3, 8)
    with pytest.raises(TypeError, match="got the class VRNN"):
        Stream(rv.VRNN)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="one frame at a time; got Linear"):
        Stream(torch.nn.Linear(2, 2))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="num_series must be an integer of at least 1"):
        Stream(model, 0)
    with pytest.raises(ValueError, match="num_particles must be an integer of at least 1"):
        Stream(model, num_particles=0)
    with pytest.raises(ValueError, match="control_dim must be an integer of at least 0"):
        Stream(model, control_dim=-1)
    with pytest.raises(ValueError, match="Stream: seed must be from 0"):
        Stream(model, seed=-1)
    with pytest.raises(TypeError, match="Stream: seed must be an integer"):
        Stream(model, seed=None)  # type: ignore[arg-type]
    one = Stream(model, np.int64(2), np.int32(3), seed=np.int64(4), threshold=np.float32(0.5))
    assert (one.num_series, one.num_particles) == (2, 3) and "num_series=2" in repr(one)
    with pytest.raises(TypeError, match="got 'systematic'"):
        Stream(model, resampling="systematic")  # type: ignore[arg-type]
    with pytest.raises(Unstreamable, match="bootstrap=True"):
        Stream(rv.SRNN(5, 3, 8))


def test_a_series_that_starts_anew_may_have_another_label() -> None:
    model, x = ZOO["conditional-VRNN"].make().eval(), ZOO["conditional-VRNN"].x()
    u = torch.zeros(2, 2)
    stream = Stream(model, 2, 4, labels=[0, 1])
    stream.update(x[:2, 0], u)
    stream.reset([1], labels=[2])
    other = Stream(model, 2, 4, labels=[0, 2])
    with rv.given_noise(0):
        a, b = stream.update(x[:1, 1], u[:1], series=[1]), other.update(x[:1, 1], u[:1], series=[1])
    assert np.allclose(a.log_density, b.log_density) and stream.ages == [1, 1]
    with pytest.raises(ValueError, match="built without: leave them out"):
        Stream(rv.VRNN(5, 3, 8)).reset(labels=[1])


# ------------------------------------------------------------------------------------------------ manners
def test_what_it_prints_and_gives_to_json() -> None:
    stream = Stream(rv.VRNN(5, 3, 8), 20, 10, expected=True)
    found = stream.update(torch.zeros(20, 5))
    shown = repr(found)
    assert "VRNN: a frame of 20 series, 10 particles each" in shown and "... and 8 more" in shown
    assert f"{found.log_density[0]:.3f}" in shown and repr(stream).startswith("Stream(VRNN, num_series=20")
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    gone = stream.update(torch.full((20, 5), torch.nan)).to_dict()
    assert json.loads(json.dumps(gone, allow_nan=False))["log_density"] == [None] * 20
    assert plain["log_density"] == found.log_density.tolist() and plain["num_particles"] == 10
    assert np.allclose(found.weights.sum(0), 1) and found.draws["z"].shape == (10, 20, 3)
    found.draws["z"][:] = 7.0  # a copy: the stream's own stay as they are
    assert not (stream.state["/before/z"] == 7).any()


def test_draws_are_a_function_of_the_seed() -> None:
    model, x = rv.VRNN(5, 3, 8), torch.ones(2, 5)
    apart = Stream(rv.RVAE(5, 3, 8, encoder=rv.Pointwise), 2, 4)  # q(z_t | x_t), of the same x_t
    before = torch.get_rng_state()
    assert not np.array_equal(apart.update(x).draws["z"], apart.update(x).draws["z"])

    def draws(seed: int) -> Any:
        stream = Stream(model, 2, 4, seed=seed)
        first, second = stream.update(x), stream.update(x)
        assert not np.array_equal(first.draws["z"], second.draws["z"])
        return second.draws["z"]

    assert np.array_equal(draws(0), draws(0)) and not np.array_equal(draws(0), draws(1))
    assert torch.equal(torch.get_rng_state(), before) and model.training
