"""Rolling origin: the bookkeeping by loops, the figures by their formulas, and nothing of the future."""

from __future__ import annotations

import dataclasses
import json
import math
from functools import partial
from typing import Any

import numpy as np
import pyro.distributions as dist
import pytest
import torch
import zoo
from linear_gaussian import LinearGaussian
from scipy import stats

import pyro_rvae as rv
from pyro_rvae.data import Affine, SequenceDataset
from pyro_rvae.tasks import Backtest, backtest, forecast
from pyro_rvae.tasks.naive import drift, naive, seasonal_naive


class Wave(rv.SequenceVAE):
    """x_t ~ N(c_t, 1): what is told, and a known deviation; the guide draws nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.context, self.x_dim = rv.Context(control_dim=2), 2

    def generative(self, steps: Any) -> None:
        for t in steps:
            t.sample("x", lambda c: dist.Normal(c, 1.0).to_event(1), *map(t.at, steps.context))

    def inference(self, steps: Any, x: Any) -> None:
        pass


def waves(lengths: list[int], gaps: bool = False) -> SequenceDataset:
    rows = sum(lengths)
    controls = torch.stack([torch.arange(rows).sin(), 3 * torch.arange(rows).cos()], -1)
    values = controls + torch.randn(rows, 2)
    if gaps:
        values[torch.rand(rows, 2) < 0.15] = torch.nan
    return SequenceDataset(values, lengths, controls=controls, names=["sine", "cosine"])


@pytest.fixture(scope="module")
def found() -> tuple[SequenceDataset, Backtest]:
    torch.manual_seed(0)
    data = waves([30, 9, 40], gaps=True)
    return data, backtest(Wave(), data, 5, stride=3, context=12, start=7, num=200, seasonality=6)


def test_origins(found: Any) -> None:
    """Counted back from the last possible one of each series, which leaves a horizon."""
    _, result = found
    wanted = [(0, t) for t in (7, 10, 13, 16, 19, 22, 25)] + [(2, t) for t in range(8, 36, 3)]
    assert list(zip(result.numbers.tolist(), result.origins.tolist(), strict=True)) == wanted
    few = backtest(Wave(), waves([30, 40]), 5, windows=2, num=2)
    assert few.origins.tolist() == [20, 25, 30, 35] and few.context is None


def test_naive_errors_by_a_loop(found: Any) -> None:
    """Each method on the frames that were seen, scored where all of them have a forecast."""
    data, result = found
    series = [x.numpy() for x in data]
    methods = {"naive": naive, "seasonal naive": lambda p, h: seasonal_naive(p, h, 6), "drift": drift}
    assert result.methods == ("Wave", *methods)
    for w, (n, t) in enumerate(zip(result.numbers, result.origins, strict=True)):
        past, truth = series[n][max(0, t - 12) : t], series[n][t : t + 5]
        laws = {name: method(past, 5) for name, method in methods.items()}
        known = ~np.isnan(truth) & np.all([~np.isnan(law.scale) for law in laws.values()], 0)
        assert np.array_equal(~np.isnan(result.x[w]), known)
        for name, law in laws.items():
            errors = result.errors[name]
            assert np.allclose(errors.absolute_error[w], np.where(known, np.abs(truth - law.mean), np.nan),
                               equal_nan=True)
            assert np.allclose(errors.pit[w][known], stats.norm.cdf(truth, law.mean, law.scale)[known])


def test_errors_of_draws_of_a_known_law(found: Any) -> None:
    """The model's law is N(c_t, 1) at every step: scores of 200 draws beside the closed forms."""
    data, result = found
    starts = data.starts.numpy()
    mean = np.stack([data.controls.numpy()[starts[n] + t : starts[n] + t + 5]
                     for n, t in zip(result.numbers, result.origins, strict=True)])
    known = ~np.isnan(result.x)
    u = (result.x - mean)[known]
    crps = u * (2 * stats.norm.cdf(u) - 1) + 2 * stats.norm.pdf(u) - 1 / math.sqrt(math.pi)
    errors = result.errors["Wave"]
    assert np.allclose(errors.crps[known], crps, atol=0.35) and errors.crps[known].mean() == pytest.approx(
        crps.mean(), abs=0.02)
    assert np.allclose(errors.absolute_error[known], np.abs(u), atol=0.4)
    assert np.allclose(errors.squared_error[known], u**2, rtol=0.4, atol=0.3)
    assert np.isnan(errors.crps[~known]).all()
    for level in (0.5, 0.8, 0.95):
        share = (np.abs(stats.norm.cdf(u) - 0.5) < level / 2).mean()
        assert result.figure("coverage", level=level)[0] == pytest.approx(share, abs=0.04)


