"""Rank histograms, Pareto k, PIT, coverage, scores."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

import pyro_rvae as rv
from pyro_rvae import plots
from pyro_rvae.plots.style import DATA, MODEL, WARN


@pytest.fixture
def calibration(rng):
    ranks = np.stack([rng.integers(0, 20, 200), np.repeat([0, 19], 100)])  # exact, and far too narrow
    return rv.criticism.Calibration(ranks, ("good", "bad"), 19, "VRNN")


def test_a_guide_that_is_too_narrow_stands_out(calibration, texts, size):
    panels = plots.sbc_plot(calibration)
    assert [ax.get_title(loc="left") for ax in panels] == ["bad: too narrow", "good: ok"], "the worst first"
    bars = [[p for p in ax.patches if type(p).__name__ == "Rectangle"] for ax in panels]
    assert [bar.get_height() for bar in bars[0]] == [100, *[0] * 8, 100]
    assert [to_hex(b[0].get_facecolor()) for b in bars] == [WARN, MODEL]
    assert any(text.startswith("The guide is not the posterior: too narrow") for text in texts(panels))
    assert size(panels) > 5_000


def test_most_histograms(calibration):
    assert len(plots.sbc_plot(calibration, most=1)) == 1


@pytest.mark.parametrize(("draw", "words"), [
    (lambda g: g.random(4000), "as wide as they should be"),
    (lambda g: g.beta(0.6, 0.6, 4000), "too narrow"),
    (lambda g: g.beta(2, 2, 4000), "too wide"),
    (lambda g: g.beta(2, 1, 4000), "too low"),
    (lambda g: g.beta(1, 2, 4000), "too high"),
])  # fmt: skip
def test_pit_says_what_is_wrong(draw, words, rng, texts):
    values = np.append(draw(rng), np.nan)
    panels = plots.pit_plot(values)
    assert any(text.startswith("PIT of 4,000 numbers") and text.endswith(words) for text in texts(panels))
    assert np.mean([bar.get_height() for bar in panels[0].patches]) == pytest.approx(1.0), "a density"


def test_pit_of_results(rng):
    pit = rv.criticism.Pit(rng.random((5, 2)), "x", "frames", 9, "one_step")
    scores = SimpleNamespace(scores=SimpleNamespace(pit=pit.values))
    heights = [[bar.get_height() for bar in plots.pit_plot(one)[0].patches] for one in (pit, scores, pit.values)]
    assert heights[0] == heights[1] == heights[2]
    with pytest.raises(ValueError, match="categories have no order"):
        plots.pit_plot(SimpleNamespace(scores=SimpleNamespace(pit=None)))


def test_pareto_k_by_its_consequences(texts):
    found = SimpleNamespace(pareto_k=np.array([0.2, 0.6, 1.5, np.inf, -np.inf, np.nan]), num_particles=100)
    panels = plots.khat_plot(found)
    dots = {to_hex(line.get_color()): line.get_xdata().tolist() for line in panels[0].lines if line.get_marker() == "o"}
    assert dots == {MODEL: [1, 5], DATA: [2], WARN: [3, 4]}
    assert all(np.isfinite(line.get_ydata()).all() for line in panels[0].lines), "infinite ones stand at the edge"
    assert "2 of 5 sequences have a Pareto k that 100 particles can do with" in texts(panels)


def test_too_few_particles_for_pareto_k(texts):
    panels = plots.khat_plot(SimpleNamespace(pareto_k=np.full(3, np.nan), num_particles=5))
    assert "5 particles can't tell Pareto k: a tail to fit needs at least 30" in texts(panels)
    assert not any("to be trusted" in text for text in texts(panels))
    tied = plots.khat_plot(SimpleNamespace(pareto_k=np.full(3, np.nan), num_particles=50))
    assert "No weights have a tail to fit: Pareto k is unknown" in texts(tied)


def test_pareto_k_of_leave_one_out(texts):
    data = rv.data.StaticDataset(torch.rand(6, 3))
    found = rv.criticism.loo(rv.VAE.for_data(data, z_dim=1, h_dim=3), data, num_particles=40)
    panels = plots.khat_plot(found)
    assert any("6 items have a Pareto k that 40 particles" in text for text in texts(panels))
    assert panels[0].get_xlabel() == "item"


@pytest.fixture
def scores(rng):
    """Normal data, and draws of half their width."""
    train = rv.data.SequenceDataset(rng.normal(size=(60, 1)), [10] * 6)
    model = rv.RVAE.for_data(train, z_dim=2, h_dim=3)
    made = rv.criticism.Replicates(0.5 * rng.normal(size=(50, 60, 1)), np.full(6, 10), "one_step")
    return rv.criticism.predictive_scores(model, train, draw=made, train=train)


def test_coverage_of_intervals_that_are_too_narrow(scores, texts, size):
    panels = plots.coverage_plot(scores)
    curve = next(line for line in panels[0].lines if line.get_marker() == "o")
    at = dict(zip(np.round(curve.get_xdata(), 2), curve.get_ydata(), strict=True))
    assert at[0.8] == pytest.approx(scores.coverage(0.8)[0]) and at[0.8] < 0.65
    assert f"80% intervals of one-step predictions cover {at[0.8]:.0%} of the data" in texts(panels)
    assert size(panels) > 5_000


def test_a_score_by_step_beside_the_marginals(scores, texts):
    panels = plots.crps_plot(scores)
    model, marginals = (line.get_ydata() for line in panels[0].lines)
    assert np.allclose(model, scores.by_step().value)
    assert np.allclose(marginals, scores.by_step(reference=True).value)
    assert any("worse than the training marginals" in text for text in texts(panels))
