from __future__ import annotations

import json
import re
import warnings

import numpy as np
import pyro.poutine as poutine
import pytest
import torch
from scipy import stats
from zoo import ZOO

import pyro_rvae as rv
from pyro_rvae.criticism import evaluate, good_k, loo, pareto_k, psis
from pyro_rvae.criticism._arviz import _arviz


def normals(*shape, seed=0):
    return np.random.Generator(np.random.Philox(seed)).standard_normal(shape)


def pareto(k, *shape):
    """Log-weights whose law is exactly a Pareto law of shape k."""
    uniform = np.random.Generator(np.random.Philox(1)).random(shape)
    return -k * np.log(uniform)


# ---------------------------------------------------------------------------------------- Pareto's k
@pytest.mark.parametrize("k", [0.2, 0.5, 0.9, 1.5])
def test_it_is_the_shape_that_the_weights_have(k):
    found = pareto_k(pareto(k, 40, 5000))
    tail = 212
    assert found.mean() == pytest.approx((tail * k + 5) / (tail + 10), abs=0.05)  # the fit's prior: 10 weights of 1/2
    assert found.std() < 0.2


def test_it_agrees_with_maximum_likelihood():
    log_weights = 1.5 * normals(3, 10000)
    tail = 300
    for weights, k in zip(np.sort(np.exp(log_weights), -1), pareto_k(log_weights), strict=True):
        shape, *_ = stats.genpareto.fit(weights[-tail:] - weights[-tail - 1], floc=0)
        assert k == pytest.approx((tail * shape + 5) / (tail + 10), abs=0.02)


def test_both_lines_of_arviz_give_these_numbers():
    # left to themselves 0.x rounds the length of the tail up and 1.x down: K = 101, 500 and 1234 would differ
    found = [pareto_k(2 * normals(2, k, seed=k) - 1000) for k in (30, 101, 225, 500, 1234)]
    assert np.concatenate(found) == pytest.approx(NUMBERS, abs=1e-8)
    assert psis(2 * normals(2, 101, seed=101) - 1000).log_evidence == pytest.approx(EVIDENCE, abs=1e-8)


NUMBERS = [0.4248811898446, 0.5899820823862, 0.7761060459892, 1.3114926883487, 0.5705948030796, 0.9541349383032,
           0.5699779820819, 0.9093408987814, 0.9079123785171, 0.7381686305950]
EVIDENCE = [-998.5778675145193, -998.5298973453436]


def test_scale_order_and_type_do_not_matter():
    log_weights = normals(2, 500)
    found = pareto_k(log_weights)
    assert pareto_k(log_weights[:, ::-1] + 7) == pytest.approx(found, abs=1e-9)
    assert pareto_k(torch.from_numpy(log_weights)) == pytest.approx(found)
    kept = log_weights.copy()
    psis(log_weights)
    assert np.array_equal(kept, log_weights)


def test_equal_weights_are_those_of_the_posterior():
    rounding = 1e-13 * normals(2, 100)
    assert (pareto_k(np.zeros((2, 100)) - 300 + rounding) == -np.inf).all()
    assert (pareto_k(np.full((1, 5), -3.0)) == -np.inf).all()  # no fit is needed
    single = (1234.5 + 1e-5 * normals(1, 100)).astype(np.float32)
    assert pareto_k(single) == -np.inf
    smoothed = psis(np.full((1, 100), -3.0))
    assert smoothed.log_evidence == pytest.approx(-3) and np.allclose(smoothed.log_weights, -3)


def test_where_there_is_no_tail_to_fit():
    assert np.isnan(pareto_k(normals(1, 29))).all() and np.isfinite(pareto_k(normals(1, 30))).all()
    assert np.isnan(pareto_k(np.round(normals(1, 500)))).all()  # few values: ties
    assert np.isnan(pareto_k(np.full((1, 50), -np.inf))).all()
    few = np.full((1, 100), -np.inf)
    few[0, :3] = 0.0, 1.0, 2.0
    assert pareto_k(few) == np.inf and pareto_k(3000 * normals(1, 100)) == np.inf
    for log_weights in (few, normals(1, 20)):
        assert np.array_equal(psis(log_weights).log_weights, log_weights)  # left as they are


