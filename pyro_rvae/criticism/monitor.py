"""Whether the latent lives, epoch by epoch, while a model is trained."""

from __future__ import annotations

import csv
import io
import math
import os
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..core.checks import check_count, check_weight
from ..data.atomic import atomic
from ..infer import Callback, Row
from .advice import advice
from .chunks import check_data
from .collapse import CollapseReport, collapse_report

if TYPE_CHECKING:
    from ..infer.trainer import Trainer

__all__ = ["CollapseMonitor", "CollapseRow", "CollapseWarning"]

START = 0.1  # share of the training in which a latent may sleep


class CollapseWarning(UserWarning):
    """A latent has died: the model is trained as if it had none."""


class CollapseRow(NamedTuple):
    """One look of a :class:`CollapseMonitor`; costs in nats per frame, of its own few sequences.

    Attributes:
        epoch, step: epochs and optimizer steps done.
        elbo, kl: minus the ELBO and the KL of guide from prior, with KL weight 1.
        active_units, num_units: dimensions whose posterior mean moves with the data, and all.
        mutual_information, mutual_information_error: of data and latent, in nats per sequence, with its standard
            error; NaN where there is none.
        shuffling_cost: what another sequence's latents cost; NaN with one sequence.
        kl_weight: that of the epoch's last step.
        seconds: wall time of the look.
        collapsed: the latents that have collapsed, with blanks between.
    """

    epoch: int
    step: int
    elbo: float
    kl: float
    active_units: int
    num_units: int
    mutual_information: float
    mutual_information_error: float
    shuffling_cost: float
    kl_weight: float
    seconds: float
    collapsed: str = ""


_INTEGERS = ("epoch", "step", "active_units", "num_units")


