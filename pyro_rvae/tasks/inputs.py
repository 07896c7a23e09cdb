"""What the tasks take: a data set, or arrays as they were measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core import SequenceVAE
from ..criticism.chunks import check_data, like_of
from ..data import Affine, SequenceDataset, StaticDataset
from ..data.hold_out import with_values
from ..data.transforms import raw_units
from ..distributions import family_class, kinds_of
from .arrays import are_frames, exact, is_frame, names_of_frames, rows_of, sequences_of

__all__ = ["as_data", "check_form", "check_names", "check_precision", "in_double", "kind_of", "label_codes"]


def as_data(model: Any, data: Any, caller: str, **known: Any) -> Any:
    """The data set of a task, in the model's units and precision.

    Units are changed in double precision, before the numbers take the model's: numbers as large as 1e7 keep the digits
    in which they differ.

    Arguments:
        model: the model that will read it.
        data: a data set, in the model's units (with its transform) or in raw ones (without: the model's is applied;
            of a model that was built for raw data, and knows it, a data set's own transform is undone); or raw
            numbers: a list of sequences ``(T_i, x_dim)``, an array ``(N, T, x_dim)``, or one sequence ``(T, x_dim)``,
            also as nested lists and DataFrames (:func:`~pyro_rvae.tasks.arrays.sequences_of`), whose columns are put
            in the order of the training data's features. Of a static model, rows ``(N, *event_shape)``.
        caller: for the messages.
        known: ``labels, controls`` (a list, one array a sequence) that go with raw numbers.

    Raises:
        ValueError: other features than the model was trained on; a model in half precision; or what a data set refuses.
        TypeError: what is neither.
    """
    if isinstance(model, type):
        check_data(model, data, caller)  # which says what to do
    check_precision(model, caller)
    if are_frames(data) or not (hasattr(data, "padded") or hasattr(data, "test")):
        data = _from_arrays(model, data, caller, known)
    elif any(value is not None for value in known.values()):
        raise ValueError(f"{caller}: a data set holds its own {' and '.join(sorted(known))}: pass them with arrays "
                         "only.")
    if hasattr(data, "padded"):
        check_names(model, data, caller)
        check_form(model, data, caller)
        data = _in_precision(model, _in_units(model, data))
    check_data(model, data, caller)
    return data


def check_precision(model: Any, caller: str) -> None:
    """Refuse weights in half precision."""
    dtype = like_of(model).dtype if isinstance(model, SequenceVAE) else torch.float32
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"{caller}: the model's weights are {dtype}, in which sums over frames lose what they add: "
                         "convert it with model.float().")


# ------------------------------------------------------------------------------------------ units and precision
def in_double(data: Any) -> Any:
    """The data set with a transform in double precision, so that numbers brought to raw units keep their digits."""
    if data.transform is None or data.transform.loc.dtype == torch.float64:
        return data
    return with_values(data, data.values, _double(data.transform))


def _double(transform: Affine) -> Affine:
    return Affine(transform.loc.detach().cpu().double(), transform.scale.detach().cpu().double())


def _in_units(model: Any, data: Any) -> Any:
    """A data set of real numbers in the model's units, in double precision if they had to be changed."""
    ours, theirs = getattr(model, "transform", None), data.transform
    if ours is None and theirs is not None and getattr(model, "data_card", None) is not None:
        raw = with_values(data, raw_units(in_double(data), data.values.double()), None)
        raw.reference = None  # which has the units of the given data
        return raw
    if ours is None or theirs is not None or data.kind != "real" or data.values.shape[1:] != ours.loc.shape:
        return data
    made = with_values(data, data.values.double(), None).transformed(_double(ours))
    made.transform = Affine(ours.loc.detach().cpu(), ours.scale.detach().cpu())
    return made


def _in_precision(model: Any, data: Any) -> Any:
    """All real numbers of a data set in the precision of the weights; the given data set stays as it is."""
    if not isinstance(model, SequenceVAE):
        return data
    dtype = like_of(model).dtype
    known = {name: getattr(data, name) for name in ("values", "labels", "controls")}
    differ = {name: x.to(dtype) for name, x in known.items()
              if x is not None and x.is_floating_point() and x.dtype != dtype}
    if not differ:
        return data
    made = with_values(data, differ.pop("values", data.values), data.transform)
    for name, value in differ.items():
        setattr(made, name, value)
    return made


