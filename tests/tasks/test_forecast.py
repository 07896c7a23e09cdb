"""Filter the past, draw the future: the exact law, nothing of the future, every model."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import zoo
from linear_gaussian import LENGTH, C, LinearGaussian, Q, R

import pyro_rvae as rv
from pyro_rvae.data import Affine, SequenceDataset
from pyro_rvae.tasks import Forecast, forecast

NUM = 4000


def dense(x: np.ndarray, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of what follows x in the linear-Gaussian model, from the joint Gaussian of all frames."""
    past, size = len(x), len(x) + horizon
    lower = np.linalg.inv(np.eye(size) - C * np.eye(size, k=-1))
    k = Q * lower @ lower.T + R * np.eye(size)
    gain = k[past:, :past] @ np.linalg.inv(k[:past, :past])
    return gain @ x, k[past:, past:] - gain @ k[:past, past:]


def test_it_is_the_exact_law() -> None:
    """Pasts of several lengths, a horizon longer than any of them: moments of the draws beside the dense Gaussian's."""
    pasts = [torch.randn(n, 1) for n in (LENGTH, 2, 5, 2)]
    found = forecast(LinearGaussian(), pasts, 9, NUM, seed=1)
    assert found.draws.shape == (NUM, 4, 9, 1) and found.horizon == 9
    for n, past in enumerate(pasts):
        mean, spread = dense(past[:, 0].numpy(), 9)
        draws = found.draws[:, n, :, 0]
        assert (np.abs(draws.mean(0) - mean) < 4.5 * np.sqrt(spread.diagonal() / NUM)).all()
        error = np.sqrt((np.outer(spread.diagonal(), spread.diagonal()) + spread**2) / NUM)
        assert (np.abs(np.cov(draws.T) - spread) < 4.5 * error).all(), "draws are paths"
        low, high = found.interval(0.8)
        width = 2 * 1.2815515655 * np.sqrt(spread.diagonal())
        assert np.allclose(high[n, :, 0] - low[n, :, 0], width, rtol=0.08)


def test_draws_of_the_right_law_cover() -> None:
    """A new draw of the same law falls into the central 50% and 90% of 19 draws half and nine tenths of the time."""
    pasts = torch.randn(1, 3, 1).expand(3000, 3, 1)
    found = forecast(LinearGaussian(), pasts, 2, 20, batch_size=3000)
    truth, held = found.draws[0], Forecast(found.draws[1:], found.past, "real")
    for level in (0.5, 0.9):
        low, high = held.interval(level)
        share = ((low <= truth) & (truth <= high)).mean()
        assert share == pytest.approx(level, abs=4.5 * math.sqrt(level * (1 - level) / 3000))


def test_the_future_is_not_looked_at() -> None:
    """The same draws whatever stands behind the past, in every form of the past."""
    torch.manual_seed(0)
    model, x = zoo.ZOO["DMM-combiner-both"].make(), torch.bernoulli(torch.full((2, 6, zoo.X), 0.5))
    first = forecast(model, [s[:4] for s in x], 3, 5).draws
    assert np.array_equal(first, forecast(model, x[:, :4].numpy(), 3, 5).draws)
    data = SequenceDataset.from_sequences(list(x[:, :4]))
    assert np.array_equal(first, forecast(model, data, 3, 5).draws)
    changed = x[:, :4].clone()
    changed[:, 3] = 1 - changed[:, 3]
    assert not np.array_equal(first, forecast(model, changed, 3, 5).draws)


def test_seed_state_and_store() -> None:
    model, past = rv.VRNN(2, 2, 4, likelihood=rv.Normal, dropout=0.4), torch.randn(5, 2)
    model.recurrence.eval()
    state = torch.get_rng_state()
    first = forecast(model, past, 3, 4, seed=1)
    assert torch.equal(state, torch.get_rng_state()) and not list(pyro.get_param_store().keys())
    assert model.training and not model.recurrence.training
    assert np.array_equal(first.draws, forecast(model, past, 3, 4, seed=1).draws)
    assert not np.array_equal(first.draws, forecast(model, past, 3, 4, seed=2).draws)
    assert forecast(model, past, 3, 7, max_bytes=1, batch_size=1).draws.shape == (7, 1, 3, 2)


