"""A user's own data: ``.npz`` (read and written) and CSV in long form (read)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from .atomic import atomic
from .checks import as_tensor
from .datasets import SequenceDataset
from .kinds import Kind
from .longform import read_csv
from .npz import read_npz
from .splits import Splits
from .static import StaticDataset
from .transforms import Affine

__all__ = ["fixed_split", "load", "save"]

SIDES = ("train", "valid", "test")
KNOWN = (
    "values",
    "lengths",
    "split",
    "labels",
    "controls",
    "times",
    "names",
    "ids",
    "kind",
    "classes",
    "loc",
    "scale",
)


def load(
    path: str | Path, *, kind: Kind | None = None, classes: int | None = None, seed: int = 0
) -> Splits[Any]:
    """Reads a user's data set and its split.

    ``.npz`` holds ``values (sum T, x_dim)``, all sequences one after the other in time (NaN, or -1 among
    categories, is a missing element), and ``lengths (N,)``. Without ``lengths`` the rows are independent,
    ``(N, *event_shape)``, and the sides are :class:`StaticDataset`. Optional: ``split (N,)`` (``"train"``,
    ``"valid"``, ``"test"``, or 0, 1, 2), ``labels (N, ...)``, ``controls (sum T, c)``, ``times (sum T,)``,
    ``names (x_dim,)``, ``ids (N,)``, ``kind``, ``classes``, and ``loc``, ``scale`` of a transform that was applied.

    CSV has a row for each frame, with columns ``sequence`` (any name), ``time`` (a number, rising within a
    sequence; it gives the order, no model reads it, and a gap is not filled), optionally ``split`` and ``label``
    (the same in all rows of a sequence; labels are numbers), and one column for each feature. An empty cell is a
    missing element. It is read with the standard library's csv module: pandas is no dependency of this
    package, and the line of a fault, which the errors name, is known there.

    Without a split, sequences are dealt out 80/10/10 at random by `seed` (:func:`fixed_split`).

    :param kind: what the values are, if the file does not say and they do not show it.
    :param classes: number of classes of categories.
    :raises ValueError: if the file is absent, broken, of another form, or holds Python objects (they could
        run code); or for what :class:`SequenceDataset` refuses.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no file {path}: give the path of a data file, .npz or .csv")
    if path.suffix == ".npz":
        arrays = _checked(read_npz(path), path.name)
    elif path.suffix == ".csv":
        arrays = read_csv(path, kind)
    else:
        raise ValueError(f"data are read from .npz or .csv, got {path.name!r}: convert it, or rename it")
    for name, value in {"kind": kind, "classes": classes}.items():
        if value is not None:
            arrays[name] = np.asarray(value)
    return _divided(_whole(arrays), arrays.get("split"), seed)


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


def _whole(arrays: dict[str, np.ndarray]) -> SequenceDataset | StaticDataset:
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


def _divided(whole: Any, split: np.ndarray | None, seed: int) -> Splits[Any]:
    side = fixed_split(len(whole), seed) if split is None else _side_numbers(split, len(whole))
    for number, name in enumerate(SIDES):
        if not (side == number).any():
            raise ValueError(f"split names no sequence as {name!r} ({number}): each side needs at least one")
    return Splits(*(whole.subset(side == number) for number in range(3))).linked()


def _side_numbers(split: np.ndarray, n: int) -> np.ndarray:
    if split.shape != (n,):
        raise ValueError(f"split must name a side for each of {n} sequences, got shape {split.shape}")
    words = [str(word) for word in split.tolist()]
    numbers = {name: i for i, name in enumerate(SIDES)} | {str(i): i for i in range(3)}
    for i, word in enumerate(words):
        if word not in numbers:
            raise ValueError(
                f"split must be 'train', 'valid', 'test' or 0, 1, 2, got {word!r} for sequence {i}"
            )
    return np.array([numbers[word] for word in words])


def fixed_split(n: int, seed: int = 0) -> np.ndarray:
    """A side (0 train, 1 valid, 2 test) for each of `n` sequences: 80/10/10, at random, fixed by `seed`.

    Valid and test have one sequence at least each.

    :raises ValueError: for less than three sequences.
    """
    if n < 3:
        raise ValueError(f"{n} sequences cannot be split into train, valid and test: give at least three")
    held = max(1, round(0.1 * n))
    order = np.random.Generator(np.random.PCG64(seed)).permutation(n)
    side = np.zeros(n, dtype=int)
    side[order[:held]], side[order[held : 2 * held]] = 2, 1
    return side


def save(path: str | Path, splits: Splits[Any]) -> None:
    """Writes three sides as one ``.npz`` that :func:`load` reads; whole or not at all.

    :raises ValueError: if the path does not end in ``.npz``, its folder is absent, or the sides differ in
        what they hold.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"data are written as .npz, got {path.name!r}: change the ending")
    arrays = {name: array for name, array in _arrays(splits).items() if array is not None}
    with atomic(path) as file:
        np.savez_compressed(file, **arrays)


def _arrays(splits: Splits[Any]) -> dict[str, Any]:
    """What :func:`save` writes, by name; None for what the sides don't have."""
    first = splits.train
    for name in ("kind", "classes", "names", "x_dim", "control_dim"):
        if any(getattr(side, name) != getattr(first, name) for side in splits):
            values = [getattr(side, name) for side in splits]
            raise ValueError(f"train, valid and test must agree in {name}, got {values}")
    transform = first.transform
    return {
        "values": _joined(splits, "values"),
        "lengths": _joined(splits, "lengths") if isinstance(first, SequenceDataset) else None,
        "split": np.repeat(np.array(SIDES), [len(side) for side in splits]),
        "labels": _joined(splits, "labels"),
        "controls": _joined(splits, "controls"),
        "times": _joined(splits, "times") if isinstance(first, SequenceDataset) else None,
        "names": None if first.names is None else np.array(first.names),
        "ids": None if any(s.ids is None for s in splits) else np.array(sum((s.ids for s in splits), ())),
        "kind": np.array(first.kind),
        "classes": None if first.classes is None else np.array(first.classes),
        "loc": None if transform is None else transform.loc.cpu().numpy(),
        "scale": None if transform is None else transform.scale.cpu().numpy(),
    }


def _joined(splits: Splits[Any], name: str) -> np.ndarray | None:
    tensors = [getattr(side, name) for side in splits]
    if all(tensor is None for tensor in tensors):
        return None
    if any(tensor is None for tensor in tensors):
        raise ValueError(f"train, valid and test must agree in {name}: some have them, some have none")
    array: np.ndarray = torch.cat(tensors).cpu().numpy()
    return array
