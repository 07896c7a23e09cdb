"""Does the model look like the data? Statistics of what it makes, beside those of data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.checks import check_count
from .asked import PATHS, check_draw, check_functions, drawn
from .chunks import check_data
from .pit import Pit, pit_of
from .replicates import Replicates, free_running, observed_sequences
from .statistics import Statistic, statistics_for
from .tables import count, table

__all__ = ["PredictiveCheck", "predictive_check"]

Array = NDArray[Any]
TAIL = 0.025  # beyond it a p-value is counted as extreme
NO_PATH = ("Each frame was drawn for itself, given the data: scale, extremes and runs over time differ for a perfect "
           "model too.")


@dataclass(frozen=True, repr=False, eq=False)
class PredictiveCheck:
    """Statistics of the data beside those of replicated data.

    Attributes:
        observed: by name, ``(N, ...)``: the statistic of each sequence.
        replicated: by name, ``(R, N, ...)``.
        replicates: the draws themselves.
        name: the model's name.
        features: names of the data's features, if it has any.
        unit: what one has a statistic of, ``"sequences"`` or ``"items"``.
    """

    observed: dict[str, Array]
    replicated: dict[str, Array]
    replicates: Replicates
    name: str = "model"
    features: tuple[str, ...] | None = None
    unit: str = "sequences"

    @property
    def scalars(self) -> list[str]:
        """Names of the statistics that are one number a sequence."""
        return [name for name, values in self.observed.items() if values.ndim == 1]

    @property
    def vectors(self) -> list[str]:
        """Names of the others."""
        return [name for name in self.observed if name not in self.scalars]

    def p_value(self, name: str) -> tuple[Any, Any]:
        r"""Bayesian p-value of a statistic, and its Monte Carlo standard error; of a vector, by element.

        :math:`P(T(x^{rep}) > T(x)) + \tfrac12 P(T(x^{rep}) = T(x))` over the R replicates, where T is the
        mean of the statistic over the sequences of a data set. Near 0 the model makes too little of it, near
        1 too much. The error is that of a proportion, with one draw of each outcome added to keep it above 0.
        With free-running replicates of held-out data the p-value is uniform if the model is right (up to the grid of
        R draws); replicates that have seen the data make it conservative, close to 1/2.
        Source: Meng (1994), "Posterior predictive p-values"; Gelman, Meng & Stern (1996).

        Returns floats, or arrays of the statistic's shape.
        """
        if name not in self.observed:
            raise ValueError(f"a p-value needs one of the statistics {', '.join(self.observed)}; got {name!r}.")
        observed, replicated = self.observed[name].mean(0), self.replicated[name].mean(1)
        # the order of a sum must not decide between equal numbers
        tied = np.isclose(replicated, observed, rtol=1e-9, atol=1e-12)
        above = ((replicated > observed) & ~tied).mean(0) + 0.5 * tied.mean(0)
        draws = len(replicated)
        smooth = (above * draws + 1) / (draws + 2)
        error = np.sqrt(smooth * (1 - smooth) / (draws + 2))
        return (float(above), float(error)) if observed.ndim == 0 else (above, error)

    def pit(self, name: str, *, seed: int = 0) -> Pit:
        """Where each sequence's statistic stands among its replicates; see :func:`loo_pit`, also for vectors.

        Raises:
            ValueError: replicates whose frames have seen the frames around them (one_step, reconstructed): a
                statistic of the data is not exchangeable with theirs.
        """
        if name not in self.observed:
            raise ValueError(f"pit needs one of the statistics {', '.join(self.observed)}; got {name!r}.")
        if self.replicates.drawn_by not in PATHS:
            raise ValueError(f"pit needs replicates that are paths, of {' or '.join(PATHS)}, got those of "
                             f"{self.replicates.drawn_by}: of one-step forecasts take prequential_pit, element by "
                             "element.")
        values = pit_of(self.observed[name], self.replicated[name], seed=seed)
        return Pit(values, f"{name!r}", self.unit, len(self.replicates), self.replicates.drawn_by, self.name)

    def to_dict(self, *, vectors: bool = False) -> dict[str, dict[str, Any]]:
        """For each statistic: observed, replicated, p_value, p_value_error; as JSON takes them.

        Arguments:
            vectors: those of several numbers a sequence too, as lists.
        """
        found = {}
        for name in [*self.scalars, *(self.vectors if vectors else ())]:
            p, error = self.p_value(name)
            figures = {
                "observed": self.observed[name].mean(0),
                "replicated": self.replicated[name].mean((0, 1)),
                "p_value": p,
                "p_value_error": error,
            }
            found[name] = {what: np.asarray(figure).tolist() for what, figure in figures.items()}
        return found

    def __repr__(self) -> str:
        kind = self.replicates.drawn_by.replace("_", "-")
        behind = "" if self.replicates.prefix is None else ", of what follows the given frames"
        head = f"{self.name}: {count(len(self.replicates), f'{kind} replicate')} of the data{behind}."
        parts = [self._scalar_rows()] * bool(self.scalars) + [self._vector_rows()] * bool(self.vectors)
        apart = self.replicates.drawn_by in ("one_step", "reconstructed") and self.unit == "sequences"
        return "\n".join([head, *map(table, parts), *[f"  {NO_PATH}"] * apart])

    def _scalar_rows(self) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = [("", "data", "model", "90% of replicates", "P(model > data)")]
        for name, figures in self.to_dict().items():
            low, high = np.quantile(self.replicated[name].mean(1), [0.05, 0.95])
            p = f"{figures['p_value']:.2f} +- {figures['p_value_error']:.2f}"
            middle = f"{low:.3f} to {high:.3f}"
            rows.append((name, f"{figures['observed']:.3f}", f"{figures['replicated']:.3f}", middle, p))
        return rows

    def _vector_rows(self) -> list[tuple[str, ...]]:
        """How many elements of each vector lie in the tails."""
        chance = f"({100 * 2 * TAIL:g}% by chance)"
        rows: list[tuple[str, ...]] = [("", "elements", "too small", "too large", chance)]
        for name in self.vectors:
            p, _ = self.p_value(name)
            rows.append((name, str(p.size), str(int((p < TAIL).sum())), str(int((p > 1 - TAIL).sum())), ""))
        return rows


def predictive_check(
    model: Any,
    data: Any,
    statistics: Mapping[str, Statistic] | None = None,
    num: int = 100,
    *,
    draw: Callable[..., Replicates] | Replicates = free_running,
    batch_size: int = 20,
    seed: int = 0,
    max_bytes: int = 2**28,
) -> PredictiveCheck:
    """Compare statistics of the data with those of what the model makes.

    Arguments:
        model: a :class:`~pyro_rvae.SequenceVAE`.
        data: a data set, best one that the model was not trained on.
        statistics: by name, functions of a sequence ``(T, x_dim)`` (NumPy, raw units, NaN, or -1 in codes, where
            missing) to a number or a vector. Default: those of :func:`~pyro_rvae.criticism.statistics.statistics_for`.
        num: replicates of the data set.
        draw: :func:`free_running` (default), ``partial(from_prefix, prefix=16)``, :func:`one_step` or
            :func:`reconstructed`; or :class:`Replicates` of this data set that were drawn before. From a prefix the
            statistics are of the frames behind it alone (sequences that were given whole are left out). With one_step
            and reconstructed the frames of a draw are independent given the data, so of a perfect model too every
            statistic that sees frames together differs: runs and autocorrelation, but the scale and the extremes over
            time as well. Only means over frames compare.
        batch_size, seed, max_bytes: as there.

    Missing elements of the data are missing in the replicates too. A statistic sees each sequence read-only.

    Raises:
        TypeError: statistics without names; ``draw`` makes no replicates, or is from_prefix without its prefix.
        ValueError: no statistic; one that fails, or returns NaN, infinity or another shape for another sequence: it
            is named, and so is the sequence; replicates of another data set.

    >>> print(rv.predictive_check(model, data.test, num=100))  # doctest: +SKIP
    """
    check_data(model, data, "predictive_check")
    statistics = statistics_for(data) if statistics is None else statistics
    check_functions(statistics, "predictive_check", "statistic")
    check_draw(draw)
    check_count("num", num)
    seen, made = _sides(model, data, num, draw, batch_size=batch_size, seed=seed, max_bytes=max_bytes)
    behind = made.behind_prefix()
    observed = {name: _each(name, function, seen.sequences(0), "data") for name, function in statistics.items()}
    replicated = {
        name: np.stack(
            [
                _each(name, function, behind.sequences(r), f"replicate {r}", observed[name].shape[1:])
                for r in range(len(behind))
            ]
        )
        for name, function in statistics.items()
    }
    unit = "items" if model.static else "sequences"
    return PredictiveCheck(observed, replicated, made, type(model).__name__, data.names, unit)


def _sides(
    model: Any, data: Any, num: int, draw: Callable[..., Replicates] | Replicates, **how: Any
) -> tuple[Replicates, Replicates]:
    """Of the data what follows the prefix; and replicates with the same gaps."""
    made = drawn(draw, model, data, num, **how)
    rows = np.concatenate(observed_sequences(data))
    if made.values.shape[1:] != rows.shape:
        raise ValueError(f"draw: replicates of another data set, {made!r} of {made.values.shape[2]} elements a frame; "
                         f"the data have {rows.shape[0]} frames of {rows.shape[1]}: draw them anew.")
    if data.missing:
        gaps, hole = (rows < 0, -1) if data.kind == "categories" else (np.isnan(rows), np.nan)
        made = replace(made, values=np.where(gaps, hole, made.values))
    return Replicates(rows[None], made.lengths, "data", made.prefix).behind_prefix(), made


def _each(
    name: str, function: Statistic, sequences: list[Array], side: str, shape: tuple[int, ...] | None = None
) -> Array:
    """The statistic of every sequence, of one shape and finite."""
    found = [_value(name, function, x, f"sequence {n} of the {side}") for n, x in enumerate(sequences)]
    shape = found[0].shape if shape is None else shape
    for n, value in enumerate(found):
        if value.shape != shape:
            raise ValueError(
                f"statistic {name!r} must return one shape for every sequence, got {shape} and "
                f"{value.shape} (sequence {n} of the {side}): pad it, or reduce it to a number."
            )
    return np.stack(found)


def _value(name: str, function: Statistic, x: Array, where: str) -> Array:
    x = x.view()
    x.flags.writeable = False  # the others are to see the same numbers
    try:
        value = np.asarray(function(x), dtype=np.float64)
    except Exception as error:  # of a function that is not ours
        read_only = "read-only" in str(error)
        advice = "change a copy, x = x.copy()" if read_only else "it must return a number or a vector for every " \
                 "sequence, also for a short one"
        raise ValueError(f"statistic {name!r} failed on {where}, an array {x.shape} ({type(error).__name__}: {error}): "
                         f"{advice}.") from error
    if not value.size:
        raise ValueError(f"statistic {name!r} returned nothing for {where}, an array {x.shape} (shape {value.shape}): "
                         "it must return a number or a vector for every sequence.")
    if not np.isfinite(value).all():
        what = "NaN" if np.isnan(value).any() else "infinity"
        raise ValueError(f"statistic {name!r} returned {what} for {where}, an array {x.shape}: return a number for "
                         "every sequence, such as 0 where it isn't defined.")
    return value
