"""What the tasks take."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pyro_rvae as rv
from pyro_rvae.data import SequenceDataset, StaticDataset
from pyro_rvae.tasks.inputs import as_data


def trained() -> tuple[rv.SequenceVAE, SequenceDataset]:
    raw = SequenceDataset(10 + 5 * torch.randn(20, 2), [8, 8, 4], names=("a", "b"))
    data = raw.transformed(rv.data.Affine.standardize(raw.values))
    return rv.VRNN.for_data(data, z_dim=2, h_dim=4), raw


def test_raw_data_and_arrays_become_the_models_units() -> None:
    model, raw = trained()
    wanted = raw.transformed(model.transform)
    assert torch.equal(as_data(model, raw, "task").values, wanted.values)
    assert as_data(model, wanted, "task") is wanted
    arrays = [x.numpy() for x in raw]
    assert torch.equal(as_data(model, arrays, "task").values, wanted.values)
    assert torch.equal(as_data(model, raw[0], "task").values, wanted[0])
    assert len(as_data(model, np.zeros((3, 4, 2)), "task")) == 3
    assert as_data(model.float(), arrays, "task").values.dtype == torch.float32


def test_static_rows() -> None:
    model = rv.VAE.for_data(StaticDataset(torch.ones(4, 3), kind="binary"), z_dim=2)
    assert as_data(model, np.zeros((5, 3)), "task").kind == "binary"


def test_what_does_not_fit_is_refused() -> None:
    model, raw = trained()
    other = SequenceDataset(raw.values, raw.lengths, names=("a", "c"))
    with pytest.raises(ValueError, match=r"trained on the features .* lacks \['b'\] and has \['c'\] instead"):
        as_data(model, other, "task")
    with pytest.raises(ValueError, match="in another order"):
        as_data(model, SequenceDataset(raw.values, raw.lengths, names=("b", "a")), "task")
    with pytest.raises(ValueError, match="x_dim=2"):
        as_data(model, [np.zeros((4, 3))], "task")
    with pytest.raises(TypeError, match="got str"):
        as_data(model, "file.csv", "task")
    with pytest.raises(TypeError, match="pass one of its sides"):
        as_data(model, rv.data.Splits(raw, raw, raw), "task")
    with pytest.raises(ValueError, match="holds its own controls"):
        as_data(model, raw, "task", controls=[np.zeros((8, 1))])
