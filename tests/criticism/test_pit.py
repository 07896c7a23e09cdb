"""Where data stand among draws: uniform if, and only if, the model is right."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from scipy import stats

import pyro_rvae as rv
from pyro_rvae.criticism import (
    Pit,
    free_running,
    from_prefix,
    loo_pit,
    one_step,
    predictive_check,
    prequential_pit,
    reconstructed,
)
from pyro_rvae.criticism.pit import pit_of
from pyro_rvae.criticism.statistics import autocorrelations, average_autocorrelation, average_mean


def drawn_from(model, lengths, seed):
    shape = rv.data.SequenceDataset(torch.zeros(sum(lengths), 1), lengths)
    return rv.data.SequenceDataset(free_running(model, shape, 1, seed=seed).values[0], lengths)


@pytest.mark.parametrize("draws", [1, 3, 50])
@pytest.mark.parametrize("discrete", [False, True])
def test_ranks_are_exactly_uniform_however_few_the_draws(draws, discrete):
    rng = np.random.default_rng(draws)
    both = rng.poisson(1.0, (draws + 1, 3000)) if discrete else rng.normal(size=(draws + 1, 3000))
    u = pit_of(both[0], both[1:], seed=5)
    assert stats.kstest(u, "uniform").pvalue > 0.005
    assert stats.chisquare(np.histogram(u, 10, (0, 1))[0]).pvalue > 0.005


def test_ranks_by_hand():
    u = pit_of(np.array([2.0, 2.0, np.nan]), np.array([[1.0, 2.0, 0.0], [3.0, 2.0, 0.0], [1.5, 1.0, 0.0]]))
    assert 2 / 4 <= u[0] <= 3 / 4 and 1 / 4 <= u[1] <= 4 / 4 and np.isnan(u[2])
    assert np.array_equal(u[:2], pit_of(np.array([2.0, 2.0, np.nan]), np.array(
        [[1.0, 2.0, 0.0], [3.0, 2.0, 0.0], [1.5, 1.0, 0.0]]))[:2])


def test_uniformity_is_kolmogorovs_by_column_and_bonferronis_of_all():
    rng = np.random.default_rng(0)
    values = np.stack([rng.random(80), rng.random(80) ** 1.3, np.full(80, np.nan)], 1)
    values[:10, 0] = np.nan
    pit = Pit(values, "each element", "frames", 20, "one_step")
    expected = [stats.kstest(values[10:, 0], "uniform"), stats.kstest(values[:, 1], "uniform")]
    distance, p = pit.by_column
    assert np.allclose(p[:2], [e.pvalue for e in expected]) and np.isnan(p[2])
    assert np.allclose(distance[:2], [e.statistic for e in expected])
    assert pit.uniformity == pytest.approx((max(distance[:2]), min(1, 2 * min(p[:2]))))
    assert all(np.isnan(pit.serial)) and pit.to_dict()["serial"] is None
    assert pit.histogram(4).sum() == pytest.approx(1) and pit.histogram(4).shape == (4,)
    assert pit.mean == pytest.approx(np.nanmean(values)) and pit.scale == pytest.approx(np.nanstd(values))


@pytest.mark.parametrize("chosen", [average_mean, autocorrelations, partial(average_autocorrelation, lag=2)])
def test_loo_pit_of_the_models_own_data_is_uniform(chosen, gaussian):
    model = gaussian.Model()
    pit = loo_pit(model, drawn_from(model, [12, 8] * 100, 3), chosen, num=39)
    assert pit.values.shape[0] == 200 and pit.uniformity[1] > 0.01


def test_loo_pit_sees_a_wrong_model_and_in_what_way(gaussian):
    class Wide(gaussian.Model):
        """The same with three times the noise: the data lie in the middle of its draws."""

        def likelihood(self, z):
            return dist.Normal(z, 3 * 0.3**0.5).to_event(1)

        def transition(self, z):
            return dist.Normal(0.9 * z, 3 * 0.5**0.5).to_event(1)

    data = drawn_from(gaussian.Model(), [12, 8] * 50, 3)
    wide, narrow = loo_pit(Wide(), data, average_mean, num=39), loo_pit(gaussian.Model(), drawn_from(
        Wide(), [12, 8] * 50, 3), average_mean, num=39)
    assert wide.uniformity[1] < 1e-3 and narrow.uniformity[1] < 1e-3
    assert wide.scale < 0.2 < 0.35 < narrow.scale
    shifted = rv.data.SequenceDataset(data.values - 3, data.lengths)
    assert loo_pit(gaussian.Model(), shifted, average_mean, num=39).mean < 0.2


def test_loo_pit_is_the_check_of_one_statistic(gaussian):
    check = predictive_check(gaussian.Model(), gaussian.data, num=9, seed=2)
    pit = loo_pit(gaussian.Model(), gaussian.data, "average scale", num=9, seed=2)
    assert np.array_equal(check.pit("average scale", seed=2).values, pit.values)
    assert check.pit("spectrum").values.shape == (5, 8)
    assert "'average scale' of 5 sequences stands among 9 free-running draws" in repr(pit)
    from_two = predictive_check(gaussian.Model(), gaussian.data, num=9, draw=partial(from_prefix, prefix=2))
    assert "from-prefix draws" in repr(from_two.pit("average mean"))


def test_prequential_pit_of_the_right_model_is_uniform_and_independent(gaussian):
    model = gaussian.Model()
    data = drawn_from(model, [20] * 40, 8)
    pit = prequential_pit(model, data, num=49)
    assert pit.values.shape == (800, 1) and pit.uniformity[1] > 0.01
    u = pit.values.reshape(40, 20)
    assert abs(np.corrcoef(u[:, 1:].ravel(), u[:, :-1].ravel())[0, 1]) < 4 / 760**0.5
    serial, error = pit.serial
    assert abs(serial) < 4 * error and error == pytest.approx(760**-0.5, rel=0.3)
    assert serial == pytest.approx((12 * (u[:, 1:] - 0.5) * (u[:, :-1] - 0.5)).mean())
    assert "correlation with the frame before" in repr(pit) and pit.to_dict()["serial"] == serial
    first = free_running(model, data, 49).values  # which knows no past: uniform too, but not independent
    v = pit_of(data.values.numpy(), first).reshape(40, 20)
    assert np.corrcoef(v[:, 1:].ravel(), v[:, :-1].ravel())[0, 1] > 0.3


def test_prequential_pit_sees_a_wrong_guide_and_a_past_that_is_not_used(gaussian):
    class Still(gaussian.Model):
        """One that believes in no memory, with the marginal variance of the last frame."""

        def transition(self, z):
            return dist.Normal(torch.zeros_like(z), (0.5 / (1 - 0.81)) ** 0.5).to_event(1)

    data = drawn_from(gaussian.Model(), [20] * 20, 8)
    assert prequential_pit(gaussian.Model(), data, num=49).uniformity[1] > 0.01
    wrong = prequential_pit(gaussian.Model(offset=1.0), data, num=49)  # its guide is off, so its forecasts are
    assert wrong.uniformity[1] < 1e-3 and wrong.mean < 0.45
    still, error = prequential_pit(Still(), data, num=49).serial
    assert still > 0.3 > 4 * error


def test_discrete_elements_and_gaps(rolls):
    torch.manual_seed(0)
    values = (torch.rand(300, 2) < torch.tensor([0.1, 0.6])).double()
    values[::7, 1] = torch.nan
    data = rv.data.SequenceDataset(values, [100] * 3)
    model = rv.RVAE.for_data(data, z_dim=2, h_dim=4)
    with torch.no_grad():
        model.likelihood.net[-1].weight.zero_()  # the marginals of the data
    pit = prequential_pit(model, data.subset([0, 1]), num=19)
    assert np.isnan(pit.values[:, 1]).sum() == len(values[:200:7]) and np.isfinite(pit.values[:, 0]).all()
    assert pit.uniformity[1] > 0.01
    assert abs(pit.serial[0]) < 4 * pit.serial[1] < 0.4
    found = json.loads(json.dumps(pit.to_dict()))
    assert found["num"] == np.isfinite(pit.values).sum() and len(found["histogram"]) == 10
    assert "largest of 2 columns, p by Bonferroni" in repr(pit)


def test_refusals(gaussian, rolls):
    with pytest.raises(ValueError, match="statistic must be a function .* or one of average mean, .*; got 'median'"):
        loo_pit(gaussian.Model(), gaussian.data, "median")
    with pytest.raises(ValueError, match="num must be an integer of at least 1"):
        loo_pit(gaussian.Model(), gaussian.data, average_mean, num=0)
    with pytest.raises(ValueError, match="num must be an integer of at least 1"):
        prequential_pit(gaussian.Model(), gaussian.data, num=0)
    for draw in (one_step, reconstructed):
        check = predictive_check(gaussian.Model(), gaussian.data, num=2, draw=draw)
        with pytest.raises(ValueError, match=f"replicates that are paths, .* got those of {draw.__name__}"):
            check.pit("average mean")
        with pytest.raises(ValueError, match="pit needs one of the statistics"):
            check.pit("median")
    paths = free_running(gaussian.Model(), gaussian.data, 2)
    with pytest.raises(ValueError, match="needs one-step forecasts of this data set .* got Replicates.*free_running"):
        prequential_pit(gaussian.Model(), gaussian.data, draw=paths)
    codes = rv.data.SequenceDataset(torch.tensor([[0], [2], [1]]), [3], kind="categories", classes=3)
    with pytest.raises(ValueError, match="categories have no order"):
        prequential_pit(rv.VRNN.for_data(codes, z_dim=1, h_dim=4), codes)
