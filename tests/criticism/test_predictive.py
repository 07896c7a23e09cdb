from __future__ import annotations

import json
from functools import partial

import numpy as np
import pyro
import pytest
import torch
from pyro.distributions import Bernoulli, Normal
from scipy import stats

import pyro_rvae as rv
from pyro_rvae.criticism import (
    PredictiveCheck,
    Replicates,
    free_running,
    from_prefix,
    one_step,
    predictive_check,
    reconstructed,
    statistics,
)
from pyro_rvae.criticism.statistics import average_autocorrelation, average_mean, held_notes, longest_run


class WithoutMemory(rv.SequenceVAE):
    """x_t ~ Bernoulli(p), each key for itself, p the training marginals: fitted in closed form."""

    def __init__(self, train):
        super().__init__()
        self.x_dim = train.x_dim
        self.register_buffer("p", (train.values.sum(0) + 0.5) / (train.num_frames + 1))

    def generative(self, steps):
        for t in steps:
            t.sample("x", lambda: Bernoulli(self.p).to_event(1))

    def inference(self, steps, x):
        pass


# -------------------------------------------------------------------------------- what a check must see, and must not
def test_a_model_without_memory_is_caught_on_chorales():
    chorales = rv.data.bach_chorales()
    model, data = WithoutMemory(chorales.train), chorales.train.subset(range(40))
    check = predictive_check(model, data, num=40)
    found = check.to_dict()
    assert found["held notes"]["p_value"] == found["note length"]["p_value"] == 0.0
    assert found["held notes"]["observed"] > 1.5 * found["held notes"]["replicated"]
    assert found["consonance"]["p_value"] == 0.0 and found["melodic motion"]["p_value"] == 1.0
    assert 0.02 < found["notes per frame"]["p_value"] < 0.98  # which it has learned
    assert 40 == len(check.replicates) and "40 free-running replicates" in repr(check)
    assert "0.00 +- 0.02" in repr(check) and "harmonic intervals" in repr(check)
    ahead = predictive_check(model, data.subset(range(4)), {"held notes": held_notes}, num=20, draw=one_step)
    assert ahead.p_value("held notes")[0] == 0.0 and "one-step replicates" in repr(ahead)


def test_data_from_the_model_itself_pass_at_the_nominal_rate(gaussian):
    """P-values over 150 data sets, for three statistics, one of them discrete: uniform, 5% of them under 0.05."""
    shape = rv.data.SequenceDataset(torch.zeros(20, 1), [12, 8])
    drawn = free_running(gaussian.Model(), shape, 150, seed=9)
    chosen = {"autocorrelation": average_autocorrelation, "mean": average_mean,
              "run": partial(longest_run, above=0.0)}
    p_values = {name: [] for name in chosen}
    for r in range(150):
        data = rv.data.SequenceDataset(drawn.values[r], drawn.lengths)
        check = predictive_check(gaussian.Model(), data, chosen, num=59, seed=r)
        for name, values in p_values.items():
            values.append(check.p_value(name)[0])
    for name in ("autocorrelation", "mean"):
        assert stats.kstest(p_values[name], "uniform").pvalue > 0.01, name
        for tail in (np.array(p_values[name]) < 0.05, np.array(p_values[name]) > 0.95):
            assert stats.binomtest(int(tail.sum()), 150, 0.05).pvalue > 0.01, name
    run = np.array(p_values["run"])  # ties count by half, so it is nearer to 1/2 than a uniform law is
    assert abs(run.mean() - 0.5) < 0.08 and run.std() < 0.31 and (run < 0.05).mean() < 0.1


def test_a_model_of_other_dynamics_does_not_pass(gaussian):
    class Restless(gaussian.Model):
        """The same, but that the state has lost its memory; of the same marginal variance at the end."""

        def transition(self, z):
            return super().transition(-z)

    data = rv.data.SequenceDataset(free_running(gaussian.Model(), _frames([30] * 8), 1, seed=1).values[0], [30] * 8)
    for draw in (free_running, partial(from_prefix, prefix=5)):
        check = predictive_check(Restless(), data, {"r": average_autocorrelation}, num=40, draw=draw)
        assert check.p_value("r")[0] == 0.0
        right = predictive_check(gaussian.Model(), data, {"r": average_autocorrelation}, num=40, draw=draw)
        assert 0.01 < right.p_value("r")[0] < 0.99


def _frames(lengths):
    return rv.data.SequenceDataset(torch.zeros(sum(lengths), 1), lengths)


