"""What the commands write: tables, arrays, sequences and pictures, each whole or not at all."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..data.atomic import atomic
from .parser import UsageError
from .rundir import RunDirectory, write_json

__all__ = ["destination", "write_arrays", "write_picture", "write_result", "write_rows", "write_sequences"]


def destination(run: RunDirectory, out: str | None, default: str, endings: Iterable[str]) -> Path:
    """The path to write to: ``--out``, or ``default`` in the run directory.

    :raises UsageError: an ending that the command does not write, or a folder that isn't there. It is asked before
        anything is computed.
    """
    path = run.path / default if out is None else Path(out)
    endings = list(dict.fromkeys(endings))
    if path.suffix.lower() not in endings:
        raise UsageError(f"--out must end in {', '.join(endings[:-1])}{' or ' * (len(endings) > 1)}{endings[-1]}, got "
                         f"{str(path)!r}")
    if not path.parent.is_dir():
        raise UsageError(f"the folder {path.parent} must exist to write {path.name} there: make it first")
    return path


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """A CSV with a header. What is not a number is an empty cell."""
    text = io.StringIO()
    writer: Any = None
    for row in rows:
        if writer is None:
            writer = csv.DictWriter(text, list(row), lineterminator="\n")
            writer.writeheader()
        writer.writerow({name: "" if isinstance(value, float) and value != value else value
                         for name, value in row.items()})
    with atomic(path) as file:
        file.write(text.getvalue().encode())


def write_arrays(path: Path, result: Any) -> None:
    """Every array of a result, by the name of its attribute, as ``.npz`` (ragged ones end to end, with lengths)."""
    arrays: dict[str, Any] = {}
    for field in dataclasses.fields(result):
        value = getattr(result, field.name)
        if isinstance(value, np.ndarray) and value.dtype != object:
            arrays[field.name] = value
        elif isinstance(value, tuple | list) and value and all(isinstance(part, np.ndarray) for part in value):
            arrays[field.name] = np.concatenate(value)
            arrays[f"{field.name}_lengths"] = np.array([len(part) for part in value])
        elif isinstance(value, tuple | list) and value and all(isinstance(part, str) for part in value):
            arrays[field.name] = np.array(value)
    with atomic(path) as file:
        np.savez_compressed(file, **arrays)


def write_picture(path: Path, panels: Any) -> None:
    """A figure."""
    from .. import plots  # here: matplotlib is slow to import, and most commands draw nothing

    plots.save(panels, path)


def write_result(path: Path, result: Any, rows: Iterable[Mapping[str, Any]], picture: Any = None) -> None:
    """A result by its ending: a table, all arrays, JSON, or a picture (``picture`` draws it when it is asked for)."""
    ending = path.suffix.lower()
    if ending == ".csv":
        write_rows(path, rows)
    elif ending == ".npz":
        write_arrays(path, result)
    elif ending == ".json":
        write_json(path, result.to_dict())
    else:
        write_picture(path, picture())


def write_sequences(path: Path, form: Any, sequences: Any, ids: Any = None, picture: Any = None,
                    **options: Any) -> None:
    """Sequences in raw units as the kind of file that their form, or its ending, says."""
    if path.suffix.lower() in form.writes:
        form.write(path, sequences, ids=ids, **options)
    elif path.suffix.lower() in (".csv", ".npz"):
        _table(form).write(path, sequences, ids=ids)
    else:
        write_picture(path, picture())


def _table(form: Any) -> Any:
    """The form of numbers as they are."""
    from ..data.forms import Table

    return Table(kind=form.kind, classes=form.classes, static=form.static)
