"""Exact inference in linear-Gaussian state space models whose matrices change from step to step, as causal parts."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from .causal import LSTM, Causal
from .encoders import reverse
from .networks import build, concat

__all__ = ["Belief", "MixtureKalman", "RauchTungStriebel"]

MIN_VARIANCE = 1e-4  # keeps every covariance positive definite in float32


class Belief(NamedTuple):
    """``p(z_t | a_1..a_{t-1})``, a Gaussian, and the weights of the modes at t."""

    mean: Tensor  # (..., z_dim)
    covariance: Tensor  # (..., z_dim, z_dim)
    weights: Tensor  # (..., modes)


class MixtureKalman(Causal):
    r"""The Kalman filter of a linear-Gaussian model with K mixed modes, chosen by a recurrent network.

    .. math::
        z_1 \sim N(\mu, \Sigma), \quad z_t = A_t z_{t-1} + B_t c_t + N(0, Q), \quad a_t = C_t z_t + N(0, R), \\
        (A_t, B_t, C_t) = \sum_k w_{tk} (A^k, B^k, C^k), \quad w_t = \mathrm{softmax}(W h_t + b), \quad
        h_t = f(h_{t-1}, \tilde a_{t-1})

    It reads ``u_t = [a_{t-1}, observed_{t-1}, c_t]`` and gives the :class:`Belief` about ``z_t`` given the past, flat
    (:meth:`belief`): so z is integrated out, and ``p(a_t | a_{<t})`` is :meth:`predictive` of it. Where ``observed``
    is 0 the update is skipped and :math:`\tilde a`, what the network f reads, is the mean that the filter predicts
    for a; else it is a. So with one mode (which needs no f) a gap is marginalised exactly; with more, the predicted
    value stands for the missing one in the choice of the modes, and all else is exact. At the first step there is
    nothing to update with: ``a_0`` is only read by f.

    Source: Fraccaro, Kamronn, Paquet & Winther (2017), "A Disentangled Recognition and Nonlinear Dynamics Model for
    Unsupervised Learning", arXiv:1710.05741, sections 2 and 3.3. We differ: the covariance is updated in Joseph's
    form, Q, R and Sigma are diagonal and learned, and the starts are ours: A^k rotations near the identity, the rows of
    C^k near orthonormal ones.

    Arguments:
        a_dim: width of ``a_t``.
        z_dim: width of ``z_t``.
        h_dim: width of the network f.
        modes: K; with one there is no f.
        control_dim: width of ``c_t``; 0: there are no controls.
        recurrence: causal part f, or its class built with ``(a_dim, h_dim)``.
    """

    recurrence: Any

    def __init__(self, a_dim: int, z_dim: int, h_dim: int = 50, *, modes: int = 3, control_dim: int = 0,
                 recurrence: Any = LSTM) -> None:
        if isinstance(modes, bool) or not isinstance(modes, int) or modes < 1:
            raise ValueError(f"MixtureKalman: modes must be an integer of at least 1, got {modes!r}.")
        super().__init__()
        self.a_dim, self.z_dim, self.modes, self.control_dim = a_dim, z_dim, modes, control_dim
        self.in_dim, self.out_dim = a_dim + 1 + control_dim, z_dim + z_dim**2 + modes
        self.recurrence = self.logits = None
        if modes > 1:
            self.recurrence = build(recurrence, a_dim, h_dim, kind=Causal, what="recurrence")
            self.logits = nn.Linear(self.recurrence.out_dim, modes)
        turn = 0.05 * torch.randn(modes, z_dim, z_dim)
        self.transition = nn.Parameter(torch.matrix_exp(turn - turn.mT))  # orthogonal: no mixture of them explodes
        self.emission = nn.Parameter(nn.init.orthogonal_(torch.empty(a_dim, z_dim))
                                     + 0.05 * torch.randn(modes, a_dim, z_dim))
        self.control = nn.Parameter(0.05 * torch.randn(modes, z_dim, control_dim)) if control_dim else None
        self.mean = nn.Parameter(torch.zeros(z_dim))
        self.raw_initial = nn.Parameter(_raw(1.0, z_dim))
        self.raw_process, self.raw_noise = nn.Parameter(_raw(0.1, z_dim)), nn.Parameter(_raw(0.1, a_dim))
        self.smoother = RauchTungStriebel(z_dim)

    # ------------------------------------------------------------------------------------------ the filter
    def step(self, u: Tensor, state: tuple[Belief, Any] | None = None) -> tuple[Tensor, Any]:
        a, observed, control = u.split([self.a_dim, 1, self.control_dim], -1)
        with full_precision(u):
            if state is None:
                weights, memory = self.select(a, None)
                mean = self.mean.expand(*a.shape[:-1], -1)
                covariance = torch.diag_embed(_variance(self.raw_initial).expand_as(mean))
            else:
                before, memory = state
                mean, covariance, seen = self.update(before, a, observed)
                weights, memory = self.select(seen, memory)
                mean, covariance = self.predict(mean, covariance, weights, control)
            after = Belief(mean, covariance, weights)
            return concat([mean, covariance.flatten(-2), weights]), (after, memory)

    def select(self, seen: Tensor, memory: Any) -> tuple[Tensor, Any]:
        """Weights of the modes ``(..., K)`` from what was seen last, and the memory of the network f."""
        if self.recurrence is None or self.logits is None:
            return torch.ones_like(seen[..., :1]), None
        h, memory = self.recurrence.step(seen, memory)
        return self.logits(h).softmax(-1), memory

    def update(self, belief: Belief, a: Tensor, observed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and covariance of ``z_t`` given ``a_t (..., a_dim)`` too, but where ``observed (..., 1)`` is 0.

        The third result is what stands for ``a_t``: itself, or where it is missing its predicted mean.
        """
        c, p, noise = mixed(self.emission, belief.weights), belief.covariance, _variance(self.raw_noise)
        expected, cp = apply(c, belief.mean), c @ p
        surprise = (a - expected) * observed
        gain = torch.cholesky_solve(cp, cholesky(symmetric(cp @ c.mT) + torch.diag_embed(noise))).mT
        gain = gain * observed.unsqueeze(-1)
        keep = torch.eye(self.z_dim, dtype=p.dtype, device=p.device) - gain @ c
        covariance = symmetric(keep @ p @ keep.mT + (gain * noise) @ gain.mT)
        return belief.mean + apply(gain, surprise), covariance, expected + surprise

    def predict(self, mean: Tensor, covariance: Tensor, weights: Tensor, control: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and covariance of ``z_t`` from those of ``z_{t-1}``, with the modes of step t."""
        a = mixed(self.transition, weights)
        moved = apply(a, mean)
        if self.control is not None:
            moved = moved + apply(mixed(self.control, weights), control)
        return moved, symmetric(a @ covariance @ a.mT + torch.diag_embed(_variance(self.raw_process)))

    # ------------------------------------------------------------------------------------------ of its output
    def belief(self, output: Tensor) -> Belief:
        """What one step, or all steps, gave: ``(..., out_dim)`` as a :class:`Belief`."""
        mean, covariance, weights = output.split([self.z_dim, self.z_dim**2, self.modes], -1)
        return Belief(mean, covariance.unflatten(-1, (self.z_dim, self.z_dim)), weights)

    def emitted(self, mean: Tensor, covariance: Tensor, belief: Belief) -> tuple[Tensor, Tensor]:
        """Mean and covariance of ``a_t`` where those of ``z_t`` are given, with the modes of ``belief``."""
        c = mixed(self.emission, belief.weights)
        return apply(c, mean), symmetric(c @ covariance @ c.mT + torch.diag_embed(_variance(self.raw_noise)))

    def predictive(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """``p(a_t | a_{<t})``: its mean ``(..., a_dim)`` and the Cholesky factor of its covariance."""
        with full_precision(output):
            belief = self.belief(output)
            mean, covariance = self.emitted(belief.mean, belief.covariance, belief)
            return mean, cholesky(covariance)

    def smooth(self, output: Tensor, a: Tensor, observed: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean ``(..., T, z_dim)`` and covariance of each ``z_t`` given all of a, by one pass back in time.

        Arguments:
            output: what :meth:`forward` gave for all steps.
            a: ``(..., T, a_dim)``.
            observed: ``(..., T, 1)``, 0 where a is missing.
            mask: ``(B, T)``, True where a sequence has a frame.
        """
        with full_precision(output):
            belief = self.belief(output)
            mean, covariance, _ = self.update(belief, a, observed)
            transition = mixed(self.transition, belief.weights).flatten(-2)
            known = [mean, covariance.flatten(-2), _next(transition), _next(belief.mean),
                     _variance(self.raw_process).expand_as(mean)]
            smoothed = reverse(self.smoother(reverse(concat(known), mask)), mask)
        mean, flat = smoothed.split([self.z_dim, self.z_dim**2], -1)
        return mean, flat.unflatten(-1, (self.z_dim, self.z_dim))


class RauchTungStriebel(Causal):
    r"""The smoother of Rauch, Tung & Striebel (1965), reading the filter's results from the last step to the first.

    .. math::
        J_t = P_t A_{t+1}^T (A_{t+1} P_t A_{t+1}^T + Q)^{-1}, \qquad
        \bar m_t = m_t + J_t (\bar m_{t+1} - m^-_{t+1}), \\
        \bar P_t = (I - J_t A_{t+1}) P_t (I - J_t A_{t+1})^T + J_t (\bar P_{t+1} + Q) J_t^T

    It reads ``[m_t, P_t, A_{t+1}, m^-_{t+1}, q]`` (filtered moments, transition and predicted mean of the step after,
    diagonal of Q; what it reads first needs only the first two) and gives ``[mean, covariance]`` of ``z_t`` given all.
    The covariance is Joseph's form of the usual one, :math:`P + J (\bar P' - P'^-) J^T`: it stays positive definite.

    Arguments:
        z_dim: width of ``z_t``.
    """

    def __init__(self, z_dim: int) -> None:
        super().__init__()
        self.z_dim, self.in_dim, self.out_dim = z_dim, 3 * z_dim + 2 * z_dim**2, z_dim + z_dim**2

    def step(self, u: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Any]:
        z, square = self.z_dim, (self.z_dim, self.z_dim)
        mean, p, a, predicted, process = u.split([z, z**2, z**2, z, z], -1)
        p, a, q = p.unflatten(-1, square), a.unflatten(-1, square), torch.diag_embed(process)
        if state is not None:
            later, covariance = state
            gain = torch.cholesky_solve(a @ p, cholesky(symmetric(a @ p @ a.mT) + q)).mT
            mean = mean + apply(gain, later - predicted)
            keep = torch.eye(z, dtype=p.dtype, device=p.device) - gain @ a
            p = symmetric(keep @ p @ keep.mT + gain @ (covariance + q) @ gain.mT)
        return concat([mean, p.flatten(-2)]), (mean, p)


# ------------------------------------------------------------------------------------------ small algebra
def mixed(matrices: Tensor, weights: Tensor) -> Tensor:
    """``sum_k w_k M^k``: ``(K, n, m)`` and ``(..., K)`` to ``(..., n, m)``."""
    return (weights @ matrices.flatten(1)).unflatten(-1, matrices.shape[1:])


def apply(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)


def symmetric(matrix: Tensor) -> Tensor:
    return 0.5 * (matrix + matrix.mT)


def cholesky(matrix: Tensor) -> Tensor:
    """The lower factor; NaN, not an error (which a GPU would have to wait for), where rounding has left none."""
    factor, info = torch.linalg.cholesky_ex(matrix)
    return torch.where((info == 0)[..., None, None], factor, torch.nan)


def full_precision(like: Tensor) -> AbstractContextManager[Any]:
    """No autocast within: a covariance in half precision is soon no covariance."""
    kind = like.device.type
    on = kind != "meta" and torch.is_autocast_enabled(kind)
    return torch.autocast(kind, enabled=False) if on else nullcontext()


def _next(sequence: Tensor) -> Tensor:
    """The sequence one step earlier; what stands last is read by nobody."""
    return torch.cat([sequence[..., 1:, :], sequence[..., -1:, :]], -2)


def _variance(raw: Tensor) -> Tensor:
    return softplus(raw) + MIN_VARIANCE


def _raw(variance: float, dim: int) -> Tensor:
    """What :func:`_variance` turns into ``variance``."""
    return torch.full((dim,), variance - MIN_VARIANCE).expm1().log()
