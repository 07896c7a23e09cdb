"""Normalising flows, from Pyro's own transforms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
import pyro.distributions.transforms as T
import torch
from pyro.distributions.transforms.householder import ConditionedHouseholder
from pyro.distributions.transforms.spline import ConditionedSpline
from torch import Tensor, nn

from ..nn import concat

__all__ = ["AffineCoupling", "FlowPrior", "Spline"]


class AffineCoupling(nn.Module):
    r"""``z_{1:k}`` stays; ``z_{k+1:d} <- exp(s) z_{k+1:d} + t``, ``s, t`` of ``(z_{1:k}, u)``; then the order turns.

    With ``k = d // 2``. Pyro's ``affine_coupling``, or given inputs u ``conditional_affine_coupling``.
    Source: Dinh, Sohl-Dickstein & Bengio (2017), "Density estimation using Real NVP", arXiv:1605.08803.

    Arguments:
        in_dim: width of u; 0: none.
        dim: width d of the latent, at least 2.
        hidden: widths of the network's hidden layers.

    Raises:
        ValueError: ``dim`` is 1, where there is nothing to couple.
    """

    def __init__(self, in_dim: int, dim: int, *, hidden: Sequence[int] = (64,)) -> None:
        super().__init__()
        if dim < 2:
            raise ValueError(f"AffineCoupling couples one half of the latent to the other, and its width is {dim}; use "
                             "FlowPrior(layer=rv.priors.Spline).")
        self.in_dim, self.split = in_dim, dim // 2
        self.coupling: Any  # unconditional: the network alone; a Pyro transform keeps its last values, a network none
        if in_dim:
            self.coupling = T.conditional_affine_coupling(dim, in_dim, list(hidden))
        else:
            self.coupling = T.affine_coupling(dim, list(hidden)).nn
        _soften(self.coupling.nn if in_dim else self.coupling)
        self.order: Tensor
        self.register_buffer("order", torch.arange(dim).flip(0), persistent=False)

    def forward(self, u: Tensor | None) -> list[Any]:
        coupling = T.AffineCoupling(self.split, self.coupling) if u is None else self.coupling.condition(u)
        return [coupling, T.Permute(self.order)]


class Spline(nn.Module):
    """Each element through a monotone rational spline of its own, then (where there are two or more) a reflection.

    Pyro's ``spline``, or given inputs u ``conditional_spline``; the reflections are its ``householder`` and make the
    elements depend on each other over two layers or more. Outside of ``[-bound, bound]`` the spline is the identity.
    Pyro's spline selects what is outside with a mask, so on a GPU each layer waits once for the device.
    Source: Dolatabadi, Erfani & Leckie (2020), arXiv:2001.05168; Durkan et al. (2019), arXiv:1906.04032.

    Arguments:
        in_dim: width of u; 0: none.
        dim: width of the latent.
        bins: segments of a spline.
        bound: where it ends, in units of the latent.
        hidden: widths of the network's hidden layers, of a conditional one.

    Raises:
        ValueError: fewer than 2 bins, or a bound that is not positive.
    """

    def __init__(self, in_dim: int, dim: int, *, bins: int = 8, bound: float = 5.0,
                 hidden: Sequence[int] = (64,)) -> None:
        super().__init__()
        if bins < 2 or not bound > 0:
            raise ValueError(f"Spline: at least 2 bins and a positive bound are needed, got {bins} and {bound}.")
        self.in_dim, self.bound = in_dim, bound
        self.spline: Any = T.conditional_spline(dim, in_dim, list(hidden), count_bins=bins, bound=bound) if in_dim \
            else T.spline(dim, count_bins=bins, bound=bound)
        _soften(self.spline.nn if in_dim else self.spline)
        self.reflect = nn.Parameter(torch.randn(min(dim, 2), dim)) if dim > 1 else None

    def forward(self, u: Tensor | None) -> list[Any]:
        # a fresh transform each time: Pyro's keep their last values, which would be copied and saved with the model
        spline = ConditionedSpline(self.spline._params, bound=self.bound) if u is None else self.spline.condition(u)
        return [spline] if self.reflect is None else [spline, ConditionedHouseholder(self.reflect)]


class _Flow(dist.TransformedDistribution):  # type: ignore[misc]
    """Pyro's conditional networks take a value with all dims of the context; here a value may have fewer."""

    def log_prob(self, value: Tensor) -> Tensor:
        shape = torch.broadcast_shapes(value.shape, self.batch_shape + self.event_shape)
        return super().log_prob(value.expand(shape))  # type: ignore[no-any-return]


@torch.no_grad()
def _soften(network: nn.Module) -> None:
    """Start a layer near the identity: Pyro's own start scales by up to e^3, and its splines have spikes."""
    layers: Any = getattr(network, "layers", [network])
    for parameter in layers[-1].parameters():
        parameter.mul_(0.1)


class FlowPrior(nn.Module):
    r"""``z = f_L(...f_1(e; u)...; u)``, ``e ~ N(0, I)``: a normalising flow, given u where the model passes a state.

    .. math:: \log p(z \mid u) = \log N(f^{-1}(z; u); 0, I) + \log |\det \partial f^{-1} / \partial z|

    Both directions are one pass. The KL has no closed form: it is estimated by sampling.
    Source: Rezende & Mohamed (2015), arXiv:1505.05770; as a prior, Chen et al. (2017), "Variational Lossy
    Autoencoder", arXiv:1611.02731, section 3.2 (theirs is autoregressive).

    Arguments:
        in_dim: width of what the model passes (a state, z_{t-1}, a context); 0: the flow is unconditional.
        dim: width of the latent.
        layers: number L of layers.
        layer: class (or partial) of a layer, built with ``(in_dim, dim)``: :class:`AffineCoupling`, :class:`Spline`, or
            your own module from u (or None) to a list of Pyro transforms of vectors, its parameters in the module.

    Raises:
        ValueError: no layer, a coupling of one element, or a discrete latent (by the model).

    >>> rv.VRNN(5, prior=partial(rv.FlowPrior, layer=rv.priors.Spline))  # doctest: +SKIP
    """

    def __init__(self, in_dim: int, dim: int, *, layers: int = 4, layer: Any = AffineCoupling) -> None:
        super().__init__()
        if isinstance(layers, bool) or not isinstance(layers, int) or layers < 1:
            raise ValueError(f"FlowPrior: layers must be an integer of at least 1, got {layers!r}.")
        self.in_dim, self.dim = in_dim, dim
        self.layers = nn.ModuleList(make(in_dim, dim) for make in [layer] * layers)
        self.zero: Tensor
        self.register_buffer("zero", torch.zeros(dim), persistent=False)

    def forward(self, *inputs: Tensor) -> dist.TorchDistribution:
        u = self.given(inputs)
        lead = () if u is None else u.shape[:-1]
        zero = self.zero.expand(*lead, self.dim)
        base = dist.Normal(zero, torch.ones_like(zero), validate_args=False).to_event(1)
        transforms = [transform for layer in self.layers for transform in layer(u)]
        return _Flow(base, transforms, validate_args=False)

    def given(self, inputs: Sequence[Tensor]) -> Tensor | None:
        """What the flow is conditioned on, in at least float32."""
        if not self.in_dim:
            return None
        u = concat(inputs)
        return u.float() if u.dtype in (torch.bfloat16, torch.float16) else u
