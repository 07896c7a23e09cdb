"""Raw numbers as a user holds them: nested lists, DataFrames, 1-D arrays, any precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import pyro_rvae as rv
from pyro_rvae.data import Affine, SequenceDataset
from pyro_rvae.tasks import embed, forecast, generate, impute
from pyro_rvae.tasks.arrays import exact, frame_values, is_frame, sequences_of
from pyro_rvae.tasks.inputs import as_data


class Frame:
    """What of a DataFrame is asked: columns, and their numbers."""

    def __init__(self, values: Any, columns: list[Any]) -> None:
        self.values, self.columns = np.asarray(values), columns
        self.ndim, self.shape = 2, self.values.shape

    def to_numpy(self) -> np.ndarray:
        return self.values

    def __len__(self) -> int:
        return len(self.values)


def model_of(names: tuple[str, ...] | None = ("a", "b")) -> rv.SequenceVAE:
    raw = SequenceDataset(10 + 5 * torch.randn(20, 2), [8, 8, 4], names=names)
    return rv.VRNN.for_data(raw.transformed(Affine.standardize(raw.values)), z_dim=2, h_dim=4)


# ------------------------------------------------------------------------------------------ DataFrames
def test_columns_are_known_by_their_names() -> None:
    model, x = model_of(), np.random.default_rng(0).normal(size=(5, 2))
    swapped = Frame(x[:, ::-1], ["b", "a"])
    wanted = forecast(model, [x], 2, 3).draws
    for given in ([Frame(x, ["a", "b"])], [swapped], swapped):
        assert np.array_equal(forecast(model, given, 2, 3).draws, wanted)
    assert np.array_equal(forecast(model, Frame(x, [0, 1]), 2, 3).draws, wanted), "columns that nobody named"
    assert np.array_equal(generate(model, 1, 7, prefix=swapped)[0, :5], x)
    assert is_frame(swapped) and not is_frame(x)


def test_other_columns_are_refused() -> None:
    model, x = model_of(), np.zeros((5, 2))
    with pytest.raises(ValueError, match=r"forecast: the features are \['a', 'b'\], .* lacks \['b'\] and has \['c'\]"):
        forecast(model, [Frame(x, ["a", "c"])], 2)
    with pytest.raises(ValueError, match="one of them twice"):
        frame_values(model, Frame(np.zeros((5, 3)), ["a", "b", "b"]), "task")
    with pytest.raises(ValueError, match=r"has \['c'\] beside"):
        embed(model, Frame(np.zeros((5, 3)), ["a", "b", "c"]))


def test_a_model_without_names_takes_the_first_frames() -> None:
    model, x = model_of(None), np.random.default_rng(0).normal(size=(5, 2))
    both = [Frame(x, ["test", "padded"]), Frame(x[:, ::-1], ["padded", "test"])]
    data = as_data(model, both, "task")
    assert data.names == ("test", "padded") and torch.equal(data[0], data[1])
    assert as_data(model, both[0], "task").names == ("test", "padded"), "no attribute of a data set"
    with pytest.raises(ValueError, match="lacks"):
        as_data(model, [both[0], Frame(x, ["test", "z"])], "task")


def test_a_static_model_takes_a_frame_as_rows() -> None:
    model = rv.VAE.for_data(rv.data.StaticDataset(torch.randn(6, 2), names=("a", "b")), z_dim=2)
    x = np.random.default_rng(0).normal(size=(4, 2))
    assert torch.equal(as_data(model, Frame(x[:, ::-1], ["b", "a"]), "task").values, torch.from_numpy(x))


# ------------------------------------------------------------------------------------------ lists
def test_nested_lists_are_arrays() -> None:
    model, x = model_of(), np.random.default_rng(0).normal(size=(5, 2))
    wanted = forecast(model, x, 2, 3).draws
    assert np.array_equal(forecast(model, x.tolist(), 2, 3).draws, wanted)
    assert len(as_data(model, [x.tolist(), x[:3].tolist()], "task")) == 2
    assert len(as_data(model, np.array([x, x[:3]], dtype=object), "task")) == 2
    with pytest.raises(TypeError, match="forecast needs numbers, got a list of str"):
        forecast(model, ["abc", "d"], 2)
    with pytest.raises(ValueError, match=r"must be \(T, x_dim\), got shape \(3,\)"):
        forecast(model, [1.0, 2.0, 3.0], 2)


@pytest.mark.parametrize(("given", "lengths"), [
    ([1, 2, 2], [3]), (np.array([1, 2]), [2]), (torch.tensor([1, 2]), [2]), ([[1], [2]], [2]),
    ([[1, 2], [2, 1]], [2, 2]),
    ([[1, 2], [2]], [2, 1]), ([np.array([1, 2]), np.array([2, 1])], [2, 2]), (np.zeros((2, 3, 1), int), [3, 3]),
])
def test_one_feature(given: Any, lengths: list[int]) -> None:
    text = rv.data.Text(rv.data.Vocabulary.from_texts(["abc"]))
    model = rv.VRNN.for_data(text.encode(["abba", "c"]), z_dim=2, h_dim=3)
    assert as_data(model, given, "task").lengths.tolist() == lengths
    made = generate(model, len(lengths), 4, prefix=given, seed=0)
    for row, own in zip(made, sequences_of(model, given, "task"), strict=True):
        assert row[: len(own), 0].tolist() == np.asarray(own)[:, 0].tolist()


# ------------------------------------------------------------------------------------------ precision
def test_units_are_changed_in_double_precision() -> None:
    """Numbers near 1e7 that differ by ones keep their differences, under torch's default of single precision too."""
    torch.set_default_dtype(torch.float32)
    x = 1e7 + np.random.default_rng(0).normal(size=(30, 1))
    raw = SequenceDataset(torch.from_numpy(x), [30])
    units = Affine(torch.tensor([1e7]), torch.tensor([1.0]))
    model = rv.DeterministicRNN.for_data(SequenceDataset(torch.zeros(4, 1), [4], kind="real", transform=units))
    for given in (x, [x.tolist()], raw, torch.from_numpy(x)):
        data = as_data(model, given, "task")
        assert data.values.dtype == torch.float32 and data.transform.loc.dtype == torch.float32
        assert np.allclose(data.values.numpy(), x - 1e7, atol=1e-6)
    found = forecast(model, x, 2, 50)
    assert np.allclose(found.past[0], x, rtol=0, atol=1e-6) and len(np.unique(found.draws)) == 100
    gone = np.where(np.arange(30)[:, None] == 4, np.nan, x)
    assert len(np.unique(impute(model, gone, 50, sweeps=0).draws)) == 50


