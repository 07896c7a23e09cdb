"""CSV in long form: a row for each frame; read with the line of every fault, and written."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .atomic import atomic
from .kinds import Kind, to_kind

__all__ = ["are_days", "date_of", "read_csv", "write_csv"]

COLUMNS = ("sequence", "time", "split", "label")
ABSENT = ("", "NA", "N/A", "NULL", "NONE", "NAN")  # how a missing element is written
CONTROL = "control:"  # how the name of a column of known inputs begins


def read_csv(path: Path, kind: Kind | None = None) -> dict[str, np.ndarray]:
    """The arrays of :func:`pyro_rvae.data.load` out of a CSV file.

    Sequences come in the order of their first rows; their rows may be interleaved. Without a column ``sequence`` all
    rows are one, named as the file. Times may be dates in ISO 8601, which become seconds since 1970 (of UTC, where no
    offset is written), and the array ``dates`` says so. ``NA``, ``NaN``, ``null`` are missing elements, as an empty
    cell is (an unknown label is -1 among integers, else NaN). A column ``control:NAME`` is a known input; a file that
    has no other features holds them as its values.

    :raises ValueError: naming the line, for a cell that is no number, an infinite one, a wrong number of
        cells, a time that does not rise, a split or label that changes within a sequence.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = _header(next(reader, []), path.name)
            table = _Table(header, path.stem)
            for cells in reader:
                if cells:  # csv gives an empty list for a blank line
                    table.add(cells, reader.line_num)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path.name} cannot be read as CSV in UTF-8 ({error}): export it again") from error
    if not table.values:
        raise ValueError(f"{path.name} has a header and no rows: the data set is empty")
    arrays = table.arrays()
    if kind is None and table.whole:  # written as integers: refused here if they could be two things
        to_kind(torch.from_numpy(np.nan_to_num(arrays["values"]).astype(int)), kind)
    return arrays


def _header(cells: list[str], name: str) -> list[str]:
    header = [cell.strip() for cell in cells]
    if "time" not in header:
        other = next((mark for mark in ";\t" if mark in "".join(cells)), None)
        raise ValueError(
            f"{name} must have columns 'sequence' (unless all rows are one), 'time' and one for each feature, separated"
            f" by commas; its first line is {header}: time missing"
            + (f" (is it separated by {other!r}?)" if other else "")
        )
    if len(set(header)) < len(header):
        twice = next(column for column in header if header.count(column) > 1)
        raise ValueError(f"the column {twice!r} stands twice in {name}: give each a name of its own")
    if set(header) <= set(COLUMNS):
        raise ValueError(f"{name} has no column for a feature beside {header}: give at least one")
    return header


class _Table:
    """Rows gathered by sequence."""

    def __init__(self, header: list[str], name: str) -> None:
        self.header, self.name = header, name
        self.dates: bool | None = None  # whether times are dates
        self.inputs = [column for column in header if column.startswith(CONTROL)]
        self.names = [column for column in header if column not in (*COLUMNS, *self.inputs)]
        if not self.names:  # a file of known inputs alone
            self.names, self.inputs = self.inputs, []
        self.values: dict[str, list[list[float]]] = {}
        self.controls: dict[str, list[list[float]]] = {}
        self.times: dict[str, list[float]] = {}
        self.once: dict[str, dict[str, str]] = {}  # split and label, by sequence
        self.whole = True  # every known value is written as an integer

    def add(self, cells: list[str], line: int) -> None:
        if len(cells) != len(self.header):
            raise ValueError(
                f"line {line} must have {len(self.header)} cells as the header, got {len(cells)}"
            )
        row = {column: cell.strip() for column, cell in zip(self.header, cells, strict=True)}
        sequence = row.get("sequence", self.name)
        if not sequence:
            raise ValueError(f"line {line}: the cell of 'sequence' is empty; name the sequence")
        self._check_time(sequence, row["time"], line)
        self._check_once(sequence, row, line)
        frame = [self._value(row[name], name, line) for name in self.names]
        self.values.setdefault(sequence, []).append(frame)
        if self.inputs:
            known = [self._control(row[name], name, line) for name in self.inputs]
            self.controls.setdefault(sequence, []).append(known)

    def _check_time(self, sequence: str, cell: str, line: int) -> None:
        time = self._time(cell, line)
        if math.isnan(time):
            raise ValueError(f"line {line}: the cell of 'time' is empty; give each frame its time")
        last = self.times[sequence][-1] if sequence in self.times else None
        if last is not None and time <= last:
            fault = "stands twice" if time == last else f"comes after {last:g}"
            raise ValueError(
                f"line {line}: time must rise within a sequence, but {time:g} {fault} in sequence "
                f"{sequence!r}: sort the rows, and keep one row for each time"
            )
        self.times.setdefault(sequence, []).append(time)

    def _time(self, cell: str, line: int) -> float:
        """A number, or a date in seconds; all of a file are of one sort."""
        date = _date(cell)
        if self.dates is None:
            self.dates = date is not None
        if self.dates and date is None and cell:
            raise ValueError(f"line {line}: time is a date in the lines before, and {cell!r} is none (ISO 8601, such "
                             "as 2024-01-31 or 2024-01-31T13:00)")
        return _number(cell, "time", line) if date is None or not self.dates else date

    def _check_once(self, sequence: str, row: dict[str, str], line: int) -> None:
        now = {column: row[column] for column in COLUMNS[2:] if column in row}
        for column, cell in now.items():
            first = self.once.setdefault(sequence, now)[column]
            if cell != first:
                raise ValueError(
                    f"line {line}: {column} must be the same in all rows of a sequence, got {cell!r} after "
                    f"{first!r} in sequence {sequence!r}"
                )
        if "label" in now:
            _number(now["label"], "label", line)

    def _value(self, cell: str, name: str, line: int) -> float:
        value = _number(cell, name, line)
        self.whole = self.whole and (math.isnan(value) or cell.lstrip("+-").isdigit())
        return value

    @staticmethod
    def _control(cell: str, name: str, line: int) -> float:
        value = _number(cell, name, line)
        if math.isnan(value):
            raise ValueError(f"line {line}: the cell of {name!r} is empty; a control is known at every step")
        return value

    def arrays(self) -> dict[str, np.ndarray]:
        """What was gathered, as :func:`pyro_rvae.data.load` wants it."""
        values = np.array([frame for frames in self.values.values() for frame in frames])
        result = {
            "values": values,
            "lengths": np.array([len(frames) for frames in self.values.values()]),
            "times": np.array([time for times in self.times.values() for time in times]),
            "names": np.array([name.removeprefix(CONTROL) for name in self.names]),
            "ids": np.array(list(self.values)),
        }
        if self.dates:
            result["dates"] = np.array(True)
        if self.inputs:
            result["controls"] = np.array([frame for frames in self.controls.values() for frame in frames])
            result["control_names"] = np.array([name.removeprefix(CONTROL) for name in self.inputs])
        if "split" in self.header:
            result["split"] = np.array([self.once[sequence]["split"] for sequence in self.values])
        if "label" in self.header:
            words = [self.once[sequence]["label"] for sequence in self.values]
            absent = [word.upper() in ABSENT for word in words]
            integral = all(gone or word.lstrip("+-").isdigit() for word, gone in zip(words, absent, strict=True))
            missing, number = (-1, int) if integral else (math.nan, float)
            result["labels"] = np.array([missing if gone else number(word)
                                         for word, gone in zip(words, absent, strict=True)])
        return result


