"""IWAE and the path derivative: values from the equations, gradients by hand, in the mean and in their noise."""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from laws import forms_agree, iwae, loss_and_gradients, same, same_all
from models.test_equations import EQUATIONS, cut
from pyro.infer import RenyiELBO, Trace_ELBO
from torch import Tensor, nn
from zoo import LENGTHS, MASK, ZOO, B

import pyro_rvae as rv
from pyro_rvae.infer.objective import particle_plate

K = 3
DOUBLY = rv.IWAE(K, doubly_reparametrized=True)
OURS = [rv.IWAE(K), DOUBLY, rv.PathDerivative(K)]
IDS = ["IWAE", "DReG", "path"]


def arguments(name: str) -> tuple[rv.SequenceVAE, Tensor, Tensor | None, dict[str, Tensor]]:
    case = ZOO[name]
    return case.make().eval(), case.x(), None if case.static else MASK, case.extra()


# ------------------------------------------------------------------------------------------- values
@pytest.mark.parametrize("name", ["VRNN", "DMM-combiner", "VRAE", "HRAE", "VAE", "KVAE"])
def test_values_from_the_equations(name: str) -> None:
    """Each particle of each sequence scored in plain torch; log-mean-exp, and the mean, of each sequence."""
    model, x, mask, _ = arguments(name)
    with rv.given_noise(0), particle_plate(K):
        trace = poutine.trace(model.guide).get_trace(x, mask)
    drawn = {n: s["value"] for n, s in trace.iter_stochastic_nodes() if s["cond_indep_stack"]}
    lengths = [1] * B if mask is None else LENGTHS.tolist()
    log_w = torch.zeros(K, B)
    for k in range(K):
        for b, length in enumerate(lengths):
            values = {n: cut(v[k], b, length) for n, v in drawn.items()}
            log_p, log_q = EQUATIONS[name](model, x[b] if mask is None else x[b, :length], values)
            log_w[k, b] = log_p - log_q
    for elbo, bound in zip(OURS, (iwae(log_w), iwae(log_w), log_w.mean(0)), strict=True):
        with rv.given_noise(0):
            assert elbo.loss(model.model, model.guide, x, mask) == pytest.approx(-bound.sum().item(), rel=1e-10)


@pytest.mark.parametrize("name", ["VRNN", "DMM", "gaps-DMM", "slow-clock", "STORN-flow", "supervised-VRNN", "ZForcing"])
def test_the_plain_bound_is_pyros_where_nothing_is_shared(name: str) -> None:
    """Loss and every gradient; in evaluation mode, so that no auxiliary cost is a weight of Pyro's."""
    model, x, mask, known = arguments(name)
    pyros = RenyiELBO(num_particles=K, vectorize_particles=True, max_plate_nesting=1)
    expected, gradients = loss_and_gradients(model, pyros, x, mask, **known)
    loss, ours = loss_and_gradients(model, rv.IWAE(K), x, mask, **known)
    same(loss, expected, "loss")
    same_all(ours, gradients, "gradient")


@pytest.mark.parametrize("elbo", OURS, ids=IDS)
@pytest.mark.parametrize("name", ["VRNN", "DMM-combiner", "HRAE", "shared", "bayesian", "VRAE"])
def test_forms_agree(name: str, elbo: Any) -> None:
    model, x, mask, known = arguments(name)
    forms_agree(model, elbo, x, mask, **known)


@pytest.mark.parametrize("elbo", OURS, ids=IDS)
def test_padding_never_matters(elbo: Any) -> None:
    model, x, mask, _ = arguments("DMM")
    whole, gradients = loss_and_gradients(model, elbo, torch.where(MASK.unsqueeze(-1), x, torch.nan), mask)
    total, sums = 0.0, {name: torch.zeros_like(g) for name, g in gradients.items()}
    for b, length in enumerate(LENGTHS.tolist()):
        loss, alone = loss_and_gradients(model, elbo, x[b:b + 1, :length], sequences=torch.tensor([b]))
        total += loss
        sums = {name: g + alone[name] for name, g in sums.items()}
    same(total, whole, "loss")
    same_all(sums, gradients, "gradient")


@pytest.mark.parametrize("elbo", OURS, ids=IDS)
def test_what_is_shared_is_drawn_once(elbo: Any) -> None:
    """Given the one draw the bound is one of each sequence; the KL of the scale counts with B/N."""
    model, x, mask, _ = arguments("shared")
    model.num_sequences = 5 * B
    with rv.given_noise(0):
        loss = elbo.loss(model.model, model.guide, x, mask)
    with rv.given_noise(0), particle_plate(K):
        q = poutine.trace(model.guide).get_trace(x, mask)
        p = poutine.trace(poutine.replay(model.model, q)).get_trace(x, mask)
    assert q.nodes["s"]["value"].shape == () and q.nodes["z"]["value"].shape[:2] == (K, B)
    for trace in (p, q):
        trace.compute_log_prob()
    log_w = p.nodes["x"]["log_prob"] + p.nodes["z"]["log_prob"] - q.nodes["z"]["log_prob"]
    s, own = q.nodes["s"]["value"], q.nodes["s"]["fn"]
    shared = (dist.Gamma(2.0, 2.0).log_prob(s) - own.log_prob(s)) / 5
    bound = log_w.mean(0) if isinstance(elbo, rv.PathDerivative) else iwae(log_w)
    assert loss == pytest.approx(-(bound.sum() + shared).item(), rel=1e-12)


