"""Whole-numbered levels of a sampled signal: a discretised mixture of logistics."""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from ..nn import Reader
from .families import Family, _known, inverse_softplus

__all__ = ["DiscretizedLogistics", "LevelMixture", "LevelReader"]

NARROWEST = 0.05  # the least scale, in levels: such a component is 0.9999 sure of one level
APART = 0.5  # how far the components start from the mean, in standard deviations
WIDE = 3.0  # scale, in levels, from which a sum over levels is an integral with two corrections, to 1e-7
WINDOW = 96  # levels on either side; a component narrower than that is exhausted by them, to 1e-13


class DiscretizedLogistics(Family):
    r"""Levels 0, 1, ..., L - 1 of audio or grey images: a mixture of logistics, integrated over each level.

    .. math::
        P(x) = \sum_k \pi_k \Big[\sigma\Big(\frac{x + 1/2 - m_k}{s_k}\Big) - \sigma\Big(\frac{x - 1/2 - m_k}{s_k}\Big)
        \Big]

    with -inf for ``x - 1/2`` at the lowest level, and inf for ``x + 1/2`` at the highest; elements independent. With
    ``h = (L - 1) / 2``, ``m = h (1 + raw)``, ``s = h softplus(raw) + 0.05``. The raw parameters are K ``dim`` logits of
    :math:`\pi`, then the means', then the scales'. Probabilities use
    :math:`\sigma(b) - \sigma(a) = \sigma(b)\, \sigma(-a)\, (1 - e^{a - b})`, which neither overflows nor cancels.

    Data are of kind ``counts``: whole numbers held as floats (16 bits are exact in float32), NaN missing; signed
    samples have ``L / 2`` added. Networks read them as ``2 x / (L - 1) - 1``.

    Source: Salimans, Karpathy, Chen & Kingma (2017), "PixelCNN++", arXiv:1701.05517, equation 2. We differ: channels
    are independent; no switch to the density at small probabilities; the scale is softplus.

    Arguments:
        dim: elements of a frame.
        levels: L: 256 for 8 bits, 65536 for 16.
        components: K.

    Raises:
        ValueError: levels that are no integer from 2 to 2^24, or K that is no integer of at least 1.
    """

    kind = "counts"
    kinds = ("counts",)

    def __init__(self, dim: int, *, levels: int = 256, components: int = 10) -> None:
        for name, value, least, most in (("levels", levels, 2, 2**24), ("components", components, 1, 2**24)):
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise ValueError(f"DiscretizedLogistics: {name} must be an integer of at least {least} (and at most "
                                 f"2^24), got {value!r}.")
        super().__init__(dim, 3 * components * dim)
        self.levels, self.components = levels, components

    @property
    def centre(self) -> float:
        """``h``: the middle of the levels, and half of their range."""
        return (self.levels - 1) / 2

    def forward(self, params: Tensor) -> dist.TorchDistribution:
        raw = params.unflatten(-1, (3, self.components, self.dim)).transpose(-1, -2)
        logits, loc, scale = raw.unbind(-3)  # each (..., dim, K)
        law = LevelMixture(logits, self.centre * (1.0 + loc), self.centre * softplus(scale) + NARROWEST, self.levels)
        return law.to_event(1)

    def reader(self, *, missing: bool = False) -> LevelReader:
        return LevelReader(self.dim, levels=self.levels, missing=missing)

    def bias(self, values: Tensor) -> Tensor:
        """Mean and variance of the levels, from components apart by equal steps."""
        k = self.components
        mean = _known(values.nanmean(0), self.centre)
        spread = _known((values - mean).square().nanmean(0).sqrt(), self.centre / 2).clamp_min(0.5)
        place = torch.arange(k, dtype=values.dtype, device=values.device) - (k - 1) / 2
        place = APART * place / place.square().mean().sqrt() if k > 1 else place
        within = spread * (math.sqrt(1.0 - (APART**2 if k > 1 else 0.0)) * math.sqrt(3.0) / math.pi)
        loc = (mean + spread * place.unsqueeze(-1)) / self.centre - 1.0
        scale = inverse_softplus((within - NARROWEST) / self.centre).expand(k, -1)
        return torch.cat([torch.zeros_like(loc).flatten(), loc.flatten(), scale.flatten()])


