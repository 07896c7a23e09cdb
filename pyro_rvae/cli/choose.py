"""From settings to a data set and a model."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from .. import data as library
from ..core import DataCard, SequenceVAE
from ..core.contexts import seeded
from ..data import Splits, StaticDataset
from ..data.forms import Images
from ..data.forms.folders import files_of
from ..data.forms.images import read_png
from ..distributions import ConvDecoder
from ..models.constructors import constructor
from ..nn import ConvEncoder
from ..tasks.naming import import_name, resolve
from .parser import UsageError, similar
from .settings import MAIN_MODEL, Train

__all__ = ["NAMED", "build_model", "load_data", "model_of", "raw_data", "trained_on"]

NAMED = ("bach_chorales", "jsb_chorales", "nottingham", "piano_midi", "binarized_mnist", "mnist_digits", "names",
         "tinyshakespeare", "omniglot_strokes", "pen_digits", "spoken_digits", "splice_junctions", "japanese_vowels",
         "ecg5000", "etth1", "physionet2012", "synthetic9")
IMAGES = ("binarized_mnist", "mnist_digits")  # as rows over time, or whole
LIBRARIES = (Path(__file__).parents[1], Path(torch.__file__).parent)
NUMBERS = {"int": (int,), "float": (int, float), "bool": (bool,)}


def load_data(settings: Train, *, static: bool) -> Splits[Any]:
    """The data that ``--data`` names, in the units to train on.

    :param static: whether they are for a model without time (images can be had as rows over time, or whole).
    """
    if settings.window is not None and static:
        raise UsageError("--window cuts series, and the model has no time: leave it out")
    if not settings.data:
        raise UsageError("the folder holds a model without a run, so its own data are not known: use it on a file of "
                         "yours (a run directory is what `pyro-rvae train` writes)")
    splits = raw_data(settings.data, settings.kind, settings.classes, settings.split_seed, static=static,
                      form=settings.form)
    if settings.window is not None:
        train, valid = (library.windows(side, settings.window) for side in (splits.train, splits.valid))
        splits = Splits(train, valid, splits.test).linked()
    if splits.train.kind != "real" or splits.train.transform is not None or settings.units == "raw":
        return splits
    return splits.standardize() if settings.units == "standardized" else splits.normalize()


def trained_on(settings: Train, model: SequenceVAE) -> Splits[Any]:
    """The data that a run was trained on, in the units of its model.

    :raises UsageError: they have changed since.
    """
    splits = load_data(settings, static=model.static)
    then, now = model.data_card, DataCard.of(splits.train)
    same = then is None or all(getattr(then, name) == getattr(now, name)
                               for name in ("kind", "classes", "x_dim", "names", "lengths", "labels", "control_dim"))
    ours, theirs = model.transform, splits.train.transform
    if same and ours is not None and theirs is not None:
        same = all(torch.allclose(getattr(ours, part).cpu(), getattr(theirs, part).to(ours.loc.dtype))
                   for part in ("loc", "scale"))
    if not same:
        raise UsageError(f"{settings.data} is not what this run was trained on: it has changed since")
    return splits


def raw_data(name: str, kind: Any = None, classes: int | None = None, seed: int = 0, *,
             static: bool = False, form: str | None = None) -> Splits[Any]:
    """A named data set, or a file."""
    if name in NAMED:
        found = getattr(library, name)(**({"rows": not static} if name in IMAGES else {}))
        return found if isinstance(found, Splits) else found[0]  # texts come with their vocabulary
    path = Path(name)
    if path.suffix.lower() not in library.READS and not path.is_dir():
        raise UsageError(f"--data must be a set by name ({', '.join(NAMED)}), a file {', '.join(library.READS)}, or a "
                         f"folder of them, got {name!r}{similar(name, NAMED)}")
    # of other files the form says what they hold
    given: dict[str, Any] = {"kind": kind, "classes": classes} if path.suffix.lower() in (".npz", ".csv") else {}
    given |= {} if form is None else {"form": form}
    pictures = files_of(path, (".png",)) if path.is_dir() and any(path.glob("*.png")) else []
    if static and pictures:
        height, width = read_png(pictures[0]).shape
        given["form"] = Images(height, width, rows=False)
    splits = library.load(name, seed=seed, **given)
    if not static and isinstance(splits.train, StaticDataset):
        raise UsageError(f"{name}: the file has no `lengths`, so its rows are static data, and the model is of "
                         "sequences: add an array lengths (N,), the frames of each sequence, or take --model VAE")
    if static and not isinstance(splits.train, StaticDataset):
        raise UsageError(f"{name} holds sequences, and the model is of rows without time: take a model of sequences, "
                         "such as --model VRNN, or give the rows as an .npz with an array values (N, ...) and no "
                         "lengths (images: a folder of .png files)")
    return splits


def build_model(described: Mapping[str, Any], train: Any, seed: int,
                allow: Sequence[str] | None = None) -> SequenceVAE:
    """The model that ``--model`` describes, made for a data set; its random start is that of ``seed``.

    :param allow: packages it may be imported from, where a saved run names it; ``None``: any.
    """
    cls, parts = model_of(described, allow)
    if parts.pop("x_dim", train.x_dim) != train.x_dim:
        raise UsageError(f"--model.x_dim {described['init_args']['x_dim']}, but the data have x_dim={train.x_dim}: "
                         "leave it out, the data tell it")
    with seeded(seed):
        try:
            model = cls.for_data(train, **_shaped(parts, train))
            model.data_card = model.data_card or DataCard.of(train)  # of a for_data of the user's own
            return model
        except TypeError as error:
            if _in_own_code(error):
                raise  # with its traceback
            how = "; it is called with x_dim first, and the rest by name" if "__init__()" in str(error) else ""
            raise UsageError(f"{cls.__name__} cannot be built with {sorted(parts)} for these data: "
                             f"{error}{how}") from error


def _shaped(parts: dict[str, Any], train: Any) -> dict[str, Any]:
    """Convolutions told the shape of the images, unless they are."""
    form = getattr(train, "form", None)
    height, width = getattr(form, "height", None), getattr(form, "width", None)
    if height is None or not isinstance(train, StaticDataset):
        return parts
    convolutions = {name: part for name, part in parts.items() if part in (ConvEncoder, ConvDecoder)}
    return parts | {name: partial(part, shape=(1, height, width)) for name, part in convolutions.items()}


def _in_own_code(error: BaseException) -> bool:
    """Whether an error comes from a line of the user's own, and not from how this library or torch was called."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    file = Path(last.tb_frame.f_code.co_filename) if last is not None else LIBRARIES[0]
    return not any(file.is_relative_to(folder) for folder in LIBRARIES)


