from __future__ import annotations

import json
from functools import partial

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal
from scipy import stats
from zoo import ZOO

import pyro_rvae as rv
from pyro_rvae.criticism import Calibration, sbc
from pyro_rvae.criticism.calibration import _words
from pyro_rvae.criticism.chunks import Chunk
from pyro_rvae.criticism.particles import draw
from pyro_rvae.criticism.simulation import _of_path, _quantities

WIDE = 10**6  # bytes or sequences: everything in one chunk


def uniform(*shape, num_draws=19, seed=0):
    return np.random.Generator(np.random.Philox(seed)).integers(0, num_draws + 1, shape)


def gaussian_ranks(scale=1.0, shift=0.0, num=400, num_draws=99, seed=0):
    """Ranks of N(0, 1) truths among draws of N(shift, scale^2)."""
    rng = np.random.Generator(np.random.Philox(seed))
    draws = shift + scale * rng.standard_normal((2, num, num_draws))
    return (draws < rng.standard_normal((2, num, 1))).sum(-1)


# ------------------------------------------------------------------------------------ ranks and their statistics
def test_histograms_and_chi_squares():
    found = Calibration(np.array([[0, 0, 1, 3, 3, 4] * 10, [2] * 60]), ("a", "b"), num_draws=4)
    assert found.histogram(5).tolist() == [[20, 10, 0, 20, 10], [0, 0, 60, 0, 0]]
    assert found.expected(5).tolist() == [12] * 5
    assert found.histogram(2).tolist() == [[30, 30], [60, 0]]  # ranks 0 to 2, and 3 and 4
    assert found.expected(2).tolist() == [36, 24] and found.bins == 2
    for row, statistic, p in zip(found.histogram(), found.chi_squares, found.p_values, strict=True):
        assert (statistic, p) == pytest.approx(tuple(stats.chisquare(row, found.expected())))


def test_holm_and_the_moments():
    p = np.array([0.01, 0.04, 0.03, 0.5])
    found = Calibration(uniform(4, 100), tuple("abcd"), 19)
    assert type("", (Calibration,), {"p_values": p})(uniform(4, 100), tuple("abcd"), 19).adjusted_p_values == (
        pytest.approx([0.04, 0.09, 0.09, 0.5])
    )
    u = (found.ranks + 0.5) / 20
    assert found.shifts == pytest.approx((u.mean(-1) - 0.5) / (1 / 1200) ** 0.5)
    many = Calibration(uniform(2000, 50), tuple(map(str, range(2000))), 19)
    assert abs(many.shifts.mean()) < 0.08 and many.shifts.std() == pytest.approx(1, abs=0.06)
    assert abs(many.spreads.mean()) < 0.08 and many.spreads.std() == pytest.approx(1, abs=0.06)


def test_distribution_functions_and_their_band():
    found = Calibration(uniform(3, 80), tuple("abc"), 19)
    grid, difference = found.ecdf_difference()
    assert grid == pytest.approx(np.arange(1, 20) / 20)
    for row, curve in zip(found.ranks, difference, strict=True):
        assert curve == pytest.approx([(row < r).mean() - r / 20 for r in range(1, 20)])
    many = Calibration(uniform(4000, 80, seed=1), tuple(map(str, range(4000))), 19)
    for probability in (0.5, 0.9):
        low, high = many.ecdf_band(probability)
        inside = ((many.ecdf_difference()[1] >= low - 1e-12) & (many.ecdf_difference()[1] <= high + 1e-12)).all(-1)
        assert probability - 0.03 < inside.mean() < probability + 0.08  # counts are discrete
        low, high = many.histogram_band(5, probability)
        bars = many.histogram(5)
        assert probability - 0.03 < ((bars >= low) & (bars <= high)).mean() < probability + 0.15


