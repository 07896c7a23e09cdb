"""What a reviewer found: each once a silent wrong result, or a message that didn't help."""

from __future__ import annotations

import inspect
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from torch import Tensor, nn

import pyro_rvae as rv

X = torch.bernoulli(torch.full((3, 5, 4), 0.4, dtype=torch.float64))


class Tripled(rv.Normal):
    """A family that changes its law and keeps the inherited draw."""

    def forward(self, params: Tensor) -> Any:
        loc, scale = self.split(params)
        return dist.Normal(3 * loc, scale).to_event(1)


class Fixed(rv.Conditional):
    """A conditional that changes its law and keeps the inherited parameters."""

    def forward(self, *inputs: Tensor) -> Any:
        return dist.Normal(5.0 + inputs[0][..., :2], 1.0).to_event(1)


@pytest.mark.parametrize("posterior", [Tripled, Fixed(nn.Linear(16, 4), rv.Normal(2))], ids=["family", "conditional"])
def test_an_overridden_law_is_the_law_that_is_drawn_from(posterior: Any) -> None:
    model = rv.VRNN(4, 2, 8, posterior=posterior)
    losses = []
    for context in (rv.explicit, lambda: rv.trusted(missing=False)):
        with context(), rv.given_noise(0):
            losses.append(Trace_ELBO().loss(model.model, model.guide, X))
    assert losses[0] == pytest.approx(losses[1], abs=1e-10)


def test_a_store_that_was_loaded_is_not_silently_overwritten() -> None:
    model = rv.VRNN(4, 2, 8)
    SVI(model.model, model.guide, pyro.optim.Adam({"lr": 1e-2}), Trace_ELBO()).step(X)
    name = next(iter(pyro.get_param_store().keys()))
    other = rv.VRNN(4, 2, 8)
    SVI(other.model, other.guide, pyro.optim.Adam({"lr": 1e-2}), Trace_ELBO()).step(X)
    taken = next(key for key in pyro.get_param_store() if key.split("$$$")[0] not in name)
    state = pyro.get_param_store().get_state()
    number = int(taken.split("#")[1].split("$$$")[0]) + 1  # the next instance's name, as a loaded store may hold it
    state["params"][f"VRNN#{number}$$$x0"] = torch.ones(4)
    state["constraints"][f"VRNN#{number}$$$x0"] = dist.constraints.real
    pyro.get_param_store().set_state(state)
    fresh = rv.VRNN(4, 2, 8)
    with pytest.raises(RuntimeError, match=r"did not put there.*loaded from a file.*save_pretrained"):
        SVI(fresh.model, fresh.guide, pyro.optim.Adam({"lr": 1e-2}), Trace_ELBO()).step(X)


class Lambdas(rv.VRNN):
    """The VRNN's guide with maps written in the loop."""

    def inference(self, steps: rv.Steps, x: Tensor) -> None:
        for t in steps:
            h = t.carry("h", self.recurrence, t.prev("x", self.x0, lambda v: self.phi_x(v)),
                        t.prev("z", self.z0, lambda v: self.phi_z(v)))
            t.sample("z", self.posterior, h, t.at(x, lambda v: self.phi_x(v)))


def test_maps_written_in_the_loop_are_evaluated_once() -> None:
    model, calls = Lambdas(4, 2, 8), []
    model.phi_x.register_forward_hook(lambda *_: calls.append(1))
    with rv.given_noise(0):
        loss = Trace_ELBO().loss(model.model, model.guide, X)
    assert len(calls) <= 10, "phi_x must not run once a step on the whole sequence"
    plain = rv.VRNN(4, 2, 8)
    plain.load_state_dict(model.state_dict())
    with rv.given_noise(0):
        assert loss == pytest.approx(Trace_ELBO().loss(plain.model, plain.guide, X), abs=1e-12)


