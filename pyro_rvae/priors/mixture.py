"""A mixture of Gaussians."""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ..distributions import Conditional, Family
from ..distributions.families import MIN_SCALE, inverse_softplus
from ..nn import MLP

__all__ = ["GaussianMixture", "MixtureOfGaussians", "check_components"]


def check_components(name: str, components: object) -> None:
    """Refuse a number of components that is no integer of at least 1."""
    if isinstance(components, bool) or not isinstance(components, int) or components < 1:
        raise ValueError(f"{name}: components must be an integer of at least 1, got {components!r}.")


class GaussianMixture(Family):
    r"""``z ~ sum_k w_k N(m_k, diag s_k^2)``: one component for the whole vector, so its elements depend on each other.

    Raw parameters: K logits, ``K dim`` means, ``K dim`` raw scales (``s = softplus(raw) + 1e-4``). It has no
    reparametrised draw, so it serves as a prior or a likelihood, not as a posterior.

    Arguments:
        dim: elements of a vector.
        components: K.

    Raises:
        ValueError: ``components`` is no integer of at least 1.
    """

    def __init__(self, dim: int, *, components: int = 10) -> None:
        check_components("GaussianMixture", components)
        super().__init__(dim, components * (1 + 2 * dim))
        self.components = components

    def forward(self, params: Tensor) -> dist.TorchDistribution:
        k, d = self.components, self.dim
        logits, loc, raw = params.split([k, k * d, k * d], -1)
        scale = softplus(raw.unflatten(-1, (k, d))) + MIN_SCALE
        parts = dist.Normal(loc.unflatten(-1, (k, d)), scale, validate_args=False).to_event(1)
        return dist.MixtureSameFamily(dist.Categorical(logits=logits, validate_args=False), parts, validate_args=False)

    def start(self) -> Tensor:
        """Raw parameters of equal weights, means drawn from N(0, I) and unit scales: no two components alike."""
        scales = inverse_softplus(1.0).expand(self.components * self.dim)
        return torch.cat([torch.zeros(self.components), torch.randn(self.components * self.dim), scales])


class MixtureOfGaussians(Conditional):
    r"""``p(z | u) = sum_k w_k(u) N(z; m_k(u), diag s_k(u)^2)``, or, of a model that passes nothing, without u.

    Its KL has no closed form: it is estimated by sampling, as everything is that has none.
    Source: for a latent, Dilokthanakul et al. (2016), arXiv:1611.02648, and Jiang et al. (2017), arXiv:1611.05148
    (VaDE). We differ: the component is summed out.

    Arguments:
        in_dim: width of what the model passes; 0: weights, means and scales are learned vectors.
        dim: width of the latent.
        components: number K of Gaussians.
        hidden: widths of the network's hidden layers; none: linear maps of u.
        dropout: probability on them.

    Raises:
        ValueError: ``components`` is no integer of at least 1.

    >>> rv.VRAE(5, prior=partial(rv.MixtureOfGaussians, components=4))  # doctest: +SKIP
    """

    def __init__(self, in_dim: int, dim: int, *, components: int = 10, hidden: Sequence[int] = (),
                 dropout: float = 0.0) -> None:
        check_components("MixtureOfGaussians", components)
        family = GaussianMixture(dim, components=components)
        if in_dim:
            super().__init__(MLP(in_dim, family.num_params, hidden=hidden, dropout=dropout), family)
            self.set_bias(family.start())
        else:
            super().__init__(nn.Identity(), family)
            self.raw = nn.Parameter(family.start())
        self.in_dim, self.dim = in_dim, dim

    def params(self, *inputs: Tensor) -> Tensor:
        return super().params(*inputs) if self.in_dim else self.raw
