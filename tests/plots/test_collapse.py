"""KL by dimension and by step."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from pyro_rvae import plots
from pyro_rvae.plots.style import MODEL, SOFT


def report(**changed):
    steps = np.array([10.0] * 6 + [0.2])  # few sequences reach the last step
    given = {
        "kl_by_dim": {"z": np.array([0.1, 0.7, 0.0])}, "activity": {"z": np.array([0.5, 2.0, 0.001])},
        "kl_by_step": {"z": np.arange(7.0)}, "steps": {"z": steps}, "threshold": 0.01, "active_units": 2,
        "num_units": 3, "kl": 0.8, "shuffling_cost": 1.25, "unit": "frame", "name": "VRNN",
    }  # fmt: skip
    return SimpleNamespace(**(given | changed))


def test_dimensions_are_sorted_and_dead_ones_pale(texts, size):
    from matplotlib.colors import to_hex

    panels = plots.collapse_plot(report())
    bars = sorted(panels[0].patches, key=lambda bar: bar.get_x())
    assert [bar.get_height() for bar in bars] == [0.7, 0.1, 0.0]
    assert [to_hex(bar.get_facecolor()) for bar in bars] == [MODEL, MODEL, SOFT]
    assert [label.get_text() for label in panels[0].get_xticklabels()] == ["1", "0", "2"]
    assert "2 of 3 latent units are active; KL 0.80 nats per frame, another's latents cost +1.25" in texts(panels)
    assert size(panels) > 5_000


def test_steps_that_few_reach_are_left_out():
    panels = plots.collapse_plot(report())
    assert panels[1].lines[0].get_xdata().tolist() == [1, 2, 3, 4, 5, 6]
    assert panels[1].lines[0].get_ydata().tolist() == [0, 1, 2, 3, 4, 5]


def test_without_a_closed_kl_the_activity_is_shown(texts):
    panels = plots.collapse_plot(report(kl_by_dim={}, kl_by_step={}, shuffling_cost=np.nan))
    assert len(panels) == 1
    assert any("its KL has no closed form" in text for text in texts(panels))
    assert not any("another's" in text for text in texts(panels))


def test_a_model_without_latents():
    with pytest.raises(ValueError, match="holds no latent"):
        plots.collapse_plot(report(kl_by_dim={}, activity={}, kl_by_step={}))
