"""Conditionals: modules that map inputs to a distribution. Any callable that does the same may stand in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ..nn import MLP, Encoder, concat, is_recipe, linear_scan
from .families import MIN_SCALE, Family, Normal

__all__ = ["Combiner", "Conditional", "GaussianChain", "MeanField", "conditional"]

ConditionalPart = nn.Module | Family | Callable[..., Any]


class Conditional(nn.Module):
    """``p(y | inputs)``: a network of the concatenated inputs, and a family that reads its output.

    Arguments:
        net: ``(..., in_dim) -> (..., family.num_params)``.
        family: a :class:`Family`, or a function of the raw parameters that returns a distribution with
            ``event_dim`` 1.

    >>> p = Conditional(nn.Linear(3, 4), Normal(2))
    >>> p(torch.zeros(5, 1), torch.zeros(5, 2)).event_shape
    torch.Size([2])
    """

    def __init__(self, net: nn.Module, family: Callable[[Tensor], dist.TorchDistribution]) -> None:
        super().__init__()
        self.net, self.family = net, family

    def params(self, *inputs: Tensor) -> Tensor:
        """Raw parameters; at least float32, since a log-density in half precision is off by 0.1 nats a frame."""
        raw = self.net.of(*inputs) if isinstance(self.net, MLP) else self.net(concat(inputs))
        return raw.float() if raw.dtype in (torch.bfloat16, torch.float16) else raw

    def forward(self, *inputs: Tensor) -> dist.TorchDistribution:
        return self.family(self.params(*inputs))

    @torch.no_grad()
    def set_bias(self, raw: Tensor) -> None:
        """Set the bias of the last linear layer (or what the net calls ``output_bias``) to ``raw (num_params,)``."""
        bias = getattr(self.net, "output_bias", None)
        if bias is None:
            bias = [m for m in self.net.modules() if isinstance(m, nn.Linear)][-1].bias
        if bias is None or bias.shape != raw.shape:
            raise ValueError(f"set_bias: the last linear layer has bias "
                             f"{None if bias is None else tuple(bias.shape)}, got {tuple(raw.shape)}.")
        bias.copy_(raw)


def conditional(part: ConditionalPart, in_dim: int, dim: int, *, hidden: Sequence[int] = (128,),
                dropout: float = 0.0) -> Any:
    """The rule by which a model turns an argument into a conditional.

    - a Family, its class, or a ``functools.partial`` of it: the model builds an MLP of the right width (without
      inputs, a learned vector of parameters);
    - another class (or partial): called with ``(in_dim, dim)``, widths first;
    - anything else is a whole conditional, and is taken as it is.
    """
    source = part
    while isinstance(source, partial):
        source = source.func
    if isinstance(part, Family) or (isinstance(source, type) and issubclass(source, Family)):
        family = part if isinstance(part, Family) else part(dim)
        if family.dim != dim:
            raise ValueError(f"{type(family).__name__} was built for {family.dim} elements, the model needs {dim}.")
        if in_dim == 0:
            return Unconditional(family)
        return Conditional(MLP(in_dim, family.num_params, hidden=hidden, dropout=dropout), family)
    if is_recipe(part):
        return part(in_dim, dim)
    if isinstance(part, Encoder) or not callable(part):
        raise TypeError(f"expected a conditional (a callable that returns a distribution) or a Family, "
                        f"got {type(part).__name__}.")
    _check_built(part, in_dim, dim)
    return part


def _check_built(part: Any, in_dim: int, dim: int) -> None:
    """Refuse a part of this library that was built for other widths than the model's."""
    if not type(part).__module__.startswith(__name__.partition(".")[0] + "."):
        return
    name, width = type(part).__name__, getattr(part, "dim", dim)
    if width != dim:
        raise ValueError(f"this {name} was built for {width} elements, the model needs {dim}; build it so, or pass its "
                         "class.")
    if getattr(part, "in_dim", 0) not in (0, in_dim):  # 0: it reads nothing
        raise ValueError(f"this {name} was built to read {part.in_dim} numbers, the model passes {in_dim}; build it "
                         "so, or pass its class.")


class Unconditional(nn.Module):
    """``p(y)``: a family with one learned vector of raw parameters; inputs, if any, are ignored."""

    def __init__(self, family: Family) -> None:
        super().__init__()
        self.family, self.raw = family, nn.Parameter(torch.zeros(family.num_params))

    def forward(self, *inputs: Tensor) -> dist.TorchDistribution:
        return self.family(self.raw)