# -------------------------------------------------------------------------------- what is computed
def check_of(observed, replicated, **parts):
    made = Replicates(np.zeros((len(replicated), 4, 1)), np.array([2, 2]), parts.pop("drawn_by", "free_running"))
    return PredictiveCheck({"s": np.asarray(observed)}, {"s": np.asarray(replicated)}, made, **parts)


def test_p_values_by_hand():
    replicated = np.array([[1.0, 1.0], [2.0, 4.0], [0.0, 4.0], [0.0, 1.0]])  # means 1, 3, 2, 0.5
    p, error = check_of([1.0, 3.0], replicated).p_value("s")  # 2: one above, one tie
    assert isinstance(p, float) and p == pytest.approx(1.5 / 4)
    assert error == pytest.approx((2.5 / 6 * 3.5 / 6 / 6) ** 0.5)
    flipped = np.stack([replicated, -replicated], -1)
    by_element, errors = check_of([[1.0, -1.0], [3.0, -3.0]], flipped).p_value("s")
    assert by_element == pytest.approx([1.5 / 4, 2.5 / 4]) and errors == pytest.approx([error, error])


def test_equal_numbers_tie_whatever_the_order_of_their_sum():
    values = np.random.default_rng(0).random(1000)
    assert check_of(values, np.stack([values[::-1], values])).p_value("s")[0] == 0.5


def test_the_error_of_a_p_value_is_its_spread_over_seeds(gaussian):
    data = rv.data.SequenceDataset(0.7 * torch.ones(6, 1), [3, 3])
    checks = (predictive_check(gaussian.Model(), data, {"m": average_mean}, num=30, seed=s) for s in range(80))
    p, error = np.array([check.p_value("m") for check in checks]).T
    assert p.std() == pytest.approx(error.mean(), rel=0.3)


def test_vectors_are_in_table_and_dict(gaussian):
    chosen = {"mean": average_mean, "at": statistics.autocorrelations}
    check = predictive_check(gaussian.Model(), gaussian.data, chosen, num=8)
    assert check.scalars == ["mean"] and check.vectors == ["at"]
    assert list(check.to_dict()) == ["mean"]
    whole = json.loads(json.dumps(check.to_dict(vectors=True)))
    assert len(whole["at"]["p_value"]) == len(whole["at"]["observed"]) == 4
    assert whole["at"]["p_value"] == check.p_value("at")[0].tolist()
    assert "too small" in repr(check) and "at" in repr(check)
    assert "too small" not in repr(predictive_check(gaussian.Model(), gaussian.data, {"m": average_mean}, num=2))
    alone = repr(predictive_check(gaussian.Model(), gaussian.data, {"v": statistics.autocorrelations}, num=2))
    assert "P(model > data)" not in alone and "too large" in alone


def test_all_four_draws_say_what_they_are(gaussian):
    for draw, words in ((free_running, "free-running"), (one_step, "one-step"), (reconstructed, "reconstructed"),
                        (partial(from_prefix, prefix=2), "from-prefix")):
        check = predictive_check(gaussian.Model(), gaussian.data, {"m": average_mean}, num=3, draw=draw)
        assert f"3 {words} replicates of the data" in repr(check)
    assert "of what follows the given frames" in repr(check)


def test_draws_that_were_made_before_are_taken(gaussian):
    made = free_running(gaussian.Model(), gaussian.data, 5, seed=4)
    ours = predictive_check(gaussian.Model(), gaussian.data, {"m": average_mean}, draw=made)
    theirs = predictive_check(gaussian.Model(), gaussian.data, {"m": average_mean}, num=5, seed=4)
    assert np.array_equal(ours.replicated["m"], theirs.replicated["m"]) and len(ours.replicates) == 5
    with pytest.raises(ValueError, match="replicates of another data set"):
        predictive_check(gaussian.Model(), gaussian.data.subset([0]), {"m": average_mean}, draw=made)


def test_from_a_prefix_only_what_follows_is_compared(gaussian):
    seen = []
    check = predictive_check(gaussian.Model(), gaussian.data, {"n": lambda x: seen.append(x) or len(x)}, num=2,
                             draw=partial(from_prefix, prefix=3))
    assert check.observed["n"].tolist() == [4, 2, 4] and check.replicated["n"].tolist() == [[4, 2, 4]] * 2
    assert np.array_equal(seen[1], gaussian.data[2][3:].numpy())
    assert check.replicates.lengths.tolist() == gaussian.data.lengths.tolist()


