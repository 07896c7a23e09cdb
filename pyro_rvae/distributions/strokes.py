"""Pen strokes: a mixture of bivariate Normals for the offset, and the state of the pen."""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from .families import MIN_SCALE, Bernoulli, Family, Normal, inverse_softplus
from .missing import observe_elements

__all__ = ["PenStrokes", "StrokeMixture"]

MAX_CORRELATION = 1.0 - 1e-4
RING = 0.5  # how far the components start from the mean, in standard deviations


class PenStrokes(Family):
    r"""A mixture density of pen strokes: frames ``(dx, dy, pen)``, pen 0 or 1.

    .. math::
        p(dx, dy, pen) = \Big[\sum_j \pi_j N\big((dx, dy) \mid \mu_j, \sigma_j, \rho_j\big)\Big]\,
        \mathrm{Bern}(pen \mid \sigma(e))

    of K bivariate Normals with correlation. The raw parameters are K logits of :math:`\pi`, 2K means, 2K scales
    (softplus + 1e-4), K correlations (tanh, times 0.9999), and the log-odds e of the pen. Missing: dx or dy is
    marginalised, pen is skipped. Leave pen as it is when offsets are scaled:
    ``data.transformed(rv.data.Affine(torch.zeros(3), torch.tensor([s, s, 1.0])))``.

    Source: Graves (2013), "Generating Sequences With Recurrent Neural Networks", arXiv:1308.0850, equations 19 to 25.
    We differ in the scales, there exp, and in bounding the correlation, so that no density is infinite.

    Arguments:
        dim: 3.
        components: K.

    Raises:
        ValueError: frames that are not 3 wide, or K that is no integer of at least 1.
    """

    kinds = ("real",)

    def __init__(self, dim: int = 3, *, components: int = 20) -> None:
        if dim != 3:
            raise ValueError(f"PenStrokes is a law of frames (dx, dy, pen), 3 wide, and these are {dim} wide.")
        if isinstance(components, bool) or not isinstance(components, int) or components < 1:
            raise ValueError(f"PenStrokes: components must be an integer of at least 1, got {components!r}.")
        super().__init__(dim, 6 * components + 1)
        self.components = components

    def forward(self, params: Tensor) -> StrokeMixture:
        k = self.components
        logits, loc, scale, tilt, pen = params.split([k, 2 * k, 2 * k, k, 1], -1)
        return StrokeMixture(logits, loc.unflatten(-1, (2, k)), softplus(scale.unflatten(-1, (2, k))) + MIN_SCALE,
                             MAX_CORRELATION * torch.tanh(tilt), pen.squeeze(-1))

    def bias(self, values: Tensor) -> Tensor:
        """Means and variances of the offsets, from components on a ring around the mean; log-odds of the pen."""
        k = self.components
        loc, raw = Normal(2).bias(values[:, :2]).chunk(2)
        spread = softplus(raw)
        ring = RING if k > 2 else 0.0
        angle = torch.arange(k, dtype=loc.dtype, device=loc.device) * (2 * math.pi / k)
        around = loc.unsqueeze(-1) + ring * spread.unsqueeze(-1) * torch.stack([angle.cos(), angle.sin()])
        within = inverse_softplus(spread * math.sqrt(1.0 - 0.5 * ring**2)).unsqueeze(-1).expand(-1, k)
        return torch.cat([loc.new_zeros(k), around.flatten(), within.flatten(), loc.new_zeros(k),
                          Bernoulli(1).bias(values[:, 2:])])


class _Stroke(torch.distributions.constraints.Constraint):
    """Two real numbers, and 0 or 1; judged element by element."""

    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        pen = value[..., 2:]
        return torch.cat([value[..., :2].isfinite(), (pen == 0) | (pen == 1)], -1)

    def __repr__(self) -> str:
        return "dx and dy real, pen 0 or 1"