class CollapseMonitor(Callback):
    """Look at the latents at the ends of epochs: ``rv.fit(..., callbacks=[rv.CollapseMonitor(data.valid)])``.

    Each look is a :func:`collapse_report` of the same few sequences with the same noise, so that two rows differ by the
    weights only. The run is not disturbed: the trained weights are, bit by bit, those without the monitor. (With
    ``fit(ema=...)`` it looks at the training's own weights, not at their average.)

    When a latent is dead it warns once, with what to try (:class:`CollapseWarning`): its KL is below ``floor``, or no
    unit of it is active, for ``patience`` looks in a row, each with the KL weight that the training ends with, and a
    tenth of the training is over. A latent often wakes up after some epochs only, and one that a small weight keeps
    alive may die as it grows; both are waited for. After a resume the table goes on: a monitor keeps its rows, and a
    new one reads them from ``path``.

    Arguments:
        data: validation data, of which at most ``sequences`` are looked at, chosen at random by ``seed``.
        every: epochs between two looks.
        sequences: at least 2, to swap latents between; the mutual information is at most its logarithm.
        num_particles: draws for each sequence.
        seed: of the choice of sequences and of the draws.
        threshold, floor: of an active unit, and of the KL of a draw, as for :func:`collapse_report`.
        patience: looks in a row before the warning.
        path: CSV file to which the table is written after each look; ``None``: only :meth:`to_csv` writes it.

    Attributes:
        rows: the table, a list of :class:`CollapseRow`; ``monitor["kl"]`` is a column as an array.
        report: the last :class:`CollapseReport`, or None.

    Errors: TypeError or ValueError for data that are no data set or have only one sequence, and sizes below 1.

    >>> monitor = rv.CollapseMonitor(data.valid)  # doctest: +SKIP
    >>> rv.fit(model, data.train, data.valid, callbacks=[monitor])  # doctest: +SKIP
    """

    def __init__(self, data: Any, *, every: int = 1, sequences: int = 16, num_particles: int = 1, seed: int = 0,
                 threshold: float = 0.01, floor: float = 0.01, patience: int = 5,
                 path: str | os.PathLike[str] | None = None) -> None:
        for name, value, least in (("every", every, 1), ("sequences", sequences, 2), ("patience", patience, 1),
                                   ("num_particles", num_particles, 1)):
            check_count(f"CollapseMonitor: {name}", value, least)
        for name, number in (("threshold", threshold), ("floor", floor)):
            check_weight(f"CollapseMonitor: {name}", number)
        if not hasattr(data, "subset"):
            raise TypeError(f"CollapseMonitor needs one data set, such as data.valid; got {type(data).__name__}.")
        if len(data) < 2:
            raise ValueError("CollapseMonitor swaps latents between sequences, and the data set has only one: give it "
                             "at least two.")
        chosen = np.random.default_rng(seed).permutation(len(data))[:sequences]
        self.data = data.subset(sorted(chosen.tolist()))
        self.every, self.patience, self.path = every, patience, None if path is None else Path(path)
        self._settings: dict[str, Any] = {"num_particles": num_particles, "seed": seed, "threshold": threshold,
                                          "floor": floor}
        self.rows: list[CollapseRow] = []
        self.report: CollapseReport | None = None
        self._warned: set[str] = set()

    # ------------------------------------------------------------------------------------------ in the run
    def on_fit_start(self, state: Trainer) -> None:
        check_data(state.model, self.data, "CollapseMonitor")
        if state.epoch and not self.rows and self.path is not None and self.path.exists():
            self.rows = read_rows(self.path)
        self.rows = [row for row in self.rows if row.epoch <= state.epoch]
        self._warned = {name for name in self._names() if self._dead_for(name) >= self.patience}

    def on_epoch_end(self, state: Trainer, row: Row) -> None:
        if state.rank or (row.epoch % self.every and row.epoch != state.settings.epochs):
            return
        start = time.monotonic()
        self.report = collapse_report(state.model, self.data, batch_size=max(2, len(self.data)), **self._settings)
        self.rows.append(_row(self.report, row, time.monotonic() - start))
        if self.path is not None:
            self.to_csv(self.path)
        if self._at_full_weight(state, row):
            self._warn(state)

    @staticmethod
    def _at_full_weight(state: Trainer, row: Row) -> bool:
        """Whether the start is over, and the KL weight is what it will be in the end."""
        last = row.step // row.epoch * state.settings.epochs - 1
        full = (1 - 1e-6) * float(state.settings.kl_weight(last))
        return row.epoch >= START * state.settings.epochs and row.kl_weight >= full

    def _names(self) -> list[str]:
        return self.rows[-1].collapsed.split() if self.rows else []

    def _dead_for(self, name: str) -> int:
        """Looks in a row, up to now, that found a latent dead under a KL weight as large as the last one's."""
        looks = 0
        for row in reversed(self.rows):
            if name not in row.collapsed.split() or row.kl_weight < (1 - 1e-6) * self.rows[-1].kl_weight:
                break
            looks += 1
        return looks

    def _warn(self, state: Trainer) -> None:
        for name in self._names():
            if name in self._warned or self._dead_for(name) < self.patience or self.report is None:
                continue
            self._warned.add(name)
            steps = state.step // state.epoch * state.settings.epochs
            warnings.warn(advice(name, self.report, state.epoch, self.patience, state.model, state.settings.kl_weight,
                                 steps), CollapseWarning, stacklevel=2)

    # ------------------------------------------------------------------------------------------ the table
    def __getitem__(self, column: str) -> NDArray[Any]:
        if column not in CollapseRow._fields:
            raise KeyError(f"a monitor has the columns {', '.join(CollapseRow._fields)}; got {column!r}.")
        return np.array([getattr(row, column) for row in self.rows])

    def to_csv(self, path: str | Path) -> None:
        """Write the table (atomically). Numbers keep all their digits; what was not measured is an empty cell."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(CollapseRow._fields)
        writer.writerows(["" if isinstance(v, float) and math.isnan(v) else v for v in row] for row in self.rows)
        with atomic(path) as file:
            file.write(text.getvalue().encode())

    def __repr__(self) -> str:
        if not self.rows:
            return f"CollapseMonitor({len(self.data)} sequences, every={self.every}, no look yet)"
        cells = [list(CollapseRow._fields)] + [[_short(value) for value in row] for row in self.rows[-20:]]
        cells[0] = [name.replace("mutual_information", "info").replace("_units", "") for name in cells[0]]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        return "\n".join(" ".join(cell.rjust(w) for cell, w in zip(line, widths, strict=True)) for line in cells)


def _row(report: CollapseReport, row: Row, seconds: float) -> CollapseRow:
    info = report.information
    return CollapseRow(row.epoch, row.step, report.elbo, report.kl, report.active_units, report.num_units,
                       math.nan if info is None else info.value, math.nan if info is None else info.error,
                       report.shuffling_cost, row.kl_weight, seconds, " ".join(report.collapsed))


def read_rows(path: str | os.PathLike[str]) -> list[CollapseRow]:
    """The table that :meth:`CollapseMonitor.to_csv` wrote; ValueError if the file is none."""
    with open(path, newline="", encoding="utf-8") as file:
        lines = list(csv.reader(file))
    if not lines or tuple(lines[0]) != CollapseRow._fields:
        raise ValueError(f"{path} is no table of a CollapseMonitor: expected a CSV whose first line is "
                         f"{','.join(CollapseRow._fields)}. Name another path, or remove the file.")
    try:
        return [_parsed(line) for line in lines[1:]]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: a row can't be read ({error}). Is the file truncated? Remove it to go on.") from None


def _parsed(line: list[str]) -> CollapseRow:
    cells = dict(zip(CollapseRow._fields, line, strict=True))
    collapsed = cells.pop("collapsed")
    numbers = {name: int(cell) if name in _INTEGERS else float(cell or "nan") for name, cell in cells.items()}
    return CollapseRow(**numbers, collapsed=collapsed)  # type: ignore[arg-type]


def _short(value: Any) -> str:
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.3f}"
    return str(value)
