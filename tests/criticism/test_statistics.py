from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

import pyro_rvae as rv
from pyro_rvae.criticism import statistics


def roll(*chords: list[int]) -> np.ndarray:
    """A piano roll from MIDI numbers."""
    x = np.zeros((len(chords), 88))
    for t, chord in enumerate(chords):
        x[t, np.array(chord, dtype=int) - 21] = 1
    return x


SONG = roll([60, 64, 67], [60, 65], [], [72, 60], [71, 60])  # C E G | C F | rest | c C | b C
SETS = {"real": statistics.REAL, "binary": statistics.BINARY, "counts": statistics.COUNTS, "gaps": statistics.GAPS}
EACH = [(kind, name) for kind, found in SETS.items() for name in found]


# -------------------------------------------------------------------------------- music
def test_music_by_hand():
    assert statistics.notes_per_frame(SONG) == pytest.approx(9 / 5)
    assert statistics.silence(SONG) == pytest.approx(1 / 5)
    assert statistics.held_notes(SONG) == pytest.approx(2 / 6)
    assert statistics.note_length(SONG) == pytest.approx(9 / 7)  # C twice for 2 frames, five notes for one
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


# -------------------------------------------------------------------------------- any data
@pytest.mark.parametrize(("kind", "name"), EACH)
def test_one_shape_and_no_nan_for_gaps_and_short_sequences(kind, name):
    function, x = SETS[kind][name], np.random.default_rng(0).integers(0, 2, (40, 3)).astype(float)
    x[2:5, 1] = x[:, 2] = np.nan
    found = [np.asarray(function(x[:frames])) for frames in (40, 9, 3, 2, 1)] + [np.asarray(function(x * np.nan))]
    assert {value.shape for value in found} == {found[0].shape}
    assert all(np.isfinite(value).all() for value in found)


def test_moments_and_extremes_skip_what_is_missing():
    x = np.array([[1.0, 5.0], [np.nan, 7.0], [4.0, np.nan]])
    assert np.allclose(statistics.mean(x), [2.5, 6]) and np.allclose(statistics.scale(x), [1.5, 1])
    assert np.allclose(statistics.minimum(x), [1, 5]) and np.allclose(statistics.maximum(x), [4, 7])
    assert (statistics.smallest(x), statistics.largest(x)) == (1, 7)
    assert statistics.spread(x) == pytest.approx(2 / 3)  # frames of std 2, 0 and 0
    assert statistics.zeros(np.array([[0.0, 2.0], [np.nan, 0.0]])) == pytest.approx(2 / 3)
    assert statistics.missing(x) == pytest.approx(1 / 3)
    assert statistics.missing(np.array([[1, -1], [0, 2]])) == 0.25


def test_autocorrelation_of_an_alternation():
    x = np.array([[1.0, 5.0], [-1.0, 5.0]] * 10)
    assert np.allclose(statistics.autocorrelation(x), [-1, 0])
    assert np.allclose(statistics.autocorrelation(x, lag=2), [1, 0])
    assert np.allclose(statistics.autocorrelation(x[:1]), 0)
    assert np.allclose(statistics.autocorrelations(x[:, :1], lags=(1, 2, 3, 99)), [-1, 1, -1, 0])


def runs_by_hand(x, above):
    """Element by element."""
    found = []
    for column in x.T:
        before, length = None, 0
        for value in [*column, np.nan]:
            there = not np.isnan(value) and (above is None or value > above)
            code = (value if above is None else True) if there else None
            if code == before and there:
                length += 1
                continue
            if before is not None:
                found.append(length)
            before, length = code, 1
    return found


@pytest.mark.parametrize("above", [None, 0.0, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_run_lengths_are_those_counted_one_by_one(seed, above):
    rng = np.random.default_rng(seed)
    x = np.where(rng.random((30, 4)) < 0.1, np.nan, rng.integers(0, 3, (30, 4)))
    found = runs_by_hand(x, above)
    assert statistics.run_length(x, above) == pytest.approx(np.mean(found))
    assert statistics.longest_run(x, above) == max(found)
    counts = [sum(low <= n < high for n in found) for low, high in ((1, 2), (2, 4), (4, 99))]
    assert np.allclose(statistics.run_lengths(x, above, least=(1, 2, 4)), np.array(counts) / len(found))


def test_runs_of_codes_and_stays_above_the_mean():
    codes = np.array([[3], [3], [-1], [3], [0], [0], [0]])
    assert statistics.run_length(codes) == pytest.approx((2 + 1 + 3) / 3)
    assert statistics.run_lengths(codes).tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0, 0, 0])
    assert statistics.excursion(np.array([[9.0], [8.0], [0.0], [9.0], [0.0]])) == 1.5
    assert statistics.run_length(np.zeros((4, 2)), above=0.0) == 0


