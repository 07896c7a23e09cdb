from __future__ import annotations

import pytest
import torch

from pyro_rvae.data import Affine, SequenceDataset
from pyro_rvae.data.transforms import raw_units


def test_standardize_matches_numpy_and_inverts() -> None:
    values = torch.randn(50, 3) * torch.tensor([2.0, 0.1, 30.0]) + torch.tensor([5.0, -1.0, 100.0])
    units = Affine.standardize(values)
    y = units(values)
    torch.testing.assert_close(y.mean(0), torch.zeros(3), atol=1e-10, rtol=0)
    torch.testing.assert_close(y.std(0, correction=0), torch.ones(3))
    torch.testing.assert_close(units.inverse(y), values)


def test_missing_elements_are_left_out_and_stay() -> None:
    values = torch.randn(20, 2)
    holed = torch.cat([values, torch.full((5, 2), torch.nan)])
    torch.testing.assert_close(Affine.standardize(holed).scale, Affine.standardize(values).scale)
    torch.testing.assert_close(Affine.normalize(holed).loc, values.amin(0))
    assert Affine.standardize(holed)(holed).isnan().sum() == 10


@pytest.mark.parametrize("fit", [Affine.standardize, Affine.normalize])
def test_constant_or_wholly_missing_features_keep_their_scale(fit) -> None:
    values = torch.tensor([[0.1, torch.nan], [0.1, torch.nan], [0.1, torch.nan]])
    units = fit(values)
    assert units.scale.tolist() == [1.0, 1.0]
    torch.testing.assert_close(units.loc, torch.tensor([0.1, 0.0]))


def test_normalize_maps_onto_the_unit_interval() -> None:
    y = Affine.normalize(values := torch.randn(9, 4))(values)
    torch.testing.assert_close(y.amin(0), torch.zeros(4))
    torch.testing.assert_close(y.amax(0), torch.ones(4))


def test_travels_in_a_state_dict() -> None:
    units = Affine.standardize(torch.randn(9, 2))
    other = Affine(torch.zeros(2), torch.ones(2))
    other.load_state_dict(units.state_dict())
    assert torch.equal(other.loc, units.loc) and torch.equal(other.scale, units.scale)
    assert not list(units.parameters())


@pytest.mark.parametrize(
    ("loc", "scale", "message"),
    [
        ([0.0], [1.0, 1.0], "one shape"),
        ([0.0], [0.0], "scale positive"),
        ([0.0], [-1.0], "scale positive"),
        ([float("nan")], [1.0], "loc must be finite"),
    ],
)
def test_refuses_what_cannot_be_undone(loc, scale, message) -> None:
    with pytest.raises(ValueError, match=message):
        Affine(torch.tensor(loc), torch.tensor(scale))


@pytest.mark.parametrize("values", [torch.arange(6).reshape(3, 2), torch.randn(3), torch.randn(0, 2)])
def test_is_fitted_on_rows_of_real_numbers(values) -> None:
    with pytest.raises(ValueError, match="fitted on real numbers of shape"):
        Affine.standardize(values)


def test_raw_units_are_those_of_the_owner() -> None:
    plain = SequenceDataset(torch.tensor([[1.0], [3.0]]), [2])
    x = torch.tensor([[2.0]])
    assert raw_units(plain, x) is x
    moved = plain.transformed(Affine.standardize(plain.values))
    assert torch.equal(raw_units(moved, moved.values), plain.values)
