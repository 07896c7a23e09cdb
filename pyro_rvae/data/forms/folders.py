"""Files one by one, and folders of them: found in a fixed order, written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

__all__ = ["existing", "files_of", "new_folder", "whole_numbers", "write_each"]


def existing(path: str | Path) -> Path:
    """The path of a file that is there and holds something.

    Raises:
        ValueError: it is absent, a folder, or empty.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder: give one of its files")
    if not path.is_file():
        raise ValueError(f"there is no file {path}: give the path of a data file")
    if not path.stat().st_size:
        raise ValueError(f"{path} is empty: was it written to the end?")
    return path


def files_of(path: str | Path, endings: Sequence[str]) -> list[Path]:
    """A file, or the files of a folder that have one of these endings, by name.

    Raises:
        ValueError: there is none.
    """
    path = Path(path)
    if not path.is_dir():
        return [existing(path)]
    found = [p for p in path.iterdir() if p.suffix.lower() in endings and not p.name.startswith(".")]
    if not found:
        raise ValueError(f"the folder {path} holds no file {' or '.join(endings)}: give another one, or convert them")
    return [existing(p) for p in sorted(found, key=lambda p: (p.stem, p.suffix))]


def write_each(path: Path, items: Sequence[Any], ids: Sequence[str], ending: str,
               write: Callable[[Path, Any], None]) -> None:
    """Each item as a file of its own in a new folder, named after its id."""
    with new_folder(path) as folder:
        for stem, item in zip(_stems(ids), items, strict=True):
            write(folder / f"{stem}{ending}", item)


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which becomes ``path`` when the block ends well; otherwise nothing is left.

    Raises:
        ValueError: ``path`` exists and is no empty folder, or what it shall stand in doesn't.
    """
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise ValueError(f"{path} exists: files are written into a new folder; name another one, or remove it")
    if not path.parent.is_dir():
        raise ValueError(f"the folder {path.parent} must exist to write {path.name} there: make it first")
    made = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part"))
    try:
        yield made
        made.chmod(0o777 & ~_mask())
        os.replace(made, path)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


def _mask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _stems(ids: Sequence[str]) -> list[str]:
    """Names of files, one for each id: plain characters, sorted as the ids are counted, and none twice."""
    counted = all(name.isdigit() for name in ids)
    width = max(len(name) for name in ids) if counted else 0
    stems: list[str] = []
    for name in ids:
        plain = name.zfill(width) if counted else re.sub(r"[^\w.-]+", "-", name).strip(".-") or "sequence"
        stem, count = plain, 2
        while stem in stems:
            stem, count = f"{plain}-{count}", count + 1
        stems.append(stem)
    return stems


def whole_numbers(owner: str, **numbers: int) -> None:
    """Refuse settings that are no integers of at least 1.

    Raises:
        ValueError: naming the setting.
    """
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{owner}: {name} must be an integer of at least 1, got {value!r}")
