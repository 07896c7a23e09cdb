"""Anomaly scores: against Kalman, quadrature and counting; thresholds, flags, and every model of the zoo."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyro
import pyro.poutine as poutine
import pytest
import torch
from linear_gaussian import LENGTH, C, LinearGaussian, Q, R, dense
from pyro.infer.autoguide import AutoNormal
from zoo import LENGTHS, ZOO, Case

import pyro_rvae as rv
from pyro_rvae.tasks import Scores, score


def sequences(num: int = 4, length: int = LENGTH, seed: int = 0, **given: Any) -> rv.data.SequenceDataset:
    """Draws of the linear-Gaussian model."""
    generator = torch.Generator().manual_seed(seed)
    z, frames = torch.zeros(num, 1), []
    for _ in range(length):
        z = C * z + Q**0.5 * torch.randn(num, 1, generator=generator)
        frames.append(z + R**0.5 * torch.randn(num, 1, generator=generator))
    return rv.data.SequenceDataset.from_sequences(list(torch.stack(frames, 1)), **given)


def exact_steps(data: rv.data.SequenceDataset) -> np.ndarray:
    """-log p(x_t | x_<t) as differences of dense Gaussians of all beginnings, ``(N, T)``."""
    x = data.padded().x
    total = torch.stack([-dense(x[:, :t]) for t in range(1, x.shape[1] + 1)], 1)
    return torch.diff(total, dim=1, prepend=torch.zeros(len(x), 1)).numpy()


def made(by_step: Any, **more: Any) -> Scores:
    steps = np.asarray(by_step, dtype=float)
    lengths = (~np.isnan(steps)).sum(1)
    return Scores(by_step=steps, by_sequence=np.nansum(steps, 1), lengths=lengths, method="filter", num_particles=3,
                  observed=np.where(np.isnan(steps), np.nan, 0.5)[..., None], **more)


def as_dataset(case: Case) -> Any:
    kinds = {"static": "binary", "static unit": "real", "unit": "real", "gaps": "binary", "frame gaps": "real",
             "codes": "categories"}
    kind: Any = kinds.get(case.data) or kinds.get(case.data.removesuffix(" gaps")) or case.data.split()[0]
    x, extra = case.x(), case.extra()
    labels = extra.get("labels")
    if case.static:
        return rv.data.StaticDataset(x, kind="binary" if "unit" not in case.data else "real", labels=labels)
    cut = LENGTHS.tolist()
    controls = [c[:n] for c, n in zip(extra["controls"], cut, strict=True)] if "controls" in extra else None
    return rv.data.SequenceDataset.from_sequences(
        [row[:n] for row, n in zip(x, cut, strict=True)], kind=kind, classes=4 if kind == "categories" else None,
        labels=labels, controls=controls)


# ------------------------------------------------------------------------------------------------ exact answers
def test_a_filter_finds_kalmans_densities() -> None:
    data = sequences()
    found = score(LinearGaussian(smooth=False), data, 4000, expected=None)
    exact = exact_steps(data)
    assert found.method == "filter"
    np.testing.assert_allclose(found.by_step, exact, atol=0.06)
    np.testing.assert_allclose(found.by_sequence, -dense(data.padded().x).numpy(), atol=0.1)
    np.testing.assert_allclose(found.by_step.sum(1), found.by_sequence)
    np.testing.assert_allclose(found.per_frame, found.by_sequence / LENGTH)


def test_a_smoother_as_proposal_is_consistent_too() -> None:
    data = sequences()
    few, many = (score(LinearGaussian(), data, k, method="filter", expected=None).by_step - exact_steps(data)
                 for k in (10, 4000))
    assert np.abs(many).mean() < 0.03 < np.abs(few).mean()


def test_prefixes_are_exact_under_the_exact_posterior() -> None:
    data = sequences()
    found = score(LinearGaussian(), data, 2, method="prefix", expected=None)
    np.testing.assert_allclose(found.by_step, exact_steps(data), atol=1e-9)
    whole = score(LinearGaussian(), data, 2, method="whole", expected=None)
    np.testing.assert_allclose(whole.by_sequence, found.by_sequence, atol=1e-9)
    assert whole.by_step is None


def test_prefixes_and_filter_agree_in_the_limit() -> None:
    data = sequences(2, 4)
    a, b = (score(LinearGaussian(smooth=False), data, 3000, method=how, expected=None) for how in ("filter", "prefix"))
    np.testing.assert_allclose(a.by_step, b.by_step, atol=0.06)


def test_a_latent_of_the_sequence_against_quadrature() -> None:
    model = rv.VRAE(1, 1, 4, likelihood=rv.Normal)
    data = rv.data.SequenceDataset(torch.randn(7, 1), [4, 3])
    found = score(model, data, 2000, expected=None)
    assert found.method == "prefix"
    grid = torch.linspace(-6, 6, 601)[:, None]
    for n, x in enumerate(data):
        total = []
        for t in range(1, len(x) + 1):
            trace = poutine.trace(poutine.condition(model.model, data={"z": grid})).get_trace(x[:t].expand(601, t, 1))
            joint = sum(trace.nodes[name]["fn"].log_prob(trace.nodes[name]["value"]) for name in ("x", "z"))
            total.append(-(joint.logsumexp(0) + np.log(12 / 600)).item())
        np.testing.assert_allclose(found.by_step[n, : len(x)], np.diff(total, prepend=0.0), atol=0.03)


def test_without_latents_scores_are_exact() -> None:
    case = ZOO["deterministic"]
    model, data = case.make(), as_dataset(case)
    found = score(model, data, 7, expected=None)
    batch = data.padded()
    law = poutine.trace(model.model).get_trace(*batch, **batch.known).nodes["x"]["fn"]
    costs = -law.base_dist.log_prob(batch.x)  # (B, T, x_dim) or (B, T)
    costs = costs.sum(-1) if costs.dim() == 3 else costs
    assert (found.method, found.num_particles) == ("exact", 0)
    inside = batch.mask.numpy()
    np.testing.assert_allclose(found.by_step[inside], costs.detach().numpy()[inside])


def test_what_was_expected_is_the_forecast() -> None:
    data = sequences(3)
    found = score(LinearGaussian(), data, 2, method="prefix", num_expected=2000, batch_size=3)
    covariance = torch.zeros(LENGTH, LENGTH)
    for t in range(LENGTH):  # of the joint Gaussian, by polarisation of the covariance that ``dense`` has
        for s in range(LENGTH):
            low = min(s, t) + 1
            covariance[s, t] = sum(Q * C ** (s + t - 2 * i) for i in range(low)) + R * (s == t)
    x = data.padded().x[..., 0]
    assert found.expected_by == "forecast"
    for t in range(LENGTH):
        past = covariance[:t, :t]
        gain = covariance[t, :t] @ torch.linalg.inv(past) if t else torch.zeros(0)
        np.testing.assert_allclose(found.expected[:, t, 0], (x[:, :t] @ gain).numpy(), atol=0.12)
        spread = (covariance[t, t] - gain @ covariance[:t, t]).sqrt()
        np.testing.assert_allclose(found.spread[:, t, 0], spread.item(), rtol=0.1)


def test_a_point_is_scored_by_its_reconstruction() -> None:
    case = ZOO["RAE"]
    model, data = case.make(), as_dataset(case)
    found = score(model, data, 1)
    assert (found.method, found.expected_by) == ("reconstruction", "reconstruction")
    np.testing.assert_allclose(found.by_sequence, rv.evaluate(model, data, num_particles=1).reconstructions)


# ------------------------------------------------------------------------------------------------ every model
@pytest.mark.parametrize("name", ZOO)
def test_every_model(name: str) -> None:
    case = ZOO[name]
    model, data = case.make().train(), as_dataset(case)
    store, state = dict(pyro.get_param_store().items()), torch.get_rng_state()
    found = score(model, data, 2, num_expected=2)
    assert torch.equal(state, torch.get_rng_state()) and model.training
    assert store.keys() == dict(pyro.get_param_store().items()).keys()
    lengths = np.ones(4) if case.static else LENGTHS.numpy()
    np.testing.assert_array_equal(found.lengths, lengths)
    assert np.isfinite(found.by_sequence).all()
    assert found.expected.shape == found.observed.shape == found.spread.shape
    np.testing.assert_array_equal(np.isfinite(found.by_step), ~np.isnan(found.observed).all(-1))
    np.testing.assert_array_equal((~np.isnan(found.by_step)).sum(1), found.frames)
    np.testing.assert_allclose(np.nansum(found.by_step, 1), found.by_sequence, atol=1e-9)
    assert name in ("RVAE-noncausal", "path-prior") or found.method != "prefix" or found.expected_by == "forecast"


@pytest.mark.parametrize(("name", "method"), [
    ("VRNN", "filter"), ("DMM", "prefix"), ("KVAE", "filter"), ("DSAE", "prefix"), ("VRAE", "prefix"),
    ("DMM-ST-L", "filter"), ("SRNN", "prefix"), ("SRNN-filter", "filter"), ("RVAE-noncausal", "prefix"),
    ("conditional-VRNN", "filter"), ("supervised-VRNN", "filter"), ("mixture-prior", "filter"),
    ("HRAE", "prefix"), ("slow-clock", "prefix"), ("VAE", "whole"), ("AE", "reconstruction"),
])
def test_the_default_method(name: str, method: str) -> None:
    case = ZOO[name]
    assert score(case.make(), as_dataset(case), 2, expected=None).method == method


@pytest.mark.parametrize("name", ["VRNN", "DMM", "VRAE", "HRAE", "gaps-DMM", "conditional-STORN", "shared"])
def test_batches_and_padding_do_not_matter(name: str) -> None:
    case = ZOO[name]
    model, data = case.make(), as_dataset(case)
    whole = score(model, data, 3, expected=None)
    parts = score(model, data, 3, expected=None, batch_size=1, max_bytes=1)
    np.testing.assert_allclose(parts.by_step, whole.by_step, atol=1e-9)
    np.testing.assert_allclose(parts.by_sequence, whole.by_sequence, atol=1e-9)
    assert not np.allclose(score(model, data, 3, expected=None, seed=1).by_sequence, whole.by_sequence)


def test_labels_of_a_supervised_model_are_not_scored() -> None:
    case = ZOO["supervised-VRAE"]
    model, data = case.make(), as_dataset(case)
    other = as_dataset(case)
    other.labels = torch.randn_like(other.labels.nan_to_num())
    a, b = (score(model, side, 3, expected=None).by_sequence for side in (data, other))
    np.testing.assert_array_equal(a, b)


# ------------------------------------------------------------------------------------------------ anomalies
def test_a_planted_anomaly_is_found() -> None:
    model, data = LinearGaussian(smooth=False), sequences(30, 12, ids=[f"s{i}" for i in range(30)])
    limit = score(model, sequences(99, 12, seed=1), 50, expected=None, batch_size=99).threshold(0.99, by="peak")
    values = data.values.clone()
    values[int(data.starts[17]) + 5] += 6.0
    struck = rv.data.SequenceDataset(values, data.lengths, ids=data.ids)
    found = score(model, struck, 50, num_expected=5, batch_size=30)
    first = found.anomalies(limit)[0]
    assert (first.id, first.at, first.sequence) == ("s17", 5, 17) and first.start <= 5 < first.stop
    assert first.peak == found.peak[17] == found.by_step.max() and len(first) == first.stop - first.start
    assert np.argmax(found.by_sequence) == 17 and found.residual[17, 5, 0] > 3
    assert found.flags(limit)[17, 5] and found.flags(limit).sum() <= 4


def test_a_threshold_keeps_its_rate_of_false_alarms() -> None:
    rng = np.random.default_rng(0)
    alarms = [rng.exponential() > made(rng.exponential(size=(39, 1))).threshold(0.9, "sequence") for _ in range(4000)]
    assert abs(np.mean(alarms) - 0.1) < 3 * (0.1 * 0.9 / 4000) ** 0.5  # k = 36 of 39: exactly 4 / 40


def test_thresholds_count() -> None:
    found = made([[3.0, 1.0, np.nan], [2.0, 5.0, 4.0]])
    assert found.threshold(0.5) == 3.0  # the 3rd of 5
    assert found.threshold(0.6, "sequence") == 11.0 and found.threshold(0.6, "frame") == 11 / 3
    assert found.threshold(0.6, "peak") == 5.0
    assert made(np.arange(99.0)[:, None]).threshold(0.99) == 98.0
    np.testing.assert_array_equal(found.flags(2.5), [[True, False, False], [False, True, True]])
    np.testing.assert_array_equal(found.flags(4.0, "sequence"), [False, True])  # the first has 4.0, which is no more
    runs = [(a.sequence, a.start, a.stop, a.at, a.peak, len(a)) for a in found.anomalies(2.5)]
    assert runs == [(1, 1, 3, 1, 5.0, 2), (0, 0, 1, 0, 3.0, 1)]


@pytest.mark.parametrize(("name", "method"), [("gaps-VRNN", "filter"), ("gaps-VRNN", "bootstrap"),
                                              ("gaps-DMM", "prefix"), ("gaps-DMM", "whole")])
def test_what_is_missing_has_no_score(name: str, method: str) -> None:
    case = ZOO[name]
    data = as_dataset(case)
    values = data.values.clone()
    values[2] = values[int(data.starts[1]): int(data.starts[1]) + int(data.lengths[1])] = torch.nan
    found = score(case.make(), rv.data.SequenceDataset(values, data.lengths), 3, method=method, expected=None)
    assert np.isfinite(found.by_sequence).all() and found.by_sequence[1] == 0
    assert np.isnan(found.per_frame[1]) and found.frames[1] == 0 and "frames seen" in repr(found)
    if method == "whole":
        return
    assert np.isnan(found.by_step[0, 2]) and np.isnan(found.by_step[1]).all() and np.isnan(found.peak[1])
    np.testing.assert_array_equal(np.nansum(found.by_step, 1), found.by_sequence)
    assert np.isnan(list(found.rows(0.0))[2]["score"]) and not list(found.rows(-99.0))[2]["flag"]


def test_missing_frames_are_no_anomalies_and_spoil_no_threshold() -> None:
    steps = np.array([[-3.0, np.nan, -2.0], [-4.0, -3.5, np.nan], [np.nan] * 3])  # log-densities above 0
    observed = np.where(np.isnan(steps), np.nan, 0.5)[..., None]
    found = Scores(by_step=steps, by_sequence=np.nansum(steps, 1), lengths=np.array([3, 3, 3]), method="filter",
                   num_particles=3, observed=observed)
    assert found.threshold(0.7) == -2.0
    assert [(a.sequence, a.start, a.stop) for a in found.anomalies(-3.2)] == [(0, 2, 3), (0, 0, 1)]
    np.testing.assert_array_equal(found.per_frame, [-2.5, -3.75, np.nan])
    np.testing.assert_array_equal(found.peak, [-2.0, -3.5, np.nan])
    np.testing.assert_array_equal(found.flags(-9.0, "sequence"), [True, True, False])  # not the one without a frame
    assert found.threshold(0.6, "sequence") == -5.0 and found.threshold(0.6, "peak") == -2.0


@pytest.mark.parametrize("model", [LinearGaussian(), LinearGaussian(smooth=False)], ids=["smoother", "filter"])
def test_no_score_depends_on_what_comes_later(model: LinearGaussian) -> None:
    data = sequences(2)
    values = data.values.clone()
    values[int(data.starts[1]) - 1] += 9.0
    later = rv.data.SequenceDataset(values, data.lengths)
    a, b = (score(model, side, 5, expected=None).by_step for side in (data, later))
    np.testing.assert_allclose(a[0, :-1], b[0, :-1], atol=1e-9)
    assert b[0, -1] > a[0, -1] + 1
    a, b = (score(model, side, 5, method="bootstrap", expected=None).by_step for side in (data, later))
    np.testing.assert_allclose(a[0, :-1], b[0, :-1], atol=1e-9)
    leaks = [score(LinearGaussian(), side, 5, method="filter", expected=None).by_step for side in (data, later)]
    assert np.abs(leaks[0] - leaks[1])[0, :-1].max() > 0.05


def test_bootstrap_finds_kalmans_densities() -> None:
    data = sequences()
    found = score(LinearGaussian(), data, 4000, method="bootstrap", expected=None)
    np.testing.assert_allclose(found.by_step, exact_steps(data), atol=0.12)
    again = score(LinearGaussian(), data, 4000, method="bootstrap", expected=None, batch_size=1)
    np.testing.assert_allclose(again.by_step, found.by_step, atol=1e-9)
    assert "particle filter without the guide" in repr(found)
    mixed = ZOO["SRNN-mixture"]  # whose prior is no transformed Gaussian
    assert np.isfinite(score(mixed.make(), as_dataset(mixed), 3, method="bootstrap", expected=None).by_sequence).all()


def test_raw_data_in_and_the_models_units_of_densities() -> None:
    raw = [10 + 2 * torch.randn(5, 2), 10 + 2 * torch.randn(3, 2)]
    data = rv.data.SequenceDataset.from_sequences(raw, names=["a", "b"])
    units = rv.data.Affine.standardize(data.values)
    model = rv.VRNN.for_data(data.transformed(units), z_dim=2, h_dim=4)
    a, b = score(model, data.transformed(units), 3), score(model, raw, 3)
    np.testing.assert_allclose(a.by_step, b.by_step)
    np.testing.assert_allclose(np.nansum(a.by_step, 1), a.by_sequence)
    theirs = rv.evaluate(model, data.transformed(units), num_particles=2000).bound(2000) * 8  # nats per frame
    np.testing.assert_allclose(score(model, raw, 2000, method="whole", expected=None).by_sequence.sum(), theirs,
                               atol=0.3)
    np.testing.assert_allclose(a.observed[0], raw[0])
    assert abs(np.nanmean(a.expected) - 10) < 2 and "Nats, in the model's units" in repr(a)
    np.testing.assert_allclose(a.residual, (a.observed - a.expected) / a.spread)


# ------------------------------------------------------------------------------------------------ what it prints
def test_table_rows_and_json() -> None:
    data = sequences(12, 4, ids=[f"day {i}" for i in range(12)], names=["load"])
    found = score(LinearGaussian(smooth=False), data, 3, num_expected=2)
    text = repr(found)
    assert text.startswith("LinearGaussian: anomaly scores of 12 sequences (-log p(x_t | past), particle filter, "
                           "3 particles). Nats, in the model's units; higher is stranger.")
    top = int(found.by_sequence.argmax())
    assert text.splitlines()[2].split()[:3] == ["day", str(top), f"{found.by_sequence[top]:.3f}"]
    assert text.endswith("and 2 more")
    rows = list(found.rows(found.threshold(0.9)))
    assert len(rows) == 48 and list(rows[0]) == ["sequence", "time", "score", "sequence_score", "flag", "load",
                                                 "load expected"]
    assert rows[5]["score"] == found.by_step[1, 1] and rows[5]["time"] == 1
    assert found.threshold(np.float32(0.5)) == found.threshold(0.5) and found.flags(np.float32(1e9)).sum() == 0
    said = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert said["by_step"][0] == found.by_step[0].tolist() and said["method"] == "filter"
    static = score(ZOO["VAE"].make(), as_dataset(ZOO["VAE"]), 2)
    assert "4 items" in repr(static) and len(list(static.rows())) == 4
    gaps = made([[np.nan, np.inf, 1.0]]).to_dict()
    assert json.loads(json.dumps(gaps, allow_nan=False))["by_step"] == [[None, None]]
    whole = score(LinearGaussian(), sequences(2, 3), np.int64(2), method="whole", expected=None, seed=np.int32(3))
    assert [row["flag"] for row in whole.rows(float(whole.by_sequence.min()))].count(True) == 3  # of the higher one


# ------------------------------------------------------------------------------------------------ bad input
def test_bad_input() -> None:
    model, data = LinearGaussian(), sequences(2, 3)
    for how, match in (
        ({"method": "kalman"}, "method must be one of filter, bootstrap, prefix"),
        ({"expected": "mean"}, "expected must be one of auto, forecast"),
        ({"num_expected": 1}, "num_expected must be"),
        ({"num_particles": 0}, "num_particles must be"),
        ({"labels": [1, 2]}, "a data set holds its own"),
        ({"seed": -1}, "score: seed must be from 0"),
    ):
        with pytest.raises(ValueError, match=match):
            score(model, data, **how)
    with pytest.raises(ValueError, match="draws a point, so there are no weights"):
        score(ZOO["RAE"].make(), as_dataset(ZOO["RAE"]), method="filter")
    with pytest.raises(ValueError, match="static, its items have no steps"):
        score(ZOO["VAE"].make(), as_dataset(ZOO["VAE"]), method="prefix")
    with pytest.raises(ValueError, match="no latent in the loop that samples x"):
        score(ZOO["VRAE"].make(), as_dataset(ZOO["VRAE"]), method="filter")
    for seed in (None, 1.5, True):
        with pytest.raises(TypeError, match="score: seed must be an integer of at least 0"):
            score(model, data, seed=seed)
    with pytest.raises(TypeError, match="score needs a data set"):
        score(model, "beats.csv")
    pair = rv.Pair(model.model, AutoNormal(model.model))
    with pytest.raises(ValueError, match="score needs an amortised guide"):
        score(pair, data)


def test_bad_thresholds() -> None:
    found = made([[3.0, 1.0, 2.0]])
    for quantile in (0.0, 1.0, True, "0.9"):
        with pytest.raises(ValueError, match="quantile must be between 0 and 1"):
            found.threshold(quantile)
    with pytest.raises(ValueError, match="a quantile of 0.99 needs at least 99 scores by step, got 3"):
        found.threshold(0.99)
    with pytest.raises(ValueError, match="by must be one of step, sequence"):
        found.threshold(0.5, by="item")
    with pytest.raises(ValueError, match="threshold must be a number of nats"):
        found.flags(float("nan"))
    with pytest.raises(ValueError, match="residual needs numbers and what was expected"):
        _ = found.residual
    broken = made([[1.0, 2.0]])
    object.__setattr__(broken, "by_sequence", np.array([np.nan]))
    with pytest.raises(ValueError, match="1 of the scores are NaN"):
        broken.threshold(0.4, "sequence")
    whole = score(LinearGaussian(), sequences(2, 3), 2, method="whole", expected=None)
    assert "highest step" not in repr(whole) and len(list(whole.rows())) == 6 and whole.to_dict()["by_step"] is None
    with pytest.raises(ValueError, match="there are no scores by step of method='whole'"):
        whole.threshold(0.5)