def test_raw_units_names_and_times() -> None:
    raw = SequenceDataset(1000 + 50 * torch.randn(40, 2), [25, 15], names=["load", "heat"], ids=["north", "south"],
                          times=np.concatenate([np.arange(25) * 0.5, 3 + 2.0 * np.arange(15)]))
    data = raw.transformed(Affine.standardize(raw.values))
    model = rv.VRNN.for_data(data, z_dim=1, h_dim=4)
    found = forecast(model, raw, 4, 30)
    assert found.mean.mean() == pytest.approx(1000, abs=40)
    assert np.array_equal(found.draws, forecast(model, data, 4, 30).draws)
    assert np.allclose(found.past[1], raw[1]) and found.names == ("load", "heat") and found.ids == ("north", "south")
    assert found.times is not None and np.allclose(found.times, [[12.5, 13, 13.5, 14], [33, 35, 37, 39]])
    assert forecast(model, [raw[0]], 1, 2).names == ("load", "heat"), "arrays have the training data's names"
    said = repr(found)
    assert "30 draws of the 4 frames that follow 2 sequences, 2 features" in said and "north" in said and "heat" in said
    rows = found.rows([0.1, 0.9])
    assert len(rows) == 2 * 4 * 2 and list(rows[0]) == ["sequence", "step", "time", "feature", "mean", "q0.1", "q0.9"]
    last = rows[-1]
    assert (last["sequence"], last["step"], last["time"], last["feature"]) == ("south", 4, 39.0, "heat")
    assert last["q0.9"] == found.quantile(0.9)[1, 3, 1] and rows[0]["mean"] == found.mean[0, 0, 0]
    told = json.loads(json.dumps(found.to_dict()))
    assert np.allclose(told["quantiles"]["0.5"], found.median) and told["features"] == ["load", "heat"]


def test_irregular_times_do_not_go_on() -> None:
    past = SequenceDataset(torch.randn(4, 1), [3, 1], times=[0.0, 1.0, 5.0, 0.0])
    assert forecast(LinearGaussian(), past, 2, 2).times is None
    assert forecast(LinearGaussian(), past.subset([1]), 2, 2).times is None
    assert "time" not in forecast(LinearGaussian(), torch.randn(3, 1), 2, 2).rows()[0]


class Follow(rv.SequenceVAE):
    """x_t = x_{t-1} + c_t, all but exactly."""

    def __init__(self) -> None:
        super().__init__()
        self.context = rv.Context(control_dim=1)

    def law(self, x: Any, c: Any) -> Any:
        return dist.Normal(x + c, 1e-6).to_event(1)

    def generative(self, steps: Any) -> None:
        for t in steps:
            t.sample("x", self.law, t.prev("x", torch.zeros(1)), *map(t.at, steps.context))

    def inference(self, steps: Any, x: Any) -> None:
        pass


def test_future_controls() -> None:
    data = SequenceDataset(torch.tensor([[1.0], [2.0], [7.0]]), [2, 1], controls=torch.zeros(3, 1))
    inputs = torch.tensor([[[1.0], [10.0]], [[2.0], [20.0]]])
    wanted = np.array([[3.0, 13.0], [9.0, 29.0]])
    for controls in (inputs, inputs.numpy(), list(inputs), list(inputs.numpy())):
        assert np.allclose(forecast(Follow(), data, 2, 1, controls=controls).draws[0, ..., 0], wanted, atol=1e-4)
    alike = forecast(Follow(), data, 2, 1, controls=inputs[0]).draws[0, ..., 0]
    assert np.allclose(alike, [[3, 13], [8, 18]], atol=1e-4)


@pytest.mark.parametrize(("controls", "what"), [
    (None, r"those of the 2 frames to come are lacking: pass controls=, of shape \(N, horizon, .*\(2, 2, 1\)"),
    (torch.zeros(2, 3, 1), r"\(2, 2, 1\), one row for each frame to come, got \(2, 3, 1\)"),
    (torch.zeros(2, 2, 2), r"got \(2, 2, 2\)"),
    (torch.zeros(3, 2, 1), r"got \(3, 2, 1\)"),
    ([np.zeros((2, 1)), np.zeros((1, 1))], r"for each of 2 sequences, got shapes \[\(1, 1\), \(2, 1\)\]"),
    (torch.full((2, 2, 1), torch.nan), "must be finite"),
])
def test_controls_that_do_not_fit(controls: Any, what: str) -> None:
    data = SequenceDataset(torch.zeros(3, 1), [2, 1], controls=torch.zeros(3, 1))
    with pytest.raises(ValueError, match=what):
        forecast(Follow(), data, 2, 1, controls=controls)


def test_controls_of_the_past_that_are_lacking() -> None:
    with pytest.raises(ValueError, match=r"Follow reads controls \(1 a step\), and the past has none"):
        forecast(Follow(), torch.zeros(2, 1), 2, 1, controls=torch.zeros(2, 1))
    with pytest.raises(ValueError, match="controls were given, and the past has none"):
        forecast(LinearGaussian(), torch.zeros(2, 1), 2, 1, controls=torch.zeros(2, 1))


def ragged(case: Any) -> tuple[SequenceDataset, dict[str, Any]]:
    """The zoo's data as ragged sequences, and the controls behind them."""
    lengths, x, extra = zoo.LENGTHS.tolist(), case.x(), case.extra()
    given: dict[str, Any] = {name: value for name, value in extra.items() if name == "labels"}
    if "controls" in extra:
        given["controls"] = [c[:n] for c, n in zip(extra["controls"], lengths, strict=True)]
    kind = {"codes": "categories", "counts": "counts"}.get(case.data.split()[0])
    given |= {"kind": kind} if kind else {}
    given |= {"classes": zoo.CLASSES} if kind == "categories" else {}
    data = SequenceDataset.from_sequences([s[:n] for s, n in zip(x, lengths, strict=True)], **given)
    return data, {"controls": torch.randn(len(data), 9, 2)} if "controls" in extra else {}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", zoo.SEQUENCES)