def test_draws_are_in_raw_units():
    raw = rv.data.SequenceDataset(1000 + 50 * torch.randn(400, 1), [200, 200])
    data = rv.data.Splits(raw, raw, raw).standardize()
    model = rv.VRNN.for_data(data.train, z_dim=1, h_dim=4)
    check = predictive_check(model, data.test, num=5)
    assert check.observed["average mean"] == pytest.approx([s.mean().item() for s in raw])
    assert check.replicated["average mean"].mean() == pytest.approx(1000, abs=30)
    assert set(check.scalars) == {"average mean", "average scale", "smallest", "largest", "average autocorrelation",
                                  "stay above the mean"}


def test_missing_elements_are_missing_in_the_replicates():
    values = torch.randn(20, 2)
    values[3:8, 1] = torch.nan
    data = rv.data.SequenceDataset(values, [12, 8])
    model = rv.VRNN.for_data(data, z_dim=1, h_dim=4)
    seen = []
    check = predictive_check(model, data, {"gaps": lambda x: seen.append(np.isnan(x).sum()) or 0.0}, num=2)
    assert seen == [5, 0] * 3
    assert np.isnan(check.replicates.values).sum() == 10
    assert predictive_check(model, data, num=2).p_value("missing share")[0] == 0.5


def test_codes_have_their_gaps_too():
    codes = torch.tensor([[0], [2], [-1], [1], [1], [-1]])
    data = rv.data.SequenceDataset(codes, [4, 2], kind="categories", classes=3)
    model = rv.VRNN.for_data(data, z_dim=1, h_dim=4)
    check = predictive_check(model, data, num=3)
    assert (check.replicates.values[:, [2, 5]] == -1).all() and (check.replicates.values >= 0).sum() == 12
    assert check.observed["transitions"].shape == (2, 3, 3) and check.p_value("transitions")[0].shape == (3, 3)


def test_static_data():
    data = rv.data.StaticDataset(torch.rand(12, 5))
    check = predictive_check(rv.VAE.for_data(data, z_dim=2, h_dim=8), data, num=4)
    assert check.observed["element"].shape == (12, 5)
    assert set(check.scalars) == {"average", "spread", "smallest", "largest"}


# -------------------------------------------------------------------------------- bad input
def _short(x):
    return x[3:].mean(0)[0] if len(x) > 3 else 1 / 0


@pytest.mark.parametrize(("function", "match"), [
    (lambda x: np.nan, r"'bad' returned NaN for sequence 0 of the data, an array \(5, 4\)"),
    (lambda x: [1.0, np.inf], "'bad' returned infinity for sequence 0 of the data"),
    (lambda x: x, r"'bad' must return one shape .* \(5, 4\) and \(3, 4\) \(sequence 1 of the data\)"),
    (_short, r"'bad' failed on sequence 1 of the data, an array \(3, 4\) \(ZeroDivisionError: division by zero\)"),
    (lambda x: "high", r"'bad' failed on sequence 0 of the data, .* \(ValueError: could not convert"),
    (lambda x: [], r"'bad' returned nothing for sequence 0 of the data, an array .* \(shape \(0,\)\)"),
    (lambda x: None, "'bad' returned NaN for sequence 0"),
    (lambda x, y: 0.0, "'bad' failed on sequence 0 of the data, .*TypeError"),
])
def test_statistics_that_are_none(function, match, rolls):
    model = rv.VRNN.for_data(rolls.train, z_dim=2, h_dim=6)
    with pytest.raises(ValueError, match=match):
        predictive_check(model, rolls.test, {"bad": function}, num=2)


def test_a_statistic_that_fails_on_a_replicate_says_so(gaussian):
    def only(x):
        return 0.0 if any(np.array_equal(x, s.numpy()) for s in gaussian.data) else np.nan

    with pytest.raises(ValueError, match=r"'only' returned NaN for sequence 0 of the replicate 0"):
        predictive_check(gaussian.Model(), gaussian.data, {"only": only}, num=2)


def test_refusals(rolls):
    model = rv.VRNN.for_data(rolls.train, z_dim=2, h_dim=6)
    with pytest.raises(ValueError, match="num must be an integer of at least 1, got 0"):
        predictive_check(model, rolls.test, num=0)
    with pytest.raises(ValueError, match="at least one statistic, by name, .* got none"):
        predictive_check(model, rolls.test, {}, num=2)
    with pytest.raises(ValueError, match="each a function of a sequence .* got {'mean': 1.0}"):
        predictive_check(model, rolls.test, {"mean": 1.0}, num=2)
    with pytest.raises(ValueError, match="a p-value needs one of the statistics mean; got 'median'"):
        predictive_check(model, rolls.test, {"mean": statistics.mean}, num=2).p_value("median")
    with pytest.raises(TypeError, match="predictive_check needs one data set"):
        predictive_check(model, rolls, num=2)
    with pytest.raises(ValueError, match="leaves no frame to draw"):
        predictive_check(model, rolls.test, num=2, draw=partial(from_prefix, prefix=8))


