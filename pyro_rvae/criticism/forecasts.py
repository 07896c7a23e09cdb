"""Draws from a model that has seen the beginning of a sequence: one step ahead, or all that follows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.transforms import raw_units
from .ahead import Plan, ahead, check_forecaster
from .chunks import lengths_of
from .replicates import Replicates, observed_sequences

__all__ = ["from_prefix", "one_step"]

Array = NDArray[Any]
Whole = NDArray[np.int64]


def one_step(
    model: Any, data: Any, num: int = 100, *, batch_size: int = 20, seed: int = 0, max_bytes: int = 2**28
) -> Replicates:
    r"""One-step-ahead forecasts of every frame, from the observed past: teacher-forced.

    .. math:: x'_t \sim \int p(x_t \mid x_{<t}, z_{\le t}) \, p(z_t \mid z_{<t}, x_{<t}) \, q(z_{<t} \mid x_{<t}) \, dz

    for each t of each sequence. The guide reads :math:`x_{<t}` and nothing else, as if the sequence ended
    there, so that it is a forecast under a smoothing guide too; then the model goes on by one frame. The first
    frame comes from the model alone. What is drawn once a sequence (a VRAE's z) is drawn from q of the past;
    what is drawn once a data set (``shared``) from its posterior. Controls are known up to t, and labels are.

    It is exact where the guide is the posterior given a past of any length; else it is the forecast of model
    and guide together. A guide that was trained on whole sequences has seen few that end after 1 or 2 frames.
    The frames of one draw are no path: each follows from the data, and given these they are independent.

    Cost: a sequence of T frames takes T runs of guide and model, of 1 to T frames: :math:`T^2 / 2` steps. 20 draws of
    the 55 test chorales (2,982 frames) take a DMM 3 s and a VRNN, whose guide draws step by step, 35 s (one core,
    default widths).

    Arguments:
        model: a :class:`~pyro_rvae.SequenceVAE` with time.
        data: a data set. Missing elements of the past are missing for the guide as well.
        num, seed, max_bytes: as for :func:`free_running`.
        batch_size: most sequences at once. A large one is faster here: all that are long enough stand at the
            same t.

    Raises:
        ValueError: the model is static, so nothing precedes anything; the guide is an AutoGuide, which has seen the
            future of each sequence, or lacks a latent of the model; or ``num`` is no positive integer.
    """
    check_forecaster(model, data, "one_step", num=num, batch_size=batch_size, max_bytes=max_bytes)
    lengths = lengths_of(data)
    past = np.concatenate([np.arange(length) for length in lengths])
    plan = Plan(np.repeat(np.arange(len(lengths)), lengths), past, past + 1)
    raw = raw_units(data, data.values).numpy()
    values = np.empty((num, *raw.shape), dtype=raw.dtype)
    _write(values, model, data, plan, batch_size, seed, max_bytes)
    return Replicates(values, lengths, "one_step")


def from_prefix(
    model: Any,
    data: Any,
    num: int = 100,
    *,
    prefix: int | float,
    batch_size: int = 20,
    seed: int = 0,
    max_bytes: int = 2**28,
) -> Replicates:
    r"""Sequences that begin as the observed ones do, and that the model goes on with by itself.

    .. math:: z_{\le p} \sim q(z_{\le p} \mid x_{\le p}), \qquad
        x'_{>p}, z_{>p} \sim p(x_{>p}, z_{>p} \mid x_{\le p}, z_{\le p})

    The first p frames of a replicate are the data's, with their gaps (NaN, or -1 in codes); what follows is
    drawn in one go, so a replicate is a path. Once-a-sequence latents and ``shared`` as in :func:`one_step`;
    a latent of a slow clock whose block has begun is drawn from q of that part. Controls are known for all
    frames.

    Arguments:
        model: a :class:`~pyro_rvae.SequenceVAE` with time.
        data: a data set.
        prefix: frames that are given, an integer of at least 1, or the share of each sequence, a float
            between 0 and 1 (rounded down, at least one frame). A sequence that is no longer is given whole.
        num, batch_size, seed, max_bytes: as for :func:`free_running`.

    Returns replicates whose attribute ``prefix (N,)`` says how many frames of each sequence are given.

    Raises:
        ValueError: a prefix out of range, or one that leaves no frame of any sequence to draw; and what
            :func:`one_step` refuses.
    """
    check_forecaster(model, data, "from_prefix", num=num, batch_size=batch_size, max_bytes=max_bytes)
    lengths = lengths_of(data)
    past = _pasts(prefix, lengths)
    (numbers,) = (past < lengths).nonzero()
    plan = Plan(numbers, past[numbers], lengths[numbers])
    values = np.tile(np.concatenate(observed_sequences(data)), (num, 1, 1))
    _write(values, model, data, plan, batch_size, seed, max_bytes)
    return Replicates(values, lengths, "from_prefix", past)


def _pasts(prefix: Any, lengths: Whole) -> Whole:
    """Frames of each sequence that are given ``(N,)``."""
    whole = isinstance(prefix, int | np.integer) and not isinstance(prefix, bool)
    if not (whole and prefix >= 1 or isinstance(prefix, float) and 0 < prefix < 1):
        raise ValueError(
            "from_prefix: prefix must be an integer of at least 1 (frames), or a float between 0 and 1 (the share "
            f"of each sequence), got {prefix!r}; free_running draws from no prefix."
        )
    share = (prefix * lengths + 1e-9).astype(np.int64)  # 0.29 * 100 is 28.999...
    past = np.minimum(prefix if whole else np.maximum(share, 1), lengths)
    if (past == lengths).all():
        raise ValueError(
            f"from_prefix: prefix {prefix!r} leaves no frame to draw, the longest sequence has {lengths.max()}: "
            "choose a shorter one."
        )
    return past.astype(np.int64)


def _write(
    values: Array, model: Any, data: Any, plan: Plan, batch_size: int, seed: int, max_bytes: int
) -> None:
    """Write the forecasts of a plan into replicates ``(R, sum T, x_dim)``."""
    starts = np.cumsum(lengths_of(data)) - lengths_of(data)

    def write(rows: list[int], draws: range, x: Array) -> None:
        for j, row in enumerate(rows):
            first = starts[plan.numbers[row]]
            frames = slice(first + plan.past[row], first + plan.size[row])
            values[draws.start : draws.stop, frames] = x[:, j, : plan.size[row] - plan.past[row]]

    ahead(model, data, plan, len(values), write, seed=seed, batch_size=batch_size, max_bytes=max_bytes)
