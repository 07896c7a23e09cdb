"""Draws at a temperature in every reading; what is known, and every density, as without."""

from __future__ import annotations

from contextlib import ExitStack
from functools import cache
from typing import Any

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from zoo import ZOO, B, T

import pyro_rvae as rv
from pyro_rvae.core.noise import given_noise
from pyro_rvae.core.tempering import check_sites, tempered_draws
from pyro_rvae.core.traces import sites


def run(name: str, temperature: Any = None, *, explicit: bool = False, noise: int | None = None, seed: int = 0,
        **known: Any) -> Any:
    """A trace of a model of the zoo that draws everything (but what is known)."""
    case = ZOO[name]
    model = case.make().eval()
    torch.manual_seed(seed)
    with ExitStack() as stack, torch.no_grad():
        if noise is not None:
            stack.enter_context(given_noise(noise))
        if temperature is not None:
            stack.enter_context(tempered_draws(temperature))
        if explicit:
            stack.enter_context(rv.explicit())
        size = (B,) if case.static else (B, T)
        return poutine.trace(model.learned_model).get_trace(size=size, **case.extra(), **known)


@cache
def names_of(name: str) -> tuple[str, ...]:
    """The sites of a model of the zoo."""
    return tuple(sites(run(name)))


def everywhere(name: str, temperature: float) -> dict[str, float]:
    """That temperature at every site of a model."""
    return dict.fromkeys(names_of(name), temperature)


def path(trace: Any, name: str) -> torch.Tensor:
    """The values of a site at all steps, in either form."""
    if name in trace.nodes:
        return trace.nodes[name]["value"]  # type: ignore[no-any-return]
    return torch.stack([trace.nodes[f"{name}_{t}"]["value"] for t in range(T)], -2)


@pytest.mark.parametrize("name", ZOO)
def test_every_model_draws_at_a_temperature(name: str) -> None:
    plain = run(name)
    once = run(name, 1.0)
    assert all(torch.equal(site["value"], once.nodes[s]["value"]) for s, site in sites(plain).items()), "bit by bit"
    cold = [run(name, everywhere(name, 1e-6), seed=seed).nodes["x"]["value"] for seed in (1, 2)]
    torch.testing.assert_close(*cold, atol=1e-3, rtol=0)  # the mode of each site, whatever the noise
    half = run(name, everywhere(name, 0.5))
    half.compute_log_prob()
    assert all(torch.isfinite(site["log_prob"]).all() for site in sites(half).values())


GAUSSIAN = ["normal", "normal-fixed", "gaps-full", "gaps-low-rank", "SRNN-gaps", "HRAE-gaps", "AR1-DMM", "DMM-process",
            "DMM-full-chain", "flow-VRNN", "KVAE-gaps"]


@pytest.mark.parametrize("name", GAUSSIAN)
def test_explicit_equals_vectorised_on_given_noise(name: str) -> None:
    case = ZOO[name]
    names = ["z"] if case.data == "binary" else list(names_of(name))
    temperature = {s: 0.3 + 0.4 * (s == "x") for s in names}
    if case.data == "binary":  # x is no Gaussian: it is known
        known = {"x": case.x()}
        fast, slow = (run(name, temperature, noise=3, explicit=explicit, **known) for explicit in (False, True))
    else:
        fast, slow = (run(name, temperature, noise=3, explicit=explicit) for explicit in (False, True))
        plain = run(name, noise=3)
        assert not torch.allclose(path(plain, "x"), path(fast, "x"))
    for site in (s for s in names if path_is_in(slow, s)):
        torch.testing.assert_close(path(fast, site), path(slow, site))


def path_is_in(trace: Any, name: str) -> bool:
    return name in trace.nodes or f"{name}_{T - 1}" in trace.nodes


class Walk(rv.SequenceVAE):
    """v ~ N(0, 4);  z_t ~ N(z_{t-1} + v, 1);  x_t ~ N(z_t, 9)."""

    def __init__(self) -> None:
        super().__init__()
        self.x_dim = 1

    def generative(self, steps: Any) -> None:
        v = pyro.sample("v", dist.Normal(torch.zeros(1), 2.0).to_event(1))
        for t in steps:
            z = t.sample("z", lambda m, u: dist.Normal(m + u, 1.0).to_event(1), t.prev("z", torch.zeros(1)), t.hold(v))
            t.sample("x", lambda m: dist.Normal(m, 3.0).to_event(1), z)

    def inference(self, steps: Any, x: Any) -> None:
        pass


@pytest.mark.parametrize("explicit", [False, True])
def test_each_site_has_its_own(explicit: bool) -> None:
    with ExitStack() as stack:
        stack.enter_context(tempered_draws({"v": 0.5, "x": 0.1}))
        if explicit:
            stack.enter_context(rv.explicit())
        trace = poutine.trace(Walk().model).get_trace(size=(3000, T))
    z, x = path(trace, "z"), path(trace, "x")
    v = trace.nodes["v"]["value"]
    assert v.std().item() == pytest.approx(1.0, rel=0.06)
    assert (z[:, 1:] - z[:, :-1] - v.unsqueeze(-2)).std().item() == pytest.approx(1.0, rel=0.06)
    assert (x - z).std().item() == pytest.approx(0.3, rel=0.06)


def test_densities_are_the_models_own() -> None:
    model, x = Walk(), torch.randn(2, T, 1)
    with tempered_draws({"v": 0.5, "z": 0.2, "x": 0.1}):
        trace = poutine.trace(model.model).get_trace(x)
    latents = {name: trace.nodes[name]["value"] for name in ("v", "z")}
    plain = poutine.trace(poutine.condition(model.model, data=latents)).get_trace(x)
    torch.testing.assert_close(trace.log_prob_sum(), plain.log_prob_sum())
    assert trace.nodes["x"]["value"] is x


def test_what_is_known_stays() -> None:
    z = torch.arange(2.0).view(1, 2, 1).expand(3, 2, 1)
    with tempered_draws({"z": 1e-6, "x": 1e-6, "v": 1e-6}), rv.given(z=z):
        trace = poutine.trace(Walk().model).get_trace(size=(3, T))
    torch.testing.assert_close(path(trace, "z")[:, :, 0], torch.tensor([0.0, 1.0, 1.0, 1.0, 1.0, 1.0]).expand(3, T),
                               atol=1e-4, rtol=0)


@pytest.mark.parametrize("wrong", [0, -1.0, float("nan"), float("inf"), True, "hot", None])
def test_what_is_no_temperature(wrong: Any) -> None:
    with pytest.raises(ValueError, match="temperature must be a positive number, .* got"):
        tempered_draws(wrong)
    with pytest.raises(ValueError, match="for 'z'"):
        tempered_draws({"x": 0.5, "z": wrong})


def test_a_site_that_is_not_there() -> None:
    check_sites({"x": 0.5}, ["x", "z"], "VRNN")
    with pytest.raises(ValueError, match=r"temperature names \['q'\], and VRNN draws \['x', 'z'\]"):
        check_sites({"x": 0.5, "q": 1.0}, ["z", "x"], "VRNN")
