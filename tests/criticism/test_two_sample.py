from __future__ import annotations

import itertools
import json
from functools import partial

import numpy as np
import pyro
import pytest
import torch
from scipy import stats
from torch import nn

import pyro_rvae as rv
from pyro_rvae.criticism import (
    Pair,
    Replicates,
    free_running,
    from_prefix,
    one_step,
    opening,
    reconstructed,
    statistics,
    two_sample,
)
from pyro_rvae.criticism.classifiers import ClassifierTest, SmallLSTM, linear_test, network_test
from pyro_rvae.criticism.mmd import matched_mmd

linear_only = partial(two_sample, network=None, permutations=200)


def sets(values, lengths, **given):
    return rv.data.SequenceDataset(torch.as_tensor(values), lengths, **given)


def binomial_bounds(rate, repeats):
    """Where the share of ``repeats`` lies with probability 0.999."""
    low, high = stats.binom.ppf([0.0005, 0.9995], repeats, rate)
    return low / repeats, high / repeats


# -------------------------------------------------------------------------------- maximum mean discrepancy
def test_mmd_is_the_double_sum_with_the_median_distance():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((6, 3)), rng.standard_normal((6, 3)) + 0.5
    both = np.concatenate([x, y])
    sigma = np.median([np.linalg.norm(a - b) for a, b in itertools.combinations(both, 2)])

    def k(a, b):
        return np.exp(-np.sum((a - b) ** 2) / (2 * sigma**2))

    pairs = [(n, m) for n in range(6) for m in range(6) if n != m]
    total = sum(k(x[n], x[m]) + k(y[n], y[m]) - k(x[n], y[m]) - k(y[n], x[m]) for n, m in pairs)
    found = matched_mmd(x, y)
    assert found.bandwidth == pytest.approx(sigma) and found.mmd2 == pytest.approx(total / 30, abs=1e-12)
    assert matched_mmd(x, y, bandwidth=2.0).bandwidth == 2.0


def test_the_null_is_that_of_exchanged_pairs_and_p_that_of_all_of_them():
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((5, 2)), rng.standard_normal((5, 2)) + 0.8
    values = []
    for swap in itertools.product([False, True], repeat=5):
        here = np.array(swap)[:, None]
        values.append(matched_mmd(np.where(here, y, x), np.where(here, x, y), permutations=1).mmd2)
    found = matched_mmd(x, y, permutations=20_000)
    assert np.allclose(np.sort(np.unique(found.null.round(10))), np.unique(np.round(values, 10)))
    exact = np.mean(np.array(values) >= values[0] - 1e-12)
    assert found.p_value == pytest.approx(exact, abs=3 * (exact * (1 - exact) / 20_000) ** 0.5)
    few = matched_mmd(x, y, permutations=9)
    assert few.p_value == (1 + (few.null >= few.mmd2 - 1e-12).sum()) / 10


def test_p_values_of_equal_laws_are_uniform_and_mmd_is_zero_on_average():
    """Pairs share a strong common part (as sequences of one length do), which a null that shuffles all would count."""
    found = []
    for repeat in range(300):
        rng = np.random.default_rng(repeat)
        shared = 3 * rng.standard_normal((12, 2))
        x, y = (shared + rng.standard_normal((12, 2)) for _ in range(2))
        found.append(matched_mmd(x, y, permutations=99, seed=repeat)[:2])
    mmd2, p = np.array(found).T
    assert stats.kstest(p, "uniform").pvalue > 0.01
    low, high = binomial_bounds(0.1, 300)
    assert low <= (p <= 0.1).mean() <= high
    assert abs(mmd2.mean()) < 3 * mmd2.std() / 300**0.5


def test_mmd_sees_another_scale():
    rng = np.random.default_rng(2)
    found = matched_mmd(rng.standard_normal((60, 2)), 2 * rng.standard_normal((60, 2)), permutations=199)
    assert found.p_value == 1 / 200 and found.mmd2 > 4 * found.null.std()
    alike = np.ones((10, 2))
    assert matched_mmd(alike, alike).p_value == 1 and matched_mmd(alike, alike).bandwidth == 1


