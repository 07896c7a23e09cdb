from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import norm

import pyro_rvae as rv
from pyro_rvae.criticism import floors
from pyro_rvae.criticism.floors import _rounded_cost

KNOWN = {  # independent, Markov: the README of the benchmark data
    "jsb_chorales": (11.060, 10.468),
    "nottingham": (10.252, 5.164),
    "piano_midi": (11.046, 8.261),
}


@pytest.mark.parametrize("name", KNOWN)
def test_the_known_figures_of_the_standard_sets(name):
    folder = os.environ.get("PYRO_RVAE_DATA")
    if not folder or not (path := Path(folder) / "polyphonic" / f"{name}.npz").exists():
        pytest.skip("needs the standard sets: PYRO_RVAE_DATA must name their folder")
    with np.load(path) as arrays:
        train, test = (
            rv.data.SequenceDataset(
                np.unpackbits(arrays[f"{side}_packed"], axis=1)[:, :88],
                arrays[f"{side}_lengths"],
                kind="binary",
            )
            for side in ("train", "test")
        )
    assert list(floors(train, test).values()) == pytest.approx(KNOWN[name], abs=0.005)


def by_hand(train, test, classes):
    """Both floors as loops over sequences, frames and channels."""
    single = np.ones((train.x_dim, classes))
    pairs = np.ones((train.x_dim, classes, classes))
    for sequence in train:
        for t, frame in enumerate(sequence.tolist()):
            for i, x in enumerate(frame):
                known = x >= 0
                if known:
                    single[i, int(x)] += 1
                if known and t and sequence[t - 1, i] >= 0:
                    pairs[i, int(sequence[t - 1, i]), int(x)] += 1
    single /= single.sum(-1, keepdims=True)
    pairs /= pairs.sum(-1, keepdims=True)
    independent = markov = 0.0
    for sequence in test:
        for t, frame in enumerate(sequence.tolist()):
            for i, x in enumerate(frame):
                if not x >= 0:
                    continue
                linked = t and sequence[t - 1, i] >= 0
                independent -= np.log(single[i, int(x)])
                markov -= np.log(pairs[i, int(sequence[t - 1, i]), int(x)] if linked else single[i, int(x)])
    return {"independent": independent / test.num_frames, "markov": markov / test.num_frames}


def test_binary_by_hand(rolls):
    assert floors(rolls.train, rolls.test) == pytest.approx(by_hand(rolls.train, rolls.test, 2), abs=1e-12)


def test_missing_elements_are_skipped(rolls):
    sides = []
    for side in (rolls.train, rolls.test):
        values = side.values.clone()
        values[torch.rand(values.shape) < 0.2] = torch.nan
        sides.append(rv.data.SequenceDataset(values, side.lengths))
    assert floors(*sides) == pytest.approx(by_hand(*sides, 2), abs=1e-12)


def test_categories_by_hand():
    train, test = (
        rv.data.SequenceDataset(torch.randint(-1, 3, (20, 2)), [8, 12], kind="categories", classes=3)
        for _ in range(2)
    )
    assert floors(train, test) == pytest.approx(by_hand(train, test, 3), abs=1e-12)


def test_real_data_against_least_squares():
    train, test = (rv.data.SequenceDataset(torch.randn(60, 2).cumsum(0) * 0.3, [40, 20]) for _ in range(2))
    costs = {"independent": 0.0, "markov": 0.0}
    for i in range(2):
        column = train.values[:, i].numpy()
        mean, deviation = column.mean(), column.std()
        before, after = (
            np.concatenate([s[o, i].numpy() for s in train]) for o in (slice(-1), slice(1, None))
        )
        slope, level = np.polyfit(before, after, 1)
        spread = (after - slope * before - level).std()
        for sequence in test:
            x = sequence[:, i].numpy()
            alone = -gauss(x, mean, deviation)
            chained = -gauss(x[1:], slope * x[:-1] + level, spread)
            costs["independent"] += alone.sum()
            costs["markov"] += alone[0] + chained.sum()
    assert floors(train, test) == pytest.approx({n: c / 60 for n, c in costs.items()}, rel=1e-9)


def gauss(x, mean, deviation):
    return -0.5 * ((x - mean) / deviation) ** 2 - np.log(deviation) - 0.5 * np.log(2 * np.pi)


def count_sides(*columns):
    """A training and a test set of two sequences each from columns of counts."""
    values = torch.stack([torch.as_tensor(c, dtype=torch.float64) for c in columns], 1)
    half = len(values) // 2
    return (rv.data.SequenceDataset(part, [12, half - 12], kind="counts") for part in values.split(half))


