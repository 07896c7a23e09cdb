"""Posteriors as parts: which model takes which, the residual to the prior, and what is done with such a model."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from laws import form, forms_agree, loss_and_gradients, same, same_all
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from torch import Tensor
from zoo import MASK, PAPERS, ZOO, B, H, T, X, Z, awake, make_data

import pyro_rvae as rv
from pyro_rvae.nn import concat

FAMILIES = {"full": rv.FullNormal, "low rank": rv.LowRankNormal, "flow": rv.InverseAutoregressive}
RESIDUAL = ["VRNN-residual", "DMM-residual"]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", PAPERS)
def test_every_model_takes_every_family_for_a_posterior(name: str, family: str) -> None:
    build: Any = PAPERS[name].build
    model = awake(build.func(*build.args, **{**build.keywords, "posterior": FAMILIES[family]}))
    forms_agree(model, Trace_ELBO(), PAPERS[name].x(), None if model.static else MASK)


# ------------------------------------------------------------------------------------------------ residual
class Undone(rv.ResidualNormal):
    """The residual taken back: the prior's mean is added, and subtracted."""

    def __init__(self, in_dim: int, dim: int) -> None:
        super().__init__(in_dim, dim, hidden=(H,))

    def params(self, *inputs: Tensor) -> Tensor:
        loc, rho = super().params(*inputs).chunk(2, -1)
        return concat([loc - inputs[0], rho])


@pytest.mark.parametrize("explicit", [False, True], ids=["vectorised", "explicit"])
@pytest.mark.parametrize("model", [rv.VRNN, partial(rv.DMM, skip_edges=True, skip_dim=4)], ids=["VRNN", "DMM"])
def test_the_residual_undone_is_the_plain_posterior(model: Any, explicit: bool) -> None:
    x, plain, undone = make_data("binary", 0, (B, T)), *(model(X, Z, H, posterior=p) for p in (rv.Normal, Undone))
    undone.load_state_dict(awake(plain).state_dict())
    loss, gradients = loss_and_gradients(undone, Trace_ELBO(), x, MASK, explicit=explicit)
    expected, theirs = loss_and_gradients(plain, Trace_ELBO(), x, MASK, explicit=explicit)
    same(loss, expected, "loss")
    same_all(gradients, theirs, "gradients")


@pytest.mark.parametrize("explicit", [False, True], ids=["vectorised", "explicit"])
@pytest.mark.parametrize("name", RESIDUAL)
def test_where_the_network_adds_nothing_the_mean_is_the_priors(name: str, explicit: bool) -> None:
    model, x = ZOO[name].make(), ZOO[name].x()
    last = model.posterior.net[-1]
    last.weight.data.zero_()
    last.bias.data.zero_()
    with form(explicit):
        q = poutine.trace(model.guide).get_trace(x)
        p = poutine.trace(poutine.replay(model.model, q)).get_trace(x)
    for site in [f"z_{t}" for t in range(T)] if explicit else ["z"]:
        torch.testing.assert_close(q.nodes[site]["fn"].mean, p.nodes[site]["fn"].mean, rtol=1e-12, atol=1e-12)


class Walk(rv.PathLaw):
    """A random walk, as a law of whole paths."""

    def step(self, before: Tensor | None, *inputs: Tensor, state: Any = None) -> tuple[Any, Any]:
        return dist.Normal(inputs[0] * 0 if before is None else before, 1.0).to_event(1), None

    def forward(self, path: Tensor, *inputs: Tensor) -> Any:
        before = torch.cat([torch.zeros_like(path[..., :1, :]), path[..., :-1, :]], -2)
        return dist.Normal(before, 1.0).to_event(1)


@pytest.mark.parametrize("explicit", [False, True], ids=["vectorised", "explicit"])
def test_a_law_of_paths_has_no_mean_of_one_step(explicit: bool) -> None:
    residual = partial(rv.ResidualNormal, hidden=(H,))
    for model in (rv.VRNN(X, Z, H, prior=Walk(), posterior=residual), rv.DMM(X, Z, H, transition=Walk(),
                                                                             posterior=residual)):
        with form(explicit), pytest.raises(TypeError, match="centred on the prior's mean at one step, and Walk is a "
                                                            "law of whole paths; pass another prior"):
            model.guide(make_data("binary", 0, (B, T)))


@pytest.mark.parametrize("model", [rv.VRNN, rv.DMM])
def test_a_residual_posterior_of_the_wrong_width(model: Any) -> None:
    """Without other inputs it has nothing to read; a class is sized for the mean and the rest."""
    with pytest.raises(ValueError, match="^ResidualNormal reads the prior's mean, 3 wide, and other inputs beside it"):
        rv.ResidualNormal(Z, Z)
    assert model(X, Z, H, posterior=rv.ResidualNormal).posterior.net[0].in_features == \
        model(X, Z, H, posterior=rv.Normal).posterior.net[0].in_features


# ------------------------------------------------------------------------------------------------ what is done with one
PARTS = ["DMM-full", "DMM-flow", "DMM-residual", "VRNN-residual", "VRNN-low-rank", "STORN-flow"]


@pytest.mark.parametrize("name", PARTS)
def test_a_model_is_saved_forecasts_and_is_scored(name: str, tmp_path: Path) -> None:
    model, x = ZOO[name].make(), ZOO[name].x()
    rv.save_pretrained(model, tmp_path / "model")
    again = rv.from_pretrained(tmp_path / "model")
    ours, theirs = (loss_and_gradients(m, Trace_ELBO(), x, MASK)[0] for m in (model, again))
    assert ours == theirs
    z = poutine.trace(model.guide).get_trace(x).nodes["z"]["value"]
    with rv.given(z=z.detach()):
        trace = poutine.trace(model.model).get_trace(x, size=(B, T + 3))
    assert trace.nodes["x"]["value"].shape == (B, T + 3, X) and torch.equal(trace.nodes["z"]["value"][:, :T], z)
    found = rv.evaluate(model, rv.data.SequenceDataset(x.flatten(0, 1), [T] * B), num_particles=20)
    assert found.iwae < found.elbo


@pytest.mark.parametrize("name", PARTS)
def test_the_library_says_that_the_model_is_sound(name: str) -> None:
    rv.testing.check_model(ZOO[name].make(), ZOO[name].x())


@pytest.mark.parametrize("family", ["full", "low rank"])
def test_the_kl_of_a_correlated_posterior_is_analytic(family: str) -> None:
    """So one particle's KL to a standard normal prior does not depend on what was drawn."""
    model, x = rv.STORN(X, Z, H, posterior=FAMILIES[family]), make_data("binary", 0, (B, T))
    elbo, losses = TraceMeanField_ELBO(), []
    awake(model)
    for seed in (0, 1):
        with rv.given_noise(seed):
            q = poutine.trace(model.guide).get_trace(x, MASK)
            p = poutine.trace(poutine.replay(model.model, q)).get_trace(x, MASK)
            p.compute_log_prob()
        with rv.given_noise(seed):
            losses.append(elbo.loss(model.model, model.guide, x, MASK) + p.nodes["x"]["log_prob_sum"].item())
    assert abs(losses[0] - losses[1]) < 1e-9 * abs(losses[0]) and losses[0] > 0
