"""Truths of every prior: its density integrates to one, and what it draws has that density."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pyro.poutine as poutine
import pytest
import torch
from scipy import stats
from torch import Tensor
from zoo import H, awake

import pyro_rvae as rv
from pyro_rvae.distributions import conditional
from pyro_rvae.priors import AffineCoupling, GaussianMixture, Spline

STATE = 4  # width of a state, of a model that passes one
mixture = partial(rv.MixtureOfGaussians, components=3)
couplings = partial(rv.FlowPrior, layers=3, layer=partial(AffineCoupling, hidden=(6,)))
splines = partial(rv.FlowPrior, layers=2, layer=partial(Spline, bins=5, bound=4.0, hidden=(6,)))


def moved(part: Any) -> Any:
    """A prior whose parameters are off their start, so that it is no standard normal."""
    torch.manual_seed(1)
    return awake(part)


def vamp(dim: int, static: bool) -> Callable[..., Any]:
    """The VampPrior of a model, called as the model calls it."""
    model = rv.VAE if static else rv.VRAE
    prior = partial(rv.VampPrior, components=3, weighted=True, length=None if static else 2)
    made = moved(model(5, dim, H, prior=prior, likelihood=rv.Normal))
    made.prior.raw.data *= 3.0  # components that lie apart
    return lambda: made.prior(made.encoded)


def law(prior: Any, dim: int, in_dim: int, **parts: Any) -> Any:
    made = moved(conditional(prior, in_dim, dim, hidden=(6,), **parts))
    return made() if not in_dim else made(torch.linspace(-1.0, 1.0, in_dim))


def laws(dim: int) -> dict[str, Any]:
    """The law of every prior, in ``dim`` dimensions."""
    found = {"StandardNormal": law(rv.StandardNormal, dim, 0), "Normal": law(rv.Normal, dim, 0),
             "Normal of a state": law(rv.Normal, dim, STATE), "StudentT": law(partial(rv.StudentT, df=4.0), dim, 0),
             "mixture": law(mixture, dim, 0), "mixture of a state": law(mixture, dim, STATE),
             "splines": law(splines, dim, 0), "splines of a state": law(splines, dim, STATE),
             "vamp of items": vamp(dim, True)(), "vamp of sequences": vamp(dim, False)(),
             "AR1, first": moved(rv.AR1(0, dim))(torch.full((dim,), 0.7), torch.ones(1)),
             "AR1, later": moved(rv.AR1(0, dim))(torch.full((dim,), 0.7), torch.zeros(1)),
             "Laplace": law(rv.Laplace, dim, 0), "Laplace of a state": law(rv.Laplace, dim, STATE)}
    if dim > 1:
        found |= {"couplings": law(couplings, dim, 0), "couplings of a state": law(couplings, dim, STATE)}
    return found


with torch.random.fork_rng(devices=[]):
    LAWS = {(name, dim): found for dim in (1, 2) for name, found in laws(dim).items()}


def grid(half: float, points: int, dim: int) -> tuple[Tensor, float]:
    """The midpoints of a grid over ``[-half, half]^dim``, and the volume of a cell."""
    step = 2 * half / points
    axis = torch.arange(points) * step - half + step / 2
    return torch.cartesian_prod(*[axis] * dim).reshape(-1, dim), step**dim


@pytest.mark.parametrize(("name", "dim"), LAWS)
@torch.no_grad()
def test_a_density_integrates_to_one(name: str, dim: int) -> None:
    half = {"StudentT": 300.0, "couplings": 60.0, "splines": 9.0}.get(name.split()[0], 20.0)  # beyond it lies nothing
    points, cell = grid(half, 60_000 if dim == 1 else 800, dim)
    mass = LAWS[name, dim].log_prob(points).exp().sum() * cell
    assert abs(mass - 1.0) < (2e-3 if dim == 2 else 1e-4), f"{name}: {mass}"


@pytest.mark.parametrize("name", [name for name, dim in LAWS if dim == 1])
@torch.no_grad()
def test_draws_have_the_density(name: str) -> None:
    """The integral of the density up to a draw is uniform (Kolmogorov-Smirnov)."""
    found = LAWS[name, 1]
    torch.manual_seed(3)
    draws = found.sample((4000,)).flatten()
    points, cell = grid(60.0, 120_000, 1)
    below = (found.log_prob(points).exp() * cell).cumsum(0)
    index = torch.searchsorted(points.flatten(), draws).clamp(1, len(points) - 1)
    assert stats.kstest(below[index].numpy(), "uniform").pvalue > 1e-3


@pytest.mark.parametrize("name", [name for name, dim in LAWS if dim == 2])
@torch.no_grad()
def test_draws_in_two_dimensions_have_the_density(name: str) -> None:
    """How many draws fall into each of the cells of a grid, against its integral (chi squared)."""
    found = LAWS[name, 2]
    torch.manual_seed(4)
    draws = found.sample((5000,))
    centre, spread = draws.mean(0), draws.std(0).clamp(max=5.0)
    fine, cells = 240, 6
    points, _ = grid(2.0, fine, 2)
    area = (spread.prod() * (4.0 / fine) ** 2).item()
    density = found.log_prob(points * spread + centre).exp().reshape(cells, fine // cells, cells, -1).sum((1, 3)) * area
    place = ((draws - centre) / spread + 2.0) / 4.0 * cells
    inside = ((place >= 0) & (place < cells)).all(-1)
    count = torch.zeros(cells, cells).index_put_(tuple(place[inside].long().mT), torch.tensor(1.0), accumulate=True)
    expected = torch.cat([density.flatten(), 1.0 - density.sum().reshape(1)]) * len(draws)
    seen = torch.cat([count.flatten(), (~inside).sum().reshape(1).to(count)])
    enough = expected > 5.0
    expected = torch.cat([expected[enough], expected[~enough].sum().reshape(1)])
    seen = torch.cat([seen[enough], seen[~enough].sum().reshape(1)])
    expected, seen = expected[expected > 1.0], seen[expected > 1.0]
    statistic = ((seen - expected).square() / expected).sum().item()
    assert stats.chi2.sf(statistic, len(seen) - 1) > 1e-3


def test_a_mixture_equals_its_sum() -> None:
    """Against the sum over components, written out with scipy's densities."""
    family, raw, z = GaussianMixture(2, components=3), torch.randn(15), torch.randn(7, 2)
    weight, loc = raw[:3].softmax(0), raw[3:9].reshape(3, 2)
    scale = torch.nn.functional.softplus(raw[9:].reshape(3, 2)) + 1e-4
    expected = sum(weight[k].item() * stats.norm(loc[k].numpy(), scale[k].numpy()).pdf(z.numpy()).prod(-1)
                   for k in range(3))
    torch.testing.assert_close(family(raw).log_prob(z).exp(), torch.as_tensor(expected))


