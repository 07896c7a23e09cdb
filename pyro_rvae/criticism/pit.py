"""Is the model calibrated? Where the data stand among the model's draws (probability integral transform)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .scoring import randomised_pit
from .tables import count, table

__all__ = ["Pit", "pit_of"]

Array = NDArray[Any]
UNIFORM_SCALE = 1 / math.sqrt(12)


@dataclass(frozen=True, repr=False, eq=False)
class Pit:
    """Randomised ranks of data among draws, in (0, 1): uniform if the draws' law is that of the data.

    Attributes:
        values: ``(N,)``, or ``(N, D)`` of several numbers each; NaN where nothing was observed.
        of: what was ranked.
        unit: what the rows are (``"sequences"``, ``"items"``, ``"frames"``).
        num_draws: R.
        drawn_by: how the draws were made.
        model: its name.
        lengths: frames of each sequence, where the rows are frames.
    """

    values: Array
    of: str
    unit: str
    num_draws: int
    drawn_by: str
    model: str = "model"
    lengths: NDArray[np.int64] | None = None

    @property
    def by_column(self) -> tuple[Array, Array]:
        """Kolmogorov-Smirnov distance from the uniform law and its p-value, ``(D,)`` each; NaN where all is missing.

        The rows of a column are independent if the model is right, so the test has its nominal size, for discrete
        data too: ties are broken at random, so the ranks are uniform.
        """
        from scipy import stats  # here: its import changes the filters of warnings

        columns = (column[~np.isnan(column)] for column in self.values.reshape(len(self.values), -1).T)
        found = [tuple(stats.kstest(u, "uniform")) if len(u) else (math.nan, math.nan) for u in columns]
        distance, p = np.array(found).T
        return distance, p

    @property
    def uniformity(self) -> tuple[float, float]:
        """Largest Kolmogorov-Smirnov distance of a column, and the p-value of the hypothesis that all are uniform.

        Columns depend on each other (features of a frame), so the p-value is Bonferroni's: the least one times D.
        It may be too large, and is never too small.
        """
        distance, p = self.by_column
        return float(np.nanmax(distance)), float(min(1.0, np.nanmin(p) * (~np.isnan(p)).sum()))

    @property
    def mean(self) -> float:
        """1/2 if uniform; below it the data lie too low among the draws (the model makes too much)."""
        return float(np.nanmean(self.values))

    @property
    def scale(self) -> float:
        """Standard deviation, 0.289 if uniform; more where the draws are too narrow, less where they are too wide."""
        return float(np.nanstd(self.values))

    @property
    def serial(self) -> tuple[float, float]:
        """Correlation of an element's value with that of the frame before, and its standard error.

        0 if each frame's forecast holds all that its past tells; a forecast may be uniform and still not know it.
        NaN where rows are no frames. The error takes frames for independent, as they are if the forecasts are right,
        and features for dependent.
        """
        if self.lengths is None:
            return math.nan, math.nan
        u = (self.values.reshape(len(self.values), -1) - 0.5) / UNIFORM_SCALE
        first = np.zeros(len(u), dtype=bool)
        first[np.cumsum(self.lengths) - self.lengths] = True
        products = (u[1:] * u[:-1])[~first[1:]]
        sums, count = np.nansum(products, 1), int((~np.isnan(products)).sum())
        return (float(sums.sum() / count), float(np.sqrt(np.square(sums).sum()) / count)) if count else (math.nan,) * 2

    def histogram(self, bins: int = 10) -> Array:
        """Shares of the values in equal bins of (0, 1), ``(bins,)``."""
        counts = np.histogram(self.values[~np.isnan(self.values)], bins, (0.0, 1.0))[0]
        return np.asarray(counts / counts.sum())

    def to_dict(self) -> dict[str, Any]:
        """The figures, as JSON takes them."""
        distance, p = self.uniformity
        serial, error = (None if math.isnan(figure) else figure for figure in self.serial)
        return {
            "of": self.of, "drawn_by": self.drawn_by, "num_draws": self.num_draws, "unit": self.unit,
            "num": int((~np.isnan(self.values)).sum()), "ks_distance": distance, "p_value": p,
            "mean": self.mean, "scale": self.scale, "histogram": self.histogram().tolist(), "serial": serial,
            "serial_error": error,
        }  # fmt: skip

    def __repr__(self) -> str:
        (distance, p), number = self.uniformity, len(self.values)
        shares, columns = self.histogram(), self.values.reshape(len(self.values), -1).shape[1]
        edges = np.linspace(0, 1, len(shares) + 1)
        ends = [f"{low:.1f}-{high:.1f}" for low, high in zip(edges[:-1], edges[1:], strict=True)]
        rows: list[tuple[str, ...]] = [("PIT", *ends), ("share", *(f"{share:.3f}" for share in shares))]
        serial = "" if self.lengths is None else \
            "\n  correlation with the frame before {:.3f} +- {:.3f} (0 if the past is used up)".format(*self.serial)
        worst = f" (largest of {columns} columns, p by Bonferroni)" * (columns > 1)
        held = count(number, self.unit.removesuffix("s"), f"{number:,}")
        draws = count(self.num_draws, f"{self.drawn_by.replace('_', '-')} draw")
        return (
            f"{self.model}: where {self.of} of {held} stands among {draws}; uniform if the model is right.\n"
            f"{table(rows)}\n"
            f"  mean {self.mean:.3f} (uniform 0.500), standard deviation {self.scale:.3f} (uniform "
            f"{UNIFORM_SCALE:.3f}; more: draws too narrow)\n"
            f"  Kolmogorov-Smirnov distance {distance:.3f}, p = {p:.3g}{worst}{serial}"
        )


def pit_of(observed: Array, replicated: Array, *, seed: int = 0) -> Array:
    """Randomised ranks of ``observed (N, ...)`` among ``replicated (R, N, ...)``; NaN where the data are."""
    noise = torch.from_numpy(np.random.default_rng([seed, 2]).random(observed.shape))
    draws, x = (torch.from_numpy(np.asarray(a, dtype=np.float64)) for a in (replicated, observed))
    ranks = randomised_pit(draws, x, noise).masked_fill(x.isnan(), torch.nan)
    return np.asarray(ranks.numpy())
