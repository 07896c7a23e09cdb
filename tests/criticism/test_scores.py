from __future__ import annotations

import json
from functools import partial

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.ops.stats import crps_empirical
from scipy.stats import norm
from zoo import ZOO

import pyro_rvae as rv
from pyro_rvae.criticism import Replicates, climatology, free_running, from_prefix, one_step, predictive_scores
from pyro_rvae.criticism.scoring import clustered, score


class Copy(rv.SequenceVAE):
    """x_t ~ N(a x_{t-1}, s^2), x_0 = 0: the one-step and the free-running laws are known."""

    def __init__(self, a=1.0, s=1e-7):
        super().__init__()
        self.x_dim, self.a, self.s = 1, a, s

    def generative(self, steps):
        for t in steps:
            t.sample("z", lambda: dist.Normal(torch.zeros(1), 1.0).to_event(1))
            t.sample("x", lambda x: dist.Normal(self.a * x, self.s).to_event(1), t.prev("x", torch.zeros(1)))

    def inference(self, steps, x):
        for t in steps:
            t.sample("z", lambda x: dist.Normal(x, 1.0).to_event(1), t.at(x))


def gaussian_crps(x):
    """Gneiting & Raftery (2007), eq. 21, of N(0, 1)."""
    return x * (2 * norm.cdf(x) - 1) + 2 * norm.pdf(x) - 1 / np.sqrt(np.pi)


def numbers(values, lengths, **given):
    return rv.data.SequenceDataset(torch.as_tensor(values), lengths, **given)


def made(values, lengths):
    return Replicates(np.asarray(values), np.asarray(lengths), "free_running")


# -------------------------------------------------------------------------------- the scores themselves
def test_crps_is_unbiased_for_three_draws_of_a_gaussian():
    rng, x = np.random.default_rng(0), 0.7
    draws = rng.standard_normal((3, 40_000, 1))
    found = score(draws, np.full((40_000, 1), x), (0.5,)).crps
    error = found.std() / 200
    assert abs(found.mean() - gaussian_crps(x)) < 3 * error
    biased = crps_empirical(torch.from_numpy(draws), torch.full((40_000, 1), x)).mean()
    assert biased - gaussian_crps(x) == pytest.approx(1 / (3 * np.sqrt(np.pi)), abs=3 * error)  # E|X - X'| / 2R


def test_scores_are_the_double_sums():
    rng = np.random.default_rng(1)
    draws, x = rng.standard_normal((5, 7, 3)), rng.standard_normal((7, 3))
    x[2, 1], x[4] = np.nan, np.nan
    scale = np.array([1.0, 2.0, 10.0])
    found = score(draws, x, (0.5,), scale=scale)
    for f in range(7):
        near = np.abs(draws[:, f] - x[f]).mean(0)
        apart = np.abs(draws[:, None, f] - draws[None, :, f]).sum((0, 1)) / (5 * 4)
        assert np.allclose(found.crps[f], near - 0.5 * apart, atol=1e-12, equal_nan=True)
        seen = ~np.isnan(x[f])
        if seen.any():
            a, b = draws[:, f][:, seen] / scale[seen], x[f][seen] / scale[seen]
            spread = sum(np.linalg.norm(p - q) for p in a for q in a) / (5 * 4)
            assert found.energy[f] == pytest.approx(np.mean([np.linalg.norm(p - b) for p in a]) - 0.5 * spread)
    assert np.isnan(found.energy[4]) and np.isnan(found.pit[2, 1]) and np.isnan(found.absolute_error[2, 1])


def test_binary_crps_is_the_brier_score_and_so_is_that_of_categories():
    rng = np.random.default_rng(2)
    draws, x = (rng.random((6, 9, 2)) < 0.3).astype(float), (rng.random((9, 2)) < 0.5).astype(float)
    p = draws.mean(0)
    brier = (p - x) ** 2 - p * (1 - p) / 5
    assert np.allclose(score(draws, x, (0.5,)).crps, brier)
    coded = score(draws, x, (), classes=2)
    assert np.allclose(coded.crps, 2 * brier)  # both indicators
    assert np.allclose(coded.absolute_error, (p > 0.5) != x) and coded.pit is None


def test_blocks_of_frames_change_nothing():
    rng = np.random.default_rng(3)
    draws, x = rng.poisson(2.0, (8, 11, 2)).astype(float), rng.poisson(2.0, (11, 2)).astype(float)
    whole, cut = score(draws, x, (0.5, 0.9)), score(draws, x, (0.5, 0.9), max_bytes=3000)
    for name in ("crps", "energy", "absolute_error", "squared_error", "pit", "lower", "upper"):
        assert np.allclose(getattr(whole, name), getattr(cut, name), atol=1e-12), name
    assert whole.lower.shape == (2, 11, 2)


