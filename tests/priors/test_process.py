"""Priors over paths: the Gaussian process against a dense Gaussian, the linear-Gaussian path against Pyro's HMM."""

from __future__ import annotations

from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.contrib.gp import kernels as gp
from pyro.infer import Trace_ELBO
from torch import Tensor
from torch.nn.functional import softplus

import pyro_rvae as rv

B, T, DIM = 3, 7, 2


def close(a: Tensor, b: Tensor, atol: float = 1e-10) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=atol)


def cosine(t: Tensor) -> Tensor:
    """A user's own kernel, whose variance is 4."""
    return 2.0 + 2.0 * torch.cos(0.9 * (t.unsqueeze(-1) - t))


def mixed() -> gp.Kernel:
    return gp.Sum(gp.RBF(1, lengthscale=torch.tensor(2.0), variance=torch.tensor(3.0)),
                  gp.Product(gp.Periodic(1, period=torch.tensor(3.0)), gp.Matern52(1)))


KERNELS: dict[str, Any] = {
    "default": rv.GaussianProcess(0, DIM),
    "RBF": rv.GaussianProcess(0, DIM, kernel=gp.RBF, lengthscale=3.0),
    "Matern": rv.GaussianProcess(0, DIM, kernel=gp.Matern32, lengthscale=(1.0, 4.0), jitter=0.1),
    "Periodic": rv.GaussianProcess(0, DIM, kernel=partial(gp.Periodic, period=torch.tensor(4.0))),
    "callable": rv.GaussianProcess(0, DIM, kernel=cosine),
    "instances": rv.GaussianProcess(0, DIM, kernel=[gp.Brownian(1), mixed()]),
}


def covariances(part: rv.GaussianProcess) -> list[Tensor]:
    """K of each element, from calling the kernels as Pyro's own GPs do."""
    t, found = torch.arange(1.0, T + 1), []
    for kernel in (*part.kernels, *part.functions):
        k = kernel(t)
        k = k / torch.outer(k.diag().sqrt(), k.diag().sqrt())
        found.append((k + part.jitter * torch.eye(T)) / (1 + part.jitter))
    return found if len(found) == DIM else found * DIM


@pytest.mark.parametrize("name", KERNELS)
def test_the_process_is_a_dense_gaussian_with_unit_variance(name: str) -> None:
    part, path = KERNELS[name], torch.randn(4, B, T, DIM)
    dense = [dist.MultivariateNormal(torch.zeros(T), k).log_prob(path[..., i])
             for i, k in enumerate(covariances(part))]
    pyro.clear_param_store()
    close(part(path).log_prob(path).sum(-1), sum(dense, torch.zeros(())), 1e-8)
    close(part.covariance(T).diagonal(dim1=-2, dim2=-1), torch.ones(len(part.covariance(T)), T))
    assert not len(pyro.get_param_store()), "the kernel's parameters are the model's alone"


def stepped(part: Any, noise: Tensor, *inputs: Tensor) -> tuple[Tensor, Tensor]:
    """A path drawn step by step from standard noise, and its density."""
    values: list[Tensor] = []
    density, state = torch.zeros(()), None
    for t in range(noise.shape[-2]):
        law, state = part.step(values[-1] if values else None, *(u[..., t, :] for u in inputs), state=state)
        base = getattr(law, "base_dist", law)
        scale = base.scale_tril if hasattr(base, "scale_tril") else torch.diag_embed(base.scale)
        values.append(base.loc + (scale @ noise[..., t, :, None]).squeeze(-1))
        density = density + law.log_prob(values[-1])
    return torch.stack(values, -2), density


@pytest.mark.parametrize("name", KERNELS)
def test_the_process_step_by_step(name: str) -> None:
    part, noise = KERNELS[name], torch.randn(2, B, T, DIM)
    path, density = stepped(part, noise)
    close(part(path).log_prob(path).sum(-1), density, 1e-8)
    drawn, laws = part.draw_path(noise=noise)
    close(drawn, path)
    close(laws.log_prob(drawn), part(path).log_prob(path), 1e-8)


def test_draws_of_the_process_have_its_covariance() -> None:
    part = KERNELS["Matern"]
    with torch.no_grad():
        path = part.draw_path(noise=torch.randn(40000, T, DIM))[0]
    for i, k in enumerate(covariances(part)):
        close(path[..., i].T.cov(), k.detach(), 0.04)


