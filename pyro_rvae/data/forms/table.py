"""Tables of numbers: CSV in long form, and .npz."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..arrays import read_arrays, whole
from ..atomic import atomic
from ..datasets import SequenceDataset
from ..kinds import Kind
from ..longform import write_csv
from ..static import StaticDataset
from .base import Form
from .folders import existing

__all__ = ["Table"]


class Table(Form):
    """Numbers as they are: CSV in long form (a row for each frame) or ``.npz``; see :func:`~pyro_rvae.data.load`.

    Columns that stand in another order than ``names`` are put in order; others are refused. Written as CSV with the
    columns ``sequence, time`` and the features (a missing element is an empty cell), or as ``.npz``. Options of
    :meth:`write`: ``times``, a list of the times of each sequence (default: 0, 1, ...), ``labels (N,)``, and
    ``controls``, a list of ``(T_i, control_dim)``.

    Arguments:
        names: of the features; ``None``: any.
        kind, classes: what the values are.
        static: independent rows without time (``.npz`` only), not sequences.
        dates: times are seconds since 1970, written as dates (ISO 8601).
        controls: names of the known inputs, as columns ``control:NAME``; ``None``: any.
    """

    endings = (".csv", ".npz")
    writes = (".csv", ".npz")

    def __init__(self, names: Sequence[str] | None = None, kind: Kind = "real", classes: int | None = None,
                 static: bool = False, dates: bool = False, controls: Sequence[str] | None = None) -> None:
        if kind not in ("binary", "real", "counts", "categories"):
            raise ValueError(f"Table: kind must be binary, real, counts or categories, got {kind!r}")
        if (classes is None) == (kind == "categories"):
            raise ValueError(f"Table: classes go with kind='categories', and only with it; got classes={classes!r} "
                             f"with kind={kind!r}")
        self.names = None if names is None else tuple(str(name) for name in names)
        self.kind, self.classes, self.static, self.dates = kind, classes, bool(static), bool(dates)
        self.x_dim = None if self.names is None or static else len(self.names)
        self.controls = None if controls is None else tuple(str(name) for name in controls)

    @classmethod
    def of(cls, data: SequenceDataset | StaticDataset, arrays: Mapping[str, Any] | None = None) -> Table:
        """The table that holds such data, which were read from these arrays."""
        arrays = arrays or {}
        controls = arrays.get("control_names")
        return cls(data.names, data.kind, data.classes, not hasattr(data, "lengths"), "dates" in arrays,
                   None if controls is None else [str(name) for name in np.atleast_1d(controls)])

    def settings(self) -> dict[str, Any]:
        given = {"names": None if self.names is None else list(self.names), "kind": self.kind, "classes": self.classes,
                 "static": self.static, "dates": self.dates,
                 "controls": None if self.controls is None else list(self.controls)}
        return {name: value for name, value in given.items() if value not in (None, False)}

    def read(self, path: str | Path) -> SequenceDataset | StaticDataset:
        path = existing(path)
        arrays = read_arrays(path, self.kind, self.classes)
        if self.names is not None and "names" in arrays:
            _put_in_order(arrays, "names", self.names, path.name)
        if self.controls is not None and "control_names" in arrays:
            _put_in_order(arrays, "control_names", self.controls, path.name)
        data: SequenceDataset | StaticDataset = self.adopt(whole(arrays), path.name)
        if ("dates" in arrays) != self.dates:  # as this file has its times, so it is written again
            data.form = Table(self.names, self.kind, self.classes, self.static, "dates" in arrays, self.controls)
        return data

    def _write(self, path: Path, sequences: list[Tensor], ids: Sequence[str], *args: Any,
               times: Sequence[Any] | None = None, labels: Sequence[Any] | None = None,
               controls: Sequence[Any] | None = None, **options: Any) -> None:
        if self.static and path.suffix.lower() == ".csv":
            raise ValueError("static rows are written as .npz: CSV in long form is of sequences")
        if times is not None and [len(t) for t in times] != [len(x) for x in sequences]:
            raise ValueError("Table.write: times must hold a number for each frame of each sequence")
        if path.suffix.lower() == ".csv":
            names = self.names or [f"x{i}" for i, _ in enumerate(sequences[0].T, 1)]
            write_csv(path, [x.numpy() for x in sequences], ids, names, times, whole=self.kind != "real",
                      dates=self.dates, labels=labels, controls=controls, inputs=self.controls)
            return
        values = np.stack([x.numpy() for x in sequences]) if self.static else \
            np.concatenate([x.numpy() for x in sequences])
        arrays: dict[str, Any] = {"values": values, "ids": np.array(ids), "kind": np.array(self.kind)}
        arrays |= {} if self.static else {"lengths": np.array([len(x) for x in sequences])}
        arrays |= {} if self.names is None else {"names": np.array(self.names)}
        arrays |= {} if self.classes is None else {"classes": np.array(self.classes)}
        arrays |= {} if times is None else {"times": np.concatenate([np.asarray(t, dtype=float) for t in times])}
        arrays |= {} if labels is None else {"labels": np.asarray(labels)}
        arrays |= {} if controls is None else {"controls": np.concatenate([np.asarray(c) for c in controls])}
        arrays |= {} if controls is None or self.controls is None else {"control_names": np.array(self.controls)}
        with atomic(path) as file:
            np.savez_compressed(file, **arrays)


def _put_in_order(arrays: dict[str, np.ndarray], key: str, names: tuple[str, ...], file: str) -> None:
    """The features (``key`` is ``"names"``), or the known inputs (``"control_names"``), in the order of ``names``.

    Raises:
        ValueError: there are others.
    """
    held = [str(word) for word in np.atleast_1d(arrays[key])]
    features = key == "names"
    lacking, strange = [n for n in names if n not in held], [n for n in held if n not in names]
    if lacking or strange:
        what = [f"it lacks {lacking[:5]}"] * bool(lacking) + [f"leave out {strange[:5]}"] * bool(strange)
        raise ValueError(f"{file} has the {'features' if features else 'known inputs'} {held[:8]}, expected were "
                         f"{list(names[:8])}: {'; '.join(what)}")
    order = [held.index(n) for n in names]
    for held_in in ({"values", "loc", "scale"} if features else {"controls"}) & arrays.keys():
        arrays[held_in] = arrays[held_in][..., order]
    arrays[key] = np.array(names)
