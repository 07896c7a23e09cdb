"""What a training run did, epoch by epoch."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..data.atomic import atomic

__all__ = ["History", "Row"]


class Row(NamedTuple):
    """One epoch. Costs are in nats per frame, pooled over the frames of the epoch; lower is better.

    Attributes:
        epoch: epochs done, 1 for the first.
        step: optimizer steps done.
        elbo, reconstruction, kl: means over the epoch's training batches, with KL weight 1 whatever was trained
            with; ``elbo`` is minus the ELBO, ``elbo = reconstruction + kl``.
        valid_elbo, valid_reconstruction, valid_kl: on the validation set after the epoch (NaN: not validated).
        kl_weight, lr: those of the epoch's last step (lr: of the first parameter group).
        grad_norm: mean of the global norm of the gradient, before clipping.
        memory: MiB; on CUDA the most that tensors held in the epoch, else the most that this process has held so far.
        seconds: wall time of the epoch with its validation.
    """

    epoch: int
    step: int
    elbo: float
    reconstruction: float
    kl: float
    valid_elbo: float
    valid_reconstruction: float
    valid_kl: float
    kl_weight: float
    lr: float
    grad_norm: float
    memory: float
    seconds: float


_INTEGERS = ("epoch", "step")


class History:
    """The table of a run: one :class:`Row` an epoch.

    What it calls ``elbo`` is a cost, as the field's tables print it: minus the ELBO, in nats per frame (of static
    data: per item), lower is better. ``elbo = reconstruction + kl``, with reconstruction ``-log p(x | z)``.

    ``history["valid_elbo"]`` is a column as a NumPy array; ``len``, iteration and ``history.rows`` give the rows.

    >>> history = History([Row(1, 10, 9.0, 8.0, 1.0, 9.5, 8.5, 1.0, 1.0, 1e-3, 2.0, 200.0, 0.5)])
    >>> history["kl"], history.best.epoch
    (array([1.]), 1)
    """

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self.rows: list[Row] = list(rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __getitem__(self, column: str) -> NDArray[Any]:
        if column not in Row._fields:
            raise KeyError(f"a history has the columns {', '.join(Row._fields)}; got {column!r}.")
        return np.array([getattr(row, column) for row in self.rows], dtype=int if column in _INTEGERS else float)

    @property
    def best(self) -> Row:
        """The row of the lowest validation cost; where nothing was validated, of the lowest training cost."""
        if not self.rows:
            raise ValueError("the history is empty: no epoch has ended, so there is no best one.")
        scored = [row for row in self.rows if not math.isnan(row.valid_elbo)]
        return min(scored, key=lambda row: row.valid_elbo) if scored else min(self.rows, key=lambda row: row.elbo)

    def to_csv(self, path: str | Path) -> None:
        """Write the table (atomically). Numbers keep all their digits; what was not measured is an empty cell."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(Row._fields)
        writer.writerows([_show(value) for value in row] for row in self.rows)
        with atomic(path) as file:
            file.write(text.getvalue().encode())

    @classmethod
    def from_csv(cls, path: str | Path) -> History:
        """Read what :meth:`to_csv` wrote.

        Errors: ValueError if the file is no such table.
        """
        with open(path, newline="", encoding="utf-8") as file:
            lines = list(csv.reader(file))
        if not lines or tuple(lines[0]) != Row._fields:
            raise ValueError(f"{path} is no history: expected a CSV whose first line is {','.join(Row._fields)}; got "
                             f"{','.join(lines[0]) if lines else 'an empty file'}. Write one with History.to_csv.")
        try:
            return cls(row_from(line) for line in lines[1:])
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path} is no history: a row can't be read ({error}). Is the file truncated?") from None

    def __repr__(self) -> str:
        if not self.rows:
            return "History(no epoch has ended)"
        shown = self.rows if len(self.rows) <= 20 else [*self.rows[:5], None, *self.rows[-14:]]
        cells = [["..."] * len(Row._fields) if row is None else [_short(v) for v in row] for row in shown]
        names = [name.replace("reconstruction", "recon") for name in Row._fields]
        widths = [max(len(name), *(len(line[i]) for line in cells)) for i, name in enumerate(names)]
        lines = [" ".join(cell.rjust(w) for cell, w in zip(line, widths, strict=True)) for line in [names, *cells]]
        return "\n".join(lines)


def row_from(values: Iterable[Any]) -> Row:
    """A row from cells: text, numbers, or nothing (empty or None) where a number was not measured."""
    cells = list(values)
    if len(cells) != len(Row._fields):
        raise ValueError(f"a row has {len(Row._fields)} cells, got {len(cells)}")
    integers = len(_INTEGERS)
    numbers = [math.nan if cell in ("", None) else float(cell) for cell in cells[integers:]]
    return Row(*(int(cell) for cell in cells[:integers]), *numbers)  # type: ignore[arg-type]


def _show(value: float) -> str:
    return "" if math.isnan(value) else repr(value)


def _short(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    if math.isnan(value):
        return "-"
    return f"{value:.4g}" if value and (abs(value) < 1e-2 or abs(value) >= 1e4) else f"{value:.3f}"
