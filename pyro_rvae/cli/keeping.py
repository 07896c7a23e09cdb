"""The user's data given back with their gaps filled: what was observed stays as it was written."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..data.atomic import atomic
from ..data.hold_out import with_values
from ..data.transforms import raw_units
from .writing import write_sequences

__all__ = ["write_filled"]

Array = NDArray[Any]


def write_filled(path: Path, file: str | None, form: Any, raw: Any, found: Any, how: str) -> None:
    """Write a data set whose gaps an imputation has filled.

    :param file: the user's own, or None; a CSV that becomes a CSV keeps every other cell as it is, an ``.npz`` every
        other array.
    :param form: of the run. :param raw: the data set, as it was read. :param found: its imputation.
    :param how: what stands in the gaps.
    """
    filled = found.filled(how)
    new = raw_units(filled, filled.values).flatten(1).numpy()[found.frames, found.features]
    ending = path.suffix.lower()
    if file is not None and ending == Path(file).suffix.lower():
        if ending == ".csv" and _write_csv(path, Path(file), raw, found, new):
            return
        if ending == ".npz" and _write_npz(path, Path(file), raw, found, new):
            return
    values = raw_units(raw, raw.values).flatten(1).clone()
    values[torch.from_numpy(found.frames), torch.from_numpy(found.features)] = torch.from_numpy(new).to(values.dtype)
    form = form if raw.form is None or not isinstance(form, type(raw.form)) else raw.form  # dates are the file's own
    write_sequences(path, form, with_values(raw, values.reshape(raw.values.shape), None), raw.ids, like=raw)


def _write_csv(path: Path, file: Path, raw: Any, found: Any, new: Array) -> bool:
    """The rows of a CSV in long form, as they are but for their gaps; False if they cannot be told."""
    with file.open(newline="", encoding="utf-8-sig") as source:
        header, *lines = [cells for cells in csv.reader(source) if cells]
    names = [cell.strip() for cell in header]
    if raw.names is None or not {*raw.names} <= {*names} or len(lines) != len(raw.values):
        return False
    rows = _frames(lines, names.index("sequence") if "sequence" in names else None)
    columns = [names.index(name) for name in raw.names]
    for frame, feature, value in zip(found.frames.tolist(), found.features.tolist(), new, strict=True):
        lines[rows[frame]][columns[feature]] = _digits(value, raw.kind)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *lines])
    with atomic(path) as target:
        target.write(text.getvalue().encode())
    return True


def _frames(lines: list[list[str]], column: int | None) -> list[int]:
    """The line of each frame: sequences in the order of their first lines, each with its own in their order."""
    if column is None:
        return list(range(len(lines)))
    by: dict[str, list[int]] = {}
    for i, cells in enumerate(lines):
        by.setdefault(cells[column].strip(), []).append(i)
    return [i for own in by.values() for i in own]


def _digits(value: Any, kind: str) -> str:
    return str(np.float32(value)) if kind == "real" else str(round(float(value)))


def _write_npz(path: Path, file: Path, raw: Any, found: Any, new: Array) -> bool:
    """The arrays of a file, as they are but for the gaps in its values; False if these cannot be told."""
    with np.load(file, allow_pickle=False) as source:
        arrays = dict(source)
    values, held = arrays["values"].copy(), arrays.get("names")
    flat = values.reshape(len(values), -1)
    if flat.shape != tuple(raw.values.flatten(1).shape):
        return False
    order = np.arange(flat.shape[1])
    if held is not None and raw.names is not None:
        order = np.array([list(map(str, np.atleast_1d(held))).index(name) for name in raw.names])
    features = order[found.features]
    if "loc" in arrays:  # the file holds numbers in other units
        new = (new - arrays["loc"].ravel()[features]) / arrays["scale"].ravel()[features]
    flat[found.frames, features] = new
    with atomic(path) as target:
        np.savez_compressed(target, **(arrays | {"values": flat.reshape(values.shape)}))
    return True
