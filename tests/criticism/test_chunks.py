from __future__ import annotations

from collections import Counter
from functools import partial

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

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


class Largest(TorchDispatchMode):
    """Bytes of the largest tensor that any operation gives within it."""

    bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        sizes = (t.untyped_storage().nbytes() for t in tree_leaves(out) if isinstance(t, torch.Tensor))
        self.bytes = max(self.bytes, *sizes, 0)
        return out


MODELS = {
    "VRNN": rv.VRNN,
    "DMM": rv.DMM,
    "NADE": partial(rv.DMM.for_data, likelihood=partial(rv.NADE, hidden=12)),
    "full chain": partial(rv.DMM.for_data, posterior=rv.FullGaussianChain),
}


@pytest.mark.parametrize("name", MODELS)
def test_no_tensor_of_an_evaluation_is_larger_than_max_bytes(data, name):
    model = getattr(MODELS[name], "for_data", MODELS[name])(data, z_dim=4, h_dim=8)
    sizes = {}
    for max_bytes in (2**15, 2**18):
        with Largest() as largest:
            rv.evaluate(model, data, num_particles=12, max_bytes=max_bytes)
        sizes[max_bytes] = largest.bytes
    assert all(size <= max_bytes for max_bytes, size in sizes.items())
    assert sizes[2**15] < sizes[2**18]
