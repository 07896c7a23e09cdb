"""Discrete regimes: one-hot latents, dynamics that switch with them, and their exact posterior."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..nn import BackwardMessages
from .conditional import Conditional
from .families import Family, Normal
from .missing import observe_elements

__all__ = ["OneHot", "RegimePosterior", "SwitchingNormal"]


class OneHot(Family):
    """``s ~ Categorical(softmax(raw))``, one of ``dim`` regimes as a one-hot vector."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, dim)

    def forward(self, params: Tensor) -> dist.TorchDistribution:
        return dist.OneHotCategorical(logits=params, validate_args=False)


class SwitchingNormal(Conditional):
    r"""Linear-Gaussian dynamics that switch with a regime.

    .. math::
        z_t \mid z_{t-1}, s_t = k \;\sim\; N(A_k z_{t-1} + b_k + C c_t,\ \mathrm{diag}\,\sigma_k^2)

    Called with ``(s_t, z_{t-1}[, c_t])``, the regime one-hot; each ``A_k`` starts near the identity.
    Source: Kim (1994), "Dynamic linear models with Markov-switching" (Journal of Econometrics 60). We differ: a
    diagonal covariance.

    Arguments:
        in_dim: width of all inputs.
        dim: width of z.
        modes: number of regimes K.
    """

    reads_previous = True

    def __init__(self, in_dim: int, dim: int, *, modes: int) -> None:
        if in_dim < modes + dim:
            raise ValueError(f"SwitchingNormal reads a regime, {modes} wide, and the previous latent, {dim} wide; the "
                             f"model passes {in_dim} numbers in all. It suits the transition of a SwitchingLDS.")
        super().__init__(_SwitchingLinear(in_dim - modes - dim, dim, modes), Normal(dim))


class _SwitchingLinear(nn.Module):
    """The raw parameters of :class:`SwitchingNormal`."""

    def __init__(self, beside: int, dim: int, modes: int) -> None:
        super().__init__()
        self.widths = [modes, dim, beside]
        self.linear, self.scale = nn.Linear(dim, modes * dim), nn.Linear(modes, dim, bias=False)
        self.control = nn.Linear(beside, dim, bias=False) if beside else None
        with torch.no_grad():
            self.linear.weight.mul_(0.1).add_(torch.eye(dim).repeat(modes, 1))

    def forward(self, u: Tensor) -> Tensor:
        s, z, c = u.split(self.widths, -1)
        each = self.linear(z).unflatten(-1, (s.shape[-1], -1))  # (..., K, dim)
        loc = (s.unsqueeze(-1) * each).sum(-2)
        return torch.cat([loc if self.control is None else loc + self.control(c), self.scale(s)], -1)


class RegimePosterior(Conditional):
    r"""The exact posterior of a chain of regimes, given all that it emits.

    .. math::
        q(s_t \mid s_{t-1}, y) \propto p(s_t \mid s_{t-1}, c_t)\, p(y_t \mid s_t, c_t)\, \beta_t(s_t)

    A guide fills a table of it with :meth:`rows` before its loop, and samples with ``(s_{t-1}, table_t)``. The table is
    detached. So a score function has no gradient, and that of ``log p(y, s)`` at a draw of q is an unbiased estimate of
    that of ``log p(y)`` (Fisher's identity), while ``log p(y, s) - log q(s | y) = log p(y)`` at every draw.
    Source: Rabiner (1989); the table is :class:`~pyro_rvae.nn.BackwardMessages`.

    Arguments:
        modes: number of regimes K.
    """

    reads_previous = True

    def __init__(self, modes: int) -> None:
        super().__init__(_Row(modes), OneHot(modes))
        self.messages = BackwardMessages(modes)
        self.each: Tensor  # row k is regime k
        self.register_buffer("each", torch.eye(modes), persistent=False)

    @property
    def start(self) -> Tensor:
        """What stands for ``s_0`` in the guide: any regime, as all rows of the first step are the same."""
        return self.each[0]

    @torch.no_grad()
    def emitted(self, conditional: Any, value: Tensor, *inputs: Tensor, present: Tensor | None = None) -> Tensor:
        """``log p(value_t | s_t = k, inputs_t)`` for every k: ``(..., T, K)``.

        Arguments:
            conditional: called with ``(s_t, *inputs_t)``, a dim of the K regimes before the last.
            value: ``(..., T, d)``, its gaps filled.
            inputs: each ``(..., T, width)``.
            present: where ``value`` was observed; ``None``: everywhere.
        """
        return _at_each(conditional, self.each, value, *inputs, present=present)

    @torch.no_grad()
    def rows(self, prior: Any, s0: Tensor, emitted: Tensor, *inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """The table ``log q(s_t = k | s_{t-1} = j, y)``, ``(..., T, K * K)``.

        Arguments:
            prior: p(s_t | ...), called with ``(s_{t-1}, *inputs_t)``.
            s0: what stands for the regime before the first step in ``prior``.
            emitted: ``log p(y_t | s_t = k)``, ``(..., T, K)``.
            inputs: each ``(..., T, width)``.
            mask: ``(B, T)``; the padding tells nothing of the regimes.
        """
        if mask is not None:
            emitted = torch.where(mask.unsqueeze(-1), emitted, 0.0)
        before = torch.cat([s0.unsqueeze(0), self.each])
        law = prior(before, *(u.unsqueeze(-2) for u in inputs))
        if law.has_enumerate_support is False or law.event_shape[-1:] != self.each.shape[-1:]:
            raise ValueError(f"prior: the law of a regime is over one-hot vectors of {len(self.each)} (a family like "
                             f"OneHot, or a OneHotCategorical of your own), got {type(law).__name__}.")
        pairs = _at_each(prior, before, self.each, *(u.unsqueeze(-2) for u in inputs)).mT  # (..., 1 + K, K)
        pairs = pairs.expand(*emitted.shape[:-1], *pairs.shape[-2:])
        first, later = pairs[..., :1, :1, :], pairs[..., 1:, 1:, :]
        log_u = torch.cat([first.expand(*first.shape[:-2], *later.shape[-2:]), later], -3) + emitted.unsqueeze(-2)
        return self.messages.smooth(log_u, mask).flatten(-2)


def _at_each(conditional: Any, states: Tensor, value: Tensor, *inputs: Tensor,
             present: Tensor | None = None) -> Tensor:
    """The log density of ``value (..., d)`` in each of ``states (K, width)``: ``(..., K)``."""
    law = conditional(states, *(u.unsqueeze(-2) for u in inputs))
    if present is not None:
        law = observe_elements(law, present.unsqueeze(-2))
    table = law.log_prob(value.unsqueeze(-2))
    return table.expand(*table.shape[:-1], len(states))  # a law may ignore its state


class _Row(nn.Module):
    """Row ``s_{t-1}`` of a K x K table, both given as one vector."""

    def __init__(self, modes: int) -> None:
        super().__init__()
        self.modes = modes

    def forward(self, u: Tensor) -> Tensor:
        s, table = u.split([self.modes, self.modes * self.modes], -1)
        index = s.argmax(-1, keepdim=True).unsqueeze(-1)
        return table.unflatten(-1, (self.modes, -1)).take_along_dim(index, -2).squeeze(-2)
