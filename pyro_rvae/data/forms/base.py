"""What a form is: how files become the sequences that a model reads, and sequences become files."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..datasets import SequenceDataset
from ..kinds import Kind
from ..static import StaticDataset
from ..transforms import raw_units

__all__ = ["Form"]


class Form(ABC):
    """How files become sequences that a model reads, and back.

    A form is a handful of numbers and words (:meth:`describe`), which a model keeps in its ``data_card`` and a run in
    its ``config.yaml``: so a trained model can read a user's file, and write what it makes as one. All numbers are in
    raw units. Two forms of one description are equal.

    Attributes:
        endings: of the files that it reads; writes: of those that it writes, the usual one first.
        each: whether a file is one sequence, so that many are a folder of files.
        kind, classes, static: of the data sets that it reads.
        x_dim: features of a frame (of a static form: elements of a row), or ``None`` where files differ in it.
    """

    endings: ClassVar[tuple[str, ...]]
    writes: ClassVar[tuple[str, ...]]
    each: ClassVar[bool] = False
    kind: Kind
    classes: int | None = None
    x_dim: int | None = None
    static: bool = False

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The constructor's arguments, as YAML and JSON take them."""

    @abstractmethod
    def read(self, path: str | Path) -> SequenceDataset | StaticDataset:
        """The sequences of a file (where :attr:`each`: or of a folder of files), this form attached.

        Their ``ids`` are the names of the records or files.

        Raises:
            ValueError: the file is absent, empty, broken, or of another sort.
        """

    @abstractmethod
    def _write(self, path: Path, sequences: list[Tensor], ids: Sequence[str], *args: Any, **options: Any) -> None:
        """Write at least one sequence; the path's ending is one of ``writes`` (or none, where :attr:`each`)."""

    def describe(self) -> dict[str, Any]:
        """This form in plain numbers and words, for :func:`~pyro_rvae.data.form_from`."""
        return {"form": type(self).__name__} | self.settings()

    def write(self, path: str | Path, sequences: Any, *, ids: Sequence[str] | None = None, **options: Any) -> None:
        """Write sequences as a file of this form; whole or not at all.

        Arguments:
            path: its ending is one of ``writes``. Where a file is one sequence (:attr:`each`), several follow each
                other in it (images: stand in a grid); a path without an ending is a new folder, with a file for each.
            sequences: ``(N, T, x_dim)``, or a list of ``(T_i, x_dim)``, in raw units, as
                :func:`~pyro_rvae.tasks.generate` makes them; or a data set.
            ids: a name for each sequence (default: the data set's, or ``1, 2, ...``).
            options: of the form; its own documentation names them.

        Raises:
            ValueError: another ending, no sequences, or ones that this form cannot hold.
            TypeError: an option that this form doesn't have.
        """
        path, name = Path(path), type(self).__name__
        if path.suffix.lower() not in self.writes and not (self.each and not path.suffix):
            raise ValueError(f"{name} is written as {' or '.join(self.writes)}"
                             f"{', or into a new folder (a path without an ending)' * self.each}; got {path.name!r}")
        known = [p.name for p in inspect.signature(self._write).parameters.values() if p.kind is p.KEYWORD_ONLY]
        if unknown := sorted(set(options) - {*known}):
            raise TypeError(f"{name}.write has {f'the options {known}' if known else 'no options'}, got {unknown[0]!r}")
        found, named = self._checked(sequences, ids)
        self._write(path, found, named, **options)

    def adopt(self, data: Any, name: str = "the data set") -> Any:
        """The same data set with this form attached, if it holds such data (numbers that a file held as they are).

        Raises:
            ValueError: another kind, other classes or features, or static where sequences were expected.
        """
        wanted = {"kind": self.kind, "classes": self.classes, "x_dim": self.x_dim, "static": self.static}
        held = {"kind": data.kind, "classes": data.classes, "x_dim": data.x_dim, "static": not hasattr(data, "lengths")}
        for what, value in wanted.items():
            if held[what] != value and not (what == "x_dim" and value is None):
                raise ValueError(f"{name} has {what}={held[what]!r}, and {type(self).__name__} is of data with "
                                 f"{what}={value!r}: give a file of such data")
        data.form = self
        return data

    def _checked(self, sequences: Any, ids: Sequence[str] | None) -> tuple[list[Tensor], list[str]]:
        """What is written, as a list of tensors with a name each."""
        if hasattr(sequences, "padded"):
            ids = sequences.ids if ids is None else ids
            found = [raw_units(sequences, x).detach().cpu() for x in sequences]
        else:
            whole = isinstance(sequences, Tensor | np.ndarray) and sequences.ndim == 2 and not self.static
            found = [torch.as_tensor(x).detach().cpu() for x in ([sequences] if whole else sequences)]
        name = type(self).__name__
        if not found:
            raise ValueError(f"{name}.write needs at least one sequence, got none")
        for i, x in enumerate(found):
            width = x.numel() if self.static else x.shape[-1] if x.dim() == 2 and len(x) else 0
            if not width or self.x_dim not in (None, width):
                shape = f"({self.x_dim or 'x_dim'},)" if self.static else f"(T, {self.x_dim or 'x_dim'})"
                raise ValueError(f"{name}.write takes {shape} of each sequence, got {tuple(x.shape)} of number {i + 1}")
        names = [str(i + 1) for i, _ in enumerate(found)] if ids is None else [str(i) for i in ids]
        if len(names) != len(found):
            raise ValueError(f"{name}.write: ids must name each of {len(found)} sequences, got {len(names)}")
        return found, names

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Form) and self.describe() == other.describe()

    def __hash__(self) -> int:
        return hash(repr(self.describe()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.settings().items())})"