def test_a_spectrum_is_where_the_power_is():
    t = np.arange(64)
    for band in (0, 3, 7):  # the middle of a band of 1/16 cycles
        wave = np.sin(2 * np.pi * (band + 0.5) / 16 * t)
        found = statistics.spectrum(np.stack([wave, 100 * wave, np.full(64, 3.0)], 1))
        assert found.shape == (8,) and found.sum() == pytest.approx(1) and found[band] > 0.95
    noise = np.random.default_rng(0).normal(size=(4000, 3))
    assert np.allclose(statistics.spectrum(noise), 1 / 8, atol=0.02)
    assert np.allclose(statistics.spectrum(noise[:5], bands=4).sum(), 1)
    assert (statistics.spectrum(np.ones((7, 2))) == 0).all()


def test_missing_because_of_what_stands_there():
    rng = np.random.default_rng(0)
    x = np.repeat(rng.normal(size=(400, 2)), 3, axis=0)  # neighbours are alike
    at_random, large = x.copy(), x.copy()
    at_random[rng.random(x.shape) < 0.1] = np.nan
    large[(x > 1) & (rng.random(x.shape) < 0.5)] = np.nan
    assert abs(statistics.beside_gaps(at_random)) < 0.15 < 0.4 < statistics.beside_gaps(large)
    assert statistics.beside_gaps(x) == statistics.beside_gaps(x[:1]) == 0
    hand = np.array([[0.0], [2.0], [np.nan], [4.0], [np.nan], [2.0]])  # 2, 4 and 2 of mean 2, scale sqrt(2)
    assert statistics.beside_gaps(hand) == pytest.approx(2 / 3 / 2**0.5)


# -------------------------------------------------------------------------------- codes
def test_codes_by_hand():
    x = np.array([[0, 2], [0, 1], [1, -1], [1, 2]])
    assert statistics.changes(x) == pytest.approx(2 / 4)  # 0 0 1 1 and 2 1, nothing beside the gap
    assert statistics.distinct(x) == 3
    p = np.array([2, 3, 2]) / 7
    assert statistics.entropy(x) == pytest.approx(-(p * np.log(p)).sum())
    assert np.allclose(statistics.category_shares(4)(x), [*p, 0])
    expected = np.zeros((4, 4))
    expected[0, 0] = expected[0, 1] = expected[1, 1] = expected[2, 1] = 0.25
    assert np.allclose(statistics.transitions(4)(x), expected)


@pytest.mark.parametrize("name", statistics.for_classes(3))
def test_codes_of_one_shape_and_finite(name):
    function = statistics.for_classes(3)[name]
    found = [np.asarray(function(x)) for x in (np.array([[0], [2], [-1]]), np.array([[-1]]), np.array([[1]]))]
    assert {value.shape for value in found} == {found[0].shape}
    assert all(np.isfinite(value).all() for value in found)


# -------------------------------------------------------------------------------- defaults
def test_defaults_by_kind_of_data():
    dataset, lengths = partial(rv.data.SequenceDataset, lengths=[2, 2]), torch.zeros(4, 2)
    assert statistics.statistics_for(dataset(torch.zeros(4, 88).bool())) == statistics.MUSIC
    assert statistics.statistics_for(dataset(lengths.bool())) == statistics.BINARY
    assert statistics.statistics_for(dataset(lengths.long(), kind="counts")) == statistics.COUNTS
    assert statistics.statistics_for(dataset(lengths + 0.5)) == statistics.REAL
    assert statistics.statistics_for(rv.data.StaticDataset(lengths + 0.5)) == statistics.STATIC
    codes = statistics.statistics_for(dataset(lengths.long(), kind="categories", classes=3))
    assert {"category shares", "transitions", "run lengths"} < set(codes)
    many = statistics.statistics_for(dataset(lengths.long(), kind="categories", classes=50))
    assert "transitions" not in many and many["category shares"](np.array([[49]])).shape == (50,)
    gaps = torch.tensor([[0.5, 1.5], [torch.nan, 1.0], [0.1, 0.2], [0.3, 0.4]])
    assert set(statistics.statistics_for(dataset(gaps))) == {*statistics.REAL, *statistics.GAPS}
