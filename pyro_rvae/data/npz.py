"""Reading ``.npz`` without pickle, with an error that says what is wrong."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

__all__ = ["read_npz"]


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an ``.npz`` file: numbers, booleans and strings, never Python objects.

    :raises ValueError: if it is no ``.npz``, is cut short or damaged, or holds Python objects.
    """
    try:
        # Opened here, because np.load leaves a file open that turns out to be broken.
        with path.open("rb") as stream:
            if not zipfile.is_zipfile(stream):
                raise ValueError("it is no zip archive")
            stream.seek(0)
            with np.load(stream, allow_pickle=False) as file:
                return {name: _plain(file, name, path) for name in file.files}
    except _ObjectArray as error:
        raise ValueError(str(error)) from None
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{path} cannot be read as .npz ({error}): is it whole? write it with np.savez"
        ) from error


class _ObjectArray(ValueError):
    """An array that only pickle could read."""


def _plain(file: np.lib.npyio.NpzFile, name: str, path: Path) -> np.ndarray:
    try:
        return np.asarray(file[name])
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise _ObjectArray(
            f"array {name!r} in {path.name} holds Python objects, which only pickle can read and which could "
            "run code: save numbers and strings (ragged sequences: concatenate them and give lengths)"
        ) from None
