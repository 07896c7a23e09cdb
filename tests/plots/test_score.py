"""Plots of anomaly scores."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from matplotlib.colors import to_hex

from pyro_rvae import plots
from pyro_rvae.plots.style import WARN
from pyro_rvae.tasks import Scores


def made(rng, features=1, kind="real", lengths=(20, 12, 1), **more):
    shape = (len(lengths), max(lengths), features)
    inside = np.arange(shape[1]) < np.array(lengths)[:, None]
    steps = np.where(inside, rng.exponential(size=shape[:2]), np.nan)
    steps[0, 7:9] = 9.0
    x = np.where(inside[..., None], rng.integers(0, 2, shape), np.nan)
    return Scores(by_step=steps, by_sequence=np.nansum(steps, 1), lengths=np.array(lengths), method="filter", kind=kind,
                  num_particles=3, observed=x, expected=x * 0 + 0.5, spread=x * 0 + 0.1, expected_by="forecast", **more)


def test_one_sequence(rng, texts, size):
    found = made(rng, names=("pressure",), ids=("monday", "tuesday", "x" * 90))
    panels = plots.score_plot(found, threshold=8.0)
    assert len(panels) == 2
    said = texts(panels)
    assert "2 of 20 steps are above 8.00 nats" in said and "pressure" in said
    assert any(text.startswith("monday: ") for text in said), "the one with the highest step"
    spans = [p for p in panels[0].patches if to_hex(p.get_facecolor()) == WARN]
    assert [(p.get_x(), p.get_x() + p.get_width()) for p in spans] == [(6.5, 8.5)]
    np.testing.assert_array_equal(panels[0].lines[1].get_ydata(), found.observed[0, :, 0])
    assert size(panels) > 10_000


def test_missing_frames_leave_a_gap(rng, texts, size):
    found = made(rng, lengths=(12, 6, 4))
    steps = -1.0 - found.by_step  # log-densities above 0: a 0 in a gap would be the highest
    for part in (steps, found.observed[..., 0]):
        part[1, 2], part[2] = np.nan, np.nan
    steps[1, 4] = np.inf
    gaps = dataclasses.replace(found, by_step=steps)
    panels = plots.score_plot(gaps, threshold=-1.5)
    assert "sequence 1" in "".join(texts(panels)), "the one with the infinite score"
    drawn = panels[1].patches[1].get_data().values
    np.testing.assert_array_equal(np.isnan(drawn), np.isnan(steps[1, :6]))
    assert drawn[4] == np.nanmax(steps[1, [0, 1, 3, 5]])
    assert len(plots.score_plot(gaps, [2], threshold=-1.5)) == 2 and size(panels) > 10_000


def test_several_of_them_and_one_step(rng, texts, size):
    panels = plots.score_plot(made(rng, 2, ids=("a", "b", "x" * 90)), [0, 1, 2], threshold=8.0)
    assert len(panels) == 9
    said = texts(panels)
    assert "1 of 3 sequences have steps above 8.00 nats" in said and "feature 2" in said
    assert "± 2 deviations" in str(said)
    assert any(text.startswith("xxx") and "...: " in text and len(text) < 45 for text in said)
    assert panels[-1].get_xticks().tolist() == [0]
    assert size(panels) > 10_000


def test_codes_have_no_band(rng, texts):
    panels = plots.score_plot(made(rng, 1, "categories"))
    assert not panels[0].collections and "deviations" not in str(texts(panels))
    assert "What surprised model, step by step" in texts(panels)


def test_many_features_are_maps(rng, texts, size):
    panels = plots.score_plot(made(rng, 9, "binary"), [0, 1], threshold=2.0)
    assert len(panels) == 6 and {"seen", "expected"} <= set(texts(panels))
    np.testing.assert_allclose(panels[2].collections[0].get_array(), 0.5)
    assert size(panels) > 10_000
    times = np.cumsum(np.ones((3, 20)) * 0.5, 1)
    assert plots.score_plot(made(rng, 9, times=times))[-1].get_xlabel() == "time"


def test_histogram(rng, texts, size):
    panels = plots.score_histogram({"normal": rng.random(50), "others": [2.0, 3.0, 0.5, np.inf]}, threshold=1.0)
    assert "Above the threshold: 0% of normal, 67% of others" in texts(panels) and "others (3)" in texts(panels)
    assert size(panels) > 5_000
    own = plots.score_histogram({"a": [1.0, 2.0]}, axes=panels.figure.add_subplot())
    assert own[0].get_title(loc="left") == "Scores by group"


def test_refusals(rng):
    found = made(rng)
    with pytest.raises(TypeError, match="score_plot needs Scores"):
        plots.score_plot({"by_step": 1})
    for wrong in ([3], [], [0] * 5, [True], ["monday"]):
        with pytest.raises(ValueError, match="sequences must be 1 to 4 numbers from 0 to 2"):
            plots.score_plot(found, wrong)
    object.__setattr__(found, "by_step", None)
    with pytest.raises(ValueError, match="score_plot needs scores by step"):
        plots.score_plot(found)
    for groups in ({}, {"a": [np.nan]}):
        with pytest.raises(ValueError, match="needs groups of finite scores by name"):
            plots.score_histogram(groups)
