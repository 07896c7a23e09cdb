"""Tables in letters: of text and of DNA the codes are no numbers to a reader."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

__all__ = ["in_letters"]

UNSEEN = {" ": "blank", "\n": "newline", "\t": "tab"}


def in_letters(rows: Iterable[Mapping[str, Any]], form: Any) -> Iterable[Mapping[str, Any]]:
    """Rows of a table whose codes (and columns ``p0, p1, ...``) are letters, where the form of the files has any."""
    letters = _letters(form)
    return rows if letters is None else _told(rows, letters)


def _letters(form: Any) -> list[str] | None:
    """The letter of each code."""
    if hasattr(form, "vocabulary"):
        words = [UNSEEN.get(symbol, symbol) for symbol in form.vocabulary.symbols]
        return ["end", "unknown", *words]  # the codes 0, 1, and the symbols' from 2 on
    letters = getattr(form, "letters", None)
    return None if letters is None or form.kind != "categories" else list(letters)


def _told(rows: Iterable[Mapping[str, Any]], letters: list[str]) -> Iterator[Mapping[str, Any]]:
    for row in rows:
        yield {_column(name, letters): _value(name, value, letters) for name, value in row.items()}


def _column(name: str, letters: list[str]) -> str:
    """``p0`` is the probability of the first letter."""
    return f"p_{letters[int(name[1:])]}" if re.fullmatch(r"p\d+", name) else {"x0": "letter", "code": "letter"}.get(
        name, name.replace("x0 expected", "expected letter"))


def _value(name: str, value: Any, letters: list[str]) -> Any:
    if name not in ("code", "x0", "x0 expected"):
        return value
    return letters[int(value)] if value == value and 0 <= value < len(letters) else ""