def test_figures_are_means(found: Any) -> None:
    data, result = found
    errors = result.errors["drift"]
    assert result.figure("crps", "drift")[0] == pytest.approx(np.nanmean(errors.crps))
    assert result.figure("rmse", "drift")[0] == pytest.approx(math.sqrt(np.nanmean(errors.squared_error)))
    assert np.allclose(result.by_step("crps", "drift"), np.nanmean(errors.crps, (0, 2)))
    assert np.allclose(result.by_feature("rmse", "drift"), np.sqrt(np.nanmean(errors.squared_error, (0, 1))))
    assert np.allclose(result.by_window("crps", "drift"), np.nanmean(errors.crps, (1, 2)))
    sums, counts = np.nansum(errors.crps, (1, 2)), (~np.isnan(errors.crps)).sum((1, 2))
    ratio, size = sums.sum() / counts.sum(), len(sums)
    error = math.sqrt(size / (size - 1) * ((sums - ratio * counts) ** 2).sum()) / counts.sum()
    assert result.figure("crps", "drift")[1] == pytest.approx(error)
    skill = result.skill("rmse")
    best = min(result.methods[1:], key=lambda m: np.nanmean(result.errors[m].squared_error))
    assert skill.against == best
    assert skill.value == pytest.approx(1 - math.sqrt(
        np.nanmean(result.errors["Wave"].squared_error) / np.nanmean(result.errors[best].squared_error)))


def test_mase_by_its_formula(found: Any) -> None:
    """In sample: the frames before each origin, or the training split."""
    data, result = found
    series = [x.numpy() for x in data]
    for w, (n, t) in enumerate(zip(result.numbers, result.origins, strict=True)):
        for d in range(2):
            changes = [abs(series[n][i, d] - series[n][i - 6, d]) for i in range(6, t)]
            changes = [change for change in changes if not math.isnan(change)]
            assert result.in_sample[w, d] == pytest.approx(np.mean(changes) if changes else math.nan, nan_ok=True)
    wanted = np.nanmean(result.errors["naive"].absolute_error / result.in_sample[:, None])
    assert result.figure("mase", "naive")[0] == pytest.approx(wanted)
    train = waves([20, 5, 30])
    trained = backtest(Wave(), data, 5, context=12, num=2, seasonality=6, train=train)
    changes = [x[i] - x[i - 6] for x in train for i in range(6, len(x))]
    assert np.allclose(trained.in_sample, torch.stack(changes).abs().mean(0)[None])
    assert "in sample: the training split" in repr(trained)
    data = waves([20])
    data.reference = train
    assert np.allclose(backtest(Wave(), data, 5, num=2).in_sample,
                       np.nanmean(np.abs(np.concatenate([np.diff(x.numpy(), axis=0) for x in train])), 0))


def test_a_feature_that_never_changes_has_no_mase() -> None:
    data = waves([25])
    data.values[:20, 1] = 2.0
    result = backtest(Wave(), data, 5, windows=1, num=4)
    assert result.without_mase == ("cosine",) and "never change in sample: cosine." in repr(result)
    assert math.isnan(result.by_feature("mase")[1]) and math.isfinite(result.figure("mase")[0])
    assert result.by_feature("crps", "naive")[1] == pytest.approx(np.abs(data.values[20:, 1].numpy() - 2).mean())
    assert json.loads(json.dumps(result.to_dict()))["methods"]["naive"]["mase_by_feature"][1] is None


@pytest.mark.parametrize("context", [None, 6])
def test_the_model_sees_nothing_after_an_origin(context: int | None) -> None:
    """The draws are those of forecast() from the past alone, whatever comes."""
    torch.manual_seed(0)
    model, values = rv.SRNN(2, 2, 4, likelihood=rv.Normal), torch.randn(14, 2)
    result = backtest(model, values, 4, context=context, start=6, windows=1, num=50)
    assert result.origins.tolist() == [10]
    past = values[:10] if context is None else values[4:10]
    draws = forecast(model, past, 4, 50).draws[:, 0]
    wanted = (values[10:].numpy() - draws.mean(0)) ** 2
    assert np.allclose(result.errors["SRNN"].squared_error[0], wanted)
    later = values.clone()
    later[10:] += 5
    other = backtest(model, later, 4, context=context, start=6, windows=1, num=50)
    assert np.allclose(other.errors["SRNN"].squared_error[0], (later[10:].numpy() - draws.mean(0)) ** 2)


