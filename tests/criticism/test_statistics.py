from __future__ import annotations

import numpy as np
import pytest

from pyro_rvae.criticism import statistics


def roll(*chords: list[int]) -> np.ndarray:
    """A piano roll from MIDI numbers."""
    x = np.zeros((len(chords), 88))
    for t, chord in enumerate(chords):
        x[t, np.array(chord, dtype=int) - 21] = 1
    return x


SONG = roll([60, 64, 67], [60, 65], [], [72, 60], [71, 60])  # C E G | C F | rest | c C | b C


def test_music_by_hand():
    assert statistics.notes_per_frame(SONG) == pytest.approx(9 / 5)
    assert statistics.silence(SONG) == pytest.approx(1 / 5)
    assert statistics.held_notes(SONG) == pytest.approx(2 / 6)
    classes = np.zeros(12)
    classes[[0, 4, 5, 7, 11]] = np.array([5, 1, 1, 1, 1]) / 9
    assert np.allclose(statistics.pitch_classes(SONG), classes)
    found = np.zeros(12)  # 4 7 3 | 5 | 12 | 11
    found[[0, 3, 4, 5, 7, 11]] = 1 / 6
    assert np.allclose(statistics.intervals(SONG), found)
    assert statistics.consonance(SONG) == pytest.approx(5 / 6)
    steps = np.zeros(25)
    steps[[12 - 2, 12 - 1]] = 0.5
    assert np.allclose(statistics.melodic_intervals(SONG), steps)
    assert statistics.melodic_motion(SONG) == 1.5


@pytest.mark.parametrize("x", [roll([]), roll([60]), roll([], [], [])])
@pytest.mark.parametrize("name", statistics.MUSIC)
def test_nothing_to_count_is_no_nan(name, x):
    assert np.isfinite(statistics.MUSIC[name](x)).all()


@pytest.mark.parametrize("name", statistics.GENERAL)
def test_general_statistics_skip_what_is_missing(name):
    x = np.random.default_rng(0).normal(size=(9, 3))
    x[2:5, 1] = x[:, 2] = np.nan
    found = np.asarray(statistics.GENERAL[name](x))
    assert np.isfinite(found).all()
    whole = x[:, :2][~np.isnan(x[:, 1])]
    if name == "mean":
        assert np.allclose(found[:2], [x[:, 0].mean(), whole[:, 1].mean()])


def test_autocorrelation_of_an_alternation():
    x = np.array([[1.0, 5.0], [-1.0, 5.0]] * 10)
    assert np.allclose(statistics.autocorrelation(x), [-1, 0])
    assert np.allclose(statistics.autocorrelation(x, lag=2), [1, 0])
    assert np.allclose(statistics.autocorrelation(x[:1]), 0)
