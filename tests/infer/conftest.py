"""Small data for training tests."""

from __future__ import annotations

import pytest
import torch

from pyro_rvae.data import SequenceDataset


@pytest.fixture
def data() -> SequenceDataset:
    """Eight binary sequences of 5 features."""
    lengths = torch.tensor([5, 2, 7, 3, 4, 6, 1, 5])
    values = (torch.rand(int(lengths.sum()), 5, generator=torch.Generator().manual_seed(0)) < 0.3).double()
    return SequenceDataset(values, lengths)


@pytest.fixture
def real() -> SequenceDataset:
    """Eight real sequences of 3 features."""
    lengths = torch.tensor([5, 2, 7, 3, 4, 6, 1, 5])
    return SequenceDataset(torch.randn(int(lengths.sum()), 3, generator=torch.Generator().manual_seed(0)), lengths)
