"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

__all__ = ["atomic", "write_together"]


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[IO[bytes]]:
    """A binary file to write to, which takes the place of `path` when the block ends well.

    It is written beside `path`, brought to the disk (fsync), and renamed. If the block raises (a full
    disk, Ctrl-C) the unfinished file is removed, and what stood at `path` still does.

    :raises ValueError: if the folder of `path` does not exist.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise ValueError(f"the folder {path.parent} must exist to write {path.name} there: make it first")
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, _usual_mode())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.remove(name)
        raise


def write_together(directory: Path, files: Mapping[str, bytes]) -> None:
    """Files of one folder: none takes its place before all are on the disk. The first of `files` does so last."""
    with contextlib.ExitStack() as stack:
        for name, content in files.items():
            file = stack.enter_context(atomic(directory / name))
            file.write(content)
            file.flush()
            os.fsync(file.fileno())


def _usual_mode() -> int:
    """The permissions a file gets by open() (mkstemp's are the owner's only)."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