def _number(cell: str, column: str, line: int) -> float:
    """A cell as a number, NaN where it is empty."""
    try:
        value = math.nan if cell.upper() in ABSENT else float(cell)
    except ValueError:
        raise ValueError(
            f"line {line}: the cell of {column!r} must be a number, or empty (missing), got {cell!r}"
        ) from None
    if math.isinf(value):
        raise ValueError(
            f"line {line}: the cell of {column!r} must be finite, got {cell!r}: clip it, or leave it empty"
        )
    return value


def _date(cell: str) -> float | None:
    """A date in ISO 8601 as seconds since 1970, or ``None``. (A bare number such as 20240131 is a number.)"""
    if cell.replace(".", "", 1).lstrip("+-").isdigit():
        return None
    try:
        found = datetime.fromisoformat(cell)
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def date_of(seconds: float, *, days: bool = False) -> str:
    """Seconds since 1970 as a date in ISO 8601, without its time if all of a table are ``days``."""
    found = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
    return found.date().isoformat() if days else found.isoformat()


def are_days(times: Iterable[float]) -> bool:
    """Whether each is midnight."""
    return all(time % 86400 == 0 for time in times)


def write_csv(path: Path, sequences: Sequence[np.ndarray], ids: Sequence[str], names: Sequence[str],
              times: Sequence[Any] | None = None, *, whole: bool = False, dates: bool = False,
              labels: Sequence[Any] | None = None, controls: Sequence[Any] | None = None,
              inputs: Sequence[str] | None = None) -> None:
    """Writes sequences ``(T_i, x_dim)`` in long form, whole or not at all; the shortest digits that give each number.

    :param times: of the frames of each sequence; None: 0, 1, ...
    :param dates: times are seconds since 1970, written as dates.
    :param whole: the values are whole numbers (-1 among them is a missing category).
    :param labels: of the sequences, one number each; controls: ``(T_i, control_dim)`` each, with names ``inputs``.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    width = 0 if controls is None else np.shape(controls[0])[-1]
    inputs = [str(c + 1) for c in range(width)] if inputs is None else inputs[:width]
    days = dates and times is not None and are_days(time for one in times for time in one)
    rows.writerow(["sequence", "time", *["label"] * (labels is not None),
                   *(f"{CONTROL}{name}" for name in inputs), *names])
    for i, (name, frames) in enumerate(zip(ids, sequences, strict=True)):
        for step, frame in enumerate(frames):
            time = step if times is None else date_of(times[i][step], days=days) if dates else _shortest(times[i][step])
            known = [] if labels is None else [_shortest(np.asarray(labels[i]).ravel()[0])]
            known += [] if controls is None else [_shortest(value) for value in np.asarray(controls[i][step])]
            rows.writerow([name, time, *known, *(_cell(value, whole) for value in frame)])
    with atomic(path) as file:
        file.write(text.getvalue().encode())


def _cell(value: Any, whole: bool) -> str:
    if value != value or (whole and value < 0):
        return ""
    return str(int(value)) if whole else _shortest(value)


def _shortest(value: Any) -> str:
    """The fewest digits that read as this number in its own precision."""
    return str(value.item() if isinstance(value, np.float64) else value)
