"""Objectives that look at the rate, the KL of the latents: free bits, and a target."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from pyro.distributions import Independent, MaskedDistribution
from torch import Tensor
from torch.distributions import kl_divergence

from ..core.checks import check_weight
from ..core.traces import in_batch, sites
from .loss import count_frames
from .objective import Objective, Pair, Program
from .snapshot import describe

__all__ = ["FreeBits", "Rates", "TargetRate"]


class Rates(NamedTuple):
    """The KL of one latent, mean over particles.

    Attributes:
        kl: ``(B, S, d)``: of each sequence, step and dimension; S = 1 of what is drawn once a sequence, and d = 1
            where the dimensions are not told apart. 0 in the padding. Analytic where there is a formula, given the
            draws that it depends on; else ``log q - log p`` at the draw.
        there: ``(B, S)``, 1 where a step has a density, 0 in the padding.
        scale: of its density: the KL weight.
    """

    kl: Tensor
    there: Tensor
    scale: Any


class _Rated(Objective):
    """An objective of reconstruction and KL, in which something is done to the KL."""

    analytic = True

    def differentiable_loss(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Tensor:
        pair = self.draw(model, guide, args, kwargs)
        pair.refuse_scores(type(self).__name__)
        seen = [site for site in sites(pair.program, observed=True).values() if in_batch(site)]
        reconstruction = -sum(site["log_prob"].sum() for site in seen) / self.num_particles
        cost = self.cost(pair, _frames(model, *args, **kwargs))
        return reconstruction + cost - pair.shared + pair.auxiliary  # type: ignore[no-any-return]

    def cost(self, pair: Pair, frames: Tensor) -> Tensor:
        """What stands for the KL, in nats, of a batch with so many frames."""
        raise NotImplementedError


class FreeBits(_Rated):
    r"""The ELBO whose KL costs nothing below a floor of ``nats``: the latents are not worth switching off.

    .. math::
        -\sum_n E \log p(x_n \mid z) + \sum_j N_j \max\Big(\lambda,\; \frac1{N_j} \sum_{i \in j} \mathrm{KL}_i\Big)

    The KL of each latent is split in subsets j, and each has the floor :math:`\lambda`, in nats a step (an item, of
    static data, and once for what is drawn once a sequence). Which subsets is said by three switches:

    - ``dimensions``: each dimension of a latent has a floor of its own; else one floor for their sum.
    - ``steps``: each step has a floor of its own; else the mean over the steps has it.
    - ``sequences``: each sequence has a floor of its own; else the mean over the batch has it.

    The paper's is ``sequences=False``: the mean over the minibatch, for each group j of latents, is held above
    :math:`\lambda` (``FreeBits(0.5, steps=False)`` takes a dimension, over all frames of the batch, for a group).
    Many codes hold the KL of each sample above it instead: ``sequences=True``. A subset below its floor gives no
    gradient. The KL is analytic where there is a formula. With a KL weight the second sum is multiplied by it. What is
    drawn once a data set has no floor. No history shows the floor: it logs the ELBO.

    Arguments:
        nats: the floor :math:`\lambda`, at least 0.
        dimensions, steps, sequences: see above.
        num_particles: draws over which a KL and the reconstruction are averaged; all in parallel.

    Raises:
        ValueError: when it is used: latents that are not reparametrised; ``dimensions=True`` for a latent whose law or
            prior is not a product over dimensions; a law over a whole path that has no steps.

    Source: Kingma, Salimans, Jozefowicz, Chen, Sutskever & Welling (2016), "Improving Variational Inference with
    Inverse Autoregressive Flow", arXiv:1606.04934, equation 15. We differ in steps of unlike numbers of sequences:
    each subset counts with the number :math:`N_j` of its steps in the batch.

    >>> rv.fit(model, data, elbo=rv.FreeBits(0.1))  # doctest: +SKIP
    """

    def __init__(self, nats: float, *, dimensions: bool = True, steps: bool = True, sequences: bool = False,
                 num_particles: int = 1) -> None:
        check_weight("FreeBits: nats", nats)
        super().__init__(num_particles)
        self.nats, self.dimensions, self.steps, self.sequences = nats, dimensions, steps, sequences

    def __repr__(self) -> str:
        return (f"FreeBits({self.nats}, dimensions={self.dimensions}, steps={self.steps}, sequences={self.sequences}, "
                f"num_particles={self.num_particles})")

    def cost(self, pair: Pair, frames: Tensor) -> Tensor:
        found = rates("FreeBits", pair, dimensions=self.dimensions).values()
        return sum((rate.scale * self.clamped(rate) for rate in found), pair.log_q.new_zeros(()))

    def clamped(self, rate: Rates) -> Tensor:
        """The KL of one latent with its floors, in nats: a scalar."""
        over = tuple(dim for dim, own in enumerate((self.sequences, self.steps)) if not own)
        kl, count = rate.kl, rate.there.unsqueeze(-1)
        if over:
            kl, count = kl.sum(over, keepdim=True), count.sum(over, keepdim=True)
        mean = kl / count.clamp(min=1.0)
        return (count * mean.clamp(min=self.nats)).sum()


class TargetRate(_Rated):
    r"""Reconstruction, and the distance of the KL from a target: the latents are to carry ``rate`` nats.

    .. math:: -\sum_n E \log p(x_n \mid z) + \gamma F \, \Big| \frac1F \sum_n \mathrm{KL}_n - C \Big|

    with F the frames of the batch (items, of static data), so that C is in nats per frame, like all that is logged. The
    KL is analytic where there is a formula. What is drawn once a data set counts as in the ELBO. There is no further
    KL weight.

    Arguments:
        rate: C, at least 0: a number, or a function of the optimizer step (``rv.infer.linear(0.0, 2.0, 10_000)`` is
            the capacity that rises). ``fit`` tells the step; in a script set ``objective.step``.
        weight: :math:`\gamma`, above 0; with 1 and a KL above the target the gradient is the ELBO's.
        num_particles: draws over which KL and reconstruction are averaged; all in parallel.

    Raises:
        ValueError: a rate that is negative or not finite (the message names the schedule and the step); when it is
            used, latents that are not reparametrised, or a KL weight.

    Source: Burgess et al. (2018), "Understanding disentangling in beta-VAE", arXiv:1804.03599; Alemi et al.
    (2018), "Fixing a Broken ELBO", arXiv:1711.00464, who also aim at a rate. We differ in nats per frame.

    >>> rv.fit(model, data, elbo=rv.TargetRate(0.5, weight=10.0))  # doctest: +SKIP
    """

    def __init__(self, rate: float | Callable[[int], float], weight: float = 1.0, *, num_particles: int = 1) -> None:
        if not callable(rate):
            check_weight("TargetRate: rate", rate, hint=" (nats per frame), or a function of the step")
        check_weight("TargetRate: weight", weight, zero=False)
        super().__init__(num_particles)
        self.rate, self.weight, self.step = rate, weight, 0

    def __repr__(self) -> str:
        rate = describe(self.rate) if callable(self.rate) else self.rate
        return f"TargetRate({rate}, weight={self.weight}, num_particles={self.num_particles})"

    @property
    def target(self) -> float:
        """C at the step that runs."""
        value = self.rate(self.step) if callable(self.rate) else self.rate
        if not 0 <= value < math.inf:
            raise ValueError(f"{self!r}: the schedule gave {value} for step {self.step}; a rate must be a finite "
                             "number of at least 0.")
        return float(value)

    def cost(self, pair: Pair, frames: Tensor) -> Tensor:
        found = rates("TargetRate", pair, dimensions=False).values()
        if any(bool(rate.scale != 1.0) for rate in found):
            raise ValueError("TargetRate says itself what the KL weighs, and a KL weight is around it: leave kl_weight "
                             "(rv.annealed) out, and give TargetRate(weight=...).")
        kl = sum((rate.kl.sum() for rate in found), pair.log_q.new_zeros(()))
        return self.weight * (kl - frames * self.target).abs()


def _frames(model: Program, x: Tensor, mask: Tensor | None = None, **known: Any) -> Tensor:
    """The frames of a batch (items, of static data)."""
    return count_frames(x, mask, static=getattr(getattr(model, "__self__", None), "static", False))


# ---------------------------------------------------------------------------------------------- the KL, taken apart
def rates(name: str, pair: Pair, *, dimensions: bool) -> dict[str, Rates]:
    """The KL of each latent of a sequence; with ``dimensions`` told apart by dimension. ``name`` is for messages."""
    parts: dict[str, list[Rates]] = {}
    for site, drawn in pair.own.items():
        stem, _, step = site.rpartition("_")
        rate = _rate(name, site, drawn, pair.program.nodes.get(site), dimensions)
        parts.setdefault(stem if stem and step.isdigit() else site, []).append(rate)  # the explicit form's steps
    return {site: Rates(torch.cat([r.kl for r in found], 1), torch.cat([r.there for r in found], 1), found[0].scale)
            for site, found in parts.items()}


def _rate(name: str, site: str, drawn: Any, stated: Any, dimensions: bool) -> Rates:
    if stated is None:
        raise ValueError(f"{name}: the guide's auxiliary draw {site!r} has no prior, so it has no KL of its own: use "
                         "Trace_ELBO.")
    value, events = drawn["value"], drawn["fn"].event_dim
    (q, mask), (p, _) = _bare(drawn), _bare(stated)
    widest = max(q.event_dim, p.event_dim)
    if dimensions and widest:
        raise ValueError(f"{name}: the laws of {site!r} ({type(q).__name__} in the guide, {type(p).__name__} in the "
                         "model) are no products over dimensions, so a dimension has no KL of its own: give "
                         "dimensions=False.")
    lost = widest if dimensions else max(widest, min(events, 1))  # dims over which the KL is one number
    kl = _divergence(_over(q, lost), _over(p, lost), value).expand(value.shape[: value.dim() - lost])
    there = mask.expand(value.shape)
    there = there.flatten(-lost).any(-1) if lost else there
    shape = (*value.shape[:2], -1, 1 if lost or not events else value.shape[-1])
    kl, there = torch.where(there, kl, 0.0).reshape(shape), there.reshape(shape)
    return Rates(kl.mean(0), there[0].any(-1).to(kl), drawn["scale"])


def _bare(site: Any) -> tuple[Any, Tensor]:
    """A site's law without the dims that were made events and without its masks, and these, against its value."""
    fn, mask = site["fn"], torch.ones((), dtype=torch.bool, device=site["value"].device)
    found = [(site["mask"], fn.event_dim)]
    while isinstance(fn, MaskedDistribution | torch.distributions.Independent):
        if isinstance(fn, MaskedDistribution):
            found.append((fn._mask, fn.event_dim))
        fn = fn.base_dist
    for part, dims in found:
        if part is not None and part is not True:
            part = torch.as_tensor(part, device=mask.device)
            mask = mask & part.reshape(*part.shape, *[1] * dims)
    return fn, mask


def _over(law: Any, dims: int) -> Any:
    """The law with ``dims`` dims of its events."""
    return law if law.event_dim == dims else Independent(law, dims - law.event_dim)


def _divergence(q: Any, p: Any, value: Tensor) -> Tensor:
    try:
        return kl_divergence(q, p)
    except NotImplementedError:
        return q.log_prob(value) - p.log_prob(value)  # type: ignore[no-any-return]
