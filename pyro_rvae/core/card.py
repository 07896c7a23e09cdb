"""What a model remembers of the data that it was built for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["DataCard"]

MOST_LABELS = 1000  # values of a label that are remembered one by one


@dataclass(frozen=True)
class DataCard:
    """What the training data were, in plain numbers and words: saved with a model, asked by the tasks.

    Attributes:
        kind: ``"binary"``, ``"real"``, ``"counts"`` or ``"categories"``; classes: of categories.
        x_dim: features of a frame, or of an item.
        names: of the features, if they have any.
        missing: whether elements were missing.
        lengths: how many training sequences had each length; empty for static data.
        labels: the values that integer labels had, sorted; ``None`` for other labels, or none.
        control_dim: known inputs a step.
        form: how files become such data and back, as ``rv.data`` describes it, or ``None``.
    """

    kind: str
    x_dim: int
    classes: int | None = None
    names: tuple[str, ...] | None = None
    missing: bool = False
    lengths: Mapping[int, int] = field(default_factory=dict)
    labels: tuple[int, ...] | None = None
    control_dim: int = 0
    form: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, data: Any) -> DataCard:
        """The card of a data set."""
        lengths: dict[int, int] = {}
        if hasattr(data, "lengths"):
            values, counts = data.lengths.unique(return_counts=True)
            lengths = dict(zip(values.tolist(), counts.tolist(), strict=True))
        form = getattr(data, "form", None)
        names = None if data.names is None else tuple(data.names)
        return cls(data.kind, data.x_dim, data.classes, names, bool(data.missing), lengths, _labels(data.labels),
                   getattr(data, "control_dim", 0), None if form is None else form.describe())

    def to_dict(self) -> dict[str, Any]:
        """As YAML and JSON take it; what is not there is left out."""
        found = {name: getattr(self, name) for name in (f.name for f in dataclasses.fields(self))}
        plain = {name: list(value) if isinstance(value, tuple) else dict(value) if isinstance(value, Mapping) else value
                 for name, value in found.items()}
        return {name: value for name, value in plain.items() if value not in (None, {}, False, 0)}

    @classmethod
    def from_dict(cls, found: Any) -> DataCard:
        """The card that :meth:`to_dict` described.

        :raises ValueError: if it is no such mapping; the message names the field.
        """
        known = {f.name for f in dataclasses.fields(cls)}
        if not isinstance(found, Mapping) or not {"kind", "x_dim"} <= found.keys() or found.keys() - known:
            wrong = sorted(map(str, found.keys() - known)) if isinstance(found, Mapping) else found
            raise ValueError(f"data_card must be a mapping with kind and x_dim, and of {sorted(known)} no others; got "
                             f"{wrong!r}: was it edited by hand?")
        given = dict(found)
        _check_fields(given)
        for name in ("names", "labels"):
            if given.get(name) is not None:
                given[name] = tuple(given[name])
        return cls(**given)


# What each field of a card must be, in words, and the test of it.
FIELDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "kind": ("binary, real, counts or categories", lambda v: v in ("binary", "real", "counts", "categories")),
    "x_dim": ("an integer of at least 1", lambda v: _count(v, 1)),
    "classes": ("an integer of at least 1", lambda v: _count(v, 1)),
    "names": ("a list of words", lambda v: _all(v, list | tuple, lambda name: isinstance(name, str))),
    "missing": ("true or false", lambda v: isinstance(v, bool)),
    "lengths": ("a mapping from length to number of sequences",
                lambda v: isinstance(v, Mapping) and all(_count(n, 1) for pair in v.items() for n in pair)),
    "labels": ("a list of integers", lambda v: _all(v, list | tuple, lambda label: _count(label, 0))),
    "control_dim": ("an integer of at least 0", lambda v: _count(v, 0)),
    "form": ("a mapping", lambda v: isinstance(v, Mapping)),
}
OPTIONAL = ("classes", "names", "labels", "form")


def _check_fields(given: Mapping[str, Any]) -> None:
    for name, value in given.items():
        wanted, fits = FIELDS[name]
        if not (value is None and name in OPTIONAL) and not fits(value):
            raise ValueError(f"data_card.{name} must be {wanted}, got {value!r}: was it edited by hand?")
    if given.get("names") is not None and len(given["names"]) != given["x_dim"]:
        raise ValueError(f"data_card.names must be one for each of x_dim={given['x_dim']} features, got "
                         f"{len(given['names'])}: was it edited by hand?")


def _count(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _all(values: Any, kind: Any, fits: Callable[[Any], bool]) -> bool:
    return isinstance(values, kind) and all(map(fits, values))


def _labels(labels: Any) -> tuple[int, ...] | None:
    if labels is None or labels.is_floating_point() or labels.dim() != 1:
        return None
    values = labels[labels >= 0].unique().tolist()
    return tuple(values) if len(values) <= MOST_LABELS else None
