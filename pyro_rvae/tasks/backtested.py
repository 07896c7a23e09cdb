"""What a backtest found: errors by element, and what is made of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from ..criticism.scores import check_levels
from ..criticism.scoring import ElementScores, clustered
from ..criticism.tables import count, plain, table
from .naive import GaussianForecast

__all__ = ["Backtest", "ForecastErrors", "Skill"]

Array = NDArray[Any]
METRICS = {"crps": "CRPS", "mase": "MASE", "rmse": "RMSE", "coverage": "coverage"}
MANY = 10  # sequences, from which on they are the clusters of a standard error


@dataclass(frozen=True, eq=False)
class ForecastErrors:
    """Of one method, by window, step of the horizon and feature, ``(W, H, D)`` each; NaN where nothing is scored.

    Attributes:
        crps: in raw units.
        absolute_error: of the median, raw units.
        squared_error: of the mean, raw units.
        pit: where x stands in the forecast law, in [0, 1].
    """

    crps: Array
    absolute_error: Array
    squared_error: Array
    pit: Array

    @classmethod
    def of_draws(cls, scores: ElementScores, shape: tuple[int, ...]) -> Self:
        """From the scores of draws, whose rows are the frames of all windows one after the other."""
        found = (scores.crps, scores.absolute_error, scores.squared_error, scores.pit)
        return cls(*(np.asarray(part).reshape(shape) for part in found))

    @classmethod
    def of_laws(cls, laws: list[GaussianForecast], x: Array) -> Self:
        """From a normal law of each of the W windows, and what came ``(W, H, D)``."""
        law = GaussianForecast(np.stack([each.mean for each in laws]), np.stack([each.scale for each in laws]))
        return cls(law.crps(x), np.abs(x - law.mean), (x - law.mean) ** 2, law.pit(x))

    @classmethod
    def joined(cls, parts: list[Self], order: Array) -> Self:
        """Windows of all parts, in another order."""
        return cls(*(np.concatenate([getattr(p, f.name) for p in parts])[order] for f in fields(cls)))


class Skill(NamedTuple):
    """``1 - score / score of the best naive forecast``, its standard error, and which that is."""

    value: float
    error: float
    against: str


@dataclass(frozen=True, repr=False, eq=False)
class Backtest:
    """Errors of a model's forecasts and of naive ones from W origins, over H steps and D features.

    Attributes:
        errors: by method, the model's first: :class:`ForecastErrors`, in raw units.
        x: ``(W, H, D)``, what came, NaN where it isn't scored.
        numbers, origins: ``(W,)``: the series, and the first frame that is forecast.
        in_sample: ``(W, D)``, what MASE divides by.
        units: ``(D,)``, the scale of the data's transform, by which CRPS and RMSE over several features are divided;
            None where the data have none.
        levels: of the intervals.
        num_draws, seasonality, context: as they were asked for.
        in_sample_of: in words.
        features: names of the D features.
        ids: of the series, or None.
    """

    errors: dict[str, ForecastErrors]
    x: Array
    numbers: NDArray[np.int64]
    origins: NDArray[np.int64]
    in_sample: Array
    units: Array | None
    levels: Array
    num_draws: int
    seasonality: int
    in_sample_of: str
    context: int | None
    features: tuple[str, ...]
    ids: tuple[str, ...] | None = None

    @property
    def methods(self) -> tuple[str, ...]:
        """The model, then the naive forecasts."""
        return tuple(self.errors)

    @property
    def name(self) -> str:
        """The model's."""
        return self.methods[0]

    # -------------------------------------------------------------------------------- figures
    def figure(self, metric: str, method: str | None = None, *, level: float = 0.8) -> tuple[float, float]:
        """A metric over all elements that are scored, and its standard error.

        CRPS and RMSE over several features are in units of ``units``, where there are any; else raw.
        The standard error takes series for independent where there are ten or more, else windows; one that overlaps
        another is not, so with a stride below the horizon it is too small.

        Arguments:
            metric: ``"crps", "mase", "rmse"`` or ``"coverage"``.
            method: one of :attr:`methods` (default: the model).
            level: of the interval, for the coverage.
        """
        value, error = clustered(*self._by_cluster(self._values(metric, method, level, self._unit)))
        if metric == "rmse":
            return math.sqrt(value), error / (2 * math.sqrt(value)) if value else 0.0
        return value, error

    def by_step(self, metric: str, method: str | None = None, *, level: float = 0.8) -> Array:
        """:meth:`figure` at each step of the horizon, ``(H,)``."""
        return self._means(metric, self._values(metric, method, level, self._unit), (0, 2))

    def by_feature(self, metric: str, method: str | None = None, *, level: float = 0.8) -> Array:
        """A metric of each feature, ``(D,)``, in raw units."""
        return self._means(metric, self._values(metric, method, level, 1.0), (0, 1))

    def by_window(self, metric: str, method: str | None = None, *, level: float = 0.8) -> Array:
        """:meth:`figure` at each origin, ``(W,)``."""
        return self._means(metric, self._values(metric, method, level, self._unit), (1, 2))

    def skill(self, metric: str = "crps") -> Skill:
        """``1 - model / best naive forecast``: 1 is perfect, 0 no better."""
        if metric not in ("crps", "mase", "rmse"):
            raise ValueError(f"skill: metric must be crps, mase or rmse, got {metric!r}: a coverage has no best.")
        best = min(self.methods[1:], key=lambda method: self.figure(metric, method)[0])
        sums = (self._by_cluster(self._values(metric, method, 0.8, self._unit))[0] for method in (self.name, best))
        ratio, error = clustered(*sums)
        if metric == "rmse":  # what was added up are squares
            ratio, error = math.sqrt(ratio), error / (2 * math.sqrt(ratio)) if ratio else 0.0
        return Skill(1 - ratio, error, best)

    @property
    def _unit(self) -> Array | float:
        return 1.0 if self.units is None else self.units

    @cached_property
    def _clusters(self) -> Array:
        """``(W,)``: what is taken for independent."""
        several = len(np.unique(self.numbers)) >= MANY
        return self.numbers if several else np.arange(len(self.numbers))

    def _by_cluster(self, values: Array) -> tuple[Array, Array]:
        flat = values.reshape(len(values), -1)
        _, at = np.unique(self._clusters, return_inverse=True)
        return (np.bincount(at, np.nansum(flat, 1)), np.bincount(at, (~np.isnan(flat)).sum(1)))

    def _values(self, metric: str, method: str | None, level: float, unit: Array | float) -> Array:
        """``(W, H, D)``; of RMSE the squares."""
        method = self.name if method is None else method
        if method not in self.errors or metric not in METRICS:
            raise ValueError(f"metric must be one of {', '.join(METRICS)} and method one of {', '.join(self.methods)}; "
                             f"got {metric!r} and {method!r}.")
        errors = self.errors[method]
        if metric == "coverage":
            check_levels([level])
            return np.where(np.isnan(errors.pit), np.nan, np.abs(errors.pit - 0.5) < 0.5 * level)
        if metric == "mase":
            known = np.where(self.in_sample > 0, self.in_sample, np.nan)
            return np.asarray(errors.absolute_error / known[:, None])
        return np.asarray(errors.crps / unit if metric == "crps" else errors.squared_error / np.square(unit))

    @staticmethod
    def _means(metric: str, values: Array, over: tuple[int, ...]) -> Array:
        seen = (~np.isnan(values)).sum(over)
        found = np.where(seen > 0, np.nansum(values, over) / np.maximum(1, seen), np.nan)
        return np.sqrt(found) if metric == "rmse" else found

    # -------------------------------------------------------------------------------- reports
    @property
    def without_mase(self) -> tuple[str, ...]:
        """Features that never change in sample at some origin, and so have no MASE there."""
        known = np.asarray((self.in_sample > 0).all(0)).tolist()
        return tuple(name for name, good in zip(self.features, known, strict=True) if not good)

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it: the figures of each method, and by step of the horizon (None for what can't be had)."""
        skills = {metric: dict(zip(("value", "error", "against"), self.skill(metric), strict=True))
                  for metric in ("crps", "mase", "rmse")}
        found = {"model": self.name, "horizon": self.x.shape[1], "windows": len(self.x), "context": self.context,
                 "num_draws": self.num_draws, "seasonality": self.seasonality, "in_sample_of": self.in_sample_of,
                 "standardised": self.units is not None, "features": list(self.features),
                 "without_mase": list(self.without_mase), "skill": skills,
                 "methods": {method: self._figures(method) for method in self.methods}}
        return plain(found)  # type: ignore[no-any-return]

    def _figures(self, method: str) -> dict[str, Any]:
        asked = {metric: (metric, 0.8) for metric in ("crps", "mase", "rmse")} \
            | {f"coverage_{100 * level:g}": ("coverage", float(level)) for level in self.levels}
        found: dict[str, Any] = {}
        for label, (metric, level) in asked.items():
            found[label], found[f"{label}_error"] = self.figure(metric, method, level=level)
            found[f"{label}_by_step"] = self.by_step(metric, method, level=level).tolist()
            found[f"{label}_by_feature"] = self.by_feature(metric, method, level=level).tolist()
        return found

    def __repr__(self) -> str:
        windows, horizon, width = self.x.shape
        series, seen = len(np.unique(self.numbers)), int((~np.isnan(self.x)).sum())
        units = "raw units" if self.units is None else "units of the data's transform (its scale is 1)"
        past = "all frames" if self.context is None else f"at most {count(self.context, 'frame')}"
        head = (f"{self.name}: forecasts of {count(horizon, 'frame')} from {count(windows, 'origin')} of "
                f"{'one series' if series == 1 else f'{series} series'}, {past} before each seen; {self.num_draws} "
                f"draws. {seen:,} elements of {count(width, 'feature')}, CRPS and RMSE in {units}; lower is better; +- "
                "one standard error.\n")
        rows = [("", "CRPS", "MASE", "RMSE", *(f"in {100 * level:g}%" for level in self.levels))]
        rows += [(method, *self._cells(method)) for method in self.methods]
        return head + table(rows) + "\n" + self._words()

    def _cells(self, method: str) -> tuple[str, ...]:
        (crps, crps_error), (mase, mase_error), (rmse, _) = (self.figure(m, method) for m in ("crps", "mase", "rmse"))
        inside = (f"{self.figure('coverage', method, level=float(level))[0]:.3f}" for level in self.levels)
        scaled = f"{mase:.3f}" + _error(mase_error, 3) if math.isfinite(mase) else "-"
        return (f"{crps:.4f}" + _error(crps_error, 4), scaled, f"{rmse:.4f}", *inside)

    def _beside(self, skill: Skill) -> str:
        """The model beside the best naive forecast; a share of nothing can't be had."""
        if not math.isfinite(skill.value):
            beside = "and no more is the model." if self.figure("crps")[0] == 0 else "so there is no skill beside it."
            return f"The best naive forecast ({skill.against}) is never wrong here, {beside}"
        error = f"{_error(100 * skill.error, 1)}%" if math.isfinite(skill.error) else ""
        side = "below" if skill.value >= 0 else "above"
        return f"CRPS is {100 * abs(skill.value):.1f}%{error} {side} that of the best naive forecast ({skill.against})."

    def _words(self) -> str:
        found = (f"  {self._beside(self.skill())}\n  MASE: seasons of {count(self.seasonality, 'frame')}, in sample: "
                 f"{self.in_sample_of}.")
        if self.without_mase:
            more = ", ..." * (len(self.without_mase) > 5)
            found += f" Without one where they never change in sample: {', '.join(self.without_mase[:5])}{more}."
        return found


def _error(error: float, digits: int) -> str:
    """A standard error, where there is one (a single window has none)."""
    return f" +- {error:.{digits}f}" if math.isfinite(error) else ""
