"""Nests of tensors and numbers, taken apart into named tensors and JSON, and put together again."""

from __future__ import annotations

from typing import Any

from torch import Tensor

__all__ = ["join_tensors", "pack", "split_tensors", "unpack"]


def unpack(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose name begins with ``prefix/``, without it."""
    return {key[len(prefix) + 1:]: value for key, value in tensors.items() if key.startswith(prefix + "/")}


def pack(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The reverse of :func:`unpack`."""
    return {f"{prefix}/{key}": value for key, value in tensors.items()}


def split_tensors(value: Any, path: str, found: dict[str, Tensor]) -> Any:
    """A nest of dicts, lists and numbers as JSON; its tensors go to ``found`` and leave their names."""
    if isinstance(value, Tensor):
        found[path] = value
        return {"tensor": path}
    if isinstance(value, dict):
        return {"dict": [[key, split_tensors(item, f"{path}/{key}", found)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        items = [split_tensors(item, f"{path}/{i}", found) for i, item in enumerate(value)]
        return {"list" if isinstance(value, list) else "tuple": items}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a checkpoint holds tensors, numbers, strings and nests of them, not the {type(value).__name__} "
                    f"at {path}; an optimizer that keeps one can't be saved.")


def join_tensors(value: Any, found: dict[str, Tensor]) -> Any:
    """The nest that :func:`split_tensors` took apart."""
    if not isinstance(value, dict):
        return value
    (kind, items), = value.items()
    if kind == "tensor":
        return found[items]
    if kind == "dict":
        return {key: join_tensors(item, found) for key, item in items}
    return (list if kind == "list" else tuple)(join_tensors(item, found) for item in items)
