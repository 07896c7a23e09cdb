"""Forecasts made again and again along known series, scored against what came, beside forecasts that ask no model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.checks import check_count, check_seed
from ..criticism.ahead import check_forecaster
from ..criticism.chunks import lengths_of
from ..criticism.replicates import observed_sequences
from ..criticism.scores import check_levels
from ..data import SequenceDataset
from .backtested import Backtest, ForecastErrors
from .inputs import as_data
from .naive import naive_methods
from .rolling import Drawn, Origins, origins

__all__ = ["backtest"]

Array = NDArray[Any]


def backtest(model: Any, series: Any, horizon: int, *, stride: int | None = None, windows: int | None = None,
             context: int | None = None, start: int | None = None, num: int = 100, seasonality: int = 1,
             levels: Sequence[float] = (0.5, 0.8, 0.95), train: Any = None, seed: int = 0, batch_size: int = 20,
             max_bytes: int = 2**28) -> Backtest:
    r"""Rolling origin: :func:`forecast` from many points of known series, scored against what came.

    At each origin the model and the naive forecasts see the ``context`` frames before it and nothing after, but for the
    controls, which are known ahead. Scores are over all elements that were seen and that every method can forecast:

    ========  ========================================================================================================
    CRPS      :math:`E|X - x| - \tfrac12 E|X - X'|` of each element, of draws over pairs of different ones
              (:func:`~pyro_rvae.criticism.scoring.fair`), of the naive forecasts' normal laws in closed form
    MASE      absolute error of the median, divided by the mean absolute error of the seasonal naive forecast one season
              ahead in sample, :math:`\frac1n \sum_t |x_t - x_{t-m}|`, of the same feature
    RMSE      root of the mean squared error of the mean
    coverage  share of elements in the central interval of a level, by their rank among the draws (ties at random, see
              :meth:`~pyro_rvae.criticism.PredictiveScores.coverage`), or by the normal law's
    ========  ========================================================================================================

    Source: Hyndman & Koehler (2006), "Another look at measures of forecast accuracy", for MASE. "In sample" is the
    training split, all its sequences pooled, where one is known; otherwise all frames of the series before the origin
    (of the context and before). A feature that never changes in sample has no MASE. The RMSE is not corrected: the
    mean of R draws adds a share 1/R of their variance.

    Arguments:
        model: a :class:`~pyro_rvae.SequenceVAE` with time and a guide that infers from any x; or any forecaster, a
            function that is called as ``partial(forecast, model)`` would be, ``(past, horizon, num, controls=, seed=)``
            with a data set of pasts, and returns a :class:`~pyro_rvae.tasks.Forecast` or draws ``(R, N, H, D)`` in raw
            units. Where the series have ids, those of the pasts are ``"id[:t]"``: t frames came before the first that
            is asked for.
        series: a data set that the model was not trained on, or arrays, as for :func:`forecast`. Categories have no
            naive forecast: score those with :func:`~pyro_rvae.criticism.predictive_scores`.
        horizon: H, frames to forecast from each origin.
        stride: frames between origins (default: the horizon). They are counted back from the last possible one, which
            leaves H frames.
        windows: most origins of a series, the last ones (default: all).
        context: most frames before an origin that are seen (default: all, whose cost grows with the square of the
            length).
        start: frames of a series before its first origin, at least 3 and more than a season (default: ``context``;
            without one two seasons, and at least 3).
        num: R, draws, at least 2.
        seasonality: m, frames a season, for the seasonal naive forecast and MASE; 1: there is none.
        levels: of the central intervals.
        train: the training split, for MASE (default: ``series.reference``).
        seed, batch_size, max_bytes: as for :func:`forecast`; the draws of ``max_bytes`` are held at once.

    Raises:
        ValueError: no series is long enough, or nothing in them was seen; a context or start that is too short for the
            naive forecasts; categories; draws that are not finite, or of another shape; what :func:`forecast` refuses.
        TypeError: no model and no function; a forecaster's series that are no data set.

    >>> print(rv.tasks.backtest(model, data.test, 24, context=168, seasonality=24))  # doctest: +SKIP
    """
    counts = {"horizon": horizon, "seasonality": seasonality, "stride": horizon if stride is None else stride}
    for name, value in (counts | ({} if windows is None else {"windows": windows})).items():
        check_count(name, value)
    check_count("num", num, 2)
    horizon, seed = int(horizon), check_seed("backtest", seed)
    chosen, reference = check_levels(levels), getattr(series, "reference", None) if train is None else train
    data, name = _checked(model, series, batch_size=batch_size, max_bytes=max_bytes)
    if data.kind == "categories":
        raise ValueError("backtest: categories have no naive forecast, and no errors but wrong and right: score them "
                         "with rv.criticism.predictive_scores(model, data, draw=partial(from_prefix, prefix=...)).")
    first = _start(start, context, seasonality)
    at = origins(lengths_of(data), horizon, counts["stride"], first, windows)
    x, found = _beside(observed_sequences(data), at, horizon, context, seasonality)
    drawn = Drawn(model, data, horizon, context, num, seed, batch_size, max_bytes)
    errors = {name: drawn.errors(at, x, chosen), **found}
    scale, of = _in_sample(reference, data, at, seasonality)
    card = getattr(model, "data_card", None)
    names = data.names if data.names is not None or card is None else card.names
    units = None if data.transform is None else data.transform.scale.flatten().double().cpu().numpy()
    return Backtest(errors, x, at.numbers, at.origins, scale, units, np.array(chosen), num, seasonality, of, context,
                    tuple(names or (f"x{d}" for d in np.arange(data.x_dim))), data.ids)


def _checked(model: Any, series: Any, **counts: Any) -> tuple[Any, str]:
    """The series as a data set, and what the model is called."""
    if hasattr(model, "guide") or isinstance(model, type) or not callable(model):
        data = as_data(model, series, "backtest")
        check_forecaster(model, data, "backtest", **counts)
        return data, type(model).__name__
    if not isinstance(series, SequenceDataset):
        raise TypeError(f"backtest: a forecaster of your own needs a SequenceDataset, got {type(series).__name__}.")
    return series, getattr(model, "__name__", "forecaster")


# ------------------------------------------------------------------------------------------------ origins
def _start(start: int | None, context: int | None, seasonality: int) -> int:
    """Frames of a series before its first origin; refused where the naive forecasts can make nothing of them."""
    least = max(3, seasonality + 1)
    if context is not None:
        check_count("context", context, least, hint=" (the naive forecasts need 3 frames, and more than a season)")
    if start is None:
        return max(3, 2 * seasonality) if context is None else context
    check_count("start", start, least, hint=" (the naive forecasts need 3 frames, and more than a season)")
    return start


def _in_sample(train: Any, data: Any, at: Origins, m: int) -> tuple[Array, str]:
    """The seasonal naive forecast's mean absolute error in sample ``(W, D)``, and in which sample."""
    if train is not None:
        if getattr(train, "x_dim", None) != data.x_dim or not hasattr(train, "lengths"):
            raise ValueError(f"backtest: train must be sequences of the series' {data.x_dim} features, got {train!r}: "
                             "pass the split that the model was trained on.")
        changes = [x[m:] - x[:-m] for x in observed_sequences(train)]
        return np.tile(_mean_absolute(np.concatenate(changes)), (len(at.origins), 1)), "the training split"
    series = observed_sequences(data)
    each = [_mean_absolute(series[n][m:t] - series[n][: t - m]) for n, t in zip(at.numbers, at.origins, strict=True)]
    return np.array(each), "the frames before each origin"