def test_weights_without_any_particle_in_the_body():
    log_weights = normals(1, 200)
    log_weights[0, np.argsort(log_weights[0])[:120]] = -np.inf
    assert np.isfinite(pareto_k(log_weights)).all()
    assert np.isneginf(psis(log_weights).log_weights).sum() == 120


def test_smoothed_weights_estimate_the_evidence_better():
    sigma, k = 2.0, 300  # log-normal weights of mean 1
    found = psis(sigma * normals(2000, k) - sigma**2 / 2)
    raw, smooth = np.exp(found.raw_log_evidence), np.exp(found.log_evidence)
    assert ((smooth - 1) ** 2).mean() < 0.7 * ((raw - 1) ** 2).mean()
    assert raw.mean() == pytest.approx(1, abs=0.1)
    assert np.array_equal(np.argsort(found.log_weights[0]), np.argsort(normals(2000, k)[0]))  # order is kept
    assert (found.log_weights.max(-1) <= (sigma * normals(2000, k) - sigma**2 / 2).max(-1) + 1e-9).all()


def test_thresholds_and_the_table():
    assert good_k(100) == pytest.approx(0.5) and good_k(10**6) == 0.7 and good_k(1) == -np.inf
    found = psis(np.concatenate([pareto(k, 1, 2000) for k in (0.1, 0.85, 3.0)]))
    figures = found.to_dict()
    assert json.loads(json.dumps(figures)) == figures
    assert [figures[f"pareto_k_{how}"] for how in ("good", "bad", "very_bad", "unknown")] == [1, 1, 1, 0]
    assert "k up to 0.70 (good)" in repr(found) and "k above 1 (very bad)" in repr(found) and "IWAE-2000" in repr(found)
    tied = psis(np.concatenate([pareto(0.1, 1, 2000), np.round(normals(1, 2000))]))
    assert re.search(r"no tail to fit +1", repr(tied))


@pytest.mark.parametrize("particles", [1, 7, 12, 29])
def test_few_particles_say_only_that_k_cannot_be_known(particles, gaussian):
    found = psis(normals(1, particles))
    assert np.isnan(found.pareto_k).all() and "good_k" not in found.to_dict()
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["pareto_k_unknown"] == 1
    each = "1 particle" if particles == 1 else f"{particles} particles"
    head = f"1 sequence, {each} each: Pareto's k can't be known from {each}, a tail to fit needs at least 30"
    assert repr(found).splitlines()[0] == head and "(good)" not in repr(found)
    assert "(good)" in repr(psis(normals(1, 30)))
    left = repr(loo(gaussian.Model(spread=1.2), gaussian.data, num_particles=particles))
    assert f"Pareto's k can't be known from {each}" in left and "more particles, or" not in left


def test_items_are_called_items():
    data = rv.data.StaticDataset(torch.rand(6, 3))
    found = loo(rv.VAE.for_data(data, z_dim=1, h_dim=3), data, num_particles=40)
    assert "VAE: 6 items, each left out in turn" in repr(found) and "SE over items" in repr(found)
    assert found.unit == "item" and found.num_particles == 40 and "6 items, 40 particles" in repr(found.smoothed)
    one = loo(rv.VAE.for_data(data, z_dim=1, h_dim=3), data.subset([0]), num_particles=40)
    assert "VAE: 1 item, each" in repr(one)


def test_evaluations_weights_tell_how_wrong_the_guide_is(gaussian):
    exact, near, far = (
        pareto_k(evaluate(gaussian.Model(spread=spread), gaussian.data, num_particles=500).log_weights)
        for spread in (1.0, 1.1, 0.5)
    )
    assert (exact == -np.inf).all()
    assert (near < 0.5).all() and far.max() > 0.7  # a narrow guide: weights with a heavy tail


@pytest.mark.parametrize(
    "weights, error, message",
    [
        (np.zeros(5), ValueError, r"log_weights must be \(N, K\).*got shape \(5,\); of one sequence pass"),
        (np.zeros((0, 5)), ValueError, r"got shape \(0, 5\)"),
        (np.array([[0.0, np.nan]]), ValueError, "got nan for sequence 0, particle 1"),
        (np.array([[0.0], [np.inf]]), ValueError, "got inf for sequence 1, particle 0"),
        ("weights", TypeError, "array of numbers .* got str"),
    ],
)
def test_what_are_no_weights(weights, error, message):
    with pytest.raises(error, match=message):
        pareto_k(weights)