def test_for_data_takes_a_model_that_chooses_its_own_likelihood() -> None:
    class Own(rv.RVAE):
        def __init__(self, x_dim: int, z_dim: int = 2) -> None:
            super().__init__(x_dim, z_dim, 4)

    data = rv.data.SequenceDataset(X.flatten(0, 1), [5, 5, 5])
    model = Own.for_data(data, z_dim=3)
    last = [m for m in model.likelihood.net.modules() if isinstance(m, nn.Linear)][-1]
    torch.testing.assert_close(last.bias, rv.Bernoulli(4).bias(data.values).to(last.bias))
    assert model.num_sequences == 3


def test_for_data_passes_parts_through_keywords() -> None:
    class Own(rv.RVAE):
        def __init__(self, x_dim: int, *, mine: int = 1, **parts: Any) -> None:
            super().__init__(x_dim, 2, 4, **parts)

    data = rv.data.SequenceDataset(torch.randn(15, 4), [5, 5, 5])
    assert isinstance(Own.for_data(data).likelihood.family, rv.Normal)


def test_signature_is_that_of_init() -> None:
    assert list(inspect.signature(rv.VRNN).parameters)[:3] == ["x_dim", "z_dim", "h_dim"]


def test_a_family_without_inputs_is_a_learned_prior() -> None:
    model = rv.RVAE(4, 2, 8, prior=rv.Normal)
    Trace_ELBO().loss_and_grads(model.model, model.guide, X)
    assert model.prior.raw.grad is not None and model.prior.raw.grad.abs().sum() > 0


class NeedsState(nn.Module):
    def __init__(self, in_dim: int, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, h: Tensor) -> Any:
        return dist.Normal(h[..., : self.dim], 1.0).to_event(1)


def test_a_prior_that_needs_a_state_is_refused_where_there_is_none() -> None:
    model = rv.RVAE(4, 2, 8, prior=NeedsState)
    with pytest.raises(TypeError, match="site 'z': this model gives the part no inputs, and NeedsState"):
        model.model(size=(2, 3))


@pytest.mark.parametrize(("value", "match"), [
    (torch.zeros(2, 3, 2), r"given\(z=...\) must be a tensor \(B, T0, d\) with B = 3 and T0 from 1 to 7, got \(2"),
    (torch.zeros(3, 8, 2), r"T0 from 1 to 7, got \(3, 8, 2\)"),
    ([[0.0]], "got list"),
])
def test_given_is_checked(value: Any, match: str) -> None:
    model = rv.DMM(4, 2, 8)
    with rv.given(z=value), pytest.raises(ValueError, match=match):
        model.model(X, size=(3, 7))


def test_controls_are_checked() -> None:
    model = rv.VRNN(4, 2, 8)
    with pytest.raises(ValueError, match=r"controls must be \(B, T, control_dim\), got \(3, 5\)"):
        model.model(X, controls=torch.zeros(3, 5))
    controls = torch.zeros(3, 5, 1)
    controls[1, 2] = torch.nan
    with pytest.raises(ValueError, match=r"controls must be finite, got nan at \(1, 2, 0\)"):
        model.model(X, controls=controls)


def test_double_data_for_a_single_precision_model() -> None:
    with pytest.raises(ValueError, match=r"x is torch.float64 and the model's weights are torch.float32.*pass x.to"):
        rv.VRNN(4, 2, 8).float().model(X)


def test_shared_sites_are_events() -> None:
    class Batched(rv.RVAE):
        def shared(self) -> None:
            pyro.sample("u", dist.Normal(torch.zeros(2), 1.0))

    with pytest.raises(ValueError, match=r"shared site 'u' has batch shape \(2,\).*to_event\(1\)"):
        Batched(4, 2, 8)


def test_loss_takes_an_object() -> None:
    with pytest.raises(TypeError, match=r"got the class Trace_ELBO; pass Trace_ELBO\(\)"):
        rv.Loss(rv.VRNN(4, 2, 8), Trace_ELBO)  # type: ignore[arg-type]