def test_one_particle_is_the_elbo() -> None:
    model, x, mask, _ = arguments("VRNN")
    expected, gradients = loss_and_gradients(model, Trace_ELBO(), x, mask)
    for elbo in (rv.IWAE(1), rv.IWAE(1, doubly_reparametrized=True), rv.PathDerivative()):
        with rv.given_noise(0):
            loss = elbo.loss(model.model, model.guide, x, mask)
        assert loss == pytest.approx(expected, rel=1e-12)
    _, double = loss_and_gradients(model, rv.IWAE(1, doubly_reparametrized=True), x, mask)
    _, path = loss_and_gradients(model, rv.PathDerivative(), x, mask)
    same_all(double, path, "gradient")
    assert any(not torch.allclose(path[name], g) for name, g in gradients.items())  # no score in it


# ------------------------------------------------------------------------------------------- gradients by hand
class Pair(rv.SequenceVAE):
    """z ~ N(0, 1);  x ~ N(a z, 1);  q(z | x) = N(m_n, s^2), with a mean for each sequence."""

    static, x_dim = True, 1

    def __init__(self, number: int, mean: float = 0.3, scale: float = 0.8) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(1.5))
        self.m, self.s = nn.Parameter(torch.full((number, 1), mean)), nn.Parameter(torch.tensor(scale))

    def generative(self, steps: rv.Steps) -> None:
        z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
        steps.observe("x", lambda: dist.Normal(self.a * z, 1.0).to_event(1))

    def inference(self, steps: rv.Steps, x: Tensor) -> None:
        pyro.sample("z", dist.Normal(self.m, self.s).to_event(1))


@pytest.mark.parametrize("beta", [1.0, 0.4])
def test_the_doubly_reparametrised_gradient_by_hand(beta: float) -> None:
    """The formula of Tucker et al., and with a KL weight (1 - beta) w + beta w^2 for w^2."""
    model, x = Pair(2), torch.tensor([[0.7], [-1.2]])
    with rv.given_noise(0):
        loss = DOUBLY.differentiable_loss(rv.annealed(beta)(model.model), rv.annealed(beta)(model.guide), x)
    found = torch.autograd.grad(loss, [model.a, model.m, model.s])
    with rv.given_noise(0), particle_plate(K):
        z = poutine.trace(model.guide).get_trace(x).nodes["z"]["value"].detach()[..., 0]
    a, s, m, x = model.a.detach(), model.s.detach(), model.m.detach()[:, 0], x[:, 0]
    normal = dist.Normal
    log_w = normal(a * z, 1.0).log_prob(x) + beta * (normal(0.0, 1.0).log_prob(z) - normal(m, s).log_prob(z))
    w = log_w.softmax(0)
    slope = a * (x - a * z) + beta * (-z + (z - m) / s**2)  # of log w, by z
    c = (1 - beta) * w + beta * w**2
    expected = (w * z * (x - a * z)).sum(), (c * slope).sum(0), (c * slope * (z - m) / s).sum()
    for ours, by_hand in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.squeeze(-1) if ours.dim() else ours, -by_hand)
    assert loss.item() == pytest.approx(-iwae(log_w).sum().item())


def spread(model: rv.SequenceVAE, elbo: Any, x: Tensor, rounds: int, beta: float) -> tuple[Tensor, Tensor]:
    """The mean of a gradient over rounds, flat, and its standard error."""
    rows = []
    for _ in range(rounds):
        loss = elbo.differentiable_loss(rv.annealed(beta)(model.model), rv.annealed(beta)(model.guide), x)
        found = torch.autograd.grad(loss / len(x), list(model.parameters()), allow_unused=True, materialize_grads=True)
        rows.append(torch.cat([g.flatten() for g in found]))
    both = torch.stack(rows)
    return both.mean(0), both.std(0) / math.sqrt(rounds)


@pytest.mark.parametrize("beta", [1.0, 0.4])
@pytest.mark.parametrize(("plain", "other"), [(rv.IWAE(4), rv.IWAE(4, doubly_reparametrized=True)),
                                              (Trace_ELBO(), rv.PathDerivative())], ids=["DReG", "path"])