# -------------------------------------------------------------------------------- classifiers
def test_accuracy_auc_and_p_value_are_those_of_hand():
    rng = np.random.default_rng(3)
    scores = rng.standard_normal((14, 2)) + [0.8, -0.8]
    scores[0] = 0.0
    test = ClassifierTest(scores, np.arange(14) % 2)
    right = (scores[1:, 0] > 0).sum() + (scores[1:, 1] < 0).sum() + 1  # two ties count by half
    assert test.accuracy == pytest.approx(right / 28)
    areas, p_values = [], []
    for half in (0, 1):
        held, drawn = scores[test.fold == half].T
        areas.append(np.mean([(a > b) + 0.5 * (a == b) for a in held for b in drawn]))
        both, neither = ((held > 0) & (drawn < 0)).sum(), ((held < 0) & (drawn > 0)).sum()
        p_values.append(stats.binomtest(int(both), int(both + neither), 0.5, alternative="greater").pvalue)
    assert test.auc == pytest.approx(np.mean(areas)) and test.p_values == pytest.approx(p_values)
    assert test.p_value == pytest.approx(min(1, 2 * min(p_values)))
    assert test.error == pytest.approx(np.std(test.correct / 2, ddof=1) / 14**0.5)
    useless = ClassifierTest(np.ones((6, 2)), np.arange(6) % 2)
    assert useless.p_value == 1 and useless.accuracy == 0.5 and useless.auc == 0.5


def test_equal_laws_are_not_told_apart_more_often_than_nominal():
    p_values, accuracies = [], []
    for repeat in range(120):
        rng = np.random.default_rng(repeat)
        pairs = rng.standard_normal((24, 1, 3)) + rng.standard_normal((24, 2, 3))
        test = linear_test(pairs, repeat)
        p_values.append(test.p_value)
        accuracies.append(test.accuracy)
    assert (np.array(p_values) <= 0.05).mean() <= binomial_bounds(0.05, 120)[1]
    assert abs(np.mean(accuracies) - 0.5) < 3 * np.std(accuracies) / 120**0.5
    assert 0.03 < np.std(accuracies) < 0.2


@pytest.mark.parametrize("width", [2, 30])
def test_logistic_regression_is_the_penalised_maximum(width):
    """At a zero of the cost's gradient, with more features than sequences too."""
    rng = np.random.default_rng(4)
    pairs = rng.standard_normal((20, 2, width))
    pairs[:, 0, 0] += 0.7
    pairs[:, 1, 0] -= 0.7
    test = linear_test(pairs, 0)
    train = torch.from_numpy(pairs[test.fold == 1].reshape(-1, width))
    w = torch.zeros(width + 1, requires_grad=True)
    optimiser = torch.optim.LBFGS([w], max_iter=200, tolerance_grad=1e-9, tolerance_change=0.0,
                                  line_search_fn="strong_wolfe")

    def cost():
        optimiser.zero_grad()
        labels = torch.tensor([1.0, 0.0]).repeat(10)
        loss = nn.functional.binary_cross_entropy_with_logits(train @ w[1:] + w[0], labels, reduction="sum")
        (loss + 0.5 * w[1:].square().sum()).backward()
        return loss + 0.5 * w[1:].square().sum()

    optimiser.step(cost)
    expected = (torch.from_numpy(pairs[test.fold == 0]) @ w[1:] + w[0]).detach().numpy()
    assert np.allclose(test.scores[test.fold == 0], expected, atol=1e-5)
    assert test.accuracy > 0.6


