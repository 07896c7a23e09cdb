"""Draws from a model in the shape of a data set: of the model alone, and of its latents given the data.

Forecasts, which condition on a past, stand in ``forecasts.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyro
from numpy.typing import NDArray
from torch import Tensor

from ..core.checks import check_count
from ..core.contexts import evaluating, forked, seed_generators
from ..core.traces import traced
from ..data.transforms import raw_units
from .chunks import Chunk, check_data, chunks, groups, lengths_of, like_of
from .particles import draw, repeatable
from .tables import count

__all__ = ["Replicates", "free_running", "observed_sequences", "reconstructed", "site_of_x"]

Array = NDArray[Any]


@dataclass(frozen=True, repr=False, eq=False)
class Replicates:
    """R data sets like the observed one: N sequences of the same lengths each, in the units of the raw data.

    Attributes:
        values: ``(R, sum T, x_dim)``, the sequences of a replicate one after the other (missing elements are
            drawn).
        lengths: ``(N,)``.
        drawn_by: ``"free_running"``, ``"reconstructed"``, ``"one_step"`` or ``"from_prefix"``.
        prefix: ``(N,)``, how many frames of each sequence are the observed ones (of ``from_prefix``), gaps and
            all; ``None`` where none is.
    """

    values: Array
    lengths: NDArray[np.int64]
    drawn_by: str
    prefix: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.values)

    def sequences(self, r: int) -> list[Array]:
        """The N sequences ``(T_n, x_dim)`` of replicate r."""
        return np.split(self.values[r], np.cumsum(self.lengths)[:-1])

    def behind_prefix(self) -> Replicates:
        """What was drawn: the frames behind the prefix, of the sequences that have any."""
        if self.prefix is None:
            return self
        past, lengths = np.repeat(self.prefix, self.lengths), self.lengths
        step = np.arange(len(past)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        left = lengths - self.prefix
        return Replicates(self.values[:, step >= past], left[left > 0], self.drawn_by)

    def __repr__(self) -> str:
        return (
            f"Replicates({count(len(self), 'data set')} of {count(len(self.lengths), 'sequence')}, "
            f"{count(self.values.shape[1], 'frame')}, drawn by {self.drawn_by}{self._given()})"
        )

    def _given(self) -> str:
        if self.prefix is None:
            return ""
        least, most = int(self.prefix.min()), int(self.prefix.max())
        given = f"{least} to {most} frames" if least != most else count(least, "frame").removeprefix("1 ")
        return f", the first {given} observed"


def free_running(
    model: Any, data: Any, num: int = 100, *, batch_size: int = 20, seed: int = 0, max_bytes: int = 2**28
) -> Replicates:
    """Sequences that the model makes on its own: nothing of the data is fed back.

    ``z ~ p(z), x_t ~ p(x_t | x_{<t}, z)`` with the drawn ``x_{<t}``. From the data come the lengths, and
    controls and labels where there are any. With point estimates of the weights it is the prior and the
    posterior predictive; what is drawn once a data set (``shared``) comes from its posterior.

    Arguments:
        model: a :class:`~pyro_rvae.SequenceVAE`.
        data: a data set whose lengths the draws shall have.
        num: replicates of the whole data set, R.
        batch_size: most sequences at once.
        seed: the same draws for the same seed, batch_size and max_bytes. Torch's own random state is left
            alone.
        max_bytes: memory that the activations of one chunk should take, roughly.
    """

    def program(chunk: Chunk) -> Tensor:
        size = tuple(chunk.batch.x.shape[: 1 if model.static else 2])
        with pyro.plate("particles", len(chunk.particles), dim=-2):
            own = getattr(model, "learned_model", model.model)
            trace = traced(own, None, chunk.batch.mask, size=size, **chunk.batch.known)
        return site_of_x(trace)["value"]  # type: ignore[no-any-return]

    return _replicates(model, data, num, batch_size, seed, max_bytes, program, "free_running")


def reconstructed(
    model: Any, data: Any, num: int = 100, *, batch_size: int = 20, seed: int = 0, max_bytes: int = 2**28
) -> Replicates:
    """Frames that the model makes when the *observed* past and a latent that has seen the data are given.

    ``z ~ q(z | x), x'_t ~ p(x_t | x_{<t}, z)`` with the observed ``x_{<t}``, for all t: replicates of the
    "posterior" kind. It conditions on everything that the guide reads, which for every guide includes x_t
    itself and for a smoothing guide the whole sequence: it shows how well the model explains the data, and it
    is no forecast (that is :func:`one_step`). Nor are the frames of one draw a path, since none follows from
    the one before it; statistics over time see mostly the data.

    Arguments: as for :func:`free_running`.
    """
    repeat = _prepared(model, data)

    def program(chunk: Chunk) -> Tensor:
        x: Tensor = site_of_x(draw(model, chunk, seed, repeat=repeat).model)["fn"].sample()
        return x

    return _replicates(model, data, num, batch_size, seed, max_bytes, program, "reconstructed")


def _prepared(model: Any, data: Any) -> bool:
    check_data(model, data, "reconstructed")
    with evaluating(model), forked(like_of(model).device):
        return repeatable(model, data)


def site_of_x(trace: Any) -> Any:
    """The site of the data in a model's trace."""
    if "x" not in trace.nodes:
        raise RuntimeError(
            "predictive draws need the model's site 'x', and there is none: leave `explicit()`, where it "
            "has one site a step, and name the observed site 'x'."
        )
    return trace.nodes["x"]


def _replicates(
    model: Any,
    data: Any,
    num: int,
    batch_size: int,
    seed: int,
    max_bytes: int,
    program: Callable[[Chunk], Tensor],
    name: str,
) -> Replicates:
    check_data(model, data, name)
    for what, value in {"num": num, "batch_size": batch_size, "max_bytes": max_bytes}.items():
        check_count(what, value)
    lengths = lengths_of(data)
    starts = np.cumsum(lengths) - lengths
    values: Array | None = None
    device = like_of(model).device
    with evaluating(model), forked(device):
        for chunk in chunks(model, data, num, groups(data, batch_size), max_bytes):
            seed_generators(device, hash((seed, 1, chunk.numbers[0], chunk.particles.start)))
            made = raw_units(data, program(chunk).cpu())
            x = made.reshape(len(chunk.particles), len(chunk.numbers), -1, data.x_dim).numpy()
            if values is None:
                values = np.empty((num, data.num_frames, data.x_dim), dtype=x.dtype)
            rows = slice(chunk.particles.start, chunk.particles.stop)
            for j, n in enumerate(chunk.numbers):
                values[rows, starts[n] : starts[n] + lengths[n]] = x[:, j, : lengths[n]]
    assert values is not None  # a data set is never empty
    return Replicates(values, lengths, name)


def observed_sequences(data: Any) -> list[Array]:
    """The data's sequences ``(T_n, x_dim)`` in raw units; rows of static data as sequences of one frame."""
    values = raw_units(data, data.values)
    flat = values.flatten(1).numpy()
    return (
        np.split(flat, np.cumsum(data.lengths.numpy())[:-1])
        if hasattr(data, "lengths")
        else list(flat[:, None])
    )
