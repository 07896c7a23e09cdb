"""Our differentiable loss against Pyro's own: the same number, the same gradients, and no read of the device."""

from __future__ import annotations

import copy
from typing import Any

import pyro
import pytest
import torch
from pyro.distributions.testing.fakes import NonreparameterizedNormal
from pyro.infer import Trace_ELBO, TraceEnum_ELBO, TraceMeanField_ELBO
from torch import Tensor, nn
from zoo import MASK, PAPERS, ZOO, B, Z

import pyro_rvae as rv
from pyro_rvae.infer.elbo import differentiable_loss
from pyro_rvae.nn import concat

NAMES = [*PAPERS, "shared", "slow-clock", "mixture-prior", "DMM-combiner"]


class ScorePosterior(nn.Module):
    """A posterior without a reparametrised draw."""

    def __init__(self, in_dim: int, dim: int) -> None:
        super().__init__()
        self.net = nn.Linear(in_dim, dim)

    def forward(self, *inputs: Tensor) -> Any:
        return NonreparameterizedNormal(self.net(concat(inputs)), torch.ones(Z)).to_event(1)


def gradients(loss: Tensor, model: nn.Module) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(model.parameters()), allow_unused=True, materialize_grads=True))


@pytest.mark.parametrize("elbo", [Trace_ELBO(), TraceMeanField_ELBO(), Trace_ELBO(3),
                                  TraceEnum_ELBO(max_plate_nesting=1, strict_enumeration_warning=False),
                                  Trace_ELBO(3, vectorize_particles=True, max_plate_nesting=1)],
                         ids=["trace", "mean-field", "particles", "enum", "vectorised"])
@pytest.mark.parametrize("name", NAMES)
def test_equals_pyros(name: str, elbo: Any) -> None:
    case = ZOO[name]
    model = case.make().eval()
    args = (case.x(), None if case.static else MASK)
    torch.manual_seed(1)
    expected = elbo.differentiable_loss(model.model, model.guide, *args)
    torch.manual_seed(1)
    ours = differentiable_loss(elbo, model.model, model.guide, *args)
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradients(ours, model), gradients(expected, model), rtol=1e-10, atol=1e-10)


def test_score_functions_are_left_to_pyro() -> None:
    model, x = rv.RVAE(5, Z, 8, posterior=ScorePosterior), ZOO["RVAE"].x()
    torch.manual_seed(1)
    expected = Trace_ELBO().differentiable_loss(model.model, model.guide, x, MASK)
    torch.manual_seed(1)
    ours = differentiable_loss(Trace_ELBO(), model.model, model.guide, x, MASK)
    torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(gradients(ours, model), gradients(expected, model))


@pytest.mark.parametrize("elbo", [Trace_ELBO(), TraceMeanField_ELBO()], ids=["trace", "mean-field"])
@pytest.mark.parametrize("name", PAPERS)
def test_a_training_step_runs_on_the_meta_device(name: str, elbo: Any) -> None:
    """There is nothing to read on it, so a step that runs there never waits for a GPU."""
    case = PAPERS[name]
    model = copy.deepcopy(case.make()).to("meta")
    loss, beta = rv.Loss(model, elbo), torch.ones((), device="meta", requires_grad=True)
    optimizer = torch.optim.Adam(loss.parameters())
    mask = None if case.static else MASK.to("meta")
    with pyro.validation_enabled(False), rv.trusted(missing=True), rv.annealed(beta):
        loss(case.x().to("meta"), mask).backward()
    torch.nn.utils.clip_grad_norm_(loss.parameters(), 5.0)
    optimizer.step()
    assert beta.grad is not None and B > 0