def test_the_network_sees_order_where_the_features_see_none():
    rng = np.random.default_rng(5)
    rise = np.sort(rng.standard_normal((30, 6)), 1)
    x = torch.from_numpy(np.stack([rise, rise[:, ::-1]], 1)[..., None].astype(np.float32))
    mask = torch.ones(30, 2, 6, dtype=torch.bool)
    mask[:, :, 5:] = False
    state = torch.random.get_rng_state()
    with torch.no_grad():
        test = network_test(SmallLSTM, x, mask, 0)
    assert test.accuracy > 0.9 and test.p_value < 1e-3 and torch.equal(state, torch.random.get_rng_state())
    garbage = torch.where(mask.unsqueeze(-1), x, 99.0)
    assert np.allclose(network_test(SmallLSTM, garbage, mask, 0).scores, test.scores)
    summed = np.stack([rise.sum(1), rise[:, ::-1].sum(1)], 1)[..., None]
    assert linear_test(summed, 0).p_value > 0.5


def test_the_weights_of_the_best_epoch_are_kept():
    rng, nets = np.random.default_rng(6), []

    class Watched(SmallLSTM):
        def __init__(self, width):
            super().__init__(width)
            self.seen = []
            nets.append(self)

        def forward(self, x, mask):
            logits = super().forward(x, mask)
            if not self.training:
                signs = torch.tensor([-1.0, 1.0], dtype=x.dtype).repeat(len(x) // 2)
                self.seen.append((float(nn.functional.softplus(logits * signs).mean()), float(self.head.weight.sum())))
            return logits

    x = torch.from_numpy(rng.standard_normal((20, 2, 3, 1)).astype(np.float32))
    network_test(Watched, x, torch.ones(20, 2, 3, dtype=torch.bool), 0)
    for net in nets:
        *validations, last = net.seen
        best = min(validations)
        assert last[1] == best[1] != validations[-1][1]


# -------------------------------------------------------------------------------- whole tests
class Noise(rv.SequenceVAE):
    """x_t ~ N(0, s^2 I), independent; z says nothing."""

    def __init__(self, s=1.0, x_dim=2):
        super().__init__()
        self.s, self.x_dim = s, x_dim

    def generative(self, steps):
        for t in steps:
            t.sample("z", lambda: pyro.distributions.Normal(torch.zeros(1), 1.0).to_event(1))
            t.sample("x", lambda: pyro.distributions.Normal(torch.zeros(self.x_dim), self.s).to_event(1))

    def inference(self, steps, x):
        for t in steps:
            t.sample("z", lambda x: pyro.distributions.Normal(x[..., :1], 1.0).to_event(1), t.at(x))


LENGTHS = [5, 9, 7, 3, 8] * 8


def noise_data(seed=0, lengths=LENGTHS):
    return sets(np.random.default_rng(seed).standard_normal((sum(lengths), 2)), lengths)


def test_a_right_model_passes_and_a_wrong_one_is_caught():
    data = noise_data()
    right, wrong = two_sample(Noise(), data, permutations=400), two_sample(Noise(3.0), data, permutations=400)
    assert right.p_value > 0.05 and right.verdict.startswith("Nothing here tells") and right.num_pairs == 40
    assert 0.3 < right.classifiers["logistic regression"].accuracy < 0.7
    assert wrong.mmd.p_value == 1 / 401 and wrong.classifiers["logistic regression"].p_value < 1e-3
    assert wrong.verdict.startswith("The model's draws are told from the data") and "(more)" in wrong.verdict
    assert wrong.p_value == min(1, 3 * min(wrong.mmd.p_value, *(t.p_value for t in wrong.classifiers.values())))
    assert next(iter(wrong.differences.values())) > 5
    text = repr(wrong)
    for words in ("MMD^2 (400 permutations)", "logistic regression: accuracy", "network: AUC", "40 free-running"):
        assert words in text
    found = json.loads(json.dumps(wrong.to_dict()))
    assert found["network"]["accuracy"] == wrong.classifiers["network"].accuracy and found["num_pairs"] == 40


def test_data_of_the_model_itself_pass_at_the_nominal_rate():
    p_values = []
    for seed in range(100):
        data = noise_data(seed, [4, 2, 6, 3, 5] * 3)
        found = linear_only(Noise(), data, seed=seed, features={"mean": statistics.mean, "scale": statistics.scale})
        p_values.append(found.mmd.p_value)
    assert stats.kstest(p_values, "uniform").pvalue > 0.01


def test_the_result_is_that_of_the_seed_and_nothing_is_touched(rolls):
    data = sets((torch.rand(60, 4) < 0.5).double(), [5] * 12)
    model = rv.VRNN.for_data(data, z_dim=2, h_dim=4, dropout=0.3)
    state = torch.random.get_rng_state()
    first, second = (two_sample(model, data, permutations=50, seed=1).to_dict() for _ in range(2))
    assert first == second != two_sample(model, data, permutations=50, seed=2).to_dict()
    assert torch.equal(state, torch.random.get_rng_state()) and model.training and len(pyro.get_param_store()) == 0


@pytest.mark.parametrize("kind", ["binary", "counts", "real", "categories", "gaps", "code gaps", "static", "controls"])
def test_any_kind_of_data(kind):
    torch.manual_seed(0)
    lengths, frames = [4, 6, 1, 5] * 3, 48
    codes, real = torch.randint(0, 3, (frames, 2)), 100 + 5 * torch.randn(frames, 3)
    values = {"binary": (torch.rand(frames, 3) < 0.4).double(), "counts": torch.poisson(torch.full((frames, 3), 2.0)),
              "categories": codes, "code gaps": codes.masked_fill(torch.rand(frames, 2) < 0.3, -1),
              "gaps": real.masked_fill(torch.rand(frames, 3) < 0.3, torch.nan)}.get(kind, real)
    given = {"counts": {"kind": "counts"}, "controls": {"controls": torch.randn(frames, 2)}}.get(kind, {})
    if values is codes or kind == "code gaps":
        given = {"kind": "categories", "classes": 3}
    if kind == "static":
        data = rv.data.StaticDataset((torch.rand(12, 6) < 0.4).double())
        model = rv.VAE.for_data(data, z_dim=2, h_dim=4)
    else:
        data = sets(values, lengths, **given)
        if data.kind == "real":
            data = rv.data.Splits(data, data, data).standardize().train
        model = rv.VRNN.for_data(data, z_dim=2, h_dim=4)
    found = two_sample(model, data, permutations=20, frames=4)
    assert found.num_pairs == 12 and 0 <= found.classifiers["network"].accuracy <= 1
    assert found.observed.shape == found.generated.shape == (12, len(found.feature_names))
    assert np.isfinite(found.mmd.mmd2) and 0 < found.p_value <= 1


def test_generated_sequences_have_the_gaps_and_lengths_of_the_data():
    values = torch.randn(60, 2)
    values[::3, 1] = torch.nan
    data, seen = sets(values, [4, 6] * 6), []
    model = rv.VRNN.for_data(data, z_dim=1, h_dim=3)
    linear_only(model, data, features={"f": lambda x: seen.append(np.isnan(x)) or np.nanmean(x)})
    assert len(seen) == 24
    assert all(np.array_equal(held, drawn) for held, drawn in zip(seen[:12], seen[12:], strict=True))


@pytest.mark.parametrize("kind", ["real", "categories"])
def test_a_missing_element_is_zero_with_a_flag_for_the_network(kind):
    values, widths = (torch.randn(60, 2), []) if kind == "real" else (torch.randint(0, 3, (60, 2)), [])
    values[::3, 1] = torch.nan if kind == "real" else -1
    data = sets(values, [5] * 12, kind=kind, classes=3 if kind == "categories" else None)
    half = 2 if kind == "real" else 6  # numbers, or indicators of 3 classes of 2 channels

    class Look(SmallLSTM):
        def forward(self, x, mask):
            widths.append(x.shape[-1])
            gaps = x[..., half:] == 1
            assert (x[..., :half][gaps] == 0).all()
            assert gaps[..., half // 2:].any() and not gaps[..., : half // 2].any()
            return super().forward(x, mask)

    two_sample(rv.VRNN.for_data(data, z_dim=1, h_dim=3), data, permutations=9, network=Look)
    assert set(widths) == {2 * half}


def test_a_pair_of_ones_own_and_names_of_features():
    def model(x=None, mask=None, size=None):
        batch, steps = size if x is None else x.shape[:2]
        mask = torch.ones(batch, steps, dtype=torch.bool) if mask is None else mask
        with pyro.plate("rows", batch):
            law = pyro.distributions.Normal(torch.zeros(steps, 2), 3.0).to_event(1)
            pyro.sample("x", law.expand((batch, steps)).mask(mask).to_event(1), obs=x)

    plain = noise_data()
    data = sets(plain.values, LENGTHS, names=["low", "high"])
    found = linear_only(Pair(model, lambda x, mask: None), data)
    assert found.p_value < 0.01 and "mean [low]" in found.feature_names and found.drawn_by == "free_running"


def test_ready_made_replicates_and_a_part_of_the_data():
    data = noise_data()
    same = Replicates(data.values.numpy()[None], np.array(LENGTHS), "copied")
    found = linear_only(Noise(), data, draw=same, num=15, features={"frames": opening(4)})
    assert found.num_pairs == 15 and np.array_equal(found.observed, found.generated) and found.mmd.p_value == 1
    assert found.feature_names[:2] == ["frames [0]", "frames [1]"] and found.drawn_by == "copied"
    first = data[int(found.index[0])].numpy()
    expected = np.zeros((4, 2))
    expected[: len(first)] = first[:4]
    assert np.array_equal(found.observed[0], expected.reshape(-1))


def test_refusals():
    data = noise_data()
    with pytest.raises(ValueError, match="at least 10 held-out sequences, got 4"):
        two_sample(Noise(), noise_data(0, [5] * 4))
    with pytest.raises(ValueError, match="num must be an integer of at least 10, got 0"):
        two_sample(Noise(), data, num=0)
    with pytest.raises(ValueError, match="permutations must be an integer of at least 1"):
        two_sample(Noise(), data, permutations=0)
    with pytest.raises(ValueError, match="replicates of another data set"):
        two_sample(Noise(), data, draw=free_running(Noise(), noise_data(0, [5] * 12), 1))
    with pytest.raises(TypeError, match="two_sample takes each feature by its name, a dictionary .* got list"):
        two_sample(Noise(), data, features=[np.mean])
    for draw, message in (("one_step", "got str 'one_step'"), (from_prefix, "to be told its prefix")):
        with pytest.raises(TypeError, match=message):
            two_sample(Noise(), data, draw=draw)
    for draw in (one_step, reconstructed, partial(one_step, seed=1), one_step(Noise(), data, 1)):
        with pytest.raises(ValueError, match="needs draws that are paths, .* or from_prefix, got those of"):
            two_sample(Noise(), data, draw=draw)
    assert linear_only(Noise(), data, draw=partial(from_prefix, prefix=0.5)).p_value > 0.05
    with pytest.raises(TypeError, match="two_sample needs one data set"):
        two_sample(Noise(), [1, 2])
    with pytest.raises(ValueError, match="needs at least one feature"):
        two_sample(Noise(), data, features={})
    with pytest.raises(ValueError, match="every feature is constant"):
        two_sample(Noise(), data, features={"one": lambda x: 1.0})
    with pytest.raises(ValueError, match="'bad' returned NaN for sequence 0 of the data"):
        two_sample(Noise(), data, features={"bad": lambda x: np.nan})
    with pytest.raises(ValueError, match="'ragged' must return one shape"):
        two_sample(Noise(), data, features={"ragged": lambda x: x})
    with pytest.raises(ValueError, match=r"one logit a sequence, \(\d+,\), got"):
        two_sample(Noise(), data, permutations=9, network=lambda width: Wrong(width))
    with pytest.raises(ValueError, match="frames must be an integer of at least 1"):
        opening(0)


class Wrong(nn.Linear):
    """Returns a value for every frame."""

    def __init__(self, width):
        super().__init__(width, 1)

    def forward(self, x, mask):
        return super().forward(x)
