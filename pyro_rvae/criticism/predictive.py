"""Does the model look like the data? Draws from it, of two kinds, and statistics of draws beside those of
data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyro
import pyro.poutine as poutine
import torch
from numpy.typing import NDArray
from torch import Tensor

from .particles import Chunk, check_count, check_data, chunks, criticising, draw, groups, like_of, repeatable
from .statistics import Statistic, statistics_for

__all__ = ["PredictiveCheck", "Replicates", "free_running", "one_step", "predictive_check"]

Array = NDArray[Any]


@dataclass(frozen=True, repr=False, eq=False)
class Replicates:
    """R data sets like the observed one: N sequences of the same lengths each, in the units of the raw data.

    Attributes:
        values: ``(R, sum T, x_dim)``, the sequences of a replicate one after the other (missing elements are
            drawn).
        lengths: ``(N,)``.
        drawn_by: ``"free_running"`` or ``"one_step"``.
    """

    values: Array
    lengths: NDArray[np.int64]
    drawn_by: str

    def __len__(self) -> int:
        return len(self.values)

    def sequences(self, r: int) -> list[Array]:
        """The N sequences ``(T_n, x_dim)`` of replicate r."""
        return np.split(self.values[r], np.cumsum(self.lengths)[:-1])

    def __repr__(self) -> str:
        return (
            f"Replicates({len(self)} data sets of {len(self.lengths)} sequences, "
            f"{self.values.shape[1]} frames, drawn by {self.drawn_by})"
        )


def free_running(
    model: Any, data: Any, num: int = 100, *, batch_size: int = 20, seed: int = 0, max_bytes: int = 2**28
) -> Replicates:
    """Sequences that the model makes on its own: nothing of the data is fed back.

    ``z ~ p(z), x_t ~ p(x_t | x_{<t}, z)`` with the drawn ``x_{<t}``. From the data come the lengths, and
    controls and labels where there are any. With point estimates of the weights it is the prior and the
    posterior predictive.

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
            trace = poutine.trace(model.model).get_trace(
                None, chunk.batch.mask, size=size, **chunk.batch.known
            )
        return _site_of_x(trace)["value"]  # type: ignore[no-any-return]

    return _replicates(model, data, num, batch_size, seed, max_bytes, program, "free_running")


def one_step(
    model: Any, data: Any, num: int = 100, *, batch_size: int = 20, seed: int = 0, max_bytes: int = 2**28
) -> Replicates:
    """Frames that the model makes when the *observed* past and a latent that has seen the data are given.

    ``z ~ q(z | x), x'_t ~ p(x_t | x_{<t}, z)`` with the observed ``x_{<t}``, for all t: teacher-forced. It
    conditions on everything that the guide reads, which for every guide includes x_t itself and for a
    smoothing guide the whole
    sequence: it shows how well the model explains the data, and it is no forecast. Nor are the frames of one
        draw
    a path, since none follows from the one before it; statistics over time see mostly the data.

    Arguments: as for :func:`free_running`.
    """
    repeat = _prepared(model, data)

    def program(chunk: Chunk) -> Tensor:
        x: Tensor = _site_of_x(draw(model, chunk, seed, repeat=repeat).model)["fn"].sample()
        return x

    return _replicates(model, data, num, batch_size, seed, max_bytes, program, "one_step")


def _prepared(model: Any, data: Any) -> bool:
    check_data(model, data, "one_step")
    with criticising(model):
        return repeatable(model, data)


def _site_of_x(trace: Any) -> Any:
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
        check_count(value, what)
    lengths = data.lengths if hasattr(data, "lengths") else torch.ones(len(data), dtype=torch.long)
    starts = (lengths.cumsum(0) - lengths).tolist()
    dtype = (
        np.int64 if data.kind == "categories" else torch.empty(0, dtype=like_of(model).dtype).numpy().dtype
    )
    values = np.empty((num, data.num_frames, data.x_dim), dtype=dtype)
    with criticising(model):
        for chunk in chunks(model, data, num, groups(data, batch_size), max_bytes):
            torch.manual_seed(hash((seed, 1, chunk.numbers[0], chunk.particles.start)) % 2**63)
            x = (
                _raw_units(model, program(chunk))
                .cpu()
                .numpy()
                .reshape(len(chunk.particles), len(chunk.numbers), -1, data.x_dim)
            )
            for j, n in enumerate(chunk.numbers):
                length = int(lengths[n])
                values[chunk.particles, starts[n] : starts[n] + length] = x[:, j, :length]
    return Replicates(values, lengths.numpy(), name)


def _raw_units(model: Any, x: Tensor) -> Tensor:
    return x if model.transform is None else model.transform.inverse(x)


def observed_sequences(data: Any) -> list[Array]:
    """The data's sequences ``(T_n, x_dim)`` in raw units; rows of static data as sequences of one frame."""
    values = data.values if data.transform is None else data.transform.inverse(data.values)
    flat = values.flatten(1).numpy()
    return (
        np.split(flat, np.cumsum(data.lengths.numpy())[:-1])
        if hasattr(data, "lengths")
        else list(flat[:, None])
    )


