"""Predicting labels: against brute force, and that labels are learned where half of them are missing."""

from __future__ import annotations

from functools import partial
from typing import Any

import pyro.poutine as poutine
import pytest
import torch
from torch import Tensor

import pyro_rvae as rv
from pyro_rvae.criticism.particles import draw
from pyro_rvae.data import SequenceDataset, StaticDataset
from pyro_rvae.tasks import LabelPrediction, labels, predict_labels

X, Z, H = 5, 3, 8


def sequences(n: int = 6, **known: Any) -> SequenceDataset:
    lengths = torch.arange(n) % 4 + 1
    return SequenceDataset((torch.rand(int(lengths.sum()), X) < 0.5).double(), lengths, **known)


def model_of(head: Any, **parts: Any) -> rv.Supervised:
    return rv.Supervised(rv.VRNN(X, Z, H), head, hidden=(H,), **parts)


def brute_force(model: rv.Supervised, x: Tensor, draws: int) -> list[Any]:
    """The head's laws of one sequence, each at one draw of the guide."""
    with torch.no_grad():
        paths = (poutine.trace(model.guide).get_trace(x[None]).nodes["z"]["value"] for _ in range(draws))
        return [model.head(path.mean(-2)) for path in paths]


def test_probabilities_are_the_mean_over_draws() -> None:
    model, data = model_of(partial(rv.Categorical, classes=3)), sequences()
    probs = predict_labels(model, data, num_draws=300)
    assert probs.shape == (6, 3) and torch.allclose(probs.sum(-1), torch.ones(6))
    for i in (0, 3):
        laws = brute_force(model, data[i], 200)
        each = torch.cat([law.base_dist.probs[0] for law in laws])
        assert ((probs[i] - each.mean(0)).abs() < 6 * each.std(0) / 10 + 1e-6).all()
        assert each.std(0).max() > 1e-3, "the draws differ"


@pytest.mark.parametrize("classes", [True, False])
def test_given_the_draws_it_is_their_mean(classes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exactly: p(y | z) written out, averaged over the paths that the guide drew, for each sequence's own length."""
    model, data = model_of(partial(rv.Categorical, classes=3) if classes else rv.Normal), sequences()
    paths: dict[int, list[Tensor]] = {i: [] for i in range(6)}

    def noted(model: Any, chunk: Any, *args: Any, **kwargs: Any) -> Any:
        draws = draw(model, chunk, *args, **kwargs)
        for j, number in enumerate(chunk.numbers):
            paths[number] += list(draws.guide.nodes["z"]["value"][:, j, : int(data.lengths[number])])
        return draws

    monkeypatch.setattr(labels, "draw", noted)
    told = predict_labels(model, data, num_draws=7, batch_size=4)
    for i, drawn in paths.items():
        assert len(drawn) == 7
        raw = model.head.net(torch.stack([path.mean(0) for path in drawn]))
        if classes:
            each = raw.exp() / raw.exp().sum(-1, keepdim=True)
            assert isinstance(told, Tensor) and torch.allclose(told[i], each.mean(0), atol=1e-12)
            continue
        assert isinstance(told, LabelPrediction)
        loc, scale = raw[:, 0], torch.log1p(raw[:, 1].exp()) + 1e-4
        variance = (scale**2).mean() + loc.var(correction=0)
        assert torch.allclose(told.mean[i], loc.mean(), atol=1e-12)
        assert torch.allclose(told.scale[i] ** 2, variance, atol=1e-12)


def test_it_depends_on_the_seed_and_the_number_of_draws_alone() -> None:
    model, data = model_of(partial(rv.Categorical, classes=3)), sequences(labels=[0, 1, 2, -1, -1, 0])
    model.train()
    state = torch.get_rng_state()
    probs = predict_labels(model, data, num_draws=7, seed=1)
    assert torch.equal(state, torch.get_rng_state()) and model.training
    bare = SequenceDataset(data.values, data.lengths)
    for other in (bare, SequenceDataset(data.values, data.lengths, labels=[2, 2, 2, 2, 2, 2])):
        assert torch.equal(probs, predict_labels(model, other, num_draws=7, seed=1)), "labels are not read"
    chunked = predict_labels(model, bare, num_draws=7, seed=1, batch_size=2, max_bytes=1)
    assert torch.allclose(probs, chunked, atol=1e-12)
    assert not torch.allclose(probs, predict_labels(model, bare, num_draws=7, seed=2))


def test_several_labels_and_static_data() -> None:
    probs = predict_labels(model_of(rv.Categorical(2, classes=3)), sequences(), num_draws=2)
    assert probs.shape == (6, 2, 3)
    static = rv.Supervised(rv.VAE(X, Z, H), rv.Bernoulli)
    told = predict_labels(static, StaticDataset((torch.rand(4, X) < 0.5).double()), num_draws=5)
    assert isinstance(told, LabelPrediction) and ((told.mean > 0) & (told.mean < 1)).all()


@pytest.mark.parametrize("base", [rv.VRNN, rv.VRAE])
def test_half_of_the_labels_suffice(base: Any) -> None:
    """Label 1: each element is on in 7 frames of 10; label 0: in 3 of 10. Chance is 1/2."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.arange(160) % 2
    p = torch.where(truth == 1, 0.7, 0.3)[:, None, None].expand(160, 8, 4)
    values = torch.bernoulli(p, generator=generator).flatten(0, 1)
    half = torch.where(torch.arange(80) % 4 < 2, truth[:80], -1)
    train = SequenceDataset(values[:640], [8] * 80, labels=half, kind="binary")
    test = SequenceDataset(values[640:], [8] * 80, kind="binary")
    torch.manual_seed(0)
    model = rv.Supervised.for_data(train, base=base, z_dim=2, h_dim=8, hidden=(8,), weight=20.0)
    rv.fit(model, train, epochs=20, batch_size=10, lr=2e-2, progress=False)
    right = predict_labels(model, test, num_draws=10).argmax(-1) == truth[80:]
    assert right.double().mean() > 0.85  # by chance 0.5, with a standard deviation of 0.056


def test_what_is_refused() -> None:
    with pytest.raises(TypeError, match=r"needs a model with a head, rv.Supervised\(base, head\), got VRNN"):
        predict_labels(rv.VRNN(X, Z, H), sequences())  # type: ignore[arg-type]
    model = model_of(rv.Normal)
    with pytest.raises(TypeError, match="predict_labels needs one data set"):
        predict_labels(model, torch.zeros(2, 3, X))
    with pytest.raises(ValueError, match="num_draws must be an integer of at least 1, got 0"):
        predict_labels(model, sequences(), num_draws=0)
