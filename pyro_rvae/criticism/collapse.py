"""Is the latent used? KL by dimension and step, active units, information, and the cost of swapped latents."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.checks import check_count, check_weight
from ..core.contexts import evaluating, forked
from .chunks import check_data, chunks, groups, like_of
from .information import Information, mutual_information, why_not
from .particles import draw, repeatable
from .tables import included
from .tally import Tally
from .verdict import rows, verdict

__all__ = ["CollapseReport", "collapse_report"]

Array = NDArray[np.float64]
PAIRS = 64**2  # of a draw and a posterior, that the mutual information takes before it saves on draws


@dataclass(frozen=True, repr=False, eq=False)
class CollapseReport:
    """What :func:`collapse_report` found; costs are in nats per frame (of static data: per item).

    A dictionary has an entry for each latent of a sequence: a site, or the path that numbered sites make up.

    Attributes:
        kl: of the guide from the prior, over all latents; a mean over the draws.
        reconstruction: ``-log p(x | z)``, a mean over the draws; ``elbo = reconstruction + kl``.
        kl_by_dim: ``(z_dim,)`` of each latent whose guide and prior are products over dimensions with a closed
            KL (given the path up to the step before, averaged over draws); dimensions add up to that latent's
            part of ``kl``.
        kl_by_step: ``(S,)`` of each latent, in nats per step: mean over the sequences that have the step. Steps are
            those of the latent's own clock; what is drawn once a sequence has S = 1. The closed KL where there is
            one, else a mean over draws.
        kl_by_step_and_dim: ``(S, z_dim)``, the same by dimension, of the latents in ``kl_by_dim``.
        steps: ``(S,)`` of each latent: how many sequences have the step.
        activity: ``(z_dim,)`` of each continuous latent: variance over the data of the posterior mean; NaN where there
            is one value of it (a sequence alone, whose latent is drawn once).
        threshold: an activity above it counts as an active unit.
        floor: a latent whose KL is below it, in nats for each time it is drawn, has collapsed.
        shuffling_cost: mean of ``log p(x_n | z_n) - log p(x_n | z_m)`` where m is another sequence; NaN if
            there is only one sequence. Near 0: the model would do as well without its latent.
        shuffled_frames: how many frames were compared.
        information: mutual information of data and latent, or None where there is none.
        no_information: then, why.
        num_particles: draws for each sequence.
        point: whether the guide draws a point (a deterministic autoencoder): then ``elbo`` is no bound.
        includes: what is observed beside x, in words (the labels y of a ``Supervised``): costs include it.
        name: the model's name; unit: ``"frame"`` or ``"item"``.
    """

    kl: float
    reconstruction: float
    kl_by_dim: dict[str, Array]
    kl_by_step: dict[str, Array]
    kl_by_step_and_dim: dict[str, Array]
    steps: dict[str, Array]
    activity: dict[str, Array]
    threshold: float
    floor: float
    shuffling_cost: float
    shuffled_frames: int
    information: Information | None
    no_information: str
    num_particles: int
    point: bool = False
    name: str = "model"
    unit: str = "frame"
    includes: str = ""

    @property
    def elbo(self) -> float:
        """Minus the ELBO, over all frames."""
        return self.reconstruction + self.kl

    @property
    def shuffled_elbo(self) -> float:
        """Minus the ELBO when each sequence is explained by another one's latents: ``elbo + shuffling_cost``.

        The KL is that of the latents' own sequences; the cost is that of the frames which could be compared.
        """
        return self.elbo + self.shuffling_cost

    @property
    def active_units(self) -> int:
        """Dimensions, of all latents, whose activity is above the threshold; see ``unmeasured``."""
        return sum(int((a > self.threshold).sum()) for a in self.activity.values())

    @property
    def num_units(self) -> int:
        """Dimensions of all continuous latents."""
        return sum(len(a) for a in self.activity.values())

    @property
    def unmeasured(self) -> tuple[str, ...]:
        """The continuous latents whose activity one value can't tell."""
        return tuple(name for name, a in self.activity.items() if np.isnan(a).all())

    @property
    def kl_a_draw(self) -> dict[str, float]:
        """KL of each latent in nats for each time it is drawn: a step, or once a sequence."""
        return {name: float(np.nansum(kl * self.steps[name]) / self.steps[name].sum())
                for name, kl in self.kl_by_step.items()}

    @property
    def collapsed(self) -> tuple[str, ...]:
        """The latents that have collapsed: the KL is below the floor, or no unit is active. Of a point: the latter."""
        dead = {name for name, a in self.activity.items()
                if name not in self.unmeasured and not (a > self.threshold).any()}
        if not self.point:
            dead |= {name for name, kl in self.kl_a_draw.items() if kl < self.floor}
        return tuple(name for name in self.kl_by_step if name in dead)

    @property
    def verdict(self) -> str:
        """What the figures say, in a sentence or two."""
        return verdict(self)

    def to_dict(self) -> dict[str, Any]:
        """The figures by name, as JSON takes them; the number of draws is in the names of estimates."""
        k, alone = self.num_particles, math.isnan(self.shuffling_cost)
        figures: dict[str, Any] = {
            f"kl_{k}": self.kl,
            f"reconstruction_{k}": self.reconstruction,
            f"elbo_{k}": self.elbo,
            "active_units": math.nan if self.activity and len(self.unmeasured) == len(self.activity)
            else self.active_units,
            "num_units": self.num_units,
            f"shuffling_cost_{k}": self.shuffling_cost,
            "shuffled_frames": self.shuffled_frames,
        }
        if not alone:
            figures[f"shuffled_elbo_{k}"] = self.shuffled_elbo
        if self.information is not None:
            figures |= self.information.to_dict()
        return figures | {"collapsed": ", ".join(self.collapsed), "verdict": self.verdict}

    def __repr__(self) -> str:
        table = rows(self)
        widths = [max(len(row[i]) for row in table) for i in range(2)]
        lines = (f"  {a.ljust(widths[0])}  {b.rjust(widths[1])}  {c}".rstrip() for a, b, c in table)
        units = f"Nats per {self.unit}" + f", including {self.includes}" * bool(self.includes)
        return "\n".join([f"{self.name}: use of the latent. {units}.", *lines, f"  => {self.verdict}"])


