"""Filter the past, draw the future."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.checks import check_count, check_seed
from ..criticism.ahead import Plan, ahead, check_forecaster
from ..criticism.chunks import lengths_of
from ..criticism.replicates import observed_sequences
from ..criticism.scores import check_levels
from ..criticism.tables import count, plain, table
from ..data.transforms import raw_units
from .controls import future_controls
from .inputs import as_data, in_double

__all__ = ["Forecast", "forecast"]

Array = NDArray[Any]
QUANTILES = (0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975)
REGULAR = 1e-4  # most that the steps between times may differ, as a share of one


def forecast(model: Any, past: Any, horizon: int, num: int = 100, *, controls: Any = None, labels: Any = None,
             seed: int = 0, batch_size: int = 20, max_bytes: int = 2**28) -> Forecast:
    r"""Draws of what follows sequences that were seen so far.

    .. math:: z_{\le T} \sim q(z_{\le T} \mid x_{\le T}), \qquad
        x_{T+1:T+H}, z_{T+1:T+H} \sim p(x_{>T}, z_{>T} \mid x_{\le T}, z_{\le T})

    The guide filters the past (a smoothing guide reads the past as if the sequence ended there), then the model goes on
    by itself: each draw is one path, so that sums and maxima over the horizon may be taken draw by draw. The horizon
    may be longer than any sequence that the model was trained on. It is exact where the guide is the posterior; else
    it is the forecast of model and guide together.

    Arguments:
        model: a :class:`~pyro_rvae.SequenceVAE` with time and a guide that infers from any x.
        past: a data set, a list of arrays ``(T_i, x_dim)``, an array ``(N, T, x_dim)`` or one sequence ``(T, x_dim)``,
            of any lengths, in raw units (a data set with the model's transform also in the model's). Missing elements
            (NaN; -1 in codes) are missing. The past's controls stand in the data set, and so do its labels.
        horizon: H, frames to draw of each.
        num: R, draws.
        controls: known inputs of the H frames to come, ``(N, H, control_dim)``, or ``(H, control_dim)`` for all alike;
            or a list of ``(H, control_dim)``. Needed where the model reads controls.
        labels: that go with raw numbers, where the model reads them.
        seed, batch_size, max_bytes: the draws are a function of the three (and of the past and the horizon); at most
            ``batch_size`` sequences at once, whose activations take about ``max_bytes``. Torch's own random state is
            left alone.

    Raises:
        ValueError: a horizon or ``num`` below 1; a static model, or an AutoGuide; other features than those of the
            training data; controls that are lacking, of another shape, not finite, or that the model doesn't read.
        TypeError: no model, no data, a seed that is no integer, or controls that are no numbers.

    >>> found = rv.tasks.forecast(model, data.test, 24)  # doctest: +SKIP
    >>> found.draws.shape, found.mean.shape, found.interval(0.8)[0].shape  # doctest: +SKIP
    ((100, 5, 24, 7), (5, 24, 7), (5, 24, 7))
    """
    check_count("horizon", horizon)
    horizon, seed = int(horizon), check_seed("forecast", seed)
    data = in_double(as_data(model, past, "forecast", labels=labels))
    check_forecaster(model, data, "forecast", num=num, batch_size=batch_size, max_bytes=max_bytes)
    inputs, lengths = future_controls(model, data, horizon, controls), lengths_of(data)
    dtype = raw_units(data, data.values[:1]).numpy().dtype  # double, where there is a transform to undo
    draws = np.empty((num, len(data), horizon, data.x_dim), dtype=dtype)

    def keep(rows: list[int], which: range, x: Array) -> None:
        draws[which.start : which.stop, rows] = x

    ahead(model, data, Plan(np.arange(len(data)), lengths, lengths + horizon), num, keep, seed=seed,
          batch_size=batch_size, max_bytes=max_bytes, controls=inputs)
    card = getattr(model, "data_card", None)
    names = data.names if data.names is not None or card is None else card.names
    return Forecast(draws, tuple(observed_sequences(data)), data.kind, data.classes, type(model).__name__, names,
                    data.ids, _past_times(data), seed)


def _past_times(data: Any) -> tuple[Array, ...] | None:
    """When the frames of each sequence were taken."""
    if data.times is None:
        return None
    return tuple(np.split(np.asarray(data.times, dtype=np.float64), np.cumsum(lengths_of(data))[:-1]))


@dataclass(frozen=True, repr=False, eq=False)
class Forecast:
    """R draws of the H frames that follow each of N sequences, in raw units.

    Attributes:
        draws: ``(R, N, H, D)``; codes for categories. A draw is a path.
        past: the N sequences that were seen, ``(T_i, D)``, in raw units.
        kind, classes: of the data.
        name: the model's.
        names, ids: of features and sequences, or None.
        past_times: the times of the past, ``(T_i,)`` each, or None.
        seed: that the draws were made with.
    """

    draws: Array
    past: tuple[Array, ...]
    kind: str
    classes: int | None = None
    name: str = "model"
    names: tuple[str, ...] | None = None
    ids: tuple[str, ...] | None = None
    past_times: tuple[Array, ...] | None = None
    seed: int = 0

    @property
    def horizon(self) -> int:
        """H."""
        return self.draws.shape[2]

    @cached_property
    def mean(self) -> Array:
        """Mean of the draws, ``(N, H, D)``; of 0/1 a probability."""
        self._ordered("mean")
        return np.asarray(self.draws.mean(0))

    @cached_property
    def median(self) -> Array:
        """Median of the draws, ``(N, H, D)``."""
        return self.quantile(0.5)

    def quantile(self, q: float | Sequence[float]) -> Array:
        """Of the draws at each element: ``(N, H, D)`` for a number q, ``(len(q), N, H, D)`` for several.

        By Weibull's positions ``k / (R + 1)``, so that a new draw of the same law falls below with just that
        probability; q beyond the outermost position gives the outermost draw.
        """
        self._ordered("quantiles")
        levels = np.asarray(q)
        if levels.dtype.kind != "f" or levels.ndim > 1 or not levels.size or not ((levels > 0) & (levels < 1)).all():
            raise ValueError("quantile: q must be a probability between 0 and 1, such as 0.9, or several; got "
                             f"{q!r}.")
        return np.asarray(np.quantile(self.draws, levels, axis=0, method="weibull"))

    def interval(self, level: float) -> tuple[Array, Array]:
        """Ends of the central interval that holds the future with probability ``level``, ``(N, H, D)`` each."""
        check_levels([level])
        return self.quantile(0.5 - 0.5 * level), self.quantile(0.5 + 0.5 * level)

    @cached_property
    def probabilities(self) -> Array:
        """Of categories: share of the draws in each class, ``(N, H, D, classes)``."""
        if self.kind != "categories" or self.classes is None:
            raise ValueError(f"probabilities are of classes, and the data are {self.kind}: see mean and quantile.")
        return np.stack([(self.draws == code).mean(0) for code in np.arange(self.classes)], -1)

    @cached_property
    def times(self) -> Array | None:
        """When the frames to come are taken, ``(N, H)``: the past's steps go on.

        None where the past has no times, or they have no one step (or a single frame).
        """
        found = []
        for past in self.past_times or ():
            steps = np.diff(past)
            if not len(steps) or np.ptp(steps) > REGULAR * abs(steps.mean()):
                return None
            found.append(past[-1] + steps.mean() * np.arange(1, self.horizon + 1))
        return np.array(found) if found else None

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the features, or ``x0, x1, ...``."""
        return tuple(self.names or (f"x{d}" for d in np.arange(self.draws.shape[3])))

    def _ordered(self, what: str) -> None:
        if self.kind == "categories":
            raise ValueError(f"categories have no order, so their forecast has no {what}: see probabilities.")

    # -------------------------------------------------------------------------------- reports
    def rows(self, quantiles: Sequence[float] = QUANTILES) -> list[dict[str, Any]]:
        """In long form, for a table or a CSV file: a row for each sequence, frame and feature.

        Columns ``sequence, step, time`` (where known), ``feature, mean`` and ``q0.025, ...``; of categories ``p0, p1,
        ...`` in their place.
        """
        columns = self._columns(quantiles)
        found = []
        for n, h, d in np.ndindex(self.draws.shape[1:]):
            time = {} if self.times is None else {"time": float(self.times[n, h])}
            found.append({"sequence": self.ids[n] if self.ids else str(n), "step": h + 1, **time,
                          "feature": self.features[d], **{c: float(v[n, h, d]) for c, v in columns.items()}})
        return found

    def _columns(self, quantiles: Sequence[float]) -> dict[str, Array]:
        if self.kind == "categories":
            return {f"p{code}": self.probabilities[..., code] for code in np.arange(self.classes or 0)}
        return {"mean": self.mean, **{f"q{q:g}": self.quantile(q) for q in quantiles}}

    def to_dict(self, quantiles: Sequence[float] = QUANTILES) -> dict[str, Any]:
        """As JSON takes it: the mean and quantiles (or probabilities) as nested lists ``(N, H, D)``; no draws.

        None stands for what is not finite.
        """
        numbers = {"probabilities": self.probabilities} if self.kind == "categories" else {
            "mean": self.mean, "quantiles": {f"{q:g}": self.quantile(q) for q in quantiles}}
        found = {"model": self.name, "num_draws": len(self.draws), "horizon": self.horizon, "seed": self.seed,
                 "kind": self.kind, "features": list(self.features), "ids": list(self.ids) if self.ids else None,
                 "times": self.times, **numbers}
        return plain(found)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        draws, number, horizon, width = self.draws.shape
        which = f", {self.ids[0]}" if self.ids else ""
        shown = self.features[:5]
        head = (f"{self.name}: {count(draws, 'draw')} of the {count(horizon, 'frame')} that follow "
                f"{count(number, 'sequence')}, {count(width, 'feature')}, raw units. The first sequence{which}, "
                f"{'the likeliest class' if self.kind == 'categories' else 'median and central 80%'}:\n")
        steps = np.unique(np.linspace(0, horizon - 1, min(horizon, 6)).astype(int)).tolist()
        rows = [("ahead", *shown, *["..."] * (width > len(shown)))]
        return head + table(rows + [(str(h + 1), *(self._cell(h, d) for d, _ in enumerate(shown))) for h in steps])

    def _cell(self, h: int, d: int) -> str:
        if self.kind == "categories":
            chances = self.probabilities[0, h, d]
            return f"{chances.argmax()} ({chances.max():.2f})"
        low, middle, high = np.quantile(self.draws[:, 0, h, d], [0.1, 0.5, 0.9], method="weibull")
        return f"{middle:.4g} ({low:.4g} to {high:.4g})"
