"""What an evaluation found: bounds, their parts, their errors, and how it prints."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..core.checks import check_count
from .bootstrap import bootstrap
from .by_step import StepCosts
from .importance import log_mean_exp, pareto_k
from .tables import bounds_table, count

__all__ = ["Evaluation"]

Array = NDArray[np.float64]


@dataclass(frozen=True, repr=False, eq=False)
class Evaluation:
    r"""What :func:`evaluate` found: costs in nats per frame (of static data: per item), lower is better.

    What is called ``elbo`` or ``iwae``, here as in a :class:`~pyro_rvae.infer.History`, is minus the bound, as the
    papers' tables print it.

    With importance weights :math:`w_{ni} = p(x_n, z_{ni}) / q(z_{ni} \mid x_n)` of K particles of each
    sequence n, and F frames in all,

    .. math::
        \mathrm{elbo} = -\frac1F \sum_n \frac1K \sum_i \log w_{ni}, \qquad
        \mathrm{iwae}_k = -\frac1F \sum_n \log \frac1k \sum_{i \le k} w_{ni}

    so that ``elbo >= iwae >=`` the exact cost, in expectation, and ``elbo == reconstruction + kl``.

    Attributes:
        log_weights: ``(N, K)``, ``log w``, in nats a sequence.
        reconstructions: ``(N,)``, mean over particles of ``-log p(x_n | z)``; where a model reads ``x_{t-1}``
            it is ``-sum_t log p(x_t | x_{<t}, z)``.
        kls: ``(N,)``, mean over particles of ``log q(z | x_n) - log p(z)``: a Monte Carlo estimate of the KL.
        lengths: ``(N,)``, frames of each sequence.
        floors: cost of the two floors on the same data, where a training split is known (see :func:`floors`).
        shared_kl: KL, in nats, of what is drawn once a data set (``shared``), or 0; it is in no other figure.
        name: the model's name; unit: ``"frame"`` or ``"item"``.
        transformed: whether the data were standardised or normalised: densities are those of the transformed
            data.
        point: whether the guide draws a point (a Delta: a deterministic autoencoder). Then nothing here is a bound on
            the evidence: what is called ``elbo`` is the cost of reconstruction (and of a prior with weight), and
            the printed table says so.
        by_step: the ELBO's parts by sequence and step (:class:`StepCosts`); None where nothing has
            steps: of static data, or of a user's own pair whose sites are whole paths.
        elements: ``(N,)``, elements of x of each sequence that are scored: those that aren't missing.
        likelihoods: ``(N,)`` of each observed site (x; the labels y of a ``Supervised``): its part of
            ``reconstructions``, which is their sum.
        includes: what is observed beside x, in words: every cost but those of ``floors`` includes it.
        filtered: by printed name (``"FIVO-16"``), ``(N,)``: the bounds by the particle filters that were asked for.
    """

    log_weights: Array
    reconstructions: Array
    kls: Array
    lengths: NDArray[np.int64]
    floors: dict[str, float] = field(default_factory=dict)
    shared_kl: float = 0.0
    name: str = "model"
    unit: str = "frame"
    transformed: bool = False
    point: bool = False
    by_step: StepCosts | None = None
    elements: NDArray[np.int64] | None = None
    likelihoods: dict[str, Array] = field(default_factory=dict)
    includes: str = ""
    filtered: dict[str, Array] = field(default_factory=dict)

    @property
    def num_particles(self) -> int:
        """K."""
        return int(self.log_weights.shape[1])

    @property
    def num_frames(self) -> int:
        """F."""
        return int(self.lengths.sum())

    # -------------------------------------------------------------------------------- bounds
    @property
    def elbo(self) -> float:
        """Minus the ELBO: mean over all particles."""
        return self.bound(1)

    @property
    def iwae(self) -> float:
        """Minus the importance-weighted bound with all K particles (Burda et al. 2016, arXiv:1509.00519)."""
        return self.bound(self.num_particles)

    @property
    def bounds(self) -> dict[str, float]:
        """The bounds by the name they are printed under; of a point guide its cost, which is none."""
        return {name: self.bound(k) for name, k in self.printed.items()}

    @property
    def printed(self) -> dict[str, int | str]:
        """What :meth:`bound` takes for each of ``bounds``: its number of particles, or the name of a filter."""
        if self.point:
            return {"cost at a point (no bound)": 1}
        names = {name: name for name in self.filtered}
        return {f"ELBO ({count(self.num_particles)})": 1, f"IWAE-{self.num_particles}": self.num_particles, **names}

    @property
    def reconstruction(self) -> float:
        return float(self.reconstructions.sum() / self.num_frames)

    @property
    def kl(self) -> float:
        return float(self.kls.sum() / self.num_frames)

    def sequence_bounds(self, k: int | str | None = None) -> Array:
        """Each sequence's bound ``(N,)`` with k particles (default: all), a log-density in nats.

        For k < K it is the mean over the K // k disjoint blocks of k particles. ``k="FIVO-16"`` is that of a filter.
        """
        if isinstance(k, str):
            if k not in self.filtered:
                raise ValueError(f"no filter {k!r} was asked for (there are: {sorted(self.filtered) or 'none'}): "
                                 "evaluate with filters=[rv.FIVO(16)], say.")
            return self.filtered[k]
        total = self.num_particles
        k = total if k is None else k
        check_count("k", k)
        if k > total:
            raise ValueError(
                f"a bound with {k} particles can't be had from {total}: choose 1 <= k <= {total}, or "
                "evaluate with a larger num_particles."
            )
        blocks = self.log_weights[:, : total // k * k].reshape(len(self.lengths), -1, k)
        result: Array = log_mean_exp(blocks).mean(-1)
        return result

    def bound(self, k: int | str) -> float:
        """Minus IWAE-k (or a filter's bound, by its name), pooled; ``bound(1)`` is ``elbo``."""
        return float(-self.sequence_bounds(k).sum() / self.num_frames)

    # -------------------------------------------------------------------------------- the same in other units
    @property
    def mean_over_sequences(self) -> dict[str, float]:
        """``1/N sum_n`` of each sequence's own cost in nats per frame, so that a short one counts as much as a long.

        Under the names of ``bounds``, which are pooled: the sum over all sequences, divided by the frames of all.
        """
        return {name: float(-(self.sequence_bounds(k) / self.lengths).mean()) for name, k in self.printed.items()}

    @property
    def bits_per_dim(self) -> dict[str, float]:
        r"""The bounds, under their printed names, in bits per element of x that is scored (base-2 logarithm).

        Of real data it depends on their units, and a density above 1 costs fewer than 0 bits. Empty if ``elements``
        isn't known, or more than x is observed: no part of IWAE, a bound on :math:`\log p(x, y)`, is that of x.
        """
        if self.elements is None or not self.elements.sum() or self.likelihoods.keys() - {"x"}:
            return {}
        scale = self.num_frames / (self.elements.sum() * math.log(2))
        return {name: float(cost * scale) for name, cost in self.bounds.items()}

    # -------------------------------------------------------------------------------- errors
    def interval(self, k: int | str | None = None, *, level: float = 0.95, num: int = 1000, seed: int = 0
                 ) -> tuple[float, float]:
        """A bootstrap interval ``(low, high)`` for ``bound(k)``: how much other sequences would change it.

        Sequences are drawn with replacement, ``num`` times; each time it is the ratio of their summed cost and their
        frames; the ends are the percentiles. Particles are not drawn anew: ``errors`` has their share. With one
        sequence there is nothing to draw from, and the interval is NaN.

        Source: Efron & Tibshirani (1993), "An introduction to the bootstrap", section 13.3.

        Arguments:
            k: particles of the bound (default: all), or the name of a filter.
            level: probability of the interval, above 0 and below 1.
            num: samples of the bootstrap.
            seed: of these samples; torch's and NumPy's random states are left alone.

        Raises:
            ValueError: k or ``num`` is no integer from 1 (to K), or ``level`` not between 0 and 1.
        """
        check_count("num", num)
        if not 0 < level < 1:
            raise ValueError(f"level must lie between 0 and 1 (0.95 for 95%), got {level!r}.")
        return bootstrap(-self.sequence_bounds(k), self.lengths, level, num, seed)

    @property
    def errors(self) -> dict[str, float]:
        """Monte Carlo standard errors of ``elbo`` and ``iwae``; NaN with one particle.

        They don't tell how much another choice of test sequences would change the figures: ``interval`` does.
        That of IWAE is by the delta method: that of the mean weight over the mean weight.
        """
        k, log_w = self.num_particles, self.log_weights
        if k == 1:
            return {"elbo": math.nan, "iwae": math.nan}
        scaled = np.exp(log_w - log_mean_exp(log_w)[:, None])  # mean 1
        variances = {"elbo": log_w.var(-1, ddof=1), "iwae": scaled.var(-1, ddof=1)}
        return {name: float(np.sqrt(v.sum() / k) / self.num_frames) for name, v in variances.items()}

    @property
    def effective_particles(self) -> Array:
        """``(N,)``: effective sample size of the weights, ``(sum w)^2 / sum w^2``, from 1 to K."""
        scaled = np.exp(self.log_weights - self.log_weights.max(-1, keepdims=True))
        result: Array = scaled.sum(-1) ** 2 / (scaled**2).sum(-1)
        return result

    @property
    def pareto_k(self) -> Array:
        """``(N,)``: Pareto's k of each sequence's weights, above about 0.7 a warning (:func:`pareto_k`)."""
        return pareto_k(self.log_weights)

    # -------------------------------------------------------------------------------- output
    def to_dict(self) -> dict[str, float]:
        """The figures by name, as JSON takes them: the number of particles is in the names of the bounds.

        The series by step is apart: ``by_step.to_dict()``.
        """
        k = self.num_particles
        filters = {name: name.lower().replace("-", "_").replace(" ", "_") for name in self.filtered}
        names = [f"elbo_{k}", f"iwae_{k}", *filters.values()]
        figures: dict[str, float] = {
            names[0]: self.elbo,
            names[1]: self.iwae,
            f"reconstruction_{k}": self.reconstruction,
            f"kl_{k}": self.kl,
            "is_bound": float(not self.point),
            "num_particles": k,
            "num_sequences": len(self.lengths),
            "num_frames": self.num_frames,
        }
        figures |= {key: self.bound(name) for name, key in filters.items()}
        others = {"mean_over_sequences": self.mean_over_sequences, "bits_per_dim": self.bits_per_dim}
        for what, found in others.items():
            figures |= {f"{n}_{what}": v for n, v in zip(names, found.values(), strict=False)}
        for name, used in zip(names, self.printed.values(), strict=False):
            low, high = self.interval(used)
            figures |= {} if math.isnan(low) else {f"{name}_low_95": low, f"{name}_high_95": high}
        figures |= {f"{name}_floor": cost for name, cost in self.floors.items()}
        if not self.includes:  # floors are of x alone
            figures |= {f"elbo_{k}_below_{name}": cost - self.elbo for name, cost in self.floors.items()}
        figures |= {f"reconstruction_of_{name}_{k}": float(cost.sum() / self.num_frames)
                    for name, cost in self.likelihoods.items() if self.includes}
        return figures | ({"shared_kl": self.shared_kl} if self.shared_kl else {})

    def __repr__(self) -> str:
        return bounds_table(self)
