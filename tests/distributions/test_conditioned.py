"""Missing elements given present ones, against the formulas for Gaussians and against brute force."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import pyro_rvae as rv
from pyro_rvae.distributions import StrokeMixture, complete

D, N = 4, 40_000


def gaussian(low_rank: bool) -> Any:
    torch.manual_seed(1)
    if low_rank:
        return rv.LowRankNormal(D)(torch.randn(4 * D))
    return dist.MultivariateNormal(torch.randn(D), scale_tril=torch.randn(D, D).tril(-1) + torch.eye(D))


def of_formula(law: Any, x: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    s, o, m = law.covariance_matrix, present.nonzero()[:, 0], (~present).nonzero()[:, 0]
    gain = s[m][:, o] @ torch.linalg.inv(s[o][:, o])
    return law.loc[m] + gain @ (x[o] - law.loc[o]), s[m][:, m] - gain @ s[o][:, m]


@pytest.mark.parametrize("low_rank", [False, True])
@pytest.mark.parametrize("with_noise", [False, True])
def test_gaussian_elements_given_the_others(low_rank: bool, with_noise: bool) -> None:
    law, present = gaussian(low_rank), torch.tensor([True, False, True, False])
    x = torch.tensor([0.7, torch.nan, -1.2, torch.nan])
    noise = torch.randn(N, D) if with_noise else None
    made = complete(law.expand((N,)), x.expand(N, D), present, noise)
    assert (made[:, present] == x[present]).all(), "the present ones are returned as they are"
    mean, covariance = of_formula(law, x, present)
    drawn = made[:, ~present]
    assert torch.allclose(drawn.mean(0), mean, atol=0.03)
    assert torch.allclose(drawn.T.cov(), covariance, rtol=0.05, atol=0.05)


def test_noise_in_makes_the_draw_a_function_of_it() -> None:
    law, noise, x = gaussian(False), torch.randn(3, D), torch.full((3, D), torch.nan)
    x[1, 0] = 2.0
    first, second = (complete(law.expand((3,)), x, ~x.isnan(), noise) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.allclose(first[0], law.loc + law.scale_tril @ noise[0]), "of a wholly missing frame: the plain draw"


def test_of_nothing_missing_the_frame_stays() -> None:
    x = torch.randn(5, D)
    assert torch.equal(complete(gaussian(True).expand((5,)), x, torch.ones(5, D, dtype=torch.bool)), x)


@pytest.mark.parametrize("noise", [False, True])
@pytest.mark.parametrize("law", [dist.Normal(torch.tensor([1.0, -2.0]), torch.tensor([0.5, 2.0])),
                                 dist.Bernoulli(torch.tensor([0.2, 0.7])), dist.StudentT(5.0, torch.zeros(2), 0.3),
                                 dist.Poisson(torch.tensor([0.5, 4.0]))], ids=lambda law: type(law).__name__)
def test_independent_elements_have_their_own_law(law: Any, noise: bool) -> None:
    """Under masks and with time in the event, as a site of a model states it."""
    site = law.expand((N, 1, 2)).mask(torch.zeros(N, 1, 2, dtype=torch.bool)).to_event(1)
    site = site.mask(torch.ones(N, 1, dtype=torch.bool)).to_event(1)
    x = torch.full((N, 1, 2), torch.nan)
    made = complete(site, x, ~x.isnan(), torch.randn(N, 1, 2) if noise else None)[:, 0]
    assert torch.allclose(made.mean(0), law.mean, atol=5 * float(law.stddev.max()) / N**0.5)
    assert torch.allclose(made.std(0), law.stddev, rtol=0.05)


def test_codes_have_their_probabilities() -> None:
    law = dist.Categorical(torch.tensor([[0.1, 0.6, 0.3], [0.5, 0.0, 0.5]])).expand((N, 2)).to_event(1)
    for noise in (None, torch.randn(N, 2)):
        made = complete(law, torch.full((N, 2), -1), torch.zeros(N, 2, dtype=torch.bool), noise)
        assert made.dtype == torch.long
        share = torch.stack([(made == k).double().mean(0) for k in range(3)], -1)
        assert torch.allclose(share, law.base_dist.probs[0], atol=0.012) and not (made[:, 1] == 1).any()


@pytest.mark.parametrize("missing", [(0,), (1,), (0, 1), (0, 1, 2), (2,)])
def test_strokes_against_weighted_draws(missing: tuple[int, ...]) -> None:
    """The component by its probability given what is there: against self-normalised weights of all components."""
    torch.manual_seed(2)
    law = rv.PenStrokes(components=3)(torch.randn(19))
    present = torch.ones(3, dtype=torch.bool)
    present[list(missing)] = False
    x = torch.tensor([0.3, -0.8, 1.0]).masked_fill(~present, torch.nan)
    made = complete(law.expand((N,)), x.expand(N, 3), present)
    assert isinstance(law, StrokeMixture) and torch.equal(made[:, present], x[present].expand(N, -1))
    mean, second = by_components(law, x, present)
    drawn = made[:, :2][:, ~present[:2]]
    assert torch.allclose(drawn.mean(0), mean, atol=0.05)
    assert torch.allclose(drawn.T @ drawn / N, second, rtol=0.05, atol=0.05)
    if 2 in missing:
        assert abs(made[:, 2].mean() - law.pen.sigmoid()) < 0.02


def by_components(law: Any, x: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """First and second moments of the missing offsets: Gaussians of each component, weighted."""
    there = present[:2]
    laws, weights = [], []
    for k in range(3):
        scale = law.scale[:, k]
        off = law.correlation[k] * scale.prod()
        joint = dist.MultivariateNormal(law.loc[:, k], torch.diag(scale**2) + off * torch.tensor([[0.0, 1], [1, 0.0]]))
        seen = dist.Normal(joint.loc, scale).log_prob(x[:2].nan_to_num(0.0))[there].sum()
        laws.append(of_formula(joint, x[:2], there))
        weights.append(law.logits[k] + seen)
    w = torch.stack(weights).softmax(0)
    return (sum(p * m for p, (m, _) in zip(w, laws, strict=True)),  # type: ignore[return-value]
            sum(p * (c + m.outer(m)) for p, (m, c) in zip(w, laws, strict=True)))


def test_an_unknown_law_is_refused() -> None:
    law = dist.Dirichlet(torch.ones(2, 3))
    with pytest.raises(ValueError, match="Dirichlet can't draw missing elements.*elements are independent"):
        complete(law, torch.rand(2, 3), torch.zeros(2, 3, dtype=torch.bool))
