"""Numbers as a file holds them (``.npz``, or CSV in long form), and the data set that they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .checks import as_tensor
from .datasets import SequenceDataset
from .kinds import Kind
from .longform import read_csv
from .npz import read_npz
from .static import StaticDataset
from .transforms import Affine

__all__ = ["read_arrays", "whole"]

KNOWN = (
    "values", "lengths", "split", "labels", "controls", "times", "names", "ids", "kind", "classes", "loc", "scale",
    "form", "control_names",
)


def read_arrays(path: Path, kind: Kind | None = None, classes: int | None = None) -> dict[str, np.ndarray]:
    """The arrays of a data set in a file ``.npz`` or ``.csv``, as :func:`pyro_rvae.data.load` describes them.

    :raises ValueError: if the file is broken, of another form, or holds Python objects.
    """
    arrays = read_csv(path, kind) if path.suffix.lower() == ".csv" else _checked(read_npz(path), path.name)
    for name, value in {"kind": kind, "classes": classes}.items():
        if value is not None:
            arrays[name] = np.asarray(value)
    return arrays


def _checked(arrays: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    """The arrays of an ``.npz``, if they are those of a data set."""
    if "values" not in arrays:
        raise ValueError(
            f"{name} must hold an array 'values' (sum T, x_dim) and 'lengths' (N,), got {sorted(arrays)}"
        )
    unknown = sorted(set(arrays) - {*KNOWN})
    if unknown:
        raise ValueError(
            f"{name} holds unknown arrays {unknown}: known are {', '.join(KNOWN)}; rename or leave them out"
        )
    return arrays


def whole(arrays: dict[str, np.ndarray]) -> SequenceDataset | StaticDataset:
    """All of a file as one data set, so that kind and classes are those of the whole."""
    given: dict[str, Any] = {"labels": arrays.get("labels")}
    for name in ("names", "ids"):
        given[name] = None if name not in arrays else np.atleast_1d(arrays[name]).tolist()
    given["kind"] = None if "kind" not in arrays else str(arrays["kind"])
    given["classes"] = None if "classes" not in arrays else int(arrays["classes"])
    given["transform"] = _transform(arrays)
    if "lengths" in arrays:
        known: dict[str, Any] = {name: arrays.get(name) for name in ("controls", "times")}
        return SequenceDataset(arrays["values"], arrays["lengths"], **known, **given)
    for name in ("controls", "times"):
        if name in arrays:
            raise ValueError(f"{name} belong to sequences: give lengths (N,) too, or leave the {name} out")
    return StaticDataset(arrays["values"], **given)


def _transform(arrays: dict[str, np.ndarray]) -> Affine | None:
    if ("loc" in arrays) != ("scale" in arrays):
        raise ValueError("loc and scale of a transform go together: give both, or neither")
    if "loc" not in arrays:
        return None
    return Affine(as_tensor(arrays["loc"], "loc"), as_tensor(arrays["scale"], "scale"))
