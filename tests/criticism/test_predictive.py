from __future__ import annotations

import json

import numpy as np
import pyro
import pytest
import torch

import pyro_rvae as rv
from pyro_rvae.criticism import free_running, one_step, predictive_check, statistics

MODELS = [rv.VRNN, rv.DMM, rv.VRAE, rv.RVAE, rv.STORN]


@pytest.mark.parametrize("draw", [free_running, one_step])
@pytest.mark.parametrize("Model", MODELS)
def test_replicates_have_the_datas_shape_and_are_reproducible(Model, draw, rolls):
    model = Model.for_data(rolls.train, z_dim=2, h_dim=6, dropout=0.3)
    state = torch.random.get_rng_state()
    first, second = (draw(model, rolls.test, 3, seed=1) for _ in range(2))
    assert first.values.shape == (3, rolls.test.num_frames, 4) and set(np.unique(first.values)) <= {0.0, 1.0}
    assert [len(s) for s in first.sequences(1)] == rolls.test.lengths.tolist()
    assert np.array_equal(first.values, second.values)
    assert not np.array_equal(first.values, draw(model, rolls.test, 3, seed=2).values)
    assert not np.array_equal(first.values[0], first.values[1])
    assert torch.equal(state, torch.random.get_rng_state()) and model.training
    assert len(pyro.get_param_store()) == 0
    assert first.drawn_by == draw.__name__ and draw.__name__ in repr(first)


def test_one_step_is_teacher_forced_and_free_running_is_not():
    class Copy(rv.SequenceVAE):
        """x_t ~ N(x_{t-1}, tiny): a copy of the frame before."""

        def generative(self, steps):
            for t in steps:
                t.sample("z", lambda: pyro.distributions.Normal(torch.zeros(1), 1.0).to_event(1))
                t.sample(
                    "x", lambda x: pyro.distributions.Normal(x, 1e-6).to_event(1), t.prev("x", torch.zeros(1))
                )

        def inference(self, steps, x):
            for t in steps:
                t.sample("z", lambda x: pyro.distributions.Normal(x, 1.0).to_event(1), t.at(x))

    data = rv.data.SequenceDataset(torch.arange(1.0, 9.0).unsqueeze(-1), [5, 3])
    forced = one_step(Copy(), data, 2).values[0, :, 0]
    assert np.allclose(forced, [0, 1, 2, 3, 4, 0, 6, 7], atol=1e-4)
    assert np.allclose(free_running(Copy(), data, 2).values, 0, atol=1e-4)


def test_draws_are_in_raw_units():
    raw = rv.data.SequenceDataset(1000 + 50 * torch.randn(400, 1), [200, 200])
    data = rv.data.Splits(raw, raw, raw).standardize()
    model = rv.VRNN.for_data(data.train, z_dim=1, h_dim=4)
    check = predictive_check(model, data.test, num=20)
    assert check.observed["average mean"] == pytest.approx([s.mean().item() for s in raw])
    assert check.replicated["average mean"].mean() == pytest.approx(1000, abs=30)
    assert set(check.scalars) == {"average mean", "average scale", "average autocorrelation"}


def test_static_models():
    data = rv.data.StaticDataset((torch.rand(9, 5) < 0.4).double())
    model = rv.VAE.for_data(data, z_dim=2, h_dim=8)
    for draw in (free_running, one_step):
        assert draw(model, data, 4, batch_size=4).values.shape == (4, 9, 5)


def test_a_model_without_memory_is_caught_on_music():
    """Independent Bernoulli with the right marginals, against rolls whose notes are held."""
    rng = np.random.default_rng(0)
    played = np.repeat(rng.random((60, 88)) < 0.05, 4, axis=0)
    data = rv.data.SequenceDataset(played, [120, 120])
    model = rv.RVAE.for_data(data, z_dim=2, h_dim=4)
    with torch.no_grad():
        model.likelihood.net[-1].weight.zero_()
    check = predictive_check(model, data, num=40)
    assert check.p_value("held notes")[0] == 0.0
    assert 0.02 < check.p_value("notes per frame")[0] < 0.98
    assert "held notes" in repr(check) and "0.00 +- " in repr(check)
    assert "40 free-running replicates" in repr(check)
    assert json.loads(json.dumps(check.to_dict()))["held notes"]["p_value"] == 0.0


def test_data_from_the_model_itself_pass_at_the_nominal_rate(gaussian):
    model, p_values = gaussian.Model(), []
    shape = rv.data.SequenceDataset(torch.zeros(40, 1), [25, 15])
    drawn = free_running(model, shape, 60, seed=9)
    for r in range(60):
        data = rv.data.SequenceDataset(drawn.values[r], drawn.lengths)
        check = predictive_check(model, data, {"s": statistics.average_autocorrelation}, num=30, seed=r)
        p_values.append(check.p_value("s")[0])
    ordered = np.sort(p_values)
    assert np.abs(ordered - (np.arange(60) + 0.5) / 60).max() < 0.21  # Kolmogorov's bound at 1%, n = 60


def test_missing_elements_are_missing_in_the_replicates():
    values = torch.randn(20, 2)
    values[3:8, 1] = torch.nan
    data = rv.data.SequenceDataset(values, [12, 8])
    model = rv.VRNN.for_data(data, z_dim=1, h_dim=4)
    seen = []
    check = predictive_check(model, data, {"gaps": lambda x: seen.append(np.isnan(x).sum()) or 0.0}, num=2)
    assert seen == [5, 0] * 3
    assert np.isnan(check.replicates.values).sum() == 10


def test_p_value_counts_ties_by_half(rolls):
    model = rv.VRNN.for_data(rolls.train, z_dim=2, h_dim=6)
    p, error = predictive_check(model, rolls.test, {"one": lambda x: 1.0}, num=8).p_value("one")
    assert p == 0.5 and error == pytest.approx((0.25 / 10) ** 0.5)


def test_refusals(rolls):
    model = rv.VRNN.for_data(rolls.train, z_dim=2, h_dim=6)
    with pytest.raises(ValueError, match="num must be an integer of at least 1, got 0"):
        free_running(model, rolls.test, 0)
    with pytest.raises(TypeError, match="one_step needs one data set"):
        one_step(model, rolls, 2)
    with pytest.raises(ValueError, match="'bad' returned NaN for sequence 0"):
        predictive_check(model, rolls.test, {"bad": lambda x: np.nan}, num=2)
    with pytest.raises(
        ValueError, match=r"'ragged' must return one shape .* \(5, 4\) and \(3, 4\) \(sequence 1\)"
    ):
        predictive_check(model, rolls.test, {"ragged": lambda x: x}, num=2)
    with pytest.raises(ValueError, match="at least one statistic"):
        predictive_check(model, rolls.test, {}, num=2)
    with pytest.raises(ValueError, match="a p-value needs a statistic of one number"):
        predictive_check(model, rolls.test, {"mean": statistics.mean}, num=2).p_value("mean")
    with rv.explicit(), pytest.raises(RuntimeError, match="need the model's site 'x'"):
        free_running(model, rolls.test, 1)
