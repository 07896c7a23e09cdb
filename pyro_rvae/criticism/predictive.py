"""Does the model look like the data? Statistics of what it makes, beside those of data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .replicates import Replicates, free_running, observed_sequences
from .statistics import Statistic, statistics_for

__all__ = ["PredictiveCheck", "predictive_check"]

Array = NDArray[Any]


@dataclass(frozen=True, repr=False, eq=False)
class PredictiveCheck:
    """Statistics of the data beside those of replicated data.

    Attributes:
        observed: by name, ``(N, ...)``: the statistic of each sequence.
        replicated: by name, ``(R, N, ...)``.
        replicates: the draws themselves.
        name: the model's name.
        features: names of the data's features, if it has any.
    """

    observed: dict[str, Array]
    replicated: dict[str, Array]
    replicates: Replicates
    name: str = "model"
    features: tuple[str, ...] | None = None

    @property
    def scalars(self) -> list[str]:
        """Names of the statistics that are one number a sequence."""
        return [name for name, values in self.observed.items() if values.ndim == 1]

    def p_value(self, name: str) -> tuple[float, float]:
        r"""Bayesian p-value of a scalar statistic, and its Monte Carlo standard error.

        :math:`P(T(x^{rep}) > T(x)) + \tfrac12 P(T(x^{rep}) = T(x))` over the R replicates, where T is the
        mean of the statistic over the sequences of a data set. Near 0 the model makes too little of it, near
        1 too much. The error is that of a proportion, with one draw of each outcome added to keep it above 0.
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
    return PredictiveCheck(observed, replicated, replicates, type(model).__name__, data.names)


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
