from __future__ import annotations

import numpy as np
import pytest
import torch

from pyro_rvae.data import SequenceDataset, Splits

LENGTHS = [3, 1, 4]


def ragged(**given) -> SequenceDataset:
    return SequenceDataset(torch.arange(16.0).reshape(8, 2), LENGTHS, **given)


def test_knows_its_sizes_and_sequences() -> None:
    data = ragged(controls=np.ones((8, 5)), labels=[7, 8, 9], names=["a", "b"], ids=["p", "q", "r"])
    assert (len(data), data.x_dim, data.control_dim, data.num_frames) == (3, 2, 5, 8)
    assert data.kind == "real" and not data.missing and data.transform is None and data.classes is None
    assert data.labels.dtype == torch.long and data.controls.dtype == data.values.dtype
    assert torch.equal(data[1], torch.tensor([[6.0, 7.0]])) and torch.equal(data[-1], data[2])
    assert [len(sequence) for sequence in data] == LENGTHS


def test_padded_batch_holds_each_sequence_and_zeros() -> None:
    data = ragged(controls=torch.arange(8.0)[:, None], labels=[7.0, 8.0, 9.0])
    batch = data.padded([2, 0])
    assert batch.x.shape == (2, 4, 2) and batch.mask.sum(1).tolist() == [4, 3]
    assert batch.mask.dtype == torch.bool and batch.index.tolist() == [2, 0] and batch.num_frames == 7
    for row, i in enumerate([2, 0]):
        assert torch.equal(batch.x[row][batch.mask[row]], data[i])
    assert (batch.x[~batch.mask] == 0).all() and (batch.controls[~batch.mask] == 0).all()
    assert batch.controls[0, :, 0].tolist() == [4, 5, 6, 7] and batch.labels.tolist() == [9.0, 7.0]


def test_missing_elements_do_not_leak_into_the_padding() -> None:
    data = SequenceDataset([[np.nan], [1.5], [2.5]], [1, 2])
    batch = data.padded()
    assert data.missing and batch.x.isnan().sum() == 1 and batch.x[0, 1] == 0


def test_subset_keeps_everything_that_belongs_to_its_sequences() -> None:
    data = ragged(controls=torch.arange(8.0)[:, None], labels=[7, 8, 9], ids=["p", "q", "r"])
    part = data.subset([2, 0])
    assert part.lengths.tolist() == [4, 3] and part.labels.tolist() == [9, 7] and part.ids == ("r", "p")
    assert torch.equal(part[0], data[2]) and torch.equal(part[1], data[0])
    assert part.controls[:, 0].tolist() == [4, 5, 6, 7, 0, 1, 2]
    assert data.subset(slice(1, None)).lengths.tolist() == [1, 4]
    assert data.subset(torch.tensor([True, False, True])).lengths.tolist() == [3, 4]


def test_from_sequences_equals_the_concatenated_form() -> None:
    data = ragged(controls=torch.ones(8, 1))
    again = SequenceDataset.from_sequences(list(data), controls=[torch.ones(n, 1) for n in LENGTHS])
    assert torch.equal(again.values, data.values) and torch.equal(again.lengths, data.lengths)
    assert torch.equal(again.controls, data.controls)


@pytest.mark.parametrize(
    ("values", "given", "kind", "dtype"),
    [
        (np.array([[True], [False]]), {}, "binary", torch.float64),
        (np.array([[0], [1]]), {}, "binary", torch.float64),
        (torch.tensor([[0.0], [1.0]], dtype=torch.float32), {}, "binary", torch.float32),
        (np.array([[0.0], [np.nan]]), {}, "binary", torch.float64),
        (np.array([[0.5], [1.0]], dtype=np.float32), {}, "real", torch.float64),
        (np.array([[2.0], [3.0]]), {}, "real", torch.float64),
        (np.array([[2], [3]], dtype=np.uint16), {"kind": "counts"}, "counts", torch.float64),
        (np.array([[2], [-1]]), {"kind": "categories", "classes": 3}, "categories", torch.long),
        (np.array([[2.0], [np.nan]]), {"kind": "categories", "classes": 3}, "categories", torch.long),
    ],
)
def test_kind_is_inferred_where_it_is_plain(values, given, kind, dtype) -> None:
    data = SequenceDataset(values, [2], **given)
    assert data.kind == kind and data.values.dtype == dtype
    assert data.missing == bool(
        np.isnan(np.asarray(values, dtype=float)).any() or (np.asarray(values) < 0).any()
    )