@pytest.mark.parametrize(
    "scale, shift, words",
    [(0.8, 0.0, "too narrow"), (1.25, 0.0, "too wide"), (1.0, 0.3, "too high"), (1.0, -0.3, "too low")],
)
def test_words(scale, shift, words):
    found = Calibration(gaussian_ranks(scale, shift), ("a", "b"), 99)
    assert not found.passed and words in found.verdict and all(words in each for each in found.verdicts)
    low, high = found.ecdf_band()
    assert ((found.ecdf_difference()[1] < low) | (found.ecdf_difference()[1] > high)).any()


def test_a_centred_guide_of_another_width_is_not_called_shifted():
    """Chance moves the mean of ranks at both ends further than that of uniform ones; over many seeds."""
    for scale, words in ((0.8, "too narrow"), (1.25, "too wide")):
        found = [Calibration(gaussian_ranks(scale, num=200, num_draws=49, seed=seed), ("a", "b"), 49)
                 for seed in range(100)]
        said = [each.split(",")[0] for one in found for each in one.verdicts if each != "ok"]
        assert len(said) > 80 and said.count(words) > 0.9 * len(said)
        assert sum("shifted" in one.verdict for one in found) <= 5
    shifted = [Calibration(gaussian_ranks(1.0, 0.3, 200, 49, seed), ("a", "b"), 49) for seed in range(30)]
    assert sum("shifted" in one.verdict or one.passed for one in shifted) >= 28


@pytest.mark.parametrize(("shift", "spread", "words"), [
    (1.9, 2.1, "too narrow"), (-1.9, -2.1, "too wide"), (1.9, 1.9, "uneven"), (2.1, 2.0, "shifted, too low"),
    (-9.0, 2.1, "shifted, too high"),
])  # fmt: skip
def test_only_a_mean_that_is_off_is_called_shifted(shift, spread, words):
    assert _words("z", shift, spread, both_ends=False) == words


def test_other_words():
    assert Calibration(gaussian_ranks(), ("a", "b"), 99).verdicts == ("ok", "ok")
    lumps = np.array([[3, 4, 4, 4, 15, 15, 15, 16] * 25])  # with the first two moments of a uniform law
    assert Calibration(lumps, ("a",), 19).verdicts == ("uneven",)
    far = Calibration(gaussian_ranks(1.0, 6.0), ("a", "b"), 99)  # every rank is 0, the second moment at its largest
    assert (far.spreads > np.abs(far.shifts)).all() and far.verdicts == ("shifted, too high",) * 2
    apart = Calibration(np.concatenate([gaussian_ranks(1, 1)[:1], gaussian_ranks(1, -1)[:1]]), ("a", "b"), 99)
    assert "the posterior: shifted (smallest" in apart.verdict
    dense = Calibration(gaussian_ranks(1.0, 0.5), ("log p(x, z)", "log p(x | z)"), 99)
    assert dense.verdicts == ("too probable",) * 2
    assert "each latent alone passes, but its draws are together too probable" in dense.verdict


def test_the_table_and_the_dictionary():
    names = tuple(f"z[{i}]" for i in range(15))
    found = Calibration(uniform(15, 100), names, 19, "DMM")
    lines = repr(found).splitlines()
    assert lines[0] == "DMM: 100 simulations, 19 draws of the guide each."
    assert lines[1].startswith("  No sign that the guide is not the posterior (smallest p-value")
    assert "chi2 (9 df)" in lines[2] and "p (Holm)" in lines[2] and lines[-1] == "  and 3 more, with larger p-values"
    figures = found.to_dict()
    assert json.loads(json.dumps(figures)) == figures
    assert set(figures["quantities"]) == set(names) and figures["correction"] == "Holm" and figures["passed"] is True


def test_what_its_methods_refuse():
    found = Calibration(uniform(1, 100), ("z",), 19)
    with pytest.raises(ValueError, match="bins must be an integer from 2 to 20 .* got 21"):
        found.histogram(21)
    with pytest.raises(ValueError, match="probability must be above 0 and below 1, such as 0.95; got 95"):
        found.ecdf_band(95)


# ------------------------------------------------------------------------------------ the truths
def test_the_exact_guide_passes(gaussian):
    least = [sbc(gaussian.Model(), gaussian.data, 120, 49, seed=seed, batch_size=WIDE).adjusted_p_values.min()
             for seed in range(4)]
    assert min(least) > 0.01 and np.median(least) > 0.1


