"""Leave-one-out and prequential PIT: is each sequence, and each element, where the model says it may be?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.checks import check_count
from .asked import drawn
from .chunks import check_data
from .forecasts import one_step
from .pit import Pit, pit_of
from .predictive import predictive_check
from .replicates import Replicates, observed_sequences
from .statistics import Statistic, statistics_for

__all__ = ["loo_pit", "prequential_pit"]


def loo_pit(
    model: Any,
    data: Any,
    statistic: str | Statistic,
    num: int = 100,
    *,
    batch_size: int = 20,
    seed: int = 0,
    max_bytes: int = 2**28,
) -> Pit:
    r"""Leave-one-out PIT of a statistic: where :math:`T(x_n)` stands among :math:`T(x'_n), x'_n \sim p(x_n | x_{-n})`.

    With the parameters at their estimates the sequences are independent, so what the others say of sequence n is what
    the model says, :math:`p(x_n | x_{-n}, \theta) = p(x_n | \theta)`: the law of :func:`free_running` draws of its
    length (with its controls and labels). Nothing is approximated and nothing refitted. It is the leave-one-out of a
    model whose :math:`\theta` knows nothing of sequence n, so take held-out data; on training data the parameters have
    seen each sequence, and a model that has learned them by heart shows it too late. What is drawn once a data set
    (``shared``) comes from its posterior, of the training data.

    The ranks are randomised, ``(below + v (ties + 1)) / (R + 1)``, so they are exactly uniform if the model is right,
    for every number of draws and for statistics that are discrete (Czado, Gneiting & Held 2009, "Predictive model
    assessment for count data", Biometrics 65).

    ArviZ's ``loo_pit`` has another way to another figure: it takes draws of :math:`x_n` given latents that have seen
    :math:`x_n` (the posterior predictive) and weighs them by :math:`1 / p(x_n | z)`, smoothed (PSIS), to undo that.
    With latents for each sequence these weights are as uneven as posterior and prior are apart, and their Pareto k
    says that the result means nothing. It is also about single numbers; this is about any function of a sequence.

    Arguments:
        model: a :class:`~pyro_rvae.SequenceVAE`.
        data: a data set, held out.
        statistic: a function of a sequence ``(T, x_dim)``, or the name of one of ``statistics_for(data)``.
        num, batch_size, seed, max_bytes: as for :func:`free_running`.

    Raises:
        ValueError: an unknown name, or what :func:`predictive_check` refuses.

    >>> print(loo_pit(model, data.test, "held notes"))  # doctest: +SKIP
    """
    check_data(model, data, "loo_pit")
    name, function = _named(statistic, data)
    how: dict[str, Any] = {"batch_size": batch_size, "seed": seed, "max_bytes": max_bytes}
    return predictive_check(model, data, {name: function}, num, **how).pit(name, seed=seed)


def _named(statistic: str | Statistic, data: Any) -> tuple[str, Statistic]:
    if callable(statistic):
        return getattr(statistic, "__name__", "the statistic"), statistic
    known = statistics_for(data)
    if statistic not in known:
        raise ValueError(
            f"loo_pit: statistic must be a function of a sequence (T, x_dim), or one of {', '.join(known)}; got "
            f"{statistic!r}."
        )
    return statistic, known[statistic]


def prequential_pit(
    model: Any,
    data: Any,
    num: int = 100,
    *,
    draw: Callable[..., Replicates] | Replicates = one_step,
    batch_size: int = 20,
    seed: int = 0,
    max_bytes: int = 2**28,
) -> Pit:
    r"""PIT of every element :math:`x_{t,i}` among its one-step-ahead forecasts :math:`p(x_t | x_{<t})`.

    Each frame is held out when it is forecast. If the forecasts are right, the values of a feature are uniform and
    independent over time and sequences (Dawid 1984, "The prequential approach"; Diebold, Gunther & Tay 1998), also
    where the elements are discrete (they are randomised). The features of one frame depend on each other: the test of
    all is Bonferroni's.

    Arguments:
        model: a :class:`~pyro_rvae.SequenceVAE` with time.
        data: a data set, held out.
        num: forecasts of each frame.
        draw: what makes them, or replicates of :func:`one_step` that were drawn before.
        batch_size, seed, max_bytes: as for :func:`one_step`.

    Returns a :class:`Pit` of values ``(sum T, x_dim)``, NaN where the data are missing.

    Raises:
        ValueError: categories, which have no order; replicates of another kind, or of another data set; and what
            :func:`one_step` refuses.
    """
    check_data(model, data, "prequential_pit")
    check_count("num", num)
    if data.kind == "categories":
        raise ValueError("prequential_pit: categories have no order, so they have no ranks: see predictive_scores.")
    how: dict[str, Any] = {"batch_size": batch_size, "seed": seed, "max_bytes": max_bytes}
    made = drawn(draw, model, data, num, **how)
    rows = np.concatenate(observed_sequences(data))
    if made.drawn_by != "one_step" or made.values.shape[1:] != rows.shape:
        raise ValueError(
            f"prequential_pit needs one-step forecasts of this data set ({rows.shape[0]} frames of {rows.shape[1]}), "
            f"got {made!r}: draw them with one_step; for whole sequences see loo_pit."
        )
    values = pit_of(rows, made.values, seed=seed)
    return Pit(values, "each element", "frames", len(made), made.drawn_by, type(model).__name__, made.lengths)
