from __future__ import annotations

from collections import Counter

import pytest
import torch

import pyro_rvae as rv
from pyro_rvae.criticism.chunks import chunks, groups


@pytest.fixture
def data():
    lengths = [3, 9, 1, 5, 7]
    return rv.data.SequenceDataset((torch.rand(sum(lengths), 4) < 0.5).double(), lengths)


def test_groups_are_sorted_by_length_and_none_is_short(data):
    assert groups(data, 2) == [[2, 0], [3, 4], [1]]
    assert groups(data, 2, 2) == [[2, 0], [3, 4, 1]]
    assert groups(data, 20) == [[2, 0, 3, 4, 1]]


@pytest.mark.parametrize("max_bytes", [1, 5_000, 20_000, 2**28])
@pytest.mark.parametrize("whole", [False, True])
def test_every_particle_of_every_sequence_comes_once(data, max_bytes, whole):
    model = rv.VRNN.for_data(data, z_dim=2, h_dim=6)
    together = groups(data, 2)
    found = list(chunks(model, data, 7, together, max_bytes, whole=whole))
    pairs = Counter((n, k) for chunk in found for n in chunk.numbers for k in chunk.particles)
    assert pairs == Counter((n, k) for n in range(5) for k in range(7))
    assert not whole or all(chunk.numbers in together for chunk in found)
    frames = [chunk.batch.x.shape[1] * len(chunk.numbers) * len(chunk.particles) for chunk in found]
    width = 4 + sum(p.shape[0] for p in model.parameters() if p.dim() > 1)
    smallest = 1 if not whole else 2
    assert all(
        n * width * 8 <= max_bytes or len(chunk.particles) == 1 and len(chunk.numbers) <= smallest
        for n, chunk in zip(frames, found, strict=True)
    )