# -------------------------------------------------------------------------------- intervals
@pytest.mark.parametrize("law", ["normal", "poisson", "coin"])
def test_coverage_is_exactly_nominal_for_few_draws_and_for_discrete_data(law):
    rng = np.random.default_rng(4)
    draw = {"normal": rng.standard_normal, "poisson": partial(rng.poisson, 1.0), "coin": partial(rng.binomial, 1, 0.2)}
    everything = np.asarray(draw[law](size=(7, 20_000, 1)), dtype=float)
    pit = score(everything[:6], everything[6], (0.5,)).pit
    for level in (0.5, 0.8, 0.95):
        share, error = (np.abs(pit - 0.5) < level / 2).mean(), (level * (1 - level) / 20_000) ** 0.5
        assert abs(share - level) < 3.5 * error, level
    assert pit.min() > 0 and pit.max() < 1


def test_ends_of_the_intervals_cover_a_new_draw_with_the_nominal_probability():
    everything = np.random.default_rng(9).standard_normal((40, 20_000, 1))
    found = score(everything[:39], everything[39], (0.5, 0.95))
    inside = ((found.lower <= everything[39]) & (everything[39] <= found.upper)).mean((1, 2))
    assert inside == pytest.approx([0.5, 0.95], abs=0.012)  # 0.91 with the usual quantiles of a sample


def test_intervals_of_a_known_forecast():
    """An AR(1) model forecasts its own data: nominal coverage, exact widths and CRPS; too narrow a one is seen."""
    lengths = [12, 5, 9, 12, 7, 11, 3, 12] * 4
    true = Copy(0.8, 2.0)
    drawn = free_running(true, numbers(torch.zeros(sum(lengths), 1), lengths), 1, seed=5)
    data = numbers(drawn.values[0], lengths)
    found = predictive_scores(true, data, num=99)
    assert found.drawn_by == "one_step" and np.array_equal(found.levels, [0.5, 0.8, 0.95])
    for level, (share, error) in zip(found.levels, found.coverages, strict=True):
        assert abs(share - level) < 3 * error
    widths = found.widths()[:, 0]
    assert widths == pytest.approx(4 * norm.ppf(0.5 + found.levels / 2), rel=0.05)
    crps, error = found.mean("crps")
    assert abs(crps - 2 / np.sqrt(np.pi)) < 3 * error  # E CRPS of N(0, s^2) on itself: s / sqrt(pi)
    narrow = predictive_scores(Copy(0.8, 1.0), data, num=99)
    assert narrow.coverage(0.8)[0] < 0.8 - 5 * narrow.coverage(0.8)[1] and narrow.mean()[0] > crps


def test_discrete_data_overcover_closed_intervals_and_the_table_says_so():
    rng = np.random.default_rng(6)
    draws = (rng.random((41, 400, 2)) < 0.1).astype(float)
    data = numbers(draws[40], [40] * 10)
    found = predictive_scores(rv.VRNN.for_data(data, z_dim=1, h_dim=3), data, draw=made(draws[:40], [40] * 10))
    assert found.closed_coverages[0] > 0.85 and abs(found.coverage(0.5)[0] - 0.5) < 0.06
    assert "no closed interval has the nominal coverage" in repr(found) and "Brier" in repr(found)


# -------------------------------------------------------------------------------- which elements count
def test_padding_and_missing_elements_never_count():
    values = torch.tensor([1.0, 4.0, 2.0, 2.0, 7.0, 0.0, 3.0, 3.5]).unsqueeze(-1)
    values[3] = torch.nan
    data = numbers(values, [5, 3])
    found = predictive_scores(Copy(), numbers(values.nan_to_num(2.0), [5, 3]), num=3)
    assert found.mean("absolute_error")[0] == pytest.approx(np.mean([1, 3, 2, 0, 5, 0, 3, 0.5]), abs=1e-5)
    assert found.by_step("absolute_error").value == pytest.approx([0.5, 3, 1.25, 0, 5], abs=1e-5)
    assert found.by_step().elements.tolist() == [2, 2, 2, 1, 1]
    draws = np.concatenate([np.zeros((2, 8, 1)), np.ones((2, 8, 1))])
    gaps = predictive_scores(Copy(), data, draw=made(draws, [5, 3]))
    assert gaps.to_dict()["num_elements"] == 7
    known = ~torch.isnan(values).squeeze(-1)
    alone = score(draws[:, known], values[known].numpy(), (0.5,))
    assert gaps.mean("crps")[0] == pytest.approx(alone.crps.mean())
    assert np.isnan(gaps.by_step("crps").value[3]) and gaps.by_step("crps").elements[3] == 0