def test_a_model_trained_on_paths_of_a_process_recovers_it() -> None:
    torch.manual_seed(2)
    true = rv.GaussianProcess(0, DIM, kernel=gp.RBF, lengthscale=(2.0, 6.0), jitter=0.05)
    with torch.no_grad():
        path = true.draw_path(noise=torch.randn(150, 15, DIM))[0]
    part = rv.GaussianProcess(0, DIM, kernel=gp.RBF, lengthscale=(4.0, 4.0), jitter=0.05)
    maximise(part, path, steps=40)
    found = torch.stack([kernel.lengthscale for kernel in part.kernels]).detach()
    torch.testing.assert_close(found, torch.tensor([2.0, 6.0]), rtol=0.05, atol=0.0)


def maximise(part: Any, path: Tensor, steps: int) -> float:
    parameters = [p for p in part.parameters() if p.requires_grad]
    optimizer = torch.optim.LBFGS(parameters, max_iter=steps, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = -part(path).log_prob(path).sum(-1).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)
    return -closure().item()


def test_which_parameters_of_a_kernel_are_learned() -> None:
    def learned(part: Any) -> set[str]:
        return {name.removeprefix("kernels.0.").removesuffix("_unconstrained")
                for name, p in part.named_parameters() if p.requires_grad}

    assert learned(rv.GaussianProcess(0, 1)) == {"lengthscale", "scale_mixture"}  # the variance cancels
    assert learned(rv.GaussianProcess(0, 1, learned=False)) == set()
    summed = learned(rv.GaussianProcess(0, 1, kernel=mixed()))
    assert {"kern0.variance", "kern0.lengthscale", "kern1.kern0.period"} <= summed


def test_a_smooth_kernel_in_single_precision() -> None:
    """Pyro's squared distances lose their digits in float32, and the matrix its Cholesky factor."""
    torch.set_default_dtype(torch.float32)
    part = rv.GaussianProcess(0, 1, kernel=gp.RBF, lengthscale=20.0, jitter=1e-4)
    path, law = part.draw_path(noise=torch.randn(2, 400, 1))
    assert path.dtype == torch.float32 and law.log_prob(path).isfinite().all()
    assert part.covariance(3).dtype == torch.float64


