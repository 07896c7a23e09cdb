"""Tensors and plain values in a folder: written whole or not at all, and never a pickle.

A checkpoint is a folder with two files: ``state.json`` (plain values, and the name of the other) and
``tensors-N.safetensors``. Saving writes the new tensors beside the old ones, then exchanges ``state.json`` in one
step (rename), then removes the old tensors. So at any instant the folder holds one whole checkpoint.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from ..data.atomic import atomic

__all__ = ["Saved", "has_checkpoint", "is_pickle", "load_checkpoint", "save_checkpoint"]

FORMAT, VERSION, STATE = "pyro_rvae.checkpoint", 1, "state.json"


class Saved(NamedTuple):
    """What a checkpoint holds: tensors by name (on the CPU), and JSON values."""

    tensors: dict[str, Tensor]
    state: dict[str, Any]


def has_checkpoint(folder: str | os.PathLike[str]) -> bool:
    """Whether the folder holds something that looks like a checkpoint."""
    return (Path(folder) / STATE).exists()


def save_checkpoint(folder: str | os.PathLike[str], tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Put a checkpoint in the place of the one that ``folder`` holds.

    Arguments:
        folder: made if it isn't there.
        tensors: of any device and dtype; they are copied.
        state: what JSON can hold, with string keys.

    Errors: OSError (a full disk, no permission) says so; the checkpoint before is then intact, and no unfinished file
    is left.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        name = _next_name(folder)
        copies = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}  # none share memory
        body = safetensors.torch.save(copies, metadata={"format": FORMAT})
        head = {"format": FORMAT, "version": VERSION, "tensors": name, "bytes": len(body), "state": state}
        with atomic(folder / name) as file:
            file.write(body)
        try:
            with atomic(folder / STATE) as file:
                file.write(json.dumps(head, indent=1).encode())
        except BaseException:
            with contextlib.suppress(OSError):
                os.remove(folder / name)
            raise
    except OSError as error:
        raise OSError(error.errno, f"the checkpoint could not be saved to {folder}: {error.strerror or error}. The one "
                      "saved before, if any, is intact; make room (or give another folder) and go on from it with "
                      "resume=True") from error
    _sync(folder)
    _remove_others(folder, name)


def load_checkpoint(folder: str | os.PathLike[str]) -> Saved:
    """Read what :func:`save_checkpoint` wrote. Nothing in a checkpoint is ever executed.

    Errors: ValueError if there is none, or it is truncated, foreign, or a pickle.
    """
    folder = Path(folder)
    if folder.is_file():
        raise ValueError(_what_came(folder, "a checkpoint folder"))
    if not (folder / STATE).is_file():
        came = "there is no such folder" if not folder.exists() else f"it holds no {STATE}"
        raise ValueError(f"expected a checkpoint folder at {folder}, but {came}. Name the folder given to "
                         "fit(checkpoint=...), or train with resume=False to begin.")
    head = _read_head(folder / STATE)
    path = folder / head["tensors"]
    if not path.is_file():
        raise ValueError(f"the checkpoint in {folder} is not whole: {STATE} names {path.name}, which is missing. "
                         "Restore that file, or begin again in another folder.")
    if path.stat().st_size != head["bytes"]:
        raise ValueError(_what_came(path, f"{head['bytes']} bytes of tensors", truncated=True))
    try:
        return Saved(safetensors.torch.load_file(path), head["state"])
    except (SafetensorError, KeyError, UnicodeDecodeError):
        raise ValueError(_what_came(path, "a safetensors file")) from None


def _read_head(path: Path) -> dict[str, Any]:
    try:
        head = json.loads(path.read_bytes())
    except ValueError:
        raise ValueError(_what_came(path, "the JSON of a checkpoint")) from None
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise ValueError(f"{path} is no checkpoint of this package: expected JSON with \"format\": \"{FORMAT}\". Name "
                         "a folder that fit(checkpoint=...) has written.")
    if head.get("version") != VERSION:
        raise ValueError(f"{path} is a checkpoint of version {head.get('version')}, and this package reads version "
                         f"{VERSION}: use the release that wrote it.")
    name = head.get("tensors")
    whole = isinstance(head.get("bytes"), int) and isinstance(head.get("state"), dict)
    if not whole or not isinstance(name, str) or Path(name).name != name:  # never a path that leads elsewhere
        raise ValueError(_what_came(path, "the whole JSON of a checkpoint"))
    return head


def _what_came(path: Path, expected: str, *, truncated: bool = False) -> str:
    """The message for a file that isn't what it should be."""
    if is_pickle(path):
        return (f"expected {expected} at {path}, got a pickle (a file of torch.save or pickle.dump). Loading one can "
                "run any program, so this package never does; load it yourself if you trust it, and save its "
                "state_dict as safetensors.")
    size = path.stat().st_size
    cut = f"expected {expected} at {path}, got {size} bytes that are truncated or of another kind" if truncated else \
        f"expected {expected} at {path}, got {size} bytes that can't be read as that: truncated, or of another kind"
    return cut + ". Restore the file from a copy, or begin again in another folder."


def is_pickle(path: Path) -> bool:
    """Whether a file is one of torch.save (a zip of pickles, PK) or of pickle.dump (a protocol mark, 0x80).

    A safetensors file may begin with the same bytes: the length of its header, which then begins with a brace.
    """
    with open(path, "rb") as file:
        start = file.read(9)
    return (start[:2] == b"PK" or start[:1] == b"\x80") and start[8:] != b"{"


def _next_name(folder: Path) -> str:
    """A name that no whole checkpoint in the folder uses."""
    number = 0
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, IndexError):
        current = json.loads((folder / STATE).read_bytes())["tensors"]
        number = int(current.removeprefix("tensors-").removesuffix(".safetensors")) + 1
    return f"tensors-{number}.safetensors"


def _remove_others(folder: Path, name: str) -> None:
    """Tensors of earlier checkpoints, and what a killed process left half written."""
    for path in [*folder.glob("tensors-*.safetensors"), *folder.glob(".*.part")]:
        if path.name != name:
            with contextlib.suppress(OSError):
                os.remove(path)


def _sync(folder: Path) -> None:
    """Bring the renames to the disk (where the system can)."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