class StrokeMixture(dist.TorchDistribution):
    """The law of one frame under :class:`PenStrokes`.

    Arguments:
        logits: ``(..., K)`` of the components.
        loc, scale: ``(..., 2, K)``.
        correlation: ``(..., K)``.
        pen: ``(...)``, log-odds.
        present: ``(..., 3)``, True where an element was observed; ``None``: everywhere.
    """

    arg_constraints: dict[str, Any] = {}
    support = _Stroke()
    has_rsample = False

    def __init__(self, logits: Tensor, loc: Tensor, scale: Tensor, correlation: Tensor, pen: Tensor,
                 present: Tensor | None = None) -> None:
        self.logits, self.loc, self.scale, self.correlation, self.pen = logits, loc, scale, correlation, pen
        self.present = present
        shape = pen.shape if present is None else torch.broadcast_shapes(pen.shape, present.shape[:-1])
        super().__init__(shape, torch.Size([3]), validate_args=False)

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> StrokeMixture:
        logits, loc, scale, correlation = (p.expand(*batch_shape, *p.shape[self.pen.dim():]) for p in (
            self.logits, self.loc, self.scale, self.correlation))
        return StrokeMixture(logits, loc, scale, correlation, self.pen.expand(batch_shape), self.present)

    def observe(self, present: Tensor) -> StrokeMixture:
        """The law of the present elements, as one over the whole (filled) frame."""
        return StrokeMixture(self.logits, self.loc, self.scale, self.correlation, self.pen, present)

    def log_prob(self, value: Tensor) -> Tensor:
        dx, dy = ((value[..., :2].unsqueeze(-1) - self.loc) / self.scale).unbind(-2)
        there = [None] * 3 if self.present is None else self.present.unbind(-1)
        rho = self.correlation
        if self.present is not None:  # of one offset alone the marginal is that without correlation
            rho = torch.where(self.present[..., :2].all(-1, keepdim=True), rho, 0.0)
        rest = 1.0 - rho.square()
        across = (dy - rho * dx) * rest.rsqrt()
        first = -0.5 * dx.square() - torch.log(self.scale[..., 0, :])
        second = -0.5 * across.square() - torch.log(self.scale[..., 1, :]) - 0.5 * torch.log(rest)
        half = 0.5 * math.log(2 * math.pi)
        offsets = sum(_keep(part - half, None if seen is None else seen.unsqueeze(-1))
                      for part, seen in zip((first, second), there, strict=False))
        pen = self.pen.expand(torch.broadcast_shapes(self.pen.shape, value.shape[:-1]))
        state = -binary_cross_entropy_with_logits(pen, value[..., 2].expand_as(pen), reduction="none")
        return torch.logsumexp(self.logits.log_softmax(-1) + offsets, -1) + _keep(state, there[2])

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        with torch.no_grad():
            law = self.expand(self._extended_shape(sample_shape)[:-1])
            which = dist.Categorical(logits=law.logits, validate_args=False).sample().unsqueeze(-1)
            rho = law.correlation.gather(-1, which)
            index = which.unsqueeze(-2).expand(*which.shape[:-1], 2, 1)
            loc, scale = (p.gather(-1, index).squeeze(-1) for p in (law.loc, law.scale))
            noise = torch.randn_like(loc)
            tilted = torch.cat([noise[..., :1], rho * noise[..., :1] + (1 - rho.square()).sqrt() * noise[..., 1:]], -1)
            return torch.cat([loc + scale * tilted, torch.bernoulli(law.pen.sigmoid()).unsqueeze(-1)], -1)

    @property
    def mean(self) -> Tensor:
        weights = self.logits.softmax(-1).unsqueeze(-2)
        return torch.cat([(weights * self.loc).sum(-1), self.pen.sigmoid().unsqueeze(-1)], -1)


def _keep(part: Tensor, seen: Tensor | None) -> Tensor:
    return part if seen is None else torch.where(seen, part, 0.0)


@observe_elements.register(StrokeMixture)
def _observed(fn: Any, present: Tensor) -> dist.TorchDistribution:
    return fn.observe(present)  # type: ignore[no-any-return]
