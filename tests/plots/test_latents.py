"""The map of the latents."""

from __future__ import annotations

import numpy as np
import pytest

import pyro_rvae as rv
from pyro_rvae import plots
from pyro_rvae.criticism.means import posterior_means
from pyro_rvae.plots.latents import principal


@pytest.fixture
def data(rng):
    return rv.data.SequenceDataset((rng.random((20, 3)) < 0.5).astype(float), [5, 4, 8, 3], labels=[0, 1, 0, 1])


def test_the_plane_is_that_of_the_largest_variance(rng):
    points = rng.normal(size=(50, 4)) * [3.0, 1.0, 2.0, 0.1]
    plane, share = principal(points)
    values = np.linalg.eigvalsh(np.cov(points.T))[::-1]
    assert np.allclose(share, values[:2] / values.sum())
    assert np.allclose(np.cov(plane.T), np.diag(values[:2]), atol=1e-10)


def test_one_dimension_has_no_second():
    plane, share = principal(np.array([[0.0], [2.0]]))
    assert np.allclose(np.abs(plane), [[1, 0], [1, 0]]) and share.tolist() == [1.0, 0.0]


def test_a_point_a_step_by_label(data, texts, size):
    model = rv.RVAE(3, 3, 4)
    panels = plots.latent_map(model, data)
    _, means = posterior_means(model, data)
    plane, _ = principal(np.concatenate(means))
    dots = {s.get_label(): s.get_offsets() for s in panels[0].collections}
    label = np.repeat([0, 1, 0, 1], [5, 4, 8, 3])
    assert set(dots) == {"0", "1"}
    assert all(np.allclose(dots[str(i)], plane[label == i]) for i in (0, 1))
    assert any(text.startswith("z of RVAE") and text.endswith("means of 20 steps") for text in texts(panels))
    assert size(panels) > 5_000


def test_without_labels_the_colour_is_time(data):
    data.labels = None
    panels = plots.latent_map(rv.RVAE(3, 3, 4), data)
    time = np.concatenate([np.linspace(0, 1, n) for n in (5, 4, 8, 3)])
    assert np.allclose(panels[0].collections[0].get_array(), time)


def test_a_latent_a_sequence_and_the_users_colours(data, texts):
    panels = plots.latent_map(rv.VRAE(3, 2, 4), data, colour=["a", "b", "b", "b"])
    assert sorted(len(s.get_offsets()) for s in panels[0].collections) == [1, 3]
    assert "z of VRAE: two directions hold 100% of the variance of its means of 4 sequences" in texts(panels)
    with pytest.raises(ValueError, match=r"one entry for each of 4 sequences, got shape \(2,\)"):
        plots.latent_map(rv.VRAE(3, 2, 4), data, colour=[1, 2])
