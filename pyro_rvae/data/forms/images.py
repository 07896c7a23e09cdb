"""Images as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..atomic import atomic
from ..datasets import SequenceDataset
from ..kinds import Kind
from ..static import StaticDataset
from .base import Form
from .folders import files_of, whole_numbers, write_each

__all__ = ["Images"]

Array = NDArray[Any]


class Images(Form):
    """Grey images of one size, from 0 (black) to 1 (white): a PNG file each, or a folder of them.

    With ``rows`` an image is a sequence of its rows, ``x (height, width)``; otherwise one item, ``x (height *
    width,)``. Colours are read as their luminance. Written is a grid of images in one PNG file, a pixel of grey between
    two; or, into a folder, each as it is. Options of :meth:`write`: ``columns`` of the grid (default: about as many as
    rows), ``size`` of a pixel (default 1; 4 makes them four times as large).

    Arguments:
        height, width: in pixels.
        rows: a sequence of rows, or one item.
        binary: pixels are 0 or 1, those above 0.5 being 1 (kind ``binary``); else from 0 to 1 (kind ``real``).

    Raises:
        ValueError: a height or width that is no positive integer.
    """

    endings = (".png",)
    writes = (".png",)
    each = True

    def __init__(self, height: int, width: int, rows: bool = True, binary: bool = True) -> None:
        whole_numbers("Images", height=height, width=width)
        self.height, self.width, self.rows, self.binary = height, width, bool(rows), bool(binary)
        self.kind: Kind = "binary" if binary else "real"
        self.static = not self.rows
        self.x_dim = width if rows else height * width

    def settings(self) -> dict[str, Any]:
        return {"height": self.height, "width": self.width, "rows": self.rows, "binary": self.binary}

    def read(self, path: str | Path) -> SequenceDataset | StaticDataset:
        files = files_of(path, self.endings)
        pixels = np.stack([self._pixels(file) for file in files])
        pixels = pixels > 0.5 if self.binary else pixels
        ids = [file.stem for file in files]
        data: SequenceDataset | StaticDataset
        if self.rows:
            data = SequenceDataset.from_sequences(list(pixels), kind=self.kind, ids=ids)
        else:
            data = StaticDataset(pixels.reshape(len(pixels), -1), kind=self.kind, ids=ids)
        data.form = self
        return data

    def _pixels(self, file: Path) -> Array:
        grey = read_png(file)
        if grey.shape != (self.height, self.width):
            raise ValueError(f"{file} is {grey.shape[0]} pixels high and {grey.shape[1]} wide, and the images of this "
                             f"form {self.height} and {self.width}: scale it")
        return grey

    def _write(self, path: Path, sequences: list[Tensor], ids: Sequence[str], *args: Any, columns: int | None = None,
               size: int = 1, **options: Any) -> None:
        columns = round(len(sequences) ** 0.5 + 0.4) if columns is None else columns
        whole_numbers("Images.write", columns=columns, size=size)
        wrong = next((x for x in sequences if x.numel() != self.height * self.width), None)
        if wrong is not None:
            raise ValueError(f"Images.write takes {self.height} rows of {self.width} pixels, got {tuple(wrong.shape)}")
        images = [np.nan_to_num(x.numpy().astype(float), nan=0.5).reshape(self.height, self.width) for x in sequences]
        if path.suffix:
            _write_png(path, images[0] if len(images) == 1 else _grid(images, columns), size)
        else:
            write_each(path, images, ids, ".png", lambda file, image: _write_png(file, image, size))


def read_png(file: Path) -> Array:
    """A PNG file's luminance ``(height, width)``, from 0 to 1.

    Raises:
        ValueError: if it is none.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file, formats=("PNG",)) as image:
            return np.asarray(image.convert("L"), dtype=float) / 255.0
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{file} cannot be read as PNG ({error}): is it whole?") from error


def _write_png(path: Path, image: Array, size: int) -> None:
    from PIL import Image

    levels = np.round(image.clip(0.0, 1.0) * 255.0).astype(np.uint8).repeat(size, 0).repeat(size, 1)
    with atomic(path) as file:
        Image.fromarray(levels).save(file, format="PNG")


def _grid(images: list[Array], columns: int) -> Array:
    """Images in rows, a pixel of grey between them."""
    height, width = images[0].shape
    rows = -(-len(images) // columns)
    columns = min(columns, len(images))
    grid = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1), 0.5)
    for i, image in enumerate(images):
        top, left = i // columns * (height + 1), i % columns * (width + 1)
        grid[top : top + height, left : left + width] = image
    return grid
