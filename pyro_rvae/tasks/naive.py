"""Forecasts that ask no model: the last value, the last season, the last value and the mean change since the first."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..core.checks import check_count

__all__ = ["GaussianForecast", "drift", "naive", "naive_methods", "seasonal_naive"]

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class GaussianForecast:
    """Independent normal laws of each future element, in the units of the past.

    Attributes:
        mean, scale: ``(H, D)``; NaN where the past says too little (an element never seen, or no change of it).
    """

    mean: Array
    scale: Array

    def crps(self, x: Array) -> Array:
        r"""The continuous ranked probability score of what came, ``(H, D)``.

        .. math:: \sigma \{ u (2 \Phi(u) - 1) + 2 \phi(u) - 1 / \sqrt\pi \}, \qquad u = (x - \mu) / \sigma

        Source: Gneiting & Raftery (2007), "Strictly proper scoring rules, prediction, and estimation", JASA 102,
        eq. 21. With a scale of 0 it is the absolute error.
        """
        u = self._standardised(x)
        density = np.exp(-0.5 * u**2) / math.sqrt(2 * math.pi)
        spread = self.scale * (u * (2 * _cumulative(u) - 1) + 2 * density - 1 / math.sqrt(math.pi))
        return np.asarray(np.where(self.scale > 0, spread, np.abs(x - self.mean) + 0 * self.scale))

    def pit(self, x: Array) -> Array:
        r"""Where x stands in its law, :math:`\Phi(u)`, ``(H, D)``; of a law without spread 1/2 if it was right."""
        sure = np.where(np.isnan(x), np.nan, 0.5 + 0.5 * np.sign(x - self.mean))
        return np.asarray(np.where(self.scale > 0, _cumulative(self._standardised(x)), sure + 0 * self.scale))

    def _standardised(self, x: Array) -> Array:
        return np.asarray((x - self.mean) / np.where(self.scale > 0, self.scale, 1.0))


def naive(past: Any, horizon: int) -> GaussianForecast:
    r"""The last value that was seen, with the deviation :math:`\hat\sigma \sqrt h` of a random walk.

    :math:`\hat\sigma^2` is the mean square of the changes from frame to frame. All three forecasts are of each element
    by itself, and their deviations are those of Hyndman & Athanasopoulos (2021), "Forecasting: principles and
    practice", 3rd ed., sec. 5.5 and table 5.2. What differs: an element that was last seen g frames before the end
    counts h + g steps, and a change is counted where both its frames were seen.

    Arguments:
        past: ``(T, D)``, NaN where an element is missing.
        horizon: H, frames to forecast.

    Raises:
        ValueError: the past is no matrix of numbers with at least one frame, or a horizon (or season) below 1.
    """
    return seasonal_naive(past, horizon, 1)


def seasonal_naive(past: Any, horizon: int, seasonality: int) -> GaussianForecast:
    r"""What was seen a season ago, with the deviation :math:`\hat\sigma \sqrt{k + 1}, k = \lfloor (h - 1) / m \rfloor`.

    :math:`\hat\sigma^2` is the mean square of the changes over a season of m frames. With m = 1 it is :func:`naive`.

    Arguments:
        past, horizon: as for :func:`naive`.
        seasonality: m, frames a season.
    """
    rows, m = _past(past, horizon), seasonality
    check_count("seasonality", m)
    whole = np.pad(rows, ((-len(rows) % m, 0), (0, 0)), constant_values=np.nan).reshape(-1, m, rows.shape[1])
    seen = ~np.isnan(whole)
    age = 1 + seen[::-1].argmax(0)  # (m, D), in seasons: 1 is the last one
    last = np.where(seen.any(0), np.take_along_axis(whole, (len(whole) - age)[None], 0)[0], np.nan)
    ahead = np.arange(horizon)
    seasons = ahead[:, None] // m + age[ahead % m]
    mean, sigma = last[ahead % m], _root_mean_square(rows[m:] - rows[:-m], 0)
    return GaussianForecast(mean, np.where(np.isnan(mean), np.nan, sigma * np.sqrt(seasons)))


def drift(past: Any, horizon: int) -> GaussianForecast:
    r"""The line from the first value that was seen through the last one.

    Its deviation is :math:`\hat\sigma \sqrt{h (1 + h / (T - 1))}`, where :math:`\hat\sigma^2` is the sum of squares of
    the changes about their mean, divided by their number less 1 (the slope is estimated).

    Arguments: as for :func:`naive`.
    """
    rows = _past(past, horizon)
    seen = ~np.isnan(rows)
    first, last = seen.argmax(0), len(rows) - 1 - seen[::-1].argmax(0)
    between = np.where(last > first, last - first, np.nan)  # one value has no slope
    start, end = (np.take_along_axis(rows, at[None], 0)[0] for at in (first, last))
    slope = (end - start) / between
    ahead = np.arange(len(rows), len(rows) + horizon)[:, None] - last
    scale = _root_mean_square(rows[1:] - rows[:-1] - slope, 1) * np.sqrt(ahead * (1 + ahead / between))
    return GaussianForecast(end + slope * ahead, scale)


def naive_methods(seasonality: int) -> dict[str, Callable[[Array, int], GaussianForecast]]:
    """The forecasts that a model is set beside, by name; without a season there are two."""

    def seasonal(past: Array, horizon: int) -> GaussianForecast:
        return seasonal_naive(past, horizon, seasonality)

    return {"naive": naive, **({"seasonal naive": seasonal} if seasonality > 1 else {}), "drift": drift}


def _past(past: Any, horizon: int) -> Array:
    check_count("horizon", horizon)
    try:
        rows = np.asarray(past, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the past must be numbers (T, D), got {type(past).__name__}: {error}.") from None
    if rows.ndim != 2 or not len(rows):
        raise ValueError(f"the past must be (T, D) with at least one frame, got shape {rows.shape}: a single element "
                         "is (T, 1).")
    return rows


def _root_mean_square(changes: Array, parameters: int) -> Array:
    """``(D,)`` of ``(n, D)``, over what isn't NaN; NaN where there is no more than was estimated."""
    free = (~np.isnan(changes)).sum(0) - parameters
    return np.where(free > 0, np.sqrt(np.nansum(changes**2, 0) / np.maximum(1, free)), np.nan)


def _cumulative(u: Array) -> Array:
    return torch.special.ndtr(torch.from_numpy(u)).numpy()
