"""Named constructors: a class with some of its parts chosen."""

from __future__ import annotations

import copy
import pickle
from functools import partial
from pathlib import Path

import pyro.poutine as poutine
import pytest
import torch

import pyro_rvae as rv
from pyro_rvae.models.constructors import constructor

ALL = [getattr(rv.models, name) for name in rv.models.__all__ if isinstance(getattr(rv.models, name), constructor)]


@pytest.mark.parametrize("made", ALL, ids=lambda made: made.__name__)
def test_is_found_by_its_name_and_documented(made: constructor) -> None:
    assert getattr(rv, made.__name__) is made and made.__doc__ and made.func.__name__ in repr(made)
    assert copy.deepcopy(made) is made and pickle.loads(pickle.dumps(made)) is made  # by name


def test_parts_are_chosen_and_may_be_given_again() -> None:
    model = rv.BRAE(5, z_dim=2, h_dim=4)
    assert type(model) is rv.VRAE and isinstance(model.encoder, rv.Bidirectional)
    assert isinstance(rv.BRAE(5, 2, 4, encoder=rv.Backward).encoder, rv.Backward)
    assert isinstance(rv.RAE(5, 2, 4, prior=rv.StandardNormal).prior, rv.StandardNormal)


def test_is_built_for_data() -> None:
    data = rv.data.SequenceDataset(torch.randn(20, 3), [8, 12])
    model = rv.RAE.for_data(data, z_dim=2, h_dim=4, likelihood=partial(rv.Normal, scale=1.0))
    assert model.num_sequences == 2 and isinstance(model.likelihood.family, rv.Normal)
    assert model.likelihood.family.num_params == 3  # a fixed scale: mean squared error


def test_mean_squared_error_is_a_normal_of_fixed_scale() -> None:
    """The cost of a recurrent autoencoder is half the squared error and a constant."""
    model = rv.RAE(3, 2, 4, likelihood=partial(rv.Normal, scale=1.0))
    x = torch.randn(2, 5, 3)
    with rv.given_noise(0):
        cost = rv.infer.measure(model, rv.data.Batch(x, None))
    trace = poutine.trace(poutine.replay(model.model, poutine.trace(model.guide).get_trace(x))).get_trace(x)
    loc = trace.nodes["x"]["fn"].mean
    constant = 15 * 0.5 * torch.log(torch.tensor(2 * torch.pi))
    expected = torch.stack([0.5 * (x[i] - loc[i]).square().sum() + constant for i in range(2)])
    assert torch.allclose(cost.elbo, expected) and not cost.kl.any()


def test_is_saved_and_loaded_as_its_class(tmp_path: Path) -> None:
    model = rv.RAE(5, 2, 4)
    rv.save_pretrained(model, tmp_path / "rae")
    again = rv.from_pretrained(tmp_path / "rae")
    assert type(again) is rv.VRAE and isinstance(again.prior, rv.Weightless)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_a_point_guide_draws_one_value_whatever_the_seed() -> None:
    model, x = rv.StepRAE(5, 2, 4), torch.ones(2, 6, 5)
    a, b = (rv.infer.measure(model, rv.data.Batch(x, None)).elbo for _ in range(2))
    assert torch.equal(a, b)
