"""check_model passes every model of the zoo, and names the law that a bad one breaks."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn
from zoo import MASK, ZOO, B, H, T, X, Z

import pyro_rvae as rv
from pyro_rvae.distributions import conditional
from pyro_rvae.testing import check_model

GOOD = [name for name in ZOO if name != "path-prior"]


@pytest.mark.parametrize("name", GOOD)
def test_every_model_of_the_zoo_passes(name: str) -> None:
    case = ZOO[name]
    check_model(case.make(), case.x(), None if case.static else MASK, **case.extra())


@pytest.mark.parametrize("name", ["VRNN", "DMM", "RVAE", "STORN", "VRAE", "VAE", "categorical"])
def test_it_passes_in_float32_and_with_dropout(name: str) -> None:
    case = ZOO[name]
    torch.set_default_dtype(torch.float32)
    x = case.x()
    model = case.make().float()
    check_model(model, x.float() if x.is_floating_point() else x)
    check_model(rv.VRNN(X, Z, H, dropout=0.5), torch.zeros(2, 3, X))


def test_it_leaves_no_trace() -> None:
    model, x = rv.DMM(X, Z, H, dropout=0.5, skip_edges=True), torch.zeros(B, T, X)
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    check_model(model, x)
    assert torch.equal(torch.get_rng_state(), state) and not len(pyro.get_param_store())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters()) and model.training
    assert any(m.p == 0.5 for m in model.modules() if isinstance(m, nn.Dropout))


class Discrete(rv.RVAE):
    """z_t ~ Bernoulli(0.5), a guide that can't be reparametrised: densities at equal values are compared."""

    def __init__(self) -> None:
        super().__init__(X, Z, H, prior=lambda: dist.Bernoulli(0.5 * torch.ones(Z)).to_event(1), posterior=rv.Bernoulli)


def test_a_discrete_latent_passes() -> None:
    check_model(Discrete(), torch.zeros(B, T, X), MASK)


# ------------------------------------------------------------------------------------------------------ bad models
class Carries(rv.STORN):
    """Carries a Python variable over the loop."""

    def generative(self, steps: rv.Steps) -> None:
        memory: Any = 0.0
        for t in steps:
            z = t.sample("z", self.prior)
            memory = 0.5 * memory + z
            t.sample("x", self.likelihood, t.carry("h", self.recurrence, t.prev("x", self.x0), memory))


class Forgets(rv.RVAE):
    """A guide without z."""

    def inference(self, steps: rv.Steps, x: Tensor) -> None:
        """Nothing."""


class Misspells(rv.RVAE):
    def inference(self, steps: rv.Steps, x: Tensor) -> None:
        g = self.encoder(x, steps.mask)
        for t in steps:
            t.sample("Z", self.posterior, t.at(g))


class Wide(rv.RVAE):
    """A guide of another width."""

    def __init__(self) -> None:
        super().__init__(X, Z, H)
        self.posterior = conditional(rv.Normal, self.encoder.out_dim, Z + 1)


class Unmasked(rv.DMM):
    """An encoder that isn't told the mask."""

    def inference(self, steps: rv.Steps, x: Tensor) -> None:
        g = self.encoder(x)
        for t in steps:
            t.sample("z", self.posterior, t.prev("z", self.q0), t.at(g))


class Unused(rv.RVAE):
    def __init__(self) -> None:
        super().__init__(X, Z, H)
        self.spare = nn.Linear(2, 2)


class Narrow(rv.RVAE):
    """Its likelihood is narrower than what it says of x."""

    def __init__(self) -> None:
        super().__init__(X, Z, H)
        self.likelihood = conditional(rv.Bernoulli, H, 1)


class NeedsData(rv.RVAE):
    """Reads x itself: nothing is there to read when it generates."""

    def generative(self, steps: rv.Steps) -> None:
        x = steps.data["x"]
        for t in steps:
            z = t.sample("z", self.prior)
            t.sample("x", self.likelihood, t.carry("h", self.recurrence, z + 0.0 * t.at(x)[..., :1]))


class Disagrees(rv.LSTM):
    """Its step isn't what its forward folds."""

    def step(self, u: Tensor, state: Any = None) -> Any:
        y, state = super().step(u, state)
        return 1.1 * y, state


class Detached(rv.VRNN):
    def generative(self, steps: rv.Steps) -> None:
        for t in steps:
            h = t.carry("h", self.recurrence, t.prev("x", self.x0, self.phi_x), t.prev("z", self.z0, self.phi_z))
            z = t.sample("z", self.prior, h.detach())
            t.sample("x", self.likelihood, h.detach(), self.phi_z(z))

    def inference(self, steps: rv.Steps, x: Tensor) -> None:
        for t in steps:
            t.sample("z", self.posterior, t.hold(torch.zeros(H)), t.at(x, self.phi_x))


@pytest.mark.parametrize(("build", "message"), [
    (lambda: Carries(X, Z, H), "law 'model and guide run'.*Python variable that the loop carries"),
    (lambda: Forgets(X, Z, H), r"law 'same latents': the model draws \['z'\], the guide \[\].*forgets"),
    (lambda: Misspells(X, Z, H), r"law 'same latents'.*\['z'\], the guide \['Z'\].*spells"),
    (Wide, "law 'same latents'.*two different widths"),
    (lambda: Unmasked(X, Z, H), "law 'padding never matters'.*sequence 1 .*differs by.*ignores the mask"),
    (Unused, "law 'every parameter gets a gradient': spare.weight gets none.*never used"),
    (lambda: Detached(X, Z, H), "law 'every parameter gets a gradient': .* gets none.*detached"),
    (lambda: rv.STORN(X, Z, H, recurrence=Disagrees), "law 'forms agree'.*differs by.*forward isn't the fold"),
    (lambda: NeedsData(X, Z, H), "law 'the model generates': model.size=.4, 6.. raised KeyError.*needs x"),
])
def test_a_bad_model_is_named(build: Any, message: str) -> None:
    torch.manual_seed(0)
    x = (torch.rand(B, T, X) < 0.5).double()
    with pytest.raises(ValueError, match=message):
        check_model(build(), x)


def test_a_loop_carried_variable_is_seen_with_one_sequence() -> None:
    """There its shapes happen to fit, and only the numbers tell."""
    with pytest.raises(ValueError, match="law 'forms agree': on the batch, log p.*differs by"):
        check_model(Carries(X, Z, H), torch.zeros(1, T, X))


def test_a_likelihood_of_another_width_is_named() -> None:
    with pytest.raises(ValueError, match="check_model, law"):
        check_model(Narrow(), torch.zeros(B, T, X))


def test_a_path_that_no_mask_covers_is_named() -> None:
    with pytest.raises(ValueError, match="law 'padding never matters'.*path drawn once a sequence"):
        check_model(ZOO["path-prior"].make(), ZOO["path-prior"].x())


def test_data_that_a_model_refuses_are_named() -> None:
    with pytest.raises(ValueError, match="law 'model and guide run'.*built for frames of x_dim=5"):
        check_model(rv.VRNN(X, Z, H), torch.zeros(B, T, X + 1))
