"""Pyro's handlers on both readings: what works gives equal numbers, what can't work says so."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from laws import form, same
from pyro.infer import MCMC, NUTS, SVI, Predictive, Trace_ELBO, TraceGraph_ELBO
from pyro.infer.autoguide import AutoNormal
from pyro.infer.reparam import LocScaleReparam
from torch import Tensor
from zoo import MASK, SEQUENCES, ZOO, B, T, X, Z

import pyro_rvae as rv

DRAWABLE = ["normal", "normal-fixed", "normal-learned", "gaps-full"]  # Gaussian all through: given_noise draws x too


def stacked(trace: Any, name: str) -> Tensor:
    """The path of a site in either reading."""
    if name in trace.nodes:
        return trace.nodes[name]["value"]
    steps = sorted((int(k.rpartition("_")[2]), k) for k in trace.nodes if k.rpartition("_")[0] == name)
    return torch.stack([trace.nodes[k]["value"] for _, k in steps], -2)


def split(values: dict[str, Tensor], explicit: bool) -> dict[str, Tensor]:
    if not explicit:
        return values
    return {f"{k}_{t}": v[..., t, :] for k, v in values.items() for t in range(v.shape[-2])}


def latent_paths(trace: Any) -> dict[str, Tensor]:
    return {n: s["value"] for n, s in trace.iter_stochastic_nodes() if n != "batch"}


@pytest.mark.parametrize("name", SEQUENCES)
def test_generated_sequences_have_equal_densities(name: str) -> None:
    """What the vectorised form draws from the prior has the same density, site by site, in the explicit form."""
    case = ZOO[name]
    model, known = case.make(), case.extra()
    drawn = poutine.trace(model.model).get_trace(size=(B, T), **known)
    drawn.compute_log_prob()
    assert drawn.nodes["x"]["value"].shape == (B, T, model.x_dim)
    values = {}
    for site, value in latent_paths(drawn).items():
        slow = site == "y" and name == "slow-clock"
        by_step = value.dim() == 3 and site not in ("v",) and name != "path-prior" or site == "x" or slow
        values.update(split({site: value}, by_step))
    with rv.explicit():
        stepwise = poutine.trace(poutine.condition(model.model, values)).get_trace(size=(B, T), **known)
    same(stepwise.log_prob_sum(), drawn.log_prob_sum(), name)


@pytest.mark.parametrize("name", DRAWABLE)
def test_generation_on_the_same_noise_is_the_same(name: str) -> None:
    model, traces = ZOO[name].make(), []
    for explicit in (False, True):
        with form(explicit), rv.given_noise(3):
            traces.append(poutine.trace(model.model).get_trace(size=(B, T)))
    for site in ("x", "z"):
        same(stacked(traces[0], site), stacked(traces[1], site), site)
    same(traces[0].log_prob_sum(), traces[1].log_prob_sum(), "density")


@pytest.mark.parametrize("mask", [None, MASK], ids=["full", "ragged"])
@pytest.mark.parametrize("name", ["VRNN", "DMM", "DMM-skip", "RVAE", "STORN", "hierarchical", "slow-clock"])
def test_condition_gives_data_like_an_argument(name: str, mask: Tensor | None) -> None:
    model, x = ZOO[name].make(), ZOO[name].x()
    densities = []
    latents = latent_paths(poutine.trace(model.guide).get_trace(x))
    for explicit in (False, True):
        with form(explicit):
            values = split(latents, explicit)
            argument = poutine.trace(poutine.condition(model.model, values)).get_trace(x, mask)
            handler = poutine.condition(model.model, {**values, **split({"x": x}, explicit)})
            handled = poutine.trace(handler).get_trace(None, mask, size=(B, T))
        densities += [argument.log_prob_sum(), handled.log_prob_sum()]
    for density in densities[1:]:
        same(density, densities[0], name)


@pytest.mark.parametrize("name", ["normal", "normal-learned"])
def test_uncondition_draws_x_again_in_both_forms(name: str) -> None:
    model, x, traces = ZOO[name].make(), ZOO[name].x(), []
    for explicit in (False, True):
        with form(explicit), rv.given_noise(1):
            traces.append(poutine.trace(poutine.uncondition(model.model)).get_trace(x))
    same(stacked(traces[0], "x"), stacked(traces[1], "x"), "x")
    same(stacked(traces[0], "z"), stacked(traces[1], "z"), "z")
    assert not torch.equal(stacked(traces[0], "x"), x)


@pytest.mark.parametrize("parallel", [False, True], ids=["sequential", "parallel"])
@pytest.mark.parametrize("name", ["normal", "normal-learned", "DMM-combiner", "VRAE", "slow-clock"])
def test_predictive_runs_and_agrees(name: str, parallel: bool) -> None:
    model, x, samples = ZOO[name].make(), ZOO[name].x(), []
    program = poutine.uncondition(model.model)
    plain = Predictive(program, guide=model.guide, num_samples=3, parallel=parallel)(x)
    assert plain["x"].shape == (3, B, T, X) and set(plain) >= {"x", "z"}
    if name not in DRAWABLE:
        return
    for explicit in (False, True):
        with form(explicit), rv.given_noise(2):
            samples.append(Predictive(program, guide=model.guide, num_samples=3, parallel=parallel)(x))
    path = torch.stack([samples[1][f"x_{t}"] for t in range(T)], -2)
    same(path, samples[0]["x"], "posterior predictive")


def test_predictive_draws_differ_and_prior_predictive_has_its_shape() -> None:
    model = ZOO["VRNN"].make()
    prior = Predictive(model.model, num_samples=4, parallel=True)(size=(B, T))
    assert prior["x"].shape == (4, B, T, X) and prior["z"].shape == (4, B, T, Z)
    assert not torch.equal(prior["z"][0], prior["z"][1])


@pytest.mark.parametrize("known_z", [False, True])
@pytest.mark.parametrize("name", ["normal", "normal-learned"])
def test_forecast_from_a_prefix_is_equal_in_both_forms(name: str, known_z: bool) -> None:
    model, x = ZOO[name].make(), ZOO[name].x()
    z = poutine.trace(model.guide).get_trace(x).nodes["z"]["value"]
    traces = []
    for explicit in (False, True):
        with form(explicit), rv.given_noise(4), rv.given(**({"z": z} if known_z else {})):
            traces.append(poutine.trace(model.model).get_trace(x, size=(B, T + 3)))
    for site in ("x", "z"):
        same(stacked(traces[0], site), stacked(traces[1], site), site)
    same(stacked(traces[0], "x")[:, :T], x, "the known beginning")
    assert stacked(traces[0], "x").shape == (B, T + 3, X)
    if known_z:
        same(stacked(traces[0], "z")[:, :T], z, "the known latents")
    same(traces[0].log_prob_sum(), traces[1].log_prob_sum(), "density")


@pytest.mark.parametrize("name", ["VRNN", "DMM", "DMM-skip", "RVAE", "STORN", "VRAE", "categorical", "two-loops",
                                  "ARAE", "ARAE-GRU", "VariationalAttention", "VariationalAttention-fed", "HRAE-2-3",
                                  "MusicVAE"])
def test_every_model_forecasts(name: str) -> None:
    case = ZOO[name]
    model, x = case.make(), case.x()
    latents = latent_paths(poutine.trace(model.guide).get_trace(x))
    paths = {k: v for k, v in latents.items() if v.dim() == 3}
    once = {k: v for k, v in latents.items() if v.dim() == 2}
    with rv.given(**paths):
        trace = poutine.trace(poutine.condition(model.model, once)).get_trace(x, size=(B, T + 2))
    assert torch.equal(stacked(trace, "x")[:, :T], x) and stacked(trace, "x").shape[1] == T + 2
    values = {**once, **split({k: stacked(trace, k) for k in (*paths, "x")}, True)}
    with rv.explicit():
        stepwise = poutine.trace(poutine.condition(model.model, values)).get_trace(size=(B, T + 2))
    same(stepwise.log_prob_sum(), trace.log_prob_sum(), name)


def test_a_gap_in_the_prefix_of_a_forecast() -> None:
    model, x = ZOO["gaps-VRNN"].make(), ZOO["gaps-VRNN"].x()
    traces = []
    for explicit in (False, True):
        with form(explicit), rv.given_noise(4):
            traces.append(poutine.trace(model.model).get_trace(x, size=(B, T + 2)))
    for site in ("x", "z"):
        same(stacked(traces[0], site)[:, T:], stacked(traces[1], site)[:, T:], site)
    same(traces[0].log_prob_sum(), traces[1].log_prob_sum(), "density")


def test_autonormal_learns_the_latents() -> None:
    """On batches without padding: an AutoGuide doesn't know the mask, under which a latent has no density."""
    model, x = ZOO["DMM"].make().requires_grad_(False), ZOO["DMM"].x()
    svi = SVI(model.model, AutoNormal(model.model), pyro.optim.Adam({"lr": 0.05}), Trace_ELBO())
    losses = [svi.step(x) for _ in range(40)]
    assert sum(losses[-5:]) < sum(losses[:5])
    assert min(losses) > 0  # the data are binary: no bound on their density is positive


