"""A user's own data: files of all forms are read here, with their split; ``.npz`` is written."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .arrays import read_arrays, whole
from .atomic import atomic
from .datasets import SequenceDataset
from .forms import DNA, FORMS, Form, Images, PianoRoll, Spectrum, Table, Text, form_from, form_of
from .forms.folders import existing, files_of
from .forms.images import read_png
from .forms.text import lines_of
from .kinds import Kind
from .series import split_in_time
from .splits import Splits
from .text import Vocabulary

__all__ = ["READS", "fixed_split", "load", "read", "save"]

SIDES = ("train", "valid", "test")
NUMBERS = (".npz", ".csv")
READS = tuple(dict.fromkeys([*NUMBERS, *sorted(ending for form in FORMS for ending in form.endings)]))


def load(
    path: str | Path,
    *,
    kind: Kind | None = None,
    classes: int | None = None,
    seed: int = 0,
    form: Form | Mapping[str, Any] | str | None = None,
) -> Splits[Any]:
    """Reads a user's data set and its split.

    ``.npz`` holds ``values (sum T, x_dim)``, all sequences one after the other in time (NaN, or -1 among
    categories, is a missing element), and ``lengths (N,)``. Without ``lengths`` the rows are independent,
    ``(N, *event_shape)``, and the sides are :class:`StaticDataset`. Optional: ``split (N,)`` (``"train"``,
    ``"valid"``, ``"test"``, or 0, 1, 2), ``labels (N, ...)``, ``controls (sum T, c)``, ``times (sum T,)``,
    ``names (x_dim,)``, ``ids (N,)``, ``kind``, ``classes``, ``form`` (a form's description, as JSON), and ``loc``,
    ``scale`` of a transform that was applied.

    CSV has a row for each frame, with columns ``sequence`` (any name), ``time`` (a number, rising within a
    sequence; it gives the order, no model reads it, and a gap is not filled), optionally ``split`` and ``label``
    (the same in all rows of a sequence; labels are numbers), columns ``control:NAME`` (known inputs), and one for each
    feature. An empty cell is a missing element. It is read with the standard library's csv module: pandas is no
    dependency of this package, and the line of a fault, which the errors name, is known there.

    Other files by their form: ``.txt`` (:class:`Text`, a line a sequence; the vocabulary is that of the training
    side), ``.fasta``, ``.fa``, ``.fna`` (:class:`DNA`), and, one sequence each, ``.mid`` (:class:`PianoRoll`),
    ``.wav`` (:class:`Spectrum`) and ``.png`` (:class:`Images`, of the first one's size), of which ``path`` is a
    folder. The form is attached, ``data.train.form``; a model made for the data remembers it (:func:`read`).

    Without a split, sequences are dealt out 80/10/10 at random by `seed` (:func:`fixed_split`); one or two long series
    of an ``.npz`` or CSV file are each split in time, the first 80% of the frames, the next 10%, the last 10%.

    :param kind: what the values are, if the file does not say and they do not show it (``.npz`` and CSV).
    :param classes: number of classes of categories.
    :param form: where the file's ending does not tell it, or another setting is wanted: a form, its description, or
        its name.
    :raises ValueError: if the file is absent, broken, of another form, or holds Python objects (they could
        run code); or for what :class:`SequenceDataset` refuses.
    """
    ending = _ending(Path(path))
    wanted = None if form is None else form_from(form)
    if ending in NUMBERS:
        return _load_numbers(_one(path), kind, classes, seed, wanted)
    for name, value in {"kind": kind, "classes": classes}.items():
        if value is not None:
            raise ValueError(f"{name} is for .npz and .csv: files {ending} are what their form says; leave it out")
    if wanted is None and ending == ".txt":
        return _load_text(existing(path), seed)
    wanted = _usual_form(Path(path), ending) if wanted is None else wanted
    return _divided(_of_form(wanted, path, ending), None, seed)


def read(path: str | Path, form: Any) -> Any:
    """Reads a user's file for a trained model, as one data set with all its sequences, in raw units.

    :param form: a form, its description or name; or the model, whose form is taken (:func:`form_of`). Files ``.npz``
        and ``.csv`` are read for each form: they hold the numbers themselves.
    :raises ValueError: if the file is of another form, absent or broken, or for what :class:`SequenceDataset` refuses.

    >>> read("new.mid", model)  # doctest: +SKIP
    SequenceDataset(1 sequences, 64 frames, x_dim=88, kind='binary', lengths 64-64-64)
    """
    wanted = form_of(form) if hasattr(form, "data_card") else form_from(form)
    ending = _ending(Path(path))
    if ending in NUMBERS and not isinstance(wanted, Table):
        path = _one(path)
        return wanted.adopt(whole(read_arrays(path, wanted.kind, wanted.classes)), path.name)
    return _of_form(wanted, path, ending)


def _ending(path: Path) -> str:
    """The ending of a file, or of the files of a folder."""
    if not path.exists():
        raise ValueError(f"there is no file {path}: give the path of a data file ({', '.join(READS)}), or of a folder")
    found = {path.suffix.lower()}
    if path.is_dir():
        found = {p.suffix.lower() for p in path.iterdir() if p.suffix.lower() in READS and not p.name.startswith(".")}
        if len(found) != 1 and found != {*PianoRoll.endings}:
            raise ValueError(f"the folder {path} must hold files of one sort ({', '.join(READS)}), got "
                             f"{' and '.join(sorted(found)) or 'none'}")
    ending = min(found)
    if ending not in READS:
        raise ValueError(f"data are read from {', '.join(READS)}, got {path.name!r}: convert it, or rename it")
    return ending


def _one(path: str | Path) -> Path:
    if Path(path).is_dir():
        raise ValueError(f"{path} is a folder, and a file .npz or .csv holds all sequences: give one of its files")
    return Path(path)


def _of_form(form: Form, path: str | Path, ending: str) -> Any:
    if ending not in form.endings:
        raise ValueError(f"{Path(path).name!r} cannot be read as {type(form).__name__}, which is "
                         f"{', '.join(dict.fromkeys([*form.endings, *NUMBERS]))}: give such a file")
    return form.read(path)


def _usual_form(path: Path, ending: str) -> Form:
    """The form of files that nobody named one for."""
    if ending == ".png":
        return Images(*read_png(files_of(path, (ending,))[0]).shape)
    forms: dict[str, Callable[[], Form]] = {
        **dict.fromkeys(DNA.endings, DNA), **dict.fromkeys(PianoRoll.endings, PianoRoll), ".wav": Spectrum,
    }
    return forms[ending]()


def _load_numbers(path: Path, kind: Kind | None, classes: int | None, seed: int, form: Form | None) -> Splits[Any]:
    """Arrays; with a form, those of such data."""
    if form is not None:
        if kind not in (None, form.kind) or classes not in (None, form.classes):
            raise ValueError(f"{type(form).__name__} says what the values are (kind={form.kind!r}, classes="
                             f"{form.classes}): leave kind and classes out")
        kind, classes = form.kind, form.classes
    arrays = read_arrays(path, kind, classes)
    data = whole(arrays)
    if form is None and "form" in arrays:
        form = _described(str(arrays["form"]), path.name)
    (Table.of(data, arrays) if form is None else form).adopt(data, path.name)
    if "split" not in arrays and len(data) < 3 and isinstance(data, SequenceDataset):
        return split_in_time(data)
    return _divided(data, arrays.get("split"), seed)


def _described(text: str, name: str) -> Form:
    try:
        return form_from(json.loads(text))
    except ValueError as error:
        raise ValueError(f"{name}: the array form must be a form's description, as JSON: {error}") from error


def _load_text(path: Path, seed: int) -> Splits[Any]:
    """Lines, with the vocabulary of the training side."""
    lines, ids = lines_of(path)
    side = fixed_split(len(lines), seed)
    vocabulary = Vocabulary.from_texts([line for line, number in zip(lines, side, strict=True) if not number])
    data = vocabulary.encode(lines, ids=ids)
    data.form = Text(vocabulary)
    return _divided(data, side, seed)


def _divided(data: Any, split: np.ndarray | None, seed: int) -> Splits[Any]:
    side = fixed_split(len(data), seed) if split is None else _side_numbers(split, len(data))
    for number, name in enumerate(SIDES):
        if not (side == number).any():
            raise ValueError(f"split names no sequence as {name!r} ({number}): each side needs at least one")
    return Splits(*(data.subset(side == number) for number in range(3))).linked()


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
    for name in ("kind", "classes", "names", "x_dim", "control_dim", "form"):
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
        "form": None if first.form is None else np.array(json.dumps(first.form.describe())),
    }


def _joined(splits: Splits[Any], name: str) -> np.ndarray | None:
    tensors = [getattr(side, name) for side in splits]
    if all(tensor is None for tensor in tensors):
        return None
    if any(tensor is None for tensor in tensors):
        raise ValueError(f"train, valid and test must agree in {name}: some have them, some have none")
    array: np.ndarray = torch.cat(tensors).cpu().numpy()
    return array
