"""What the tasks take."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

import pyro_rvae as rv
from pyro_rvae.criticism.tables import plain
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


def test_a_model_of_raw_data_is_given_raw_data() -> None:
    """Whatever the units of the data set: its transform is undone where the model knows that it has none."""
    _, raw = trained()
    model, data = rv.VRNN.for_data(raw, z_dim=2, h_dim=4), raw.transformed(rv.data.Affine.standardize(raw.values))
    found = as_data(model, data, "task")
    assert found.transform is None and torch.allclose(found.values, raw.values)
    assert np.allclose(rv.tasks.forecast(model, data, 2, 5).draws, rv.tasks.forecast(model, raw, 2, 5).draws)
    own = rv.VRNN(2, z_dim=2, h_dim=4, likelihood=rv.Normal)
    assert own.data_card is None and as_data(own, data, "task") is data, "of one's own model nothing is known"


def test_labels_that_are_codes() -> None:
    raw = SequenceDataset(torch.randn(12, 2), [4, 4, 4], labels=[0, 1, 2])
    model = rv.VRNN.for_data(raw, z_dim=2, h_dim=4, context=rv.Context.for_data(raw))
    x = [row.numpy() for row in raw]
    assert as_data(model, x, "task", labels=[1.0, 2.0, np.nan]).labels.tolist() == [1, 2, -1]
    assert torch.equal(rv.generate(model, 2, 3, labels=1.0, seed=0), rv.generate(model, 2, 3, labels=1, seed=0))
    for call in (lambda: as_data(model, x, "task", labels=[0.5, 1, 2]), lambda: rv.generate(model, 2, 3, labels=0.5)):
        with pytest.raises(ValueError, match=r"codes, 0 to 2, got 0.5"):
            call()


@pytest.mark.parametrize("task", ["forecast", "impute", "embed", "backtest", "generate", "translate"])
def test_seeds_and_numbers_of_numpy(task: str) -> None:
    model, raw = trained()
    gone = [np.where(np.arange(2) == 0, np.nan, x.numpy()) for x in raw]
    calls = {
        "forecast": lambda seed, n: rv.tasks.forecast(model, raw, n, n, seed=seed).draws,
        "impute": lambda seed, n: rv.tasks.impute(model, gone, n, sweeps=n, seed=seed).draws,
        "embed": lambda seed, n: rv.tasks.embed(model, raw, num_draws=n, seed=seed).values,
        "backtest": lambda seed, n: rv.tasks.backtest(model, raw, n, num=n, context=n + 1, seed=seed).to_dict(),
        "generate": lambda seed, n: rv.generate(model, n, n, seed=seed).tolist(),
        "translate": lambda seed, n: [y.tolist() for y in rv.tasks.translate(model, decoder, raw, n, seed=seed)],
    }
    labelled = SequenceDataset(torch.randn(8, 1), [4, 4], labels=torch.randn(2, 2))
    decoder = rv.VRNN.for_data(labelled, z_dim=2, h_dim=4, context=rv.Context.for_data(labelled))
    call = calls[task]
    assert json.dumps(plain(call(np.int32(3), np.int64(2))), allow_nan=False) == json.dumps(plain(call(3, 2)))
    for seed in (1.5, "a", True):
        with pytest.raises(TypeError, match=f"{task}: seed must be an integer of at least 0"):
            call(seed, 2)
    with pytest.raises(ValueError, match=f"{task}: seed must be from 0"):
        call(-1, 2)


def test_rows_for_programs_of_ones_own() -> None:
    def model(x: Any = None, size: Any = None) -> None:
        rows = len(x) if x is not None else size[0]
        with pyro.plate("rows", rows):
            z = pyro.sample("z", dist.Normal(torch.zeros(rows, 2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x: Any) -> None:
        with pyro.plate("rows", len(x)):
            pyro.sample("z", dist.Normal(x / 2, 0.5**0.5).to_event(1))

    pair, x = rv.Pair(model, guide, static=True), np.random.default_rng(0).normal(size=(3, 2))
    for given in (x, x.tolist()):
        assert torch.equal(as_data(pair, given, "task").values, torch.from_numpy(x))
    assert np.allclose(rv.tasks.embed(pair, x).values, x / 2)
