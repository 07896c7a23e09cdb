"""Bounds beside floors, and by step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import pyro_rvae as rv
from pyro_rvae import plots
from pyro_rvae.criticism.by_step import StepCosts


@pytest.fixture
def evaluation(rng):
    lengths = np.array([3, 5, 2])
    weights = -rng.gamma(20.0, size=(3, 4))
    by_step = np.where(np.arange(5) < lengths[:, None], 1.0 + np.arange(5), np.nan)
    return rv.criticism.Evaluation(
        weights, np.full(3, 6.0), np.full(3, 1.0), lengths, {"independent": 9.0, "markov": 8.0}, name="VRNN",
        by_step=StepCosts(by_step, by_step / 2, np.zeros(3)),
    )


def test_bounds_beside_floors_with_their_intervals(evaluation, texts, size):
    panels = plots.bounds_plot(evaluation, level=0.8)
    said = texts(panels)
    gap = 8.0 - evaluation.elbo
    assert f"VRNN: ELBO (4 particles) {evaluation.elbo:.2f} nats per frame, {abs(gap):.2f} " \
           f"{'below' if gap > 0 else 'above'} the Markov floor" in said
    assert f"IWAE-4  {evaluation.iwae:.3f}" in said and "Markov floor  8.000" in said
    bars = [c for c in panels[0].collections if type(c).__name__ == "LineCollection"]
    ends = [tuple(bar.get_segments()[0][:, 0]) for bar in bars]
    assert ends == [pytest.approx(evaluation.interval(k, level=0.8)) for k in (1, 4)]
    assert size(panels) > 5_000


def test_a_point_is_compared_with_no_floor(evaluation, texts):
    said = texts(plots.bounds_plot(replace(evaluation, point=True)))
    assert any("no bound" in text for text in said) and not any("the Markov floor" in text for text in said)


def test_costs_by_step(evaluation, texts):
    panels = plots.steps_plot(evaluation)
    curves = {line.get_label(): line.get_ydata() for line in panels[0].lines if len(line.get_ydata()) == 5}
    assert np.allclose(curves["reconstruction"], [1, 2, 3, 4, 5]) and np.allclose(curves["KL"], [0.5, 1, 1.5, 2, 2.5])
    assert np.allclose(curves["ELBO"], [1.5, 3, 4.5, 6, 7.5])
    assert "VRNN: the first step costs 1.50 nats, the others 5.25 on average" in texts(panels)


def test_static_data_have_no_steps(evaluation):
    with pytest.raises(ValueError, match="static data: its costs have no steps"):
        plots.steps_plot(replace(evaluation, by_step=None))