def model_of(described: Mapping[str, Any],
             allow: Sequence[str] | None = None) -> tuple[type[SequenceVAE], dict[str, Any]]:
    """Class and constructor arguments, with the parts looked up; without a class, the main job's model."""
    given = dict(described.get("init_args") or {})
    if "class_path" not in described:
        given = {**MAIN_MODEL["init_args"], **given}
    cls: Any = import_name(described.get("class_path", MAIN_MODEL["class_path"]), allow, "--model")
    chosen: dict[str, Any] = {}
    if isinstance(cls, constructor):
        cls, chosen = cls.func, cls.keywords
    if not (isinstance(cls, type) and issubclass(cls, SequenceVAE)):
        raise UsageError(f"--model must name a subclass of pyro_rvae.SequenceVAE, and {described['class_path']} is "
                         "none")
    known = dict(list(inspect.signature(cls.__init__).parameters.items())[1:])
    for name in given:
        if name not in known and not any(p.kind is p.VAR_KEYWORD for p in known.values()):
            raise UsageError(f"{cls.__name__} has no argument {name!r}{similar(name, known)}; it has "
                             f"{', '.join(known)}")
    given = {name: _argument(value, known.get(name), f"--model.{name}", allow) for name, value in given.items()}
    return cls, chosen | given


def _argument(value: Any, parameter: inspect.Parameter | None, flag: str, allow: Sequence[str] | None) -> Any:
    """A part by name, or a number of the right kind. (No string selects behaviour on a model: a string is a name.)"""
    wanted = parameter.annotation if parameter is not None else ""
    wanted = wanted if isinstance(wanted, str) else getattr(wanted, "__name__", str(wanted))
    if wanted in NUMBERS:
        if not isinstance(value, NUMBERS[wanted]) or (isinstance(value, bool) and wanted != "bool"):
            raise UsageError(f"{flag} must be {wanted}, got {value!r}")
        return value
    if isinstance(value, str) and "str" not in wanted:
        return import_name(value, allow, flag)
    return resolve(value, allow, flag)
