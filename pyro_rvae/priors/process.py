"""Priors over whole paths: a Gaussian process over time, and a linear-Gaussian state that is integrated out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pyro.distributions as dist
import torch
from pyro.contrib.gp.kernels import Kernel, Product, RationalQuadratic, Sum
from torch import Tensor, nn

from ..distributions import FullGaussian, PathLaw
from ..nn import MixtureKalman, concat, is_recipe

__all__ = ["GaussianProcess", "LinearGaussian"]


class GaussianProcess(PathLaw):
    r"""Each element of z is a Gaussian process over time, with unit variance.

    .. math::
        (z_{1i} .. z_{Ti}) \sim N(0, K_i), \qquad
        K_{ts} = \frac{k(t, s) / \sqrt{k(t, t) k(s, s)} + \delta\, 1_{t = s}}{1 + \delta}, \qquad t = 1, 2, ..

    Time is counted in frames. A prior that passes no state on: it fits any model that draws a latent a step and ignores
    what it is given; a DMM with this transition, and its chain as posterior, is the GP-VAE. By the chain rule a
    sequence has the same law alone and padded, and a beginning (``rv.given``) is continued by the process given it.
    The variance is one, since a decoder can scale z itself.

    Source: Fortuin, Baranchuk, Rätsch & Mandt (2020), "GP-VAE: Deep Probabilistic Time Series Imputation",
    arXiv:1907.04155, whose kernel is Cauchy's, our default with its ``scale_mixture`` of 1; Casale et al. (2018),
    arXiv:1810.11738. We differ: hyperparameters are learned by default.

    Arguments:
        in_dim: ignored (a model gives its widths first).
        dim: width of the latent.
        kernel: a class of ``pyro.contrib.gp.kernels`` (RBF, Matern32, Periodic, ...), built with one input and
            ``lengthscale``; or one such kernel, or any callable from times ``(T,)`` to a ``(T, T)`` matrix, for all
            elements; or a sequence of ``dim`` of those. Of Pyro's composed kernels, sums and products are read.
        lengthscale: that of a class, in frames, or a sequence of ``dim`` of them; they are starts if learned.
        learned: whether the parameters of the kernels are trained.
        jitter: delta, the share of white noise. It bounds from below what is left of the variance of ``z_t`` given
            its past: smooth kernels (RBF) leave nearly nothing, so their Cholesky factor does not exist without it,
            and a posterior that is off by e pays up to ``e^2 / (2 delta)`` nats a step. The factor is computed in
            float64 where the device has it.

    Errors: ValueError for a jitter or a lengthscale that is not positive, or sequences of another length than ``dim``;
    for a kernel whose matrix is not ``(T, T)``, or not positive definite (on a GPU: NaN). TypeError for what is no
    kernel.
    """

    zero: Tensor

    def __init__(self, in_dim: int, dim: int, *, kernel: Any = RationalQuadratic,
                 lengthscale: float | Sequence[float] = 5.0, learned: bool = True, jitter: float = 1e-2) -> None:
        if not (jitter > 0 and math.isfinite(jitter)):
            raise ValueError(f"GaussianProcess: jitter, the share of white noise, must be positive, got {jitter}.")
        super().__init__()
        self.dim, self.jitter = dim, jitter
        kernels = _kernels(kernel, lengthscale, dim)
        self.kernels = nn.ModuleList(k for k in kernels if isinstance(k, nn.Module))
        self.functions = [k for k in kernels if not isinstance(k, nn.Module)]
        for each in self.kernels:
            _freeze(each, all_of_it=not learned)
        self.register_buffer("zero", torch.zeros(()), persistent=False)  # its dtype and device are the part's

    def covariance(self, length: int) -> Tensor:
        """K of the first ``length`` steps: ``(dim, T, T)``, or ``(1, T, T)`` where all elements share it."""
        precise = torch.float64 if self.zero.device.type != "mps" else self.zero.dtype
        t = torch.arange(1, length + 1, dtype=precise, device=self.zero.device)
        k = torch.stack([_matrix(kernel, t) for kernel in (*self.kernels, *self.functions)])
        scale = k.diagonal(dim1=-2, dim2=-1).sqrt()
        k = k / (scale.unsqueeze(-1) * scale.unsqueeze(-2))
        return (k + self.jitter * torch.eye(length, dtype=precise, device=t.device)) / (1.0 + self.jitter)

    def factor(self, length: int) -> Tensor:
        """The Cholesky factor of :meth:`covariance`, ``(dim, T, T)``."""
        lower, info = torch.linalg.cholesky_ex(self.covariance(length))
        if info.device.type == "cpu" and bool(info.any()):
            raise ValueError(f"GaussianProcess: the matrix of its kernel over {length} steps, with a jitter of "
                             f"{self.jitter}, is not positive definite: raise the jitter, or pass a kernel that is.")
        lower = torch.where((info == 0)[..., None, None], lower, torch.nan)  # a GPU would have to wait for an error
        return lower.to(self.zero.dtype).expand(self.dim, -1, -1)

    def step(self, before: Tensor | None, *inputs: Tensor, state: Any = None) -> tuple[dist.TorchDistribution, Any]:
        if state is None or before is None:
            noise, lower = self.zero.expand(0, self.dim), self.factor(8)
        else:
            noise, loc, scale, lower = state
            latest = ((before - loc) / scale).unsqueeze(-2)
            noise = torch.cat([noise.expand(*latest.shape[:-2], -1, -1), latest], -2)
        t = noise.shape[-2]
        if t == lower.shape[-1]:  # row t of the factor is the same in that of any longer path
            lower = self.factor(2 * t)
        loc, scale = (lower[:, t, :t].mT * noise).sum(-2), lower[:, t, t]
        return dist.Normal(loc, scale, validate_args=False).to_event(1), (noise, loc, scale, lower)

    def forward(self, path: Tensor, *inputs: Tensor) -> dist.TorchDistribution:
        lower = self.factor(path.shape[-2])
        columns = path.reshape(-1, *path.shape[-2:]).permute(2, 1, 0)  # (dim, T, N)
        noise = torch.linalg.solve_triangular(lower, columns, upper=False)
        return _laws(lower, noise.permute(2, 1, 0).reshape(path.shape))

    def draw_path(self, *inputs: Tensor, noise: Tensor) -> tuple[Tensor, dist.TorchDistribution]:
        """The whole path from standard noise ``(..., T, dim)``, with its law."""
        law = _laws(self.factor(noise.shape[-2]), noise)
        return torch.addcmul(law.base_dist.loc, law.base_dist.scale, noise), law

    def extra_repr(self) -> str:
        return f"dim={self.dim}, jitter={self.jitter}"


class LinearGaussian(PathLaw):
    r"""A path that a linear-Gaussian hidden state emits, the state integrated out.

    .. math::
        u_1 \sim N(\mu, \Sigma), \quad u_t = A u_{t-1} + B c_t + N(0, Q), \quad z_t = C u_t + N(0, R)

    Its density is that of ``dist.GaussianHMM``, and the law of each step, ``p(z_t | z_1..z_{t-1}, c)``, is the Kalman
    filter's prediction (:class:`~pyro_rvae.nn.MixtureKalman` with one mode). A, B, C, mu and the diagonal Q, R and
    Sigma are learned;
    ``c_t`` is what the model passes beside it (its context), if anything. Two states an element can turn: an
    oscillator; one state an element with A diagonal is an AR(1) in noise.

    Arguments:
        in_dim: width of what the model passes, ``c_t``; 0: nothing.
        dim: width of the latent.
        state_dim: width of u (default: ``2 * dim``).

    Errors: ValueError for a ``state_dim`` below 1.
    Source: Kalman (1960); as a prior on the latents of an autoencoder it is the marginal of ``p(a)`` in Fraccaro et al.
    (2017), arXiv:1710.05741, with one mode.
    """

    def __init__(self, in_dim: int, dim: int, *, state_dim: int | None = None) -> None:
        state_dim = 2 * dim if state_dim is None else state_dim
        if isinstance(state_dim, bool) or not isinstance(state_dim, int) or state_dim < 1:
            raise ValueError(f"LinearGaussian: state_dim must be an integer of at least 1, got {state_dim!r}.")
        super().__init__()
        self.in_dim, self.dim, self.state_dim = in_dim, dim, state_dim
        self.filter = MixtureKalman(dim, state_dim, modes=1, control_dim=in_dim)

    def step(self, before: Tensor | None, *inputs: Tensor, state: Any = None) -> tuple[dist.TorchDistribution, Any]:
        if before is None:
            before = self.filter.mean.new_zeros(self.dim)
        output, state = self.filter.step(self._read(before, inputs), state)
        return self._law(output), state

    def forward(self, path: Tensor, *inputs: Tensor) -> dist.TorchDistribution:
        before = torch.cat([torch.zeros_like(path[..., :1, :]), path[..., :-1, :]], -2)
        return self._law(self.filter(self._read(before, inputs)))

    def _read(self, before: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
        used = inputs if self.in_dim else ()
        return concat([before, torch.ones_like(before[..., :1]), *used])

    def _law(self, output: Tensor) -> dist.TorchDistribution:
        loc, lower = self.filter.predictive(output)
        return FullGaussian(loc, scale_tril=lower, validate_args=False)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, state_dim={self.state_dim}"


def _laws(lower: Tensor, noise: Tensor) -> Any:
    """The law of each step given the standard noise of those before, ``(..., T, dim)``."""
    loc = torch.einsum("dts,...sd->...td", lower.tril(-1), noise)
    return dist.Normal(loc, lower.diagonal(dim1=-2, dim2=-1).mT, validate_args=False).to_event(1)


def _kernels(kernel: Any, lengthscale: float | Sequence[float], dim: int) -> list[Any]:
    """One kernel for all elements, or one for each."""
    many = isinstance(lengthscale, Sequence)
    scales = list(lengthscale) if isinstance(lengthscale, Sequence) else [lengthscale]
    if many and len(scales) != dim or not all(scale > 0 for scale in scales):
        raise ValueError(f"GaussianProcess: lengthscale must be a positive number of frames, or a sequence of {dim} of "
                         f"them, got {lengthscale}.")
    if is_recipe(kernel):
        return [_checked(kernel(1, lengthscale=torch.tensor(float(scale)))) for scale in scales]
    if isinstance(kernel, Sequence):
        if len(kernel) != dim:
            raise ValueError(f"GaussianProcess: expected one kernel for each of {dim} elements, got {len(kernel)}.")
        return [_checked(each) for each in kernel]
    return [_checked(kernel)]


def _checked(kernel: Any) -> Any:
    if not callable(kernel):
        raise TypeError("GaussianProcess: expected a kernel (a class or instance of pyro.contrib.gp.kernels, or a "
                        f"callable from times (T,) to a (T, T) matrix), got {type(kernel).__name__}.")
    if isinstance(kernel, Kernel):
        composed = [k for k in kernel.modules() if k is not kernel and isinstance(k, Kernel)]
        if composed and not isinstance(kernel, Sum | Product):
            raise TypeError(f"GaussianProcess: of Pyro's composed kernels it reads sums and products; for a "
                            f"{type(kernel).__name__} pass a callable from times (T,) to a (T, T) matrix.")
        for part in (k for k in (kernel.kern0, kernel.kern1) if isinstance(k, Kernel)) if composed else ():
            _checked(part)
    return kernel


def _matrix(kernel: Callable[[Tensor], Tensor], t: Tensor) -> Tensor:
    """The kernel at all pairs of times.

    Pyro's modules, called, would enter their parameters in the parameter store under a name of the kernel alone, where
    those of two models meet; their ``forward`` does not.
    """
    if isinstance(kernel, Sum | Product):
        first, second = _matrix(kernel.kern0, t), kernel.kern1
        second = _matrix(second, t) if isinstance(second, Kernel) else second
        return first + second if isinstance(kernel, Sum) else first * second
    matrix: Tensor = kernel.forward(t) if isinstance(kernel, Kernel) else kernel(t)
    if matrix.shape != (len(t), len(t)):
        raise ValueError(f"GaussianProcess: a kernel of {len(t)} times must give a matrix {(len(t), len(t))}, got "
                         f"{tuple(matrix.shape)}.")
    return matrix


def _freeze(kernel: nn.Module, *, all_of_it: bool) -> None:
    """Fix the parameters, or that alone which cancels: the variance of a kernel that is not one of a sum."""
    if isinstance(kernel, Product) and not all_of_it:
        for part in (k for k in (kernel.kern0, kernel.kern1) if isinstance(k, Kernel)):
            _freeze(part, all_of_it=False)
        return
    for name, parameter in kernel.named_parameters():
        if all_of_it or (name == "variance_unconstrained" and isinstance(kernel, Kernel)):
            parameter.requires_grad_(False)
