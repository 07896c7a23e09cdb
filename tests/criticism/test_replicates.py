"""Draws in the shape of a data set: of their shape, in raw units, from the right law, and independent of chunks."""

from __future__ import annotations

from functools import partial

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import zoo

import pyro_rvae as rv
from pyro_rvae.criticism import free_running, from_prefix, one_step, reconstructed
from pyro_rvae.criticism.replicates import observed_sequences

MODELS = [rv.VRNN, rv.DMM, rv.VRAE, rv.RVAE, rv.STORN]
half = partial(from_prefix, prefix=0.5)
DRAWS = {"free_running": free_running, "reconstructed": reconstructed, "one_step": one_step, "from_prefix": half}
Q, R, C = 0.5, 0.3, 0.9  # of the linear-Gaussian model of conftest


@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize("Model", MODELS)
def test_replicates_have_the_datas_shape_and_are_reproducible(Model, name, rolls):
    model, draw = Model.for_data(rolls.train, z_dim=2, h_dim=6, dropout=0.3), DRAWS[name]
    state = torch.random.get_rng_state()
    first, second = (draw(model, rolls.test, 3, seed=1) for _ in range(2))
    assert first.values.shape == (3, rolls.test.num_frames, 4) and set(np.unique(first.values)) <= {0.0, 1.0}
    assert [len(s) for s in first.sequences(1)] == rolls.test.lengths.tolist()
    assert np.array_equal(first.values, second.values)
    assert not np.array_equal(first.values, draw(model, rolls.test, 3, seed=2).values)
    assert not np.array_equal(first.values[0], first.values[1])
    assert torch.equal(state, torch.random.get_rng_state()) and model.training
    assert len(pyro.get_param_store()) == 0
    assert first.drawn_by == name and name in repr(first)


SHOWN = ["VRNN", "DMM", "SRNN", "DSAE", "ZForcing", "ARAE", "VariationalAttention", "HRAE-2-3", "MusicVAE", "KVAE-gaps",
         "KVAE-smoother", "RVAE-noncausal", "DMM-combiner-both", "gaps-codes", "gaps-full", "poisson", "RAE",
         "HRAE-point", "shared", "bayesian", "chain-prior", "conditional-HRAE", "supervised-VRNN", "two-loops",
         "vamp-VRAE", "RVAE-dense", "DMM-process", "deterministic-context", "slow-clock", "nade-previous"]


def ragged(case):
    """The zoo's data as a data set of ragged sequences, with what the model is told."""
    lengths, x, extra = zoo.LENGTHS.tolist(), case.x(), case.extra()
    given = {name: value for name, value in extra.items() if name == "labels"}
    if "controls" in extra:
        given["controls"] = [c[:n] for c, n in zip(extra["controls"], lengths, strict=True)]
    kind = {"codes": "categories", "counts": "counts"}.get(case.data.split()[0])
    given |= {"kind": kind} if kind else {}
    given |= {"classes": zoo.CLASSES} if kind == "categories" else {}
    return rv.data.SequenceDataset.from_sequences([s[:n] for s, n in zip(x, lengths, strict=True)], **given)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", SHOWN)
def test_every_model_forecasts_and_continues(name):
    case = zoo.ZOO[name]
    model, data = case.make(), ragged(case)
    rows = np.concatenate(observed_sequences(data))
    for draw in (reconstructed, one_step):
        made = draw(model, data, 2)
        assert made.values.shape == (2, *rows.shape) and not np.isnan(made.values).any()
    continued = from_prefix(model, data, 2, prefix=2)
    assert continued.prefix.tolist() == [2, 2, 2, 1]
    past = np.concatenate([np.arange(n) < p for n, p in zip(continued.lengths, continued.prefix, strict=True)])
    assert np.array_equal(continued.values[0][past], rows[past], equal_nan=rows.dtype.kind == "f")
    assert not np.isnan(continued.values[:, ~past]).any()


