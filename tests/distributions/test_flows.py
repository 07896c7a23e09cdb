"""The inverse autoregressive flow against its Jacobian, its inverse, and quadrature."""

from __future__ import annotations

import copy
import math
from functools import partial
from typing import Any

import pyro.poutine as poutine
import pytest
import torch
from laws import form, loss_and_gradients, per_sequence, same
from pyro.infer import Trace_ELBO
from torch import Tensor
from zoo import MASK, H, X, Z, make_data

import pyro_rvae as rv
from pyro_rvae.core.noise import rsample_from
from pyro_rvae.distributions import FlowNormal, flows

D = 3
FAMILIES: dict[str, Any] = {
    "one": partial(rv.InverseAutoregressive), "two": partial(rv.InverseAutoregressive, flows=2),
    "deep": partial(rv.InverseAutoregressive, flows=3, hidden=(8, 6), context=2),
    "blind": partial(rv.InverseAutoregressive, flows=2, context=0),
    "unstable": partial(rv.InverseAutoregressive, flows=2, stable=False),
}


def law_of(name: str, *batch: int, d: int = D, seed: int = 0) -> FlowNormal:
    """A law far from the identity."""
    torch.manual_seed(seed)
    family = FAMILIES[name](d)
    for parameter in family.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return family(torch.randn(*batch, family.num_params).requires_grad_())  # type: ignore[no-any-return]


def jacobian(law: FlowNormal, noise: Tensor) -> Tensor:
    return torch.autograd.functional.jacobian(lambda e: rsample_from(law, e), noise)  # type: ignore[no-any-return]


# ------------------------------------------------------------------------------------------------ the density
@pytest.mark.parametrize("name", FAMILIES)
def test_the_density_of_a_draw_is_that_of_its_noise_by_the_jacobian(name: str) -> None:
    law, noise = law_of(name), torch.randn(D)
    stretch = torch.linalg.slogdet(jacobian(law, noise)).logabsdet
    expected = -0.5 * (noise.square().sum() + D * math.log(2 * math.pi)) - stretch
    drawn = rsample_from(law, noise)
    torch.testing.assert_close(law.log_prob(drawn), expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(law.log_prob(drawn.clone()), expected, rtol=1e-10, atol=1e-10)


def test_one_transform_is_triangular_in_reversed_order_and_two_are_not() -> None:
    matrix = jacobian(law_of("one"), torch.randn(D))
    assert torch.equal(matrix.tril(-1), torch.zeros(D, D)) and (matrix.triu(1).abs().sum() > 1e-3)
    both = jacobian(law_of("two"), torch.randn(D))
    assert both.tril(-1).abs().sum() > 1e-3 and both.triu(1).abs().sum() > 1e-3


@pytest.mark.parametrize("name", FAMILIES)
def test_the_remembered_density_has_the_gradients_of_the_inverse(name: str) -> None:
    """Through the draw as well, for parameters and context: remembered, and computed from the value."""
    law, noise = law_of(name, 2), torch.randn(4, 2, D)
    wanted = [law.params, *law.family.parameters()]
    drawn = rsample_from(law, noise)
    ours = torch.autograd.grad(law.log_prob(drawn).sum(), wanted, allow_unused=True)
    drawn = rsample_from(law, noise)
    theirs = torch.autograd.grad(law.log_prob(drawn.clone()).sum(), wanted, allow_unused=True)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_density_of_one_element_integrates_to_one(name: str) -> None:
    grid = torch.linspace(-30, 30, 20001).unsqueeze(-1)
    assert abs(torch.trapezoid(law_of(name, d=1).log_prob(grid).exp(), grid[:, 0]) - 1) < 1e-6


@pytest.mark.parametrize("name", ["two", "unstable"])
def test_the_density_of_two_elements_integrates_to_one_and_its_moments_are_the_draws(name: str) -> None:
    law, axis = law_of(name, d=2), torch.linspace(-15, 15, 501)
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1)
    with torch.no_grad():
        mass = law.log_prob(grid).exp() * (axis[1] - axis[0]) ** 2
        draws = law.rsample([40000])
    assert abs(mass.sum() - 1) < 1e-3
    for power in (1, 2):
        expected = (mass.unsqueeze(-1) * grid**power).sum((0, 1))
        error = (draws**power).std(0) / 200
        assert ((draws**power).mean(0) - expected).abs().lt(5 * error + 1e-3).all()
    rest = (mass.unsqueeze(-1) * (grid[..., :1] > grid[..., 1:])).sum()  # and an event that looks at both
    assert abs((draws[:, 0] > draws[:, 1]).double().mean() - rest) < 0.02


def test_it_becomes_a_law_that_no_gaussian_is() -> None:
    """A banana, p(a) p(b | a) = N(0, 1) N(a^2, 0.3^2): with the same steps the flow comes nearer than a Gaussian."""
    def fit(family: Any) -> float:
        torch.manual_seed(0)
        raw = torch.zeros(family.num_params, requires_grad=True)
        optimizer = torch.optim.Adam([raw, *family.parameters()], lr=2e-2)
        for _ in range(300):
            law = family(raw.expand(64, -1))
            z = law.rsample()
            a, b = z.unbind(-1)
            log_p = -0.5 * a.square() - 0.5 * ((b - a.square()) / 0.3).square() - math.log(2 * math.pi * 0.3)
            loss = (law.log_prob(z) - log_p).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return loss.item()

    assert fit(rv.InverseAutoregressive(2, flows=2, hidden=(16,))) < 0.5 * fit(rv.FullNormal(2))