@pytest.mark.parametrize("spread, words", [(0.8, "too narrow"), (1.25, "too wide")])
def test_a_guide_of_another_spread_fails(gaussian, spread, words):
    found = sbc(gaussian.Model(spread=spread), gaussian.data, 400, 49, batch_size=WIDE)
    assert not found.passed and words in found.verdict and found.adjusted_p_values.min() < 1e-4
    of_z = [q for q in found.quantities if q.startswith("z")]
    assert of_z == ["z first", "z middle", "z last", "z mean"]
    assert sum(found.verdicts[i] == words for i in range(4)) >= 2


def test_a_shifted_guide_fails(gaussian):
    found = sbc(gaussian.Model(offset=0.2), gaussian.data, 200, 49, batch_size=WIDE)
    assert "shifted, too high" in found.verdict and found.adjusted_p_values.min() < 1e-10
    assert "too low" in sbc(gaussian.Model(offset=-0.2), gaussian.data, 200, 49, batch_size=WIDE).verdict


def test_p_values_of_the_exact_guide_are_uniform(gaussian):
    """120 small tests of one long run: its simulations are independent."""
    data = rv.data.SequenceDataset(torch.zeros(5, 1), [3, 2])
    whole = sbc(gaussian.Model(), data, 120 * 30, 19, batch_size=WIDE)
    small = [Calibration(ranks, whole.quantities, 19) for ranks in np.split(whole.ranks, 120, axis=1)]
    p = np.array([each.p_values for each in small])
    assert 0.02 < (p < 0.05).mean() < 0.08 and p.mean() == pytest.approx(0.5, abs=0.05)
    assert sum(not each.passed for each in small) <= 14  # Holm: at most 6 of 120 on average
    assert whole.passed


class Static(rv.SequenceVAE):
    """z ~ N(0, I_2);  x ~ N(z_1 + z_2, 0.1);  q: the posterior, its marginals alone, or the prior."""

    static = True

    def __init__(self, guide):
        super().__init__()
        self.x_dim, self.kind = 1, guide

    def generative(self, steps):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        steps.observe("x", lambda z: dist.Normal(z.sum(-1, True), 0.1**0.5).to_event(1), z)

    def law(self, x):
        covariance = torch.eye(2) - torch.ones(2, 2) / 2.1
        if self.kind == "prior":
            return dist.Normal(torch.zeros_like(x).expand(*x.shape[:-1], 2), 1.0).to_event(1)
        mean = x.expand(*x.shape[:-1], 2) / 2.1
        if self.kind == "marginals":
            return dist.Normal(mean, covariance.diagonal().sqrt()).to_event(1)
        return dist.MultivariateNormal(mean, covariance)

    def inference(self, steps, x):
        pyro.sample("z", self.law(x))


def test_log_densities_see_what_no_latent_alone_shows():
    data = rv.data.StaticDataset(torch.zeros(5, 1))
    found = {kind: sbc(Static(kind), data, 200, 49, batch_size=WIDE, seed=1)
             for kind in ("posterior", "marginals", "prior")}
    assert found["posterior"].passed
    assert found["posterior"].quantities == ("z[0]", "z[1]", "log p(x | z)", "log p(x, z)")
    for kind in ("marginals", "prior"):
        assert found[kind].verdicts == ("ok", "ok", "too improbable", "too improbable")
        assert "each latent alone passes" in found[kind].verdict


class Once(rv.SequenceVAE):
    """v ~ N(0, 1) once;  x_t ~ N(v, 1), some missing;  q: exact, from the frames that are there."""

    def __init__(self, factor=1.0):
        super().__init__()
        self.x_dim, self.factor, self.reader = 1, factor, rv.Reader(1, missing=True)

    def generative(self, steps):
        v = pyro.sample("v", dist.Normal(torch.zeros(1), 1.0).to_event(1))
        for t in steps:
            t.sample("x", lambda v: dist.Normal(v, 1.0).to_event(1), t.hold(v))

    def inference(self, steps, x):
        inside = torch.ones(x.shape[:2]) if steps.mask is None else steps.mask.to(x.dtype)
        total, count = (x * inside[..., None]).sum(-2).chunk(2, -1)
        pyro.sample("v", dist.Normal(total / (1 + count), self.factor / (1 + count).sqrt()).to_event(1))


