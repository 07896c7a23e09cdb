"""What a model remembers of its data."""

from __future__ import annotations

import pytest
import torch

import pyro_rvae as rv
from pyro_rvae.core import DataCard
from pyro_rvae.data import SequenceDataset


def data(names: tuple[str, ...] | None = ("a", "b")) -> SequenceDataset:
    return SequenceDataset(torch.randn(9, 2), [3, 3, 2, 1], labels=torch.tensor([2, 0, 2, -1]), names=names)


def test_a_card_says_what_the_data_were_and_survives_its_description() -> None:
    card = DataCard.of(data())
    assert dict(card.lengths) == {1: 1, 2: 1, 3: 2} and card.labels == (0, 2) and card.names == ("a", "b")
    assert DataCard.from_dict(card.to_dict()) == card
    assert rv.VRNN.for_data(data(), z_dim=2, h_dim=4).data_card == card


def test_it_is_saved_with_the_model(tmp_path) -> None:
    model = rv.VRNN.for_data(data(), z_dim=2, h_dim=4)
    rv.save_pretrained(model, tmp_path)
    assert rv.from_pretrained(tmp_path).data_card == model.data_card


@pytest.mark.parametrize("found", [{"kind": "real"}, ["kind"], {"kind": "real", "x_dim": 1, "colour": 3}])
def test_a_broken_card_is_refused(found) -> None:
    with pytest.raises(ValueError, match="data_card must be a mapping"):
        DataCard.from_dict(found)
