"""What the elements of a data set are: binary, real, counts or categories, and whether they can be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

__all__ = ["Kind", "check_kind", "find_missing", "to_kind"]

Kind = Literal["binary", "real", "counts", "categories"]
Where = Callable[[Tensor], str]
"""Words for a place: from the index of one element of the values to "sequence 3, step 7, feature 2"."""


def to_kind(values: Tensor, kind: Kind | None) -> tuple[Kind, Tensor]:
    """The kind, and the values in its type: as given, or inferred where it is plain.

    bool and 0/1 are binary; other floats are real. Other integers may be counts or categories, which
    no look at the numbers can tell, so that the user must say. A tensor of floats keeps its precision;
    booleans and integers become torch's default dtype (categories: long, with -1 where one is missing).
    """
    if kind is not None and kind not in get_args(Kind):
        raise ValueError(f"kind must be one of {', '.join(get_args(Kind))}, got {kind!r}")
    floating = values.is_floating_point()
    kind = kind or _infer(values)
    if kind == "categories":
        known = ~values.isnan() if floating else torch.ones_like(values, dtype=torch.bool)
        whole = values.nan_to_num(0.0).round() if floating else values
        if floating and not bool((whole == values)[known].all()):
            raise ValueError("categories must be whole numbers 0, 1, ..., got a fraction: use kind='real'")
        return kind, whole.long().masked_fill(~known, -1)
    return kind, values if floating else values.to(torch.get_default_dtype())


def _infer(values: Tensor) -> Kind:
    zero_one = (values == 0) | (values == 1)
    if values.dtype == torch.bool or bool((zero_one | values.isnan()).all()):
        return "binary"
    if values.is_floating_point():
        return "real"
    raise ValueError(
        f"integers from {int(values.min())} to {int(values.max())} may be counts or categories: pass "
        "kind='counts', or kind='categories' with classes=..., or kind='real' for measurements"
    )


def check_kind(values: Tensor, kind: Kind, classes: int | None, where: Where) -> None:
    """The values lie in the support of their kind; infinities do in none.

    :raises ValueError: naming the first element that does not, and its place.
    """
    if kind == "categories":
        _check_classes(values, classes)
        _refuse(
            values,
            (values < -1) | (values >= (classes or 0)),
            where,
            f"a category is a whole number from 0 to {(classes or 0) - 1} (-1 = missing)",
            "raise classes, or look at the coding",
        )
        return
    if classes is not None:
        raise ValueError(f"classes is for kind='categories' only, got classes={classes} with kind={kind!r}")
    _refuse(
        values,
        values.isinf(),
        where,
        "values must be finite (NaN = missing)",
        "mark it missing with NaN, or clip it",
    )
    if kind == "binary":
        _refuse(
            values,
            ~((values == 0) | (values == 1) | values.isnan()),
            where,
            "kind='binary' wants 0 or 1 (NaN = missing)",
            "threshold the data, or use kind='real'",
        )
    elif kind == "counts":
        _refuse(
            values,
            (values < 0) | ((values != values.round()) & ~values.isnan()),
            where,
            "kind='counts' wants whole numbers 0, 1, 2, ... (NaN = missing)",
            "use kind='real'",
        )


def _check_classes(values: Tensor, classes: int | None) -> None:
    if classes is None:
        raise ValueError(
            "kind='categories' needs classes, the number of classes; the largest code here is "
            f"{int(values.max())}: pass classes={int(values.max()) + 1} or more"
        )
    if isinstance(classes, bool) or not isinstance(classes, int) or classes < 2:
        raise ValueError(f"classes must be an integer of at least 2, got {classes!r}")


def _refuse(values: Tensor, bad: Tensor, where: Where, expected: str, advice: str) -> None:
    if bad.any():
        first = bad.nonzero()[0]
        raise ValueError(f"{expected}, got {values[tuple(first)].item():g} at {where(first)}: {advice}")


def find_missing(values: Tensor) -> bool:
    """True if an element is missing: NaN, or -1 among categories."""
    return bool((values.isnan() if values.is_floating_point() else values < 0).any())
