"""The naive forecasts, against their definitions, loops and quadrature."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, stats

from pyro_rvae.tasks.naive import GaussianForecast, drift, naive, naive_methods, seasonal_naive

PAST = np.array([[1.0, 5.0], [3.0, 5.0], [2.0, 5.0], [6.0, 5.0], [4.0, 5.0]])


def test_the_last_value_and_a_random_walk() -> None:
    found = naive(PAST, 3)
    sigma = math.sqrt((4 + 1 + 16 + 4) / 4)
    assert np.allclose(found.mean, [[4.0, 5.0]] * 3)
    assert np.allclose(found.scale[:, 0], sigma * np.sqrt([1, 2, 3])) and np.all(found.scale[:, 1] == 0)


def test_a_random_walk_is_covered() -> None:
    """The law of the model that the method is right for, by simulation: u is standard normal at every step."""
    rng = np.random.default_rng(0)
    u = []
    for _ in range(400):
        walk = rng.normal(size=(220, 1)).cumsum(0)
        found = naive(walk[:200], 20)
        u.append((walk[200:] - found.mean) / found.scale)
    assert np.allclose(np.std(u, axis=0), 1, atol=0.15)


def test_the_drifts_deviation_is_that_of_its_errors() -> None:
    """A random walk with drift of known deviation 1: Var of the error at h is h (1 + h / (T - 1))."""
    rng = np.random.default_rng(1)
    walks = (0.3 + rng.normal(size=(2000, 30))).cumsum(1)
    errors = np.array([walk[20:] - drift(walk[:20, None], 10).mean[:, 0] for walk in walks])
    h = np.arange(1, 11)
    assert np.allclose(errors.var(0), h * (1 + h / 19), rtol=0.12)


@pytest.mark.parametrize("m", [1, 2, 3, 4])
def test_seasons_by_a_loop(m: int) -> None:
    rng = np.random.default_rng(m)
    past = rng.normal(size=(11, 3))
    past[rng.random(past.shape) < 0.2] = np.nan
    found = seasonal_naive(past, 7, m)
    for d in range(3):
        changes = [past[t, d] - past[t - m, d] for t in range(m, 11)]
        sigma = math.sqrt(np.nanmean(np.square(changes)))
        for h in range(1, 8):
            t, seasons = 10 + h - m, 1
            while t >= 11 or (t >= 0 and np.isnan(past[t, d])):
                t, seasons = t - m, seasons + 1
            wanted = (past[t, d], sigma * math.sqrt(seasons)) if t >= 0 else (math.nan, math.nan)
            assert found.mean[h - 1, d] == pytest.approx(wanted[0], nan_ok=True)
            if t >= 0:
                assert found.scale[h - 1, d] == pytest.approx(wanted[1])


def test_drift_by_a_line() -> None:
    found = drift(PAST, 2)
    slope = (4 - 1) / 4
    sigma = math.sqrt(sum((change - slope) ** 2 for change in (2, -1, 4, -2)) / 3)
    assert np.allclose(found.mean[:, 0], [4 + slope, 4 + 2 * slope])
    assert np.allclose(found.scale[:, 0], [sigma * math.sqrt(h * (1 + h / 4)) for h in (1, 2)])
    gap = drift(np.array([[np.nan], [1.0], [2.0], [4.0], [np.nan]]), 1)  # 1.5 a frame, two frames after the 4
    assert gap.mean.item() == pytest.approx(4 + 2 * 1.5)
    assert gap.scale.item() == pytest.approx(math.sqrt(0.5 / 1) * math.sqrt(2 * (1 + 2 / 2)))


def test_too_little_past_says_nothing() -> None:
    one = np.array([[2.0, np.nan]])
    for found in (naive(one, 2), drift(one, 2)):
        assert np.isnan(found.scale).all() and np.isnan(found.crps(np.ones((2, 2)))).all()
        assert np.isnan(found.pit(np.ones((2, 2)))).all()
    assert naive(one, 1).mean[0, 0] == 2 and np.isnan(naive(one, 1).mean[0, 1])
    assert np.isnan(seasonal_naive(PAST, 4, 8).scale).all()


def test_crps_by_quadrature() -> None:
    law = GaussianForecast(np.array([[1.0, -2.0]]), np.array([[0.5, 3.0]]))
    x = np.array([[1.7, -9.0]])
    for d in range(2):
        mean, scale = law.mean[0, d], law.scale[0, d]
        wanted = integrate.quad(lambda y, m=mean, s=scale, v=x[0, d]: (stats.norm.cdf(y, m, s) - (y >= v)) ** 2,
                                mean - 40, mean + 40, points=[x[0, d]], limit=200)[0]
        assert law.crps(x)[0, d] == pytest.approx(wanted, rel=1e-6)
    assert np.allclose(law.pit(x), stats.norm.cdf(x, law.mean, law.scale))


def test_without_spread() -> None:
    law = GaussianForecast(np.full((1, 4), 2.0), np.zeros((1, 4)))
    x = np.array([[2.0, 3.0, 1.5, np.nan]])
    assert np.allclose(law.crps(x), [[0, 1, 0.5, np.nan]], equal_nan=True)
    assert np.allclose(law.pit(x), [[0.5, 1, 0, np.nan]], equal_nan=True)


def test_names_and_refusals() -> None:
    assert list(naive_methods(24)) == ["naive", "seasonal naive", "drift"]
    assert list(naive_methods(1)) == ["naive", "drift"]
    assert np.allclose(naive_methods(2)["seasonal naive"](PAST, 2).mean[:, 0], [6, 4])
    with pytest.raises(ValueError, match=r"must be \(T, D\) with at least one frame, got shape \(3,\)"):
        naive(np.zeros(3), 1)
    with pytest.raises(ValueError, match="horizon"):
        drift(PAST, 0)
    with pytest.raises(ValueError, match="seasonality"):
        seasonal_naive(PAST, 1, 0)


def test_a_past_of_words() -> None:
    with pytest.raises(ValueError, match=r"the past must be numbers \(T, D\), got str"):
        naive("a", 2)
