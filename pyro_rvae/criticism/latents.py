"""Is the latent used? KL by dimension, active units, and the cost of swapping latents between sequences."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import kl_divergence

from ..core.checks import check_count
from ..core.contexts import evaluating, forked
from ..core.traces import in_batch, sites
from .chunks import Chunk, check_data, chunks, groups, like_of
from .particles import draw, elementwise, log_prob, repeatable, replay

__all__ = ["LatentUse", "latent_use"]

Array = NDArray[np.float64]


@dataclass(frozen=True, repr=False, eq=False)
class LatentUse:
    """What :func:`latent_use` found; costs are in nats per frame (of static data: per item).

    Attributes:
        kl: of the guide from the prior, over all latent sites; a mean over the draws.
        kl_by_dim: ``(z_dim,)`` of each site whose guide and prior are products over dimensions with a closed
            KL (given the path up to the step before, averaged over draws); dimensions add up to that site's
            part of ``kl``.
        activity: ``(z_dim,)`` of each site: variance over the data of the posterior mean.
        threshold: an activity above it counts as an active unit.
        shuffling_cost: mean of ``log p(x_n | z_n) - log p(x_n | z_m)`` where m is another sequence; NaN if
            there is only one sequence. Near 0: the model would do as well without its latent.
        shuffled_frames: how many frames were compared.
        num_particles: draws for each sequence.
        name: the model's name; unit: ``"frame"`` or ``"item"``.
    """

    kl: float
    kl_by_dim: dict[str, Array]
    activity: dict[str, Array]
    threshold: float
    shuffling_cost: float
    shuffled_frames: int
    num_particles: int
    name: str = "model"
    unit: str = "frame"

    @property
    def active_units(self) -> int:
        """Dimensions, of all sites, whose activity is above the threshold."""
        return sum(int((a > self.threshold).sum()) for a in self.activity.values())

    @property
    def num_units(self) -> int:
        """Dimensions of all sites."""
        return sum(len(a) for a in self.activity.values())

    def to_dict(self) -> dict[str, float]:
        """The figures by name, as JSON takes them; the number of draws is in the names of estimates."""
        k = self.num_particles
        return {
            f"kl_{k}": self.kl,
            "active_units": self.active_units,
            "num_units": self.num_units,
            f"shuffling_cost_{k}": self.shuffling_cost,
            "shuffled_frames": self.shuffled_frames,
        }

    def __repr__(self) -> str:
        draws = "1 draw" if self.num_particles == 1 else f"{self.num_particles} draws"
        alone = math.isnan(self.shuffling_cost)
        one = "sequence" if self.unit == "frame" else "item"
        rows = [
            (f"KL ({draws})", f"{self.kl:.3f}", ""),
            (
                f"shuffled latents cost ({draws})",
                "-" if alone else f"{self.shuffling_cost:+.3f}",
                f"not measurable with one {one}" if alone else "near 0 would mean that the latents are not used",
            ),
            (
                "active units",
                f"{self.active_units} of {self.num_units}",
                f"variance of posterior mean > {self.threshold:g}",
            ),
        ]
        for site, by_dim in self.kl_by_dim.items():
            largest = ", ".join(f"{v:.3f}" for v in np.sort(by_dim)[::-1][:6])
            rows.append((f"KL of {site} by dimension", f"{by_dim.sum():.3f}", f"largest: {largest}"))
        widths = [max(len(row[i]) for row in rows) for i in range(2)]
        lines = (f"  {a.ljust(widths[0])}  {b.rjust(widths[1])}  {c}".rstrip() for a, b, c in rows)
        return "\n".join([f"{self.name}: use of the latent. Nats per {self.unit}.", *lines])


@dataclass
class _Sums:
    kl: float = 0.0
    gap: float = 0.0
    shuffled: int = 0
    by_dim: dict[str, list[Array]] = field(default_factory=lambda: defaultdict(list))
    means: dict[str, dict[int, list[Array]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )


def latent_use(
    model: Any,
    data: Any,
    *,
    num_particles: int = 10,
    batch_size: int = 20,
    seed: int = 0,
    threshold: float = 0.01,
    max_bytes: int = 2**28,
) -> LatentUse:
    r"""Three views of whether a model uses its latents.

    - **KL** of the guide from the prior, in all and by dimension.
    - **Active units** (Burda, Grosse & Salakhutdinov 2016, arXiv:1509.00519, section 5.2): a dimension u is
      active if :math:`\mathrm{Var}_x\big(E_{q(z \mid x)}[z_u]\big) > 0.01`. Where the latent has a step, the
      variance is over all frames of all sequences, and the mean is that of the conditional law averaged over
      the draws of the path; the variance that those draws add to it is taken off again. A latent that merely
      repeats a prior which reads :math:`x_{t-1}` counts as active too: the KL tells.
    - **Shuffling**: each sequence is scored with the latents that the guide drew for another one. Sequences
      are sorted by length and cut into batches; within a batch the latents move on by one sequence (nobody
      keeps his own). Both scores are of the frames that both sequences have, with the rest masked. Labels,
      controls and what is drawn once a data set stay. Where a model reads :math:`x_{t-1}`, the score is
      :math:`\log p(x_t \mid x_{<t}, z)`, so the cost is what z tells beyond the past; in VRAE that may be
      little although z is used.

    Arguments:
        model: a :class:`~pyro_rvae.SequenceVAE`.
        data: a data set.
        num_particles: draws of the guide for each sequence.
        batch_size: sequences in a batch, at least 2; who is swapped with whom depends on it.
        seed: of the draws, as for :func:`evaluate`.
        threshold: of an active unit.
        max_bytes: memory that the activations of one chunk should take, roughly; a batch stays whole.

    Raises:
        TypeError, ValueError: as :func:`evaluate`.
    """
    check_data(model, data, "latent_use")
    for name, value, least in (
        ("num_particles", num_particles, 1),
        ("batch_size", batch_size, 2),
        ("max_bytes", max_bytes, 1),
    ):
        check_count(name, value, least)
    sums = _Sums()
    with evaluating(model), forked(like_of(model).device):
        repeat = repeatable(model, data)
        for chunk in chunks(model, data, num_particles, groups(data, batch_size, 2), max_bytes, whole=True):
            draws = draw(model, chunk, seed, repeat=repeat)
            sums.kl += float((draws.posterior - draws.prior).double().sum())
            _by_dimension(sums, draws.guide, draws.model)
            _means(sums, chunk, draws.guide)
            if len(chunk.numbers) > 1:
                _shuffle(sums, model, chunk, draws.guide)
    frames, k = data.num_frames, num_particles
    return LatentUse(
        kl=sums.kl / (frames * k),
        kl_by_dim={site: np.sum(parts, 0) / (frames * k) for site, parts in sums.by_dim.items()},
        activity={site: _activity(parts, k) for site, parts in sums.means.items()},
        threshold=threshold,
        shuffling_cost=sums.gap / (sums.shuffled * k) if sums.shuffled else math.nan,
        shuffled_frames=sums.shuffled,
        num_particles=k,
        name=type(model).__name__,
        unit="item" if model.static else "frame",
    )


# -------------------------------------------------------------------------------- by dimension
def _by_dimension(sums: _Sums, guide: Any, model: Any) -> None:
    stated = sites(model, observed=False)
    for name, site in sites(guide, observed=False).items():
        q, p = elementwise(site)[0], elementwise(stated[name])[0] if name in stated else None
        if not in_batch(site) or q is None or p is None:
            continue
        try:
            kl = kl_divergence(q, p)
        except NotImplementedError:
            continue
        sums.by_dim[name].append(_columns(kl, site).sum((0, 1)))


def _columns(values: Tensor, site: Any) -> Array:
    """Numbers of a site, without its padding: ``(k, frames, d)``."""
    shape = site["value"].shape
    mask = elementwise(site)[1]
    values = values.expand(shape).double()
    inside = torch.ones(shape, dtype=torch.bool, device="cpu") if mask is None else mask.expand(shape).cpu()
    if not site["fn"].event_dim:
        values, inside = values.unsqueeze(-1), inside.unsqueeze(-1)
    return values.cpu()[:, inside[0, ..., 0]].flatten(1, -2).numpy()


# -------------------------------------------------------------------------------- active units
def _means(sums: _Sums, chunk: Chunk, guide: Any) -> None:
    """Keep the means of the guide's laws, by site and batch."""
    for name, site in sites(guide, observed=False).items():
        if not in_batch(site) or not site["value"].is_floating_point():
            continue
        try:
            mean = site["fn"].mean
        except NotImplementedError:  # a draw stands for it
            mean = site["value"]
        sums.means[name][chunk.numbers[0]].append(_columns(mean, site))


