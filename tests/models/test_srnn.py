"""SRNN: the residual posterior, the deterministic layer as one call, and what it refuses."""

from __future__ import annotations

from functools import partial
from typing import Any

import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from laws import form, loss_and_gradients, same, same_all
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from torch import Tensor, nn
from zoo import MASK, ZOO, B, H, T, X, Z

import pyro_rvae as rv
from pyro_rvae.nn import concat


class Undone(rv.ResidualNormal):
    """The residual taken back: the prior's mean is added, and subtracted."""

    def params(self, *inputs: Tensor) -> Tensor:
        loc, rho = super().params(*inputs).chunk(2, -1)
        return concat([loc - inputs[0], rho])


@pytest.mark.parametrize("explicit", [False, True], ids=["vectorised", "explicit"])
@pytest.mark.parametrize("elbo", [Trace_ELBO, TraceMeanField_ELBO])
def test_the_residual_undone_is_the_plain_posterior(elbo: Any, explicit: bool) -> None:
    plain, x = ZOO["SRNN-plain"].make(), ZOO["SRNN-plain"].x()
    undone = rv.SRNN(X, Z, H, posterior=_hidden(Undone))
    undone.load_state_dict(plain.state_dict())
    loss, gradients = loss_and_gradients(undone, elbo(), x, MASK, explicit=explicit)
    expected, theirs = loss_and_gradients(plain, elbo(), x, MASK, explicit=explicit)
    same(loss, expected, "loss")
    same_all(gradients, theirs, "gradients")
    done, _ = loss_and_gradients(ZOO["SRNN"].make(), elbo(), x, MASK, explicit=explicit)
    assert abs(done - expected) > 1e-3  # and with the residual it is another guide


def _hidden(part: type) -> Any:
    class Sized(part):  # type: ignore[misc]
        def __init__(self, in_dim: int, dim: int) -> None:
            super().__init__(in_dim, dim, hidden=(H,))

    return Sized


@pytest.mark.parametrize("explicit", [False, True], ids=["vectorised", "explicit"])
def test_where_the_network_adds_nothing_the_mean_is_the_priors(explicit: bool) -> None:
    model, x = ZOO["SRNN"].make(), ZOO["SRNN"].x()
    last = model.posterior.net[-1]
    last.weight.data.zero_()
    last.bias.data.zero_()
    with form(explicit):
        q = poutine.trace(model.guide).get_trace(x)
        p = poutine.trace(poutine.replay(model.model, q)).get_trace(x)
    for name in [f"z_{t}" for t in range(T)] if explicit else ["z"]:
        same(q.nodes[name]["fn"].mean, p.nodes[name]["fn"].mean, name)
        assert (q.nodes[name]["fn"].variance != p.nodes[name]["fn"].variance).all()


def test_the_residual_posterior_as_a_part() -> None:
    part, mean, rest = rv.ResidualNormal(Z + 4, Z, hidden=()), torch.randn(7, 1, Z), torch.randn(2, 4)
    law, plain = part(mean, rest), rv.Normal(Z)(part.net(rest))
    assert law.batch_shape == (7, 2)
    value = torch.randn(7, 2, Z)
    same(law.log_prob(value), plain.log_prob(value - mean), "density")
    with pytest.raises(ValueError, match="^ResidualNormal reads the prior's mean, 3 wide, and other inputs.*3 numbers"):
        rv.ResidualNormal(Z, Z)


class Flow(nn.Module):
    """A prior that has no mean in closed form."""

    def __init__(self, in_dim: int, dim: int) -> None:
        super().__init__()
        self.net = nn.Linear(in_dim, dim)

    def forward(self, *inputs: Tensor) -> Any:
        base = dist.Normal(self.net(concat(inputs)), 1.0)
        return dist.TransformedDistribution(base, [dist.transforms.TanhTransform()]).to_event(1)


@pytest.mark.parametrize("explicit", [False, True], ids=["vectorised", "explicit"])
def test_a_prior_without_a_mean(explicit: bool) -> None:
    x = ZOO["SRNN"].x()
    with form(explicit), pytest.raises(TypeError, match="centred on the prior's mean, and TransformedDistribution has "
                                                        "none; pass another prior, or a posterior that does not"):
        rv.SRNN(X, Z, H, transition=Flow).guide(x)
    tanh = rv.SRNN(X, Z, H, transition=Flow, posterior=lambda *inputs: _tanh(inputs[0]))
    assert torch.isfinite(torch.tensor(Trace_ELBO().loss(tanh.model, tanh.guide, x)))


def _tanh(z: Tensor) -> Any:
    base = dist.Normal(torch.zeros_like(z), 1.0)
    return dist.TransformedDistribution(base, [dist.transforms.TanhTransform()]).to_event(1)


def test_the_guide_runs_the_deterministic_layer_in_one_call() -> None:
    model, x = ZOO["SRNN"].make(), ZOO["SRNN"].x()
    calls, steps = [], []
    model.recurrence.register_forward_hook(lambda *_: calls.append(1))
    step = model.recurrence.step
    model.recurrence.step = lambda *a: (steps.append(1), step(*a))[1]
    model.guide(x)
    assert len(calls) == 1 and not steps


def test_d_depends_on_x_alone_so_a_chain_is_drawn_at_once() -> None:
    """With a GaussianChain the guide has no rollout: its network is called once, for all steps."""
    model, x = ZOO["SRNN-chain"].make(), ZOO["SRNN-chain"].x()
    calls: list[Any] = []
    model.posterior.net.register_forward_hook(lambda _, __, out: calls.append(out.shape))
    model.guide(x)
    assert calls.count(torch.Size([B, T, 3 * Z])) == 1 and len(calls) == 2  # and the probe of the first step


@pytest.mark.parametrize("model", [rv.STORN, rv.RVAE, rv.DSAE, rv.ZForcing, rv.SwitchingLDS], ids=lambda m: m.__name__)
def test_a_model_that_does_not_pass_the_priors_mean_refuses_what_reads_it(model: Any) -> None:
    """It would silently take the first inputs for the mean."""
    for part in (rv.ResidualNormal, partial(rv.ResidualNormal, hidden=(4,)), rv.ResidualNormal(2 * H, Z)):
        what = f"^{model.__name__}'s posterior is not given the prior's mean, .* use a Family, or an SRNN"
        with pytest.raises(ValueError, match=what):
            model(X, Z, H, posterior=part)
    for one, what in ((rv.SRNN, "transition"), (rv.DMM, "transition"), (rv.VRNN, "prior")):
        with pytest.raises(ValueError, match=f"^{one.__name__}'s {what} is not given the prior's mean"):
            one(X, Z, H, **{what: rv.ResidualNormal})