def test_a_statistic_cannot_change_what_the_others_see(gaussian):
    def shifting(x):
        x += 5.0
        return x.mean()

    with pytest.raises(ValueError, match=r"'first' failed on sequence 0 of .*read-only\): change a copy, x = x"):
        predictive_check(gaussian.Model(), gaussian.data, {"first": shifting, "mean": average_mean}, num=2)
    kept = gaussian.data.values.clone()
    predictive_check(gaussian.Model(), gaussian.data, {"copy": lambda x: shifting(x.copy())}, num=2)
    assert torch.equal(gaussian.data.values, kept)


def test_draws_without_paths_say_so_under_the_table(gaussian, rolls):
    words = "Each frame was drawn for itself"
    for draw in (one_step, reconstructed):
        check = predictive_check(gaussian.Model(), gaussian.data, {"m": average_mean}, num=2, draw=draw)
        assert repr(check).splitlines()[-1].strip().startswith(words)
    for draw in (free_running, partial(from_prefix, prefix=2)):
        check = predictive_check(gaussian.Model(), gaussian.data, {"m": average_mean}, num=2, draw=draw)
        assert words not in repr(check)
    items = rv.data.StaticDataset(torch.rand(12, 5))
    model = rv.VAE.for_data(items, z_dim=2, h_dim=8)
    check = predictive_check(model, items, {"m": np.mean}, num=1, draw=reconstructed)
    assert words not in repr(check) and check.unit == "items" and "1 reconstructed replicate of the data" in repr(check)
    assert "'m' of 12 items stands among" in repr(predictive_check(model, items, {"m": np.mean}, num=2).pit("m"))


def test_a_scale_over_time_differs_one_step_ahead_for_the_true_model_too():
    """Why the line is there: draws of a perfect model, frame by frame."""
    class Level(rv.SequenceVAE):
        """c ~ N(0, 1) once, x_t ~ N(c, 0.1): sequences differ in level, and hardly move."""

        def __init__(self):
            super().__init__()
            self.x_dim = 1

        def generative(self, steps):
            c = pyro.sample("c", Normal(torch.zeros(1), 1.0).to_event(1))
            for t in steps:
                t.sample("x", lambda c: Normal(c, 0.1).to_event(1), t.hold(c))

        def inference(self, steps, x):
            mask = torch.ones(x.shape[:2]) if steps.mask is None else steps.mask.to(x.dtype)
            precision = 1 + 100 * mask.sum(-1, keepdim=True)
            mean = 100 * (x * mask[..., None]).sum(-2) / precision
            pyro.sample("c", Normal(mean, precision**-0.5).to_event(1))

    data = rv.data.SequenceDataset(free_running(Level(), _frames([6] * 40), 1, seed=1).values[0], [6] * 40)
    spread = {"scale": lambda x: x.std()}
    ahead, paths = (predictive_check(Level(), data, spread, num=20, draw=draw) for draw in (one_step, free_running))
    assert ahead.p_value("scale")[0] > 0.97 and 0.02 < paths.p_value("scale")[0] < 0.98


@pytest.mark.parametrize(("statistics", "draw", "match"), [
    ([np.mean], free_running, r"predictive_check takes each statistic by its name, a dictionary .* got list"),
    (np.mean, free_running, "by its name, a dictionary such as .* got a function"),
    ({"m": np.mean}, "one_step", "a function .* got str 'one_step': pass the function itself: draw=one_step"),
    ({"m": np.mean}, 3, "draw must be a function such as one_step, or Replicates, got int 3"),
    ({"m": np.mean}, from_prefix, r"to be told its prefix: pass functools.partial\(from_prefix, prefix=16\)"),
    ({"m": np.mean}, lambda *args, **how: [1], "draw must return Replicates, .* got list"),
])  # fmt: skip
def test_arguments_of_another_type(statistics, draw, match, gaussian):
    with pytest.raises(TypeError, match=match):
        predictive_check(gaussian.Model(), gaussian.data, statistics, 2, draw=draw)


def test_a_class_is_no_model(rolls):
    with pytest.raises(TypeError, match=r"needs a model, got the class VRNN: make one first, such as VRNN.for_data"):
        predictive_check(rv.VRNN, rolls.test)
    with pytest.raises(TypeError, match="evaluate needs a model, got the class VRNN"):
        rv.evaluate(rv.VRNN, rolls.test)