def test_two_models_with_a_process_train_apart_and_are_saved(tmp_path: Any) -> None:
    def build() -> rv.DMM:
        return rv.DMM(4, 2, 8, transition=partial(rv.GaussianProcess, kernel=gp.Matern52, lengthscale=3.0))

    first, second, x = build(), build(), torch.zeros(2, 5, 4)
    svi = pyro.infer.SVI(first.model, first.guide, pyro.optim.Adam({"lr": 0.1}), Trace_ELBO())
    for _ in range(3):
        svi.step(x)
    assert first.transition.kernels[0].lengthscale.item() != pytest.approx(3.0, abs=1e-3)
    assert second.transition.kernels[0].lengthscale.item() == pytest.approx(3.0)
    rv.tasks.save_pretrained(first, tmp_path / "model")
    loaded = rv.tasks.from_pretrained(tmp_path / "model", allow=["pyro.contrib.gp.kernels"])
    with rv.given_noise(0):
        expected = Trace_ELBO().loss(first.model, first.guide, x)
    with rv.given_noise(0):
        assert Trace_ELBO().loss(loaded.model, loaded.guide, x) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("parts", "error", "message"), [
    ({"jitter": 0.0}, ValueError, "jitter, the share of white noise, must be positive, got 0.0"),
    ({"lengthscale": -1.0}, ValueError, "lengthscale must be a positive number of frames, or a sequence of 2"),
    ({"lengthscale": (1.0,)}, ValueError, "or a sequence of 2 of them, got .1.0,."),
    ({"kernel": [cosine]}, ValueError, "one kernel for each of 2 elements, got 1"),
    ({"kernel": 3.0}, TypeError, "expected a kernel .*got float"),
    ({"kernel": gp.Sum(gp.RBF(1), gp.Exponent(gp.RBF(1)))}, TypeError, "sums and products; for a Exponent pass"),
])
def test_what_is_no_process(parts: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        rv.GaussianProcess(0, DIM, **parts)


@pytest.mark.parametrize(("kernel", "message"), [
    (lambda t: t, r"a kernel of 3 times must give a matrix .3, 3., got .3,."),
    (lambda t: 1.9 * torch.eye(len(t)) - 0.9, "over 3 steps, with a jitter of 0.01, is not positive def"),
])
def test_a_kernel_that_is_none(kernel: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rv.GaussianProcess(0, DIM, kernel=kernel).draw_path(noise=torch.randn(3, DIM))


# ------------------------------------------------------------------------------------------------- linear-Gaussian
def linear(in_dim: int = 0, state_dim: int = 3) -> rv.LinearGaussian:
    torch.manual_seed(0)
    part = rv.LinearGaussian(in_dim, DIM, state_dim=state_dim)
    for parameter in part.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return part


def hmm(part: rv.LinearGaussian, moved: Tensor) -> dist.GaussianHMM:
    """Pyro's own implementation; ``moved (..., T, state_dim)`` is what controls add to the state."""
    f, n = part.filter, part.state_dim

    def diagonal(raw: Tensor) -> Tensor:
        return torch.diag_embed(softplus(raw) + 1e-4)

    loc = torch.cat([f.mean.expand_as(moved[..., :1, :]), moved[..., 1:, :]], -2)
    covariance = torch.cat([diagonal(f.raw_initial)[None], diagonal(f.raw_process).expand(T - 1, -1, -1)])
    nothing = dist.MultivariateNormal(torch.zeros(n), 1e-12 * torch.eye(n))  # u_0, before the first step
    return dist.GaussianHMM(nothing, f.transition[0].mT, dist.MultivariateNormal(loc, covariance), f.emission[0].mT,
                            dist.MultivariateNormal(torch.zeros(DIM), diagonal(f.raw_noise)), duration=T)


def test_the_linear_gaussian_path_is_that_of_gaussian_hmm() -> None:
    part, path = linear(), torch.randn(4, B, T, DIM)
    laws = part(path)
    assert laws.batch_shape == (4, B, T)
    close(laws.log_prob(path).sum(-1), hmm(part, torch.zeros(T, 3)).log_prob(path), 1e-6)


def test_controls_move_the_state() -> None:
    part, path, c = linear(2), torch.randn(B, T, DIM), torch.randn(B, T, 2)
    close(part(path, c).log_prob(path).sum(-1), hmm(part, c @ part.filter.control[0].mT).log_prob(path), 1e-6)


@pytest.mark.parametrize("in_dim", [0, 2])
def test_the_linear_gaussian_path_step_by_step(in_dim: int) -> None:
    part, noise, c = linear(in_dim), torch.randn(B, T, DIM), torch.randn(B, T, 2)
    inputs = (c,) if in_dim else ()
    path, density = stepped(part, noise, *inputs)
    close(part(path, *inputs).log_prob(path).sum(-1), density)


def test_draws_of_the_linear_gaussian_path_have_its_covariance() -> None:
    part = linear()
    with torch.no_grad():
        path = stepped(part, torch.randn(30000, T, DIM))[0].flatten(-2)
        theirs = hmm(part, torch.zeros(T, 3)).rsample(torch.Size([30000])).flatten(-2)
    close(path.mean(0), theirs.mean(0), 0.1)
    close(path.T.cov() / theirs.T.cov().diag().max(), theirs.T.cov() / theirs.T.cov().diag().max(), 0.06)


def test_a_linear_gaussian_path_trained_on_its_own_draws_is_as_likely_as_the_truth() -> None:
    true = linear(state_dim=1)
    with torch.no_grad():
        path = stepped(true, torch.randn(200, T, DIM))[0]
        best = true(path).log_prob(path).sum(-1).mean().item()
    torch.manual_seed(5)
    found = maximise(rv.LinearGaussian(0, DIM, state_dim=1), path, steps=40)
    assert best <= found < best + 0.1


def test_what_is_no_linear_gaussian_path() -> None:
    with pytest.raises(ValueError, match="state_dim must be an integer of at least 1, got 0"):
        rv.LinearGaussian(0, DIM, state_dim=0)