def poisson(rate, size):
    return torch.poisson(torch.full((size,), rate), generator=torch.Generator().manual_seed(0))


def test_few_counts_are_poisson():
    train, test = count_sides(poisson(0.3, 2000), poisson(2.0, 2000))
    expected = -torch.distributions.Poisson(train.values.mean(0)).log_prob(test.values).sum() / 1000
    found = floors(train, test)
    assert found["independent"] == pytest.approx(expected.item(), abs=1e-12)


def test_levels_of_audio_are_a_rounded_normal_and_its_chain():
    noise = np.random.RandomState(0).standard_normal(40)
    levels = [0.0]
    for e in noise:
        levels.append(0.95 * levels[-1] + 300 * e)
    train, test = count_sides(np.rint(32768 + np.array(levels[1:])))
    x = train.values[:, 0].numpy()

    def cost(values, mean, deviation):
        masses = norm.cdf(values + 0.5, mean, deviation) - norm.cdf(values - 0.5, mean, deviation)
        return -np.log(masses).sum()

    before, after = (np.concatenate([s[o, 0].numpy() for s in train]) for o in (slice(-1), slice(1, None)))
    slope, level = np.polyfit(before, after, 1)
    error = (after - slope * before - level).std()
    sequences = [s[:, 0].numpy() for s in test]
    alone = sum(cost(s, x.mean(), x.std()) for s in sequences)
    chain = sum(cost(s[:1], x.mean(), x.std()) + cost(s[1:], slope * s[:-1] + level, error) for s in sequences)
    found = floors(train, test)
    assert found == pytest.approx({"independent": alone / 20, "markov": chain / 20}, rel=1e-6)
    assert found["markov"] < found["independent"] < 12


def test_the_masses_of_a_rounded_normal_sum_to_one():
    counts = torch.arange(60.0)
    masses = torch.exp(-_rounded_cost(counts, torch.tensor(4.0), torch.tensor(25.0)))
    assert masses.sum().item() == pytest.approx(1.0, abs=1e-12)
    assert masses[0].item() == pytest.approx(norm.cdf(0.5, 4.0, 5.0), abs=1e-12)
    far = _rounded_cost(torch.tensor([4000.0]), torch.tensor(4.0), torch.tensor(25.0))
    assert far.item() == pytest.approx(-norm.logsf(3999.5, 4.0, 5.0), rel=1e-9)


def test_a_chain_that_does_not_pay_is_not_used():
    train, test = count_sides(poisson(0.2, 2000))
    found = floors(train, test)
    assert found["markov"] == found["independent"]


def test_missing_counts_are_skipped():
    train, test = count_sides(np.arange(40) % 4, 1000 + np.arange(40) % 7)
    gaps = test.values.clone()
    gaps[3, 1] = torch.nan
    holed = rv.data.SequenceDataset(gaps, test.lengths, kind="counts")
    assert all(np.isfinite(c) for c in floors(train, holed).values())
    whole = rv.data.SequenceDataset(test.values[:, :1], test.lengths, kind="counts")
    first = rv.data.SequenceDataset(train.values[:, :1], train.lengths, kind="counts")
    gaps = torch.cat([test.values[:, :1], torch.full((20, 1), torch.nan)], 1)
    nothing = rv.data.SequenceDataset(gaps, test.lengths, kind="counts")
    assert floors(train, nothing) == pytest.approx(floors(first, whole))


def test_static_data_have_no_chain():
    rows = rv.data.StaticDataset((torch.rand(10, 2, 3) < 0.3).double())
    ones = (rows.values.sum(0) + 1) / 12
    expected = -torch.distributions.Bernoulli(ones).log_prob(rows.values).sum() / 10
    assert floors(rows, rows) == {"independent": pytest.approx(expected.item(), abs=1e-12)}


def test_what_does_not_fit_is_refused(rolls):
    real = rv.data.SequenceDataset(torch.randn(5, 4), [5])
    with pytest.raises(ValueError, match="the same kind, got 'binary' and 'real'"):
        floors(rolls.train, real)
    with pytest.raises(ValueError, match="the same x_dim, got 4 and 2"):
        floors(rolls.train, rv.data.SequenceDataset(torch.zeros(5, 2), [5]))
    with pytest.raises(TypeError, match="two data sets .* got Tensor: wrap"):
        floors(torch.zeros(3, 4), rolls.test)
    with pytest.raises(ValueError, match="in the same units"):
        floors(real, rv.data.Splits(real, real, real).standardize().test)
