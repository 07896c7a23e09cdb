"""Simulation-based calibration: is the guide the posterior of data that the model made itself?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pyro
import pyro.poutine as poutine
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.checks import check_count
from ..core.contexts import evaluating, forked, seed_generators
from ..core.handlers import vectorised
from ..core.traces import in_batch, is_point, sites, traced
from .calibration import Calibration
from .chunks import Chunk, check_amortised, check_data, chunks, groups, lengths_of, like_of
from .particles import Draws, check_guide, draw, repeatable, score

__all__ = ["sbc"]

Array = NDArray[np.float64]
Found = dict[str, Array]  # test quantities by name, each (k, B)

PLACES = {"first": 0.0, "middle": 0.5, "last": 1.0}  # of a sequence's own steps


def sbc(
    model: Any,
    data: Any,
    num: int = 300,
    num_draws: int = 99,
    *,
    seed: int = 0,
    batch_size: int = 20,
    max_bytes: int = 2**28,
) -> Calibration:
    r"""Simulation-based calibration of an amortised guide: nothing is refitted.

    For i = 1..num the model draws :math:`z_i \sim p(z),\ x_i \sim p(x \mid z_i)`, the guide is run on :math:`x_i` and
    draws L times, and each test quantity of the truth is ranked among those of the draws. The truth is itself a draw of
    the posterior of :math:`x_i`, so under a guide that *is* the posterior all ranks are uniform. It asks how good the
    guide is where the *model's* data lie; whether those look like the real ones is for :func:`predictive_check`.

    Test quantities, of each latent site and dimension: its value at a sequence's first, middle and last step (of the
    site's own clock, where that is slower) and its mean over the steps; its value, where it is drawn once a sequence.
    Besides, :math:`\log p(x \mid z)` and :math:`\log p(x, z)`, which see how latents depend on each other and on x
    (a guide that returns the prior passes every other one: Modrák et al. 2023). Equal values, as discrete latents have
    them, are ranked at random.

    What is drawn once a data set (``shared``) comes from its learned posterior, once for each batch of simulations,
    and the guide is run with that very value: its own calibration is not tested (its guide isn't amortised), and what
    is said of the others holds given it. A label that a head predicts (``rv.Supervised``) is unknown to both sides.

    Arguments:
        model: a :class:`~pyro_rvae.SequenceVAE`.
        data: a data set of which lengths, controls and labels are taken, never x; its sequences in random order, over
            again where ``num`` is larger. Elements that are missing there are taken out of the simulated ones; where
            a model reads its own past it has seen them while it drew, which no guide can: there fill the gaps first.
        num: simulations, at least 20. 300 find a guide that is 20% too narrow.
        num_draws: L, at least 9: ranks go from 0 to L.
        seed: of everything drawn, also of the order of ties; torch's own random state is left alone.
        batch_size: most sequences at once. max_bytes: memory that the activations of a chunk should take, roughly.

    Raises:
        TypeError: ``data`` is no data set.
        ValueError: sizes below the least; a model without latents, or with others than the guide; a guide that draws a
            point, or isn't amortised; a prior without density; a log density that is no number.

    Source: Talts et al. (2018), arXiv:1804.06788; test quantities: Modrák et al. (2023, arXiv:2211.02383).

    >>> print(rv.criticism.sbc(model, data.test))  # doctest: +SKIP
    """
    check_data(model, data, "sbc")
    for name, value, least in (("num", num, 20), ("num_draws", num_draws, 9), ("batch_size", batch_size, 1),
                               ("max_bytes", max_bytes, 1)):
        check_count(name, value, least)
    rng = np.random.Generator(np.random.Philox(seed % 2**64))
    settings = _settings(data, num, rng)
    below: dict[str, NDArray[np.int64]] = {}
    equal: dict[str, NDArray[np.int64]] = {}
    with evaluating(model), forked(like_of(model).device), vectorised():
        _check_guide(model, data)
        repeat = repeatable(model, data)
        for numbers, truth, found in _simulations(model, settings, num_draws, seed, batch_size, max_bytes, repeat):
            if below and found.keys() != below.keys():
                raise ValueError(f"sbc needs latents of one shape in every batch, got the quantities "
                                 f"{sorted(found.keys() ^ below.keys())} in some: draw a path in `for t in steps`.")
            for name, values in found.items():
                for counts, hits in ((below, values < truth[name]), (equal, values == truth[name])):
                    counts.setdefault(name, np.zeros(num, np.int64))[numbers] += hits.sum(0)
    ranks = [below[name] + rng.integers(0, equal[name] + 1) for name in below]
    return Calibration(np.stack(ranks), tuple(below), num_draws, type(model).__name__)


def _settings(data: Any, num: int, rng: np.random.Generator) -> Any:
    """Sequences of the data for ``num`` simulations: all of them, in random order, over and over."""
    rounds = -(-num // len(data))
    order = np.concatenate([rng.permutation(len(data)) for _ in range(rounds)])[:num]
    return data.subset(order.tolist())


def _check_guide(model: Any, data: Any) -> None:
    """Refuse a pair that has nothing to calibrate."""
    name = type(model).__name__
    check_amortised(model, "sbc")
    latents = {n: site for n, site in check_guide(model, data).items() if in_batch(site)}
    if not latents:
        raise ValueError(f"sbc ranks latents, and {name} draws none for a sequence: there is no guide to calibrate.")
    points = [n for n, site in latents.items() if is_point(site)]
    if points:
        raise ValueError(f"sbc needs a guide with a density; that of {name} draws {points} as a point (a Delta), which "
                         "has no spread to calibrate: give the model a posterior such as rv.Normal.")


# ------------------------------------------------------------------------------------------------ simulations
def _simulations(
    model: Any, settings: Any, num_draws: int, seed: int, batch_size: int, max_bytes: int, repeat: bool
) -> Iterator[tuple[list[int], Found, Found]]:
    """Numbers of some simulations, the quantities of their truths ``(1, B)``, and of some draws ``(k, B)``."""
    lengths, device = lengths_of(settings), like_of(model).device
    longest = int(lengths.max())
    for group in groups(settings, batch_size):
        seed_generators(device, hash((seed, -2, group[0])))  # no number of a sequence, as `draw` has it
        whole, truth = _simulated(model, settings.padded(group).to(device))
        true = _quantities(score(model, Chunk(whole, group, range(1)), truth), lengths[group], longest)
        for chunk in chunks(model, settings, num_draws, [group], max_bytes):
            columns = [group.index(n) for n in chunk.numbers]
            batch = _given_x(model, chunk.batch, whole.x[columns])
            with _given_shared(truth, len(chunk.particles)):
                draws = draw(model, replace(chunk, batch=batch), seed, repeat=repeat)
            found = _quantities(draws, lengths[chunk.numbers], longest)
            yield chunk.numbers, {name: values[:, columns] for name, values in true.items()}, found


def _simulated(model: Any, batch: Any) -> tuple[Any, Any]:
    """The batch with x as the model has drawn it, and the trace of the latents it was drawn from, ``(1, B, ...)``."""
    batch = _given_x(model, batch, batch.x)
    size = tuple(batch.x.shape[: 1 if model.static else 2])
    with pyro.plate("particles", 1, dim=-2):
        trace = traced(getattr(model, "learned_model", model.model), None, batch.mask, size=size, **batch.known)
    if "x" not in trace.nodes:
        raise ValueError(f"sbc needs the model's site 'x', and {type(model).__name__} has none: name the observed site "
                         "'x'.")
    x: Tensor = trace.nodes["x"]["value"]
    trace.remove_node("x")
    for site in sites(trace, observed=True).values():
        site["is_observed"] = in_batch(site)  # what is shared may have been fixed by a handler, and is to be replayed
    return replace(batch, x=_with_gaps(x.reshape(batch.x.shape), batch)), trace


def _given_x(model: Any, batch: Any, x: Tensor) -> Any:
    """The batch with another x, of no more frames than it has itself; labels that a head predicts are unknown."""
    x = x if batch.mask is None else x[:, : batch.mask.shape[1]]
    known = not getattr(type(model), "needs_labels", False)
    return replace(batch, x=x, labels=batch.labels if known else model.unknown(len(batch)))


def _with_gaps(x: Tensor, batch: Any) -> Tensor:
    """The drawn x, missing where that of the data is, and zero in the padding."""
    if batch.x.is_floating_point():
        x = x.to(batch.x.dtype).masked_fill(batch.x.isnan(), torch.nan)
    else:
        x = x.to(batch.x.dtype).masked_fill(batch.x == -1, -1)
    return x if batch.mask is None else x.masked_fill(~batch.mask.unsqueeze(-1), 0)


def _given_shared(truth: Any, particles: int) -> Any:
    """The guide draws what is once a data set as the truth has it."""
    trace = poutine.Trace()
    for name, site in sites(truth, observed=False).items():
        if not in_batch(site):
            shape = (particles, *site["value"].shape[1:])
            trace.add_node(name, **{**site, "value": site["value"].expand(shape)})
    return poutine.replay(trace=trace)


# ------------------------------------------------------------------------------------------------ test quantities
def _quantities(draws: Draws, lengths: NDArray[np.int64], longest: int) -> Found:
    """Every test quantity ``(k, B)`` of some draws."""
    found: Found = {}
    drawn, latents = sites(draws.guide, observed=False), sites(draws.model, observed=False)
    for name, site in latents.items():
        if in_batch(site):
            value = drawn[name]["value"].double().cpu().numpy()
            stride = _stride(site, value, draws)
            if stride:
                found |= _of_path(name, value, -(-lengths // stride), -(-longest // stride))
            else:
                found |= _by_dim(name, value, "")
    for name, density in (("log p(x | z)", draws.likelihood), ("log p(x, z)", draws.likelihood + draws.prior)):
        found[name] = density.double().cpu().numpy()
        if np.isnan(found[name]).any():
            raise ValueError(f"{name} of simulated data is NaN: the model's networks overflow on data of its own.")
    return found


def _stride(site: Any, value: Array, draws: Draws) -> int:
    """Frames to a step of a site's clock: 1 also of a path that is drawn by a statement of its own; 0 without steps."""
    steps = draws.observed.steps.shape[-1]
    own_path = value.ndim == 4 and 0 < value.shape[2] == steps
    return int(site["infer"].get("every", own_path))


def _of_path(name: str, value: Array, steps: NDArray[np.int64], longest: int) -> Found:
    """Of a path ``(k, B, T, ...)``: some of its steps, and its mean; one of those that are the same."""
    found: Found = {}
    columns = np.arange(len(steps))
    for place, share in PLACES.items():
        if share == 0 or longest > (1 if share == 1 else 2):
            at = np.floor(share * (steps - 1)).astype(np.int64)
            found |= _by_dim(name, value[:, columns, at], f" {place}" if longest > 1 else "")
    if longest > 1:
        inside = (np.arange(value.shape[2]) < steps[:, None]).reshape(1, len(steps), -1, *(1,) * (value.ndim - 3))
        total = np.where(inside, value, 0.0).sum(2)
        found |= _by_dim(name, total / steps.reshape(-1, *(1,) * (total.ndim - 2)), " mean")
    return found


def _by_dim(name: str, value: Array, place: str) -> Found:
    """One quantity for each number of ``(k, B, ...)``."""
    flat = value.reshape(*value.shape[:2], -1)
    names = [f"{name}{place}"] if flat.shape[-1] == 1 else [f"{name}[{i}]{place}" for i in range(flat.shape[-1])]
    return {each: flat[..., i] for i, each in enumerate(names)}
