"""How much the latent tells about which sequence it was drawn for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.checks import check_count
from ..core.contexts import evaluating, forked
from ..core.traces import in_batch, is_point
from .chunks import check_data, like_of
from .crossed import cross_terms, grow_with_time, latents_of
from .particles import check_guide
from .tables import count

__all__ = ["Information", "mutual_information", "why_not"]

Array = NDArray[np.float64]
SEQUENCES = {True: 64, False: 1000}  # how many are compared by default, of latents with steps and without


@dataclass(frozen=True, repr=False, eq=False)
class Information:
    """What :func:`mutual_information` found, in nats per sequence (of static data: per item).

    Attributes:
        terms: ``(k, B)``, ``log q(z | x_n) - log mean_m q(z | x_m)`` for k draws z of each ``q(z | x_n)``.
        surplus: ``(k, B)``, ``log mean_m q(z | x_m) - log p(z)``, or None where the prior reads the data.
        total: sequences of the data set, of which B were compared.
        frames: how many first frames of each sequence were read; None: whole sequences.
        name: the model's name; unit: ``"sequence"`` or ``"item"``.
        cut: whether any sequence that was compared has more frames than were read.
    """

    terms: Array
    surplus: Array | None
    total: int
    frames: int | None
    name: str = "model"
    unit: str = "sequence"
    cut: bool = True

    @property
    def num_particles(self) -> int:
        """k."""
        return int(self.terms.shape[0])

    @property
    def num_sequences(self) -> int:
        """B."""
        return int(self.terms.shape[1])

    @property
    def value(self) -> float:
        """The mutual information; never above :attr:`ceiling`."""
        return float(self.terms.mean())

    @property
    def error(self) -> float:
        """Its Monte Carlo standard error for these sequences; with one draw the estimate errs upwards."""
        return _standard_error(self.terms)

    @property
    def ceiling(self) -> float:
        """``log B``: what B posteriors that don't overlap at all would give."""
        return math.log(self.num_sequences)

    @property
    def aggregate_kl(self) -> float:
        """``KL(q(z) || p(z))`` of the mixture of the B posteriors; NaN where the prior reads the data."""
        return math.nan if self.surplus is None else float(self.surplus.mean())

    @property
    def aggregate_error(self) -> float:
        """Standard error of :attr:`aggregate_kl`, as :attr:`error`."""
        return math.nan if self.surplus is None else _standard_error(self.surplus)

    @property
    def saturated(self) -> bool:
        """Whether it is within 1% of its ceiling: more sequences would show more."""
        return self.value > 0.99 * self.ceiling

    @property
    def of(self) -> str:
        """What was compared, in words."""
        k = self.num_particles
        some = "all" if self.num_sequences == self.total else f"{self.num_sequences:,} of"
        frames = "" if self.frames is None else f", {'first ' * self.cut}{count(self.frames, 'frame')}"
        return f"{some} {count(self.total, self.unit, f'{self.total:,}')}{frames}, {count(k, 'draw')} each"

    def to_dict(self) -> dict[str, float]:
        """The figures by name, as JSON takes them."""
        k = self.num_particles
        figures: dict[str, float] = {
            f"mutual_information_{k}": self.value, f"mutual_information_{k}_error": self.error,
            "mutual_information_ceiling": self.ceiling, "mutual_information_sequences": self.num_sequences}
        if self.frames is not None:
            figures["mutual_information_frames"] = self.frames
        if self.surplus is not None:
            figures |= {f"aggregate_kl_{k}": self.aggregate_kl, f"aggregate_kl_{k}_error": self.aggregate_error}
        return figures

    def __repr__(self) -> str:
        aggregate = (f"{self.aggregate_kl:.3f} +- {self.aggregate_error:.3f}" if self.surplus is not None
                     else "-  the prior reads the data, so there is no one prior to compare with")
        more = "; at its ceiling: the posteriors do not overlap, more sequences would show more" * self.saturated
        return (f"{self.name}: mutual information of data and latent. Nats per {self.unit}; {self.of}.\n"
                f"  mutual information            {self.value:.3f} +- {self.error:.3f}  at most log "
                f"{self.num_sequences:,} = {self.ceiling:.3f}{more}\n"
                f"  KL of all posteriors' mixture {aggregate}")


