"""Families: from a network's raw parameters to a distribution over the vector of one frame.

A family knows how many raw parameters an event needs. To add one, subclass :class:`Family`: give
``num_params`` to ``super().__init__`` and write ``forward``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Self

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ..nn import CodeReader, Reader

__all__ = ["Bernoulli", "Categorical", "Delta", "Family", "Normal", "Poisson", "StudentT", "family_for"]

MIN_SCALE = 1e-4  # added to every learned scale: keeps densities finite in float32


def inverse_softplus(y: float | Tensor) -> Tensor:
    y = torch.as_tensor(y, dtype=torch.get_default_dtype())
    return y + torch.log(-torch.expm1(-y))


def _known(statistic: Tensor, otherwise: float) -> Tensor:
    """A statistic of each column; of a column that is missing throughout (NaN) the number that stands for it."""
    return torch.where(statistic.isnan(), otherwise, statistic)


class Family(nn.Module):
    """Raw parameters ``(..., num_params)`` to a distribution with ``event_shape (dim,)``.

    Arguments:
        dim: elements of a frame.
        num_params: raw parameters of a frame.

    A subclass implements :meth:`forward`. It may also offer ``rsample(params, noise)``, a direct draw from
    standard normal noise of shape ``(..., dim)``: the loop over time then builds no distribution at each step.
    """

    kind: ClassVar[str] = "real"  # the data it is a likelihood of: binary, real, counts or categories (see fit.py)

    init_arguments: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Note the constructor's arguments, by which ``tasks.save_pretrained`` names an instance."""
        family = super().__new__(cls)
        object.__setattr__(family, "init_arguments", (args, kwargs))  # a Module takes no attribute before __init__
        return family

    def __init__(self, dim: int, num_params: int) -> None:
        super().__init__()
        self.dim, self.num_params = dim, num_params

    def forward(self, params: Tensor) -> dist.TorchDistribution:
        raise NotImplementedError

    def reader(self, *, missing: bool = False) -> nn.Module:
        """The part that lets networks read data of this family."""
        return Reader(self.dim, missing=missing)

    def bias(self, values: Tensor) -> Tensor | None:
        """Raw parameters that match the marginals of ``values (N, dim)`` (NaN or -1 = missing), if known.

        The output bias is set to it, which spares training the first tens of nats. An element that is missing
        throughout gets loc 0, scale 1, rate 1, or equal probabilities.
        """
        return None

    def extra_repr(self) -> str:
        return f"dim={self.dim}, num_params={self.num_params}"


class Bernoulli(Family):
    """``x_i ~ Bernoulli(sigmoid(raw_i))``, elements independent."""

    kind = "binary"

    def __init__(self, dim: int) -> None:
        super().__init__(dim, dim)

    def forward(self, params: Tensor) -> dist.TorchDistribution:
        return dist.Bernoulli(logits=params, validate_args=False).to_event(1)

    def bias(self, values: Tensor) -> Tensor:
        """Log-odds, with one pseudo-observation of each outcome."""
        present = ~values.isnan()
        ones = values.nan_to_num(0.0).sum(0) + 1.0
        return torch.log(ones) - torch.log(present.sum(0) + 2.0 - ones)


class Normal(Family):
    """``x_i ~ N(loc_i, scale_i^2)``, ``scale_i = softplus(raw_i) + 1e-4``, elements independent.

    Arguments:
        dim: elements of a frame.
        scale: ``None``: the network gives each element's ``raw_i`` (heteroscedastic).
            A number: one scale for all elements, fixed (mean squared error is ``scale=1``); it must exceed 1e-4.
        learned: with a number, make it the start of a learned scale for each element, the same in all frames.
    """

    raw_scale: Tensor | None

    def __init__(self, dim: int, *, scale: float | None = None, learned: bool = False) -> None:
        if scale is not None and not (scale > MIN_SCALE and math.isfinite(scale)):
            raise ValueError(f"Normal: scale must be a number above {MIN_SCALE}, got {scale}; standardise the data.")
        if learned and scale is None:
            raise ValueError("Normal: learned=True needs scale=..., the number to start from; "
                             "with scale=None the network already gives the scale.")
        super().__init__(dim, 2 * dim if scale is None else dim)
        if scale is None:
            self.raw_scale = None
            return
        raw = inverse_softplus(scale - MIN_SCALE).expand(dim).clone()
        if learned:
            self.raw_scale = nn.Parameter(raw)
        else:
            self.register_buffer("raw_scale", raw)

    def split(self, params: Tensor) -> tuple[Tensor, Tensor]:
        """``(loc, scale)`` of raw parameters."""
        if self.raw_scale is None:
            loc, raw = params.chunk(2, -1)
            return loc, softplus(raw) + MIN_SCALE
        return params, softplus(self.raw_scale) + MIN_SCALE

    def forward(self, params: Tensor) -> dist.TorchDistribution:
        loc, scale = self.split(params)
        return dist.Normal(loc, scale, validate_args=False).to_event(1)

    def rsample(self, params: Tensor, noise: Tensor) -> Tensor:
        loc, scale = self.split(params)
        return torch.addcmul(loc, scale, noise)

    def bias(self, values: Tensor) -> Tensor:
        loc = _known(values.nanmean(0), 0.0)
        if self.raw_scale is not None:
            return loc
        spread = _known((values - loc).square().nanmean(0).sqrt(), 1.0).clamp_min(1e-2)
        return torch.cat([loc, inverse_softplus(spread)])


