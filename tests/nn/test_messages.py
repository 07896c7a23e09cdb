"""Backward messages against the sum over all paths."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

import pyro_rvae as rv

K, T = 3, 5


def tables(*lead: int) -> Tensor:
    """log u (..., T, K, K); the rows of the first step are the same."""
    log_u = torch.randn(*lead, T, K, K)
    log_u[..., 0, :, :] = log_u[..., 0, :1, :]
    return log_u


def posterior(log_u: Tensor) -> Tensor:
    """log q(s_t = k | s_{t-1} = j) of one sequence, from the K^T terms of its joint."""
    length = len(log_u)
    paths = list(itertools.product(range(K), repeat=length))
    joint = torch.stack([sum(log_u[t, p[t - 1] if t else 0, p[t]] for t in range(length)) for p in paths])
    out = torch.empty(length, K, K)
    for t, j, k in itertools.product(range(length), range(K), range(K)):
        before = torch.tensor([not t or p[t - 1] == j for p in paths])
        both = before & torch.tensor([p[t] == k for p in paths])
        out[t, j, k] = joint[both].logsumexp(0) - joint[before].logsumexp(0)
    return out


@pytest.mark.parametrize("lead", [(), (2,), (3, 2)], ids=str)
def test_forward_is_the_fold_of_step(lead: tuple[int, ...]) -> None:
    part, u = rv.BackwardMessages(K), tables(*lead).flatten(-2)
    state, outputs = part.begin(None), []
    for u_t in u.unbind(-2):
        y, state = part.step(u_t, state)
        outputs.append(y)
    torch.testing.assert_close(part(u), torch.stack(outputs, -2), rtol=0.0, atol=0.0)
    assert part(u).shape == (*lead, T, part.out_dim) and state.shape == (*lead, part.state_dim)


def test_against_every_path() -> None:
    log_u = tables()
    torch.testing.assert_close(rv.BackwardMessages(K).smooth(log_u), posterior(log_u), rtol=0.0, atol=1e-12)


def test_the_padding_tells_nothing() -> None:
    """Each sequence is read from its own end, whatever stands behind it, with particles in front too."""
    log_u, mask = tables(2, 3), torch.arange(T) < torch.tensor([5, 3, 1])[:, None]
    garbage = torch.where(mask[..., None, None], log_u, 1e3 * torch.randn_like(log_u))
    q = rv.BackwardMessages(K).smooth(garbage, mask)
    for p, i in itertools.product(range(2), range(3)):
        length = int(mask[i].sum())
        torch.testing.assert_close(q[p, i, :length], posterior(log_u[p, i, :length]), rtol=0.0, atol=1e-12)


def test_long_sequences_lose_no_digits() -> None:
    """A thousand steps of tens of nats, in float32: each row still sums to one, and equals that of float64."""
    log_u = 30.0 * torch.randn(1000, K, K)
    q = rv.BackwardMessages(K).smooth(log_u.float())
    torch.testing.assert_close(q.exp().sum(-1), torch.ones(1000, K, dtype=torch.float32), rtol=0.0, atol=3e-5)
    exact = rv.BackwardMessages(K).smooth(log_u)
    torch.testing.assert_close(q.double().exp(), exact.exp(), rtol=0.0, atol=2e-4)
