"""Embeddings: posterior means and draws, against a dense Gaussian, and over the whole zoo."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import zoo
from linear_gaussian import C, LinearGaussian, Q, R
from torch import Tensor

import pyro_rvae as rv
from pyro_rvae.tasks import Embedding, embed

NO_LATENT = [name for name in zoo.ZOO if name.startswith("deterministic")]
UNTOLD = ["path-prior"]  # one site of (z_dim, T)


def dense(x: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Mean ``(T,)`` and covariance ``(T, T)`` of the whole path given x ``(T, 1)``."""
    steps = len(x)
    lower = torch.linalg.inv(torch.eye(steps) - C * torch.diag(torch.ones(steps - 1), -1))
    prior = Q * lower @ lower.T
    gain = prior @ torch.linalg.inv(prior + R * torch.eye(steps))
    return (gain @ x[:, 0]).numpy(), (prior - gain @ prior).numpy()


def data_of(case: zoo.Case) -> Any:
    x, known = case.x(), case.extra()
    codes = not x.is_floating_point()
    kind = {"real": "real", "frame": "real", "counts": "counts"}.get(case.data.split()[0])
    kind = "real" if "unit" in case.data else "categories" if codes else kind
    given = {"kind": kind, "classes": zoo.CLASSES if codes else None, "labels": known.get("labels")}
    if case.static:
        return rv.data.StaticDataset(x, **given)
    controls = known["controls"][zoo.MASK] if "controls" in known else None
    return rv.data.SequenceDataset(x[zoo.MASK], zoo.LENGTHS, controls=controls, **given)


def test_means_and_draws_are_those_of_the_exact_posterior() -> None:
    data = rv.data.SequenceDataset(torch.randn(12, 1), [6, 6])
    model = LinearGaussian()
    means = embed(model, data, by="step", num_particles=2000)
    draws = embed(model, data, by="step", num_draws=2000)
    assert means.names == ("z_0",) and draws.num_draws == 2000
    for n, x in enumerate(data):
        mean, covariance = dense(x)
        assert np.allclose(means.values[n][:, 0], mean, atol=0.03)
        assert draws.values[n].shape == (2000, 6, 1)
        assert np.allclose(draws.values[n][..., 0].mean(0), mean, atol=0.06)
        assert np.allclose(np.cov(draws.values[n][..., 0].T), covariance, atol=0.04)
    first = [embed(model, data, by="step", num_particles=k).values[0][0] for k in (1, 5)]
    assert np.allclose(first[0], first[1]) and np.allclose(first[0], dense(data[0])[0][0]), "its law knows no draw"


def test_one_latent_a_sequence_is_exact() -> None:
    torch.manual_seed(0)
    data = rv.data.SequenceDataset(torch.randn(9, 2), [4, 3, 2], ids=("a", "b", "c"))
    model = rv.VRAE.for_data(data, z_dim=3, h_dim=4)
    batch = data.padded()
    with torch.no_grad():
        wanted = model.encoded(batch.x, batch.mask).mean.numpy()
    found = embed(model, data, num_particles=1)
    assert np.allclose(found.values, wanted) and found.names == ("z_0", "z_1", "z_2") and found.ids == data.ids
    arrays = [x.numpy() for x in data]
    assert np.allclose(embed(model, arrays).values, wanted), "and raw arrays are the same"


@pytest.mark.parametrize("name", [name for name in zoo.ZOO if name not in (*NO_LATENT, *UNTOLD)])
def test_every_model_with_a_latent(name: str) -> None:
    case = zoo.ZOO[name]
    model, data = case.make(), data_of(case)
    state = torch.get_rng_state()
    whole = embed(model, data, num_particles=2)
    assert whole.values.shape == (zoo.B, whole.width) and np.isfinite(whole.values).all()
    assert torch.equal(torch.get_rng_state(), state) and model.training
    parts = embed(model, data, num_particles=2, batch_size=1, max_bytes=1)
    assert np.allclose(whole.values, parts.values), "whatever the batches"
    pooled = [column.endswith("mean") for column in whole.names]
    if case.static or not any(pooled):
        with pytest.raises(ValueError, match="once a sequence, so its steps have no vectors of their own"):
            embed(model, data, by="step")
    else:
        steps = embed(model, data, by="step", num_particles=2)
        assert [len(own) for own in steps.values] == zoo.LENGTHS.tolist()
        assert np.isfinite(np.concatenate(steps.values)).all()


def test_pools() -> None:
    case = zoo.ZOO["DSAE"]
    model, data = case.make(), data_of(case)
    steps = embed(model, data, by="step", site="z").values
    found = embed(model, data, pool="both")
    z = zoo.Z
    assert found.names == tuple(f"v_{i}" for i in range(z)) + tuple(f"z_{i} {w}" for w in ("mean", "last")
                                                                    for i in range(z))
    for n, own in enumerate(steps):
        assert np.allclose(found.values[n, z:], np.concatenate([own.mean(0), own[-1]]))
    for pool, columns in (("mean", slice(z, 2 * z)), ("last", slice(2 * z, None))):
        assert np.allclose(embed(model, data, pool=pool).values[:, z:], found.values[:, columns])
    held = embed(model, data, by="step").values
    assert all(np.allclose(own[:, :z], found.values[n, :z]) for n, own in enumerate(held)), "v is held"


