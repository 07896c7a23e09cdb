from __future__ import annotations

from collections import Counter
from functools import partial

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import pyro_rvae as rv
from pyro_rvae.criticism import one_step, sbc
from pyro_rvae.criticism.chunks import check_data, chunks, groups


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


# ------------------------------------------------------------------------------------ data of another kind
SIDES = {
    "binary": lambda: rv.data.SequenceDataset((torch.rand(9, 3) < 0.4).double(), [4, 5]),
    "real": lambda: rv.data.SequenceDataset(torch.randn(9, 3), [4, 5]),
    "counts": lambda: rv.data.SequenceDataset(torch.arange(27.0).view(9, 3), [4, 5], kind="counts"),
    "categories": lambda: rv.data.SequenceDataset(torch.arange(27).view(9, 3) % 4, [4, 5], classes=4,
                                                  kind="categories"),
}
FITS = {("binary", "binary"), ("real", "real"), ("real", "counts"), ("real", "binary"), ("counts", "counts"),
        ("counts", "binary"), ("categories", "categories")}


@pytest.mark.parametrize("trained", SIDES)
@pytest.mark.parametrize("given", SIDES)
def test_data_that_the_likelihood_is_no_law_of_are_refused(trained, given):
    data = SIDES[given]()
    for model in (rv.VRNN.for_data(SIDES[trained](), z_dim=2, h_dim=3),
                  rv.Supervised(rv.VRNN.for_data(SIDES[trained](), z_dim=2, h_dim=3), rv.Normal)):
        if (trained, given) in FITS:
            check_data(model, data, "evaluate")
            continue
        family = {"binary": "Bernoulli", "real": "Normal", "counts": "Poisson", "categories": "Categorical"}[trained]
        with pytest.raises(ValueError, match=f"likelihood {family}, a law of .*set is of kind '{given}': pass data"):
            check_data(model, data, "evaluate")


@pytest.mark.parametrize("criticise", [rv.evaluate, rv.predictive_check, rv.to_arviz, one_step, sbc])
def test_every_function_refuses_real_data_for_a_model_of_binary_ones(criticise):
    with pytest.raises(ValueError, match="likelihood Bernoulli, a law of binary data; the data set is of kind 'real'"):
        criticise(rv.VRNN.for_data(SIDES["binary"](), z_dim=2, h_dim=3), SIDES["real"]())


@pytest.mark.parametrize("criticise", [rv.evaluate, rv.predictive_check, rv.to_arviz, one_step, sbc])
def test_weights_of_another_precision_than_the_data(criticise):
    data = SIDES["real"]()
    model = rv.VRNN.for_data(data, z_dim=2, h_dim=3).float()
    words = (r"weights are torch.float32, the data set holds torch.float64: convert the model, model.double\(\), or "
             r"build the data set under torch.set_default_dtype\(torch.float32\)")
    with pytest.raises(ValueError, match=words):
        criticise(model, data)
    check_data(model.double(), data, "evaluate")