def test_nuts_samples_the_latents() -> None:
    model, x = ZOO["DMM"].make().requires_grad_(False), ZOO["DMM"].x(shape=(2, 3))
    chain = MCMC(NUTS(model.model, max_tree_depth=3), num_samples=4, warmup_steps=4, disable_progbar=True)
    chain.run(x)
    assert chain.get_samples()["z"].shape == (4, 2, 3, Z)


def test_the_potential_of_the_vectorised_model_is_the_explicit_density() -> None:
    """What NUTS differentiates: the gradient of log p(x, z) with respect to z, in both forms."""
    model, x, z = ZOO["VRNN"].make(), ZOO["VRNN"].x(), torch.randn(B, T, Z)
    gradients = []
    for explicit in (False, True):
        point = z.clone().requires_grad_()
        with form(explicit):
            trace = poutine.trace(poutine.condition(model.model, split({"z": point}, explicit))).get_trace(x)
        gradients.append(torch.autograd.grad(trace.log_prob_sum(), point)[0])
    same(gradients[0], gradients[1], "gradient of the potential")


def test_annealing_is_linear_and_leaves_the_data_alone() -> None:
    model, x, losses = ZOO["VRNN"].make(), ZOO["VRNN"].x(), []
    for weight in (0.0, torch.tensor(0.5), 1.0):
        with rv.given_noise(0), rv.annealed(weight):
            losses.append(Trace_ELBO().loss(model.model, model.guide, x))
    with rv.given_noise(0):
        q = poutine.trace(model.guide).get_trace(x)
        p = poutine.trace(poutine.replay(model.model, q)).get_trace(x)
    p.compute_log_prob()
    assert abs(losses[0] + losses[2] - 2 * losses[1]) < 1e-10
    assert abs(losses[0] + p.nodes["x"]["log_prob"].sum().item()) < 1e-10