def covariance(frames):
    """Of x in the linear-Gaussian model."""
    lower = np.linalg.inv(np.eye(frames) - C * np.eye(frames, k=-1))
    return Q * lower @ lower.T + R * np.eye(frames)


def dense_forecast(x, past, size):
    """Mean and covariance of frames ``past`` to ``size``, given those before."""
    k = covariance(size)
    gain = k[past:, :past] @ np.linalg.inv(k[:past, :past])
    return gain @ x[:past], k[past:, past:] - gain @ k[:past, past:]


def kalman_forecast(x):
    """Mean and variance of each frame given those before, by the filter's recursion."""
    mean, variance, found = 0.0, 0.0, []
    for value in x:
        mean, variance = C * mean, C * C * variance + Q
        found.append((mean, variance + R))
        gain = variance / (variance + R)
        mean, variance = mean + gain * (value - mean), (1 - gain) * variance
    return np.array(found).T


def test_one_step_is_the_kalman_predictive_under_an_exact_guide(gaussian):
    """Which reads the whole sequence: were it not cut at t, the forecasts would be far too good."""
    num = 4000
    made = one_step(gaussian.Model(), gaussian.data, num, seed=1)
    found = [kalman_forecast(x[:, 0].numpy()) for x in gaussian.data]
    mean, variance = np.concatenate(found, 1)
    for i, x in enumerate(gaussian.data):  # the recursion is the dense Gaussian's
        assert np.allclose(found[i][0][-1], dense_forecast(x[:, 0].numpy(), len(x) - 1, len(x))[0])
    draws = made.values[..., 0]
    assert (np.abs(draws.mean(0) - mean) < 4.5 * np.sqrt(variance / num)).all()
    assert (np.abs(draws.var(0) / variance - 1) < 4.5 * np.sqrt(2 / num)).all()
    assert np.abs(np.corrcoef(draws.T) - np.eye(len(mean))).max() < 4.5 / np.sqrt(num)  # frames are independent
    close = reconstructed(gaussian.Model(), gaussian.data, num).values[..., 0]  # it has seen x_t
    seen = np.concatenate([x[:, 0].numpy() for x in gaussian.data])
    assert np.abs(close.mean(0) - seen).mean() < 0.6 * np.abs(mean - seen).mean()


def test_gaps_of_the_past_are_handed_on():
    class Copy(rv.SequenceVAE):
        """x_t ~ N(x_{t-1} + 1, tiny), where a gap reads as 0."""

        def generative(self, steps):
            for t in steps:
                seen = t.prev("x", torch.zeros(1))
                t.sample("x", lambda x: dist.Normal(x + 1.0, 1e-6).to_event(1), seen)

        def inference(self, steps, x):
            pass

    data = rv.data.SequenceDataset(torch.tensor([[5.0], [torch.nan], [7.0], [8.0]]), [4])
    assert np.allclose(one_step(Copy(), data, 2).values[0, :, 0], [1, 6, 1, 8], atol=1e-4)
    assert np.allclose(from_prefix(Copy(), data, 2, prefix=2).values[0, :, 0], [5, np.nan, 1, 2], atol=1e-4,
                       equal_nan=True)


def test_from_prefix_is_the_joint_kalman_forecast(gaussian):
    num = 4000
    made = from_prefix(gaussian.Model(), gaussian.data, num, prefix=3, seed=2)
    assert made.prefix.tolist() == [3, 2, 3, 1, 3] and "the first 1 to 3 frames observed" in repr(made)
    for i, x in enumerate(gaussian.data):
        draws = made.values[:, int(gaussian.data.starts[i]) :][:, : len(x), 0]
        assert (draws[:, :3] == x[:3, 0].numpy()).all()
        if len(x) > 3:
            mean, spread = dense_forecast(x[:, 0].numpy(), 3, len(x))
            assert (np.abs(draws[:, 3:].mean(0) - mean) < 4.5 * np.sqrt(spread.diagonal() / num)).all()
            error = np.sqrt((np.outer(spread.diagonal(), spread.diagonal()) + spread**2) / num)
            assert (np.abs(np.cov(draws[:, 3:].T) - spread) < 4.5 * error).all()