def test_what_was_given_is_not_scored_and_steps_count_from_there():
    values = torch.tensor([1.0, 4.0, 2.0, 2.0, 7.0, 5.0, 3.0, 3.5]).unsqueeze(-1)
    found = predictive_scores(Copy(), numbers(values, [5, 3]), draw=partial(from_prefix, prefix=2), num=3)
    by_step = found.by_step("absolute_error")  # it stays at 4 and at 3
    assert by_step.value == pytest.approx([np.mean([2, 0.5]), 2, 3], abs=1e-5)
    assert by_step.elements.tolist() == [2, 1, 1]
    assert found.to_dict()["num_elements"] == 4 and "behind 2 given frames" in repr(found)
    assert np.isnan(found.x[[0, 1, 5, 6]]).all()


def test_scores_are_in_raw_units():
    raw = numbers(1000 + 50 * torch.randn(60, 2), [30, 30])
    data = rv.data.Splits(raw, raw, raw).standardize()
    draws = free_running(rv.VRNN.for_data(data.train, z_dim=1, h_dim=4), data.test, 20)
    found = predictive_scores(rv.VRNN.for_data(data.train, z_dim=1, h_dim=4), data.test, draw=draws)
    assert np.allclose(found.x, raw.values)
    assert found.mean("absolute_error")[0] == pytest.approx(np.abs(np.median(draws.values, 0) - found.x).mean())
    assert found.by_feature("crps") == pytest.approx(found.scores.crps.mean(0)) and 5 < found.mean("crps")[0] < 60
    assert found.mean("energy")[0] < 3 and "standardised units" in repr(found)


# -------------------------------------------------------------------------------- errors and skill
def test_errors_are_over_sequences():
    """Frames that repeat each other add nothing: the error stays that of N sequences."""
    values = np.random.default_rng(7).standard_normal(30)
    once = clustered(values, np.ones(30))
    assert once == pytest.approx((values.mean(), values.std(ddof=1) / 30**0.5))
    draws = np.linspace(-1, 1, 6)[:, None, None]
    copied = numbers(np.repeat(values, 4)[:, None], [4] * 30)
    single = numbers(values[:, None], [1] * 30)
    many = predictive_scores(Copy(), copied, draw=made(draws.repeat(120, 1), [4] * 30))
    few = predictive_scores(Copy(), single, draw=made(draws.repeat(30, 1), [1] * 30))
    assert many.mean("crps") == pytest.approx(few.mean("crps"))
    assert many.coverage(0.8)[1] > 1.3 * many.binomial_errors[1]  # below 2: ranks within a gap of draws are random
    assert np.isnan(clustered(np.ones(1), np.ones(1))[1]) and np.isnan(clustered(np.zeros(2), np.zeros(2))[0])


def test_error_of_a_ratio_is_that_of_a_simulation():
    rng = np.random.default_rng(8)

    def once():
        counts = rng.integers(1, 9, 50).astype(float)
        return clustered(counts * (1 + 0.3 * rng.standard_normal(50)), counts)

    ratios, errors = np.array([once() for _ in range(600)]).T
    assert errors.mean() == pytest.approx(ratios.std(), rel=0.1)


def test_skill_is_zero_for_climatology_and_one_for_the_truth(rolls):
    model, test = rv.VRNN.for_data(rolls.train, z_dim=2, h_dim=4), rolls.test
    itself = predictive_scores(model, test, draw=climatology(rolls.train, test, 30, seed=0))
    assert itself.skill("crps")[0] == pytest.approx(0, abs=1e-12) and itself.drawn_by == "climatology"
    perfect = predictive_scores(model, test, draw=made(test.values.numpy()[None].repeat(30, 0), test.lengths))
    assert [perfect.skill(s)[0] for s in ("crps", "energy")] == [1, 1] and perfect.mean("squared_error")[0] == 0
    draws = climatology(rolls.train, test, 2000)
    assert draws.values.mean((0, 1)) == pytest.approx(rolls.train.values.mean(0).numpy(), abs=0.02)
    alone = predictive_scores(model, numbers(test.values, test.lengths), draw=draws)
    assert alone.reference is None and np.isnan(alone.skill()[0]) and "skill" not in repr(alone)


