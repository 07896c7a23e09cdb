"""Missing elements of a frame, as a distribution over the filled frame."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from pyro_rvae.distributions import observe_elements

PRESENT = torch.tensor([[True, False, True], [False, False, False], [True, True, True]])


def test_independent_elements_are_skipped() -> None:
    law, x = dist.Normal(torch.randn(3, 3), 1.5).to_event(1), torch.randn(3, 3)
    expected = (law.base_dist.log_prob(x) * PRESENT).sum(-1)
    skipped = observe_elements(law, PRESENT)
    assert skipped.event_shape == (3,) and skipped.batch_shape == (3,)
    torch.testing.assert_close(skipped.log_prob(x), expected)


def test_one_law_for_many_frames() -> None:
    law = dist.Bernoulli(torch.full((3,), 0.3)).to_event(1)
    assert observe_elements(law, PRESENT).log_prob(torch.zeros(3, 3)).shape == (3,)


def normal(*batch: int) -> Any:
    root = torch.randn(*batch, 3, 3)
    return dist.MultivariateNormal(torch.randn(*batch, 3), root @ root.mT + 0.5 * torch.eye(3))


def marginal(law: Any, x: Tensor, keep: Tensor) -> Tensor:
    if not keep.any():
        return torch.zeros(())
    return dist.MultivariateNormal(law.loc[keep], law.covariance_matrix[keep][:, keep]).log_prob(x[keep])


def test_a_full_covariance_is_marginalised() -> None:
    law, x = normal(), torch.randn(3, 3)
    ours = observe_elements(law, PRESENT)
    expected = torch.stack([marginal(law, x[i], PRESENT[i]) for i in range(3)])
    torch.testing.assert_close(ours.log_prob(x.masked_fill(~PRESENT, 0.0)), expected)
    assert ours.expand((2, 3)).log_prob(x).shape == (2, 3) and ours.sample((4,)).shape == (4, 3, 3)


def test_the_filling_does_not_matter_and_gradients_are_finite() -> None:
    loc = torch.zeros(3, 3, requires_grad=True)
    law = dist.MultivariateNormal(loc, normal().covariance_matrix)
    densities = [observe_elements(law, PRESENT).log_prob(torch.randn(3, 3).masked_fill(~PRESENT, fill))
                 for fill in (0.0, 7.0) for _ in [torch.manual_seed(0)]]
    torch.testing.assert_close(densities[0], densities[1])
    gradient = torch.autograd.grad(densities[0].sum(), loc)[0]
    assert gradient.isfinite().all() and not gradient[~PRESENT].any()


@pytest.mark.parametrize("law", [
    dist.Dirichlet(torch.ones(3)),
    dist.MultivariateStudentT(5.0, torch.zeros(3), torch.eye(3)),
    dist.MixtureSameFamily(dist.Categorical(torch.ones(2)), dist.Normal(torch.zeros(2, 3), 1.0).to_event(1)),
    dist.Normal(torch.zeros(2, 3), 1.0).to_event(2),
], ids=lambda law: type(law).__name__)
def test_what_can_do_neither_says_so(law: Any) -> None:
    with pytest.raises(ValueError, match=f"{type(law).__name__} can neither skip nor marginalise"):
        observe_elements(law, PRESENT)


def test_a_law_of_ones_own_may_be_registered() -> None:
    class Mine(dist.Dirichlet):
        pass

    observe_elements.register(Mine)(lambda fn, present: "mine")
    assert observe_elements(Mine(torch.ones(3)), PRESENT) == "mine"
