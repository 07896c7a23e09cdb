"""A form from its description, and the form of a trained model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .base import Form
from .dna import DNA, Protein
from .images import Images
from .pianoroll import PianoRoll
from .sound import Spectrum, Waveform
from .strokes import Strokes
from .table import Table
from .text import Text

__all__ = ["FORMS", "form_from", "form_of"]

FORMS: tuple[type[Form], ...] = (DNA, Images, PianoRoll, Protein, Spectrum, Strokes, Table, Text, Waveform)
PIANO = 88


def form_from(described: Form | Mapping[str, Any] | str) -> Form:
    """The form that ``form.describe()`` described; or one of that name, with its own defaults.

    >>> form_from("DNA"), form_from({"form": "PianoRoll", "frame": 1.0})
    (DNA(), PianoRoll(lowest=21, keys=88, frame=1.0))

    Raises:
        ValueError: an unknown form, or settings that it doesn't have.
    """
    if isinstance(described, Form):
        return described
    given = {"form": described} if isinstance(described, str) else described
    known = {form.__name__: form for form in FORMS}
    if not isinstance(given, Mapping) or given.get("form") not in known:
        name = given.get("form") if isinstance(given, Mapping) else given
        raise ValueError(f"a form is one of {', '.join(known)}, by name or as a mapping with the key 'form'; got "
                         f"{name!r}")
    try:
        return known[given["form"]](**{name: value for name, value in given.items() if name != "form"})
    except TypeError as error:
        raise ValueError(f"{given['form']} cannot be made of {dict(given)!r}: {error}") from error


def form_of(model: Any) -> Form:
    """The form of the files that a trained model reads and writes: that of its training data.

    Where they had none, 88 binary features a frame are piano rolls of quarter notes, and all else is a
    :class:`Table`.

    Raises:
        ValueError: if the model doesn't know what its data were (it wasn't made by ``for_data``).
    """
    card = getattr(model, "data_card", None)
    if card is None:
        raise ValueError(f"{type(model).__name__} doesn't know what its data were (its data_card is None): make models "
                         "with for_data, or name the form yourself")
    static = bool(getattr(model, "static", False))
    table = card.form is None or card.form.get("form") == "Table"
    if table and card.kind == "binary" and card.x_dim == PIANO and not static:
        return PianoRoll(frame=1.0)
    if card.form is not None:
        return form_from(card.form)
    return Table(card.names, card.kind, card.classes, static)