class Combiner(nn.Module):
    r"""The recurrent combiner of structured inference: reads ``z_{t-1}`` and the encoder's features.

    .. math::
        h = \tfrac12(\tanh(W z_{t-1} + b) + g_t), \qquad
        q(z_t \mid z_{t-1}, x) = N(A h + a,\ \mathrm{softplus}(B h + d)^2)

    Source: Krishnan, Shalit & Sontag (2017), arXiv:1609.09869, equations 10-11. We differ: a linear map brings
    the features to the width of ``h``; a bidirectional encoder's two directions go through it together and count one
    half, where their ST-LR gives one third to each of latent and directions.

    Arguments:
        in_dim: width of ``z_{t-1}`` (first) and the features together.
        dim: width of the latent.
        hidden: width of ``h``.
        family: the Family (class or partial) whose raw parameters are a linear map of ``h``.
    """

    reads_previous = True

    def __init__(self, in_dim: int, dim: int, *, hidden: int = 200, family: Callable[[int], Family] = Normal) -> None:
        super().__init__()
        _need_features(self, in_dim, dim)
        self.latent, self.features = nn.Linear(dim, hidden), nn.Linear(in_dim - dim, hidden)
        self.family = family(dim)
        self.output = nn.Linear(hidden, self.family.num_params)

    def params(self, z: Tensor, *features: Tensor) -> Tensor:
        raw = self.output(0.5 * (torch.tanh(self.latent(z)) + self.features(concat(features))))
        return raw.float() if raw.dtype in (torch.bfloat16, torch.float16) else raw

    def forward(self, z: Tensor, *features: Tensor) -> dist.TorchDistribution:
        return self.family(self.params(z, *features))


class GaussianChain(nn.Module):
    r"""A posterior that is structured in time and yet drawn in parallel.

    .. math::
        q(z_t \mid z_{t-1}, x) = N(a_t z_{t-1} + b_t,\ \mathrm{diag}\, s_t^2), \qquad
        a_t = \sigma(\alpha_t + 1), \quad s_t = \mathrm{softplus}(\rho_t) + 10^{-4}

    with :math:`(\alpha_t, b_t, \rho_t)` from a network of the features of step t. Given the features the path is
    a linear recurrence, so all of it is drawn by one scan in about ``2 log2 T`` batched operations
    (:func:`pyro_rvae.nn.linear_scan`).

    Arguments:
        in_dim: width of ``z_{t-1}`` (first) and the features together.
        dim: width of the latent.
        hidden: widths of the network's hidden layers; none: a linear map of the features.
        dropout: probability on the hidden layers.
    """

    reads_previous = True

    def __init__(self, in_dim: int, dim: int, *, hidden: Sequence[int] = (), dropout: float = 0.0) -> None:
        super().__init__()
        _need_features(self, in_dim, dim)
        self.net = MLP(in_dim - dim, 3 * dim, hidden=hidden, dropout=dropout)

    def coefficients(self, *features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``(a, b, s)``, each ``(..., dim)``."""
        raw = self.net(concat(features))
        raw = raw.float() if raw.dtype in (torch.bfloat16, torch.float16) else raw
        a, b, s = raw.chunk(3, -1)
        return torch.sigmoid(a + 1.0), b, softplus(s) + MIN_SCALE

    def forward(self, z: Tensor, *features: Tensor) -> dist.TorchDistribution:
        """The law of one step: at each step, or, given the whole path one step earlier, of all steps at once."""
        a, b, s = self.coefficients(*features)
        return dist.Normal(torch.addcmul(b, a, z), s, validate_args=False).to_event(1)

    def draw_path(self, init: Tensor, *features: Tensor, noise: Tensor) -> tuple[Tensor, dist.TorchDistribution]:
        """The whole path from ``z_0 = init (..., dim)`` and standard noise ``(..., T, dim)``, with its law."""
        a, b, s = self.coefficients(*features)
        z = linear_scan(a, torch.addcmul(b, s, noise), init)
        before = torch.cat([init.expand_as(z[..., 0, :]).unsqueeze(-2), z[..., :-1, :]], -2)
        loc = torch.addcmul(b, a, before)
        return z, dist.Normal(loc, s, validate_args=False).to_event(1)


class MeanField(nn.Module):
    """q(z_t | g_t): the previous latent, which stands first among the inputs, is not read.

    So the steps are independent given x, and all are drawn at once. Source: the MF-LR guide of Krishnan, Shalit &
    Sontag (2017), arXiv:1609.09869, table 1, with a Bidirectional encoder.

    Arguments:
        in_dim: width of ``z_{t-1}`` (first) and the features together.
        dim: width of the latent.
        hidden: widths of the hidden layers.
        dropout: probability on them.
    """

    reads_previous = True

    def __init__(self, in_dim: int, dim: int, *, hidden: Sequence[int] = (128,), dropout: float = 0.0) -> None:
        super().__init__()
        _need_features(self, in_dim, dim)
        self.family = Normal(dim)
        self.given_features = Conditional(MLP(in_dim - dim, 2 * dim, hidden=hidden, dropout=dropout), self.family)

    def forward(self, z: Tensor, *features: Tensor) -> dist.TorchDistribution:
        return self.given_features(*features)  # type: ignore[no-any-return]

    def draw_path(self, init: Tensor, *features: Tensor, noise: Tensor) -> tuple[Tensor, dist.TorchDistribution]:
        """All steps from standard noise ``(..., T, dim)``, with their law."""
        raw = self.given_features.params(*features)
        return self.family.rsample(raw, noise), self.family(raw)


def _need_features(part: nn.Module, in_dim: int, dim: int) -> None:
    if in_dim <= dim:
        raise ValueError(f"{type(part).__name__} reads the previous latent, {dim} wide, and features beside it; the "
                         f"model passes {in_dim} numbers in all. It suits a posterior, or a transition with skip "
                         f"edges.")
