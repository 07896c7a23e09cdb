"""Data in codes that a model was not trained on are refused."""

from __future__ import annotations

import numpy as np
import pytest

import pyro_rvae as rv
from pyro_rvae.data import Spectrum, Text, Vocabulary
from pyro_rvae.tasks.inputs import as_data


def test_text_of_another_vocabulary() -> None:
    ours, theirs = (Text(Vocabulary.from_texts([letters])) for letters in ("abc", "xyz"))
    model = rv.VRNN.for_data(ours.encode(["abba", "c"]), z_dim=2, h_dim=3)
    assert as_data(model, ours.encode(["cab"]), "score").form == ours
    running = Text(ours.vocabulary, length=3)
    as_data(model, running.encode(["cab"]), "score")
    with pytest.raises(ValueError, match="score: the model was trained on Text with another vocabulary than the data"):
        as_data(model, theirs.encode(["xy"]), "score")


def test_spectra_of_other_frames() -> None:
    sound = np.random.default_rng(0).normal(size=1000) * 0.1
    model = rv.VRNN.for_data(Spectrum(bands=20).encode([sound]), z_dim=2, h_dim=3)
    as_data(model, Spectrum(bands=20).encode([sound]), "score")
    with pytest.raises(ValueError, match="Spectrum with another hop"):
        as_data(model, Spectrum(bands=20, hop=64).encode([sound]), "score")
