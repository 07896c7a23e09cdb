"""Fillings without a model, and the scores of imputations, by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import pyro_rvae as rv
from pyro_rvae.data import SequenceDataset, StaticDataset, hold_out
from pyro_rvae.tasks import fill, imputation_scores, impute

NAN = torch.nan


def data(**given: Any) -> SequenceDataset:
    x = torch.tensor([[NAN, 4.0], [2.0, NAN], [NAN, NAN], [NAN, 1.0], [8.0, NAN], [NAN, NAN], [3.0, NAN]])
    return SequenceDataset(x, [5, 2], **{"kind": "real", **given})


def test_the_last_value_is_carried_within_a_sequence() -> None:
    train = SequenceDataset(torch.tensor([[1.0, 10.0], [3.0, NAN]]), [2])
    found = fill(data(), "last", train=train).filled().values
    assert torch.equal(found, torch.tensor([[2.0, 4], [2, 4], [2, 4], [2, 1], [8, 1], [2, 10], [3, 10]]))


def test_the_mean_is_that_of_the_training_split() -> None:
    some, train = data(), SequenceDataset(torch.tensor([[1.0, NAN], [4.0, NAN]]), [2])
    found = fill(some, "mean", train=train)
    assert torch.equal(found.filled().values[:, 0], torch.tensor([2.5, 2, 2.5, 2.5, 8, 2.5, 3]))
    assert (found.filled().values[[1, 2, 4, 5, 6], 1] == 0.0).all(), "of which nothing is known"
    some.reference = train
    assert (fill(some, "mean").draws == found.draws).all()
    some.reference = None
    assert float(fill(some, "mean").draws[0, 0]) == pytest.approx(13 / 3)


def test_lines_between_values_and_beyond_the_ends() -> None:
    found = fill(data(), "linear").filled().values
    assert torch.allclose(found[:5, 0], torch.tensor([2.0, 2, 4, 6, 8]))
    assert torch.allclose(found[:5, 1], torch.tensor([4.0, 3, 2, 1, 1])) and found[5, 0] == 3.0
    assert (found[5:, 1] == 2.5).all(), "a sequence without any: the mean"
    timed = fill(data(times=[0, 1, 2, 5, 6, 0, 1]), "linear").filled().values
    assert torch.allclose(timed[:5, 0], torch.tensor([2.0, 2, 3.2, 6.8, 8]))


def test_counts_and_codes_take_what_was_seen() -> None:
    x = torch.tensor([[0.0], [NAN], [5.0], [7.0]])
    counts = SequenceDataset(x, [4], kind="counts")
    assert fill(counts, "mean").draws.tolist() == [[5.0]] and fill(counts, "last").draws.tolist() == [[0.0]]
    codes = SequenceDataset([[2], [-1], [2], [0]], [4], kind="categories", classes=3)
    made = fill(codes, "last")
    assert made.draws.tolist() == [[2]] and made.filled().values.dtype == torch.long
    assert fill(StaticDataset(x.expand(4, 2), kind="counts"), "mean").draws.tolist() == [[5.0, 5.0]]


def test_units_of_a_transform_are_undone() -> None:
    raw = data()
    some = raw.transformed(rv.data.Affine.standardize(raw.values))
    for how in ("mean", "last", "linear"):
        assert np.allclose(fill(some, how).draws, fill(raw, how).draws)


def test_what_fill_refuses() -> None:
    with pytest.raises(TypeError, match="fill needs a SequenceDataset or a StaticDataset, got list"):
        fill([1.0])
    with pytest.raises(ValueError, match="how must be one of mean, last, linear, got 'mode'"):
        fill(data(), "mode")
    with pytest.raises(ValueError, match="no value before or after.*use 'mean'"):
        fill(StaticDataset([[1.0, NAN]]), "last")
    with pytest.raises(ValueError, match="between two values of counts there is no line"):
        fill(SequenceDataset([[1.0], [2.0]], [2], kind="counts"), "linear")
    with pytest.raises(ValueError, match="train must have data's kind and width"):
        fill(data(), train=SequenceDataset([[1.5]], [1]))


# ------------------------------------------------------------------------------------------- scores
def scored() -> tuple[Any, Any, Any]:
    g = torch.Generator().manual_seed(1)
    some = SequenceDataset(50 + 10 * torch.randn(40, 3, generator=g), [25, 15], names=["a", "b", "c"])
    some = some.transformed(rv.data.Affine.standardize(some.values))
    seen, hidden = hold_out(some, 0.2, seed=3)
    return seen, hidden, impute(rv.RVAE(3, 2, 3, likelihood=rv.Normal, reader=rv.Reader(3, missing=True)), seen, 25)


def test_scores_by_brute_force() -> None:
    seen, hidden, made = scored()
    found, scale = imputation_scores(made, hidden), seen.transform.scale.numpy()
    for k in (0, 7, len(hidden) - 1):
        at = (made.frames == hidden.frames[k]) & (made.features == hidden.features[k])
        x, draws = hidden.values[k] / scale[hidden.features[k]], made.draws[:, at][:, 0] / scale[hidden.features[k]]
        apart = np.abs(draws[:, None] - draws).sum() / (25 * 24)
        assert found.crps[k] == pytest.approx(np.abs(draws - x).mean() - 0.5 * apart)
        assert found.error[k] == pytest.approx(draws.mean() - x)
        low, high = np.sort(draws)[[1, 22]], np.sort(draws)[[3, 24]]
        if x < low[0] or x > high[1]:
            assert not found.inside[k]
        if low[1] > x > high[0]:
            assert found.inside[k]
        assert found.sequences[k] == int(hidden.frames[k] >= 25)
    assert found.pooled["rmse"] == pytest.approx(np.sqrt(np.square(found.error).mean()))
    each = [np.abs(found.error[hidden.features == d]).mean() for d in range(3)]
    assert found.averaged["mae"] == pytest.approx(np.mean(each))
    assert [row["mae"] for row in found.by_feature()] == pytest.approx(each)
    sums = [found.crps[found.sequences == n].sum() - (found.sequences == n).sum() * found.crps.mean() for n in (0, 1)]
    assert found.standard_error() == pytest.approx(np.sqrt(2 * np.square(sums).sum()) / len(hidden))
    assert found.to_dict()["pooled"] == found.pooled


def test_of_a_filling_the_crps_is_the_absolute_error() -> None:
    seen, hidden, _ = scored()
    found = imputation_scores(fill(seen, "last"), hidden)
    assert (found.crps == np.abs(found.error)).all() and np.isnan(found.pooled["coverage"])
    assert "in 80%" not in repr(found) and "CRPS (1 draw)" in repr(found)
    zero = imputation_scores(fill(seen, "mean", train=seen), hidden)
    assert zero.pooled["rmse"] == pytest.approx(1.0, abs=0.25), "the mean is off by one deviation"


def test_the_table_of_scores() -> None:
    _, hidden, made = scored()
    text = repr(imputation_scores(made, hidden))
    assert f"{len(hidden)} hidden elements imputed by 25 draws of RVAE, in standard units; lower is better" in text
    assert all(f"\n  {name} " in text for name in ("all", "mean of features", "a", "b", "c"))
    assert "CRPS (25 draws)" in text


def test_what_scores_refuse() -> None:
    seen, hidden, made = scored()
    with pytest.raises(TypeError, match="needs an Imputation and the HeldOut of rv.data.hold_out, got int and HeldOut"):
        imputation_scores(3, hidden)
    other = hold_out(seen, 0.3, seed=9)[1]
    with pytest.raises(ValueError, match="some hidden elements were not missing in what was imputed"):
        imputation_scores(made, other)
    with pytest.raises(ValueError, match="hidden from data of \\(2, 2\\)"):
        imputation_scores(made, hold_out(SequenceDataset(torch.randn(2, 2), [2]))[1])
    codes, some = hold_out(SequenceDataset([[2], [1], [2], [0]], [4], kind="categories", classes=3), 0.3)
    with pytest.raises(ValueError, match="codes have no errors.*probabilities"):
        imputation_scores(fill(codes, "last"), some)
    with pytest.raises(ValueError, match="name must be 'crps' or 'mae'"):
        imputation_scores(made, hidden).standard_error("rmse")
