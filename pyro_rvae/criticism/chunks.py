"""Cutting a data set and its particles into chunks that fit memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core import SequenceVAE
from ..distributions import family_class, kinds_of
from .progress import advance, expect

__all__ = ["Chunk", "check_amortised", "check_data", "chunks", "groups", "lengths_of", "like_of"]


@dataclass(frozen=True)
class Chunk:
    """Some sequences of the data set and some of their particles."""

    batch: Any  # rv.data.Batch, on the model's device
    numbers: list[int]  # of its sequences in the data set
    particles: range


def check_data(model: Any, data: Any, caller: str) -> None:
    """Refuse what is no data set, and a data set without time for a model with it (or the reverse)."""
    if isinstance(model, type):
        raise TypeError(f"{caller} needs a model, got the class {model.__name__}: make one first, such as "
                        f"{model.__name__}.for_data(data.train), and train it.")
    if not (hasattr(model, "model") and hasattr(model, "guide") and hasattr(model, "static")):
        raise TypeError(
            f"{caller} needs a SequenceVAE, got {type(model).__name__}: the model comes first; a pair of your own is "
            "wrapped as rv.Pair(model, guide)."
        )
    if not hasattr(data, "padded"):
        hint = (
            "pass one of its sides, such as data.test"
            if hasattr(data, "test")
            else "wrap arrays in rv.data.SequenceDataset(values, lengths)"
        )
        raise TypeError(
            f"{caller} needs one data set (SequenceDataset or StaticDataset), got "
            f"{type(data).__name__}: {hint}."
        )
    if bool(model.static) == hasattr(data, "lengths"):
        needs, got = (
            ("rows without time", "sequences") if model.static else ("sequences", "rows without time")
        )
        raise ValueError(
            f"{type(model).__name__} is a model of {needs}, the data set holds {got}: pass a "
            f"{'StaticDataset' if model.static else 'SequenceDataset'}."
        )
    if hasattr(model, "meet"):
        model.meet(data)
    width = getattr(model, "x_dim", None)
    if width is not None and width != data.x_dim:
        raise ValueError(
            f"{type(model).__name__} was built for frames of x_dim={width}, the data set has {data.x_dim} features"
            f"{_names(data)}: pass data with the features that it was trained on."
        )
    _check_values(model, data)
    ours, theirs = model.transform, data.transform
    if ours is not None and (
        theirs is None
        or not all(
            torch.allclose(getattr(ours, part).cpu(), getattr(theirs, part).to(ours.loc.dtype))
            for part in ("loc", "scale")
        )
    ):
        raise ValueError(
            f"{type(model).__name__} was made for data in other units: transform the data set as its "
            "training data were, with data.transformed(model.transform) on the raw ones."
        )


def _check_values(model: Any, data: Any) -> None:
    """Refuse values that the likelihood is no law of, and those of another precision than the model's weights."""
    name, likelihood = type(model).__name__, getattr(model, "likelihood", None)
    if likelihood is None:
        likelihood = getattr(getattr(model, "base", None), "likelihood", None)  # a model around another one
    family = family_class(likelihood)
    if family is not None and data.kind not in kinds_of(family):
        raise ValueError(
            f"{name} has the likelihood {family.__name__}, a law of {' and '.join(kinds_of(family))} data; the data "
            f"set is of kind {data.kind!r}: pass data like those that the model was built for, or build the data set "
            "with the kind= that its values are."
        )
    ours, theirs = like_of(model).dtype, data.values.dtype
    if isinstance(model, SequenceVAE) and theirs.is_floating_point and ours.is_floating_point and ours != theirs:
        convert = {torch.float32: "model.float()", torch.float64: "model.double()"}.get(theirs, f"model.to({theirs})")
        raise ValueError(
            f"{name}: the model's weights are {ours}, the data set holds {theirs}: convert the model, {convert}, or "
            f"build the data set under torch.set_default_dtype({ours})."
        )


def _names(data: Any) -> str:
    return "" if data.names is None else f" ({', '.join(data.names[:4])}{', ...' if len(data.names) > 4 else ''})"


def check_amortised(model: Any, caller: str, otherwise: str = "") -> None:
    """Refuse a guide that infers from no other x than the one it was trained on."""
    if getattr(model, "unamortised", False):
        raise ValueError(
            f"{caller} needs an amortised guide, one that infers from any x it is given; an AutoGuide such as "
            f"{type(model.programs['guide']).__name__} has a law for each row of its training data, made from all of "
            f"that row: write a guide that reads x{otherwise}."
        )


def lengths_of(data: Any) -> NDArray[np.int64]:
    """Frames of each sequence ``(N,)``; a row of static data is one."""
    found: NDArray[np.int64] = (
        data.lengths.numpy() if hasattr(data, "lengths") else np.ones(len(data), dtype=np.int64)
    )
    return found


def groups(data: Any, batch_size: int, least: int = 1) -> list[list[int]]:
    """Numbers of the sequences, sorted by length, in batches; a last one under ``least`` joins another."""
    order = data.lengths.argsort(stable=True).tolist() if hasattr(data, "lengths") else list(range(len(data)))
    cut = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    if len(cut) > 1 and len(cut[-1]) < least:
        cut[-2:] = [cut[-2] + cut[-1]]
    return cut


def chunks(
    model: Any,
    data: Any,
    num_particles: int,
    together: list[list[int]],
    max_bytes: int,
    *,
    whole: bool = False,
    frames: int | None = None,
) -> Iterator[Chunk]:
    """Every (sequence, particle) once, from batches of sequences.

    A chunk's activations take about ``max_bytes``, but never less than what one particle of one sequence
    needs (of one batch, where batches must stay ``whole``). ``frames``: of a sequence that will be read or
    drawn, if not the data's.
    """
    like = like_of(model)
    if getattr(model, "unamortised", False):  # the guide holds a law for each sequence, in the data's order
        together, whole = [list(range(len(data)))], True
    expect(num_particles * sum(map(len, together)))
    # numbers a frame, if every layer's output were kept
    width = data.x_dim + sum(p.shape[0] for p in model.parameters() if p.dim() > 1)
    for group in together:
        longest = int(data.lengths[group].max()) if hasattr(data, "lengths") else 1
        each = (frames or longest) * width * like.element_size()
        size = len(group) if whole else min(len(group), max(1, max_bytes // each))
        at_once = max(1, max_bytes // (each * size))
        for i in range(0, len(group), size):
            numbers = group[i : i + size]
            batch = data.padded(numbers).to(like.device)
            for start in range(0, num_particles, at_once):
                chunk = Chunk(batch, numbers, range(start, min(start + at_once, num_particles)))
                yield chunk
                advance(len(numbers) * len(chunk.particles))


def like_of(model: Any) -> Tensor:
    """A tensor with the model's device and dtype."""
    return next((p.detach() for p in model.parameters()), torch.empty(0, device="cpu"))
