"""How good an imputation is, by elements that were hidden from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pyro.ops.stats import crps_empirical

from ..criticism.scoring import clustered, fair
from ..criticism.tables import count, plain, table
from ..data.hold_out import HeldOut

__all__ = ["ImputationScores", "imputation_scores"]

Array = NDArray[Any]
LEVEL = 0.8


@dataclass(frozen=True, eq=False, repr=False)
class ImputationScores:
    """Errors of an imputation at elements that were hidden from it; lower is better.

    They are in units of the data's transform (standard deviations, of standardised data), or raw where there is none.

    Attributes:
        error: ``(M,)``, mean of the draws minus the hidden value.
        crps: ``(M,)``, :math:`E|X - x| - \\tfrac12 E|X - X'|`, unbiased in the number of draws; of a filling (one
            draw) the absolute error.
        inside: ``(M,)``, whether the value lies in the central 80% interval of :meth:`Imputation.interval`; NaN of a
            filling.
        features, sequences: ``(M,)``, to which each belongs.
        names: of the features.
        source: what drew the imputation; num: how many draws.
        standardised: whether there was a transform.
    """

    error: Array
    crps: Array
    inside: Array
    features: NDArray[np.int64]
    sequences: NDArray[np.int64]
    names: tuple[str, ...]
    source: str
    num: int
    standardised: bool

    @property
    def pooled(self) -> dict[str, float]:
        """``rmse, crps, mae, coverage`` over all hidden elements."""
        return self._of(slice(None))

    @property
    def averaged(self) -> dict[str, float]:
        """The mean of each over the features that have hidden elements: a rare feature counts as much as another."""
        each = [self._of(self.features == d) for d in np.unique(self.features)]
        return {name: float(np.mean([one[name] for one in each])) for name in each[0]}

    def standard_error(self, name: str = "crps") -> float:
        """Of the pooled ``crps`` or ``mae``: between sequences, whose elements depend on each other."""
        each = {"crps": self.crps, "mae": np.abs(self.error)}
        if name not in each:
            raise ValueError(f"standard_error: name must be 'crps' or 'mae', got {name!r}.")
        return clustered(np.bincount(self.sequences, each[name]), np.bincount(self.sequences).astype(float))[1]

    def by_feature(self) -> list[dict[str, Any]]:
        """A row for each feature with hidden elements: its name, how many, and the scores."""
        found = np.unique(self.features)
        return [{"feature": self.names[d], "hidden": int((self.features == d).sum())} | self._of(self.features == d)
                for d in found.tolist()]

    def to_dict(self) -> dict[str, Any]:
        """For JSON: None for what is not finite (the coverage of a filling)."""
        found = {"source": self.source, "num": self.num, "hidden": len(self.error), "pooled": self.pooled,
                 "averaged": self.averaged, "features": self.by_feature()}
        return plain(found)  # type: ignore[no-any-return]

    def _of(self, some: Any) -> dict[str, float]:
        error = self.error[some]
        return {"rmse": float(np.sqrt(np.square(error).mean())), "crps": float(self.crps[some].mean()),
                "mae": float(np.abs(error).mean()), "coverage": float(self.inside[some].mean())}

    def __repr__(self) -> str:
        units = "in standard units" if self.standardised else "in raw units"
        head = f"{count(len(self.error), 'hidden element')} imputed by {count(self.num, 'draw')} of {self.source}, " \
               f"{units}; lower is better"
        rows = [["", "hidden", "RMSE", f"CRPS ({count(self.num, 'draw')})", *[f"in {LEVEL:.0%}"] * (self.num > 1)]]
        whole: list[dict[str, Any]] = [{"feature": "all", "hidden": len(self.error), **self.pooled},
                                       {"feature": "mean of features", "hidden": "", **self.averaged}]
        for row in [*whole, *self.by_feature()]:
            rows.append([str(row["feature"]), str(row["hidden"]), f"{row['rmse']:.3f}", f"{row['crps']:.3f}",
                         *[f"{row['coverage']:.0%}"] * (self.num > 1)])
        return f"{head}\n{table(rows)}"


def imputation_scores(imputation: Any, hidden: HeldOut) -> ImputationScores:
    """Score an imputation at the elements that :func:`~pyro_rvae.data.hold_out` has hidden.

    Arguments:
        imputation: of the data set that hold_out returned: of :func:`impute`, or of :func:`fill`.
        hidden: what it has hidden.

    Raises:
        TypeError: what are no such two. ValueError: another data set, or codes (score those by their probabilities).
    """
    if not hasattr(imputation, "draws") or not isinstance(hidden, HeldOut):
        raise TypeError("imputation_scores needs an Imputation and the HeldOut of rv.data.hold_out, got "
                        f"{type(imputation).__name__} and {type(hidden).__name__}.")
    if imputation.kind == "categories":
        raise ValueError("imputation_scores: codes have no errors to measure; use imputation.probabilities.")
    place = _places(imputation, hidden)
    scale = imputation.scale[hidden.features]
    draws, x = imputation.draws[:, place] / scale, hidden.values / scale
    low, high = imputation.quantiles(np.array(_tails()))[:, place] / scale
    num = len(draws)
    return ImputationScores(
        draws.mean(0) - x, _crps(draws, x),
        ((x >= low) & (x <= high)).astype(float) if num > 1 else np.full(len(x), np.nan),
        hidden.features, imputation.sequences[place], tuple(map(imputation.name, range(imputation.observed.shape[1]))),
        imputation.source, num, imputation.data.transform is not None,
    )  # fmt: skip


def _tails() -> Sequence[float]:
    return 0.5 * (1 - LEVEL), 0.5 * (1 + LEVEL)


def _crps(draws: Array, x: Array) -> Array:
    """``(M,)``; of one draw the absolute error."""
    if len(draws) == 1:
        return np.abs(draws[0] - x)
    ours, truth = torch.from_numpy(draws.astype(np.float64)), torch.from_numpy(x.astype(np.float64))
    return fair(crps_empirical(ours, truth), (ours - truth).abs().mean(0), len(draws)).numpy()


def _places(imputation: Any, hidden: HeldOut) -> NDArray[np.int64]:
    """Where the hidden elements stand among the missing ones."""
    if hidden.shape != imputation.observed.shape:
        raise ValueError(f"imputation_scores: hidden from data of {hidden.shape} (frames, features), and the "
                         f"imputation is of {imputation.observed.shape}: impute the data set that hold_out returned.")
    width = hidden.shape[1]
    ours, theirs = (np.asarray(part.frames) * width + part.features for part in (imputation, hidden))
    place = np.searchsorted(ours, theirs)
    if not np.array_equal(ours[np.minimum(place, max(len(ours) - 1, 0))] if len(ours) else ours, theirs):
        raise ValueError("imputation_scores: some hidden elements were not missing in what was imputed: impute the "
                         "data set that hold_out returned.")
    return place
