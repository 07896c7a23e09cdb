"""Laws over whole paths: what a conditional on all of the past is, and two Gaussian posteriors over paths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ..nn import MLP, affine_scan, concat
from .conditional import _need_features
from .families import MIN_SCALE
from .gaussians import FullGaussian

__all__ = ["DenseGaussian", "FullGaussianChain", "PathLaw"]


class PathLaw(nn.Module):
    r"""``p(z_1..z_T | u_1..u_T)`` as a conditional of each step on all steps before.

    .. math::
        p(z_1 .. z_T \mid u) = \prod_t p(z_t \mid z_1 .. z_{t-1}, u_1 .. u_t)

    A body samples it like any other conditional, ``t.sample("z", law, *inputs)``, and does not pass the past. By the
    chain rule a mask is right as it is: the steps in the padding, which come last, are dropped. A part of your own
    need not be a subclass: it has ``reads_path = True`` and these two methods, which must agree; networks act on the
    last dimension, as everywhere.

    ``step(before, *inputs, state=None) -> (law, state)``
        the law of the next step, event shape ``(dim,)``. ``before (..., dim)`` is the value drawn at the step before
        (``None`` at the first), ``inputs`` are those of this step, and ``state`` is what the part itself returned last:
        all that it keeps of the past.
    ``forward(path, *inputs) -> laws``
        the laws of all steps, ``path (..., T, dim)`` being given: batch shape ``(..., T)``; that of step t must not
        read ``path`` at t or later.

    It may offer ``draw_path(*inputs, noise) -> (path, laws)``: the path ``(..., T, dim)`` that ``step`` would draw from
    standard normal ``noise (..., T, dim)``. Without it, a path is drawn step by step.
    """

    reads_path = True

    def step(self, before: Tensor | None, *inputs: Tensor, state: Any = None) -> tuple[dist.TorchDistribution, Any]:
        raise NotImplementedError

    def forward(self, path: Tensor, *inputs: Tensor) -> dist.TorchDistribution:
        raise NotImplementedError


class FullGaussianChain(nn.Module):
    r"""The Gaussian chain with full matrices.

    .. math::
        q(z_t \mid z_{t-1}, x) = N(A_t z_{t-1} + b_t,\ S_t S_t^T), \qquad A_t = 0.7 I + W_t / \mathrm{dim}

    with :math:`W_t`, :math:`b_t` and the lower triangle :math:`S_t` (diagonal ``softplus(.) + 1e-4``) from a network of
    the features of step t (untrained, A contracts: else a long path would overflow). Where the transition turns or
    mixes the elements of z the exact posterior of a linear-Gaussian model is of this form, and is none of
    :class:`~pyro_rvae.GaussianChain`, whose coefficients are diagonal; with one element the two are alike. The whole
    path is drawn by :func:`~pyro_rvae.nn.affine_scan`; it costs ``dim^2`` outputs a step, and ``dim^3`` operations.

    Arguments:
        in_dim: width of ``z_{t-1}`` (first) and the features together.
        dim: width of the latent.
        hidden: widths of the network's hidden layers; none: a linear map of the features.
        dropout: probability on the hidden layers.

    Errors: ValueError if no features stand beside the previous latent.
    Source: Archer, Park, Buesing, Cunningham & Paninski (2015), arXiv:1511.07367, whose posterior over the path is a
    Gaussian with block tridiagonal precision, which is this chain; they parametrise the precision.
    """

    reads_previous = True

    def __init__(self, in_dim: int, dim: int, *, hidden: Sequence[int] = (), dropout: float = 0.0) -> None:
        super().__init__()
        _need_features(self, in_dim, dim)
        self.dim = dim
        self.net = MLP(in_dim - dim, dim * (2 * dim + 1), hidden=hidden, dropout=dropout)

    def coefficients(self, *features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``A (..., dim, dim)``, ``b (..., dim)``, ``S (..., dim, dim)``."""
        a, b, s = _raw(self.net, features).split([self.dim**2, self.dim, self.dim**2], -1)
        square = (self.dim, self.dim)
        eye = torch.eye(self.dim, dtype=a.dtype, device=a.device)
        return 0.7 * eye + a.unflatten(-1, square) / self.dim, b, _lower(s.unflatten(-1, square))

    def forward(self, z: Tensor, *features: Tensor) -> dist.TorchDistribution:
        """The law of one step: at each step, or, given the whole path one step earlier, of all steps at once."""
        a, b, s = self.coefficients(*features)
        return _gaussian(_moved(a, z) + b, s)

    def draw_path(self, init: Tensor, *features: Tensor, noise: Tensor) -> tuple[Tensor, dist.TorchDistribution]:
        """The whole path from ``z_0 = init (..., dim)`` and standard noise ``(..., T, dim)``, with its law."""
        a, b, s = self.coefficients(*features)
        z = affine_scan(a, b + _moved(s, noise), init)
        before = torch.cat([init.expand_as(z[..., 0, :]).unsqueeze(-2), z[..., :-1, :]], -2)
        return z, _gaussian(_moved(a, before) + b, s)


