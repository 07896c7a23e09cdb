"""The filter and the smoother against dense Gaussians, which know nothing of time, and Pyro's GaussianHMM."""

from __future__ import annotations

from typing import Any

import equations_kvae as eq
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import pyro_rvae as rv
from pyro_rvae.nn import MixtureKalman, RauchTungStriebel, concat

A, Z, H, C, B, T = 2, 3, 4, 2, 3, 5
LENGTHS = torch.tensor([5, 3, 1])
MASK = torch.arange(T) < LENGTHS[:, None]
GAPS = torch.tensor([[1, 0, 0, 1, 1], [0, 1, 0, 1, 1], [1, 1, 1, 0, 0]]).double()  # 1 where a is observed
START = torch.full((A,), 0.3)


def filter_of(**parts: Any) -> MixtureKalman:
    model = MixtureKalman(A, Z, H, **parts)
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return model


def path_of(model: MixtureKalman, a: Tensor, observed: Tensor, controls: Tensor | None = None) -> Tensor:
    before = rv.shift(observed, torch.ones(1))
    return model(concat([rv.shift(a, START), before, *(() if controls is None else (controls,))]))


def densities(model: MixtureKalman, path: Tensor, a: Tensor, observed: Tensor) -> Tensor:
    loc, scale_tril = model.predictive(path)
    return dist.MultivariateNormal(loc, scale_tril=scale_tril).log_prob(a) * observed.squeeze(-1)


def close(ours: Tensor, theirs: Tensor, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance)


def observed_of(gaps: bool) -> Tensor:
    return (GAPS if gaps else torch.ones(B, T)).unsqueeze(-1)


def hmm_of(model: MixtureKalman) -> dist.GaussianHMM:
    """Pyro starts one transition before our first step: the start is carried back by the inverse transition."""
    a, c = model.transition[0], model.emission[0]
    process, noise = (eq.variance(raw).sqrt() for raw in (model.raw_process, model.raw_noise))
    back = torch.linalg.inv(a)
    covariance = back @ torch.diag(eq.variance(model.raw_initial) - process**2) @ back.T
    return dist.GaussianHMM(dist.MultivariateNormal(back @ model.mean, covariance), a.T,
                            dist.Normal(torch.zeros(Z), process).to_event(1), c.T,
                            dist.Normal(torch.zeros(A), noise).to_event(1), duration=T)


def test_the_evidence_of_one_mode_is_that_of_pyros_gaussian_hmm() -> None:
    model, a = filter_of(modes=1), torch.randn(B, T, A)
    model.raw_initial.data += 2.0  # wider than the process noise, as the start of GaussianHMM needs
    ours = densities(model, path_of(model, a, observed_of(False)), a, observed_of(False)).sum(-1)
    close(ours, hmm_of(model).log_prob(a), 1e-8)


@pytest.mark.parametrize("control_dim", [0, C])
@pytest.mark.parametrize("gaps", [False, True], ids=["full", "gaps"])
@pytest.mark.parametrize("modes", [1, 3])
def test_filter_and_smoother_equal_a_dense_gaussian(modes: int, gaps: bool, control_dim: int) -> None:
    """Every sequence has its own length and gaps: evidence, predictions and smoothed moments."""
    model, a, observed = filter_of(modes=modes, control_dim=control_dim), torch.randn(B, T, A), observed_of(gaps)
    controls = torch.randn(B, T, C) if control_dim else None
    path = path_of(model, a, observed, controls)
    belief, logs = model.belief(path), densities(model, path, a, observed)
    mean, covariance = model.smooth(path, a, observed, MASK)
    for i, n in enumerate(LENGTHS.tolist()):
        mine, seen, known = a[i, :n], observed[i, :n, 0] > 0, None if controls is None else controls[i, :n]
        weights = eq.modes(model, mine, seen, START, known)
        close(belief.weights[i, :n], weights)
        whole = eq.joint(model, weights, known)
        close(logs[i, :n].sum(), eq.evidence(whole, mine, seen), 1e-8)
        dense, cov = eq.posterior(whole, mine, seen)
        close(mean[i, :n].flatten(), dense)
        for t in range(n):
            block = slice(t * Z, (t + 1) * Z)
            close(covariance[i, t], cov[block, block])
            past, until = eq.joint(model, weights[:t + 1], known), seen[:t + 1].clone()
            until[t] = False
            predicted, spread = eq.posterior(past, mine[:t + 1], until)
            close(belief.mean[i, t], predicted[block])
            close(belief.covariance[i, t], spread[block, block])