def _standard_error(terms: Array) -> float:
    k, sequences = terms.shape
    if k == 1:  # the spread over sequences holds that of a sequence's draws
        return float(terms[0].std(ddof=1) / math.sqrt(sequences))
    return float(math.sqrt(terms.var(0, ddof=1).sum() / k) / sequences)


def mutual_information(model: Any, data: Any, *, num_particles: int = 10, sequences: int | None = None,
                       batch_size: int = 20, seed: int = 0, max_bytes: int = 2**28) -> Information:
    r"""The mutual information of data and latent under the guide.

    With :math:`q(z) = \frac1B \sum_m q(z \mid x_m)` over the sequences at hand,

    .. math::
        I = \frac1B \sum_n E_{q(z \mid x_n)} \Big[\log q(z \mid x_n) - \log q(z)\Big] \le \log B, \qquad
        \frac1B \sum_n KL\big(q(z \mid x_n) \,\|\, p(z)\big) = I + KL\big(q(z) \,\|\, p(z)\big)

    It is 0 if the guide does not look at the data, and log B if a draw always tells whose it is: with few sequences a
    number near log B is a bound, and no measure. All B posteriors are evaluated at each draw (B^2 densities), by
    handing the guide the draws as its own.

    A latent that has steps is taken as a path, together with what else is drawn for the sequence, over the frames that
    all B sequences have: they are cut to the shortest, and guide and prior read no more. Where a prior reads
    :math:`x_{<t}`, labels or controls, I counts what they tell as well, and the mixture's KL from "the" prior is not
    defined. What is drawn once a data set is given.

    Source: Hoffman & Johnson (2016), "ELBO surgery: yet another way to carve up the variational evidence lower bound",
    NeurIPS workshop on approximate inference (their index n is our sequence). They take the whole training set; from a
    part of it the estimate is lower, as the ceiling is.

    Arguments:
        model: a :class:`~pyro_rvae.SequenceVAE`.
        data: a data set of at least two sequences.
        num_particles: draws for each sequence.
        sequences: how many are compared, drawn at random by ``seed``; default: at most 64 where the latent has steps,
            else 1000.
        batch_size: most sequences that are drawn at once.
        seed: of the draws, as for :func:`evaluate`.
        max_bytes: memory that the activations of one pass should take, roughly.

    Raises:
        TypeError, ValueError: as :func:`evaluate`; fewer than two sequences; a guide that is a point, has no latent of
            a sequence, other latents than the model, or no density.

    >>> rv.criticism.mutual_information(model, data.test)  # doctest: +SKIP
    """
    check_data(model, data, "mutual_information")
    for name, value in {"num_particles": num_particles, "batch_size": batch_size, "max_bytes": max_bytes}.items():
        check_count(name, value)
    if sequences is not None:
        check_count("sequences", sequences, 2, hint=" (draws are compared between sequences), or None")
    why = why_not(model, data)
    if why:
        raise ValueError(f"mutual_information of {type(model).__name__} is {why}. It needs at least two sequences, and "
                         "a guide that reads them and draws a latent of each from a density.")
    with evaluating(model), forked(like_of(model).device):
        stepped = grow_with_time(model, data, latents_of(model, data, 0))
        numbers = _chosen(len(data), sequences or SEQUENCES[stepped], seed)
        lengths = data.lengths[numbers] if stepped else None
        frames = None if lengths is None else int(lengths.min())
        terms, surplus = cross_terms(model, data, numbers, frames, num_particles, batch_size, seed, max_bytes)
    cut = lengths is not None and int(lengths.max()) != frames
    unit = "item" if model.static else "sequence"
    return Information(terms, surplus, len(data), frames, type(model).__name__, unit, cut)


def why_not(model: Any, data: Any) -> str:
    """Why there is no mutual information, in a few words; empty if there is one."""
    if len(data) < 2:
        return "not measurable with one " + ("item" if model.static else "sequence")
    if getattr(model, "unamortised", False):
        return "none: the guide reads no data, it holds a law for each sequence"
    with evaluating(model), forked(like_of(model).device):
        latents = [site for site in check_guide(model, data).values() if in_batch(site)]
    if not latents:
        return "none: nothing is drawn for a sequence"
    return "none: the guide draws a point" if any(is_point(site) for site in latents) else ""


def _chosen(total: int, most: int, seed: int) -> list[int]:
    if total <= most:
        return list(range(total))
    return sorted(np.random.default_rng(seed).choice(total, most, replace=False).tolist())
