"""The bar counts what is done, and is silent where nobody asked."""

from __future__ import annotations

import pytest
import torch

import pyro_rvae as rv
from pyro_rvae.criticism import free_running
from pyro_rvae.criticism.progress import progress
from pyro_rvae.data import SequenceDataset


def test_a_bar_ends_at_all_of_the_draws(capsys: pytest.CaptureFixture[str]) -> None:
    data = SequenceDataset(torch.randn(12, 2), [6, 6])
    model = rv.VRNN.for_data(data, z_dim=2, h_dim=4)
    free_running(model, data, 3)
    assert not capsys.readouterr().err
    with progress("drawing", delay=0.0):
        free_running(model, data, 3)
    shown = capsys.readouterr().err
    assert "drawing: 100%" in shown
    with progress("drawing", shown=False):
        free_running(model, data, 3)
    assert not capsys.readouterr().err
