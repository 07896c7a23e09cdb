"""Reordering what belongs to particles: tensors ``(K, B, ...)`` and nested states of them."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

__all__ = ["holds", "leaves", "mapped", "take"]


def take(value: Tensor, ancestors: Tensor) -> Tensor:
    """``value[ancestors[k, b], b]`` for each particle k and sequence b: ``(K, B, ...)``."""
    k, b = ancestors.shape
    flat = (ancestors * b + torch.arange(b, device=ancestors.device)).flatten()
    return value.flatten(0, 1).index_select(0, flat).unflatten(0, (k, b))


def leaves(tree: Any) -> list[Any]:
    """The tensors of a nested state, in order."""
    if isinstance(tree, list | tuple):
        return [leaf for part in tree for leaf in leaves(part)]
    if isinstance(tree, dict):
        return [leaf for part in tree.values() for leaf in leaves(part)]
    return [tree]


def mapped(change: Any, tree: Any) -> Any:
    """A nested state with each tensor changed; a distribution among them is one of its parameters."""
    if isinstance(tree, Tensor):
        return change(tree)
    if hasattr(tree, "_fields"):
        return type(tree)(*(mapped(change, part) for part in tree))
    if isinstance(tree, list | tuple):
        return type(tree)(mapped(change, part) for part in tree)
    if isinstance(tree, dict):
        return {name: mapped(change, part) for name, part in tree.items()}
    if isinstance(tree, torch.distributions.Distribution):
        moved = copy.copy(tree)
        moved.__dict__.update({name: mapped(change, part) for name, part in vars(tree).items()
                               if isinstance(part, Tensor | torch.distributions.Distribution)})
        return moved
    return tree


def holds(part: Any, shape: torch.Size) -> bool:
    """Whether a tensor stands for many particles of many sequences: ``(K, B, T, d)``."""
    return isinstance(part, Tensor) and not isinstance(part, torch.nn.Parameter) and part.dim() >= 4 \
        and part.shape[:2] == shape
