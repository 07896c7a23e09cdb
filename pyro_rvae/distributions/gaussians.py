"""Gaussian frames whose elements depend on each other: full covariance, and low rank plus diagonal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import Independent, register_kl
from torch.nn.functional import softplus

from .families import MIN_SCALE, Family, Normal, inverse_softplus
from .missing import Marginal, observe_elements

__all__ = ["FullGaussian", "FullNormal", "LowRankGaussian", "LowRankNormal"]


class FullGaussian(dist.MultivariateNormal):
    """The law of :class:`FullNormal`: KL to independent Normals is analytic."""


class FullNormal(Family):
    r"""``x ~ N(loc, L L^T)``, ``L = diag(s) (I + V)``: a Gaussian with a full covariance.

    V is strictly lower triangular and ``s = softplus(raw) + 1e-4``, so that every network output is a covariance (V is
    relative to s: a small s makes no ill-conditioned one). As a likelihood it marginalises missing elements; as a
    posterior of one step it sees how latents depend on each other. A frame takes O(dim^2) numbers.

    Arguments:
        dim: elements of a frame.
        covariance: ``None``: the network gives L for each frame, ``dim (dim + 1) / 2`` numbers. A ``(dim, dim)``
            matrix (nested lists, which can be saved by name, or a tensor): the same in all frames, fixed.
        learned: with a matrix, make it the start of a learned covariance, the same in all frames.

    Raises:
        ValueError: a covariance that is no ``(dim, dim)`` matrix, or is not symmetric and positive definite.
    """

    raw_tril: Tensor | None
    place: Tensor

    def __init__(self, dim: int, *, covariance: Sequence[Sequence[float]] | Tensor | None = None,
                 learned: bool = False) -> None:
        if learned and covariance is None:
            raise ValueError("FullNormal: learned=True needs covariance=..., the matrix to start from; "
                             "with covariance=None the network already gives it.")
        below = dim * (dim - 1) // 2
        super().__init__(dim, 2 * dim + below if covariance is None else dim)
        row, column = torch.tril_indices(dim, dim, -1)
        self.register_buffer("place", row * dim + column, persistent=False)  # where the numbers below the diagonal go
        raw = None if covariance is None else self.raw(_cholesky(covariance, dim))
        if raw is not None and learned:
            self.raw_tril = nn.Parameter(raw)
        else:
            self.register_buffer("raw_tril", raw)

    def raw(self, tril: Tensor) -> Tensor:
        """The raw numbers ``(..., dim (dim + 1) / 2)`` of a Cholesky factor ``(..., dim, dim)``."""
        scale = tril.diagonal(dim1=-2, dim2=-1)
        relative = (tril / scale.unsqueeze(-1)).flatten(-2).index_select(-1, self.place)
        return torch.cat([inverse_softplus(scale - MIN_SCALE), relative], -1)

    def tril(self, raw: Tensor) -> Tensor:
        """L of raw numbers: those of s, then those of V by rows."""
        scale, below = softplus(raw[..., : self.dim]) + MIN_SCALE, raw[..., self.dim:]
        flat = raw.new_zeros(*raw.shape[:-1], self.dim * self.dim).index_copy(-1, self.place, below)
        relative = flat.unflatten(-1, (self.dim, self.dim))
        return torch.diag_embed(scale) + scale.unsqueeze(-1) * relative

    def split(self, params: Tensor) -> tuple[Tensor, Tensor]:
        """``(loc, L)`` of raw parameters."""
        if self.raw_tril is not None:
            return params, self.tril(self.raw_tril)
        return params[..., : self.dim], self.tril(params[..., self.dim:])

    def forward(self, params: Tensor) -> dist.TorchDistribution:
        loc, tril = self.split(params)
        return FullGaussian(loc, scale_tril=tril, validate_args=False)

    def rsample(self, params: Tensor, noise: Tensor) -> Tensor:
        loc, tril = self.split(params)
        return loc + (tril @ noise.unsqueeze(-1)).squeeze(-1)

    def bias(self, values: Tensor) -> Tensor:
        """Mean and covariance of the data; a missing element counts as average, so no covariance is overstated."""
        loc = Normal(self.dim, scale=1.0).bias(values)
        if self.raw_tril is not None:
            return loc
        known = torch.where(values.isnan(), 0.0, values - loc)
        covariance = known.mT @ known / len(values) + 1e-4 * torch.eye(self.dim, dtype=values.dtype)
        return torch.cat([loc, self.raw(torch.linalg.cholesky(covariance))])


class LowRankGaussian(dist.LowRankMultivariateNormal):
    r"""``N(loc, W W^T + diag(s^2))`` drawn from as many standard normal numbers as it has elements.

    With :math:`V = W / s` and :math:`R R^T = I + V^T V` (R lower triangular),

    .. math:: z = loc + s \odot (e + V (I + R)^{-1} V^T e), \qquad e \sim N(0, I)

    has the covariance: with C = (I + R)^{-1}, C + C^T + C V^T V C^T = I. (PyTorch draws ``rank`` numbers more.) The
    density goes back the same way, :math:`e = u - V (I + R)^{-T} R^{-1} V^T u` with :math:`u = (z - loc) / s`: where W
    is far larger than s it loses half of the digits that the difference of squares in PyTorch's loses.
    """

    def from_noise(self, noise: Tensor) -> Tensor:
        """The draw that standard normal ``noise (..., dim)`` gives."""
        scale, factor, lower = self._factors()
        return self.loc + scale * _correlated(noise.to(self.loc), factor, lower)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        return self.from_noise(torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device))

    def log_prob(self, value: Tensor) -> Tensor:
        scale, factor, lower = self._factors()
        off = (value - self.loc) / scale
        within = torch.linalg.solve_triangular(lower, factor.mT @ off.unsqueeze(-1), upper=False)
        within = torch.linalg.solve_triangular(_plus_identity(lower).mT, within, upper=True)
        noise = off - (factor @ within).squeeze(-1)
        return -0.5 * (noise.square() + math.log(2 * math.pi)).sum(-1) - 0.5 * self.log_det()

    def log_det(self) -> Tensor:
        """Of the covariance."""
        return self._unbroadcasted_cov_diag.log().sum(-1) + 2.0 * _log_diagonal(self._capacitance_tril)

    def _factors(self) -> tuple[Tensor, Tensor, Tensor]:
        """s, V, R."""
        scale = self._unbroadcasted_cov_diag.sqrt()
        return scale, self._unbroadcasted_cov_factor / scale.unsqueeze(-1), self._capacitance_tril


def _correlated(noise: Tensor, factor: Tensor, lower: Tensor) -> Tensor:
    """``e + V (I + R)^{-1} V^T e``, a draw of N(0, I + V V^T)."""
    within = torch.linalg.solve_triangular(_plus_identity(lower), factor.mT @ noise.unsqueeze(-1), upper=False)
    return noise + (factor @ within).squeeze(-1)


def _plus_identity(matrix: Tensor) -> Tensor:
    return matrix + torch.diag_embed(torch.ones_like(matrix[..., 0]))


def _log_diagonal(lower: Tensor) -> Tensor:
    return lower.diagonal(dim1=-2, dim2=-1).log().sum(-1)


class LowRankNormal(Family):
    """``x ~ N(loc, W W^T + diag(s^2))``, ``W = diag(s) V``, ``s = softplus(raw) + 1e-4``.

    V ``(dim, rank)`` is a raw output too: relative to s, so that a small s makes no ill-conditioned covariance. Between
    independent elements and a full covariance: ``(2 + rank) dim`` raw parameters, and a density in ``O(dim rank^2)``.
    As a likelihood it marginalises missing elements.

    Arguments:
        dim: elements of a frame.
        rank: columns of W.

    Raises:
        ValueError: a rank that is no integer of at least 1.
    """

    def __init__(self, dim: int, *, rank: int = 2) -> None:
        if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
            raise ValueError(f"LowRankNormal: rank must be an integer of at least 1, got {rank!r}.")
        super().__init__(dim, (2 + rank) * dim)
        self.rank = rank

    def split(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``(loc, s, V)`` of raw parameters."""
        loc, raw, relative = params.split([self.dim, self.dim, self.dim * self.rank], -1)
        return loc, softplus(raw) + MIN_SCALE, relative.unflatten(-1, (self.dim, self.rank))

    def forward(self, params: Tensor) -> LowRankGaussian:
        loc, scale, relative = self.split(params)
        return LowRankGaussian(loc, scale.unsqueeze(-1) * relative, scale.square(), validate_args=False)

    def rsample(self, params: Tensor, noise: Tensor) -> Tensor:
        loc, scale, relative = self.split(params)
        lower = torch.linalg.cholesky(_plus_identity(relative.mT @ relative))
        return loc + scale * _correlated(noise, relative, lower)

    def bias(self, values: Tensor) -> Tensor:
        """The marginals of the data, elements independent."""
        marginals = Normal(self.dim).bias(values)
        return torch.cat([marginals, marginals.new_zeros(self.dim * self.rank)])


