"""The Bernoulli that is autoregressive within a frame."""

from __future__ import annotations

import itertools

import pytest
import scipy.stats as stats
import torch
from torch import Tensor

import pyro_rvae as rv

DIM = 5
FRAMES = torch.tensor(list(itertools.product([0.0, 1.0], repeat=DIM)), dtype=torch.float64)


def family(hidden: int = 20) -> rv.AutoregressiveBernoulli:
    torch.manual_seed(1)
    out = rv.AutoregressiveBernoulli(DIM, hidden=hidden)
    for parameter in out.parameters():
        torch.nn.init.normal_(parameter)
    return out


def raw(model: rv.AutoregressiveBernoulli) -> Tensor:
    return 0.5 * torch.randn(model.num_params, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("hidden", [1, 3, 5, 7, 20])
def test_probabilities_sum_to_one_over_all_frames(hidden: int) -> None:
    model = family(hidden)
    log_p = model(raw(model).expand(32, -1)).log_prob(FRAMES)
    assert abs(log_p.logsumexp(0).item()) < 1e-12 and log_p.shape == (32,)


def test_each_element_depends_on_the_ones_before_it_only() -> None:
    model = family()
    jacobian = torch.autograd.functional.jacobian(lambda x: model.logits(x, raw(model)), torch.rand(DIM))
    assert not jacobian.triu().any()
    assert jacobian.tril(-1)[torch.ones(DIM, DIM).tril(-1).bool()].all()


def test_every_element_sees_the_inputs_of_the_frame() -> None:
    """The first element has hidden units of its own, that read no other element."""
    model, params = family(), raw(family()).requires_grad_()
    for i in range(DIM):
        gradient = torch.autograd.grad(model.logits(torch.ones(DIM), params)[i], params)[0]
        assert gradient[: model.hidden].any() and gradient[model.hidden + i]


def test_density_is_the_product_of_its_conditionals() -> None:
    """Written with loops from the formula in its docstring."""
    model, params, x = family(7), raw(family(7)), FRAMES[19]
    b, c = params[:7], params[7:]
    total = torch.zeros(())
    for i in range(DIM):
        logit = c[i]
        for k in range(7):
            degree = k * DIM // 7
            if degree <= i:
                inside = b[k] + sum(model.read.weight[k, j] * x[j] for j in range(degree))
                logit = logit + model.write.weight[i, k] * torch.relu(inside)
        p = torch.sigmoid(logit)
        total = total + torch.log(p if x[i] else 1 - p)
    torch.testing.assert_close(model(params).log_prob(x), total)


def test_draws_follow_the_density() -> None:
    model = family()
    law = model(raw(model).expand(4000, -1))
    draws = law.sample()
    codes = (draws * 2 ** torch.arange(DIM - 1, -1, -1)).sum(-1).long()
    expected = 4000 * model(raw(model).expand(32, -1)).log_prob(FRAMES).exp().detach()
    counts = torch.bincount(codes, minlength=32).double()
    keep = expected > 5
    scale = counts[keep].sum() / expected[keep].sum()
    assert stats.chisquare(counts[keep].numpy(), (scale * expected[keep]).numpy()).pvalue > 0.01


def test_shapes_and_expansion() -> None:
    model = family()
    law = model(raw(model).expand(2, 3, -1))
    assert law.event_shape == (DIM,) and law.batch_shape == (2, 3) and not law.has_rsample
    assert law.expand((4, 2, 3)).sample((5,)).shape == (5, 4, 2, 3, DIM)
    assert law.log_prob(torch.zeros(DIM)).shape == (2, 3)


def test_drawing_touches_no_gradient_and_dropout_stops_in_evaluation() -> None:
    model = rv.AutoregressiveBernoulli(DIM, hidden=50, dropout=0.5)
    params = torch.randn(model.num_params, requires_grad=True)
    assert not model(params).sample().requires_grad
    x = torch.ones(DIM)
    assert model(params).log_prob(x) != model(params).log_prob(x)
    model.eval()
    assert model(params).log_prob(x) == model(params).log_prob(x)
