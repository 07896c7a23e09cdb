"""The future of sequences whose beginning is known: the one engine of one_step, from_prefix, generate and forecast."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyro
import pyro.poutine as poutine
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.checks import check_count
from ..core.contexts import evaluating, forked, seed_generators
from ..core.handlers import given
from ..core.tempering import Temperature, check_sites, tempered_draws
from ..core.traces import guide_trace, in_batch, sites, traced
from ..data import Batch
from ..data.transforms import raw_units
from .chunks import Chunk, check_amortised, check_data, chunks, lengths_of, like_of
from .particles import check_guide
from .replicates import site_of_x

__all__ = ["Plan", "ahead", "check_forecaster"]

Array = NDArray[Any]
Whole = NDArray[np.int64]
OnChunk = Callable[[list[int], range, Array], None]


@dataclass(frozen=True)
class Plan:
    """Forecasts to make: of sequence ``numbers[i]``, frames ``past[i]`` to ``size[i]`` from those before ``past[i]``.

    A past of 0 is drawn from the model alone; a size may lie beyond the end of the data.
    """

    numbers: Whole
    past: Whole
    size: Whole


def check_forecaster(model: Any, data: Any, caller: str, **counts: Any) -> None:
    """Refuse a model or data that have no future, and ``counts`` (num, batch_size, ...) that are no positive integers.

    Raises:
        ValueError: the model is static, its guide has seen the future of each sequence (an AutoGuide), or a count.
    """
    check_data(model, data, caller)
    if model.static:
        raise ValueError(
            f"{caller}: {type(model).__name__} is static, its items have no time, so nothing of one precedes the "
            "rest: draw with free_running, or with reconstructed."
        )
    check_amortised(model, caller, ", or draw with free_running, which asks no guide")
    for what, value in counts.items():
        check_count(what, value)


def ahead(
    model: Any,
    data: Any,
    plan: Plan,
    num: int,
    on_chunk: OnChunk,
    *,
    seed: int = 0,
    batch_size: int = 20,
    max_bytes: int = 2**28,
    controls: Tensor | None = None,
    temperature: Temperature = 1.0,
) -> None:
    r"""Filter the past, draw the future, as one path.

    .. math:: z_{\le p} \sim q(z_{\le p} \mid x_{\le p}), \qquad
        x'_{>p}, z_{>p} \sim p(x_{>p}, z_{>p} \mid x_{\le p}, z_{\le p})

    The guide reads the past and nothing else, as if the sequence ended there, so that it is a forecast under a
    smoothing guide too. What is drawn once a sequence (a VRAE's z) is drawn from q of the past, and so is a latent of
    a slow clock whose block has begun; what is drawn once a data set (``shared``) from its posterior. Pasts of one
    length are taken together. The model is in evaluation mode meanwhile, and torch's random state is left alone.

    Arguments:
        model: a model with time (:func:`check_forecaster`).
        data: the data set whose sequences begin it, in the model's units. Labels that a head predicts
            (:class:`~pyro_rvae.Supervised`) count as unknown if there are none.
        plan: what to draw; no (number, past) twice.
        num: draws of each.
        on_chunk: called with ``(rows, draws, x)``: rows of the plan, a range of draws, and what was drawn behind the
            past, ``x (len(draws), len(rows), H, x_dim)`` in raw units; H is the longest of these rows' horizons, and
            what lies behind a row's own, ``size - past``, means nothing.
        seed, batch_size, max_bytes: as for :func:`free_running`; the draws are a function of the three.
        controls: ``(N, F, control_dim)``, those that follow the end of each of the N sequences of the data set. Those
            of their frames come from the data set.
        temperature: at which the future is drawn (:func:`~pyro_rvae.core.tempering.tempered_draws`); the latents of the
            past come from the guide as it is.

    Raises:
        ValueError: controls that do not reach as far as the plan, or that do not fit the data's; model and guide that
            draw other latents; a (number, past) twice.
    """
    known = _Controls.of(data, plan, controls)
    if data.labels is None and getattr(model, "needs_labels", False):
        data = copy(data)
        data.labels = model.unknown(len(data)).cpu()
    device = like_of(model).device
    with evaluating(model), forked(device):
        if plan.past.any():
            check_guide(model, data, int(plan.numbers[plan.past.argmax()]))
        for past in np.unique(plan.past).tolist():
            for chunk, rows in _chunks(model, data, plan, past, num, batch_size, max_bytes):
                seed_generators(device, hash((seed, 2, past, chunk.numbers[0], chunk.particles.start)))
                x = _draw(model, chunk, past, plan.size[rows], known, temperature)
                on_chunk(rows, chunk.particles, raw_units(data, x[..., past:, :].cpu()).numpy())


def _chunks(
    model: Any, data: Any, plan: Plan, past: int, num: int, batch_size: int, max_bytes: int
) -> Iterator[tuple[Chunk, list[int]]]:
    """The forecasts of one past in chunks of like sizes, each with its rows of the plan."""
    (due,) = (plan.past == past).nonzero()
    row = dict(zip(plan.numbers[due].tolist(), due.tolist(), strict=True))
    if len(row) < len(due):
        raise ValueError(f"ahead: two rows of the plan begin after frame {past} of one sequence; draw more of one row.")
    numbers = sorted(row, key=lambda n: (plan.size[row[n]], n))
    for i in range(0, len(numbers), batch_size):
        group = numbers[i : i + batch_size]
        longest = int(plan.size[[row[n] for n in group]].max())
        for chunk in chunks(model, data, num, [group], max_bytes, frames=longest):
            yield chunk, [row[n] for n in chunk.numbers]


def _draw(
    model: Any, chunk: Chunk, past: int, sizes: Whole, controls: _Controls, temperature: Temperature
) -> Tensor:
    """``x (k, B, size, x_dim)`` of which the first ``past`` frames are the data's."""
    batch, size = chunk.batch, int(sizes.max())
    paths: dict[str, Tensor] = {}
    once: dict[str, Tensor] = {}
    known = {} if batch.labels is None else {"labels": batch.labels}
    inputs = controls.until(size, chunk)
    with pyro.plate("particles", len(chunk.particles), dim=-2):
        if past:
            seen = Batch(batch.x[:, :past], None, None if inputs is None else inputs[:, :past], batch.labels)
            paths, once = _latents(guide_trace(model, seen))
        if inputs is not None:
            known["controls"] = inputs
        mask = torch.arange(size, device=batch.x.device) < torch.as_tensor(sizes, device=batch.x.device)[:, None]
        start = batch.x[:, :past] if past else None
        with tempered_draws(temperature), given(**paths), poutine.condition(data=once):
            trace = traced(model.learned_model, start, mask, size=(len(chunk.numbers), size), **known)
    check_sites(temperature, sites(trace), type(model).__name__)
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


@dataclass(frozen=True)
class _Controls:
    """The known inputs of a data set, and of the frames behind its ends."""

    lengths: Whole
    future: Tensor | None  # (N, F, control_dim)

    @classmethod
    def of(cls, data: Any, plan: Plan, future: Tensor | None) -> _Controls:
        """Those of a plan; refused where they do not reach its last frames."""
        lengths, width = lengths_of(data), data.control_dim
        if future is not None and (future.dim() != 3 or future.shape[0] != len(lengths) or future.shape[2] != width):
            raise ValueError(
                f"controls must be (N, horizon, control_dim) = ({len(lengths)}, ..., {width}), the known inputs behind "
                f"the end of each sequence of the data set, got {tuple(future.shape)}"
                + (": the data set has no controls of the past." if not width else ".")
            )
        lacking = plan.size - lengths[plan.numbers] - (0 if future is None else future.shape[1])
        if width and lacking.max(initial=0) > 0:
            raise ValueError(
                f"the model is told controls, and they end {lacking.max()} frames before the last one to draw: pass "
                "controls (N, horizon, control_dim) for the frames behind the data."
            )
        return cls(lengths, future)

    def until(self, size: int, chunk: Chunk) -> Tensor | None:
        """``(B, size, control_dim)`` of a chunk; those behind a sequence's own size are zeros."""
        own: Tensor | None = chunk.batch.controls
        if own is None or own.shape[1] >= size and self.future is None:
            return None if own is None else own[:, :size]
        joined = own.new_zeros(len(own), max(size, own.shape[1]), own.shape[2])
        joined[:, : own.shape[1]] = own
        for row, number in enumerate(chunk.numbers if self.future is not None else []):
            assert self.future is not None
            behind = self.future[number, : max(0, size - int(self.lengths[number]))].to(own)
            joined[row, self.lengths[number] : self.lengths[number] + len(behind)] = behind
        return joined[:, :size]
