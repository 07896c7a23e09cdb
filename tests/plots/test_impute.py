"""The picture of an imputation: what is drawn where."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import pyro_rvae as rv
from pyro_rvae import plots
from pyro_rvae.data import SequenceDataset, StaticDataset, hold_out
from pyro_rvae.tasks import fill, impute


def made(names: Any = None, times: Any = None) -> tuple[Any, Any]:
    g = torch.Generator().manual_seed(0)
    data = SequenceDataset(torch.randn(18, 8, generator=g), [8, 10], names=names, ids=["first", "second"], times=times)
    data.values[:, 7] = 1.0
    seen, hidden = hold_out(data, 0.3)
    model = rv.RVAE(8, 2, 3, likelihood=rv.Normal, reader=rv.Reader(8, missing=True))
    return impute(model, seen, 20), hidden


def test_bands_medians_dots_and_rings_stand_where_they_should() -> None:
    found, hidden = made()
    panels = plots.imputation_plot(found, sequence=1, features=[2, 0], level=0.5, hidden=hidden)
    assert len(panels) == 2
    for panel, d in zip(panels, (2, 0), strict=True):
        x = found.observed[8:, d]
        band = panel.patches[0].get_data()
        low, high = (end[8:, d] for end in found.interval(0.5))
        gap = np.isnan(x)
        assert np.allclose(band.values[gap], high[gap]) and np.isnan(band.values[~gap]).all()
        assert np.allclose(np.asarray(band.baseline)[gap], low[gap])
        assert band.edges.tolist() == [-0.5 + k for k in range(11)]
        line, small, dots, rings = (one.get_ydata() for one in panel.lines)
        assert np.allclose(line[gap], found.median[8:, d][gap]) and np.allclose(small, found.median[8:, d][gap])
        assert np.array_equal(dots, x, equal_nan=True)
        own = (hidden.frames >= 8) & (hidden.features == d)
        assert np.allclose(rings[hidden.frames[own] - 8], hidden.values[own])
        assert np.isfinite(rings).sum() == own.sum()
    title = panels.figure.get_suptitle()
    assert title.startswith("RVAE fills") and "sequence second" in title
    assert "hidden ones lie in the 50% interval" in title


def test_features_are_chosen_by_name_or_by_what_was_seen() -> None:
    found, _ = made(names=[f"a variable with a very long name, number {d}, in units of its own" for d in range(8)],
                    times=[*range(8), *range(0, 20, 2)])
    panels = plots.imputation_plot(found)
    assert len(panels) == 6 and all(len(p.get_title(loc="left")) < 75 for p in panels)
    one = plots.imputation_plot(found, sequence=1, features=[found.names[3]])
    assert "number 3" in one[0].get_title(loc="left") and one[0].get_xlabel() == "time"
    assert one[0].lines[2].get_xdata().tolist() == list(range(0, 20, 2))
    assert one.figure.get_suptitle().startswith("RVAE fills") and "hidden" not in one.figure.get_suptitle()


def test_a_filling_and_short_sequences_are_drawn() -> None:
    data = SequenceDataset([[1.5, torch.nan], [2.0, 1.0], [torch.nan, 3.0]], [1, 2])
    for n in (0, 1):
        panels = plots.imputation_plot(fill(data, "last"), sequence=n)
        panels.figure.canvas.draw()


def test_refusals() -> None:
    found, _ = made()
    with pytest.raises(TypeError, match="imputation_plot needs an Imputation"):
        plots.imputation_plot(3)
    with pytest.raises(ValueError, match="sequence must be a number from 0 to 1, got 2"):
        plots.imputation_plot(found, sequence=2)
    with pytest.raises(ValueError, match="names or numbers from 0 to 7, got 'HR'; there are feature 1"):
        plots.imputation_plot(found, features=["HR"])
    with pytest.raises(ValueError, match="of codes, and of rows without time"):
        plots.imputation_plot(fill(StaticDataset([[1.5, torch.nan]]), "mean"))
