"""Splice junctions: DNA around the borders of exons."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch

from .datasets import SequenceDataset
from .forms import DNA
from .local import check_copy, local_copy
from .splits import Splits
from .standard import Origin

__all__ = ["splice_junctions"]

LETTERS = "ACGT"
AMBIGUOUS = "NDRS"  # any; A, G or T; A or G; C or G
JUNCTIONS = ("EI", "IE", "N")  # from exon to intron (a donor), from intron to exon (an acceptor), neither
LENGTH = 60
SHARES = (0.70, 0.85)  # of the sequences, behind which train and valid end
SPLICE = Origin("genomics/splice.csv", (), "f0d9602dc94a00189727ee345befaa35b946bcce5700d4d0b9929943d26c18f8")
MADE = ("It is UCI's Molecular Biology (Splice-junction Gene Sequences) as a CSV file with the header "
        "label,instance_name,sequence and a row for each of the 3,190 sequences.")


def splice_junctions() -> Splits[SequenceDataset]:
    """3,190 pieces of primate DNA, 60 letters each, a possible splice junction in the middle: 2,224 / 467 / 499.

    A frame is a letter, A, C, G or T as the codes 0 to 3; the 60 letters that the sequencing left open (N, D, R, S) are
    missing elements (-1). ``labels`` are 0 (EI, exon to intron: 767), 1 (IE, intron to exon: 768) and 2 (neither:
    1,655); ``ids`` are the names of the instances.

    The set has no standard split, many pieces come from one gene, and some stand in it under two names: of a random
    test split 60% would have their like in training. So the split is by name: pieces of one GenBank entry (a name up to
    its first hyphen) stay together, and so do entries that share a piece letter by letter. These 1,440 groups, in the
    order of the SHA-256 of their first entry's name, are train up to 70% of the sequences, valid up to 85%, and test.

    Source: Noordewier, Towell & Shavlik (1991), "Training Knowledge-Based Neural Networks to Recognize Genes in DNA
    Sequences" (NeurIPS 3); GenBank 64.1; UCI Machine Learning Repository.

    The file is looked for as ``genomics/splice.csv`` in the folder that ``PYRO_RVAE_DATA`` names, then in the user's
    cache (see :func:`jsb_chorales`). It is not downloaded; it must have the known SHA-256.

    :raises ValueError: if there is no such file, or its content is another.
    """
    path = local_copy(SPLICE, MADE)
    content = path.read_bytes()
    check_copy(hashlib.sha256(content).hexdigest(), SPLICE, path, MADE)
    rows = [[cell.strip() for cell in line.split(",")] for line in content.decode().splitlines()[1:]]
    labels, names, pieces = (list(column) for column in zip(*rows, strict=True))
    side = _sides(names, pieces)
    whole = SequenceDataset(
        _codes(pieces, path), [LENGTH] * len(pieces), labels=[JUNCTIONS.index(label) for label in labels], ids=names,
        kind="categories", classes=len(LETTERS),
    )  # fmt: skip
    whole.form = DNA()
    return Splits(*(whole.subset(side == number) for number in range(3))).linked()


def _codes(pieces: list[str], path: Path) -> torch.Tensor:
    """The letters of all pieces, one behind the other, ``(sum T, 1)``."""
    table = {letter: code for code, letter in enumerate(LETTERS)} | dict.fromkeys(AMBIGUOUS, -1)
    return torch.tensor([[table[letter]] for piece in pieces for letter in piece], device="cpu")


def _sides(names: list[str], pieces: list[str]) -> np.ndarray:
    """A side (0, 1, 2) for each piece, whole groups at a time."""
    groups = _groups([name.split("-")[0] for name in names], pieces)
    size = {group: groups.count(group) for group in set(groups)}
    order = sorted(size, key=lambda group: hashlib.sha256(group.encode()).hexdigest())
    ends = np.cumsum([size[group] for group in order]) / len(names)
    side = {group: int(np.searchsorted(SHARES, end)) for group, end in zip(order, ends.tolist(), strict=True)}
    return np.array([side[group] for group in groups])


def _groups(entries: list[str], pieces: list[str]) -> list[str]:
    """For each piece the first name, in the alphabet, of those entries that it is joined to by equal pieces."""
    parent = {entry: entry for entry in entries}

    def root(entry: str) -> str:
        while parent[entry] != entry:
            entry = parent[entry]
        return entry

    first: dict[str, str] = {}
    for entry, piece in zip(entries, pieces, strict=True):
        a, b = sorted((root(entry), root(first.setdefault(piece, entry))))
        parent[b] = a
    return [root(entry) for entry in entries]