def test_one_step_of_a_vrnn_is_the_loop_written_by_hand():
    """Guide on x_{<t}, then one step of prior and likelihood: in plain torch, from the parts."""
    torch.manual_seed(0)
    model = zoo.ZOO["normal"].make()
    x = torch.randn(2, 3, model.x_dim)
    data = rv.data.SequenceDataset(x.flatten(0, 1), [3, 3])
    num = 6000
    made = one_step(model, data, num, seed=3).values.reshape(num, 2, 3, model.x_dim)
    with torch.no_grad():
        state, z, before = None, model.z0.expand(num, 2, -1), model.x0.expand(num, 2, -1)
        for t in range(3):
            u = torch.cat([model.phi_x(before), model.phi_z(z)], -1)
            h, state = model.recurrence.step(u, state)
            law = model.likelihood(h, model.phi_z(model.prior(h).sample()))
            mean, variance = law.mean.mean(0), law.variance.mean(0) + law.mean.var(0)
            drawn = torch.as_tensor(made[:, :, t])
            assert ((drawn.mean(0) - mean).abs() < 6.5 * (variance / num).sqrt()).all()  # both are draws
            assert ((drawn.var(0) / variance).log().abs() < 0.12).all()
            before = x[:, t].expand(num, 2, -1)
            z = model.posterior(h, model.phi_x(before)).sample()


def test_one_step_of_an_hmm_is_the_forward_algorithm():
    """Discrete latents, drawn from their exact posterior given the past."""
    model = zoo.awake(rv.NeuralHMM(2, 3, 4))
    x, num = (torch.rand(5, 2) < 0.5).double(), 4000
    made = one_step(model, rv.data.SequenceDataset(x, [5]), num).values
    with torch.no_grad():
        regimes = torch.eye(3)
        emission, move, belief = model.likelihood(regimes).mean, model.prior(regimes).mean, model.prior(model.s0).mean
        for t, frame in enumerate(x):
            expected = (belief @ emission).numpy()
            error = np.sqrt(expected * (1 - expected) / num)
            assert (np.abs(made[:, t].mean(0) - expected) < 4.5 * error).all(), t
            seen = belief * (emission**frame * (1 - emission) ** (1 - frame)).prod(-1)
            belief = seen / seen.sum() @ move


def test_a_switching_model_is_continued():
    model, data = rv.SwitchingLDS(2, 2, 4, modes=3), rv.data.SequenceDataset(torch.zeros(7, 2), [5, 2], kind="binary")
    for draw in DRAWS.values():
        assert set(np.unique(draw(model, data, 3).values)) <= {0.0, 1.0}


def test_a_users_own_pair_forecasts():
    """A plain Pyro model with one site a step, and its exact guide of the past."""

    def model(x, mask):
        z = torch.zeros(len(x))
        with pyro.plate("sequences", len(x)):
            for t in pyro.markov(range(x.shape[1])):
                z = pyro.sample(f"z_{t}", dist.Normal(C * z, Q**0.5).mask(mask[:, t]))
                pyro.sample(f"x_{t}", dist.Normal(z[..., None], R**0.5).to_event(1).mask(mask[:, t]), obs=x[:, t])

    def guide(x, mask):
        """Draws z_1 .. z_T backwards from the filter's moments."""
        moments, mean, variance = [], torch.zeros(len(x)), torch.zeros(len(x))
        for t in range(x.shape[1]):
            mean, variance = C * mean, C * C * variance + Q
            gain = torch.where(mask[:, t], variance / (variance + R), 0.0)
            mean, variance = mean + gain * (x[:, t, 0] - mean), (1 - gain) * variance
            moments.append((mean, variance))
        z = mean
        with pyro.plate("sequences", len(x)):
            for t in reversed(range(x.shape[1])):
                mean, variance = moments[t]
                if t < x.shape[1] - 1:
                    gain = torch.where(mask[:, t + 1], C * variance / (C * C * variance + Q), 0.0)
                    mean, variance = mean + gain * (z - C * mean), variance - gain * C * variance
                z = pyro.sample(f"z_{t}", dist.Normal(mean, variance.sqrt()).mask(mask[:, t]))

    data, num = rv.data.SequenceDataset(torch.randn(7, 1), [4, 3]), 3000
    draws = one_step(rv.criticism.Pair(model, guide), data, num).values[..., 0]
    mean, variance = np.concatenate([kalman_forecast(x[:, 0].numpy()) for x in data], 1)
    assert (np.abs(draws.mean(0) - mean) < 4.5 * np.sqrt(variance / num)).all()
    assert (np.abs(draws.var(0) / variance - 1) < 4.5 * np.sqrt(2 / num)).all()