def test_a_slow_clock_is_held() -> None:
    case = zoo.ZOO["slow-clock"]
    model, data = case.make(), data_of(case)
    steps = embed(model, data, by="step", site="y")
    assert [len(own) for own in steps.values] == [6, 3, 5, 1]
    for own in steps.values:  # y has a step for four frames
        assert all(np.allclose(own[i], own[4 * (i // 4)]) for i, _ in enumerate(own))
    alone = embed(model, data, by="step", site="y", batch_size=1).values  # a batch of 3 frames has a clock of 3
    assert all(np.allclose(a, b) for a, b in zip(alone, steps.values, strict=True))
    blocks = [own[::4] for own in steps.values]
    pooled = embed(model, data, site="y").values
    assert np.allclose(pooled, np.stack([own.mean(0) for own in blocks])), "each of its own steps counts once"


def test_regimes_are_probabilities() -> None:
    torch.manual_seed(0)
    model = rv.NeuralHMM(2, modes=3, h_dim=4, likelihood=rv.Normal)
    steps = embed(model, [torch.randn(5, 2), torch.randn(3, 2)], by="step", num_particles=400).values
    assert all(np.allclose(own.sum(-1), 1) and (own >= 0).all() for own in steps)


def test_draws_by_sequence_and_rows() -> None:
    case = zoo.ZOO["VRNN"]
    model, data = case.make(), data_of(case)
    draws = embed(model, data, num_draws=5)
    assert draws.values.shape == (5, zoo.B, zoo.Z)
    more = embed(model, data, num_draws=7, batch_size=3)
    assert np.allclose(more.values[:5], draws.values), "the first draws stay"
    steps = embed(model, data, by="step", num_draws=5)
    assert np.allclose(steps.values[1].mean(1), draws.values[:, 1])
    rows = list(steps.rows())
    assert len(rows) == 5 * data.num_frames and list(rows[0]) == ["sequence", "draw", "step", "z_0", "z_1", "z_2"]
    file = io.StringIO()
    out = csv.DictWriter(file, fieldnames=list(rows[0]))
    out.writerows(rows)
    assert rows[-1]["step"] == 0 and rows[-1]["sequence"] == 3 and rows[-1]["z_2"] == steps.values[3][4, 0, 2]
    assert json.loads(json.dumps(steps.to_dict()))["values"][3][4][0][2] == rows[-1]["z_2"]


def test_a_pair_of_ones_own() -> None:
    encoder = torch.nn.Linear(3, 4)

    def model(x: Tensor | None = None) -> None:
        rows = 5 if x is None else len(x)
        with pyro.plate("batch", rows):
            z = pyro.sample("z", dist.Normal(torch.zeros(rows, 2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z.sum(-1, keepdim=True).expand(rows, 3), 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("batch", len(x)):
            loc, scale = encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))

    data = rv.data.StaticDataset(torch.randn(6, 3), kind="real")
    with torch.no_grad():
        wanted = encoder(data.values)[:, :2].numpy()
    assert np.allclose(embed(rv.Pair(model, guide, static=True), data).values, wanted)


def test_it_prints_as_a_table() -> None:
    wide = Embedding(np.arange(40.0).reshape(2, 20), tuple(f"z_{i}" for i in range(20)), "sequence",
                     np.array([3, 4]), None, 10, None, "VRAE")
    lines = repr(wide).splitlines()
    assert lines[0] == "Embedding of 2 sequences by VRAE: 20 numbers each, means of 10 draws of the guide."
    assert lines[2].split() == ["z_0", "10.000", "10.000", "0.000", "20.000"] and lines[-1] == "  and 8 columns more"
    assert len(wide) == 2 and list(wide.rows())[1]["z_19"] == 39.0
    assert wide.to_dict()["values"][0][3] == 3.0


def test_what_is_refused() -> None:
    vrnn, rnn, path = (zoo.ZOO[name] for name in ("VRNN", "deterministic", "path-prior"))
    data = data_of(vrnn)
    for given, wrong in (({"by": "frame"}, "by must be one of sequence, step, got 'frame'"),
                         ({"pool": "max"}, "pool must be one of mean, last, both, got 'max'"),
                         ({"num_draws": 0}, "num_draws must be an integer of at least 1, got 0"),
                         ({"num_particles": 0}, "num_particles must be"), ({"site": "y"}, r"\(z\), got 'y'")):
        with pytest.raises(ValueError, match=wrong):
            embed(vrnn.make(), data, **given)
    with pytest.raises(ValueError, match="DeterministicRNN draws no continuous latent .* rv.RAE"):
        embed(rnn.make(), data_of(rnn))
    with pytest.raises(ValueError, match=r"events of shape \(3, 6\), which are neither a vector nor \(T, d\)"):
        embed(path.make(), data_of(path))
    with pytest.raises(TypeError, match="embed needs a data set"):
        embed(vrnn.make(), "letters")


def test_json_has_no_nan() -> None:
    found = rv.tasks.Embedding(np.array([[np.nan, 1.0]]), ("a", "b"), "sequence", np.array([3]), None, 1, None, "m")
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["values"] == [[None, 1.0]]
