"""Laws over paths: the full chain and the dense Gaussian against joint Gaussians, and what each posterior can reach."""

from __future__ import annotations

from functools import partial
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from torch import Tensor
from torch.nn.functional import softplus

import pyro_rvae as rv

IN, DIM, T, B = 4, 2, 5, 3


def close(a: Tensor, b: Tensor, atol: float = 1e-12) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=atol)


# ------------------------------------------------------------------------------------------------------ the scan
@pytest.mark.parametrize("length", [1, 2, 3, 4, 7, 8, 13])
def test_the_scan_of_affine_maps_is_the_loop(length: int) -> None:
    a, b, init = (torch.randn(*shape, requires_grad=True)
                  for shape in [(B, length, DIM, DIM), (2, 1, length, DIM), (DIM,)])
    h, expected = init.expand(2, B, DIM), []
    for t in range(length):
        h = (a[:, t] @ h.unsqueeze(-1)).squeeze(-1) + b[:, :, t]
        expected.append(h)
    scanned, looped = rv.affine_scan(a, b, init), torch.stack(expected, -2)
    close(scanned, looped)
    weight = torch.randn_like(looped)
    for mine, theirs in zip(*(torch.autograd.grad((weight * y).sum(), (a, b, init)) for y in (scanned, looped)),
                            strict=True):
        close(mine, theirs, 1e-10)


def test_the_scan_starts_at_zero_and_agrees_with_the_diagonal_one() -> None:
    a, b = torch.randn(B, 6, DIM), torch.randn(B, 6, DIM)
    close(rv.affine_scan(torch.diag_embed(a), b), rv.linear_scan(a, b))
    close(rv.affine_scan(torch.diag_embed(a), b), rv.affine_scan(torch.diag_embed(a), b, torch.zeros(DIM)))


# ------------------------------------------------------------------------------------------------------ formulas
def full_chain(**parts: Any) -> rv.FullGaussianChain:
    torch.manual_seed(0)
    return rv.FullGaussianChain(DIM + IN, DIM, **parts)


def test_the_full_chain_is_its_formula() -> None:
    part, z, g = full_chain(), torch.randn(B, DIM), torch.randn(B, IN)
    raw = g @ part.net[0].weight.T + part.net[0].bias
    a = 0.7 * torch.eye(DIM) + raw[:, :4].reshape(B, 2, 2) / 2
    s = torch.zeros(B, 2, 2)
    s[:, 0, 0], s[:, 1, 1], s[:, 1, 0] = softplus(raw[:, 6]) + 1e-4, softplus(raw[:, 9]) + 1e-4, raw[:, 8]
    law = part(z, g)
    close(law.loc, torch.einsum("bij,bj->bi", a, z) + raw[:, 4:6])
    close(law.scale_tril, s)


@pytest.mark.parametrize("hidden", [(), (7,)], ids=["linear", "hidden"])
def test_a_full_chain_drawn_at_once_equals_stepping(hidden: tuple[int, ...]) -> None:
    part, g = full_chain(hidden=hidden), torch.randn(B, T, IN)
    init, noise = torch.randn(DIM), torch.randn(2, B, T, DIM)
    path, law = part.draw_path(init, g, noise=noise)
    z, density = init.expand(2, B, DIM), []
    for t in range(T):
        step = part(z, g[:, t])
        z = step.loc + (step.scale_tril @ noise[:, :, t, :, None]).squeeze(-1)
        close(path[:, :, t], z)
        density.append(step.log_prob(z))
    close(law.log_prob(path), torch.stack(density, -1))


def dense(**parts: Any) -> rv.DenseGaussian:
    torch.manual_seed(0)
    return rv.DenseGaussian(IN, DIM, **({"longest": T} | parts))


def joint(part: rv.DenseGaussian, g: Tensor) -> dist.MultivariateNormal:
    """N(m, L L^T) over the flat path of one sequence ``g (T, IN)``, put together block by block."""
    mean, blocks = part.rows(g)
    lower = torch.zeros(len(g) * DIM, len(g) * DIM)
    for t in range(len(g)):
        for s in range(t + 1):
            lower[t * DIM:(t + 1) * DIM, s * DIM:(s + 1) * DIM] = blocks[t, t - s]
    return dist.MultivariateNormal(mean.flatten(), lower @ lower.T)