def test_once_a_sequence_latents_see_the_prefix_alone():
    class Level(rv.SequenceVAE):
        """v ~ N(0, 1); x_t ~ N(v, tiny); q(v | x) = N(mean of x, tiny)."""

        def __init__(self):
            super().__init__()
            self.x_dim = 1

        def generative(self, steps):
            v = pyro.sample("v", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            for t in steps:
                t.sample("x", lambda v: dist.Normal(v, 1e-6).to_event(1), t.hold(v))

        def inference(self, steps, x):
            pyro.sample("v", dist.Normal(x.mean(-2), 1e-6).to_event(1))

    data = rv.data.SequenceDataset(torch.tensor([[2.0], [4.0], [9.0], [1.0], [3.0]]), [3, 2])
    made = one_step(Level(), data, 500).values[..., 0]
    assert np.allclose(made[:, [1, 2, 4]], [2, 3, 1], atol=1e-4)
    assert np.abs(made[:, [0, 3]].mean()) < 0.15 and made[:, 0].std() == pytest.approx(1, abs=0.15)
    assert np.allclose(from_prefix(Level(), data, 5, prefix=2).values[..., 0], [2, 4, 3, 1, 3], atol=1e-4)


def test_a_slow_latent_whose_block_has_begun_is_that_of_the_guide():
    class Blocks(rv.SequenceVAE):
        """z2_j ~ N(0, 1) every two frames; x_t ~ N(z2, tiny); the guide reads the first frame of a block."""

        def generative(self, steps):
            slow = steps.every(min(2, steps.length))
            for t in slow:
                t.sample("z2", lambda: dist.Normal(torch.zeros(1), 1.0).to_event(1))
            for t in steps:
                t.sample("x", lambda z: dist.Normal(z, 1e-6).to_event(1), t.at(slow.path("z2")))

        def inference(self, steps, x):
            for t in steps.every(min(2, steps.length)):
                t.sample("z2", lambda x: dist.Normal(x, 1e-6).to_event(1), t.at(x))

    data = rv.data.SequenceDataset(torch.tensor([[2.0], [3.0], [4.0], [5.0], [6.0], [7.0], [8.0]]), [5, 2])
    made = one_step(Blocks(), data, 300).values[..., 0]
    assert np.allclose(made[:, [1, 3, 6]], [2, 4, 7], atol=1e-4)
    new = made[:, [0, 2, 4, 5]]  # a block begins
    assert np.abs(new.mean(0)).max() < 0.3 and np.abs(new.std(0) - 1).max() < 0.25
    behind = from_prefix(Blocks(), data, 300, prefix=3).values[..., 0]
    assert np.allclose(behind[:, 3], 4, atol=1e-4) and np.abs(behind[:, 4].mean()) < 0.3


@pytest.mark.parametrize("rows", ["first", "last"])
def test_what_is_shared_comes_from_its_posterior(rows):
    """In the first frame, which the model makes alone, and after a past, with the draw of that past."""
    case = zoo.ZOO["shared"]
    model, data = case.make(), ragged(case)
    ends = np.cumsum(data.lengths.numpy())
    which = ends - data.lengths.numpy() if rows == "first" else ends[:3] - 1  # the last sequence is one frame
    draws = [one_step, free_running] if rows == "first" else [one_step, free_running, half]
    spread = []
    for loc in (-4.0, 4.0):  # of the scale's posterior, a narrow one
        with torch.no_grad():
            for name in model.shared_posterior.loc:
                model.shared_posterior.loc[name].fill_(loc)
                model.shared_posterior.raw[name].fill_(-20.0)
        spread.append([draw(model, data, 40).values.std(0)[which].mean() for draw in draws])
    assert (np.array(spread[1]) > 20 * np.array(spread[0])).all()


def test_reconstructed_is_teacher_forced_and_free_running_is_not():
    class Copy(rv.SequenceVAE):
        """x_t ~ N(x_{t-1}, tiny): a copy of the frame before."""

        def generative(self, steps):
            for t in steps:
                t.sample("z", lambda: dist.Normal(torch.zeros(1), 1.0).to_event(1))
                t.sample("x", lambda x: dist.Normal(x, 1e-6).to_event(1), t.prev("x", torch.zeros(1)))

        def inference(self, steps, x):
            for t in steps:
                t.sample("z", lambda x: dist.Normal(x, 1.0).to_event(1), t.at(x))

    data = rv.data.SequenceDataset(torch.arange(1.0, 9.0).unsqueeze(-1), [5, 3])
    for draw in (reconstructed, one_step):
        assert np.allclose(draw(Copy(), data, 2).values[0, :, 0], [0, 1, 2, 3, 4, 0, 6, 7], atol=1e-4)
    assert np.allclose(free_running(Copy(), data, 2).values, 0, atol=1e-4)
    assert np.allclose(from_prefix(Copy(), data, 2, prefix=0.5).values[1, :, 0], [1, 2, 2, 2, 2, 6, 6, 6], atol=1e-4)


def test_controls_of_the_future_are_read():
    class Follow(rv.SequenceVAE):
        """x_t = c_t."""

        def __init__(self):
            super().__init__()
            self.context = rv.Context(control_dim=1)

        def generative(self, steps):
            for t in steps:
                t.sample("x", lambda c: dist.Normal(c, 1e-6).to_event(1), *map(t.at, steps.context))

        def inference(self, steps, x):
            pass

    controls = torch.randn(7, 1)
    data = rv.data.SequenceDataset(torch.zeros(7, 1), [4, 3], controls=controls)
    assert np.allclose(one_step(Follow(), data, 1).values[0], controls, atol=1e-4)
    behind = [1, 2, 3, 5, 6]
    assert np.allclose(from_prefix(Follow(), data, 1, prefix=1).values[0][behind], controls[behind], atol=1e-4)


@pytest.mark.parametrize("draw", [one_step, half])
def test_chunks_hold_every_draw_once(draw, gaussian):
    """With room for one particle of one sequence, the draws are others, and of the same law."""
    data = gaussian.data.subset([2, 1, 3])
    whole = draw(gaussian.Model(), data, 400).values
    pieces = draw(gaussian.Model(), data, 25, max_bytes=1, batch_size=2).values
    assert pieces.shape == (25, 8, 1) and np.isfinite(pieces).all()
    assert np.abs(whole.mean(0) - pieces.mean(0)).max() < 5 * 1.3 / 25**0.5


def test_draws_are_in_raw_units():
    raw = rv.data.SequenceDataset(1000 + 50 * torch.randn(40, 1), [20, 20])
    data = rv.data.Splits(raw, raw, raw).standardize().test
    model = rv.VRNN.for_data(data, z_dim=1, h_dim=4)
    for draw in DRAWS.values():
        assert draw(model, data, 20).values.mean() == pytest.approx(1000, abs=30)
    assert np.allclose(from_prefix(model, data, 1, prefix=4).values[0, :4], raw.values[:4])


@pytest.mark.parametrize(("prefix", "given"), [(0.29, [29, 1]), (0.5, [50, 1]), (0.999, [99, 2]), (7, [7, 3]),
                                               (np.int64(1), [1, 1]), (np.float64(0.01), [1, 1])])
def test_how_many_frames_are_given(prefix, given, gaussian):
    data = rv.data.SequenceDataset(torch.zeros(103, 1), [100, 3])
    assert from_prefix(gaussian.Model(), data, 1, prefix=prefix).prefix.tolist() == given


def test_behind_the_prefix(gaussian):
    made = from_prefix(gaussian.Model(), gaussian.data, 2, prefix=2)
    behind = made.behind_prefix()
    assert behind.lengths.tolist() == [5, 3, 5] and behind.prefix is None
    expected = np.concatenate([s[2:] for s in made.sequences(1)])
    assert np.array_equal(behind.values[1], expected)
    assert free_running(gaussian.Model(), gaussian.data, 1).behind_prefix().values.shape == (1, 22, 1)


def test_static_models():
    data = rv.data.StaticDataset((torch.rand(9, 5) < 0.4).double())
    model = rv.VAE.for_data(data, z_dim=2, h_dim=8)
    for draw in (free_running, reconstructed):
        assert draw(model, data, 4, batch_size=4).values.shape == (4, 9, 5)
    for draw, name in ((one_step, "one_step"), (half, "from_prefix")):
        with pytest.raises(ValueError, match=f"{name}: VAE is static, its items have no time"):
            draw(model, data, 4)


@pytest.mark.parametrize("prefix", [0, -1, True, 1.0, 0.0, -0.5, 1.5, float("nan"), "half", None])
def test_a_prefix_that_can_be_no_prefix(prefix, rolls):
    with pytest.raises(ValueError, match="prefix must be an integer of at least 1 .* or a float between 0 and 1"):
        from_prefix(rv.VRNN.for_data(rolls.train, z_dim=2, h_dim=6), rolls.test, 2, prefix=prefix)


@pytest.mark.parametrize("prefix", [8, 100, np.int64(9)])
def test_a_prefix_that_leaves_nothing(prefix, rolls):
    with pytest.raises(ValueError, match="leaves no frame to draw, the longest sequence has 8"):
        from_prefix(rv.VRNN.for_data(rolls.train, z_dim=2, h_dim=6), rolls.test, 2, prefix=prefix)


def test_refusals(rolls):
    model = rv.VRNN.for_data(rolls.train, z_dim=2, h_dim=6)
    for name, draw in DRAWS.items():
        with pytest.raises(ValueError, match="num must be an integer of at least 1, got 0"):
            draw(model, rolls.test, 0)
        with pytest.raises(ValueError, match="batch_size must be an integer of at least 1"):
            draw(model, rolls.test, 1, batch_size=0)
        with pytest.raises(TypeError, match=f"{name} needs one data set"):
            draw(model, rolls, 2)
    with rv.explicit():
        for draw in (free_running, one_step, half):
            with pytest.raises(RuntimeError, match="need the model's site 'x'"):
                draw(model, rolls.test, 1)
    case = zoo.ZOO["path-prior"]
    with pytest.raises(ValueError, match="site 'z' of the guide has an event of 2 dims and isn't sampled in a loop"):
        from_prefix(case.make(), ragged(case), 2, prefix=2)


def test_one_of_each_is_said_in_the_singular():
    made = rv.criticism.Replicates(np.zeros((1, 1, 2)), np.array([1]), "from_prefix", np.array([1]))
    assert repr(made) == "Replicates(1 data set of 1 sequence, 1 frame, drawn by from_prefix, the first frame observed)"
    many = rv.criticism.Replicates(np.zeros((2, 5, 2)), np.array([2, 3]), "from_prefix", np.array([1, 2]))
    assert repr(many).endswith("2 sequences, 5 frames, drawn by from_prefix, the first 1 to 2 frames observed)")