# ------------------------------------------------------------------------------------------------- the check
@dataclass(frozen=True, repr=False, eq=False)
class PredictiveCheck:
    """Statistics of the data beside those of replicated data.

    Attributes:
        observed: by name, ``(N, ...)``: the statistic of each sequence.
        replicated: by name, ``(R, N, ...)``.
        replicates: the draws themselves.
    """

    observed: dict[str, Array]
    replicated: dict[str, Array]
    replicates: Replicates
    name: str = "model"

    @property
    def scalars(self) -> list[str]:
        """Names of the statistics that are one number a sequence."""
        return [name for name, values in self.observed.items() if values.ndim == 1]

    def p_value(self, name: str) -> tuple[float, float]:
        r"""Bayesian p-value of a scalar statistic, and its Monte Carlo standard error.

        :math:`P(T(x^{rep}) > T(x)) + \tfrac12 P(T(x^{rep}) = T(x))` over the R replicates, where T is the
        mean of the statistic over the sequences of a data set. Near 0 the model makes too little of it, near
        1 too much. The error is that of a proportion, with one draw of each outcome added so that it is never
        0.
        Source: Meng (1994), "Posterior predictive p-values"; Gelman, Meng & Stern (1996).
        """
        if name not in self.scalars:
            raise ValueError(
                f"a p-value needs a statistic of one number a sequence ({', '.join(self.scalars) or 'none'});"
                f" got {name!r}."
            )
        observed, replicated = self.observed[name].mean(), self.replicated[name].mean(1)
        above = float((replicated > observed).mean() + 0.5 * (replicated == observed).mean())
        draws = len(replicated)
        smooth = (above * draws + 1) / (draws + 2)
        return above, math.sqrt(smooth * (1 - smooth) / (draws + 2))

    def to_dict(self) -> dict[str, dict[str, float]]:
        """For each scalar statistic: observed, replicated, p_value, p_value_error; as JSON takes them."""
        table = {}
        for name in self.scalars:
            p, error = self.p_value(name)
            table[name] = {
                "observed": float(self.observed[name].mean()),
                "replicated": float(self.replicated[name].mean()),
                "p_value": p,
                "p_value_error": error,
            }
        return table

    def __repr__(self) -> str:
        rows = [("", "data", "model", "90% of replicates", "P(model > data)")]
        for name, figures in self.to_dict().items():
            low, high = np.quantile(self.replicated[name].mean(1), [0.05, 0.95])
            rows.append(
                (
                    name,
                    f"{figures['observed']:.3f}",
                    f"{figures['replicated']:.3f}",
                    f"{low:.3f} to {high:.3f}",
                    f"{figures['p_value']:.2f} +- {figures['p_value_error']:.2f}",
                )
            )
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]
            )
            for row in rows
        ]
        kind = self.replicates.drawn_by.replace("_", "-")
        return f"{self.name}: {len(self.replicates)} {kind} replicates of the data.\n" + "\n".join(
            "  " + line.rstrip() for line in lines
        )


def predictive_check(
    model: Any,
    data: Any,
    statistics: Mapping[str, Statistic] | None = None,
    num: int = 100,
    *,
    draw: Callable[..., Replicates] = free_running,
    batch_size: int = 20,
    seed: int = 0,
    max_bytes: int = 2**28,
) -> PredictiveCheck:
    """Compare statistics of the data with those of what the model makes.

    Arguments:
        model: a :class:`~pyro_rvae.SequenceVAE`.
        data: a data set, best one that the model was not trained on.
        statistics: by name, functions of a sequence ``(T, x_dim)`` (NumPy, raw units, NaN where missing) to a
            number or a vector. Default: those of music for 88 binary keys, otherwise mean, scale and
            autocorrelation.
        num: replicates of the data set.
        draw: :func:`free_running` (default) or :func:`one_step`.
        batch_size, seed, max_bytes: as there.

    Missing elements of the data are missing in the replicates too. A statistic that returns NaN, or another
    shape for another sequence, is refused by name.
    """
    statistics = statistics_for(data) if statistics is None else statistics
    if not statistics:
        raise ValueError(
            "predictive_check needs at least one statistic, a function of a sequence (T, x_dim); got none."
        )
    replicates = draw(model, data, num, batch_size=batch_size, seed=seed, max_bytes=max_bytes)
    replicates = _with_gaps(replicates, data)
    sequences = observed_sequences(data)
    observed = {name: _each(name, function, sequences) for name, function in statistics.items()}
    replicated = {
        name: np.stack(
            [_each(name, function, replicates.sequences(r), observed[name].shape[1:]) for r in range(num)]
        )
        for name, function in statistics.items()
    }
    return PredictiveCheck(observed, replicated, replicates, type(model).__name__)


def _with_gaps(replicates: Replicates, data: Any) -> Replicates:
    if not data.missing or data.kind == "categories":
        return replicates
    gaps = data.values.flatten(1).isnan().numpy()
    return replace(replicates, values=np.where(gaps, np.nan, replicates.values))


def _each(
    name: str, function: Statistic, sequences: list[Array], shape: tuple[int, ...] | None = None
) -> Array:
    """The statistic of every sequence, of one shape and without NaN."""
    found = [np.asarray(function(sequence), dtype=np.float64) for sequence in sequences]
    shape = found[0].shape if shape is None else shape
    for n, value in enumerate(found):
        if value.shape != shape:
            raise ValueError(
                f"statistic {name!r} must return one shape for every sequence, got {shape} and "
                f"{value.shape} (sequence {n}): pad it, or reduce it to a number."
            )
        if np.isnan(value).any():
            raise ValueError(
                f"statistic {name!r} returned NaN for sequence {n}, of shape {sequences[n].shape}: return a "
                "number for every sequence, such as 0 where it isn't defined."
            )
    return np.stack(found)