def collapse_report(model: Any, data: Any, *, num_particles: int = 10, batch_size: int = 20, seed: int = 0,
                    threshold: float = 0.01, floor: float = 0.01, sequences: int | None = None,
                    max_bytes: int = 2**28) -> CollapseReport:
    r"""Four views of whether a model uses its latents.

    - **KL** of the guide from the prior: in all, by dimension and by step.
    - **Active units** (Burda, Grosse & Salakhutdinov 2016, arXiv:1509.00519, section 5.2): a dimension u is
      active if :math:`\mathrm{Var}_x\big(E_{q(z \mid x)}[z_u]\big) > 0.01`. Where the latent has a step, the
      variance is over all frames of all sequences, and the mean is that of the conditional law averaged over
      the draws of the path; the variance that those draws add to it is taken off again. A latent that merely
      repeats a prior which reads :math:`x_{t-1}` counts as active too: the KL tells.
    - **Mutual information** of data and latent, and how far the mixture of all posteriors is from the prior (see
      :func:`~pyro_rvae.criticism.mutual_information`); its cost grows with the square of the number of sequences, so it
      takes one draw of each where there are many, and up to ``num_particles`` where there are few.
    - **Shuffling**: each sequence is scored with the latents that the guide drew for another one. Sequences
      are sorted by length and cut into batches; within a batch the latents move on by one sequence (nobody
      keeps his own). Both scores are of the frames that both sequences have, with the rest masked. Labels,
      controls and what is drawn once a data set stay. Where a model reads :math:`x_{t-1}`, the score is
      :math:`\log p(x_t \mid x_{<t}, z)`, so the cost is what z tells beyond the past; in VRAE that may be
      little although z is used. The bound with shuffled latents is the ELBO made worse by that cost.

    Arguments:
        model: a :class:`~pyro_rvae.SequenceVAE`.
        data: a data set.
        num_particles: draws of the guide for each sequence.
        batch_size: sequences in a batch, at least 2; who is swapped with whom depends on it.
        seed: of the draws, as for :func:`evaluate`.
        threshold: of an active unit.
        floor: nats for each draw of a latent below which its KL counts as none.
        sequences: how many the mutual information compares, as for
            :func:`~pyro_rvae.criticism.mutual_information`.
        max_bytes: memory that the activations of one chunk should take, roughly; a batch stays whole.

    Raises:
        TypeError, ValueError: as :func:`evaluate`.
    """
    check_data(model, data, "collapse_report")
    for name, value, least in (("num_particles", num_particles, 1), ("batch_size", batch_size, 2),
                               ("max_bytes", max_bytes, 1), ("sequences", 2 if sequences is None else sequences, 2)):
        check_count(name, value, least)
    for name, number in (("threshold", threshold), ("floor", floor)):
        check_weight(name, number)
    tally = Tally()
    with evaluating(model), forked(like_of(model).device):
        repeat = repeatable(model, data)
        for chunk in chunks(model, data, num_particles, groups(data, batch_size, 2), max_bytes, whole=True):
            draws = draw(model, chunk, seed, repeat=repeat)
            tally.add(chunk, draws)
            if len(chunk.numbers) > 1:
                tally.shuffle(model, chunk, draws.guide)
    why = why_not(model, data)
    information = None if why else mutual_information(
        model, data, num_particles=min(num_particles, max(1, PAIRS // min(len(data), sequences or len(data)) ** 2)),
        sequences=sequences, batch_size=batch_size, seed=seed, max_bytes=max_bytes)
    frames, k = data.num_frames, num_particles
    return CollapseReport(
        kl=tally.kl / (frames * k),
        reconstruction=-tally.likelihood / (frames * k),
        kl_by_dim={name: table.total.sum(0) / (frames * k) for name, table in tally.by_dim.items()},
        kl_by_step={name: table.mean for name, table in tally.by_step.items()},
        kl_by_step_and_dim={name: table.mean for name, table in tally.by_dim.items()},
        steps={name: table.counts / k for name, table in tally.by_step.items()},
        activity={name: moments.activity(k) for name, moments in tally.means.items()},
        threshold=threshold,
        floor=floor,
        shuffling_cost=tally.gap / (tally.shuffled * k) if tally.shuffled else math.nan,
        shuffled_frames=tally.shuffled,
        information=information,
        no_information=why,
        num_particles=k,
        point=tally.point,
        name=type(model).__name__,
        unit="item" if model.static else "frame",
        includes=included(tally.observed, data),
    )