# ------------------------------------------------------------------------------------------------------ refusals
def run_do(model: Any, x: Tensor) -> None:
    poutine.trace(poutine.do(model.model, {"z": torch.zeros(B, T, Z)})).get_trace(x)


def run_reparam(model: Any, x: Tensor) -> None:
    poutine.trace(poutine.reparam(model.model, {"z": LocScaleReparam(0.0)})).get_trace(x)


def run_lift(model: Any, x: Tensor) -> None:
    poutine.trace(poutine.lift(model.model, lambda *a, **k: dist.Normal(0.0, 1.0))).get_trace(x)


@pytest.mark.parametrize("name", ["VRNN", "DMM"])
@pytest.mark.parametrize("run", [run_do, run_reparam], ids=["do", "reparam"])
def test_handlers_that_need_steps_are_sent_to_the_explicit_form(run: Any, name: str) -> None:
    with pytest.raises(RuntimeError, match=r"explicit\(\)"):
        run(ZOO[name].make(), ZOO[name].x())


@pytest.mark.parametrize("explicit", [False, True], ids=["vectorised", "explicit"])
def test_lift_is_refused(explicit: bool) -> None:
    """Our networks hold their parameters, so lifted values would be ignored without a word."""
    with form(explicit), pytest.raises(RuntimeError, match="shared"):
        run_lift(ZOO["VRNN"].make(), ZOO["VRNN"].x())


def test_do_and_reparam_work_in_the_explicit_form() -> None:
    model, x = ZOO["VRNN"].make(), ZOO["VRNN"].x()
    zeros = {f"z_{t}": torch.zeros(B, Z) for t in range(T)}
    with rv.explicit():
        done = poutine.trace(poutine.do(model.model, zeros)).get_trace(x)
        conditioned = poutine.trace(poutine.condition(model.model, zeros)).get_trace(x)
        config = {f"z_{t}": LocScaleReparam(0.0) for t in range(T)}
        reparametrised = poutine.trace(poutine.reparam(model.model, config)).get_trace(x)
    for t in range(T):
        same(done.nodes[f"x_{t}"]["fn"].log_prob(x[:, t]), conditioned.nodes[f"x_{t}"]["fn"].log_prob(x[:, t]), "do")
    assert "z_0_decentered" in reparametrised.nodes


def test_do_on_a_latent_that_no_loop_draws_is_right_in_both_forms() -> None:
    """Independent latents are one batched draw, so that Pyro's own ``do`` sees them whole."""
    model, x, z, densities = ZOO["RVAE"].make(), ZOO["RVAE"].x(), torch.randn(B, T, Z), []
    for explicit in (False, True):
        with form(explicit):
            trace = poutine.trace(poutine.do(model.model, split({"z": z}, explicit))).get_trace(x)
        trace.compute_log_prob()
        densities.append(sum(s["log_prob_sum"] for n, s in trace.nodes.items() if n.startswith("x")))
    same(densities[0], densities[1], "density of x under do(z)")


def test_a_handler_that_replaces_drawn_values_is_refused() -> None:
    """TraceGraph_ELBO tracks provenance by replacing values: refused, not biased."""
    model, x = ZOO["mixture-prior"].make(), ZOO["mixture-prior"].x()
    with pytest.raises(RuntimeError, match=r"replaced site 'z' after its values were drawn.*explicit\(\)"):
        TraceGraph_ELBO().loss_and_grads(model.model, model.guide, x)
    with rv.explicit():
        assert TraceGraph_ELBO().loss_and_grads(model.model, model.guide, x) > 0


def test_half_a_path_from_a_handler_is_refused() -> None:
    model = ZOO["VRNN"].make()
    with pytest.raises(RuntimeError, match="fixes the first 3 of 6 steps"):
        poutine.trace(poutine.condition(model.model, {"z": torch.zeros(B, 3, Z)})).get_trace(size=(B, T))


def test_trace_graph_elbo_agrees_between_the_forms() -> None:
    model, x, losses = ZOO["VRNN"].make(), ZOO["VRNN"].x(), []
    for explicit in (False, True):
        with form(explicit), rv.given_noise(0):
            losses.append(TraceGraph_ELBO().loss(model.model, model.guide, x))
    assert abs(losses[0] - losses[1]) < 1e-10