class Delta(Family):
    """``z = raw``, with certainty: the guide of a deterministic autoencoder.

    The density is that of a point mass, 1 at the point: an "ELBO" under it is no bound on the evidence. With a prior
    of no weight (:class:`~pyro_rvae.priors.Weightless`) it is minus the reconstruction cost.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(dim, dim)

    def forward(self, params: Tensor) -> dist.TorchDistribution:
        return dist.Delta(params, event_dim=1, validate_args=False)

    def rsample(self, params: Tensor, noise: Tensor) -> Tensor:
        return params


class StudentT(Family):
    """``x_i ~ StudentT(df_i, loc_i, scale_i)``, ``scale_i = softplus(raw_i) + 1e-4``, elements independent.

    Heavy tails: robust to outliers.

    Arguments:
        dim: elements of a frame.
        df: degrees of freedom, a fixed positive number; ``None``: the network gives ``2 + softplus(raw)``.
    """

    def __init__(self, dim: int, *, df: float | None = None) -> None:
        if df is not None and not df > 0:
            raise ValueError(f"StudentT: df must be positive, got {df}.")
        super().__init__(dim, (2 if df else 3) * dim)
        self.df = df

    def forward(self, params: Tensor) -> dist.TorchDistribution:
        loc, raw, *rest = params.split(self.dim, -1)
        df = self.df if self.df is not None else 2.0 + softplus(rest[0])
        return dist.StudentT(df, loc, softplus(raw) + MIN_SCALE, validate_args=False).to_event(1)

    def bias(self, values: Tensor) -> Tensor:
        loc = _known(values.nanmedian(0).values, 0.0)
        median = (values - loc).abs().nanmedian(0).values.clamp_min(1e-2)
        spread = _known(1.4826 * median, 1.0)  # the factor: consistent for a Normal
        df = [torch.full_like(loc, 2.0)] if self.df is None else []
        return torch.cat([loc, inverse_softplus(spread), *df])


class Poisson(Family):
    """``x_i ~ Poisson(softplus(raw_i) + 1e-6)``, counts 0, 1, 2, ..., elements independent."""

    kind = "counts"

    def __init__(self, dim: int) -> None:
        super().__init__(dim, dim)

    def forward(self, params: Tensor) -> dist.TorchDistribution:
        return dist.Poisson(softplus(params) + 1e-6, validate_args=False).to_event(1)

    def bias(self, values: Tensor) -> Tensor:
        return inverse_softplus(_known(values.nanmean(0), 1.0).clamp_min(1e-3))


class Categorical(Family):
    """``x_i ~ Categorical(softmax(raw_i))``: one integer code 0..classes-1 for each of ``dim`` channels.

    Arguments:
        dim: channels.
        classes: classes of every channel. It must be given; a model takes ``partial(rv.Categorical, classes=K)``.
    """

    kind = "categories"

    def __init__(self, dim: int, *, classes: int | None = None) -> None:
        if classes is None:
            raise TypeError("Categorical: the number of classes is needed: Categorical(dim, classes=K), or, as a "
                            "part of a model, functools.partial(rv.Categorical, classes=K).")
        if classes < 2:
            raise ValueError(f"Categorical: classes must be at least 2, got {classes}.")
        super().__init__(dim, dim * classes)
        self.classes = classes

    def forward(self, params: Tensor) -> dist.TorchDistribution:
        logits = params.unflatten(-1, (self.dim, self.classes))
        return dist.Categorical(logits=logits, validate_args=False).to_event(1)

    def reader(self, *, missing: bool = False) -> nn.Module:
        return CodeReader(self.dim, classes=self.classes)

    def bias(self, values: Tensor) -> Tensor:
        """Log frequencies, with one pseudo-observation of each class."""
        codes = torch.arange(self.classes, device=values.device)
        counts = (values.unsqueeze(-1) == codes).sum(0) + 1.0
        return (counts / counts.sum(-1, keepdim=True)).log().flatten()


def family_for(kind: str, classes: int | None = None) -> Callable[[int], Family]:
    """The family that fits a kind of data: Bernoulli, Normal, Poisson or Categorical, as a function of ``dim``."""
    if kind == "categories":
        return partial(Categorical, classes=classes)
    known: dict[str, Callable[[int], Family]] = {"binary": Bernoulli, "real": Normal, "counts": Poisson}
    if kind not in known:
        raise ValueError(f"kind must be one of {[*known, 'categories']}, got {kind!r}.")
    return known[kind]
