"""Nucleic acids as FASTA files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..atomic import atomic
from ..datasets import SequenceDataset
from .base import Form
from .folders import existing

__all__ = ["DNA"]

LETTERS = "ACGT"
AMBIGUOUS = "NRYSWKMBDHV"  # IUPAC's codes for "one of several"
CODES = {letter: code for code, letter in enumerate(LETTERS)} | dict.fromkeys(AMBIGUOUS, -1) | {"U": 3}


class DNA(Form):
    """DNA as codes, ``x (T, 1)`` with A, C, G, T as 0, 1, 2, 3: a FASTA file.

    A record is a line ``>name description`` and lines of letters. IUPAC's ambiguous letters (N, R, Y, ...) are missing
    (-1), U is read as T, small letters as capitals. Written with 60 letters a line, N where one is missing.

    Source: IUPAC-IUB's nomenclature of incompletely specified bases (Cornish-Bowden 1985). We differ in that of the
    letters R, Y, ... nothing is kept but that one stood there.
    """

    endings = (".fasta", ".fa", ".fna")
    writes = endings
    kind = "categories"
    classes = len(LETTERS)
    x_dim = 1

    def settings(self) -> dict[str, Any]:
        return {}

    def read(self, path: str | Path) -> SequenceDataset:
        names, sequences = _records(existing(path))
        data = SequenceDataset.from_sequences(sequences, ids=names, kind="categories", classes=self.classes)
        data.form = self
        return data

    def encode(self, letters: Sequence[str], **given: Any) -> SequenceDataset:
        """Strings of letters as a data set of this form; ``labels, ids`` as for :class:`SequenceDataset`."""
        coded = [_coded(text.upper(), f"sequence {i}") for i, text in enumerate(letters)]
        data = SequenceDataset.from_sequences(coded, kind="categories", classes=self.classes, **given)
        data.form = self
        return data

    def decode(self, codes: Any) -> list[str]:
        """Codes ``(T, 1)`` or ``(T,)`` each, as strings of letters, N where one is missing."""
        return ["".join((LETTERS + "N")[code] for code in x.long().flatten().tolist()) for x in codes]

    def _write(self, path: Path, sequences: list[Tensor], ids: Sequence[str], *args: Any, **options: Any) -> None:
        wrong = [x for x in sequences if ((x < -1) | (x >= len(LETTERS)) | (x != x.round())).any()]
        if wrong:
            raise ValueError(f"DNA.write takes the codes 0 to 3, and -1 for missing; got {wrong[0].unique().tolist()}")
        records = []
        for name, text in zip(ids, self.decode(sequences), strict=True):
            cuts = range(0, len(text), 60)
            records.append("\n".join([f">{' '.join(name.split())}", *(text[i : i + 60] for i in cuts)]) + "\n")
        with atomic(path) as file:
            file.write("".join(records).encode())


def _coded(text: str, place: str) -> Tensor:
    strange = next((letter for letter in text if letter not in CODES), None)
    if strange is not None:
        raise ValueError(f"{place}: {strange!r} is no letter of DNA (A, C, G, T, U, or one of {AMBIGUOUS}, which is "
                         "missing): is it a protein, or an alignment?")
    return torch.tensor([CODES[letter] for letter in text], device="cpu").unsqueeze(-1)


def _records(path: Path) -> tuple[list[str], list[Tensor]]:
    """The names and codes of a FASTA file."""
    try:
        lines = path.read_bytes().decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is no FASTA file, which is text ({error})") from error
    names: list[str] = []
    parts: list[list[Tensor]] = []
    for number, line in enumerate((line.strip() for line in lines), 1):
        if line.startswith(">"):
            names.append(line[1:].strip() or str(len(names) + 1))
            parts.append([])
        elif line and not names:
            raise ValueError(f"line {number} of {path.name} comes before a line that starts with '>' and names the "
                             "record: is it FASTA?")
        elif line:
            parts[-1].append(_coded(line.upper(), f"line {number} of {path.name}"))
    if not names:
        raise ValueError(f"{path.name} has no record: FASTA has lines '>name' with the letters below")
    empty = next((name for name, codes in zip(names, parts, strict=True) if not codes), None)
    if empty is not None:
        raise ValueError(f"the record {empty!r} of {path.name} has no letters: leave it out")
    return names, [torch.cat(codes) for codes in parts]
