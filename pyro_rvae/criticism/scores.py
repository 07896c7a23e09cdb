"""What scoring a model's predictive distributions found: proper scores and the coverage of intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .scoring import ElementScores, clustered
from .tables import count, table

__all__ = ["ByStep", "PredictiveScores", "check_levels"]

Array = NDArray[Any]
SCORES = ("crps", "energy", "absolute_error", "squared_error")


class ByStep(NamedTuple):
    """A score at each step, ``(H,)``: its mean, standard error over sequences, and how many elements it is of."""

    value: Array
    error: Array
    elements: Array


@dataclass(frozen=True, repr=False, eq=False)
class PredictiveScores:
    """Scores of a model's draws, in raw units, beside those of a reference that knows the training marginals only.

    Frames of all N sequences stand one after the other in F rows, as in the data set; D elements a frame.

    Attributes:
        scores: of the model, by element (see :class:`~pyro_rvae.criticism.scoring.ElementScores`).
        reference: of the climatology, or None where no training split is known.
        levels: ``(L,)``, of the central intervals; empty for categories.
        x: ``(F, D)``, what was scored, NaN where it was not.
        lengths: ``(N,)``.
        prefix: ``(N,)``, frames of each sequence that the draws were given; they are not scored.
        num_draws: R.
        drawn_by: how: ``"one_step"``, ``"from_prefix"``, ``"free_running"``, ...
        kind: of the data.
        name: the model's name.
        features: names of the elements, if they have any.
        standardised: whether the energy score divides each element by the data transform's scale.
    """

    scores: ElementScores
    reference: ElementScores | None
    levels: Array
    x: Array
    lengths: NDArray[np.int64]
    prefix: NDArray[np.int64]
    num_draws: int
    drawn_by: str
    kind: str
    name: str = "model"
    features: tuple[str, ...] | None = None
    standardised: bool = False

    # -------------------------------------------------------------------------------- means
    def mean(self, score: str = "crps", *, reference: bool = False) -> tuple[float, float]:
        """A score's mean over all that was scored, and its standard error over sequences (frames are dependent).

        Arguments:
            score: ``crps, energy, absolute_error`` or ``squared_error``.
            reference: that of the climatology instead.
        """
        return clustered(*self._by_sequence(self._values(score, reference)))

    def skill(self, score: str = "crps") -> tuple[float, float]:
        r"""``1 - score / score of the climatology`` and its standard error: 1 is perfect, 0 is no better.

        Of the squared error, not of its root.
        The error is that of a ratio of sums over sequences (delta method). NaN without a reference.
        """
        if self.reference is None:
            return math.nan, math.nan
        ratio, error = clustered(*(self._by_sequence(self._values(score, r))[0] for r in (False, True)))
        return 1 - ratio, error

    def by_feature(self, score: str = "crps", *, reference: bool = False) -> Array:
        """A score's mean for each element, ``(D,)``; NaN for one that was never seen."""
        values = self._values(score, reference)
        if values.ndim == 1:
            raise ValueError(f"{score} is one number a frame, so it has no values by feature: choose crps, "
                             "absolute_error or squared_error.")
        return _mean(values)

    def by_step(self, score: str = "crps", *, reference: bool = False) -> ByStep:
        """A score at each step 1, 2, ... (behind the prefix: the horizon), ``(H,)`` each."""
        values = self._values(score, reference).reshape(len(self.step), -1)
        sums, counts = np.nansum(values, 1), (~np.isnan(values)).sum(1)
        at = [self.step == h for h in range(1, int(self.step.max()) + 1)]
        # a sequence has at most one frame at a step: frames are the clusters
        found = [clustered(sums[here], counts[here]) for here in at]
        value, error = np.array(found).T
        return ByStep(value, error, np.array([counts[here].sum() for here in at]))

    # -------------------------------------------------------------------------------- intervals
    def coverage(self, level: float) -> tuple[float, float]:
        r"""Share of elements in the central interval of any level, and its standard error over sequences.

        An element is in where its randomised rank among the draws is, ``|pit - 1/2| < level / 2``: an interval whose
        ends are order statistics chosen at random, so that draws of the right law cover with exactly the nominal
        probability, however few they are and for discrete data too (where no fixed interval can:
        :meth:`closed_coverage`).
        """
        check_levels([level])
        if self.scores.pit is None:
            raise ValueError("categories have no order, so they have no intervals: see the Brier score (crps).")
        inside = np.where(np.isnan(self.scores.pit), np.nan, np.abs(self.scores.pit - 0.5) < 0.5 * level)
        return clustered(*self._by_sequence(inside))

    @cached_property
    def coverages(self) -> Array:
        """``(L, 2)``: :meth:`coverage` at each of ``levels`` and its standard error."""
        return np.array([self.coverage(float(level)) for level in self.levels]).reshape(-1, 2)

    @property
    def binomial_errors(self) -> Array:
        """``(L,)``: standard error of the coverage if all elements were independent, which they are not."""
        return np.sqrt(self.levels * (1 - self.levels) / max(1, (~np.isnan(self.x)).sum()))

    @cached_property
    def closed_coverages(self) -> Array:
        """``(L,)``: coverage of the plain intervals ``lower <= x <= upper``; discrete data overcover."""
        lower, upper = self.scores.lower, self.scores.upper
        if lower is None or upper is None:
            return np.empty(0)
        inside = (lower <= self.x) & (self.x <= upper)
        return np.asarray(inside[:, ~np.isnan(self.x)].mean(1))

    def widths(self, *, reference: bool = False) -> Array:
        """``(L, D)``: mean width of the intervals of each element."""
        of = self._of(reference)
        if of.lower is None or of.upper is None:
            return np.empty((0, self.x.shape[1]))
        return np.stack([_mean(width) for width in of.upper - of.lower])

    # -------------------------------------------------------------------------------- rows
    @cached_property
    def step(self) -> NDArray[np.int64]:
        """``(F,)``: a frame's number in its sequence, behind the prefix; 1 is the first that was scored."""
        return np.concatenate([np.arange(1, n + 1) - p for n, p in zip(self.lengths, self.prefix, strict=True)])

    def _by_sequence(self, values: Array) -> tuple[Array, Array]:
        """Sum of a score over each sequence, and how many it is of, ``(N,)``."""
        starts = np.cumsum(self.lengths) - self.lengths
        flat = values.reshape(len(values), -1)
        return (np.add.reduceat(np.nansum(flat, 1), starts), np.add.reduceat((~np.isnan(flat)).sum(1), starts))

    def _of(self, reference: bool) -> ElementScores:
        if reference and self.reference is None:
            raise ValueError("there is no reference: pass train=, the split that the model was trained on.")
        return self.reference if reference and self.reference is not None else self.scores

    def _values(self, score: str, reference: bool) -> Array:
        values = getattr(self._of(reference), score) if score in SCORES else None
        if values is None:
            have = [s for s in SCORES if getattr(self.scores, s) is not None]
            raise ValueError(f"score must be one of {', '.join(have)}, got {score!r}.")
        return np.asarray(values)

    # -------------------------------------------------------------------------------- reports
    @property
    def labels(self) -> dict[str, str]:
        """What the scores are called in print, with the number of draws."""
        draws = f"({self.num_draws} draws)"
        energy = "energy score, standardised units" if self.standardised else "energy score"
        if self.kind == "categories":
            return {"crps": f"Brier score {draws}", "energy": f"{energy} {draws}",
                    "absolute_error": f"error rate of the commonest class {draws}"}
        return {"crps": f"{'CRPS = Brier score' if self.kind == 'binary' else 'CRPS'} {draws}",
                "energy": f"{energy} {draws}", "absolute_error": f"MAE of the median {draws}",
                "squared_error": f"RMSE of the mean {draws}"}

    def figure(self, score: str, *, reference: bool = False) -> tuple[float, float]:
        """:meth:`mean`, but the root of the squared error."""
        value, error = self.mean(score, reference=reference)
        return (math.sqrt(value), error / (2 * math.sqrt(value)) if value else 0.0) if score == "squared_error" \
            else (value, error)

    def to_dict(self) -> dict[str, Any]:
        """The figures by name, as JSON takes them (None for what can't be had)."""
        names = {"crps": "crps", "energy": "energy", "absolute_error": "mae", "squared_error": "rmse"}
        found: dict[str, Any] = {"num_draws": self.num_draws, "drawn_by": self.drawn_by,
                                 "prefix": int(self.prefix.max()), "num_sequences": len(self.lengths),
                                 "num_elements": int((~np.isnan(self.x)).sum())}
        for score_ in self.labels:
            name = names[score_]
            found[name], found[f"{name}_error"] = self.figure(score_)
            if self.reference is not None:
                found[f"{name}_climatology"] = self.figure(score_, reference=True)[0]
                found[f"{name}_skill"], found[f"{name}_skill_error"] = self.skill(score_)
        for i, level in enumerate(self.levels):
            label = f"coverage_{100 * level:g}"
            found[label], found[f"{label}_error"] = self.coverages[i].tolist()
            found[f"closed_{label}"] = float(self.closed_coverages[i])
            found[f"width_{100 * level:g}"] = float(np.nanmean(self.widths()[i]))
        return {name: None if isinstance(value, float) and not math.isfinite(value) else value
                for name, value in found.items()}

    def __repr__(self) -> str:
        given = int(self.prefix.max())
        behind = f" behind {count(given, 'given frame')}" * bool(given)
        unit, number = "item" if (self.lengths == 1).all() else "sequence", len(self.lengths)
        how = self.drawn_by.replace("_", "-")
        head = (f"{self.name}: {self.num_draws} {how} draws of {count(number, unit, f'{number:,}')}{behind}. Raw "
                f"units; lower is better; +- one standard error over {unit}s.\n")
        rows = [("", self.name, *(("climatology", "skill") if self.reference else ()))]
        for score_, label in self.labels.items():
            beside = (_pm(*self.figure(score_, reference=True)), _pm(*self.skill(score_))) if self.reference else ()
            rows.append((label, _pm(*self.figure(score_)), *beside))
        return head + table(rows) + ("\n" + self._intervals() if len(self.levels) else "")

    def _intervals(self) -> str:
        discrete = self.kind in ("binary", "counts")
        rows = [("central interval", "covers", *(("closed interval covers",) if discrete else ()), "mean width")]
        for i, level in enumerate(self.levels):
            closed = (f"{self.closed_coverages[i]:.3f}",) if discrete else ()
            rows.append((f"{100 * level:g}% ({self.num_draws} draws)", _pm(*self.coverages[i]), *closed,
                         f"{np.nanmean(self.widths()[i]):.4g}"))
        note = "\n  (discrete data: no closed interval has the nominal coverage; ties are broken at random)" * discrete
        return table(rows) + note


def _mean(values: Array) -> Array:
    """Mean over rows without NaN; NaN where there is nothing."""
    count = (~np.isnan(values)).sum(0)
    return np.where(count > 0, np.nansum(values, 0) / np.maximum(1, count), np.nan)


def _pm(value: float, error: float) -> str:
    return f"{value:.4f}" + (f" +- {error:.4f}" if math.isfinite(error) else "")


def check_levels(levels: Sequence[float]) -> tuple[float, ...]:
    """Levels of intervals in their order; refuse what is none."""
    chosen = tuple(sorted(float(level) for level in levels))
    if not chosen or not all(0 < level < 1 for level in chosen):
        raise ValueError(f"levels must be probabilities between 0 and 1, such as (0.5, 0.8, 0.95); got {levels!r}.")
    return chosen