def test_the_dense_gaussian_is_one_gaussian_over_the_path() -> None:
    part, g, path = dense(hidden=(7,)), torch.randn(B, T, IN), torch.randn(2, B, T, DIM)
    density = part(path, g).log_prob(path).sum(-1)
    for row in range(B):
        close(density[:, row], joint(part, g[row]).log_prob(path[:, row].flatten(-2)), 1e-9)


def test_a_beginning_of_a_dense_path_is_its_marginal() -> None:
    """So a mask, which drops the last steps, is right."""
    part, g, path = dense(), torch.randn(B, T, IN), torch.randn(B, T, DIM)
    whole, short = part(path, g), part(path[:, :2], g[:, :2])
    close(whole.log_prob(path)[:, :2], short.log_prob(path[:, :2]))
    marginal = joint(part, g[0])
    cut = dist.MultivariateNormal(marginal.loc[:4], marginal.covariance_matrix[:4, :4])
    close(short.log_prob(path[:, :2])[0].sum(), cut.log_prob(path[0, :2].flatten()), 1e-9)


def test_a_dense_path_drawn_at_once_equals_stepping() -> None:
    part, g, noise = dense(), torch.randn(B, T, IN), torch.randn(2, B, T, DIM)
    path, laws = part.draw_path(g, noise=noise)
    before: Any = None
    state: Any = None
    for t in range(T):
        law, state = part.step(before, g[:, t], state=state)
        before = law.loc + (law.scale_tril @ noise[:, :, t, :, None]).squeeze(-1)
        close(path[:, :, t], before, 1e-10)
        close(laws.log_prob(path)[..., t], law.log_prob(before), 1e-9)
    close(part(path, g).log_prob(path), laws.log_prob(path), 1e-9)


def test_draws_of_the_dense_gaussian_have_its_moments() -> None:
    part, g = dense(), torch.randn(T, IN)
    path = part.draw_path(g, noise=torch.randn(20000, T, DIM))[0].flatten(-2)
    expected = joint(part, g)
    close(path.mean(0), expected.loc, 0.05)
    close(path.T.cov(), expected.covariance_matrix, 0.1)