def _activity(parts: dict[int, list[Array]], k: int) -> Array:
    """Variance over frames of the mean over k draws, less the share of the draws in it."""
    means = np.concatenate([np.concatenate(chunks) for chunks in parts.values()], 1)  # (k, frames, d)
    if means.shape[1] < 2:
        return np.zeros(means.shape[-1])
    noise = means.var(0, ddof=1).mean(0) / k if k > 1 else 0.0
    return np.maximum(means.mean(0).var(0, ddof=1) - noise, 0.0)  # type: ignore[no-any-return]


# -------------------------------------------------------------------------------- shuffling
def _shuffle(sums: _Sums, model: Any, chunk: Chunk, guide: Any) -> None:
    """Add the difference of two scores, each of the frames that a sequence and its neighbour both have."""
    batch = chunk.batch
    if batch.mask is not None:
        batch = replace(batch, mask=batch.mask & batch.mask.roll(1, 0), frames=None)
    common = replace(chunk, batch=batch)
    right, wrong = (_likelihood(model, common, trace) for trace in (guide, _rolled(guide)))
    sums.gap += float((right - wrong).sum())
    if chunk.particles.start == 0:
        sums.shuffled += batch.num_frames


def _rolled(guide: Any) -> Any:
    """The guide's trace with each sequence's latents handed to the next sequence of the batch."""
    trace = guide.copy()
    for name, site in sites(guide, observed=False).items():
        if in_batch(site):
            trace.nodes[name] = {**site, "value": site["value"].roll(1, 1)}
    return trace


def _likelihood(model: Any, chunk: Chunk, guide: Any) -> Tensor:
    trace = replay(model, chunk, guide)
    observed = sites(trace, observed=True).values()
    terms = (log_prob(site) for site in observed if in_batch(site))
    return sum(terms, like_of(model).new_zeros(())).double()
