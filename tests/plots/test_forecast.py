"""The fan of a forecast: what stands where, in words and in lines."""

from __future__ import annotations

import numpy as np
import pytest

from pyro_rvae import plots
from pyro_rvae.tasks import Forecast


def forecast(kind="real", *, width=2, horizon=4, times=True, ids=("a", "b"), names=None):
    rng = np.random.default_rng(0)
    past = tuple(rng.integers(0, 3, size=(12, width)) for _ in range(2))
    clock = tuple(100 + 0.5 * np.arange(12) for _ in range(2)) if times else None
    return Forecast(rng.integers(0, 3, size=(30, 2, horizon, width)), past, kind, 3 if kind == "categories" else None,
                    "VRNN", names, ids, clock)


def line(axes, label):
    return next(each for each in axes.lines if each.get_label() == label)


def test_past_median_and_truth(texts, size):
    found = forecast()
    truth = np.arange(6.0).reshape(3, 2)
    panels = plots.forecast_plot(found, truth, sequence=1)
    assert len(panels) == 2 and "VRNN: 30 draws of the next 4 frames after b (2 of 2)" in texts(panels)
    for d, axes in enumerate(panels):
        last = found.past[1][-1, d]
        assert np.allclose(line(axes, "past").get_ydata(), found.past[1][-10:, d])
        assert np.allclose(line(axes, "median").get_ydata(), [last, *found.median[1, :, d]])
        assert np.allclose(line(axes, "median").get_xdata(), [105.5, 106, 106.5, 107, 107.5])
        assert np.allclose(line(axes, "what came").get_ydata(), [last, *truth[:, d]])
        assert sum(each.get_label() in ("draws", "_draws") for each in axes.lines) == 3
    assert {"50%", "80%", "95%", "median", "past", "what came", "time"} <= set(texts(panels))
    assert size(panels) > 10_000


def test_bands_are_the_intervals():
    found = forecast(width=1)
    (axes,) = plots.forecast_plot(found, levels=(0.8,))
    low, high = (end[0, :, 0] for end in found.interval(0.8))
    (band,) = axes.collections
    edge = band.get_paths()[0].vertices
    for x, a, b in zip(found.times[0], low, high, strict=True):
        at = edge[np.isclose(edge[:, 0], x), 1]
        assert at.min() == pytest.approx(a) and at.max() == pytest.approx(b)


def test_without_times_and_ids(texts):
    found = forecast(times=False, ids=None)
    panels = plots.forecast_plot(found, past=3)
    assert "steps from the last frame that was seen" in texts(panels)
    assert "VRNN: 30 draws of the next 4 frames after sequence 1 of 2" in texts(panels)
    assert line(panels[0], "past").get_xdata().tolist() == [-2, -1, 0]


def test_many_zeros_and_ones_are_a_roll(texts, size):
    found = forecast("binary", width=88, horizon=6)
    found.draws[:] = 0
    found.draws[:, 1, :, 39], found.draws[::2, 1, :, 43] = 1, 1  # middle C; E in every second draw
    for past in found.past:
        past[:] = 0
    found.past[1][:, 36] = 1
    panels = plots.forecast_plot(found, np.ones((4, 88)), sequence=1, past=5)
    assert len(panels) == 3 and {"pitch", "C4", "What came"} <= set(texts(panels))
    before, ahead = (image.get_array() for image in panels[0].images)
    low = round(panels[0].images[0].get_extent()[2] + 0.5)
    assert before.shape[1] == 5 and np.all(before[36 - low] == 1)
    assert np.allclose(ahead[39 - low], 1) and np.allclose(ahead[43 - low], 0.5)
    assert set(np.unique(panels[1].images[1].get_array())) == {0.0, 1.0}, "one draw"
    assert np.isnan(panels[2].images[1].get_array().filled(np.nan)[:, 4:]).all(), "of what came no more is known"
    assert size(panels) > 10_000
    assert len(plots.forecast_plot(found, features=[39])) == 1


def test_features_are_chosen(texts):
    found = forecast(width=11, names=tuple(f"channel {d} {'of many ' * 20}" for d in range(11)))
    panels = plots.forecast_plot(found)
    assert len(panels) == 8 and any("8 of 11 features" in text for text in texts(panels))
    assert all(len(text) < 80 for text in texts(panels)), "long names are cut"
    chosen = plots.forecast_plot(found, features=[found.names[9], 2])
    assert np.allclose(line(chosen[0], "median").get_ydata()[1:], found.median[0, :, 9]) and len(chosen) == 2


@pytest.mark.parametrize("kind", ["counts", "binary"])
def test_steps_of_whole_numbers(kind, size):
    panels = plots.forecast_plot(forecast(kind), np.ones((4, 2)))
    assert not any("draws" in each.get_label() for each in panels[0].lines)
    assert line(panels[0], "median").get_drawstyle() == "steps-mid" and size(panels) > 5_000


def test_categories_are_probabilities(size):
    found = forecast("categories")
    panels = plots.forecast_plot(found, np.array([[1, -1]]))
    assert np.allclose(panels[1].images[0].get_array(), found.probabilities[0, :, 1].T)
    assert np.isnan(line(panels[1], "what came").get_ydata()).all()
    assert line(panels[0], "what came").get_ydata().tolist() == [1] and size(panels) > 5_000


@pytest.mark.parametrize(("given", "what"), [
    ({"sequence": 2}, "sequence must be 0 to 1, got 2"), ({"levels": ()}, "one to three probabilities"),
    ({"levels": (0.2, 0.4, 0.6, 0.8)}, "one to three"), ({"levels": (1.2,)}, "between 0 and 1"),
    ({"features": ["z"]}, r"features must be numbers below 2 or names of x0, x1; got \['z'\]"),
    ({"features": []}, "got none"), ({"truth": np.ones((5, 2))}, r"at most 4 frames of 2 features, got shape \(5, 2\)"),
    ({"truth": np.ones((3, 1))}, r"got shape \(3, 1\)"),
])
def test_what_is_refused(given, what):
    with pytest.raises(ValueError, match=what):
        plots.forecast_plot(forecast(), **given)


def test_no_forecast():
    with pytest.raises(TypeError, match="forecast_plot needs a Forecast, .* got ndarray, which has no 'draws'"):
        plots.forecast_plot(np.ones((3, 2)))
