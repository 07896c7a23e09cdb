"""Samples beside data, and reconstructions."""

from __future__ import annotations

import numpy as np
import pyro.distributions as dist
import pytest
import torch

import pyro_rvae as rv
from pyro_rvae import plots
from pyro_rvae.plots.style import DATA, MODEL


def real(rng, features=2):
    values = rng.normal(50.0, 5.0, size=(17, features))
    values[3, 0] = np.nan
    data = rv.data.SequenceDataset(values, [8, 9], names=["a", "b", "c"][:features])
    return data.transformed(rv.data.Affine.standardize(data.values))


def test_real_data_in_raw_units_with_gaps(rng, size):
    data = real(rng)
    samples = rng.normal(50.0, 5.0, size=(3, 6, 2))
    panels = plots.sequences_plot(data, samples, num=2)
    assert len(panels) == 2 * 4
    first, sample = panels[0].lines[0], panels[2].lines[0]
    assert (first.get_color(), sample.get_color()) == (DATA, MODEL)
    assert np.isnan(first.get_ydata()[3]) and 30 < np.nanmean(first.get_ydata()) < 70
    assert np.allclose(sample.get_ydata(), samples[0, :, 0])
    assert [panels[i].get_ylabel() for i in (0, 4)] == ["a", "b"] and size(panels) > 5_000


def test_music_is_shown_as_rolls(rng, texts):
    data = rv.data.SequenceDataset((rng.random((9, 88)) < 0.05).astype(float), [4, 5], ids=["x", "y"])
    said = texts(plots.sequences_plot(data, np.zeros((2, 5, 88)), name="DMM"))
    assert {"data: x", "sample 2", "Data, and samples of DMM"} <= set(said)


def test_images_and_wide_sequences(rng):
    images = rv.data.StaticDataset((rng.random((3, 144)) < 0.5).astype(float))
    panels = plots.sequences_plot(images, rng.random((3, 144)))
    assert panels[0].images[0].get_array().shape == (12, 12) and len(panels) == 6
    wide = rv.data.SequenceDataset(rng.normal(size=(9, 20)), [4, 5])
    panels = plots.sequences_plot(wide, rng.normal(size=(2, 5, 20)))
    assert panels[0].images[0].get_array().shape == (20, 4), "time to the right"


def test_no_samples():
    with pytest.raises(ValueError, match="needs at least one sample"):
        plots.sequences_plot(rv.data.StaticDataset([[0.0, 1.0]]), [])


class Copies(rv.SequenceVAE):
    """z_t ~ N(0, 1);  x_t ~ N(z_t, 0.1);  the guide draws z_t next to x_t."""

    def __init__(self, x_dim):
        super().__init__()
        self.x_dim, self.scale = x_dim, torch.nn.Parameter(torch.tensor(0.1))

    def generative(self, steps):
        for t in steps:
            z = t.sample("z", rv.StandardNormal(0, self.x_dim))
            t.sample("x", lambda z: dist.Normal(z, self.scale).to_event(1), z)

    def inference(self, steps, x):
        for t in steps:
            t.sample("z", lambda x: dist.Normal(x, 1e-6).to_event(1), t.at(x))


def test_a_band_about_what_the_guide_has_seen(rng, texts):
    data = rv.data.SequenceDataset(rng.normal(size=(12, 2)), [6, 6])
    panels = plots.reconstruction_plot(Copies(2), data, draws=40)
    line, dots = panels[0].lines
    assert np.allclose(dots.get_ydata(), data[0][:, 0]) and np.allclose(line.get_ydata(), dots.get_ydata(), atol=0.1)
    assert any("of the data lie in the middle 90% of Copies's reconstructions" in text for text in texts(panels))


@pytest.mark.parametrize("kind", ["music", "image", "codes", "counts"])
def test_reconstructions_of_every_kind(kind, rng, size, texts):
    if kind == "image":
        data = rv.data.StaticDataset((rng.random((3, 144)) < 0.5).astype(float))
        model = rv.VAE.for_data(data, z_dim=2)
    else:
        values = {"music": (rng.random((9, 88)) < 0.1).astype(float), "codes": rng.integers(0, 4, (9, 1)),
                  "counts": rng.poisson(3.0, (9, 2))}[kind]
        more = {"codes": {"kind": "categories", "classes": 4}, "counts": {"kind": "counts"}}.get(kind, {})
        data = rv.data.SequenceDataset(values, [4, 5], **more)
        model = rv.RVAE.for_data(data, z_dim=2, h_dim=4)
    panels = plots.reconstruction_plot(model, data, num=2, draws=4)
    assert size(panels) > 5_000
    words = {"music": "of the notes", "image": "what VAE gives back", "codes": "the data's own code",
             "counts": "in the middle 90%"}
    assert any(words[kind] in text for text in texts(panels))