def test_a_double_model_sees_all_digits() -> None:
    model = rv.DeterministicRNN.for_data(SequenceDataset(torch.randn(20, 2), [20]))
    x = np.random.default_rng(0).normal(size=(6, 2))
    torch.set_default_dtype(torch.float32)
    for given in (x, x + 1e-12):
        assert np.array_equal(as_data(model, given, "task").values.numpy(), given)
    assert as_data(model, np.full((2, 2), 2**24 + 1), "task").values[0, 0] == 2**24 + 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_data_sets_of_the_other_precision(dtype: torch.dtype) -> None:
    data = SequenceDataset(torch.randn(12, 2), [6, 6], controls=torch.randn(12, 1), labels=torch.randn(2, 3))
    data = data.transformed(Affine.standardize(data.values))
    model = rv.VRNN.for_data(data, z_dim=2, h_dim=4, context=rv.Context.for_data(data)).to(dtype)
    other = torch.float32 if dtype == torch.float64 else torch.float64
    given = SequenceDataset(data.values.to(other), data.lengths, controls=data.controls.to(other),
                            labels=data.labels.to(other), transform=data.transform)
    found = as_data(model, given, "task")
    assert {x.dtype for x in (found.values, found.controls, found.labels)} == {dtype}
    assert given.values.dtype == other, "the given one stays"
    assert embed(model, given).values.shape == (2, 2)


def test_half_precision_is_refused() -> None:
    model = model_of().half()
    for call in (lambda: forecast(model, np.zeros((3, 2)), 2), lambda: generate(model, 2, 3)):
        with pytest.raises(ValueError, match=r"weights are torch.float16, .* convert it with model.float\(\)"):
            call()


def test_exact_leaves_alone_what_is_no_array_of_numbers() -> None:
    assert exact(np.array([1j]), "real").dtype == complex and exact([[1.0], [1.0, 2.0]], "real") == [[1.0], [1.0, 2.0]]
    assert exact([1, 2], None).dtype == torch.long and exact([1, 2], "counts").dtype == torch.float64


@pytest.mark.parametrize("task", ["reconstruct", "interpolate", "traverse", "swap"])
@pytest.mark.parametrize("seed", [None, 1.5, -1])
def test_seeds_are_checked(task: str, seed: Any) -> None:
    model = rv.VRAE(2, 2, 4, likelihood=rv.Normal)
    x = torch.randn(4, 2)
    more = {"interpolate": (x,), "traverse": (0,), "swap": (x,)}.get(task, ())
    with pytest.raises((TypeError, ValueError), match=f"{task}: seed must be"):
        getattr(rv.tasks, task)(model, x, *more, seed=seed)


def test_a_stream_takes_columns_by_name() -> None:
    data = rv.data.SequenceDataset(torch.randn(8, 2), [4, 4], names=("a", "b"))
    model = rv.VRNN.for_data(data, z_dim=2, h_dim=4)
    values = np.array([[0.5, -1.0]])
    plain, framed = rv.tasks.Stream(model, 1, 5), rv.tasks.Stream(model, 1, 5)
    found = framed.update(Frame(values[:, ::-1].copy(), ["b", "a"]))
    assert found.log_density == plain.update(values).log_density
