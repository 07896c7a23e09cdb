"""Gaussian noise sent through inverse autoregressive transforms: a posterior of a step that is no Gaussian."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from pyro.distributions.transforms import AffineAutoregressive, ConditionalAffineAutoregressive
from pyro.nn import ConditionalAutoRegressiveNN
from torch import Tensor, nn

from .families import Family, Normal

__all__ = ["FlowNormal", "InverseAutoregressive"]


class InverseAutoregressive(Family):
    r"""An inverse autoregressive flow: a diagonal Gaussian, then ``flows`` transforms of masked networks.

    .. math::
        y^0 = loc + s \odot e, \quad e \sim N(0, I), \qquad
        y^k = \sigma^k \odot y^{k-1} + (1 - \sigma^k) \odot m^k, \qquad z = y^K

    where :math:`m^k_i` and :math:`\sigma^k_i = \mathrm{sigmoid}(\cdot + 2)` are functions of :math:`y^{k-1}_{<i}` and
    of the context c; the order of the elements is reversed from one transform to the next. The conditional's network
    gives (loc, s, c), so each step has a flow of its own. In a DMM it goes where a Family goes
    (``posterior=rv.InverseAutoregressive``) or onto the combiner
    (``posterior=partial(rv.Combiner, family=rv.InverseAutoregressive)``).

    Drawing is one pass, and what has been drawn knows its density. The density of any other value takes ``dim`` passes
    a transform: for a posterior that is seldom asked for; as a prior or a likelihood it is right, and slow.

    Source: Kingma, Salimans, Jozefowicz, Chen, Sutskever & Welling (2016), arXiv:1606.04934, algorithm 1; transforms
    and masked networks are Pyro's (``ConditionalAffineAutoregressive``). We differ in the masked networks (by default
    one hidden layer with a rectifier).

    Arguments:
        dim: elements of a frame.
        flows: number K of transforms.
        hidden: widths of a masked network's hidden layers, each at least ``dim``; ``None``: one of ``4 dim``.
        context: width of c, which the network gives beside loc and s; ``None``: ``dim``; 0: the transforms are the same
            at every step (so is Pyro's DMM example).
        stable: whether y is mixed with m as above; else :math:`y^k = \sigma y^{k-1} + m`, with a scale from
            exp(-5) to exp(3).

    Raises:
        ValueError: a number of transforms below 1, a context below 0, or a hidden layer narrower than ``dim``.
    """

    def __init__(self, dim: int, *, flows: int = 1, hidden: Sequence[int] | None = None, context: int | None = None,
                 stable: bool = True) -> None:
        widths = [4 * dim] if hidden is None else list(hidden)
        context = dim if context is None else context
        counts = [("flows", flows, 1), ("context", context, 0), *(("hidden", width, dim) for width in widths)]
        for name, number, least in counts:
            if isinstance(number, bool) or not isinstance(number, int) or number < least:
                raise ValueError(f"InverseAutoregressive: {name} must be an integer of at least {least} for {dim} "
                                 f"elements, got {number!r}.")
        if not widths:
            raise ValueError("InverseAutoregressive: hidden must name at least one layer, got none.")
        super().__init__(dim, 2 * dim + context)
        self.base, order = Normal(dim), torch.arange(dim)
        self.transforms = nn.ModuleList(
            _transform(dim, context, widths, order if k % 2 else order.flip(0), stable)
            for k, _ in enumerate([None] * flows))

    def forward(self, params: Tensor) -> FlowNormal:
        return FlowNormal(self, params)

    def conditioned(self, params: Tensor) -> list[AffineAutoregressive]:
        """The transforms, in order, for the context of ``params``."""
        context = params[..., 2 * self.dim:]
        return [transform.condition(context) for transform in self.transforms]  # type: ignore[operator]

    def bias(self, values: Tensor) -> Tensor:
        """The base is that of the data's marginals: the transforms start near the identity."""
        marginals = self.base.bias(values)
        return torch.cat([marginals, marginals.new_zeros(self.num_params - 2 * self.dim)])


def _transform(dim: int, context: int, hidden: list[int], order: Tensor,
               stable: bool) -> ConditionalAffineAutoregressive:
    with warnings.catch_warnings():  # of one element Pyro says that an affine map would do: with a context it is one
        warnings.filterwarnings("ignore", "ConditionalAutoRegressiveNN input_dim = 1")
        net = ConditionalAutoRegressiveNN(dim, context, hidden, permutation=order)
    return ConditionalAffineAutoregressive(net, stable=stable)


def _inverse(transform: AffineAutoregressive, y: Tensor) -> Tensor:
    """x with ``transform(x) = y``, one element after the other (Pyro's own makes zeros of the default dtype)."""
    x = torch.zeros_like(y)
    for here in torch.eye(y.shape[-1], dtype=torch.bool, device=y.device)[transform.arn.permutation]:
        off = y - transform(x)
        x = torch.where(here, x + off * torch.exp(-transform._cached_log_scale), x)
    return x


class FlowNormal(dist.TorchDistribution):
    """The law of one frame under :class:`InverseAutoregressive`, given raw parameters ``(..., P)``.

    It remembers the density of its last draw, so that nothing has to be inverted for it: ``log_prob`` of that very
    tensor is what the draw has found on its way (as a function of parameters and noise; of any other tensor, a detached
    one too, it is computed from the value).
    """

    arg_constraints: dict[str, Any] = {}
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, family: InverseAutoregressive, params: Tensor, memory: _Memory | None = None) -> None:
        self.family, self.params, self.memory = family, params, memory or _Memory()
        super().__init__(params.shape[:-1], torch.Size([family.dim]), validate_args=False)

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> FlowNormal:
        return FlowNormal(self.family, self.params.expand(*batch_shape, -1), self.memory)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        return self.from_noise(torch.randn(shape, dtype=self.params.dtype, device=self.params.device))

    def from_noise(self, noise: Tensor) -> Tensor:
        """The draw that standard normal ``noise (..., dim)`` gives."""
        base = self._base()
        value = base.loc + base.scale * noise.to(self.params)
        log_prob = base.log_prob(value).sum(-1)
        for transform in self.family.conditioned(self.params):
            before, value = value, transform(value)
            log_prob = log_prob - transform.log_abs_det_jacobian(before, value)
        self.memory.keep(value, log_prob)
        return value

    def log_prob(self, value: Tensor) -> Tensor:
        known = self.memory.find(value)
        if known is not None:
            return known
        total: Any = 0.0
        value = value.expand(torch.broadcast_shapes(value.shape, self.params.shape[:-1] + value.shape[-1:]))
        for transform in reversed(self.family.conditioned(self.params)):
            value = _inverse(transform, value)
            total = total - transform.log_abs_det_jacobian(value, transform(value))
        return total + self._base().log_prob(value).sum(-1)  # type: ignore[no-any-return]

    def _base(self) -> dist.Normal:
        loc, scale = self.family.base.split(self.params[..., : 2 * self.family.dim])
        return dist.Normal(loc, scale, validate_args=False)

    @staticmethod
    def stacked(laws: Sequence[FlowNormal], values: Tensor) -> FlowNormal:
        """The laws of T steps as one of all, ``(..., T, dim)``; ``values`` are the draws of all, stacked."""
        params = torch.stack(torch.broadcast_tensors(*(law.params for law in laws)), -2)
        law = FlowNormal(laws[0].family, params)
        densities = [one.memory.log_prob for one in laws]
        if all(density is not None for density in densities):
            law.memory.keep(values, torch.stack(torch.broadcast_tensors(*densities), -1))
        return law


class _Memory:
    """The last draw and its log-density; shared by a law and what is expanded from it."""

    def __init__(self) -> None:
        self.value: Tensor | None = None
        self.log_prob: Tensor | None = None
        self.graph = False

    def keep(self, value: Tensor, log_prob: Tensor) -> None:
        self.value, self.log_prob, self.graph = value, log_prob, torch.is_grad_enabled()

    def find(self, value: Tensor) -> Tensor | None:
        """The density of ``value`` if it is the very tensor drawn, and nobody asks for a gradient that was not kept."""
        usable = self.graph or not torch.is_grad_enabled()
        return self.log_prob if value is self.value and usable else None
