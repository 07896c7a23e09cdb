"""Model.for_data: what a model takes from a data set; and the models' constructors."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from pyro.infer import Trace_ELBO
from torch import Tensor, nn
from zoo import B, H, T, X, Z, make_data

import pyro_rvae as rv
from pyro_rvae.data import SequenceDataset

SEQUENTIAL = [rv.VRNN, rv.RVAE, rv.STORN, rv.VRAE, rv.DMM]


def data_set(kind: str, gaps: bool = False) -> SequenceDataset:
    name = {"binary": "binary", "real": "real", "counts": "counts", "categories": "codes"}[kind]
    x = make_data(name, 0, (B, T))
    if gaps:
        x = x.clone()
        x[0, 0, 0] = -1 if kind == "categories" else torch.nan
    classes = {"classes": 4} if kind == "categories" else {}
    return SequenceDataset(x.flatten(0, 1), [T] * B, kind=kind, **classes)


FAMILY = {"binary": rv.Bernoulli, "real": rv.Normal, "counts": rv.Poisson, "categories": rv.Categorical}


@pytest.mark.parametrize("gaps", [False, True], ids=["full", "gaps"])
@pytest.mark.parametrize("kind", FAMILY)
@pytest.mark.parametrize("model", SEQUENTIAL, ids=lambda m: m.__name__)
def test_widths_family_reader_and_bias_come_from_the_data(model: Any, kind: str, gaps: bool) -> None:
    data = data_set(kind, gaps)
    built = model.for_data(data, z_dim=Z, h_dim=H)
    family = built.likelihood.family
    assert type(family) is FAMILY[kind] and family.dim == data.x_dim == built.x_dim
    torch.testing.assert_close(built.likelihood.net[-1].bias, family.bias(data.values))
    assert built.num_sequences == B and built.transform is data.transform
    if kind == "categories":
        assert isinstance(built.reader, rv.CodeReader)
    else:
        assert built.reader.missing is gaps
    batch = data.padded()
    assert Trace_ELBO().loss(built.model, built.guide, *batch, **batch.known) > -1e9


def test_what_is_given_is_not_chosen() -> None:
    data = data_set("binary")
    model = rv.VRNN.for_data(data, likelihood=partial(rv.AutoregressiveBernoulli, hidden=10), z_dim=Z, h_dim=H)
    assert isinstance(model.likelihood.family, rv.AutoregressiveBernoulli)
    torch.testing.assert_close(model.likelihood.net[-1].bias[10:], rv.Bernoulli(X).bias(data.values))
    whole = rv.Conditional(nn.Linear(2 * H, X), rv.Bernoulli(X))
    assert rv.VRNN.for_data(data, likelihood=whole, z_dim=Z, h_dim=H).likelihood is whole


def test_a_likelihood_of_ones_own_is_left_alone() -> None:
    def plain(*inputs: Tensor) -> Any:
        return torch.distributions.Normal(torch.zeros(X), 1.0)

    assert rv.VRNN.for_data(data_set("real"), likelihood=plain, z_dim=Z, h_dim=H).likelihood is plain


def test_the_bias_starts_a_model_at_the_marginals() -> None:
    """Of independent Bernoulli elements nothing but the bias can be learned: the loss starts near their entropy."""
    p = torch.tensor([0.02, 0.1, 0.5, 0.9, 0.98])
    x = torch.bernoulli(p.expand(600, -1))
    data = SequenceDataset(x, [30] * 20, kind="binary")
    loss = rv.Loss(rv.VRNN.for_data(data, z_dim=2, h_dim=4))(*data.padded()).item()
    entropy = -(p * p.log() + (1 - p) * (1 - p).log()).sum().item()
    plain = rv.Loss(rv.VRNN(X, 2, 4))(*data.padded()).item()
    assert loss < entropy + 0.7 and plain > entropy + 1.0


@pytest.mark.parametrize("model", [*SEQUENTIAL, rv.VAE], ids=lambda m: m.__name__)
def test_a_model_shows_its_parts_and_states_its_equation(model: Any) -> None:
    text = repr(model(X, Z, H))
    assert "likelihood" in text and "posterior" in text and "Bernoulli(dim=5" in text
    first = model.__doc__.splitlines()[0]
    assert "x_t ~ p(x_t |" in first or "x ~ p(x |" in first


@pytest.mark.parametrize("model", SEQUENTIAL, ids=lambda m: m.__name__)
def test_a_whole_part_is_taken_as_it_is(model: Any) -> None:
    reader = rv.Reader(X, missing=True)
    built = model(X, Z, H, reader=reader)
    assert built.reader is reader
    if model is not rv.DMM:
        causal = rv.GRU({rv.VRNN: 2 * H, rv.RVAE: Z, rv.STORN: 2 * X + Z, rv.VRAE: 2 * X}[model], H)
        assert model(X, Z, H, recurrence=causal, reader=reader).recurrence is causal


@pytest.mark.parametrize("model", [*SEQUENTIAL, rv.VAE], ids=lambda m: m.__name__)
def test_dropout_makes_two_losses_differ_in_training_only(model: Any) -> None:
    built = model(X, Z, H, dropout=0.5)
    x = make_data("static" if model is rv.VAE else "binary", 0, (B, T))
    losses = []
    for training in (True, True, False, False):
        built.train(training)
        with rv.given_noise(0):
            losses.append(Trace_ELBO().loss(built.model, built.guide, x))
    assert losses[0] != losses[1] and losses[2] == losses[3]
