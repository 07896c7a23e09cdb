"""Conditionals: how they are built, and the formulas of the combiner and of the Gaussian chain."""

from __future__ import annotations

from functools import partial
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

import pyro_rvae as rv
from pyro_rvae.distributions import Family, conditional
from pyro_rvae.priors import StandardNormal

IN, DIM = 4, 3


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


# ------------------------------------------------------------------------------------------------------ building
@pytest.mark.parametrize("part", [
    rv.Normal, rv.Normal(DIM), partial(rv.Normal, scale=0.5), partial(rv.Categorical, classes=5),
    rv.AutoregressiveBernoulli,
], ids=lambda p: getattr(p, "__name__", type(p).__name__))
def test_a_family_gets_a_network_of_the_right_width(part: Any) -> None:
    built = conditional(part, IN, DIM, hidden=(6,), dropout=0.1)
    assert isinstance(built, rv.Conditional) and isinstance(built.family, Family)
    assert [type(m) for m in built.net] == [nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]
    law = built(torch.randn(2, 1, 1), torch.randn(2, 5, IN - 1))
    assert law.batch_shape == (2, 5) and law.event_shape == (DIM,)
    if isinstance(part, Family):
        assert built.family is part


def test_another_class_is_called_with_widths_first() -> None:
    assert isinstance(conditional(StandardNormal, IN, DIM), StandardNormal)
    chain = conditional(partial(rv.GaussianChain, hidden=(7,)), DIM + 2, DIM)
    assert isinstance(chain, rv.GaussianChain) and chain.net[0].out_features == 7


def test_a_whole_conditional_is_taken_as_it_is() -> None:
    def plain(h: Tensor) -> Any:
        return dist.Normal(h, 1.0).to_event(1)

    part = rv.Conditional(nn.Linear(IN, 2 * DIM), rv.Normal(DIM))
    assert conditional(plain, IN, DIM) is plain and conditional(part, IN, DIM) is part


@pytest.mark.parametrize(("part", "error", "message"), [
    (rv.Normal(2), ValueError, "Normal was built for 2 elements, the model needs 3"),
    (rv.Forward(2, 2), TypeError, "expected a conditional .* or a Family, got Forward"),
    ("normal", TypeError, "expected a conditional .*got str"),
    (None, TypeError, "got NoneType"),
])
def test_what_is_no_conditional(part: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        conditional(part, IN, DIM)


def test_a_family_may_be_any_function_of_the_raw_parameters() -> None:
    part = rv.Conditional(nn.Linear(IN, DIM), lambda raw: dist.Normal(raw, 1.0).to_event(1))
    assert part(torch.zeros(2, IN)).event_shape == (DIM,)


def test_set_bias_sets_the_last_layer() -> None:
    part = conditional(rv.Bernoulli, IN, DIM, hidden=(6,))
    part.set_bias(torch.tensor([1.0, 2.0, 3.0]))
    assert part.net[-1].bias.tolist() == [1.0, 2.0, 3.0] and part.net[-1].bias.requires_grad
    with pytest.raises(ValueError, match=r"last linear layer has bias \(3,\), got \(2,\)"):
        part.set_bias(torch.zeros(2))
    with pytest.raises(ValueError, match="has bias None"):
        rv.Conditional(nn.Linear(2, 2, bias=False), rv.Bernoulli(2)).set_bias(torch.zeros(2))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_parameters_become_float32(dtype: torch.dtype) -> None:
    """A log-density in half precision is off by 0.1 nats a frame."""
    z, g = torch.randn(2, DIM).to(dtype), torch.randn(2, IN).to(dtype)
    assert conditional(rv.Bernoulli, IN, DIM).to(dtype).params(g).dtype == torch.float32
    assert rv.Combiner(DIM + IN, DIM).to(dtype).params(z, g).dtype == torch.float32
    assert rv.GaussianChain(DIM + IN, DIM).to(dtype).coefficients(g)[0].dtype == torch.float32


# ------------------------------------------------------------------------------------------------------ formulas
def test_combiner_is_its_formula() -> None:
    part = rv.Combiner(DIM + IN + 2, DIM, hidden=6)
    z, g, more = (torch.randn(5, width) for width in (DIM, IN, 2))
    h = 0.5 * (torch.tanh(z @ part.latent.weight.T + part.latent.bias)
               + torch.cat([g, more], -1) @ part.features.weight.T + part.features.bias)
    loc, raw = (h @ part.output.weight.T + part.output.bias).chunk(2, -1)
    law = part(z, g, more).base_dist
    close(law.loc, loc)
    close(law.scale, softplus(raw) + 1e-4)


def chain(**given: Any) -> tuple[rv.GaussianChain, Tensor]:
    torch.manual_seed(3)
    return rv.GaussianChain(DIM + IN, DIM, **given), torch.randn(2, 6, IN)


def test_chain_is_its_formula() -> None:
    part, g = chain()
    alpha, b, rho = (g @ part.net[0].weight.T + part.net[0].bias).chunk(3, -1)
    z = torch.randn(2, 6, DIM)
    law = part(z, g).base_dist
    close(law.loc, torch.sigmoid(alpha + 1) * z + b)
    close(law.scale, softplus(rho) + 1e-4)


@pytest.mark.parametrize("hidden", [(), (7,)], ids=["linear", "hidden"])
def test_a_path_drawn_at_once_equals_stepping(hidden: tuple[int, ...]) -> None:
    part, g = chain(hidden=hidden)
    init, noise = torch.randn(DIM), torch.randn(2, 6, DIM)
    path, law = part.draw_path(init, g, noise=noise)
    z, density = init.expand(2, DIM), []
    for t in range(6):
        step = part(z, g[:, t])
        z = step.base_dist.loc + step.base_dist.scale * noise[:, t]
        close(path[:, t], z)
        density.append(step.log_prob(z))
    close(law.log_prob(path), torch.stack(density, -1))
    before = torch.cat([init.expand(2, 1, DIM), path[:, :-1]], 1)
    close(part(before, g).log_prob(path), law.log_prob(path))


def test_a_path_drawn_at_once_is_the_joint_gaussian_of_the_chain() -> None:
    """Mean and covariance of (z_1, z_2) by hand, against many draws."""
    part, g = chain()
    a, b, s = (v[0, :2, 0].detach() for v in part.coefficients(g))
    noise = torch.randn(20000, 6, DIM)
    path, _ = part.draw_path(torch.zeros(DIM), g[:1].expand(20000, -1, -1), noise=noise)
    mean = torch.stack([b[0], a[1] * b[0] + b[1]])
    covariance = torch.tensor([[s[0]**2, a[1] * s[0]**2], [a[1] * s[0]**2, a[1]**2 * s[0]**2 + s[1]**2]])
    draws = path[:, :2, 0].detach()
    torch.testing.assert_close(draws.mean(0), mean, rtol=0, atol=0.05)
    torch.testing.assert_close(draws.T.cov(), covariance, rtol=0, atol=0.05)


def test_a_path_has_particles_in_front() -> None:
    part, g = chain()
    noise = torch.randn(4, 2, 6, DIM)
    path, law = part.draw_path(torch.zeros(DIM), g, noise=noise)
    assert path.shape == (4, 2, 6, DIM) and law.log_prob(path).shape == (4, 2, 6)
    close(path[1], part.draw_path(torch.zeros(DIM), g, noise=noise[1])[0])
