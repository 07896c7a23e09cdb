"""Bounds by particle filters in an evaluation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from linear_gaussian import LinearGaussian, dense

import pyro_rvae as rv


@pytest.fixture
def data() -> rv.data.SequenceDataset:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.tensor([7, 3, 5, 1, 6])
    return rv.data.SequenceDataset(torch.randn(int(lengths.sum()), 1, generator=generator), lengths)


def test_filters_stand_beside_the_other_bounds(data: rv.data.SequenceDataset) -> None:
    found = rv.evaluate(LinearGaussian(smooth=False), data, num_particles=4,
                        filters=[rv.FIVO(16), rv.FIVO(16, bootstrap=True)])
    exact = torch.stack([dense(x.unsqueeze(0))[0] for x in data]).numpy()
    assert list(found.filtered) == ["FIVO-16", "bootstrap filter-16"]
    assert np.abs(found.filtered["FIVO-16"] - exact).max() < 1.0
    assert found.bound("FIVO-16") == pytest.approx(-found.filtered["FIVO-16"].sum() / data.num_frames)
    assert found.bounds["FIVO-16"] == found.to_dict()["fivo_16"] == found.bound("FIVO-16")
    assert "FIVO-16" in repr(found) and "bootstrap filter-16" in repr(found)
    low, high = found.interval("FIVO-16")
    assert low < found.bound("FIVO-16") < high
    assert found.bits_per_dim.keys() == found.bounds.keys() == found.mean_over_sequences.keys()


def test_chunks_do_not_change_a_filter(data: rv.data.SequenceDataset) -> None:
    model, objective = LinearGaussian(smooth=False), [rv.FIVO(8)]
    whole = rv.evaluate(model, data, num_particles=2, filters=objective)
    parts = rv.evaluate(model, data, num_particles=2, filters=objective, batch_size=2, max_bytes=1)
    np.testing.assert_allclose(whole.filtered["FIVO-8"], parts.filtered["FIVO-8"], rtol=0, atol=1e-10)


def test_what_has_no_filter_is_refused(data: rv.data.SequenceDataset) -> None:
    found = rv.evaluate(LinearGaussian(), data, num_particles=2)
    with pytest.raises(ValueError, match="no filter 'FIVO-16' was asked for"):
        found.bound("FIVO-16")
    with pytest.raises(ValueError, match="no latent in the loop that samples x"):
        rv.evaluate(rv.VRAE(1, 2, 4, likelihood=rv.Normal), data, num_particles=2, filters=[rv.FIVO(4)])
    point = rv.StepRAE(1, 2, 4, likelihood=rv.Normal)
    with pytest.raises(ValueError, match="draws a point"):
        rv.evaluate(point, data, num_particles=2, filters=[rv.FIVO(4)])
    for filters in (rv.FIVO(4), ["FIVO"], [rv.IWAE(4)]):
        with pytest.raises(TypeError, match=r"filters must be a list of rv.FIVO\(...\)"):
            rv.evaluate(LinearGaussian(), data, num_particles=2, filters=filters)
    with pytest.raises(ValueError, match="must have different names, got .'FIVO-4', 'FIVO-4'."):
        rv.evaluate(LinearGaussian(), data, num_particles=2, filters=[rv.FIVO(4), rv.FIVO(4, threshold=0.0)])
    pair = rv.Pair(LinearGaussian().model, LinearGaussian().guide)
    with pytest.raises(TypeError, match="runs the bodies of a SequenceVAE side by side"):
        rv.evaluate(pair, data, num_particles=2, filters=[rv.FIVO(4)])
