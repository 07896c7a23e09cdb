"""The state of a stream: trees of tensors as flat names, with one row for each series and particle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..nn.unfolding import Unstreamable
from .reordering import take

__all__ = ["Layout", "flatten", "layout_of", "rebuild", "together"]

State = dict[str, Tensor]
SIZES = ((2, 3), (4, 5))  # particles and series of two trials: what changes from one to the other is a dim of them


@dataclass(frozen=True)
class _Leaf:
    """Stands in a template for the tensor of that name."""

    name: str


def flatten(tree: Any, prefix: str = "") -> tuple[State, Any]:
    """The tensors of a nested state by name, and a template from which :func:`rebuild` makes it again."""
    found: State = {}

    def walk(part: Any, name: str) -> Any:
        if isinstance(part, Tensor):
            found[name] = part
            return _Leaf(name)
        if isinstance(part, dict):
            return {key: walk(value, f"{name}/{key}") for key, value in part.items()}
        if isinstance(part, list | tuple):
            made = [walk(value, f"{name}/{i}") for i, value in enumerate(part)]
            return type(part)(*made) if hasattr(part, "_fields") else type(part)(made)
        if part is None:
            return None
        raise Unstreamable(f"the state {name!r} holds a {type(part).__name__}, of which a stream can't keep one for "
                           "each series: make it a tensor with the dims of the input.")

    return found, walk(tree, prefix)


def rebuild(template: Any, state: State) -> Any:
    """The nested state of a template."""
    if isinstance(template, _Leaf):
        return state[template.name]
    if isinstance(template, dict):
        return {key: rebuild(value, state) for key, value in template.items()}
    if isinstance(template, list | tuple):
        made = [rebuild(value, state) for value in template]
        return type(template)(*made) if hasattr(template, "_fields") else type(template)(made)
    return template


def together(change: Callable[..., Tensor], axes: dict[str, int], *states: State) -> State:
    """``change(name, *tensors)`` for each name; tensors that were one object, of like ``axes``, stay one."""
    done: dict[Any, Tensor] = {}
    out: State = {}
    for name in states[-1]:
        tensors = [state[name] for state in states]
        key = (axes[name], *map(id, tensors))
        if key not in done:
            done[key] = change(name, *tensors)
        out[name] = done[key]
    return out


@dataclass(frozen=True)
class Layout:
    """What a state consists of.

    Attributes:
        templates: of the states after frame 1, 2, ..; the last one holds for all later frames.
        axes: by name, the leading dims: 2 for (particle, series), 1 for (series), 0 for what all series share.
        like: by name, a tensor of the other dims and the type.
    """

    templates: list[Any]
    axes: dict[str, int]
    like: State

    def age(self, frames: int) -> int:
        """Series of one such age have states of one form."""
        return min(frames, len(self.templates))

    def empty(self, particles: int, series: int) -> State:
        """A state whose rows mean nothing yet."""
        return {name: like.expand(*self.lead(name, particles, series), *like.shape).clone()
                for name, like in self.like.items()}

    def lead(self, name: str, particles: int, series: int) -> tuple[int, ...]:
        return (particles, series)[2 - self.axes[name]:]

    def spread(self, state: State, particles: int, series: int) -> State:
        """The tensors of one frame with all leading dims that their names have."""
        def full(name: str, value: Tensor) -> Tensor:
            shape = (*self.lead(name, particles, series), *self.like[name].shape)
            if value.shape == shape:
                return value
            return value.reshape(*(1,) * (len(shape) - value.dim()), *value.shape).expand(shape)

        return together(full, self.axes, state)

    def picked(self, state: State, rows: Tensor) -> State:
        """The state of some of the series."""
        return together(lambda name, v: v.index_select(self.axes[name] - 1, rows) if self.axes[name] else v,
                        self.axes, state)

    def replaced(self, state: State, rows: Tensor, new: State) -> State:
        """The state with other tensors for some of the series."""
        known = together(lambda name, v, w: v.index_copy(self.axes[name] - 1, rows, w) if self.axes[name] else w,
                         self.axes, state, new)
        return {**state, **known}

    def survived(self, state: State, ancestors: Tensor) -> State:
        """The state of the particles ``ancestors (n, B)``, in their order."""
        return together(lambda name, v: take(v, ancestors) if self.axes[name] == 2 else v,
                        self.axes, state)


def layout_of(trials: list[list[Any]]) -> Layout:
    """The layout of states: of one trial with each of ``SIZES``, the states after frames 1, 2, ...

    Raises:
        Unstreamable: a state that grows with time, that is none of tensors, or whose rows are not the series'.
    """
    first, second = ([flatten(tree) for tree in trial] for trial in trials)
    templates = [template for _, template in first]
    stable = next(i for i in range(len(templates)) if all(t == templates[-1] for t in templates[i:]))
    if stable + 1 == len(templates):
        raise Unstreamable("a part keeps a state that has another form at each frame, so that a stream would need more "
                           "and more memory: let a Causal part's state keep its form.")
    axes: dict[str, int] = {}
    for (state, _), (other, _) in zip(first, second, strict=True):
        for name, value in state.items():
            axes[name] = max(axes.get(name, 0), _axes(name, value.shape, other[name].shape))
    last, before, others = first[-1][0], first[-2][0], second[-1][0]
    like = {}
    for name, value in last.items():
        if value.shape != before[name].shape:
            raise Unstreamable(f"the state {name!r} grows from frame to frame ({tuple(before[name].shape)}, then "
                               f"{tuple(value.shape)}), so that a stream would need more and more memory. A law over "
                               "the whole past (rv.GaussianProcess, rv.DenseGaussian) keeps all of it: "
                               "rv.LinearGaussian, rv.AR1 or a chain keep what they need.")
        if not axes[name] and not torch.equal(value, before[name]):
            raise Unstreamable(f"the state {name!r} changes with time and has no dim of the series, which may be of "
                               "several ages: give it the dims of the part's input.")
        own = value.shape[_axes(name, value.shape, others[name].shape):]
        like[name] = torch.zeros(own, dtype=value.dtype, device=value.device)
    missing = [name for state, _ in first for name in state if name not in like]
    if missing:
        raise Unstreamable(f"the state {missing[0]!r} is there at the first frames only; a stream keeps states of one "
                           "form: keep it, or leave it out.")
    return Layout(templates[: stable + 1], axes, like)


def _axes(name: str, one: torch.Size, other: torch.Size) -> int:
    """How many leading dims are those of (particles,) series; one of two may be 1, for all alike."""
    pairs = list(zip(*SIZES, strict=True))  # of particles, of series
    if len(one) == len(other):
        changed = {i: (one[i], other[i]) for i in range(len(one)) if one[i] != other[i]}
        if not changed:
            return 0
        if changed == {0: pairs[1]}:
            return 1
        if changed.keys() <= {0, 1} and len(one) > 1 and all(
                changed.get(i, (one[i],) * 2) in (pairs[i], (1, 1)) for i in (0, 1)):
            return 2
    (k, b), (k2, b2) = SIZES
    raise Unstreamable(f"the state {name!r} has shape {tuple(one)} for {k} particles of {b} series and {tuple(other)} "
                       f"for {k2} of {b2}: a stream needs (particles, series, ...) or (series, ...).")