# ------------------------------------------------------------------------------------------------------ bad input
@pytest.mark.parametrize(("make", "message"), [
    (lambda: rv.FullGaussianChain(DIM, DIM), "FullGaussianChain reads the previous latent, 2 wide, and features"),
    (lambda: rv.DenseGaussian(0, DIM, longest=3), "DenseGaussian reads features of x, and this model passes it none"),
    (lambda: rv.DenseGaussian(IN, DIM, longest=0), "longest, the frames of the longest sequence.* got 0"),
    (lambda: rv.VAE(4, 2, 8, posterior=partial(rv.DenseGaussian, longest=3)),
     "DenseGaussian is a law over the path of a latent; VAE's posterior is that of one latent a sequence"),
    (lambda: rv.VRAE(4, 2, 8, prior=rv.GaussianProcess), "GaussianProcess is a law over the path .*VRAE's prior"),
    (lambda: rv.DSAE(4, 2, 8, prior_v=rv.LinearGaussian), "LinearGaussian is a law over the path .*DSAE's prior_v"),
    (lambda: rv.RVAE(4, 2, 8, posterior=rv.FullGaussianChain), "FullGaussianChain reads the previous latent; RVAE's"),
])
def test_where_it_does_not_fit(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("explicit", [False, True])
def test_a_path_that_is_too_long(explicit: bool) -> None:
    model = rv.RVAE(4, 2, 8, posterior=partial(rv.DenseGaussian, longest=3))
    model.guide(torch.zeros(2, 3, 4))
    with pytest.raises(ValueError, match="built for paths of at most 3 steps .longest., got 4"):
        if explicit:
            with rv.explicit():
                model.guide(torch.zeros(2, 5, 4))
        model.guide(torch.zeros(2, 4, 4))


# ------------------------------------------------------------------------------------------------- what can be reached
class Linear(rv.SequenceVAE):
    """z_t ~ N(A z_{t-1}, Q), z_0 = 0;  x_t ~ N(c z_t, r);  the posterior is free at each step of one sequence."""

    def __init__(self, dim: int, posterior: Any) -> None:
        super().__init__()
        turn = torch.tensor([[0.8, -0.5], [0.5, 0.8]])
        self.a, self.q = (turn, torch.diag(torch.tensor([0.5, 0.2]))) if dim == 2 else (torch.full((1, 1), 0.9),
                                                                                      torch.full((1, 1), 0.5))
        self.c, self.r, self.dim = torch.tensor([[1.0, 0.4]])[:, :dim], 0.3, dim
        self.features = torch.eye(T)  # so that every step has coefficients of its own
        self.past = not getattr(posterior, "reads_path", False)
        self.posterior = posterior(T + dim * self.past, dim)

    def generative(self, steps: rv.Steps) -> None:
        for t in steps:
            before = t.prev("z", torch.zeros(self.dim))
            z = t.sample("z", lambda z: dist.MultivariateNormal(z @ self.a.T, self.q), before)
            t.sample("x", lambda z: dist.Normal(z @ self.c.T, self.r**0.5).to_event(1), z)

    def inference(self, steps: rv.Steps, x: Tensor) -> None:
        for t in steps:
            before = (t.prev("z", torch.zeros(self.dim)),) if self.past else ()
            t.sample("z", self.posterior, *before, t.at(self.features))

    def exact(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and covariance of the whole path given ``x (T,)``, and the log evidence, by dense Gaussians."""
        d, size = self.dim, T * self.dim
        step = torch.kron(torch.diag(torch.ones(T - 1), -1), self.a)
        inverse = torch.linalg.inv(torch.eye(size) - step)
        prior = inverse @ torch.kron(torch.eye(T), self.q) @ inverse.T
        c = torch.kron(torch.eye(T), self.c)
        evidence = dist.MultivariateNormal(torch.zeros(T), c @ prior @ c.T + self.r * torch.eye(T))
        gain = prior @ c.T @ torch.linalg.inv(evidence.covariance_matrix)
        assert prior.shape == (T * d, T * d)
        return gain @ x, prior - gain @ c @ prior, evidence.log_prob(x)

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and Cholesky factor of the guide's path: it is linear in the noise."""
        size = T * self.dim
        init = (torch.zeros(self.dim),) if self.past else ()
        noise = torch.cat([torch.zeros(1, size), torch.eye(size)]).unflatten(-1, (T, self.dim))
        paths = self.posterior.draw_path(*init, self.features, noise=noise)[0].flatten(-2)
        return paths[0], (paths[1:] - paths[0]).T


def gap(model: Linear, x: Tensor) -> Tensor:
    """KL(q || p(z | x)), in closed form: what the ELBO falls short of the evidence."""
    mean, lower = model.moments()
    target, covariance, _ = model.exact(x)
    return torch.distributions.kl_divergence(dist.MultivariateNormal(mean, scale_tril=lower),
                                             dist.MultivariateNormal(target, covariance))


def trained(dim: int, posterior: Any) -> tuple[Linear, Tensor, float]:
    torch.manual_seed(1)
    model, x = Linear(dim, posterior), torch.randn(T)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=500, tolerance_grad=1e-10, tolerance_change=1e-14,
                                  line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = gap(model, x)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)
    return model, x, gap(model, x).item()


DENSE = partial(rv.DenseGaussian, longest=T)
DENSE.reads_path = True  # type: ignore[attr-defined]
STEPWISE = partial(rv.MeanField, hidden=())
REACH = [(1, rv.GaussianChain, True), (1, rv.FullGaussianChain, True), (1, DENSE, True), (1, STEPWISE, False),
         (2, rv.GaussianChain, False), (2, rv.FullGaussianChain, True), (2, DENSE, True), (2, STEPWISE, False)]


@pytest.mark.parametrize(("dim", "posterior", "exact"), REACH,
                         ids=[f"{d}-{getattr(p, 'func', p).__name__}" for d, p, _ in REACH])
def test_which_posterior_reaches_the_evidence(dim: int, posterior: Any, exact: bool) -> None:
    """The trained guide, in the library's own ELBO: it is the log evidence at every draw, or short of it by the KL."""
    model, x, short = trained(dim, posterior)
    evidence = model.exact(x)[2].item()
    many = x.reshape(1, T, 1).expand(4000, -1, -1)
    if exact:
        assert short < 1e-6
        for context in (rv.given_noise(0), rv.explicit()):
            with context:
                assert abs(-Trace_ELBO().loss(model.model, model.guide, many[:1]) - evidence) < 1e-3
    else:
        assert short > 0.05
        elbo = -Trace_ELBO().loss(model.model, model.guide, many) / len(many)
        assert elbo == pytest.approx(evidence - short, abs=0.05)
