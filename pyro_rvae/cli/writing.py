"""What the commands write: tables, arrays, sequences and pictures, each whole or not at all."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..data.atomic import atomic
from ..data.longform import are_days, date_of
from .parser import UsageError
from .rundir import RunDirectory, write_json

__all__ = ["dated", "destination", "in_one", "said", "writable", "write_arrays", "write_picture", "write_result",
           "write_rows", "write_sequences"]


def destination(run: RunDirectory, out: str | None, default: str, endings: Iterable[str], *,
                folder: bool = False) -> Path:
    """The path to write to: ``--out``, or ``default`` in the run directory.

    :param folder: whether a path without an ending is possible: a new folder, with a file for each sequence.
    :raises UsageError: an ending that the command does not write, or a place where nothing can be written. It is asked
        before anything is computed.
    """
    path = run.path / default if out is None else Path(out)
    endings = list(dict.fromkeys(endings))
    if folder and not path.suffix:
        if path.exists() and not (path.is_dir() and not any(path.iterdir())):
            raise UsageError(f"--out {path} exists: files are written into a new folder; name another one")
        return writable(path, folder=True)
    if path.suffix.lower() not in endings:
        raise UsageError(f"--out must end in {', '.join(endings[:-1])}{' or ' * (len(endings) > 1)}{endings[-1]}"
                         f"{', or be a new folder (no ending)' * folder}, got {str(path)!r}")
    return writable(path)


def writable(path: Path, *, folder: bool = False) -> Path:
    """The same path, if a file can be written there.

    :raises UsageError: if not.
    """
    if not path.parent.is_dir():
        raise UsageError(f"the folder {path.parent} must exist to write {path.name} there: make it first")
    if path.is_dir() and not folder:
        raise UsageError(f"--out {path} is a folder: name a file, in it or beside it")
    try:  # as it will be done: a file beside it, which takes its place
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    except OSError as error:
        raise UsageError(f"nothing can be written to {path} ({error.strerror}): choose another --out") from error
    os.close(handle)
    os.remove(name)
    return path


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """A CSV with a header. What is not a number is an empty cell."""
    text = io.StringIO()
    writer: Any = None
    for row in rows:
        if writer is None:
            writer = csv.DictWriter(text, list(row), lineterminator="\n")
            writer.writeheader()
        writer.writerow({name: _cell(value) for name, value in row.items()})
    with atomic(path) as file:
        file.write(text.getvalue().encode())


def dated(rows: Iterable[Mapping[str, Any]], form: Any) -> Iterable[Mapping[str, Any]]:
    """Rows of a table whose times are dates, where those of the file were."""
    if not getattr(form, "dates", False):
        return rows
    rows = list(rows)
    days = are_days(row["time"] for row in rows if "time" in row)
    return [{name: date_of(value, days=days) if name == "time" else value for name, value in row.items()}
            for row in rows]


def _cell(value: Any) -> Any:
    """A number with the digits that it has: the tasks compute in single precision, and widen at the end."""
    if not isinstance(value, float):
        return value
    if value != value:
        return ""
    short = np.float32(value)
    return str(short) if float(short) == value else value


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


def said(path: Path, words: str) -> int:
    """Say what was written; the exit code."""
    print(f"{words}: {path}")
    return 0


def write_result(path: Path, result: Any, rows: Iterable[Mapping[str, Any]]) -> None:
    """A result by its ending: a table, all arrays, or JSON."""
    ending = path.suffix.lower()
    if ending == ".csv":
        write_rows(path, rows)
    elif ending == ".npz":
        write_arrays(path, result)
    else:
        write_json(path, result.to_dict())


def write_sequences(path: Path, form: Any, sequences: Any, ids: Any = None, picture: Any = None, like: Any = None,
                    **options: Any) -> None:
    """Sequences in raw units as the kind of file that their form, or its ending, says.

    :param like: a data set of as many frames; its times, labels and controls go along where the file can hold them.
    """
    ending = path.suffix.lower()
    if ending in (".csv", ".npz"):
        form = form if ending in form.writes else _table(form)
        form.write(path, sequences, ids=ids, **_beside(like))
    elif ending in form.writes or (form.each and not ending):
        form.write(path, sequences, ids=ids, **options)
    else:
        write_picture(path, picture())


def _beside(data: Any) -> dict[str, Any]:
    """What a data set holds beside its values, sequence by sequence, for a table."""
    if data is None:
        return {}
    lengths = getattr(data, "lengths", None)
    found = {"labels": None if data.labels is None else data.labels.numpy()}
    if lengths is not None:
        cuts = np.cumsum(lengths.numpy())[:-1]
        for name in ("times", "controls"):
            value = getattr(data, name)
            found[name] = None if value is None else np.split(value.numpy(), cuts)
    return {name: value for name, value in found.items() if value is not None}


def in_one(path: Path, form: Any, number: int) -> str:
    """A word on several sequences in a file that holds one."""
    if not form.each or number < 2 or path.suffix.lower() not in form.writes or path.suffix.lower() == ".png":
        return ""
    return ", one after the other"


def _table(form: Any) -> Any:
    """The form of numbers as they are."""
    from ..data.forms import Table

    return Table(kind=form.kind, classes=form.classes, static=form.static)
