"""Leave-one-out cross-validation over sequences, each with latents of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._arviz import elpd_data
from .bounds import evaluate
from .evaluation import Evaluation
from .importance import LEAST, SmoothedWeights, psis, unknown
from .tables import count, table

__all__ = ["LeaveOneOut", "loo"]

Array = NDArray[np.float64]


@dataclass(frozen=True, repr=False, eq=False)
class LeaveOneOut:
    """What :func:`loo` found, in nats; higher is better (as ArviZ has it, and unlike the costs of ``evaluate``).

    Attributes:
        pointwise: ``(N,)``, estimate of ``log p(x_n | x_-n)``.
        smoothed: the importance weights it is made of, with their Pareto k.
        errors: ``(N,)``, Monte Carlo standard error of each; not to be trusted where k is bad.
        name: the model's name.
        shared: whether the model draws something once a data set.
    """

    pointwise: Array
    smoothed: SmoothedWeights
    errors: Array
    name: str = "model"
    shared: bool = False

    @property
    def elpd_loo(self) -> float:
        """Sum over the sequences: the expected log predictive density."""
        return float(self.pointwise.sum())

    @property
    def se(self) -> float:
        """Standard error over sequences, sqrt(N var): how much another sample of N of them would change the sum."""
        return float((len(self.pointwise) * np.var(self.pointwise)) ** 0.5)

    @property
    def mcse(self) -> float:
        """Monte Carlo standard error of the sum: how much another seed would change it."""
        return float((self.errors**2).sum() ** 0.5)

    @property
    def num_particles(self) -> int:
        """K."""
        return self.smoothed.num_particles

    @property
    def unit(self) -> str:
        """``"sequence"`` or ``"item"``."""
        return self.smoothed.unit

    @property
    def pareto_k(self) -> Array:
        """``(N,)``, see :func:`~pyro_rvae.criticism.pareto_k`."""
        return self.smoothed.pareto_k

    def to_arviz(self) -> Any:
        """The same as ArviZ's ``ELPDData`` (0.2x) or ``ELPDDataLOO`` (1.x), for its ``compare`` and ``plot_khat``.

        Its ``p_loo`` is 0: no parameter was fitted again without a sequence.

        >>> arviz.compare({"DMM": rv.criticism.loo(dmm, test).to_arviz(), ...})  # doctest: +SKIP
        """
        return elpd_data(self.pointwise, self.pareto_k, self.smoothed.num_particles, self.smoothed.good_k)

    def to_dict(self) -> dict[str, float]:
        """The figures by name, as JSON takes them."""
        k = self.smoothed.num_particles
        figures = {f"elpd_loo_{k}": self.elpd_loo, "se": self.se, "mcse": self.mcse}
        return figures | {n: v for n, v in self.smoothed.to_dict().items() if not n.startswith("log_evidence")}

    def __repr__(self) -> str:
        counts, k = self.smoothed.to_dict(), self.smoothed.num_particles
        bad = int(counts["pareto_k_bad"] + counts["pareto_k_very_bad"])
        unit, number = self.unit, len(self.pointwise)
        rows = [("", "nats", f"SE over {unit}s", "Monte Carlo SE"),
                (f"elpd_loo ({count(k)})", f"{self.elpd_loo:.2f}", f"{self.se:.2f}",
                 "-" if math.isnan(self.mcse) else f"{self.mcse:.2f}")]
        lines = [f"{self.name}: {count(number, unit)}, each left out in turn. Nats in all; higher is better.",
                 table(rows)]
        if bad and k >= LEAST:
            lines.append(f"  of {count(bad, unit)} Pareto's k is above {self.smoothed.good_k:.2f}: more particles, or "
                         "a better guide, are needed")
        if k < LEAST:
            lines.append(f"  {unknown(k)}")
        elif counts["pareto_k_unknown"]:
            lines.append(f"  of {count(int(counts['pareto_k_unknown']), unit)} Pareto's k isn't known")
        if self.shared:
            lines.append("  given what is shared, whose posterior has seen every sequence of the training data")
        return "\n".join(lines)


def loo(
    model: Any,
    data: Any = None,
    *,
    num_particles: int = 1000,
    batch_size: int = 20,
    seed: int = 0,
    max_bytes: int = 2**28,
) -> LeaveOneOut:
    r"""Expected log predictive density of sequences, each left out in turn.

    Each sequence has latents of its own. Leaving sequence n out leaves them to their prior, so with the weights
    :math:`\theta` as they are

    .. math::
        \log p(x_n \mid x_{-n}, \theta) = \log \int p(x_n \mid z)\, p(z)\, dz
        \approx \log \frac1K \sum_i \tilde w_{ni}, \qquad z_{ni} \sim q(z \mid x_n),

    the evidence of :math:`x_n`, with Pareto-smoothed importance weights :math:`\tilde w` of
    :math:`w = p(x_n, z) / q(z \mid x_n)`. Nothing is fitted again: of data that the model was trained on it says how
    well they fit, and only of others how well it predicts.

    ArviZ's own functions compute something else from such draws. Its ``loo`` takes them for draws of the exact
    posterior, and gives the harmonic mean :math:`1 / E_q[1 / p(x_n \mid z)]`: wrong where the guide is wrong, and of
    infinite variance as a rule where it is right. Its ``loo_approximate_posterior`` (1.x) has one weight a draw for
    *all* sequences together; even with one for each sequence it would divide by an estimate of
    :math:`E_q[p(z) / q(z \mid x_n)]`, which is known to be 1.

    What is drawn once a data set (``shared``) is drawn from its learned posterior, a draw a particle, and is treated
    like the weights: it isn't made to forget :math:`x_n`, of which it has seen one part in N.

    Arguments:
        model: a :class:`~pyro_rvae.SequenceVAE`; or an :class:`Evaluation`, whose weights are there already.
        data: a data set; None with an Evaluation.
        num_particles, batch_size, seed, max_bytes: as for :func:`evaluate`.

    Raises:
        TypeError, ValueError: as :func:`evaluate`; an Evaluation *and* data; a guide that draws a point.

    Source: Vehtari, Gelman & Gabry (2017), arXiv:1507.04544, with the smoothing of Vehtari et al. (2024,
    arXiv:1507.02646); on leaving out whole units with their latents integrated out Merkle, Furr & Rabe-Hesketh (2019),
    "Bayesian comparison of latent variable models", arXiv:1802.04452.
    """
    if isinstance(model, Evaluation):
        if data is not None:
            raise ValueError("loo of an Evaluation needs no data: call loo(evaluation), or loo(model, data).")
        found = model
    else:
        found = evaluate(model, data, num_particles=num_particles, batch_size=batch_size, seed=seed,
                         max_bytes=max_bytes)
    if found.point:
        raise ValueError(f"loo needs a guide with a density; that of {found.name} draws a point (a Delta), so its "
                         "weights estimate no evidence: give the model a posterior such as rv.Normal.")
    smoothed = replace(psis(found.log_weights), unit="item" if found.unit == "item" else "sequence")
    return LeaveOneOut(smoothed.log_evidence, smoothed, _errors(smoothed), found.name, found.shared_kl != 0)


def _errors(smoothed: SmoothedWeights) -> Array:
    """By the delta method: that of the mean weight over the mean weight; NaN with one particle."""
    k = smoothed.num_particles
    if k == 1:
        return np.full(len(smoothed.pareto_k), math.nan)
    with np.errstate(invalid="ignore"):  # of a sequence without any weight: NaN
        scaled = np.exp(smoothed.log_weights - smoothed.log_evidence[:, None])
    result: Array = scaled.std(-1, ddof=1) / k**0.5
    return result