def test_latents_of_a_sequence_ragged_and_with_gaps():
    values = torch.zeros(14, 1)
    values[::3] = torch.nan
    data = rv.data.SequenceDataset(values, [8, 2, 4])
    found = sbc(Once(), data, 300, 49, batch_size=WIDE)
    assert found.passed and found.quantities == ("v", "log p(x | z)", "log p(x, z)")
    assert "too narrow" in sbc(Once(0.7), data, 300, 49, batch_size=WIDE).verdict
    whole = rv.data.SequenceDataset(torch.zeros(14, 1), data.lengths)  # what is missing is missing in simulations too
    assert not np.array_equal(sbc(Once(), whole, 20, 9).ranks, sbc(Once(), data, 20, 9).ranks)


class Shared(rv.SequenceVAE):
    """m ~ N(0, 1) once a data set;  z_t ~ N(0, 1);  x_t ~ N(z_t + m, 1);  q(z_t | x_t, m): exact given m."""

    def __init__(self):
        super().__init__()
        self.x_dim = 1

    def shared(self):
        pyro.sample("m", dist.Normal(torch.zeros(1), 1.0).to_event(1))

    def generative(self, steps):
        m = steps.shared["m"]
        for t in steps:
            z = t.sample("z", lambda: dist.Normal(torch.zeros(1), 1.0).to_event(1))
            t.sample("x", lambda z, m: dist.Normal(z + m, 1.0).to_event(1), z, t.hold(m))

    def inference(self, steps, x):
        m = steps.shared["m"]
        for t in steps:
            t.sample("z", lambda x, m: dist.Normal((x - m) / 2, 0.5**0.5).to_event(1), t.at(x), t.hold(m))


@pytest.mark.parametrize("max_bytes", [400, WIDE])
def test_what_is_shared_is_the_same_for_truth_and_guide(max_bytes):
    model, data = Shared(), rv.data.SequenceDataset(torch.zeros(5, 1), [3, 2])
    model.shared_posterior.loc["m"].data.fill_(4.0)
    model.shared_posterior.raw["m"].data.fill_(2.0)  # scale 2.1: independent draws of m would spoil every rank
    found = sbc(model, data, 100, 19, batch_size=4, max_bytes=max_bytes)
    assert found.passed and not any("m" in q.replace("mean", "").replace("middle", "") for q in found.quantities)


def test_discrete_latents_break_ties_at_random():
    torch.manual_seed(0)
    data = rv.data.SequenceDataset(torch.zeros(9, 3), [5, 4])
    model = rv.NeuralHMM(3, 2, 4)  # its guide is the posterior
    found = sbc(model, data, 200, 19, batch_size=WIDE)
    assert found.passed
    first = found.histogram(20)[found.quantities.index("s[0] first")]
    assert (first > 0).sum() > 15  # two values only, yet every rank


