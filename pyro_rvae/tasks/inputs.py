"""What the tasks take: a data set, or arrays as they were measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from ..criticism.chunks import check_data, like_of
from ..data import SequenceDataset, StaticDataset
from ..distributions import family_class, kinds_of

__all__ = ["as_data", "check_form", "check_names", "kind_of"]


def as_data(model: Any, data: Any, caller: str, **known: Any) -> Any:
    """The data set of a task, in the model's units and precision.

    Arguments:
        model: the model that will read it.
        data: a data set, in the model's units (with its transform) or in raw ones (without: the model's is applied);
            or raw numbers: a list of sequences ``(T_i, x_dim)``, an array ``(N, T, x_dim)``, or one sequence
            ``(T, x_dim)``. Of a static model, rows ``(N, *event_shape)``.
        caller: for the messages.
        known: ``labels, controls`` (a list, one array a sequence) that go with raw numbers.

    Raises:
        ValueError: other features than the model was trained on, or what a data set refuses.
        TypeError: what is neither.
    """
    if isinstance(model, type):
        check_data(model, data, caller)  # which says what to do
    if not hasattr(data, "padded") and not hasattr(data, "test"):
        data = _from_arrays(model, data, caller, known)
    elif any(value is not None for value in known.values()):
        raise ValueError(f"{caller}: a data set holds its own {' and '.join(sorted(known))}: pass them with arrays "
                         "only.")
    if hasattr(data, "padded"):
        check_names(model, data, caller)
        check_form(model, data, caller)
        transform = getattr(model, "transform", None)
        if transform is not None and data.transform is None and data.kind == "real" and data.x_dim == model.x_dim:
            data = data.transformed(transform.to("cpu") if data.values.device.type == "cpu" else transform)
    check_data(model, data, caller)
    return data


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
    if not isinstance(data, Tensor | np.ndarray | Sequence) or isinstance(data, str):
        raise TypeError(f"{caller} needs a data set (SequenceDataset, StaticDataset), a list of arrays (T, x_dim), or "
                        f"an array (N, T, x_dim); got {type(data).__name__}.")
    like = like_of(model)
    kind, classes = kind_of(model)
    given: dict[str, Any] = {"kind": kind, "classes": classes}
    given |= {name: value for name, value in known.items() if value is not None}
    if model.static:
        made: Any = StaticDataset(data, **given)
    else:
        rows = [data] if isinstance(data, Tensor | np.ndarray) and data.ndim == 2 else list(data)
        made = SequenceDataset.from_sequences(rows, **given)
    if made.values.is_floating_point() and made.values.dtype != like.dtype:
        made.values = made.values.to(like.dtype)
        if made.__dict__.get("controls") is not None:
            made.controls = made.controls.to(like.dtype)
    return made


def kind_of(model: Any) -> tuple[str | None, int | None]:
    """Kind of a model's data, and number of classes of categories: what it remembers, or its likelihood says."""
    card = getattr(model, "data_card", None)
    if card is not None:
        return card.kind, card.classes
    likelihood = getattr(model, "likelihood", None) or getattr(getattr(model, "base", None), "likelihood", None)
    family = family_class(likelihood)
    kind = None if family is None else kinds_of(family)[-1]
    return kind, getattr(model.reader, "classes", None) if kind == "categories" else None

