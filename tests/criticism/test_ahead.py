"""The future of sequences: beyond the end of the data, with controls that are known there."""

from __future__ import annotations

import numpy as np
import pyro.distributions as dist
import pytest
import torch
import zoo

import pyro_rvae as rv
from pyro_rvae.criticism.ahead import Plan, ahead, check_forecaster

Q, R, C = 0.5, 0.3, 0.9  # of the linear-Gaussian model of conftest


def dense_forecast(x, size):
    """Mean and covariance of the frames behind x, up to ``size``: a joint Gaussian, conditioned."""
    past, lower = len(x), np.linalg.inv(np.eye(size) - C * np.eye(size, k=-1))
    k = Q * lower @ lower.T + R * np.eye(size)
    gain = k[past:, :past] @ np.linalg.inv(k[:past, :past])
    return gain @ x, k[past:, past:] - gain @ k[:past, past:]


def zoo_data(case):
    """The zoo's data as a data set."""
    extra = {name: list(v) if name == "controls" else v for name, v in case.extra().items()}
    kind = {"codes": {"kind": "categories", "classes": zoo.CLASSES}}.get(case.data.split()[0], {})
    return rv.data.SequenceDataset.from_sequences(list(case.x()), **extra, **kind)


def futures(model, data, horizon, num=2, **given):
    """``(num, N, horizon, x_dim)`` behind the end of each sequence."""
    lengths = data.lengths.numpy()
    draws = np.full((num, len(data), horizon, data.x_dim), np.nan)

    def keep(rows, part, x):
        draws[part.start : part.stop, rows] = x

    ahead(model, data, Plan(np.arange(len(data)), lengths, lengths + horizon), num, keep, **given)
    return draws


def test_horizons_beyond_the_data_are_the_kalman_forecast(gaussian):
    num, horizon = 4000, 9  # longer than any sequence
    draws = futures(gaussian.Model(), gaussian.data, horizon, num, seed=1)[..., 0]
    assert horizon > int(gaussian.data.lengths.max())
    for n, x in enumerate(gaussian.data):
        mean, spread = dense_forecast(x[:, 0].numpy(), len(x) + horizon)
        assert (np.abs(draws[:, n].mean(0) - mean) < 4.5 * np.sqrt(spread.diagonal() / num)).all()
        error = np.sqrt((np.outer(spread.diagonal(), spread.diagonal()) + spread**2) / num)
        assert (np.abs(np.cov(draws[:, n].T) - spread) < 4.5 * error).all()


def test_a_temperature_is_of_the_future_alone(gaussian):
    """The filter is as it is; the frames are drawn with half the scale, at every step."""
    num = 4000
    draws = futures(gaussian.Model(), gaussian.data, 1, num, seed=1, temperature={"z": 0.5, "x": 0.5})[:, :, 0, 0]
    for n, x in enumerate(gaussian.data):
        mean, spread = dense_forecast(x[:, 0].numpy(), len(x) + 1)
        variance = (spread[0, 0] - Q - R) + 0.25 * (Q + R)  # C^2 Var(z_n | x) is the filter's
        assert np.abs(draws[:, n].mean() - mean[0]) < 4.5 * np.sqrt(variance / num)
        assert np.abs(draws[:, n].var() / variance - 1) < 4.5 * np.sqrt(2 / num)


class Told(rv.SequenceVAE):
    """x_t ~ N(control_t, tiny)."""

    def generative(self, steps):
        for t in steps:
            t.sample("x", lambda u: dist.Normal(u, 1e-6).to_event(1), t.at(steps.controls))

    def inference(self, steps, x):
        pass


def test_controls_behind_the_end_reach_their_frames():
    inputs = [torch.arange(3.0).view(3, 1), torch.arange(10.0, 15.0).view(5, 1)]
    data = rv.data.SequenceDataset.from_sequences([torch.zeros(3, 1), torch.zeros(5, 1)], controls=inputs)
    future = torch.tensor([[[100.0], [101.0]], [[200.0], [201.0]]])
    assert np.allclose(futures(Told(), data, 2, controls=future)[0, ..., 0], [[100, 101], [200, 201]], atol=1e-4)
    found = {}
    plan = Plan(np.array([0, 0, 1]), np.array([0, 2, 2]), np.array([2, 5, 6]))
    ahead(Told(), data, plan, 1, lambda rows, _, x: found.update(zip(rows, x[0, ..., 0], strict=True)), controls=future)
    expected = {0: [0, 1], 1: [2, 100, 101], 2: [12, 13, 14, 200]}
    for row, values in expected.items():
        assert np.allclose(found[row][: len(values)], values, atol=1e-4)
    with pytest.raises(ValueError, match="they end 1 frames before the last one to draw"):
        futures(Told(), data, 3, controls=future)
    with pytest.raises(ValueError, match=r"controls must be \(N, horizon, control_dim\) = \(2, ..., 1\)"):
        futures(Told(), data, 2, controls=future[..., 0])
    bare = rv.data.SequenceDataset(torch.zeros(3, 1), [3])
    with pytest.raises(ValueError, match="no controls of the past"):
        futures(Told(), bare, 2, controls=torch.zeros(1, 2, 1))


def test_sequences_of_other_sizes_are_padded():
    """A decoder that looks both ways must not see what lies behind a sequence's own size."""
    seen = []

    class Watched(Told):
        def generative(self, steps):
            seen.append(steps.mask.sum(-1).tolist())
            super().generative(steps)

    inputs = [torch.zeros(9, 1)] * 3
    data = rv.data.SequenceDataset.from_sequences([torch.zeros(9, 1)] * 3, controls=inputs)
    ahead(Watched(), data, Plan(np.arange(3), np.array([2, 2, 2]), np.array([8, 5, 3])), 1, lambda *_: None)
    assert seen[-1] == [3, 5, 8]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", ["HRAE-2-3", "conditional-HRAE", "VRAE", "deterministic", "supervised-VRNN", "shared",
                                  "RVAE-noncausal", "gaps-codes", "KVAE-gaps", "MusicVAE"])
def test_every_model_draws_a_future(name):
    case = zoo.ZOO[name]
    data = zoo_data(case)
    data.labels = None if name == "supervised-VRNN" else data.labels  # which count as unknown
    controls = torch.zeros(len(data), 7, 2) if data.control_dim else None
    draws = futures(case.make(), data, 7, controls=controls, max_bytes=1)
    assert not np.isnan(draws).any() and not np.array_equal(draws[0], draws[1])


def test_what_is_refused(rolls):
    with pytest.raises(ValueError, match="static, its items have no time"):
        check_forecaster(rv.VAE(4), rv.data.StaticDataset(torch.ones(3, 4)), "forecast")
    model = rv.VRNN.for_data(rolls.train, z_dim=2, h_dim=4)
    with pytest.raises(ValueError, match="num must be an integer of at least 1, got 0"):
        check_forecaster(model, rolls.train, "forecast", num=0)
    twice = Plan(np.array([0, 0]), np.array([1, 1]), np.array([2, 3]))
    with pytest.raises(ValueError, match="begin after frame 1 of one sequence"):
        ahead(model, rolls.train, twice, 1, lambda *_: None)