def test_what_is_missing_or_in_the_padding_never_matters() -> None:
    model, a, observed = filter_of(), torch.randn(B, T, A), observed_of(True)
    other = torch.where((observed > 0) & MASK.unsqueeze(-1), a, torch.randn(B, T, A))
    ours, theirs = (path_of(model, v, observed) for v in (a, other))
    close(ours[MASK], theirs[MASK], 0.0)
    for x, y in zip(model.smooth(ours, a, observed, MASK), model.smooth(theirs, other, observed, MASK), strict=True):
        close(x[MASK], y[MASK], 0.0)


def test_a_gap_of_one_mode_is_the_marginal() -> None:
    """The evidence of the frames seen does not depend on whether the others are skipped or integrated out."""
    model, a, observed = filter_of(modes=1), torch.randn(B, T, A), observed_of(True)
    mean, covariance = eq.joint(model, torch.ones(T, 1)).a
    logs = densities(model, path_of(model, a, observed), a, observed).sum(-1)
    for i in range(B):
        keep = (observed[i] > 0).expand(T, A).flatten()
        marginal = dist.MultivariateNormal(mean[keep], covariance[keep][:, keep])
        close(logs[i], marginal.log_prob(a[i].flatten()[keep]), 1e-8)


def test_one_step_at_a_time_and_further_dims_in_front() -> None:
    model, u = filter_of(control_dim=C), torch.randn(2, B, T, A + 1 + C)
    u[..., A] = GAPS
    y, state = [], None
    for u_t in u.unbind(-2):
        out, state = model.step(u_t, state)
        y.append(out)
    assert model(u).shape == (2, B, T, model.out_dim)
    close(model(u), torch.stack(y, -2), 0.0)
    close(model(u)[1], model(u[1]), 1e-13)


def test_float32_holds_where_frames_are_nearly_certain_and_the_start_is_vague() -> None:
    """A condition of 1e6, 300 steps: the numbers are those of float64, and every covariance is positive definite."""
    model, a = MixtureKalman(A, Z, H), torch.randn(B, 300, A).cumsum(-2) / 100
    for raw, value in ((model.raw_initial, 100.0), (model.raw_noise, -20.0), (model.raw_process, -20.0)):
        raw.data.fill_(value)
    moments, logs = [], []
    for dtype in (torch.float64, torch.float32):
        model, a, observed = model.to(dtype), a.to(dtype), torch.ones(B, 300, 1, dtype=dtype)
        before = rv.shift(observed, observed.new_ones(1))
        path = model(concat([rv.shift(a, a.new_zeros(A)), before]))
        moments.append(model.smooth(path, a, observed))
        logs.append(densities(model, path, a, observed))
        for spread in (moments[-1][1], model.belief(path).covariance):
            assert spread.dtype == dtype and (torch.linalg.eigvalsh(spread.double()) > 1e-5).all()
    close(logs[1].double(), logs[0], 0.02)
    close(moments[1][0].double(), moments[0][0], 2e-3)
    logs[1].sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_a_covariance_that_rounding_has_ruined_gives_nan_and_no_number() -> None:
    """A wrong number would be silent; what is not finite stops the training."""
    model = MixtureKalman(A, Z, H, modes=1).float()
    model.raw_initial.data.fill_(1e12)
    path = model(torch.ones(1, 5, A + 1, dtype=torch.float32))
    assert model.predictive(path)[1].isnan().any()


def test_the_start_is_a_rotation_and_modes_differ() -> None:
    model = MixtureKalman(A, Z, H)
    close(model.transition @ model.transition.mT, torch.eye(Z).expand(3, Z, Z), 1e-12)
    assert (model.transition - model.transition.roll(1, 0)).abs().amax() > 1e-3


def test_autocast_leaves_the_filter_in_full_precision() -> None:
    model = MixtureKalman(A, Z, H).float()
    a, observed = torch.randn(B, T, A, dtype=torch.float32), torch.ones(B, T, 1, dtype=torch.float32)
    u = concat([a, observed])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours, moments = model(u), model.predictive(model(u))
    close(ours, model(u), 1e-6)
    close(moments[1], model.predictive(ours)[1], 1e-6)


@pytest.mark.parametrize("modes", [0, -1, 1.5, True])
def test_modes_must_be_a_positive_integer(modes: Any) -> None:
    with pytest.raises(ValueError, match="modes must be an integer of at least 1, got"):
        MixtureKalman(A, Z, modes=modes)


def test_the_selector_must_be_a_causal_part() -> None:
    with pytest.raises(TypeError, match="recurrence: expected a Causal part"):
        MixtureKalman(A, Z, recurrence=torch.nn.Linear)
    with pytest.raises(ValueError, match="built to read vectors 7 wide"):
        MixtureKalman(A, Z, recurrence=rv.LSTM(7, H))


def test_the_smoother_starts_at_the_filters_last_result() -> None:
    part, u = RauchTungStriebel(Z), torch.rand(B, 1, 3 * Z + 2 * Z**2)
    close(part(u)[:, 0], u[:, 0, : Z + Z**2], 0.0)
