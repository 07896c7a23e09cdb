"""Standard sets that are not downloaded: a local copy, checked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from .standard import VARIABLE, Origin, cache, users

__all__ = ["check_copy", "digest", "local_copy"]


def local_copy(origin: Origin, made: str) -> Path:
    """The file of a set in the user's folder, or in the cache.

    :param made: where the set comes from and what the file holds, for whoever has to put it there.
    :raises ValueError: if it is in neither.
    """
    path = users(origin) or cache() / origin.path
    if not path.is_file():
        raise ValueError(f"there is no {origin.path} in the folder that {VARIABLE} names, nor in {cache()}: put it "
                         f"there. {made}")
    return path


def check_copy(found: str, origin: Origin, path: Path, made: str) -> None:
    """Refuse a copy whose content is another than the known one."""
    if found != origin.content:
        raise ValueError(f"{path} does not hold the standard set: got content {found}, expected {origin.content} "
                         f"(SHA-256). {made}")


def digest(arrays: Iterable[np.ndarray]) -> str:
    """SHA-256 of what arrays say, whatever the file around them looks like: their numbers in their own types."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()