@pytest.mark.parametrize("prior", [couplings, splines], ids=["couplings", "splines"])
@pytest.mark.parametrize("in_dim", [0, STATE])
def test_the_density_of_a_flow_is_the_change_of_variables(prior: Any, in_dim: int) -> None:
    """``log N(e) - log |det J|``, J by automatic differentiation of the draw."""
    made, e = moved(prior(in_dim, 3)), torch.tensor([0.3, -0.8, 1.1])
    found = made(*(torch.randn(in_dim),) * bool(in_dim))

    def draw(noise: Tensor) -> Tensor:
        for transform in found.transforms:
            noise = transform._call(noise)
        return noise

    jacobian = torch.autograd.functional.jacobian(draw, e)
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(e).sum() - jacobian.det().abs().log()
    torch.testing.assert_close(found.log_prob(draw(e)), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("prior", [couplings, splines], ids=["couplings", "splines"])
def test_a_flow_of_a_state_reads_it(prior: Any) -> None:
    made, z = moved(prior(STATE, 3)), torch.randn(5, 3)
    first, second = (made(torch.full((STATE,), v)).log_prob(z) for v in (0.0, 1.0))
    assert ((first - second).abs() > 1e-4).all()


def test_two_couplings_change_every_element() -> None:
    """Each element of a draw depends on the noise otherwise than as ``z_i = e_j``."""
    found, e = moved(partial(rv.FlowPrior, layers=2)(0, 3))(), torch.tensor([0.3, -0.8, 1.1])

    def draw(noise: Tensor) -> Tensor:
        for transform in found.transforms:
            noise = transform._call(noise)
        return noise

    jacobian = torch.autograd.functional.jacobian(draw, e)
    assert ((jacobian.abs() - 1.0).abs().amin(-1) > 1e-3).all() and (jacobian.abs() > 1e-6).sum() > 3


def test_splines_make_the_elements_depend_on_each_other() -> None:
    found = moved(splines(0, 2))()
    z = torch.tensor([0.4, -0.6], requires_grad=True)
    mixed = torch.autograd.functional.hessian(found.log_prob, z)[0, 1]
    assert abs(mixed) > 1e-3


def test_a_vamp_prior_is_the_mean_of_posteriors() -> None:
    """Against the model's own q at each pseudo-input."""
    for model in (rv.VAE(5, 2, H, prior=partial(rv.VampPrior, components=4)),
                  rv.VRAE(5, 2, H, prior=partial(rv.VampPrior, components=4, length=3))):
        z = torch.randn(6, 2)
        each = torch.stack([model.encoded(u.unsqueeze(0)).log_prob(z) for u in model.prior.pseudo_inputs])
        expected = each.exp().mean(0).log()
        torch.testing.assert_close(model.prior(model.encoded).log_prob(z), expected)
        drawn = poutine.trace(poutine.condition(model.model, {"z": z})).get_trace(size=(6, 4))
        torch.testing.assert_close(drawn.nodes["z"]["fn"].log_prob(z), expected)
        assert model.prior.bounded and (0 < model.prior.pseudo_inputs).all() and (model.prior.pseudo_inputs < 1).all()
