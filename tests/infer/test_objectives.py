"""`measure`: its sums are Pyro's loss (minus the ELBO) over the zoo: masks, gaps, shared latents, both readings."""

from __future__ import annotations

import pyro
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from zoo import MASK, ZOO, B, Case, T

import pyro_rvae as rv
from pyro_rvae.data import Batch
from pyro_rvae.infer import measure


def batch_of(case: Case, ragged: bool) -> Batch:
    mask = None if case.static else MASK if ragged else torch.ones(B, T, dtype=torch.bool)
    return Batch(case.x(), mask, index=torch.arange(B), **case.extra())


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("name", ZOO)
def test_sum_is_the_loss_of_pyro(name: str, ragged: bool) -> None:
    case = ZOO[name]
    model, batch = case.make().eval(), batch_of(case, ragged)
    torch.manual_seed(3)
    expected = Trace_ELBO().loss(model.model, model.guide, *batch, **batch.known)
    torch.manual_seed(3)
    terms = measure(model, batch)
    assert all(term.shape == (B,) and not term.requires_grad for term in terms)
    torch.testing.assert_close(terms.elbo.sum(), torch.tensor(expected), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(terms.elbo, terms.reconstruction + terms.kl)


@pytest.mark.parametrize("name", ["VRNN", "DMM", "VAE", "shared"])
def test_analytic_kl_is_that_of_trace_mean_field(name: str) -> None:
    case = ZOO[name]
    model, batch = case.make().eval(), batch_of(case, True)
    torch.manual_seed(3)
    expected = TraceMeanField_ELBO().loss(model.model, model.guide, *batch, **batch.known)
    torch.manual_seed(3)
    terms = measure(model, batch, analytic=True)
    torch.testing.assert_close(terms.elbo.sum(), torch.tensor(expected), rtol=1e-10, atol=1e-10)
    assert name == "shared" or (terms.kl >= 0).all()


def test_explicit_reading_gives_the_same() -> None:
    case = ZOO["VRNN"]
    model, batch = case.make().eval(), batch_of(case, True)
    with rv.given_noise(0):
        vectorised = measure(model, batch)
    with rv.given_noise(0), rv.explicit():
        explicit = measure(model, batch)
    for a, b in zip(vectorised, explicit, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_particles_are_averaged() -> None:
    model, batch = ZOO["DMM"].make().eval(), batch_of(ZOO["DMM"], True)
    torch.manual_seed(1)
    singles = torch.stack([measure(model, batch).elbo for _ in range(3)])
    torch.manual_seed(1)
    torch.testing.assert_close(measure(model, batch, 3).elbo, singles.mean(0))


def test_leaves_modes_and_store_alone() -> None:
    model, batch = ZOO["VRNN"].make().train(), batch_of(ZOO["VRNN"], False)
    measure(model, batch)
    assert model.training and not dict(pyro.get_param_store().items())


def test_number_of_particles_is_checked() -> None:
    model, batch = ZOO["VRNN"].make(), batch_of(ZOO["VRNN"], False)
    with pytest.raises(ValueError, match="num_particles must be an integer of at least 1, got 0"):
        measure(model, batch, 0)


@pytest.mark.parametrize("name", ["shared", "DMM"])
def test_scales_count(name: str) -> None:
    """What is drawn once a data set counts B/N; handlers around the call act."""
    case = ZOO[name]
    model, batch = case.make().eval(), batch_of(case, True)
    model.num_sequences = 5 * B
    with rv.annealed(0.3):
        torch.manual_seed(3)
        expected = Trace_ELBO().loss(model.model, model.guide, *batch, **batch.known)
        torch.manual_seed(3)
        terms = measure(model, batch)
    torch.testing.assert_close(terms.elbo.sum(), torch.tensor(expected), rtol=1e-10, atol=1e-10)