# ------------------------------------------------------------------------------------------ what must agree
def check_names(model: Any, data: Any, caller: str) -> None:
    """Refuse features of other names than those that a model was trained on."""
    card = getattr(model, "data_card", None)
    if card is None or card.names is None or data.names is None or tuple(data.names) == card.names:
        return
    lacking = [name for name in card.names if name not in data.names]
    strange = [name for name in data.names if name not in card.names]
    if lacking or strange:
        what = f"lacks {lacking[:5]}" * bool(lacking) + " and " * bool(lacking and strange) \
            + f"has {strange[:5]} instead" * bool(strange)
    else:
        what = f"has them in another order, {list(data.names)[:5]}"
    raise ValueError(f"{caller}: the model was trained on the features {list(card.names)[:8]}, the data set {what}: "
                     "pass the features that it was trained on, in their order.")


def check_form(model: Any, data: Any, caller: str) -> None:
    """Refuse text in the codes of another vocabulary, and spectra of other frames, than a model was trained on."""
    card = getattr(model, "data_card", None)
    if card is None or card.form is None or data.form is None:
        return
    ours, theirs = dict(card.form), data.form.describe()
    if ours["form"] != theirs["form"]:
        return
    what = {"Text": ["vocabulary"], "Spectrum": ["rate", "window", "hop", "bands", "floor"]}.get(ours["form"], [])
    differ = [name for name in what if ours.get(name) != theirs.get(name)]
    if differ:
        raise ValueError(f"{caller}: the model was trained on {ours['form']} with another {' and '.join(differ)} than "
                         "the data set has, so that the numbers mean other things: read files for it with "
                         "rv.data.read(path, model).")


def _from_arrays(model: Any, data: Any, caller: str, known: dict[str, Any]) -> Any:
    if not isinstance(data, Tensor | np.ndarray | Sequence) and not is_frame(data) or isinstance(data, str):
        raise TypeError(f"{caller} needs a data set (SequenceDataset, StaticDataset), a list of arrays (T, x_dim), or "
                        f"an array (N, T, x_dim); got {type(data).__name__}.")
    if not hasattr(model, "static"):
        check_data(model, data, caller)  # no model
    kind, classes = kind_of(model)
    given: dict[str, Any] = {"kind": kind, "classes": classes, "names": names_of_frames(data)}
    card = getattr(model, "data_card", None)
    if given["names"] is not None and card is not None and card.names is not None:
        given["names"] = card.names  # in whose order the columns are by now
    if known.get("labels") is not None:
        given["labels"] = label_codes(model, exact(known["labels"], None), caller)
    if model.static:
        made: Any = StaticDataset(exact(rows_of(model, data, caller), kind), **given)
    else:
        if known.get("controls") is not None:
            given["controls"] = [exact(part, kind) for part in known["controls"]]
        made = SequenceDataset.from_sequences([exact(x, kind) for x in sequences_of(model, data, caller)], **given)
    return made if isinstance(model, SequenceVAE) else _single(model, made)


def _single(model: Any, made: Any) -> Any:
    """The arrays of a user's own programs in the precision of their weights, or else torch's."""
    for name in ("values", "controls"):
        value = getattr(made, name)
        if value is not None and value.is_floating_point():
            setattr(made, name, value.to(like_of(model).dtype))
    return made


def label_codes(model: Any, labels: Any, caller: str) -> Any:
    """Labels as a model reads them: of one that reads classes, 1.0 is the code 1, and NaN (unknown) is -1.

    Raises:
        ValueError: a fraction where codes are read.
    """
    classes = getattr(getattr(model, "context", None), "classes", None)
    if classes is None or not isinstance(labels, Tensor) or not labels.is_floating_point():
        return labels
    codes = labels.nan_to_num(-1.0)
    if not bool((codes == codes.round()).all()):
        raise ValueError(f"{caller}: the model reads labels that are codes, 0 to {classes - 1}, got "
                         f"{float(codes[codes != codes.round()][0]):g}.")
    return codes.long()


def kind_of(model: Any) -> tuple[str | None, int | None]:
    """Kind of a model's data, and number of classes of categories: what it remembers, or its likelihood says."""
    card = getattr(model, "data_card", None)
    if card is not None:
        return card.kind, card.classes
    likelihood = getattr(model, "likelihood", None) or getattr(getattr(model, "base", None), "likelihood", None)
    family = family_class(likelihood)
    kind = None if family is None else kinds_of(family)[-1]
    return kind, getattr(model.reader, "classes", None) if kind == "categories" else None

