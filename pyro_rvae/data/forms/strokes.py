"""Drawings as strokes of a pen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..atomic import atomic
from ..datasets import SequenceDataset
from ..npz import read_npz
from .base import Form
from .folders import existing, whole_numbers

__all__ = ["Strokes", "lines_of_pen"]

Array = NDArray[Any]
CELL, MARGIN, INK, WIDTH = 100.0, 12.0, "#1f2a37", 2.2  # of the SVG: units, units, colour, units


class Strokes(Form):
    """Drawings as moves of a pen, real ``x (T, 3)`` with ``dx, dy, pen``.

    ``pen`` is 1 where the pen is lifted behind the point, so that the next move draws nothing; nor does the first one.
    Read from ``.npz``: ``values (sum T, 3)`` and ``lengths (N,)``, optionally ``labels (N,)``, ``ids (N,)``. Written as
    that, or as SVG: drawings of one scale in a grid. Options of :meth:`write` for SVG: ``columns`` (default: about as
    many as rows).

    Source of the form: Graves (2013), arXiv:1308.0850; Ha & Eck (2017), "A Neural Representation of Sketch Drawings",
    arXiv:1704.03477 (there "stroke-3").

    Arguments:
        up: whether y grows upwards (in SVG, and on most screens, it grows downwards).
    """

    endings = (".npz",)
    writes = (".svg", ".npz")
    kind = "real"
    x_dim = 3

    def __init__(self, up: bool = False) -> None:
        self.up = bool(up)

    def settings(self) -> dict[str, Any]:
        return {"up": self.up}

    def read(self, path: str | Path) -> SequenceDataset:
        path = existing(path)
        arrays = read_npz(path)
        lacking = [name for name in ("values", "lengths") if name not in arrays]
        if lacking or arrays["values"].ndim != 2 or arrays["values"].shape[1] != 3:
            raise ValueError(f"{path.name} must hold strokes as arrays values (sum T, 3), with dx, dy, pen, and "
                             f"lengths (N,); got { {name: array.shape for name, array in arrays.items()} }")
        values = arrays["values"].astype(float)
        if not np.isin(values[:, 2], (0.0, 1.0)).all():
            raise ValueError(f"{path.name}: the pen (third column) must be 0 or 1, got {np.unique(values[:, 2])[:5]}")
        ids = None if "ids" not in arrays else np.atleast_1d(arrays["ids"]).tolist()
        data = SequenceDataset(values, arrays["lengths"], labels=arrays.get("labels"), ids=ids,
                               names=("dx", "dy", "pen"), kind="real")
        data.form = self
        return data

    def _write(self, path: Path, sequences: list[Tensor], ids: Sequence[str], *args: Any, columns: int | None = None,
               **options: Any) -> None:
        if any(bool(x.isnan().any()) for x in sequences):
            raise ValueError("Strokes.write: a move is missing (NaN): impute what is missing, or leave the drawing out")
        columns = round(len(sequences) ** 0.5 + 0.4) if columns is None else columns
        whole_numbers("Strokes.write", columns=columns)
        with atomic(path) as file:
            if path.suffix.lower() == ".svg":
                file.write(self._svg(sequences, ids, columns).encode())
            else:
                values = np.concatenate([x.numpy() for x in sequences])
                np.savez_compressed(file, values=values, lengths=np.array([len(x) for x in sequences]),
                                    ids=np.array(ids))

    def _svg(self, sequences: list[Tensor], ids: Sequence[str], columns: int) -> str:
        """Each drawing as one path, in the middle of its cell; all of one scale."""
        drawings = [lines_of_pen(x.numpy(), up=self.up) for x in sequences]
        corners = [(np.concatenate(lines).min(0), np.concatenate(lines).max(0)) for lines in drawings]
        largest = max(float((high - low).max()) for low, high in corners)
        scale = (CELL - 2 * MARGIN) / (largest or 1.0)
        rows = -(-len(drawings) // columns)
        width, height = min(columns, len(drawings)) * CELL, rows * CELL
        paths = []
        for i, (lines, (low, high)) in enumerate(zip(drawings, corners, strict=True)):
            middle = (np.array([i % columns, i // columns]) + 0.5) * CELL
            placed = [(line - (low + high) / 2) * scale + middle for line in lines]
            paths.append(f'<path d="{" ".join(map(_path, placed))}"><title>{_plain(ids[i])}</title></path>')
        return "\n".join([
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{1.5 * width:g}" '
            f'height="{1.5 * height:g}">', '<rect width="100%" height="100%" fill="#ffffff"/>',
            f'<g fill="none" stroke="{INK}" stroke-width="{WIDTH}" stroke-linecap="round" stroke-linejoin="round">',
            *paths, "</g>", "</svg>", ""])


def lines_of_pen(strokes: Array, *, up: bool = False) -> list[Array]:
    """The lines ``(n, 2)`` that moves ``(T, 3)`` draw, y downwards; a single point is one of two equal rows."""
    points = np.cumsum(np.asarray(strokes[:, :2], dtype=float), 0) * np.array([1.0, -1.0 if up else 1.0])
    lifted = np.flatnonzero(strokes[:-1, 2] > 0.5) + 1
    return [line if len(line) > 1 else np.repeat(line, 2, 0) for line in np.split(points, lifted)]


def _path(line: Array) -> str:
    return "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in line)


def _plain(name: str) -> str:
    return name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
