"""Rolling origins: where forecasts begin, and the errors of a model's draws from there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..criticism.ahead import Plan, ahead
from ..criticism.scoring import score
from ..data import SequenceDataset
from .backtested import ForecastErrors
from .forecast import Forecast

__all__ = ["Drawn", "Origins", "origins"]

Array = NDArray[Any]
Whole = NDArray[np.int64]


@dataclass(frozen=True)
class Origins:
    """W forecasts: of series ``numbers[w]`` from frame ``origins[w]`` on."""

    numbers: Whole
    origins: Whole


def origins(lengths: Whole, horizon: int, stride: int, start: int, windows: int | None) -> Origins:
    """Every origin, counted back from the last possible one of each series, in the order of series and time."""
    found = [np.arange(length - horizon, start - 1, -stride)[:windows] for length in lengths.tolist()]
    numbers, origins = np.repeat(np.arange(len(lengths)), [len(each) for each in found]), np.concatenate(found)
    if not len(origins):
        raise ValueError(f"backtest: no series is long enough for {start} frames before the first origin and a horizon "
                         f"of {horizon}, the longest has {lengths.max()}: choose a smaller start, context or horizon.")
    order = np.lexsort((origins, numbers))
    return Origins(numbers[order], origins[order])


@dataclass(frozen=True)
class Drawn:
    """A model's forecasts, so many at once that their draws fit memory."""

    model: Any
    data: Any
    horizon: int
    context: int | None
    num: int
    seed: int
    batch_size: int
    max_bytes: int

    def errors(self, at: Origins, x: Array, levels: tuple[float, ...]) -> ForecastErrors:
        order = np.lexsort((at.numbers, at.origins)) if self.context is None else np.arange(len(at.origins))
        parts = []
        for rows in self._blocks(order):
            draws = self._draws(Origins(at.numbers[rows], at.origins[rows]))
            flat = draws.reshape(self.num, -1, x.shape[-1])
            scores = score(flat, x[rows].reshape(-1, x.shape[-1]), levels, seed=self.seed + int(rows[0]),
                           max_bytes=self.max_bytes)
            parts.append(ForecastErrors.of_draws(scores, x[rows].shape))
        return ForecastErrors.joined(parts, np.argsort(order))

    def _blocks(self, order: Whole) -> Iterator[Whole]:
        each = 8 * self.num * self.horizon * self.data.x_dim
        size = max(self.batch_size, self.max_bytes // each // self.batch_size * self.batch_size)
        yield from np.split(order, np.arange(size, len(order), size))

    def _draws(self, at: Origins) -> Array:
        """``(R, W, H, D)`` in raw units."""
        draws = self._of_model(at) if hasattr(self.model, "guide") else self._of_function(at)
        if not np.isfinite(draws).all():
            raise ValueError("backtest: the draws are not all finite: look for NaN in the model's parameters, or for a "
                             "recurrence that grows without bound over the horizon.")
        return draws

    def _of_model(self, at: Origins) -> Array:
        data, plan = self.data, Plan(at.numbers, at.origins, at.origins + self.horizon)
        if self.context is not None:
            past = np.minimum(at.origins, self.context)
            data = _windows(data, at, past, self.horizon)
            plan = Plan(np.arange(len(past)), past, past + self.horizon)
        draws = np.empty((self.num, len(at.origins), self.horizon, data.x_dim))

        def keep(rows: list[int], which: range, x: Array) -> None:
            draws[which.start : which.stop, rows] = x

        ahead(self.model, data, plan, self.num, keep, seed=self.seed, batch_size=self.batch_size,
              max_bytes=self.max_bytes)
        return draws

    def _of_function(self, at: Origins) -> Array:
        past = at.origins if self.context is None else np.minimum(at.origins, self.context)
        controls = None
        if self.data.control_dim:
            rows = (self.data.starts.numpy()[at.numbers] + at.origins)[:, None] + np.arange(self.horizon)
            controls = self.data.controls[rows]
        seen = _windows(self.data, at, past, 0)
        found = self.model(seen, self.horizon, self.num, controls=controls, seed=self.seed)
        draws = np.asarray(found.draws if isinstance(found, Forecast) else found)
        wanted = (self.num, len(past), self.horizon, self.data.x_dim)
        if draws.shape != wanted:
            raise ValueError(f"backtest: a forecaster must return draws (num, N, horizon, D) = {wanted}, got "
                             f"{draws.shape}.")
        return draws


def _windows(data: Any, at: Origins, past: Whole, horizon: int) -> SequenceDataset:
    """The ``past (W,)`` frames before each origin, and ``horizon`` behind it (of which controls are read)."""
    first = data.starts.numpy()[at.numbers] + at.origins - past
    rows = np.concatenate([np.arange(a, b) for a, b in zip(first, first + past + horizon, strict=True)])
    ids = None if data.ids is None else [f"{data.ids[n]}[:{t}]" for n, t in zip(at.numbers, at.origins, strict=True)]
    return SequenceDataset(
        data.values[rows], past + horizon, labels=None if data.labels is None else data.labels[at.numbers],
        controls=None if data.controls is None else data.controls[rows], names=data.names, ids=ids, kind=data.kind,
        transform=data.transform, times=None if data.times is None else data.times[rows])