# ---------------------------------------------------------------------------------------- leave one out
def test_it_is_the_evidence(gaussian):
    exact = loo(gaussian.Model(), gaussian.data, num_particles=3)
    assert exact.pointwise == pytest.approx(gaussian.evidence.numpy(), abs=1e-8)
    assert exact.se == pytest.approx(5**0.5 * gaussian.evidence.numpy().std())
    found = loo(gaussian.Model(spread=1.2, offset=0.1), gaussian.data, num_particles=2000)
    assert found.elpd_loo == pytest.approx(gaussian.evidence.sum().item(), abs=4 * found.mcse)
    assert found.mcse < 0.2
    again = loo(evaluate(gaussian.Model(spread=1.2, offset=0.1), gaussian.data, num_particles=2000))
    assert np.array_equal(again.pointwise, found.pointwise)


def test_its_error_is_that_of_other_seeds(gaussian):
    model = gaussian.Model(spread=1.2)
    found = [loo(model, gaussian.data, num_particles=300, seed=seed) for seed in range(12)]
    spread = np.std([f.elpd_loo for f in found], ddof=1)
    assert 0.5 < spread / np.mean([f.mcse for f in found]) < 1.7


def test_arviz_takes_it_and_ranks_models(gaussian):
    x = poutine.trace(gaussian.Model().model).get_trace(size=(30, 6)).nodes["x"]["value"]
    data = rv.data.SequenceDataset(x.flatten(0, 1), [6] * 30)

    class Worse(gaussian.Model):
        def likelihood(self, z):
            return super().likelihood(0.3 * z)

    arviz, _ = _arviz()
    found = {name: loo(model, data, num_particles=400).to_arviz()
             for name, model in {"worse": Worse(spread=1.4), "true": gaussian.Model(spread=1.1)}.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of ArviZ with a newer pandas
        ranking = arviz.compare(found)
    assert list(ranking.index) == ["true", "worse"] and ranking["elpd_diff"].abs().max() > 5
    one = found["true"]
    assert one["n_data_points"] == 30 and len(one["pareto_k"]) == 30 and not one["warning"]
    assert "400" in str(one) and "30" in str(one)


def test_arviz_draws_its_k(gaussian):
    import matplotlib

    matplotlib.use("Agg")
    arviz, _ = _arviz()
    for spread in (0.6, 1.0):  # 1.0 is exact: every k is minus infinity
        found = loo(gaussian.Model(spread=spread), gaussian.data, num_particles=200)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of ArviZ with a newer matplotlib
            assert arviz.plot_khat(found.to_arviz()) is not None


def test_what_it_prints(gaussian):
    found = loo(gaussian.Model(spread=0.4), gaussian.data, num_particles=300)
    assert "elpd_loo (300 particles)" in repr(found) and "Pareto's k is above 0.60" in repr(found)
    assert json.loads(json.dumps(found.to_dict()))["elpd_loo_300"] == found.elpd_loo


def test_it_says_what_is_given_where_something_is_shared():
    case = ZOO["shared"]
    data = rv.data.SequenceDataset.from_sequences(list(case.x()))
    found = loo(case.make(), data, num_particles=40)
    assert found.shared and "given what is shared" in repr(found)
    weights = evaluate(case.make(), data, num_particles=40).log_weights
    assert np.array_equal(found.pointwise, psis(weights).log_evidence)


def test_refusals(gaussian):
    found = evaluate(gaussian.Model(), gaussian.data, num_particles=2)
    with pytest.raises(ValueError, match="loo of an Evaluation needs no data"):
        loo(found, gaussian.data)
    point = rv.VRAE(1, 2, 4, posterior=rv.Delta, likelihood=rv.Normal)
    with pytest.raises(ValueError, match=r"guide with a density; that of VRAE draws a point"):
        loo(point, gaussian.data, num_particles=2)
    with pytest.raises(TypeError, match="evaluate needs one data set"):
        loo(gaussian.Model(), None)
    with pytest.raises(ValueError, match="num_particles must be an integer of at least 1, got 0"):
        loo(gaussian.Model(), gaussian.data, num_particles=0)