@pytest.mark.parametrize("name", ["VRNN", "DMM-combiner"])
def test_the_same_gradient_in_the_mean(name: str, plain: Any, other: Any, beta: float) -> None:
    """Of the guide, of the model, and of a recurrence that both share, with draws that feed on one another."""
    torch.manual_seed(0)
    model = rv.VRNN(2, 1, 2) if name == "VRNN" else rv.DMM(2, 1, 2, posterior=rv.Combiner)
    x = (torch.rand(1, 3, 2) < 0.5).double().expand(500, -1, -1)
    means, errors = zip(*(spread(model, elbo, x, 12, beta) for elbo in (plain, other)), strict=True)
    tolerance = (errors[0] ** 2 + errors[1] ** 2).sqrt()
    assert ((means[0] - means[1]).abs() <= 4.5 * tolerance + 1e-12).all()
    assert tolerance.mean() < 0.05 * means[0].abs().mean()  # the test sees small differences


def test_signal_and_noise_as_particles_grow() -> None:
    """The guide's plain gradient drowns in its noise as K grows (Rainforth et al. 2018), the other does not."""
    ratios: dict[bool, list[float]] = {False: [], True: []}
    for double in ratios:
        for k in (1, 8, 64):
            torch.manual_seed(0)
            model = Pair(4000)
            loss = rv.IWAE(k, doubly_reparametrized=double).differentiable_loss(
                model.model, model.guide, torch.full((4000, 1), 0.7))
            gradient, = torch.autograd.grad(loss, [model.m])
            ratios[double].append(float(gradient.mean().abs() / gradient.std()))
    plain, other = ratios[False], ratios[True]
    assert plain[0] > 1.3 * plain[1] > 1.3**2 * plain[2]
    assert other[0] < other[1] < other[2] and other[0] > plain[0]


# ------------------------------------------------------------------------------------------- discrete latents
class Coin(rv.SequenceVAE):
    """z ~ Bernoulli(1/2);  x ~ N(2 z, 1);  q(z | x) = Bernoulli(logits=m)."""

    static, x_dim = True, 1

    def __init__(self) -> None:
        super().__init__()
        self.m = nn.Parameter(torch.tensor([0.4]))

    def generative(self, steps: rv.Steps) -> None:
        z = pyro.sample("z", dist.Bernoulli(torch.full((1,), 0.5)).to_event(1))
        steps.observe("x", lambda: dist.Normal(2.0 * z, 1.0).to_event(1))

    def inference(self, steps: rv.Steps, x: Tensor) -> None:
        pyro.sample("z", dist.Bernoulli(logits=self.m).to_event(1))


@pytest.mark.parametrize("k", [1, 2])
def test_the_score_function_is_unbiased(k: int) -> None:
    """Against the exact gradient: the bound's mean over all 2^k draws."""
    model, number = Coin(), 20_000
    z = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * k).reshape(-1, k)
    log_q = dist.Bernoulli(logits=model.m).log_prob(z)
    log_w = math.log(0.5) + dist.Normal(2 * z, 1.0).log_prob(torch.tensor(0.7)) - log_q
    exact, = torch.autograd.grad((log_q.sum(1).exp() * (log_w.logsumexp(1) - math.log(k))).sum(), [model.m])
    rows = []
    for _ in range(20):
        loss = rv.IWAE(k).differentiable_loss(model.model, model.guide, torch.full((number // 20, 1), 0.7))
        rows.append(torch.autograd.grad(-loss / (number // 20), [model.m])[0])
    found = torch.stack(rows)
    assert (found.mean(0) - exact).abs() < 4 * found.std(0) / math.sqrt(20)
    assert exact.abs() > 8 * found.std(0) / math.sqrt(20)


def test_the_control_variate_by_hand() -> None:
    """Of each particle the bound without it: the geometric mean of the others' weights stands in its place."""
    model, x = Coin(), torch.tensor([[0.7]])
    torch.manual_seed(3)
    loss = rv.IWAE(3).differentiable_loss(model.model, model.guide, x)
    found, = torch.autograd.grad(loss, [model.m])
    torch.manual_seed(3)
    with particle_plate(3):
        z = poutine.trace(model.guide).get_trace(x).nodes["z"]["value"][:, 0, 0]
    assert 0 < z.sum() < 3
    log_q = dist.Bernoulli(logits=model.m).log_prob(z)
    log_w = math.log(0.5) + dist.Normal(2 * z, 1.0).log_prob(x[0]) - log_q
    w, bound = log_w.detach().exp(), (log_w.logsumexp(0) - math.log(3))
    signal = []
    for k in range(3):
        others = [w[j] for j in range(3) if j != k]
        mean = (others[0] * others[1]).sqrt()
        signal.append(w.sum().log() - (others[0] + others[1] + mean).log())
    expected, = torch.autograd.grad(-(bound + (torch.stack(signal) * log_q).sum()), [model.m])
    torch.testing.assert_close(found, expected)