@pytest.mark.parametrize(
    ("values", "lengths", "given", "message"),
    [
        (np.zeros(5), [5], {}, r"values must be \(sum T, x_dim\), got shape \(5,\)"),
        (np.zeros((5, 0)), [5], {}, r"values must be \(sum T, x_dim\)"),
        (np.zeros((0, 2)), [], {}, "lengths must be integers|data set is empty"),
        (np.zeros((0, 2)), torch.zeros(0, dtype=torch.long), {}, "data set is empty"),
        (np.zeros((5, 2)), [5, 0], {}, "sequence 1 has length 0"),
        (np.zeros((5, 2)), [5, 1], {}, "lengths must sum to the number of rows of values, got 6 and 5"),
        (np.zeros((5, 2)), [2.5, 2.5], {}, "lengths must be integers"),
        (np.zeros((5, 2)), [5], {"labels": [1, 2]}, "labels must be one for each of the 1 sequences"),
        (np.zeros((5, 2)), [5], {"labels": [np.inf]}, "labels must be finite"),
        (np.zeros((5, 2)), [5], {"controls": np.zeros((4, 1))}, "controls must be .* with 5 rows"),
        (np.zeros((2, 2)), [2], {"controls": [[0.0], [np.inf]]}, "controls must be finite.*row 1"),
        (np.zeros((5, 2)), [5], {"names": ["a"]}, "names must hold one string for each feature, 2, got 1"),
        (
            np.zeros((5, 2)),
            [5],
            {"kind": "bernoulli"},
            "kind must be one of binary, real, counts, categories",
        ),
        ([[0], [2]], [2], {}, "may be counts or categories"),
        ([[0.0], [0.5]], [1, 1], {"kind": "binary"}, "got 0.5 at sequence 1, step 0, feature 0"),
        ([[1.0], [1.5]], [2], {"kind": "counts"}, "kind='counts' wants whole numbers.*got 1.5"),
        ([[1], [-2]], [2], {"kind": "counts"}, "got -2 at sequence 0, step 1"),
        ([[1], [3]], [2], {"kind": "categories"}, "needs classes.*pass classes=4 or more"),
        ([[1], [3]], [2], {"kind": "categories", "classes": 3}, "from 0 to 2 .* got 3 at sequence 0, step 1"),
        ([[1], [-2]], [2], {"kind": "categories", "classes": 3}, "got -2"),
        ([[1.0], [0.5]], [2], {"kind": "categories", "classes": 3}, "categories must be whole numbers"),
        ([[1], [0]], [2], {"kind": "categories", "classes": 1}, "classes must be an integer of at least 2"),
        ([[1.0], [0.5]], [2], {"classes": 3}, "classes is for kind='categories' only"),
    ],
)
def test_refuses_what_it_cannot_hold(values, lengths, given, message) -> None:
    with pytest.raises(ValueError, match=message):
        SequenceDataset(values, lengths, **given)


def test_infinity_is_named_by_its_place() -> None:
    values = torch.randn(8, 2)
    values[6, 1] = torch.inf
    with pytest.raises(ValueError, match="finite .* got inf at sequence 2, step 2, feature 1"):
        SequenceDataset(values, LENGTHS)


@pytest.mark.parametrize("values", [[["a"], ["b"]], np.array([[{}]], dtype=object), [[1, 2], [3]]])
def test_what_is_no_array_of_numbers_is_a_type_error(values) -> None:
    with pytest.raises(TypeError, match="values must be an array"):
        SequenceDataset(values, [2])
    with pytest.raises(TypeError, match="values must be real numbers"):
        SequenceDataset(torch.zeros(2, 1, dtype=torch.complex64), [2])


@pytest.mark.parametrize(
    ("sequences", "given", "message"),
    [
        ([], {}, "data set is empty"),
        ([np.zeros((2, 3)), np.zeros((2, 4))], {}, r"sequence 1 must be \(T, 3\), got shape \(2, 4\)"),
        ([np.zeros(2)], {}, "a single feature is"),
        ([np.zeros((2, 3)), np.zeros((0, 3))], {}, "sequence 1 has length 0"),
        ([np.zeros((2, 3))], {"controls": [np.zeros((3, 1))]}, "3 rows for sequence 0 of 2 frames"),
        ([np.zeros((2, 3))], {"controls": [np.zeros((2, 1))] * 2}, "2 of them for 1 sequences"),
    ],
)
def test_from_sequences_names_the_sequence(sequences, given, message) -> None:
    with pytest.raises(ValueError, match=message):
        SequenceDataset.from_sequences(sequences, **given)


