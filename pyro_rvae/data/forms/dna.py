"""Nucleic acids, and proteins, as FASTA files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..atomic import atomic
from ..datasets import SequenceDataset
from .base import Form
from .folders import existing

__all__ = ["DNA", "Protein"]


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
    classes = 4
    x_dim = 1
    letters: ClassVar[str] = "ACGT"
    ambiguous: ClassVar[str] = "NRYSWKMBDHV"  # one of several, which are missing; the first one is written
    read_as: ClassVar[dict[str, str]] = {"U": "T"}
    hint: ClassVar[str] = "is it a protein (form='Protein'; --form Protein), or an alignment?"

    def settings(self) -> dict[str, Any]:
        return {}

    def read(self, path: str | Path) -> SequenceDataset:
        names, sequences = self._records(existing(path))
        data = SequenceDataset.from_sequences(sequences, ids=names, kind="categories", classes=self.classes)
        data.form = self
        return data

    def encode(self, letters: Sequence[str], **given: Any) -> SequenceDataset:
        """Strings of letters as a data set of this form; ``labels, ids`` as for :class:`SequenceDataset`."""
        coded = [self._coded(text.upper(), f"sequence {i}") for i, text in enumerate(letters)]
        data = SequenceDataset.from_sequences(coded, kind="categories", classes=self.classes, **given)
        data.form = self
        return data

    def decode(self, codes: Any) -> list[str]:
        """Codes ``(T, 1)`` or ``(T,)`` each, as strings of letters; where one is missing N (of proteins X)."""
        shown = self.letters + self.ambiguous[0]
        return ["".join(shown[code] for code in x.long().flatten().tolist()) for x in codes]

    def _write(self, path: Path, sequences: list[Tensor], ids: Sequence[str], *args: Any, **options: Any) -> None:
        wrong = [x for x in sequences if ((x < -1) | (x >= self.classes) | (x != x.round())).any()]
        if wrong:
            raise ValueError(f"{type(self).__name__}.write takes the codes 0 to {self.classes - 1}, -1 for missing; "
                             f"got {wrong[0].unique().tolist()}")
        records = []
        for name, text in zip(ids, self.decode(sequences), strict=True):
            cuts = range(0, len(text), 60)
            records.append("\n".join([f">{' '.join(name.split())}", *(text[i : i + 60] for i in cuts)]) + "\n")
        with atomic(path) as file:
            file.write("".join(records).encode())

    def _coded(self, text: str, place: str) -> Tensor:
        codes = {letter: code for code, letter in enumerate(self.letters)} | dict.fromkeys(self.ambiguous, -1)
        codes |= {letter: codes[same] for letter, same in self.read_as.items()}
        strange = next((letter for letter in text if letter not in codes), None)
        if strange is not None:
            raise ValueError(f"{place}: {strange!r} is no letter of {type(self).__name__} ({', '.join(self.letters)}, "
                             f"or one of {self.ambiguous}, which is missing): {self.hint}")
        return torch.tensor([codes[letter] for letter in text], device="cpu").unsqueeze(-1)

    def _records(self, path: Path) -> tuple[list[str], list[Tensor]]:
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
                parts[-1].append(self._coded(line.upper(), f"line {number} of {path.name}"))
        if not names:
            raise ValueError(f"{path.name} has no record: FASTA has lines '>name' with the letters below")
        empty = next((name for name, codes in zip(names, parts, strict=True) if not codes), None)
        if empty is not None:
            raise ValueError(f"the record {empty!r} of {path.name} has no letters: leave it out")
        return names, [torch.cat(codes) for codes in parts]


class Protein(DNA):
    """Proteins as codes, ``x (T, 1)``, the 20 amino acids in the order of their letters, A to Y: a FASTA file.

    B, Z, J, X, U, O, ``*`` and ``-`` are missing (-1). Else as :class:`DNA`. Files of DNA and of proteins have one
    ending, so that this form is asked for by name: ``rv.data.load(path, form="Protein")``, ``--form Protein``.
    """

    classes = 20
    letters = "ACDEFGHIKLMNPQRSTVWY"
    ambiguous = "XBZJUO*-"
    read_as: ClassVar[dict[str, str]] = {}
    hint = "is it a text?"
