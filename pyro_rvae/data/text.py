"""Text as sequences of integer codes, and back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from .atomic import atomic
from .datasets import SequenceDataset

__all__ = ["Vocabulary"]

Tokenizer = Callable[[str], Sequence[str]]
UNKNOWN = "\ufffd"  # what an unknown symbol looks like when it is decoded (Unicode's replacement character)


class Vocabulary:
    """The symbols of a text, numbered: 0 is the end, 1 is what training never saw, then the symbols in their order.

    A text becomes the codes of its symbols and, behind them, the end symbol: that the text ends is part of what a
    model learns (Bowman et al. 2016, arXiv:1511.06349). Decoding stops at the first end symbol.

    :param symbols: each once; usually by :meth:`from_texts`.
    :param tokenizer: function that cuts a string into its symbols, such as ``str.split``; None: characters.
    :param joiner: what stands between two symbols of a decoded text; None: a blank with a tokenizer, else nothing.
    :raises ValueError: if there is no symbol, or one is given twice.

    >>> vocabulary = Vocabulary.from_texts(["anna", "ann"])
    >>> data = vocabulary.encode(["nan", "bob"])
    >>> data[0].flatten().tolist(), vocabulary.decode(data)
    ([3, 2, 3, 0], ['nan', '\ufffd\ufffd\ufffd'])
    """

    end = 0
    unknown = 1

    def __init__(
        self, symbols: Sequence[str], *, tokenizer: Tokenizer | None = None, joiner: str | None = None
    ) -> None:
        self.symbols = tuple(symbols)
        self.tokenizer = tokenizer
        self.joiner = joiner if joiner is not None else " " if tokenizer is not None else ""
        if not self.symbols:
            raise ValueError("a vocabulary needs at least one symbol: build it with Vocabulary.from_texts(texts)")
        twice = [symbol for symbol, count in Counter(self.symbols).items() if count > 1]
        if twice:
            raise ValueError(f"each symbol of a vocabulary must be given once, got {twice[0]!r} more than once")
        self._codes = {symbol: code for code, symbol in enumerate(self.symbols, 2)}

    @classmethod
    def from_texts(
        cls,
        texts: Iterable[str],
        *,
        tokenizer: Tokenizer | None = None,
        joiner: str | None = None,
        min_count: int = 1,
    ) -> Vocabulary:
        """The symbols of the training texts, sorted.

        :param min_count: symbols that are rarer than this are left out, so that they read as unknown and the
            model learns what to make of an unknown one.
        """
        counts: Counter[str] = Counter()
        for i, text in enumerate(_strings(texts)):
            counts.update(_cut(text, tokenizer, i))
        symbols = sorted(symbol for symbol, count in counts.items() if count >= min_count)
        if counts and not symbols:
            raise ValueError(f"no symbol stands {min_count} times in the texts: lower min_count")
        return cls(symbols, tokenizer=tokenizer, joiner=joiner)

    @property
    def classes(self) -> int:
        """Number of codes: symbols, end and unknown."""
        return len(self.symbols) + 2

    def __len__(self) -> int:
        return self.classes

    def encode(self, texts: Iterable[str], *, end: bool = True, **given: Any) -> SequenceDataset:
        """The texts as a data set of categories with one channel, ``x (T, 1)``.

        :param end: whether each text ends in the end symbol (pieces cut out of a longer text do not end).
        :param given: labels, controls, ids, as for :class:`SequenceDataset`.
        :raises ValueError: if there is no text, or one holds no symbol. TypeError: if one is no string.
        """
        sequences = []
        for i, text in enumerate(_strings(texts)):
            codes = [self._codes.get(symbol, self.unknown) for symbol in _cut(text, self.tokenizer, i)]
            sequences.append(torch.tensor(codes + [self.end] * end, device="cpu").unsqueeze(-1))
        if not sequences:
            raise ValueError("there is no text to encode: give at least one string")
        return SequenceDataset.from_sequences(sequences, kind="categories", classes=self.classes, **given)

    def decode(self, codes: Any) -> list[str]:
        """Codes as texts, each up to its first end symbol (which is not shown).

        :param codes: ``(N, T)`` or ``(N, T, 1)``, as ``generate`` draws them, or a list (or data set) of
            ``(T_i,)`` or ``(T_i, 1)``.
        :raises ValueError: for a code that no symbol has, or another shape. TypeError: for what are no integers.
        """
        return [self._text(row, i) for i, row in enumerate(codes)]

    def _text(self, row: Any, i: int) -> str:
        row = torch.as_tensor(row, device="cpu")
        if row.is_floating_point() or row.dtype == torch.bool:
            raise TypeError(f"codes must be integers, got {row.dtype} in sequence {i}")
        if row.dim() not in (1, 2) or (row.dim() == 2 and row.shape[1] != 1):
            raise ValueError(
                f"sequence {i} must be codes (T,) or (T, 1), got shape {tuple(row.shape)}: a text has one channel; "
                "decode takes a list of texts, or (N, T, 1)"
            )
        values: list[int] = row.flatten().tolist()
        values = values[: values.index(self.end)] if self.end in values else values
        wrong = [code for code in values if not 0 <= code < self.classes]
        if wrong:
            raise ValueError(f"codes of this vocabulary are 0 to {self.classes - 1}, got {wrong[0]} in sequence {i}")
        return self.joiner.join(UNKNOWN if code == self.unknown else self.symbols[code - 2] for code in values)

    def save(self, path: str | Path) -> None:
        """Writes the vocabulary as JSON, whole or not at all. A tokenizer is a function, which is not saved."""
        held = {"symbols": self.symbols, "joiner": self.joiner, "tokenizer": self.tokenizer is not None}
        with atomic(path) as file:
            file.write(json.dumps(held, ensure_ascii=False).encode())

    @classmethod
    def load(cls, path: str | Path, *, tokenizer: Tokenizer | None = None) -> Vocabulary:
        """Reads what :meth:`save` wrote.

        :param tokenizer: the function it was built with, if it was built with one.
        :raises ValueError: if the file is absent or no such file, or a tokenizer is lacking (or too many).
        """
        try:
            held = json.loads(Path(path).read_bytes())
            symbols, joiner, needed = held["symbols"], held["joiner"], held["tokenizer"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is no vocabulary that Vocabulary.save wrote: {error}") from error
        if needed != (tokenizer is not None):
            raise ValueError(
                f"{path} holds a vocabulary that was built "
                + ("with a tokenizer: pass tokenizer=..., the same function" if needed else "of characters: leave "
                   "tokenizer out")
            )
        return cls(symbols, tokenizer=tokenizer, joiner=joiner)

    def __repr__(self) -> str:
        kind = "characters" if self.tokenizer is None else "symbols"
        return f"Vocabulary({len(self.symbols)} {kind}, classes={self.classes})"


def _strings(texts: Iterable[str]) -> Iterable[str]:
    if isinstance(texts, str):
        raise TypeError(f"texts must be a list of strings, got one string: write [{texts[:20]!r}]")
    return texts


def _cut(text: Any, tokenizer: Tokenizer | None, i: int) -> Sequence[str]:
    """The symbols of one text."""
    if not isinstance(text, str):
        raise TypeError(f"text {i} must be a string, got {type(text).__name__}")
    symbols = list(text) if tokenizer is None else list(tokenizer(text))
    if not symbols:
        raise ValueError(f"text {i} is empty ({text!r} holds no symbol): leave it out")
    if not all(isinstance(symbol, str) for symbol in symbols):
        raise TypeError(f"the tokenizer must return strings, got {symbols[:3]} of text {i}")
    return symbols
