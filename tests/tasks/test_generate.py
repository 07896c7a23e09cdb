"""Free running and reconstruction."""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.poutine as poutine
import pytest
import torch
from zoo import ZOO

import pyro_rvae as rv
from pyro_rvae.tasks import generate, reconstruct

MODELS = [rv.DMM, rv.VRNN, rv.RVAE, rv.STORN, rv.VRAE]


@pytest.mark.parametrize("cls", MODELS)
def test_a_function_of_the_seed(cls: Any) -> None:
    model = cls(5, 2, 6)
    state = torch.get_rng_state()
    x = generate(model, 3, 4, seed=1)
    assert torch.equal(state, torch.get_rng_state())
    assert x.shape == (3, 4, 5)
    assert set(x.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(x, generate(model, 3, 4, seed=1))
    assert not torch.equal(x, generate(model, 3, 4, seed=2))
    assert not torch.equal(generate(model, 3, 4), generate(model, 3, 4)), "without a seed torch's state moves on"


def test_it_leaves_no_trace() -> None:
    model = rv.DMM(5, 2, 6, dropout=0.5)
    model.encoder.eval()
    x = generate(model, 3, 4, seed=1)
    assert not x.requires_grad
    assert model.training and model.likelihood.training and not model.encoder.training
    assert not list(pyro.get_param_store().keys())


def test_batches_are_joined() -> None:
    model = rv.VRNN(5, 2, 6)
    assert generate(model, 5, 3, seed=0, batch_size=2).shape == (5, 3, 5)


def test_static() -> None:
    model = rv.VAE(6, 2, 4)
    assert generate(model, 3, seed=0).shape == (3, 6)
    with pytest.raises(ValueError, match="VAE is static, its items have no length"):
        generate(model, 3, 4)


def test_marginals_are_the_models() -> None:
    """With one constant likelihood, the share of ones is its probability."""
    model = rv.RVAE(4, 2, 4)
    with torch.no_grad():
        for parameter in model.likelihood.parameters():
            parameter.zero_()
        odds = torch.tensor([-2.0, -1.0, 0.0, 1.0])
        model.likelihood.set_bias(odds)
    share = generate(model, 500, 10, seed=0).mean((0, 1))
    assert torch.allclose(share, odds.sigmoid(), atol=0.03)


class Known(rv.SequenceVAE):
    """z_t ~ N(label, 0.01);  x_t ~ N(z_t + control_t, 0.01)."""

    def __init__(self) -> None:
        super().__init__()
        self.x_dim, self.unused = 1, torch.nn.Parameter(torch.zeros(()))
        self.near = torch.nn.Module()

    @staticmethod
    def law(*inputs: Any) -> Any:
        return pyro.distributions.Normal(sum(inputs), 0.01).to_event(1)

    def generative(self, steps: Any) -> None:
        for t in steps:
            z = t.sample("z", self.law, t.hold(steps.labels.unsqueeze(-1)))
            t.sample("x", self.law, z, t.at(steps.controls))

    def inference(self, steps: Any, x: Any) -> None:
        for t in steps:
            t.sample("z", self.law, t.at(x))


def test_controls_and_labels_reach_their_rows() -> None:
    controls, labels = torch.arange(12.0).view(3, 4, 1), torch.tensor([100.0, 200.0, 300.0])
    x = generate(Known(), 3, 4, seed=0, controls=controls, labels=labels, batch_size=2)
    assert torch.allclose(x, controls + labels[:, None, None], atol=0.1)


def test_units_are_undone() -> None:
    data = rv.data.SequenceDataset(50 + 3 * torch.randn(60, 2), [20, 20, 20])
    data = data.transformed(rv.data.Affine.standardize(data.values))
    model = rv.RVAE.for_data(data, z_dim=2, h_dim=4)
    x = generate(model, 50, 10, seed=0)
    assert torch.allclose(x.mean((0, 1)), torch.full((2,), 50.0), atol=3.0)
    batch = data.padded()
    again = reconstruct(model, *batch, seed=0)
    assert again.shape == batch.x.shape
    assert torch.allclose(again.mean((0, 1)), torch.full((2,), 50.0), atol=5.0)


@pytest.mark.parametrize("cls", [*MODELS, rv.VAE])
def test_reconstruct(cls: Any) -> None:
    model = cls(5, 2, 6)
    x = (torch.rand(3, 5) < 0.5).double() if model.static else (torch.rand(3, 4, 5) < 0.5).double()
    mask = None if model.static else torch.tensor([[True] * 4, [True] * 2 + [False] * 2, [True] * 3 + [False]])
    again = reconstruct(model, x, mask, seed=0)
    assert again.shape == x.shape
    assert torch.equal(again, reconstruct(model, x, mask, seed=0))


@pytest.mark.parametrize(("arguments", "what"), [
    ((0, 4), "num must be an integer of at least 1, got 0"), ((2, 0), "length must be"), ((2, None), "length must be"),
    ((2.5, 4), "num must be"), ((True, 4), "num must be"),
])
def test_sizes(arguments: Any, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        generate(rv.VRNN(5, 2, 6), *arguments)


def test_known_inputs_of_another_size() -> None:
    with pytest.raises(ValueError, match="labels must have one row for each of 3 sequences, got 2"):
        generate(Known(), 3, 4, controls=torch.zeros(3, 4, 1), labels=torch.zeros(2))


def test_what_is_drawn_once_a_data_set_comes_from_its_posterior() -> None:
    """x_t ~ N(., s^2) with s ~ Gamma(2, 2) a priori; the posterior is set to a narrow one near 50."""
    model = ZOO["shared"].make()
    with torch.no_grad():
        model.shared_posterior.loc["s"].fill_(math.log(50.0))
        model.shared_posterior.raw["s"].fill_(-8.0)
    assert 30 < rv.generate(model, 20, 6, seed=0).std() < 70
    data = rv.data.SequenceDataset(torch.randn(12, 5), [6, 6])
    assert 30 < rv.criticism.free_running(model, data, num=5).values.std() < 70
    with torch.random.fork_rng():
        torch.manual_seed(0)
        assert poutine.trace(model.model).get_trace(size=(20, 6)).nodes["x"]["value"].std() < 15  # the prior's