def test_bad_indices_are_refused() -> None:
    data = ragged()
    for bad in (3, -4):
        with pytest.raises(IndexError, match="outside a data set of 3"):
            data[bad]
        with pytest.raises(IndexError, match="outside a data set of 3"):
            data.subset([bad])
    with pytest.raises(TypeError, match="use subset"):
        data[0:2]
    with pytest.raises(ValueError, match="selects nothing"):
        data.subset([])
    with pytest.raises(ValueError, match=r"bool index must have shape \(3,\)"):
        data.subset(np.array([True]))
    with pytest.raises(ValueError, match="index must be integers"):
        data.subset([0.5])


def test_splits_are_put_in_units_fitted_on_train() -> None:
    sides = Splits(*(SequenceDataset(torch.randn(8, 2) * 5 + 3, LENGTHS, labels=[0, 1, 2]) for _ in range(3)))
    for changed in (sides.standardize(), sides.normalize()):
        assert changed.train.transform is changed.test.transform is not None
        for raw, new in zip(sides, changed, strict=True):
            torch.testing.assert_close(new.transform.inverse(new.values), raw.values)
            assert new.labels is not None and new.subset([1]).transform is new.transform
    torch.testing.assert_close(sides.standardize().train.values.mean(0), torch.zeros(2), atol=1e-10, rtol=0)
    assert sides.normalize().train.values.amax() == 1 and sides.train.transform is None


def test_units_are_changed_once_and_only_of_reals() -> None:
    sides = Splits(ragged(), ragged(), ragged())
    with pytest.raises(ValueError, match="transformed already"):
        sides.standardize().normalize()
    bits = SequenceDataset([[0], [1]], [2])
    with pytest.raises(ValueError, match="only real data have units.*got kind='binary'"):
        Splits(bits, bits, bits).standardize()
    with pytest.raises(ValueError, match="a transform goes with kind='real'"):
        SequenceDataset([[0], [1]], [2], transform=sides.standardize().train.transform)


def test_linked_sides_know_their_training_split() -> None:
    data = Splits(ragged(), ragged(), ragged()).linked()
    assert data.test.reference is data.train and data.valid.subset([0]).reference is data.train
    changed = data.standardize()
    assert changed.test.reference is changed.train and ragged().reference is None


def test_repr_explains_the_data() -> None:
    data = ragged(labels=[1, 2, 3], controls=np.ones((8, 2)))
    held = "x_dim=2, kind='real', labels (), control_dim=2"
    assert repr(data) == f"SequenceDataset(3 sequences, 8 frames, {held}, lengths 1-3-4)"
    words = repr(SequenceDataset([[0], [-1]], [2], kind="categories", classes=4))
    assert "kind='categories', classes=4, missing elements" in words
    assert "valid=SequenceDataset(3 sequences" in repr(Splits(data, data, data))


def test_the_users_array_is_copied_and_the_default_device_left_alone() -> None:
    array = np.array([[0.5], [1.5]])
    with torch.device("meta"):
        data = SequenceDataset(array, [2], controls=[[1.0], [2.0]], labels=[1])
        batch = data.batches(1)[0]
        assert {t.device.type for t in (data.values, data.lengths, batch.x, batch.mask)} == {"cpu"}
        assert data.subset([0]).values.device.type == "cpu"
    array[:] = 9.0
    assert data.values.tolist() == [[0.5], [1.5]]


def test_times_follow_their_frames() -> None:
    data = SequenceDataset(torch.randn(6, 1), [2, 3, 1], times=[0.5, 1, 0, 2, 4, -3])
    assert data.times is not None and data.times.dtype == torch.float64
    assert data.subset([2, 0]).times.tolist() == [-3.0, 0.5, 1.0]  # type: ignore[union-attr]
    assert Splits(data, data, data).standardize().test.times.tolist() == data.times.tolist()
    for times, message in (
        ([0.5, 1], r"one number for each frame, \(6,\), got shape \(2,\)"),
        ([1, 0.5, 0, 2, 4, -3], "must rise within a sequence, but in row 1 0.5 follows 1"),
        ([0, 1, 0, 2, 2, -3], "must rise within a sequence, but in row 4 2 follows 2"),
        ([0, 1, 0, float("nan"), 2, -3], "times must be finite, got NaN or inf in row 3"),
    ):
        with pytest.raises(ValueError, match=message):
            SequenceDataset(torch.randn(6, 1), [2, 3, 1], times=times)