def _mean_absolute(changes: Array) -> Array:
    seen = (~np.isnan(changes)).sum(0)
    return np.where(seen > 0, np.nansum(np.abs(changes), 0) / np.maximum(1, seen), np.nan)


# ------------------------------------------------------------------------------------------------ forecasts
def _beside(series: list[Array], at: Origins, horizon: int, context: int | None, seasonality: int
            ) -> tuple[Array, dict[str, ForecastErrors]]:
    """What came ``(W, H, D)``, NaN where it isn't scored, and the errors of the naive forecasts."""
    methods = naive_methods(seasonality)
    pasts = [series[n][max(0, t - (context or t)) : t] for n, t in zip(at.numbers, at.origins, strict=True)]
    laws = {name: [method(past, horizon) for past in pasts] for name, method in methods.items()}
    x = np.stack([series[n][t : t + horizon] for n, t in zip(at.numbers, at.origins, strict=True)]).astype(np.float64)
    for each in laws.values():
        x[np.isnan(np.stack([law.scale for law in each]))] = np.nan  # one set of elements for all methods
    if np.isnan(x).all():
        raise ValueError("backtest: nothing to score: what came, or what the naive forecasts need of the past, is "
                         "missing throughout.")
    return x, {name: ForecastErrors.of_laws(each, x) for name, each in laws.items()}
