"""Draws of the states of a linear-Gaussian state space model, given all that was observed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .causal import Causal
from .encoders import reverse
from .kalman import MixtureKalman, _next, _variance, apply, cholesky, full_precision, mixed, symmetric
from .networks import concat

__all__ = ["BackwardDraws", "draw_emitted", "draw_states"]


def draw_states(dynamics: MixtureKalman, output: Tensor, a: Tensor, observed: Tensor, noise: Tensor,
                mask: Tensor | None = None) -> Tensor:
    """A path ``z (..., T, z_dim)`` from ``p(z_1..z_T | a)``, the modes being those of the filter.

    Arguments:
        dynamics: the filter; output: what it gave for all steps.
        a: ``(..., T, a_dim)``.
        observed: ``(..., T, 1)``, 0 where a is missing.
        noise: ``(..., T, z_dim)``, standard normal.
        mask: ``(B, T)``, True where a sequence has a frame.
    """
    with full_precision(output):
        belief = dynamics.belief(output)
        mean, covariance, _ = dynamics.update(belief, a, observed)
        transition = mixed(dynamics.transition, belief.weights).flatten(-2)
        known = [mean, covariance.flatten(-2), _next(transition), _next(belief.mean),
                 _variance(dynamics.raw_process).expand_as(mean), noise.to(mean)]
        return reverse(BackwardDraws(dynamics.z_dim)(reverse(concat(known), mask)), mask)


def draw_emitted(dynamics: MixtureKalman, output: Tensor, z: Tensor, noise: Tensor) -> Tensor:
    """``a_t ~ N(C_t z_t, R)``, ``(..., T, a_dim)``, from standard normal ``noise`` of that shape."""
    emission = mixed(dynamics.emission, dynamics.belief(output).weights)
    return apply(emission, z) + _variance(dynamics.raw_noise).sqrt() * noise.to(z)


class BackwardDraws(Causal):
    r"""Backward sampling, reading the filter's results from the last step to the first.

    .. math::
        z_t \mid z_{t+1} \sim N\big(m_t + J_t (z_{t+1} - m^-_{t+1}),\;
        (I - J_t A_{t+1}) P_t (I - J_t A_{t+1})^T + J_t Q J_t^T\big)

    with :math:`J_t` as of :class:`~pyro_rvae.nn.kalman.RauchTungStriebel`; it reads what that reads, and behind it the
    standard normal noise of each step. Source: Carter & Kohn (1994), "On Gibbs sampling for state space models",
    Biometrika 81; Fruhwirth-Schnatter (1994).

    Arguments:
        z_dim: width of ``z_t``.
    """

    def __init__(self, z_dim: int) -> None:
        super().__init__()
        self.z_dim, self.in_dim, self.out_dim = z_dim, 4 * z_dim + 2 * z_dim**2, z_dim

    def step(self, u: Tensor, state: Tensor | None = None) -> tuple[Tensor, Any]:
        z, square = self.z_dim, (self.z_dim, self.z_dim)
        mean, p, a, predicted, process, noise = u.split([z, z**2, z**2, z, z, z], -1)
        p, a, q = p.unflatten(-1, square), a.unflatten(-1, square), torch.diag_embed(process)
        if state is not None:
            gain = torch.cholesky_solve(a @ p, cholesky(symmetric(a @ p @ a.mT) + q)).mT
            mean = mean + apply(gain, state - predicted)
            keep = torch.eye(z, dtype=p.dtype, device=p.device) - gain @ a
            p = symmetric(keep @ p @ keep.mT + gain @ q @ gain.mT)
        drawn = mean + apply(cholesky(p), noise)
        return drawn, drawn
