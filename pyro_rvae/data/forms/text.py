"""Text files."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ..atomic import atomic
from ..datasets import SequenceDataset
from ..text import Vocabulary
from .base import Form
from .folders import existing

__all__ = ["Text", "lines_of", "pieces_of"]


class Text(Form):
    """Text as codes of characters, ``x (T, 1)``: a ``.txt`` file in UTF-8.

    Each line that isn't empty is a sequence, and ends in the end symbol. With ``length`` the file is one running text:
    it is cut into pieces of so many characters (line ends are characters too), which have no end symbol. A character
    that the vocabulary doesn't have is read as unknown, with a warning that counts them.

    Written are the texts up to their first end symbol: a line each (a line end within a text becomes a blank); running
    text as it is, an empty line between two pieces.

    Arguments:
        vocabulary: a :class:`~pyro_rvae.data.Vocabulary` of characters, or its symbols.
        length: characters of a piece, of running text.

    Raises:
        ValueError: a vocabulary with a tokenizer (a function, which no description can hold: read and write such texts
            with ``vocabulary.encode`` and ``decode``), or a length that is no integer of at least 1.
    """

    endings = (".txt",)
    writes = (".txt",)
    kind = "categories"
    x_dim = 1

    def __init__(self, vocabulary: Vocabulary | Sequence[str], length: int | None = None) -> None:
        self.vocabulary = vocabulary if isinstance(vocabulary, Vocabulary) else Vocabulary(vocabulary)
        if self.vocabulary.tokenizer is not None or self.vocabulary.joiner or \
                any(len(symbol) != 1 for symbol in self.vocabulary.symbols):
            raise ValueError("Text takes a vocabulary of characters: a tokenizer is a function, which cannot be "
                             "described in a file; read and write such texts with vocabulary.encode and decode")
        if length is not None and (isinstance(length, bool) or not isinstance(length, int) or length < 1):
            raise ValueError(f"Text: length must be an integer of at least 1, or None (a line a text), got {length!r}")
        self.length = length
        self.classes = self.vocabulary.classes

    @property
    def end(self) -> int | None:
        """The code of the end symbol, or ``None`` where texts don't end."""
        return self.vocabulary.end if self.length is None else None

    def settings(self) -> dict[str, Any]:
        return {"vocabulary": list(self.vocabulary.symbols)} | ({} if self.length is None else {"length": self.length})

    def read(self, path: str | Path) -> SequenceDataset:
        path = existing(path)
        texts, ids = lines_of(path) if self.length is None else (pieces_of(content(path), self.length), None)
        self._warn_of_unknown(texts, path.name)
        return self.encode(texts, ids=ids)

    def encode(self, texts: Sequence[str], *, ids: Sequence[str] | None = None) -> SequenceDataset:
        """Texts as a data set of this form."""
        data = self.vocabulary.encode(texts, end=self.length is None, ids=ids)
        data.form = self
        return data

    def _warn_of_unknown(self, texts: Sequence[str], name: str) -> None:
        strange = sorted({character for text in texts for character in text} - {*self.vocabulary.symbols})
        if strange:
            number = sum(text.count(character) for text in texts for character in strange)
            warnings.warn(f"{name} holds {number} characters that the vocabulary doesn't have, {strange[:5]}: they are "
                          "read as unknown", UserWarning, stacklevel=3)

    def _write(self, path: Path, sequences: list[Tensor], ids: Sequence[str], *args: Any, **options: Any) -> None:
        texts = self.vocabulary.decode([x.long() for x in sequences])
        if self.length is None:
            texts = [text.replace("\r\n", " ").replace("\n", " ").replace("\r", " ") for text in texts]
        with atomic(path) as file:
            file.write(("\n" if self.length is None else "\n\n").join(texts).encode() + b"\n")

    def __repr__(self) -> str:
        return f"Text({self.vocabulary!r}{'' if self.length is None else f', length={self.length}'})"


def content(path: Path) -> str:
    """The characters of a text file; each kind of line end is ``\\n``."""
    try:
        return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is no text in UTF-8 ({error}): save it as UTF-8") from error


def lines_of(path: Path) -> tuple[list[str], list[str]]:
    """The lines of a file that hold something, and their numbers."""
    lines = [(line, str(i)) for i, line in enumerate(content(path).split("\n"), 1) if line.strip()]
    if not lines:
        raise ValueError(f"{path.name} holds no line with a character: give a text a line")
    return [line for line, _ in lines], [number for _, number in lines]


def pieces_of(text: str, size: int) -> list[str]:
    """Running text cut into pieces of ``size`` characters; the last may be shorter."""
    return [text[start : start + size] for start in range(0, len(text), size)]