# -------------------------------------------------------------------------------- any model
@pytest.mark.parametrize("name", ["VRAE", "HRAE-2-3", "poisson", "gaps-codes", "gaps-DMM", "conditional-VRNN",
                                  "ConvVAE", "AE", "shared"])
def test_any_model_of_the_zoo_is_scored_and_left_alone(name):
    case = ZOO[name]
    kinds = {"counts": ("counts", None), "codes gaps": ("categories", 4), "real": ("real", None)}
    kind, classes = kinds.get(case.data, ("binary", None))
    model, x, known = case.make(), case.x(), case.extra()
    model.train()
    if case.static:
        data = rv.data.StaticDataset(x, kind=kind)
    else:
        controls = {"controls": known["controls"].flatten(0, 1)} if "controls" in known else {}
        data = rv.data.SequenceDataset(x.flatten(0, 1), [x.shape[1]] * len(x), kind=kind, classes=classes,
                                       labels=known.get("labels"), **controls)
    state = torch.random.get_rng_state()
    found = predictive_scores(model, data, num=4, train=data, seed=3)
    assert found.drawn_by == ("free_running" if case.static else "one_step")
    assert torch.equal(state, torch.random.get_rng_state()) and model.training
    assert len(pyro.get_param_store()) == 0
    figures = found.to_dict()
    assert figures == predictive_scores(model, data, num=4, train=data, seed=3).to_dict()
    assert json.loads(json.dumps(figures)) == figures and figures["crps"] > -0.5 and figures["num_draws"] == 4
    assert "4 draws" in repr(found) and ("coverage_50" in figures) == (kind != "categories")
    assert found.by_feature().shape == (data.x_dim,)
    present = data.values >= 0 if kind == "categories" else ~data.values.isnan()
    assert figures["num_elements"] == int(present.sum()) and data.missing == bool((~present).any())


# -------------------------------------------------------------------------------- refusals
def test_refusals(rolls):
    model, test = rv.VRNN.for_data(rolls.train, z_dim=2, h_dim=4), rolls.test
    draws = free_running(model, test, 3)
    with pytest.raises(ValueError, match="num must be an integer of at least 2, got 0"):
        predictive_scores(model, test, num=0)
    with pytest.raises(ValueError, match=r"levels must be probabilities between 0 and 1.* got \(0.5, 95\)"):
        predictive_scores(model, test, levels=(0.5, 95), draw=draws)
    with pytest.raises(ValueError, match="levels must be probabilities"):
        predictive_scores(model, test, levels=(), draw=draws)
    with pytest.raises(ValueError, match="replicates of another data set: .* the data have 5 sequences, 32 frames"):
        predictive_scores(model, rolls.train, draw=draws)
    with pytest.raises(ValueError, match="at least 2 draws of each element, got 1"):
        predictive_scores(model, test, draw=free_running(model, test, 1))
    with pytest.raises(ValueError, match="draws have NaN where the data have a number"):
        predictive_scores(model, test, draw=made(np.full((3, 16, 4), np.nan), test.lengths))
    with pytest.raises(TypeError, match="draw must be a function such as one_step, or Replicates, got str"):
        predictive_scores(model, test, draw="one_step")
    with pytest.raises(TypeError, match="predictive_scores needs one data set"):
        predictive_scores(model, rolls)
    with pytest.raises(ValueError, match="train must have data's kind, width and classes"):
        predictive_scores(model, test, draw=draws, train=numbers(torch.randn(6, 4), [6]))
    found = predictive_scores(model, test, draw=draws)
    with pytest.raises(ValueError, match="score must be one of crps, energy, .* got 'brier'"):
        found.mean("brier")
    with pytest.raises(ValueError, match="energy is one number a frame"):
        found.by_feature("energy")
    codes = rv.data.SequenceDataset(torch.randint(0, 3, (16, 4)), test.lengths, kind="categories", classes=3)
    coded = predictive_scores(rv.VRNN.for_data(codes, z_dim=1, h_dim=3), codes, num=2)
    with pytest.raises(ValueError, match="categories have no order"):
        coded.coverage(0.5)
    with pytest.raises(ValueError, match="there is no reference: pass train="):
        coded.mean(reference=True)
    nothing = numbers(torch.full((4, 1), torch.nan), [4])
    with pytest.raises(ValueError, match="nothing to score"):
        predictive_scores(Copy(), nothing, draw=made(np.zeros((3, 4, 1)), [4]))


def test_one_step_is_the_default_of_sequences():
    assert predictive_scores(Copy(), numbers(torch.zeros(3, 1), [3]), num=2).drawn_by == one_step.__name__
