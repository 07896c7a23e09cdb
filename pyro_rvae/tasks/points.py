"""Latents of one sequence at a time: encoded, changed by whoever, decoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.contexts import seed_generators
from ..criticism.chunks import like_of
from ..data.transforms import raw_units
from .between import Latent, decoded, latents_of, need_latents
from .inputs import as_data

__all__ = ["APART", "Point", "apart", "decoded_points", "encoded", "fitted", "id_of", "known_of", "length_of",
           "names_of", "need_continuous", "resampled", "single", "what"]

Array = NDArray[Any]

@dataclass(frozen=True)
class Point:
    """The latents of one sequence to decode, without a dim of sequences, and what the model is told of it."""

    values: dict[str, Tensor]
    length: int | None  # None: an item, without time
    known: dict[str, Tensor]  # labels (...), controls (T, control_dim)


def single(model: Any, given: Any, caller: str, what: str, *, labels: Any = None, controls: Any = None) -> Any:
    """A data set of the one sequence that a caller was given: such a data set, or an array."""
    known: dict[str, Any] = {}
    if labels is not None:
        known["labels"] = torch.as_tensor(labels).unsqueeze(0)
    if controls is not None:
        known["controls"] = [controls]
    if model.static and not hasattr(given, "padded") and np.ndim(given) == 1:
        given = torch.as_tensor(given).unsqueeze(0)
    data = as_data(model, given, caller, **known)
    if len(data) != 1:
        raise ValueError(f"{caller}: {what} must be one sequence, an array (T, x_dim) in raw units or a data set of "
                         f"one such as data.test.subset([3]); got {len(data)}.")
    return data


def encoded(model: Any, data: Any, caller: str) -> dict[str, Latent]:
    """The posterior means of one sequence's latents, each given those before it."""
    found = latents_of(model, data.padded([0]).to(like_of(model).device))
    need_latents(model, found, caller, "rv.tasks.forecast")
    return found


def known_of(data: Any) -> dict[str, Tensor]:
    """Labels and controls of a data set of one sequence."""
    return {name: value[0] for name, value in data.padded([0]).known.items()}


def decoded_points(model: Any, points: Sequence[Point], shared: dict[str, Tensor], data: Any, *, mean: bool,
                   seed: int, batch_size: int) -> list[Tensor]:
    """The sequences of some points, each as long as the point says, in the raw units of ``data``, on the CPU."""
    device, made = like_of(model).device, []
    for start in range(0, len(points), batch_size):
        some = points[start : start + batch_size]
        seed_generators(device, hash((seed, 4, start)))
        values = {name: stacked([point.values[name] for point in some]) for name in some[0].values}
        lengths = [point.length or 0 for point in some]
        size: tuple[int, ...] = (len(some),)
        mask = None
        if not model.static:
            size = (len(some), max(lengths))
            mask = torch.arange(max(lengths), device=device) < torch.tensor(lengths, device=device).unsqueeze(-1)
        known = {name: stacked([point.known[name] for point in some]).to(device) for name in some[0].known}
        x = raw_units(data, decoded(model, values | shared, mask, size, known, mean).cpu())
        made += [row if model.static else row[:length] for row, length in zip(x, lengths, strict=True)]
    return made


def stacked(values: Sequence[Tensor]) -> Tensor:
    """Vectors ``(d,)``, or paths ``(T_i, d)`` padded with zeros, one upon the other."""
    if values[0].dim() < 2:
        return torch.stack(list(values))
    return torch.nn.utils.rnn.pad_sequence(list(values), batch_first=True)


# ------------------------------------------------------------------------------------------ changes of a path
def resampled(path: Tensor, steps: int, *, nearest: bool = False) -> Tensor:
    """A path ``(S, d)`` stretched or squeezed in time to ``(steps, d)``: its ends stay, between it is linear."""
    if len(path) == steps:
        return path
    where = torch.linspace(0.0, len(path) - 1.0, steps, dtype=torch.float64, device=path.device)
    if nearest:
        return path[where.round().long()]
    low = where.floor().long()
    share = (where - low).to(path.dtype).unsqueeze(-1)
    return (1 - share) * path[low] + share * path[(low + 1).clamp(max=len(path) - 1)]


def fitted(name: str, pair: Sequence[Latent], length: int | None) -> tuple[Tensor, Tensor]:
    """The values of one site of two sequences, for a sequence of ``length`` frames."""
    a, b = (latent.value[0] for latent in pair)
    every = max(latent.every or 0 for latent in pair)  # of a sequence shorter than a block it is that sequence's length
    if every and length is not None:
        a, b = (resampled(value, -(-length // every), nearest=pair[0].discrete) for value in (a, b))
    if a.shape != b.shape:
        raise ValueError(f"site {name!r} has shape {tuple(a.shape)} for one of the two sequences and {tuple(b.shape)} "
                         "for the other, and isn't sampled in a loop over time, so its steps can't be told: pass "
                         "sequences of one length, or write it as t.sample within `for t in steps`.")
    return a, b


# ------------------------------------------------------------------------------------------ words
def need_continuous(model: Any, found: dict[str, Latent], caller: str) -> None:
    """Refuse a model whose latents of a sequence are all discrete."""
    if all(latent.discrete for latent in found.values() if not latent.shared):
        names = sorted(name for name, latent in found.items() if not latent.shared)
        raise ValueError(f"{caller}: the latents of {type(model).__name__} ({', '.join(names)}) are discrete, and "
                         "nothing lies between two of their values; generate from a prefix instead.")


def length_of(data: Any) -> int | None:
    """Frames of the one sequence of a data set; ``None``: an item."""
    return int(data.lengths[0]) if hasattr(data, "lengths") else None


def names_of(model: Any, data: Any) -> tuple[str, ...] | None:
    """Names of the features, if there are any."""
    card = getattr(model, "data_card", None)
    names = data.names if data.names is not None else card.names if card is not None else None
    return None if names is None else tuple(names)


def id_of(data: Any, otherwise: str) -> str:
    """The id of the one sequence of a data set, if it has one."""
    return str(data.ids[0]) if data.ids is not None else otherwise


APART = "Distances are root mean squares over elements of the frames that both have, in raw units."


def apart(x: Array, y: Array) -> float:
    """Root mean square of the difference, over the frames that both have."""
    frames = min(len(x), len(y))
    return float(np.sqrt(np.mean(np.square(x[:frames].astype(float) - y[:frames]))))


def what(drawn: bool) -> str:
    """Whether sequences were drawn, in words."""
    return "draws of p(x | z)" if drawn else "means of p(x | z)"
