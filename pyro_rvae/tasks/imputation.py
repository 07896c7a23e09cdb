"""What an imputation is: draws of each missing element, and what is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from ..criticism.chunks import lengths_of
from ..criticism.tables import count, plain, table
from ..data.hold_out import with_values
from ..data.transforms import raw_units

__all__ = ["Imputation"]

Array = NDArray[Any]
Whole = NDArray[np.int64]
MOST = 40  # features that are printed
WIDTH = 0.8  # level of the printed interval


@dataclass(frozen=True, eq=False, repr=False)
class Imputation:
    """R draws of the M missing elements of a data set, in raw units. An array of all elements has F = sum T rows.

    Attributes:
        draws: ``(R, M)``, in the order of the frames, then of the features.
        frames: ``(M,)``, the frame of each among all frames of the data set, ``0 .. F - 1``.
        features: ``(M,)``.
        observed: ``(F, x_dim)``, NaN (-1, of codes) where an element is missing.
        lengths: ``(N,)``, frames of each sequence (1 of an item without time).
        kind, classes, names, ids, times: as of the data set.
        scale: ``(x_dim,)``, of the data set's transform, or ones.
        source: what drew them.
        data: the data set, as it was given.
    """

    draws: Array
    frames: Whole
    features: Whole
    observed: Array
    lengths: Whole
    kind: str
    classes: int | None
    names: tuple[str, ...] | None
    ids: tuple[str, ...] | None
    times: Array | None
    scale: Array
    source: str
    data: Any = field(repr=False)

    @classmethod
    def of(cls, data: Any, draws: Array, frames: Whole, features: Whole, source: str) -> Self:
        """The imputation of a data set from draws in raw units."""
        raw = raw_units(data, data.values).flatten(1).numpy()
        scale = np.ones(data.x_dim) if data.transform is None else data.transform.scale.flatten().double().numpy()
        times = getattr(data, "times", None)
        return cls(draws, frames, features, raw, lengths_of(data), data.kind, data.classes, data.names, data.ids,
                   None if times is None else times.numpy(), scale, source, data)

    def __len__(self) -> int:
        return len(self.frames)

    # ------------------------------------------------------------------------------------------ where
    @property
    def sequences(self) -> Whole:
        """``(M,)``: the sequence that each missing element belongs to."""
        return np.searchsorted(np.cumsum(self.lengths), self.frames, side="right")

    @property
    def steps(self) -> Whole:
        """``(M,)``: its frame in that sequence."""
        ends: Whole = np.cumsum(self.lengths)
        return self.frames - (ends - self.lengths)[self.sequences]

    def name(self, feature: int) -> str:
        """A feature's name, or its number."""
        return f"feature {feature + 1}" if self.names is None else self.names[feature]

    # ------------------------------------------------------------------------------------------ what
    @property
    def mean(self) -> Array:
        """``(F, x_dim)``: observed elements as they are, missing ones as the mean of their draws (of 0/1: a share)."""
        self._no_codes("mean")
        return self._full(self.draws.mean(0, dtype=np.float64))

    @property
    def median(self) -> Array:
        """``(F, x_dim)``; of counts and 0/1 a number that was drawn, of codes the commonest one."""
        return self._full(self._middle())

    def quantile(self, q: float | Sequence[float]) -> Array:
        """``(F, x_dim)`` for a number q, ``(len(q), F, x_dim)`` for several: an observed element is its own quantile.

        By Weibull's positions ``k / (R + 1)``, as of a :class:`Forecast`, so that the hidden element, were it a draw of
        the same law, falls below with just that probability; q beyond the outermost position gives the outermost draw.
        Of counts and 0/1 the quantile is a number that was drawn, the least below which (itself included) a share q of
        the draws lies.

        Raises:
            ValueError: a q outside of [0, 1]; codes, which have no order.
        """
        self._no_codes("quantile")
        levels = np.atleast_1d(np.asarray(q, dtype=np.float64))
        if levels.ndim != 1 or not ((levels >= 0) & (levels <= 1)).all():
            raise ValueError(f"quantile: q must be a number from 0 to 1, or several, got {q!r}.")
        found = np.stack([self._full(each) for each in self.quantiles(levels)])
        return found if np.ndim(q) else found[0]

    def interval(self, level: float = WIDTH) -> tuple[Array, Array]:
        """Lower and upper end ``(F, x_dim)`` of the central interval of that level; of an observed element itself."""
        if isinstance(level, bool) or not isinstance(level, Real) or not 0 < level < 1:
            raise ValueError(f"interval: level must be a number between 0 and 1, got {level!r}.")
        low, high = self.quantile([0.5 - 0.5 * level, 0.5 + 0.5 * level])
        return low, high

    @property
    def probabilities(self) -> Array:
        """Of codes (and 0/1): the share of draws that each class has, ``(M, classes)``."""
        if self.kind not in ("categories", "binary"):
            raise ValueError(f"probabilities are of categories or 0/1, and these data are {self.kind}: use quantile.")
        return np.stack([(self.draws == code).mean(0) for code in np.arange(self.classes or 2)], -1)

    def filled(self, how: str | int = "median") -> Any:
        """The data set without gaps, in raw units: labels, controls, names and all as they were.

        Arguments:
            how: ``"median"`` (of codes the commonest), ``"mean"`` of real numbers, or the number of a draw, which is a
                joint one: several of them show how uncertain all that follows is (multiple imputation).

        Raises:
            ValueError: another ``how``, or the mean of numbers that are whole.
        """
        if isinstance(how, int | np.integer) and not isinstance(how, bool) and 0 <= how < len(self.draws):
            new = self.draws[how]
        elif how == "median":
            new = self._middle()
        elif how == "mean" and self.kind == "real":
            new = self.draws.mean(0, dtype=np.float64)
        else:
            real = "'mean', " * (self.kind == "real")
            raise ValueError(f"filled: how must be 'median', {real}or a draw, 0 to {len(self.draws) - 1}; got {how!r}"
                             + ("." if real or how != "mean" else f": the mean of {self.kind} is none of them."))
        values = torch.from_numpy(self._full(new)).to(self.data.values.dtype)
        filled = with_values(self.data, values.reshape(self.data.values.shape), None)
        filled.reference = None  # which has the units of the given data
        return filled

    def _middle(self) -> Array:
        if self.kind == "categories":
            return self.probabilities.argmax(-1)
        return self.quantiles(np.array([0.5]))[0]

    def quantiles(self, levels: Array) -> Array:
        """:meth:`quantile` of the missing elements alone, ``(len(levels), M)``."""
        found: Array = np.quantile(self.draws, levels, axis=0, method="weibull" if self.kind == "real" else
                                   "inverted_cdf")
        return found

    def _full(self, new: Array) -> Array:
        """All elements ``(F, x_dim)``: the observed ones, and ``new (M,)`` in the gaps."""
        full = self.observed.astype(np.result_type(self.observed, new), copy=True)
        full[self.frames, self.features] = new
        return full

    def _no_codes(self, what: str) -> None:
        if self.kind == "categories":
            raise ValueError(f"codes have no {what}, since there is no order between them: use probabilities, or "
                             "filled().")

    # ------------------------------------------------------------------------------------------ told
    def rows(self, q: Sequence[float] = (0.1, 0.5, 0.9)) -> list[dict[str, Any]]:
        """A row for each missing element, for a CSV: sequence, step, feature, mean, and quantiles.

        Of codes: the commonest one, and its probability. ``step`` is the frame's time where the data have times.
        """
        sequences, steps = self.sequences, self.steps
        when = steps if self.times is None else self.times[self.frames]
        ids = np.arange(len(self.lengths)) if self.ids is None else np.array(self.ids)
        columns: dict[str, Array] = {"sequence": ids[sequences], "step": when,
                                     "feature": np.array([self.name(d) for d in self.features])}
        if self.kind == "categories":
            columns |= {"code": self._middle(), "probability": self.probabilities.max(-1, initial=0.0)}
        else:
            found = self.quantiles(np.asarray(q, dtype=np.float64))
            columns |= {"mean": self.draws.mean(0, dtype=np.float64)} | {
                f"q{level:g}": column for level, column in zip(q, found, strict=True)}
        lists = [column.tolist() for column in columns.values()]
        return [dict(zip(columns, row, strict=True)) for row in zip(*lists, strict=True)]

    def by_feature(self) -> list[dict[str, Any]]:
        """For each feature its name, how many elements are missing, their share, and the median width of their 80%
        intervals (of codes the mean probability of the commonest)."""
        if self.kind == "categories":
            last, each = "certainty", self.probabilities.max(-1, initial=0.0)
        else:
            low, high = self.quantiles(np.array([0.1, 0.9]))
            last, each = "width", high - low
        found = []
        for d in np.arange(self.observed.shape[1]).tolist():
            own = each[self.features == d]
            middle = None if not len(own) else float(own.mean() if last == "certainty" else np.median(own))
            found.append({"feature": self.name(d), "missing": len(own), "share": len(own) / len(self.observed),
                          last: middle})
        return found

    def to_dict(self) -> dict[str, Any]:
        """A summary for JSON."""
        found = {"source": self.source, "num": len(self.draws), "sequences": len(self.lengths),
                 "frames": len(self.observed), "missing": len(self), "features": self.by_feature()}
        return plain(found)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        timed = hasattr(self.data, "lengths")
        what = count(len(self.lengths), "sequence" if timed else "item", f"{len(self.lengths):,}")
        head = f"Imputation of {count(len(self), 'missing element', f'{len(self):,}')} of {what}, " \
               f"{count(len(self.draws), 'draw')} by {self.source}"
        found = sorted((row for row in self.by_feature() if row["missing"]), key=lambda row: -row["missing"])
        if not found:
            return head + "."
        last = "certainty" if self.kind == "categories" else "width"
        title = "mean probability of the commonest" if last == "certainty" else "median width of the 80% interval"
        rows = [["", "missing", "share", title]]
        rows += [[row["feature"], f"{row['missing']:,}", f"{row['share']:.1%}", f"{row[last]:.4g}"]
                 for row in found[:MOST]]
        rest = f"\n  ... and {count(len(found) - MOST, 'feature')} with fewer" * (len(found) > MOST)
        return f"{head}, in raw units\n{table(rows)}{rest}"