def test_blocks_of_draws_make_no_difference() -> None:
    torch.manual_seed(0)
    data = waves([30, 20])
    for context in (None, 8):
        given = {"context": context, "start": 8, "num": 20, "batch_size": 3}
        whole = backtest(Wave(), data, 4, **given, max_bytes=2**28)
        blocks = backtest(Wave(), data, 4, **given, max_bytes=8 * 20 * 4 * 2 * 3)
        assert np.array_equal(whole.x, blocks.x, equal_nan=True)
        assert np.allclose(whole.errors["Wave"].squared_error, blocks.errors["Wave"].squared_error, atol=2.5)
        assert whole.figure("crps")[0] == pytest.approx(blocks.figure("crps")[0], abs=0.1)


def test_units() -> None:
    """Errors are raw; over features of several units they are divided by the transform's scale."""
    raw = SequenceDataset(torch.randn(40, 2) * torch.tensor([1.0, 1000.0]), [40])
    data = raw.transformed(Affine.standardize(raw.values))
    model = rv.VRNN.for_data(data, z_dim=1, h_dim=4)
    result = backtest(model, raw, 5, context=10, num=10)
    scale = data.transform.scale.numpy()
    assert result.units == pytest.approx(scale) and "units of the data's transform" in repr(result)
    assert (result.by_feature("crps") / scale).mean() == pytest.approx(result.figure("crps")[0])
    squares = (result.by_feature("rmse", "naive") / scale) ** 2
    assert math.sqrt(squares.mean()) == pytest.approx(result.figure("rmse", "naive")[0])
    assert result.features == ("x0", "x1")


def test_clusters_are_series_where_there_are_many() -> None:
    result = backtest(Wave(), waves([20] * 12), 2, num=2)
    sums = np.nansum(result.errors["naive"].crps, (1, 2))
    by_series = np.array([sums[result.numbers == n].sum() for n in range(12)])
    count = result.x.size
    ratio, each = sums.sum() / count, count / 12
    error = math.sqrt(12 / 11 * ((by_series - ratio * each) ** 2).sum()) / count
    assert result.figure("crps", "naive")[1] == pytest.approx(error)


@pytest.mark.parametrize("name", ["poisson", "gaps-DMM", "HRAE-gaps", "deterministic-gaps"])
def test_counts_binary_data_and_gaps(name: str) -> None:
    case = zoo.SEQUENCES[name]
    x = case.x(shape=(2, 12))
    kind = {"counts": "counts"}.get(case.data)
    result = backtest(case.make(), SequenceDataset.from_sequences(list(x), **({"kind": kind} if kind else {})), 3,
                      context=5, num=5)
    assert all(math.isfinite(result.figure(metric, m)[0]) for metric in ("crps", "rmse", "coverage")
               for m in result.methods)
    assert result.methods[1:] == ("naive", "drift"), "without a season there are two"


def test_report(found: Any) -> None:
    _, result = found
    said = repr(result)
    assert "forecasts of 5 frames from 17 origins of 2 series, at most 12 frames before each seen; 200 draws" in said
    assert "raw units" in said and all(name in said for name in ("seasonal naive", "drift", "in 80%", "MASE"))
    assert f"{result.figure('crps')[0]:.4f} +- {result.figure('crps')[1]:.4f}" in said
    assert "below that of the best naive forecast" in said
    one = repr(backtest(Wave(), waves([20]), 5, windows=1, num=4))
    assert "nan" not in one and "from 1 origin of one series, all frames before each seen" in one
    told = json.loads(json.dumps(result.to_dict()))
    assert told["methods"]["drift"]["coverage_95"] == pytest.approx(result.figure("coverage", "drift", level=0.95)[0])
    assert len(told["methods"]["Wave"]["crps_by_step"]) == 5 and told["skill"]["crps"]["against"] in result.methods


