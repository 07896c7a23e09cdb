"""How good are the model's predictive distributions? Its draws, scored against what was seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.checks import check_count
from .asked import drawn
from .chunks import check_data, lengths_of
from .forecasts import one_step
from .replicates import Replicates, free_running, observed_sequences
from .scores import PredictiveScores, check_levels
from .scoring import score

__all__ = ["check_replicates", "climatology", "predictive_scores"]

Array = NDArray[Any]


def predictive_scores(
    model: Any,
    data: Any,
    *,
    draw: Callable[..., Replicates] | Replicates | None = None,
    num: int = 100,
    levels: Sequence[float] = (0.5, 0.8, 0.95),
    train: Any = None,
    batch_size: int = 20,
    seed: int = 0,
    max_bytes: int = 2**28,
) -> PredictiveScores:
    r"""Score a model's draws of each element against what was seen: CRPS, energy score, intervals, point errors.

    =================  ================================================================================================
    CRPS               :math:`E|X - x| - \tfrac12 E|X - X'|` of each element; of 0/1 the Brier score :math:`(p - x)^2`,
                       of categories the sum over classes. It sees one element at a time
    energy score       :math:`E\|X - x\| - \tfrac12 E\|X - X'\|` of each frame, Euclidean norm over the elements that
                       were seen; where the data have a transform each element is divided by its scale first, since a
                       norm over several units means nothing
    intervals          share of elements in central intervals of each level, and their width
    point errors       MAE of the median, RMSE of the mean; of categories the error rate of the commonest class
    =================  ================================================================================================

    Source: Gneiting & Raftery (2007), "Strictly proper scoring rules, prediction, and estimation", JASA 102. The sums
    are ``pyro.ops.stats.crps_empirical`` and ``energy_score_empirical``, which count a draw's distance 0 to itself;
    we take that out again (:func:`~pyro_rvae.criticism.scoring.fair`), so that figures of different numbers of draws
    are estimates of one thing. The RMSE is not corrected: the mean of R draws adds a share ``1/R`` of their variance.

    All is in raw units, over elements that were seen: missing ones are skipped, and there is no padding. Standard
    errors are over sequences, since frames of one sequence depend on each other; they don't hold the Monte Carlo error
    of the draws apart.

    Arguments:
        model: a :class:`~pyro_rvae.SequenceVAE`, or a pair.
        data: a data set that the model was not trained on.
        draw: how, such as :func:`one_step` (forecasts of each frame from those before it; the default),
            ``partial(from_prefix, prefix=16)`` (the frames that were given are not scored) or :func:`free_running`
            (knows nothing of the sequence: its marginal law; the default of static models); or
            :class:`Replicates` of this data set that were drawn before.
        num: draws of each element, at least 2.
        levels: of the central intervals, between 0 and 1.
        train: the training split, for the climatology (default: ``data.reference``; without one there is none).
        batch_size, seed, max_bytes: as for :func:`one_step`.

    Raises:
        TypeError: ``data`` is no data set, ``draw`` neither a function nor Replicates.
        ValueError: fewer than 2 draws, a level outside (0, 1), replicates of another data set or with NaN, nothing to
            score.

    >>> print(rv.criticism.predictive_scores(model, data.test))  # doctest: +SKIP
    """
    check_data(model, data, "predictive_scores")
    chosen = check_levels(levels)
    for name, value in {"num": num, "batch_size": batch_size, "max_bytes": max_bytes}.items():
        check_count(name, value, 2 if name == "num" else 1)
    draw = (free_running if model.static else one_step) if draw is None else draw
    made = drawn(draw, model, data, num, batch_size=batch_size, seed=seed, max_bytes=max_bytes)
    check_replicates(made, data)
    prefix = np.zeros_like(made.lengths) if made.prefix is None else made.prefix
    x = _observed(data)
    x[_given(made.lengths, prefix)] = np.nan
    _check_numbers(made, x)
    how: dict[str, Any] = {"classes": data.classes if data.kind == "categories" else None, "seed": seed,
                           "scale": None if data.transform is None else data.transform.scale.flatten().numpy(),
                           "max_bytes": max_bytes}
    train = getattr(data, "reference", None) if train is None else train
    past = None if train is None else score(climatology(train, data, len(made), seed=seed).values, x, chosen, **how)
    return PredictiveScores(
        score(made.values, x, chosen, **how), past, np.array(() if how["classes"] else chosen), x, lengths_of(data),
        prefix, len(made), made.drawn_by, data.kind, type(model).__name__, data.names, data.transform is not None,
    )


def climatology(train: Any, data: Any, num: int = 100, *, seed: int = 0) -> Replicates:
    """Draws in the shape of ``data`` in which each element is, for itself, a random value of ``train``'s same element.

    What is known without a model: the training marginals. ``train`` and ``data`` must have one kind and width.
    """
    check_count("num", num)
    if any(getattr(train, what, None) != getattr(data, what) for what in ("kind", "x_dim", "classes")):
        raise ValueError(f"train must have data's kind, width and classes ({data.kind}, {data.x_dim}, {data.classes}), "
                         f"got {train!r}: pass the split that the model was trained on.")
    known, rng = _observed(train), np.random.default_rng([seed, 1])
    values = np.empty((num, data.num_frames, data.x_dim), dtype=np.int64 if data.kind == "categories" else np.float64)
    for d, column in enumerate(known.T):
        seen = column[~np.isnan(column)]
        values[..., d] = rng.choice(seen, values.shape[:2]) if len(seen) else 0
    return Replicates(values, lengths_of(data), "climatology")


def check_replicates(made: Replicates, data: Any) -> None:
    """Refuse replicates of another data set."""
    lengths, shape = lengths_of(data), (data.num_frames, data.x_dim)
    if made.values.shape[1:] != shape or not np.array_equal(made.lengths, lengths):
        raise ValueError(f"replicates of another data set: {made!r} of {made.values.shape[2]} elements a frame, and "
                         f"the data have {len(lengths)} sequences, {shape[0]} frames of {shape[1]}: draw them anew.")


def _check_numbers(made: Replicates, x: Array) -> None:
    """Refuse too few draws, nothing to score, and NaN where there is something."""
    if len(made) < 2:
        raise ValueError(f"scores need at least 2 draws of each element, got {len(made)}: raise num.")
    if np.isnan(x).all():
        raise ValueError("there is nothing to score: every element is missing or was given (prefix).")
    if (np.isnan(made.values).any(0) & ~np.isnan(x)).any():
        raise ValueError("the draws have NaN where the data have a number: look for NaN in the model's parameters.")


def _given(lengths: Array, prefix: Array) -> NDArray[np.bool_]:
    """``(F,)``: True where a frame was given to the draws."""
    return np.concatenate([np.arange(n) < p for n, p in zip(lengths, prefix, strict=True)])


def _observed(data: Any) -> Array:
    """``(F, D)`` in raw units, as numbers; NaN where an element is missing."""
    rows = np.concatenate(observed_sequences(data)).astype(np.float64)
    return np.where(rows < 0, np.nan, rows) if data.kind == "categories" else rows
