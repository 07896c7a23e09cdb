"""Draws from a model that has seen the beginning of a sequence: one step ahead, or all that follows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyro
import pyro.poutine as poutine
from numpy.typing import NDArray
from torch import Tensor

from ..core.checks import check_count
from ..core.contexts import evaluating, forked, seed_generators
from ..core.handlers import given
from ..core.traces import guide_trace, in_batch, sites, traced
from ..data import Batch
from ..data.transforms import raw_units
from .chunks import Chunk, check_amortised, check_data, chunks, lengths_of, like_of
from .particles import check_guide
from .replicates import Replicates, observed_sequences, site_of_x

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
    _check(model, data, num, batch_size, max_bytes, "one_step")
    lengths = lengths_of(data)
    past = np.concatenate([np.arange(length) for length in lengths])
    plan = _Plan(np.repeat(np.arange(len(lengths)), lengths), past, past + 1)
    raw = raw_units(data, data.values).numpy()
    values = np.empty((num, *raw.shape), dtype=raw.dtype)
    _fill(values, model, data, plan, batch_size, seed, max_bytes)
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
    _check(model, data, num, batch_size, max_bytes, "from_prefix")
    lengths = lengths_of(data)
    past = _pasts(prefix, lengths)
    (numbers,) = (past < lengths).nonzero()
    plan = _Plan(numbers, past[numbers], lengths[numbers])
    values = np.tile(np.concatenate(observed_sequences(data)), (num, 1, 1))
    _fill(values, model, data, plan, batch_size, seed, max_bytes)
    return Replicates(values, lengths, "from_prefix", past)


def _check(model: Any, data: Any, num: int, batch_size: int, max_bytes: int, caller: str) -> None:
    check_data(model, data, caller)
    if model.static:
        raise ValueError(
            f"{caller}: {type(model).__name__} is static, its items have no time, so nothing of one precedes the "
            "rest: draw with free_running, or with reconstructed."
        )
    check_amortised(model, caller, ", or draw with free_running, which asks no guide")
    for what, value in {"num": num, "batch_size": batch_size, "max_bytes": max_bytes}.items():
        check_count(what, value)


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


# ------------------------------------------------------------------------------------------------ drawing
@dataclass(frozen=True)
class _Plan:
    """Forecasts to make: of sequence ``numbers[i]``, frames ``past[i]`` to ``size[i]`` from those before."""

    numbers: Whole
    past: Whole
    size: Whole


def _fill(
    values: Array, model: Any, data: Any, plan: _Plan, batch_size: int, seed: int, max_bytes: int
) -> None:
    """Write the forecasts of a plan into replicates ``(R, sum T, x_dim)``: pasts of one length together."""
    lengths = lengths_of(data)
    starts = np.cumsum(lengths) - lengths
    device = like_of(model).device
    with evaluating(model), forked(device):
        if plan.past.any():
            check_guide(model, data, int(plan.numbers[plan.past.argmax()]))
        for past in np.unique(plan.past).tolist():
            due = plan.past == past
            size = dict(zip(plan.numbers[due].tolist(), plan.size[due].tolist(), strict=True))
            together = _cut(sorted(size, key=lambda n: (size[n], n)), batch_size)
            for chunk in chunks(model, data, len(values), together, max_bytes, most=max(size.values())):
                seed_generators(device, hash((seed, 2, past, chunk.numbers[0], chunk.particles.start)))
                x = raw_units(data, _ahead(model, chunk, past, max(size[n] for n in chunk.numbers)).cpu()).numpy()
                rows = slice(chunk.particles.start, chunk.particles.stop)
                for j, n in enumerate(chunk.numbers):
                    values[rows, starts[n] + past : starts[n] + size[n]] = x[:, j, past : size[n]]


def _cut(numbers: list[int], batch_size: int) -> list[list[int]]:
    return [numbers[i : i + batch_size] for i in range(0, len(numbers), batch_size)]


def _ahead(model: Any, chunk: Chunk, past: int, size: int) -> Tensor:
    """``x (k, B, size, x_dim)`` of which the first ``past`` frames are the data's."""
    batch = chunk.batch
    paths: dict[str, Tensor] = {}
    once: dict[str, Tensor] = {}
    with pyro.plate("particles", len(chunk.particles), dim=-2):
        if past:
            controls = None if batch.controls is None else batch.controls[:, :past]
            seen = Batch(batch.x[:, :past], None, controls, batch.labels)
            paths, once = _latents(guide_trace(model, seen))
        known = {} if batch.labels is None else {"labels": batch.labels}
        if batch.controls is not None:
            known["controls"] = batch.controls[:, :size]
        with given(**paths), poutine.condition(data=once):
            trace = traced(
                model.learned_model,
                batch.x[:, :past] if past else None,
                batch.mask[:, :size],
                size=(len(chunk.numbers), size),
                **known,
            )
    x: Tensor = site_of_x(trace)["value"]
    return x.expand(len(chunk.particles), *x.shape[-3:])


def _latents(guide: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What a guide has drawn: the beginnings of paths; and what is drawn once, of a sequence or of a data set."""
    drawn = {
        name: site
        for name, site in sites(guide, observed=False).items()
        if not site["infer"].get("is_auxiliary")
    }
    paths = {name for name, site in drawn.items() if in_batch(site) and site["fn"].event_dim > 1}
    for name in paths:
        if "every" not in drawn[name]["infer"]:  # which a loop's sites have
            raise ValueError(
                f"site {name!r} of the guide has an event of {drawn[name]['fn'].event_dim} dims and isn't sampled in "
                "a loop over time, so a beginning of it can't be told from the rest: write it as t.sample within "
                "`for t in steps`, or as a vector if it is drawn once a sequence."
            )
    return (
        {name: drawn[name]["value"] for name in paths},
        {name: drawn[name]["value"] for name in drawn.keys() - paths},
    )
