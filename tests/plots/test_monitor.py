"""The latent in training."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

import pyro_rvae as rv
from pyro_rvae import plots
from pyro_rvae.criticism.monitor import CollapseRow, read_rows
from pyro_rvae.plots.style import MODEL, WARN


def rows(dead=(), looks=6):
    nan = float("nan")
    return [CollapseRow(5 * i, 50 * i, 9.0, 0.1 * i, i, 8, nan, nan, 0.2, min(1.0, i / 3), 0.1, "z" * (i in dead))
            for i in range(1, looks + 1)]


def test_kl_and_active_units_by_epoch(texts, size):
    left, right = panels = plots.monitor_plot(rows())
    assert left.lines[0].get_xdata().tolist() == [5, 10, 15, 20, 25, 30]
    assert np.allclose(left.lines[0].get_ydata(), [0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    assert right.lines[0].get_ydata().tolist() == [1, 2, 3, 4, 5, 6] and right.get_ylim()[1] > 8
    found = texts(panels)
    assert "After epoch 30: KL 0.60 nats per frame, 6 of 8 units active" in found
    assert "active units, of 8" in found and "KL weight (grey)" in found
    assert size(panels) > 5_000


def test_looks_at_a_dead_latent_are_red(texts):
    panels = plots.monitor_plot(rows(dead=(1, 2)))
    dots = {to_hex(line.get_color()): line.get_xdata().tolist() for line in panels[0].lines if line.get_marker() == "o"}
    assert dots == {MODEL: [15, 20, 25, 30], WARN: [5, 10]}
    assert any(text.endswith("; the latent woke up by epoch 15") for text in texts(panels))
    assert any(text.endswith("; z has collapsed") for text in texts(plots.monitor_plot(rows(dead=(3, 6)))))


def test_of_a_monitor_and_of_its_file(tmp_path, texts):
    torch.manual_seed(0)
    data = rv.data.StaticDataset(torch.rand(20, 3))
    model = rv.VAE.for_data(data, z_dim=2, h_dim=4)
    monitor = rv.CollapseMonitor(data, path=tmp_path / "collapse.csv")
    rv.fit(model, data, epochs=2, progress=False, callbacks=[monitor])
    panels, again = plots.monitor_plot(monitor), plots.monitor_plot(read_rows(tmp_path / "collapse.csv"), unit="item")
    assert any("nats per item" in text for text in texts(panels))
    assert panels[0].lines[0].get_ydata().tolist() == again[0].lines[0].get_ydata().tolist() == monitor["kl"].tolist()


def test_one_look_has_one_tick():
    assert plots.monitor_plot(rows(looks=1))[0].get_xticks().tolist() == [5]


def test_refusals():
    with pytest.raises(ValueError, match="the monitor has no row yet: train at least one epoch"):
        plots.monitor_plot(rv.CollapseMonitor(rv.data.StaticDataset(torch.rand(3, 2))))
    for wrong in (3, rows()[0], [SimpleNamespace(epoch=1)], "collapse.csv"):
        with pytest.raises(TypeError, match="monitor_plot needs a CollapseMonitor, or a list of its rows; got"):
            plots.monitor_plot(wrong)