def test_every_model_with_time_forecasts(name: str) -> None:
    """Beyond all that it has seen: 9 frames behind pasts of 1 to 6."""
    case = zoo.SEQUENCES[name]
    data, known = ragged(case)
    if name == "path-prior":  # its z is one site for all steps, of which no beginning can be told
        with pytest.raises(ValueError, match="isn't sampled in a loop over time"):
            forecast(case.make(), data, 9, 3)
        return
    found = forecast(case.make(), data, 9, 3, **known)
    assert found.draws.shape == (3, 4, 9, data.x_dim) and np.isfinite(found.draws).all()
    assert (found.draws >= 0).all() or data.kind == "real"
    assert isinstance(repr(found), str) and json.dumps(found.to_dict())


def test_categories_have_probabilities() -> None:
    case = zoo.SEQUENCES["gaps-codes"]
    found = forecast(case.make(), ragged(case)[0], 2, 50)
    assert found.draws.dtype.kind == "i" and found.probabilities.shape == (4, 2, zoo.CHANNELS, zoo.CLASSES)
    assert np.allclose(found.probabilities.sum(-1), 1)
    assert found.probabilities[1, 0, 1, 2] == (found.draws[:, 1, 0, 1] == 2).mean()
    assert found.rows()[0]["p3"] == found.probabilities[0, 0, 0, 3] and "likeliest class" in repr(found)
    for what in (lambda: found.mean, lambda: found.median, lambda: found.interval(0.8)):
        with pytest.raises(ValueError, match="categories have no order, so their forecast has no"):
            what()
    with pytest.raises(ValueError, match="of classes, and the data are real"):
        forecast(LinearGaussian(), torch.randn(2, 1), 1, 2).probabilities  # noqa: B018


@pytest.mark.parametrize("horizon", [0, -1, 2.0, True])
def test_no_horizon(horizon: Any) -> None:
    with pytest.raises(ValueError, match="horizon must be an integer of at least 1"):
        forecast(LinearGaussian(), torch.zeros(2, 1), horizon)


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="VAE is static, its items have no time"):
        forecast(rv.VAE(3, 2, 4), np.zeros((4, 3)), 2)
    with pytest.raises(TypeError, match="forecast needs a data set"):
        forecast(LinearGaussian(), "series.csv", 2)
    with pytest.raises(ValueError, match="num must be"):
        forecast(LinearGaussian(), torch.zeros(2, 1), 2, 0)
    found = forecast(LinearGaussian(), torch.zeros(2, 1), 2, 3)
    for q in (0, 1, 1.5, "a"):
        with pytest.raises(ValueError, match="q must be a probability between 0 and 1"):
            found.quantile(q)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="levels must be probabilities"):
        found.interval(1.0)


def test_what_is_told_of_raw_pasts() -> None:
    data = SequenceDataset(torch.randn(8, 2), [5, 3], labels=[0, 1])
    model = rv.VRNN.for_data(data, z_dim=2, h_dim=4, context=rv.Context.for_data(data))
    found = forecast(model, list(data), 2, 5, labels=[0, 1])
    assert np.array_equal(found.draws, forecast(model, data, 2, 5).draws)
    with pytest.raises(ValueError, match="a data set holds its own labels"):
        forecast(model, data, 2, 5, labels=[0, 1])


def test_several_quantiles_and_json() -> None:
    draws = np.random.default_rng(0).normal(size=(9, 1, 2, 1))
    found = Forecast(draws, (np.zeros((3, 1)),), "real")
    both = found.quantile([0.1, 0.9])
    assert np.array_equal(both, np.stack([found.quantile(0.1), found.quantile(np.float64(0.9))]))
    draws[0] = np.nan
    broken = json.loads(json.dumps(Forecast(draws, found.past, "real").to_dict(), allow_nan=False))
    assert broken["mean"] == [[[None], [None]]]
    for q in ([0.1, 1.5], [], "a", True):
        with pytest.raises(ValueError, match="q must be a probability between 0 and 1, such as 0.9, or several"):
            found.quantile(q)


@pytest.mark.parametrize("controls", ["a", 5, ["a"], {"u": 1}, np.array("a")])
def test_controls_that_are_no_numbers(controls: Any) -> None:
    data = SequenceDataset(torch.randn(8, 2), [5, 3], controls=torch.randn(8, 1))
    model = rv.VRNN.for_data(data, z_dim=2, h_dim=4, context=rv.Context(control_dim=1))
    with pytest.raises(TypeError, match="forecast: controls must be numbers"):
        forecast(model, data, 2, 3, controls=controls)
    again = forecast(model, data, 2, 3, controls=np.ones((2, 1)).tolist())
    assert np.array_equal(again.draws, forecast(model, data, 2, 3, controls=torch.ones(2, 2, 1)).draws)