@pytest.mark.parametrize(("given", "what"), [
    ({"horizon": 0}, "horizon must be an integer of at least 1, got 0"),
    ({"stride": 0}, "stride must be"), ({"windows": 0}, "windows must be"), ({"num": 1}, "num must be .* at least 2"),
    ({"seasonality": 0}, "seasonality must be"), ({"levels": (1.5,)}, "levels must be probabilities"),
    ({"context": 2}, r"context must be an integer of at least 3 \(the naive forecasts need"),
    ({"context": 6, "seasonality": 6}, "context must be an integer of at least 7"),
    ({"start": 1}, "start must be an integer of at least 3"),
    ({"horizon": 30}, r"no series is long enough for 3 frames .* horizon of 30, the longest has 20"),
    ({"train": SequenceDataset(torch.zeros(3, 1), [3])}, "train must be sequences of the series' 2 features"),
])
def test_what_cannot_be(given: dict[str, Any], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        backtest(Wave(), waves([20]), **({"horizon": 2, "num": 2} | given))


def test_what_is_refused(found: Any) -> None:
    codes = zoo.SEQUENCES["categorical"]
    data = SequenceDataset.from_sequences(list(codes.x()), kind="categories", classes=zoo.CLASSES)
    with pytest.raises(ValueError, match="categories have no naive forecast"):
        backtest(codes.make(), data, 2)
    with pytest.raises(ValueError, match="static"):
        backtest(rv.VAE(3, 2, 4), np.zeros((9, 3)), 2)
    empty = waves([20])
    empty.values[-2:] = torch.nan
    with pytest.raises(ValueError, match="nothing to score"):
        backtest(Wave(), empty, 2, windows=1, num=2)
    result = found[1]
    for wrong in ("mape", "energy"):
        with pytest.raises(ValueError, match="metric must be one of crps, mase, rmse, coverage"):
            result.figure(wrong)
    with pytest.raises(ValueError, match="a coverage has no best"):
        result.skill("coverage")


def test_a_forecaster_of_ones_own() -> None:
    """forecast() with a model is one, and gives what the model gives; a loop over the pasts sees what it should."""
    data = waves([16, 14])
    data.times, data.ids = torch.cat([torch.arange(16.0), torch.arange(14.0)]), ("a", "b")
    given: dict[str, Any] = {"context": 6, "stride": 2, "num": 30}
    whole, own = (backtest(model, data, 3, **given) for model in (Wave(), partial(forecast, Wave())))
    assert np.allclose(own.errors["forecaster"].squared_error, whole.errors["Wave"].squared_error)

    def last(past: SequenceDataset, horizon: int, num: int, *, controls: Any, seed: int) -> np.ndarray:
        assert controls.shape == (len(past), 3, 2)
        assert len(past[0]) != 6 or torch.equal(controls[0, 0, 0], data.controls[int(past.times[5]) + 1, 0])
        assert past.ids is None or past.ids[0] == f"a[:{int(past.times[5]) + 1}]" and past.ids[-1] == "b[:11]"
        return np.tile(torch.stack([x[-1] for x in past]).numpy()[None, :, None], (num, 1, horizon, 1))

    found = backtest(last, data, 3, **given)
    assert np.allclose(found.errors["last"].absolute_error, found.errors["naive"].absolute_error)
    ragged = backtest(last, waves([9, 16, 13]), 3, stride=2, num=2)  # windows are drawn by length, and put back
    assert np.allclose(ragged.errors["last"].absolute_error, ragged.errors["naive"].absolute_error)
    with pytest.raises(ValueError, match=r"must return draws \(num, N, horizon, D\) = \(30, 7, 3, 2\), got \(30, 3\)"):
        backtest(lambda *_, **__: np.zeros((30, 3)), data, 3, **given)
    with pytest.raises(TypeError, match="of your own needs a SequenceDataset, got ndarray"):
        backtest(last, np.zeros((9, 2)), 3)
    with pytest.raises(TypeError, match="needs a SequenceVAE, got str"):
        backtest("naive", data, 3)


def test_draws_without_bound_are_named() -> None:
    class Burst(LinearGaussian):
        def emission(self, z: torch.Tensor) -> Any:
            return dist.Normal(z * torch.tensor(1e308) * 100, 1.0, validate_args=False).to_event(1)

    with pytest.raises(ValueError, match="not all finite"):
        backtest(Burst(), torch.randn(12, 1), 2, num=2)


def test_a_series_that_never_changes() -> None:
    """The naive forecast is perfect, so that nothing can be divided by its error: words, not nan."""
    data = SequenceDataset(torch.full((20, 1), 5.0), [10, 10])
    found = backtest(rv.VRNN.for_data(data, z_dim=2, h_dim=4), data, 2, num=3)
    assert "The best naive forecast (naive) is never wrong here, so there is no skill" in repr(found)
    assert "nan" not in repr(found)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["skill"]["crps"]["value"] is None
    right = dict.fromkeys(found.methods, found.errors["naive"])
    assert "never wrong here, and no more is the model." in repr(dataclasses.replace(found, errors=right))