class LevelReader(Reader):
    """Levels 0, ..., L - 1 as numbers from -1 to 1, missing ones as 0.

    Arguments:
        x_dim: width of a frame.
        levels: L.
        missing: as of :class:`~pyro_rvae.nn.Reader`.
    """

    def __init__(self, x_dim: int, *, levels: int, missing: bool = False) -> None:
        super().__init__(x_dim, missing=missing)
        self.levels = levels

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(2.0 * x / (self.levels - 1) - 1.0)


class LevelMixture(dist.TorchDistribution):
    """The law of one element under :class:`DiscretizedLogistics`.

    Arguments:
        logits, loc, scale: ``(..., K)``; the last two in levels.
        levels: L.
    """

    arg_constraints: dict[str, Any] = {}
    has_rsample = False

    def __init__(self, logits: Tensor, loc: Tensor, scale: Tensor, levels: int) -> None:
        self.logits, self.loc, self.scale, self.levels = logits, loc, scale, levels
        super().__init__(logits.shape[:-1], torch.Size(), validate_args=False)

    @property
    def support(self) -> Any:  # type: ignore[override]
        return dist.constraints.integer_interval(0, self.levels - 1)

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> LevelMixture:
        logits, loc, scale = (p.expand(*batch_shape, -1) for p in (self.logits, self.loc, self.scale))
        return LevelMixture(logits, loc, scale, self.levels)

    def log_prob(self, value: Tensor) -> Tensor:
        value = value.unsqueeze(-1)
        off = value - self.loc
        below = logsigmoid((off + 0.5) / self.scale)  # log P(up to this level)
        above = logsigmoid((0.5 - off) / self.scale)  # log P(from this level on)
        inside = below + above + torch.log(-torch.expm1(-1.0 / self.scale))
        each = torch.where(value <= 0, below, torch.where(value >= self.levels - 1, above, inside))
        return torch.logsumexp(self.logits.log_softmax(-1) + each, -1)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        with torch.no_grad():
            law = self.expand(self._extended_shape(sample_shape))
            which = dist.Categorical(logits=law.logits, validate_args=False).sample().unsqueeze(-1)
            loc, scale = (p.gather(-1, which).squeeze(-1) for p in (law.loc, law.scale))
            u = torch.rand_like(loc)
            return (loc + scale * (torch.log(u) - torch.log1p(-u))).round().clamp(0, self.levels - 1)

    @property
    def mean(self) -> Tensor:
        """``sum_j P(x >= j)``, exact to 1e-7 levels."""
        each = torch.where(self.scale >= WIDE, self._integral(), self._counted())
        return (self.logits.softmax(-1) * each).sum(-1)

    def _integral(self) -> Tensor:
        """The sum for wide components: the integral over j, and two terms of Euler and Maclaurin at its ends."""
        total = torch.zeros_like(self.loc)
        for end, sign in ((0.0, 1.0), (self.levels - 1.0, -1.0)):
            z = (self.loc - end) / self.scale
            slope = torch.sigmoid(z) * torch.sigmoid(-z)
            third = slope * (1.0 - 6.0 * slope)
            total = total + sign * (self.scale * softplus(z) - slope / (24 * self.scale)
                                    + 7 / 5760 * third / self.scale.pow(3))
        return total

    def _counted(self) -> Tensor:
        """The sum for narrow components, over the levels around them."""
        centre = self.loc.round().unsqueeze(-1)
        level = centre + torch.arange(-WINDOW, WINDOW + 1, device=self.loc.device, dtype=self.loc.dtype)
        chance = torch.sigmoid((self.loc.unsqueeze(-1) - level + 0.5) / self.scale.unsqueeze(-1))
        counted = torch.where((level >= 1) & (level <= self.levels - 1), chance, 0.0).sum(-1)
        return counted + (centre.squeeze(-1) - WINDOW - 1).clamp(0, self.levels - 1)