def pair(factor=1.0, shared=0.0):
    """z ~ N(m, 1), x ~ N(z, 1) and the posterior, as plain Pyro programs; m ~ N(0, shared^2) where it isn't 0."""

    def mean():
        return pyro.sample("m", dist.Normal(0.0, shared)) if shared else torch.tensor(0.0)

    def model(x, size=None):
        m = mean()
        with pyro.plate("rows", len(x) if x is not None else size[0]):
            z = pyro.sample("z", dist.Normal(m.expand(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        m = mean()
        with pyro.plate("rows", len(x)):
            pyro.sample("z", dist.Normal((x + m) / 2, factor * 0.5**0.5).to_event(1))

    return rv.criticism.Pair(model, guide, static=True)


@pytest.mark.parametrize("shared", [0.0, 3.0])
def test_a_plain_pyro_pair(shared):
    data = rv.data.StaticDataset(torch.zeros(5, 1))
    found = sbc(pair(shared=shared), data, 200, 19)
    assert found.passed and found.quantities == ("z", "log p(x | z)", "log p(x, z)")
    assert not sbc(pair(0.7, shared), data, 200, 19).passed


# ------------------------------------------------------------------------------------ what it runs on
CASES = ["VAE", "VRAE", "DSAE", "HRAE-2-3", "KVAE-gaps", "gaps-codes", "student-prior", "bayesian", "controls",
         "labels", "supervised-VRNN", "supervised-VAE", "path-prior", "conditional-VRAE", "DMM-flow"]


def dataset(case):
    x, extra = case.x(), case.extra()
    if case.static:
        return rv.data.StaticDataset(x, labels=extra.get("labels"))
    given = {"kind": "categories", "classes": 4} if case.data.startswith("codes") else {}
    controls = [c[:n] for c, n in zip(extra["controls"], (6, 3, 5, 1), strict=True)] if "controls" in extra else None
    return rv.data.SequenceDataset.from_sequences(
        [s[:n] for s, n in zip(x, (6, 3, 5, 1), strict=True)], controls=controls, labels=extra.get("labels"), **given
    )


@pytest.mark.parametrize("name", CASES)
def test_models_of_the_zoo(name):
    found = sbc(ZOO[name].make(), dataset(ZOO[name]), 20, 9)
    assert found.ranks.shape == (len(found.quantities), 20) and len(set(found.quantities)) == len(found.quantities)
    assert found.ranks.min() >= 0 and found.ranks.max() <= 9
    assert found.quantities[-2:] == ("log p(x | z)", "log p(x, z)") and repr(found)


def test_a_label_that_a_head_predicts_has_no_part():
    case = ZOO["supervised-VRNN"]
    first, data = dataset(case), dataset(case)
    data.labels = (data.labels.clamp(min=0) + 1) % 3
    assert np.array_equal(*(sbc(case.make(), each, 20, 9).ranks for each in (first, data)))


def test_the_densities_are_those_of_the_model(gaussian):
    chunk = Chunk(gaussian.data.padded([4]), [4], range(3))
    draws = draw(gaussian.Model(), chunk, 0, repeat=True)
    found = _quantities(draws, np.array([7]), 7)
    z, x = draws.guide.nodes["z"]["value"][:, 0, :, 0], gaussian.data[4][:, 0]
    before = torch.cat([torch.zeros(3, 1), z[:, :-1]], 1)
    likelihood = dist.Normal(z, 0.3**0.5).log_prob(x).sum(-1)
    prior = dist.Normal(0.9 * before, 0.5**0.5).log_prob(z).sum(-1)
    assert found["log p(x | z)"][:, 0] == pytest.approx(likelihood.numpy())
    assert found["log p(x, z)"][:, 0] == pytest.approx((likelihood + prior).numpy())
    assert found["z mean"][:, 0] == pytest.approx(z.mean(-1).numpy())


def test_steps_are_those_of_each_sequence():
    value = np.arange(12.0).reshape(1, 2, 6) ** 2
    found = _of_path("z", value[..., None], np.array([5, 2]), 6)
    assert {name: values.tolist() for name, values in found.items()} == {
        "z first": [[0, 36]], "z middle": [[4, 36]], "z last": [[16, 49]],
        "z mean": [[(0 + 1 + 4 + 9 + 16) / 5, (36 + 49) / 2]],
    }
    assert list(_of_path("z", value[:, :, :2, None], np.array([2, 1]), 2)) == ["z first", "z last", "z mean"]
    assert list(_of_path("z", value[:, :, :1, None], np.array([1, 1]), 1)) == ["z"]


def test_a_slow_clock_is_ranked_by_its_own_steps():
    case = ZOO["slow-clock"]  # y every 4 frames of 6: two steps
    names = sbc(case.make(), dataset(case), 20, 9).quantities
    assert [name for name in names if "[0]" in name] == [
        "y[0] first", "y[0] last", "y[0] mean", "z[0] first", "z[0] middle", "z[0] last", "z[0] mean"
    ]
    short = rv.data.SequenceDataset(case.x()[:, 0], [1] * 4)
    assert sbc(case.make(), short, 20, 9).quantities[:4] == ("y[0]", "y[1]", "y[2]", "z[0]")


def test_a_latent_whose_shape_differs_between_batches_is_refused():
    case = ZOO["path-prior"]  # one site of event (z_dim, T)
    with pytest.raises(ValueError, match=r"latents of one shape in every batch, got .*draw a path in `for t in steps`"):
        sbc(case.make(), dataset(case), 20, 9, batch_size=5)


def test_a_trained_guide_with_its_chain(rolls):
    torch.manual_seed(0)
    model = rv.DMM.for_data(rolls.train, z_dim=2, h_dim=6)
    rv.fit(model, rolls.train, epochs=2, progress=False)
    found = sbc(model, rolls.test, 40, 19)
    assert found.name == "DMM" and len(found.quantities) == 2 * 4 + 2 and "smallest p-value" in found.verdict


def test_it_leaves_no_trace_and_can_be_made_again(rolls):
    model = rv.VRNN.for_data(rolls.train, z_dim=2, h_dim=6, dropout=0.5)
    state = torch.random.get_rng_state()
    first, second, other = (sbc(model, rolls.test, 20, 9, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.ranks, second.ranks) and not np.array_equal(first.ranks, other.ranks)
    assert torch.equal(state, torch.random.get_rng_state()) and model.training and len(pyro.get_param_store()) == 0
    cut = sbc(model, rolls.test, 20, 9, seed=1, max_bytes=3000)  # the guide's draws in other chunks
    assert np.array_equal(first.ranks, cut.ranks)
    with rv.explicit():
        assert np.array_equal(sbc(model, rolls.test, 20, 9, seed=1).ranks, first.ranks)


def test_it_looks_at_no_x_of_the_data(gaussian):
    other = rv.data.SequenceDataset(gaussian.data.values * 50 + 7, gaussian.data.lengths)
    first, second = (sbc(gaussian.Model(), data, 20, 9) for data in (gaussian.data, other))
    assert np.array_equal(first.ranks, second.ranks)


# ------------------------------------------------------------------------------------ bad input
@pytest.mark.parametrize(
    "given, message",
    [
        ({"num": 0}, "num must be an integer of at least 20, got 0"),
        ({"num_draws": 0}, "num_draws must be an integer of at least 9, got 0"),
        ({"num_draws": 1}, "num_draws must be an integer of at least 9, got 1"),
        ({"batch_size": 0}, "batch_size must be an integer of at least 1, got 0"),
    ],
)
def test_sizes_that_are_refused(given, message, gaussian):
    with pytest.raises(ValueError, match=message):
        sbc(gaussian.Model(), gaussian.data, **given)


def test_what_cannot_be_calibrated(rolls, gaussian):
    with pytest.raises(ValueError, match="sbc ranks latents, and DeterministicRNN draws none"):
        sbc(rv.DeterministicRNN(4, 3), rolls.test)
    for model in (rv.VRAE(4, 2, 3, posterior=rv.Delta), partial(rv.RVAE, prior=rv.Weightless)(4, 2, 3,
                                                                                            posterior=rv.Delta)):
        with pytest.raises(ValueError, match=r"sbc needs a guide with a density; .* draws \['z'\] as a point"):
            sbc(model, rolls.test)
    program, rows = pair().programs["model"], rv.data.StaticDataset(torch.zeros(3, 1))
    with pytest.raises(ValueError, match="sbc needs an amortised guide.*AutoNormal"):
        sbc(rv.criticism.Pair(program, AutoNormal(program), static=True), rows)
    with pytest.raises(TypeError, match="sbc needs one data set .* got Splits: pass one of its sides"):
        sbc(gaussian.Model(), rolls)
    with pytest.raises(TypeError, match="sbc needs a SequenceVAE, got SequenceDataset"):
        sbc(rolls.test, gaussian.Model())