class DenseGaussian(PathLaw):
    r"""A posterior that is one Gaussian over the whole path, for short paths.

    .. math::
        q(z_1 .. z_T \mid x) = N(m(x), L(x) L(x)^T), \qquad z_t = m_t + \sum_{s \le t} L_{ts} \epsilon_s

    L is lower triangular in blocks of ``dim x dim``. A network of the features of step t gives the mean ``m_t`` and
    row t of L: a block for each lag ``t - s``; so with a mask-aware encoder the padding never matters. Any Gaussian
    with a positive definite covariance has this form: the past need not act through ``z_{t-1}`` alone, as it must in a
    chain. It costs ``longest * dim^2`` outputs a step, and matrices of ``T dim x T dim``.

    Arguments:
        in_dim: width of the features (the previous latent is not among them).
        dim: width of the latent.
        longest: frames of the longest sequence.
        hidden: widths of the network's hidden layers; none: a linear map of the features.
        dropout: probability on the hidden layers.

    Errors: ValueError without features, for a ``longest`` below 1, and for a path that is longer.
    Source: the amortised full-covariance Gaussian of Kingma & Welling (2019), arXiv:1906.02691, section 2.5.1; here
    a path stands in the place of a vector.
    """

    def __init__(self, in_dim: int, dim: int, *, longest: int, hidden: Sequence[int] = (),
                 dropout: float = 0.0) -> None:
        if isinstance(longest, bool) or not isinstance(longest, int) or longest < 1:
            raise ValueError(f"DenseGaussian: longest, the frames of the longest sequence, must be an integer of at "
                             f"least 1, got {longest!r}.")
        if in_dim < 1:
            raise ValueError("DenseGaussian reads features of x, and this model passes it none: it suits a posterior.")
        super().__init__()
        self.dim, self.longest = dim, longest
        self.net = MLP(in_dim, dim + longest * dim**2, hidden=hidden, dropout=dropout)

    def rows(self, *features: Tensor) -> tuple[Tensor, Tensor]:
        """``m (..., dim)`` and the row's blocks by lag, ``(..., longest, dim, dim)``; that of lag 0 is triangular."""
        mean, blocks = _raw(self.net, features).split([self.dim, self.longest * self.dim**2], -1)
        blocks = blocks.unflatten(-1, (self.longest, self.dim, self.dim))
        return mean, torch.cat([_lower(blocks[..., :1, :, :]), blocks[..., 1:, :, :]], -3)

    def step(self, before: Tensor | None, *inputs: Tensor, state: Any = None) -> tuple[dist.TorchDistribution, Any]:
        mean, blocks = self.rows(*inputs)
        noise: list[Tensor] = []  # the latest first, as lags are counted
        if state is not None and before is not None:
            earlier, law = state
            noise = [_solved(law.scale_tril, before - law.loc), *earlier]
        self._check(len(noise) + 1)
        for lag, epsilon in enumerate(noise, 1):
            mean = mean + _moved(blocks[..., lag, :, :], epsilon)
        law = _gaussian(mean, blocks[..., 0, :, :])
        return law, (noise, law)

    def forward(self, path: Tensor, *inputs: Tensor) -> dist.TorchDistribution:
        mean, blocks = self.rows(*inputs)
        noise = _solved(self.factor(blocks), (path - mean).flatten(-2)).unflatten(-1, (-1, self.dim))
        return self._laws(mean, blocks, noise)

    def draw_path(self, *inputs: Tensor, noise: Tensor) -> tuple[Tensor, dist.TorchDistribution]:
        """The whole path from standard noise ``(..., T, dim)``, with its law."""
        laws = self._laws(*self.rows(*inputs), noise)
        return laws.loc + _moved(laws.scale_tril, noise), laws

    def factor(self, blocks: Tensor) -> Tensor:
        """L, ``(..., T dim, T dim)``, from the blocks of its rows, ``(..., T, longest, dim, dim)``."""
        length = blocks.shape[-4]
        self._check(length)
        row = torch.arange(length, device=blocks.device)
        lag = row.unsqueeze(-1) - row
        square = blocks[..., row.unsqueeze(-1), lag.clamp_min(0), :, :]  # (..., T, T, dim, dim)
        square = square * (lag >= 0).to(blocks).unsqueeze(-1).unsqueeze(-1)
        return square.transpose(-3, -2).flatten(-4, -3).flatten(-2)

    def _laws(self, mean: Tensor, blocks: Tensor, noise: Tensor) -> Any:
        """The law of each step, given the standard noise of those before."""
        now = blocks[..., 0, :, :]
        loc = mean + _moved(self.factor(blocks), noise.flatten(-2)).unflatten(-1, (-1, self.dim)) - _moved(now, noise)
        return _gaussian(loc, now)

    def _check(self, length: int) -> None:
        if length > self.longest:
            raise ValueError(f"DenseGaussian was built for paths of at most {self.longest} steps (longest), got "
                             f"{length}; a GaussianChain has no limit.")


def _raw(net: nn.Module, features: Sequence[Tensor]) -> Tensor:
    """The network's output; at least float32."""
    raw: Tensor = net(concat(features))
    return raw.float() if raw.dtype in (torch.bfloat16, torch.float16) else raw


def _lower(raw: Tensor) -> Tensor:
    """A lower triangular matrix with a positive diagonal."""
    return raw.tril(-1) + torch.diag_embed(softplus(raw.diagonal(dim1=-2, dim2=-1)) + MIN_SCALE)


def _moved(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)


def _solved(lower: Tensor, vector: Tensor) -> Tensor:
    return torch.linalg.solve_triangular(lower, vector.unsqueeze(-1), upper=False).squeeze(-1)


def _gaussian(loc: Tensor, scale_tril: Tensor) -> dist.TorchDistribution:
    return FullGaussian(loc, scale_tril=scale_tril, validate_args=False)
