"""Zero noise: where each law stands under it."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch

import pyro_rvae as rv
from pyro_rvae.core import mean_path
from pyro_rvae.distributions import observe_elements

SCALE = torch.tensor([0.5, 2.0])


@pytest.mark.parametrize(("law", "value"), [
    (dist.Normal(SCALE, 1.0), SCALE),
    (dist.LogNormal(SCALE, 1.0), SCALE.exp()),  # what the mean of its Gaussian is sent to
    (dist.StudentT(5.0, SCALE, 1.0), SCALE),
    (dist.Beta(SCALE, 1.0), SCALE / (SCALE + 1)),
    (dist.MixtureSameFamily(dist.Categorical(torch.tensor([0.25, 0.75])), dist.Normal(SCALE, 1.0)), 1.625),
    (dist.Bernoulli(torch.tensor([0.4, 0.6])), torch.tensor([0.0, 1.0])),
    (dist.Bernoulli(torch.tensor([0.5, 0.5])), torch.tensor([0.0, 0.0])),
    (dist.Poisson(torch.tensor([0.5, 3.7])), torch.tensor([0.0, 3.0])),
    (dist.ZeroInflatedPoisson(torch.tensor([0.5, 4.0]), gate=torch.tensor([0.5, 0.1])), torch.tensor([0.0, 4.0])),
    (dist.OneHotCategorical(torch.tensor([0.2, 0.8])), torch.tensor([0.0, 1.0])),
])
def test_where_a_law_stands(law: Any, value: Any) -> None:
    with mean_path():
        drawn = poutine.trace(lambda: pyro.sample("z", law)).get_trace().nodes["z"]["value"]
    assert torch.allclose(drawn, torch.as_tensor(value).to(drawn))


def test_a_law_that_stands_nowhere() -> None:
    law = rv.NADE(3, hidden=4)(torch.zeros(rv.NADE(3, hidden=4).num_params))
    with pytest.raises(ValueError, match="MaskedBernoulli has neither a mean nor a most probable value.*mean=False"), \
            mean_path():
        pyro.sample("x", law)


def test_the_mean_of_a_frame_with_gaps_is_that_of_the_whole_frame() -> None:
    law = dist.MultivariateNormal(SCALE, torch.eye(2))
    seen = observe_elements(law, torch.tensor([[True, False], [False, False], [True, True]]))
    assert torch.equal(seen.mean, SCALE.expand(3, 2))