# ------------------------------------------------------------------------------------------------ what it remembers
def test_a_law_remembers_its_last_draw_only(monkeypatch: pytest.MonkeyPatch) -> None:
    law, calls, inverse = law_of("two", 2), list[int](), flows._inverse
    monkeypatch.setattr(flows, "_inverse", lambda *a: (calls.append(1), inverse(*a))[1])
    first = law.rsample()
    expected = law.log_prob(first)
    assert torch.equal(law.expand([5, 2]).log_prob(first), expected) and not calls
    second = law.rsample()
    law.log_prob(second)
    assert not calls
    torch.testing.assert_close(law.log_prob(first), expected)  # forgotten, so undone
    assert len(calls) == 2
    torch.testing.assert_close(law.log_prob(second.detach()), law.log_prob(second))
    assert len(calls) == 4


def test_a_density_without_a_graph_is_not_handed_to_who_asks_for_gradients() -> None:
    law = law_of("two")
    drawn = law.sample()
    assert not law.memory.log_prob.requires_grad  # type: ignore[union-attr]
    law.log_prob(drawn).backward()
    assert law.params.grad is not None and (law.params.grad != 0).any()
    with torch.no_grad():
        drawn = law.rsample()
        assert law.log_prob(drawn) is law.memory.log_prob


@pytest.mark.parametrize("explicit", [False, True], ids=["vectorised", "explicit"])
@pytest.mark.parametrize("posterior", [rv.InverseAutoregressive,
                                       partial(rv.Combiner, hidden=H, family=rv.InverseAutoregressive)])
def test_training_inverts_nothing(posterior: Any, explicit: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Tensor:
        raise AssertionError("a flow was inverted")

    model, x = rv.DMM(X, Z, H, posterior=posterior), make_data("binary", 0, (4, 6))
    monkeypatch.setattr(flows, "_inverse", refuse)
    for elbo in (Trace_ELBO(), Trace_ELBO(num_particles=2, vectorize_particles=True)):
        loss_and_gradients(model, elbo, x, MASK, explicit=explicit)
        with form(explicit):
            elbo.loss_and_grads(model.model, model.guide, x, MASK)  # and on torch's noise
    rv.evaluate(model, rv.data.SequenceDataset(x.flatten(0, 1), [6] * 4), num_particles=3)


def test_a_known_beginning_is_scored_by_the_inverse() -> None:
    """As a prior: the law of what follows z_1, z_2 is asked for all of them, and forms agree."""
    model, x, densities = rv.DMM(X, Z, H, transition=rv.InverseAutoregressive), make_data("binary", 0, (4, 6)), []
    for explicit in (False, True):
        with form(explicit), rv.given(z=torch.ones(4, 2, Z)), rv.given_noise(0):
            densities.append(per_sequence(poutine.trace(model.model).get_trace(x)))
    same(densities[0], densities[1], "log p(x, z)")


def test_a_model_in_training_is_copied() -> None:
    """Pyro's plain transform keeps a graph on itself, which cannot be copied; ours keeps it on the law."""
    model, x = rv.STORN(X, Z, H, posterior=rv.InverseAutoregressive), make_data("binary", 0, (4, 6))
    loss_and_gradients(model, Trace_ELBO(), x)
    copy.deepcopy(model)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_float64_flow_where_the_default_is_float32(name: str) -> None:
    law = law_of(name, 2)
    value = torch.randn(2, D)
    expected = law.log_prob(value)
    torch.set_default_dtype(torch.float32)
    found = law.log_prob(value)
    assert found.dtype == torch.float64 and torch.equal(found, expected) and law.rsample().dtype == torch.float64


@pytest.mark.parametrize("size", [-50.0, 50.0])
@pytest.mark.parametrize("name", FAMILIES)
def test_extreme_parameters_are_finite(name: str, size: float) -> None:
    family = FAMILIES[name](D).float()
    raw = torch.full([family.num_params], size, dtype=torch.float32, requires_grad=True)
    law = family(raw)
    law.log_prob(rsample_from(law, torch.ones(D))).backward()
    assert raw.grad is not None and raw.grad.isfinite().all() and law.memory.log_prob.isfinite()


def test_its_start_is_near_the_marginals_of_the_data() -> None:
    values = 3.0 + 2.0 * torch.randn(500, D)
    family = rv.InverseAutoregressive(D)
    law = family(family.bias(values))
    draws = law.rsample([2000])
    assert (draws.mean(0) - 3.0).abs().max() < 0.7 and (draws.std(0) - 2.0).abs().max() < 0.7


# ------------------------------------------------------------------------------------------------ errors
@pytest.mark.parametrize(("given", "message"), [
    ({"flows": 0}, "flows must be an integer of at least 1 for 3 elements, got 0"),
    ({"flows": True}, "flows must be an integer of at least 1 for 3 elements, got True"),
    ({"context": -1}, "context must be an integer of at least 0 for 3 elements, got -1"),
    ({"hidden": (8, 2)}, "hidden must be an integer of at least 3 for 3 elements, got 2"),
    ({"hidden": ()}, "hidden must name at least one layer, got none"),
])
def test_arguments(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^InverseAutoregressive: {message}"):
        rv.InverseAutoregressive(D, **given)


def test_a_flow_has_no_known_mean_for_a_residual_posterior() -> None:
    model = rv.DMM(X, Z, H, transition=rv.InverseAutoregressive, posterior=partial(rv.ResidualNormal, hidden=(H,)))
    with pytest.raises(TypeError, match="centred on the prior's mean, and FlowNormal has none"):
        model.guide(make_data("binary", 0, (4, 6)))


def test_missing_elements_of_a_flow_are_refused() -> None:
    model = rv.VRAE(X, Z, H, likelihood=rv.InverseAutoregressive)
    with pytest.raises(ValueError, match="FlowNormal can neither skip nor marginalise missing elements"):
        Trace_ELBO().loss(model.model, model.guide, make_data("real gaps", 0, (4, 6)))
