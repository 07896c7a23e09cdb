"""The Bernoulli frames that are autoregressive within: a masked network, and NADE."""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import scipy.stats as stats
import torch
from torch import Tensor

import pyro_rvae as rv

DIM = 5
FRAMES = torch.tensor(list(itertools.product([0.0, 1.0], repeat=DIM)), dtype=torch.float64)


def masked(hidden: int = 20) -> rv.AutoregressiveBernoulli:
    torch.manual_seed(1)
    out = rv.AutoregressiveBernoulli(DIM, hidden=hidden)
    for parameter in out.parameters():
        torch.nn.init.normal_(parameter)
    return out


def raw(model: rv.Family) -> Tensor:
    return 0.5 * torch.randn(model.num_params, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("hidden", [1, 3, 5, 7, 20])
def test_probabilities_sum_to_one_over_all_frames(hidden: int) -> None:
    model = masked(hidden)
    log_p = model(raw(model).expand(32, -1)).log_prob(FRAMES)
    assert abs(log_p.logsumexp(0).item()) < 1e-12 and log_p.shape == (32,)


def test_each_element_depends_on_the_ones_before_it_only() -> None:
    model = masked()
    jacobian = torch.autograd.functional.jacobian(lambda x: model.logits(x, raw(model)), torch.rand(DIM))
    assert not jacobian.triu().any()
    assert jacobian.tril(-1)[torch.ones(DIM, DIM).tril(-1).bool()].all()


def test_every_element_sees_the_inputs_of_the_frame() -> None:
    """The first element has hidden units of its own, that read no other element."""
    model, params = masked(), raw(masked()).requires_grad_()
    for i in range(DIM):
        gradient = torch.autograd.grad(model.logits(torch.ones(DIM), params)[i], params)[0]
        assert gradient[: model.hidden].any() and gradient[model.hidden + i]


def test_density_is_the_product_of_its_conditionals() -> None:
    """Written with loops from the formula in its docstring."""
    model, params, x = masked(7), raw(masked(7)), FRAMES[19]
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


def goodness_of_fit(draws: Tensor, expected: Tensor) -> float:
    """The p-value of draws ``(N, DIM)`` under expected counts of the 32 frames."""
    codes = (draws * 2 ** torch.arange(DIM - 1, -1, -1)).sum(-1).long()
    counts, keep = torch.bincount(codes, minlength=32).double(), expected > 5
    scale = counts[keep].sum() / expected[keep].sum()
    return float(stats.chisquare(counts[keep].numpy(), (scale * expected[keep]).numpy()).pvalue)


def test_draws_follow_the_density() -> None:
    model = masked()
    draws = model(raw(model).expand(4000, -1)).sample()
    expected = 4000 * model(raw(model).expand(32, -1)).log_prob(FRAMES).exp().detach()
    assert goodness_of_fit(draws, expected) > 0.01


def test_shapes_and_expansion() -> None:
    model = masked()
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


# ---------------------------------------------------------------------------------------------------------- NADE
MIXED = [3, 0, 4, 1, 2]
NADES: dict[str, Any] = {
    "plain": {},
    "one unit": {"hidden": 1},
    "downwards": {"order": range(DIM - 1, -1, -1)},
    "near": {"channels": 3, "width": 2},
    "near, wide": {"channels": 2, "width": 9},
    "near, mixed order": {"channels": 3, "width": 2, "order": MIXED},
}


def nade(name: str) -> rv.NADE:
    torch.manual_seed(3)
    out = rv.NADE(DIM, **{"hidden": 7, **NADES[name]})
    for parameter in out.parameters():
        torch.nn.init.normal_(parameter)
    return out


@pytest.mark.parametrize("name", NADES)
def test_nade_sums_to_one_over_all_frames(name: str) -> None:
    model = nade(name)
    log_p = model(raw(model).expand(32, -1)).log_prob(FRAMES)
    assert abs(log_p.logsumexp(0).item()) < 1e-12 and log_p.shape == (32,)


@pytest.mark.parametrize("name", NADES)
def test_nade_is_the_product_of_its_conditionals(name: str) -> None:
    """Written with loops from the formula in its docstring, for every frame."""
    model, given = nade(name), raw(nade(name))
    order = list(NADES[name].get("order", range(DIM)))
    h, c_end = model.hidden, model.hidden + DIM
    b, c, e = given[:h], given[h:c_end], given[c_end:].reshape(DIM, model.channels)
    for x in FRAMES:
        total = torch.zeros(())
        for place, i in enumerate(order):
            inside = b + sum((model.read.weight[:, j] * x[j] for j in order[:place]), torch.zeros(h))
            logit = c[i] + model.write.weight[i] @ torch.relu(inside)
            if model.channels:
                window = [x[order[place - k]] if place >= k else torch.zeros(()) for k in range(model.width, 0, -1)]
                near = torch.relu(e[i] + model.near.weight @ torch.stack(window))
                near = torch.relu(model.head[2].weight @ near + model.head[2].bias)
                logit = logit + model.head[5].weight[0] @ near + model.head[5].bias[0]
            total = total + (logit if x[i] else -logit).sigmoid().log()
        torch.testing.assert_close(model(given).log_prob(x), total)


@pytest.mark.parametrize("name", NADES)
def test_nade_draws_follow_its_density(name: str) -> None:
    model = nade(name)
    law = model(raw(model).expand(4000, -1))
    expected = 4000 * model(raw(model)).log_prob(FRAMES).exp().detach()
    assert goodness_of_fit(law.sample(), expected) > 0.01
    assert law.sample((2,)).shape == (2, 4000, DIM) and not law.sample().requires_grad


@pytest.mark.parametrize("name", ["plain", "near, mixed order"])
def test_a_frame_alone_has_the_density_it_has_among_fuller_ones(name: str) -> None:
    """The rows of hidden units are as many as the fullest frame needs (on a GPU, dim + 1)."""
    law = nade(name)(raw(nade(name)))
    alone = torch.stack([law.log_prob(x) for x in FRAMES])
    torch.testing.assert_close(alone, law.log_prob(FRAMES), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["plain", "near, mixed order"])
def test_nade_in_an_order_is_nade_of_permuted_frames(name: str) -> None:
    """An element depends on the ones before it in the order, on all of them, and on no other."""
    model, place = nade(name), torch.tensor(list(NADES[name].get("order", range(DIM)))).argsort()
    jacobian = torch.autograd.functional.jacobian(lambda x: model.logits(x, raw(model)), torch.rand(DIM))
    assert torch.equal(jacobian != 0, place.unsqueeze(-1) > place)


def test_nade_gradients() -> None:
    """Against finite differences, by its raw parameters and its weights."""
    model = nade("near, mixed order")
    weights = dict(model.named_parameters())

    def density(given: Tensor, *values: Tensor) -> Tensor:
        parts = dict(zip(weights, values, strict=True))
        return torch.func.functional_call(model, parts, (given,)).log_prob(FRAMES[11])

    assert torch.autograd.gradcheck(density, (raw(model).requires_grad_(), *weights.values()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("size", [-1e4, -50.0, 50.0, 1e4])
def test_nade_is_finite_at_extremes(size: float, dtype: torch.dtype) -> None:
    model = nade("near").to(dtype)
    given = torch.full((32, model.num_params), size, dtype=dtype, requires_grad=True)
    density = model(given).log_prob(FRAMES.to(dtype))
    assert density.isfinite().all() and (density <= 0).all()
    assert all(g.isfinite().all() for g in torch.autograd.grad(density.sum(), [given, *model.parameters()]))
    assert model(given).sample().dtype == dtype


def test_nade_shapes_dropout_and_bias() -> None:
    model = rv.NADE(DIM, hidden=50, channels=2, dropout=0.5)
    law = model(torch.randn(2, 3, model.num_params))
    assert law.event_shape == (DIM,) and law.batch_shape == (2, 3)
    assert law.expand((4, 2, 3)).sample((5,)).shape == (5, 4, 2, 3, DIM)
    assert law.log_prob(torch.zeros(DIM)).shape == (2, 3) and law.log_prob(torch.ones(4, 1, 1, DIM)).shape == (4, 2, 3)
    one = law.log_prob(torch.ones(DIM))
    assert (one != law.log_prob(torch.ones(DIM))).all()
    model.eval()
    assert torch.equal(law.log_prob(torch.ones(DIM)), law.log_prob(torch.ones(DIM)))
    found = model.bias(FRAMES[:12])
    assert found.shape == (model.num_params,) and not found[:50].any() and not found[50 + DIM:].any()
    torch.testing.assert_close(found[50:50 + DIM], rv.Bernoulli(DIM).bias(FRAMES[:12]))


@pytest.mark.parametrize(("arguments", "message"), [
    ({"order": [0, 1, 2, 3, 3]}, r"NADE: order must hold each of 0\.\.4 once, got \[0, 1, 2, 3, 3\]"),
    ({"order": [0, 1]}, r"got \[0, 1\]"),
    ({"hidden": 0}, "hidden and width must be at least 1 .* got hidden=0"),
    ({"channels": -1}, "channels=-1"),
    ({"width": 0}, "width=0"),
])
def test_nade_refuses(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rv.NADE(DIM, **arguments)


@pytest.mark.parametrize("likelihood", [rv.AutoregressiveBernoulli, rv.NADE])
def test_missing_elements_are_refused(likelihood: Any) -> None:
    model, x = rv.DMM(DIM, 2, 6, likelihood=partial(likelihood, hidden=8)), torch.zeros(2, 4, DIM)
    x[0, 1, 2] = torch.nan
    with pytest.raises(ValueError, match="MaskedBernoulli can neither skip nor marginalise missing elements"):
        model.model(x)


# -------------------------------------------------------------------------------- with the frame before beside it
def test_near_features_of_the_frame_before() -> None:
    """Written with loops from the formula in its docstring."""
    part = rv.PreviousNADE(2 + DIM, DIM, layers=(6, 4), hidden=7, channels=3, width=2)
    for parameter in part.parameters():
        torch.nn.init.normal_(parameter)
    u, previous = torch.randn(2), FRAMES[13]
    features = part.net.features(torch.cat([u, previous]))
    b, c, e = part.family.split(part.params(u, previous))
    whole, q = part.net.whole.weight @ features, part.net.output_bias
    torch.testing.assert_close(b, whole[:7] + q[:7])
    torch.testing.assert_close(c, whole[7:] + q[7:7 + DIM])
    for i in range(DIM):
        expected = q[7 + DIM + 3 * i:][:3] + part.net.tied(features)
        for k in range(-2, 3):
            if 0 <= i + k < DIM:
                expected = expected + part.net.around.weight[:, k + 2] * previous[i + k]
        torch.testing.assert_close(e[i], expected)
    log_p = part(u.expand(32, -1), previous.expand(32, -1)).log_prob(FRAMES)
    assert abs(log_p.logsumexp(0).item()) < 1e-12


def test_previous_nade_names_what_it_must_be_given() -> None:
    likelihood = partial(rv.PreviousNADE, hidden=8, channels=2)
    for arguments in ({}, {"skip_edges": True}):
        with pytest.raises(ValueError, match=r"PreviousNADE: .*x_\{t-1\}"):
            rv.DMM(DIM, 2, 6, likelihood=likelihood, **arguments).model(torch.zeros(2, 4, DIM))
    with pytest.raises(ValueError, match=r"DMM: skip computes the skip edges' features; give skip_edges=True"):
        rv.DMM(DIM, 2, 6, skip=torch.nn.Identity)


def test_a_dmm_with_previous_nade_draws_and_is_saved(tmp_path: Path) -> None:
    model = rv.DMM(DIM, 2, 6, skip_edges=True, skip=torch.nn.Identity, skip_dim=DIM,
                   likelihood=partial(rv.PreviousNADE, layers=(6,), hidden=8, channels=2))
    drawn = rv.generate(model, 3, 4, seed=0)
    assert drawn.shape == (3, 4, DIM) and ((drawn == 0) | (drawn == 1)).all()
    rv.save_pretrained(model, tmp_path / "run")
    again, x = rv.from_pretrained(tmp_path / "run"), FRAMES[:12].reshape(2, 6, DIM)
    law = [m.eval().likelihood(torch.ones(2), x).log_prob(x) for m in (model, again)]
    assert torch.equal(*law)


@pytest.mark.parametrize(("in_dim", "channels", "message"), [
    (4, 2, r"needs x_\{t-1\} \(5 numbers\) among its inputs .* got inputs 4 wide and channels=2"),
    (9, 0, "channels=0"),
])
def test_previous_nade_refuses(in_dim: int, channels: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rv.PreviousNADE(in_dim, DIM, channels=channels)
