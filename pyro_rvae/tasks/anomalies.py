"""Anomaly scores of a data set: thresholds, flags, and the stretches that stand out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..criticism.tables import count, plain, table

__all__ = ["Anomaly", "Scores"]

Array = NDArray[np.float64]
SHOWN = 10  # sequences of a printed table
BY = ("step", "sequence", "frame", "peak")
WAYS = {"filter": "-log p(x_t | past), particle filter", "prefix": "-log p(x_t | past), importance-weighted prefixes",
        "bootstrap": "-log p(x_t | past), particle filter without the guide",
        "whole": "-log p(x), importance-weighted", "exact": "-log p(x_t | past), exact",
        "reconstruction": "-log p(x_t | z), z drawn from the guide"}


@dataclass(frozen=True)
class Anomaly:
    """A run of steps that were flagged: ``start <= t < stop`` (counted from 0), the highest score and where it is."""

    sequence: int
    start: int
    stop: int
    peak: float
    at: int
    id: str | None = None

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, repr=False, eq=False, kw_only=True)
class Scores:
    """What :func:`score` found, of N sequences of at most T frames of D features. The higher, the more surprising.

    Nats, of the data in the units that the model reads, as in :attr:`Streamed.log_density` and
    :func:`~pyro_rvae.evaluate`. What is wholly missing is left out of thresholds, flags and averages.

    Attributes:
        by_step: ``(N, T)``; NaN in the padding, and where a frame is wholly missing. None where there are no scores by
            step (``method="whole"``). Of static data ``(N, 1)``.
        by_sequence: ``(N,)``, of the whole sequence: the sum of ``by_step``; 0 where nothing was observed. Long
            sequences have more of them: see ``per_frame``.
        lengths: ``(N,)``.
        method: ``"filter"``, ``"bootstrap"``, ``"prefix"``, ``"whole"``, ``"reconstruction"`` or ``"exact"``.
        num_particles: K, 0 if it is exact.
        observed: ``(N, T, D)``, the sequences in raw units; NaN where missing and in the padding.
        expected: ``(N, T, D)``, what the model expected there, a mean in raw units (of binary data a probability; of
            codes the commonest), or None.
        spread: ``(N, T, D)``, its standard deviation (of codes the share of draws that had the commonest), or None.
        expected_by: ``"forecast"`` (from the frames before) or ``"reconstruction"`` (from all), or None.
        names, ids, times: of features, sequences and frames ``(N, T)``, if the data have them.
        name, kind, unit: of the model; of the data; ``"frame"`` or ``"item"``.
    """

    by_step: Array | None
    by_sequence: Array
    lengths: NDArray[np.int64]
    method: str
    num_particles: int
    observed: Array
    expected: Array | None = None
    spread: Array | None = None
    expected_by: str | None = None
    names: tuple[str, ...] | None = None
    ids: tuple[str, ...] | None = None
    times: Array | None = None
    name: str = "model"
    kind: str = "real"
    unit: str = "frame"

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def frames(self) -> NDArray[np.int64]:
        """``(N,)``: frames that are not wholly missing."""
        return np.asarray(self._seen("step").sum(1))

    @property
    def per_frame(self) -> Array:
        """``(N,)``: ``by_sequence`` divided by the frames that are not wholly missing; NaN where all are."""
        return self.by_sequence / np.where(self.frames, self.frames, np.nan)

    @property
    def peak(self) -> Array:
        """``(N,)``: the highest score of a step; NaN where nothing was observed."""
        steps = np.where(self._seen("step"), self._steps("peak"), -np.inf)
        return np.where(self._seen("peak"), steps.max(1), np.nan)

    @property
    def residual(self) -> Array:
        """``(N, T, D)``: (observed - expected) / spread, which feature was the surprise; NaN where nothing was seen."""
        if self.expected is None or self.spread is None or self.kind == "categories":
            raise ValueError("residual needs numbers and what was expected in their place: score(..., "
                             f"expected='forecast') of data that are no codes; got kind={self.kind!r}, expected "
                             f"{'nothing' if self.expected is None else self.expected_by}.")
        return np.asarray((self.observed - self.expected) / np.maximum(self.spread, np.finfo(float).tiny ** 0.25))

    def by(self, what: str) -> Array:
        """Scores by ``"step"`` ``(N, T)``, ``"sequence"``, ``"frame"`` (per frame) or ``"peak"``, each ``(N,)``."""
        if what not in BY:
            raise ValueError(f"by must be one of {', '.join(BY)}, got {what!r}.")
        return self._steps(what) if what == "step" else \
            {"sequence": lambda: self.by_sequence, "frame": lambda: self.per_frame, "peak": lambda: self.peak}[what]()

    # -------------------------------------------------------------------------------------- thresholds
    def threshold(self, quantile: float = 0.99, by: str = "step") -> float:
        r"""The score that a new normal one exceeds with probability of at most ``1 - quantile``.

        Of n scores of normal data that the model was not trained on it is the k-th smallest,

        .. math:: k = \lceil (n + 1)\, \text{quantile} \rceil,

        a quantile with the correction for finite n of split conformal prediction: where a new score is exchangeable
        with these, :math:`P(s_{new} > \text{threshold}) \le 1 - \text{quantile}`, whatever the model and the law of
        the data, on average over validation sets. Sequences may well be exchangeable. The steps of one sequence depend
        on each other, so for ``by="step"`` it is a rule of thumb; ``by="peak"`` is the threshold on steps which a
        normal *sequence* crosses anywhere with probability of at most ``1 - quantile``.

        Steps that are wholly missing are left out, and by sequence those of which nothing was observed.

        Arguments:
            quantile: between 0 and 1.
            by: ``"step"``, ``"sequence"``, ``"frame"`` (per frame: for ragged sequences) or ``"peak"``.

        Raises:
            ValueError: a quantile out of range, NaN among the scores, or fewer than ``quantile / (1 - quantile)``
                scores: then no finite threshold has that guarantee.

        Source: Vovk, Gammerman & Shafer (2005), "Algorithmic learning in a random world"; Angelopoulos & Bates (2021),
        arXiv:2107.07511, section 1.
        """
        if isinstance(quantile, bool) or not isinstance(quantile, Real) or not 0 < quantile < 1:
            raise ValueError(f"threshold: quantile must be between 0 and 1, such as 0.99; got {quantile!r}.")
        found, quantile = np.sort(self.by(by)[self._seen(by)]), float(quantile)
        if np.isnan(found).any():
            raise ValueError(f"threshold: {int(np.isnan(found).sum())} of the scores are NaN: look for NaN in the "
                             "model's parameters.")
        k = math.ceil((len(found) + 1) * quantile - 1e-9)  # 100 * 0.99 is 99.00000000000001 in some orders
        if k > len(found):
            need = math.ceil(quantile / (1 - quantile) - 1e-9)
            raise ValueError(f"threshold: a quantile of {quantile} needs at least {need} scores by {by}, got "
                             f"{len(found)}: score more validation data, or ask for a lower quantile.")
        return float(found[k - 1])

    def flags(self, threshold: float, by: str = "step") -> NDArray[np.bool_]:
        """True where a score is above ``threshold``: ``(N, T)`` by step (False in the padding), else ``(N,)``.

        What is wholly missing is never flagged.
        """
        with np.errstate(invalid="ignore"):
            return np.asarray((self.by(by) > _number(threshold)) & self._seen(by))

    def anomalies(self, threshold: float) -> list[Anomaly]:
        """Runs of steps above ``threshold``, the highest peak first."""
        flags, steps = self.flags(threshold), self._steps("step")
        found = []
        for n, row in enumerate(flags):
            edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
            for start, stop in edges.reshape(-1, 2).tolist():
                at, name = start + int(steps[n, start:stop].argmax()), None if self.ids is None else self.ids[n]
                found.append(Anomaly(n, start, stop, float(steps[n, at]), at, name))
        return sorted(found, key=lambda one: -one.peak)

    # -------------------------------------------------------------------------------------- leaving
    def rows(self, threshold: float | None = None) -> Iterator[dict[str, Any]]:
        """A dictionary for each frame, as a CSV or a data frame takes them: scores, what was seen and expected.

        The score of a frame that is wholly missing is NaN. With ``threshold`` each says whether it is flagged (whether
        its sequence is, where there are no scores by step).
        """
        by = "sequence" if self.by_step is None else "step"
        flags = None if threshold is None else self.flags(threshold, by)
        names = self.names or tuple(f"x{d}" for d in range(self.observed.shape[-1]))
        for n, t in np.argwhere(np.arange(self.observed.shape[1]) < self.lengths[:, None]).tolist():
            row: dict[str, Any] = {"sequence": n if self.ids is None else self.ids[n],
                                   "time": t if self.times is None else float(self.times[n, t])}
            if self.by_step is not None:
                row["score"] = float(self.by_step[n, t])
            row["sequence_score"] = float(self.by_sequence[n])
            if flags is not None:
                row["flag"] = bool(flags[n] if by == "sequence" else flags[n, t])
            row |= {name: float(x) for name, x in zip(names, self.observed[n, t], strict=True)}
            if self.expected is not None:
                row |= {f"{name} expected": float(x) for name, x in zip(names, self.expected[n, t], strict=True)}
            yield row

    def to_dict(self) -> dict[str, Any]:
        """Scores as lists, as strict JSON takes them (None for what is not finite), without padding."""
        steps = None if self.by_step is None else [
            row[:length] for row, length in zip(self.by_step, self.lengths, strict=True)]
        found: dict[str, Any] = plain({
            "model": self.name, "method": self.method, "num_particles": self.num_particles,
            "by_sequence": self.by_sequence, "by_step": steps,
            "lengths": self.lengths, "ids": self.ids, "expected_by": self.expected_by})
        return found

    def __repr__(self) -> str:
        draws = "" if self.method == "exact" else \
            f", {count(self.num_particles, 'draw' if self.method == 'reconstruction' else 'particle')}"
        what = "sequence" if self.unit == "frame" else "item"
        head = (f"{self.name}: anomaly scores of {count(len(self), what)} ({WAYS[self.method]}{draws}). Nats, "
                "in the model's units; higher is stranger.")
        order, gaps = np.argsort(-self.by_sequence, kind="stable"), bool((self.frames < self.lengths).any())
        stepped = self.by_step is not None and self.unit == "frame"
        rows = [[what, "score", *(["frames seen" if gaps else "frames", "per frame"] if self.unit == "frame" else []),
                 *(["highest step", "at"] if stepped else [])]]
        rows += [self._row(int(n), stepped) for n in order[:SHOWN]]
        rest = f"\n  and {len(self) - SHOWN} more" * (len(self) > SHOWN)
        return f"{head}\n{table(rows)}{rest}"

    def _row(self, n: int, stepped: bool) -> list[str]:
        cells = [str(n) if self.ids is None else str(self.ids[n]), f"{self.by_sequence[n]:.3f}"]
        if self.unit == "frame":
            cells += [f"{self.frames[n]}", f"{self.per_frame[n]:.3f}" if self.frames[n] else "-"]
        if stepped:
            steps = np.where(self._seen("step")[n], self._steps("step")[n], -np.inf)
            cells += [f"{steps.max():.3f}", f"{int(steps.argmax())}"] if self.frames[n] else ["-", "-"]
        return cells

    def _seen(self, by: str) -> NDArray[np.bool_]:
        """Where something was observed: ``(N, T)`` by step, else ``(N,)``."""
        steps = np.any(~np.isnan(self.observed), -1)
        return np.asarray(steps if by == "step" else np.any(steps, 1))

    def _steps(self, what: str) -> Array:
        if self.by_step is None:
            raise ValueError(f"{what}: there are no scores by step of method={self.method!r}: use another method, or "
                             "by='sequence'.")
        return self.by_step


def _number(threshold: Any) -> float:
    if isinstance(threshold, bool) or not isinstance(threshold, Real) or math.isnan(threshold):
        raise ValueError(f"threshold must be a number of nats, as scores.threshold(0.99) gives one; got {threshold!r}.")
    return float(threshold)