def _cholesky(covariance: Any, dim: int) -> Tensor:
    """The Cholesky factor of a user's matrix, or what is wrong with it."""
    matrix = torch.as_tensor(covariance, dtype=torch.get_default_dtype())
    if matrix.shape != (dim, dim):
        raise ValueError(f"FullNormal: covariance must be a matrix {(dim, dim)}, got {tuple(matrix.shape)}.")
    factor, fault = torch.linalg.cholesky_ex(matrix)
    if int(fault) or not torch.allclose(matrix, matrix.mT) or not bool((factor.diagonal() > MIN_SCALE).all()):
        smallest = torch.linalg.eigvalsh(0.5 * (matrix + matrix.mT))[0].item() if matrix.isfinite().all() else "NaN"
        raise ValueError(f"FullNormal: covariance must be symmetric and positive definite, its conditional standard "
                         f"deviations above {MIN_SCALE}; the smallest eigenvalue of the given one is {smallest}. "
                         "Add a small multiple of the identity, or standardise the data.")
    return factor


class _MarginalLowRank(Marginal):
    """A low-rank Gaussian of the present elements: absent ones are made N(0, 1), and that density is taken off."""

    def log_prob(self, value: Tensor) -> Tensor:
        loc = torch.where(self.present, self.base.loc, value)  # an absent element stands at its mean
        factor = torch.where(self.present.unsqueeze(-1), self.base.cov_factor, 0.0)
        diagonal = torch.where(self.present, self.base.cov_diag, 1.0)
        law = LowRankGaussian(loc, factor, diagonal, validate_args=False)
        unit = dist.Normal(torch.zeros_like(loc), 1.0, validate_args=False).log_prob(torch.zeros_like(loc))
        return law.log_prob(value) - torch.where(self.present, 0.0, unit).sum(-1)  # type: ignore[no-any-return]


observe_elements.register(dist.LowRankMultivariateNormal, _MarginalLowRank)


def _kl_independent(p: Any, q: Any, log_det: Tensor) -> Tensor:
    """KL from a Gaussian with ``log_det`` of its covariance to independent Normals."""
    base = q.base_dist
    if not isinstance(base, dist.Normal) or q.reinterpreted_batch_ndims != 1:
        raise NotImplementedError
    squares = (p.variance + (p.loc - base.loc).square()) / base.scale.square()
    return 0.5 * ((squares - 1.0).sum(-1) - log_det) + base.scale.log().expand_as(squares).sum(-1)


@register_kl(FullGaussian, Independent)
def _kl_full(p: FullGaussian, q: Any) -> Tensor:
    return _kl_independent(p, q, 2.0 * _log_diagonal(p._unbroadcasted_scale_tril))


@register_kl(LowRankGaussian, Independent)
def _kl_low_rank(p: LowRankGaussian, q: Any) -> Tensor:
    return _kl_independent(p, q, p.log_det())
