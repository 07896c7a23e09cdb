"""Bounds on the log-likelihood of a data set, beside floors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..core.checks import check_count
from ..core.contexts import evaluating, forked
from ..infer.fivo import FIVO
from .by_step import StepCosts
from .chunks import Chunk, check_data, chunks, groups, lengths_of, like_of
from .evaluation import Evaluation
from .filters import check_filters, filtered_bounds
from .floors import floors
from .particles import Draws, draw, repeatable
from .tables import included

__all__ = ["Evaluation", "evaluate"]

Array = NDArray[np.float64]


def evaluate(
    model: Any,
    data: Any,
    *,
    num_particles: int = 100,
    batch_size: int = 20,
    seed: int = 0,
    train: Any = None,
    filters: Sequence[FIVO] = (),
    max_bytes: int = 2**28,
) -> Evaluation:
    r"""ELBO and IWAE of a data set as costs, with reconstruction, KL, a series by step, and floors.

    Pooled, as averages over sequences, in bits per dimension, and with a bootstrap interval: see :class:`Evaluation`.

    The K particles of a sequence stand in a plate around guide and model, so they are drawn and scored at
    once, in chunks of sequences (sorted by length) and particles that fit in about ``max_bytes``. The
    importance weights are per sequence: log-mean-exp over its particles, then the sum over sequences is
    divided by the frames of all.

    What the figures depend on: model, data, ``num_particles`` and ``seed``. Where all latents are made from
    Gaussian noise, each draw has its own (seed, site, sequence, particle), so ``batch_size``, ``max_bytes``,
    padding, device, and what else is drawn don't matter but for rounding, and the first draws stay the same
    when ``num_particles`` grows. Other latents (discrete, Gamma, ...) are drawn anew for another chunking:
    the same to Monte Carlo error.

    Nothing else is touched: the model is in eval mode inside and is put back as it was; torch's random state
    and Pyro's parameter store are left alone. A KL weight around the call has no effect.

    What is drawn once a data set (``shared``) is drawn from its guide once for each particle, and its own KL
    is left out of the bounds (``shared_kl`` reports it): they are bounds on :math:`\log E_{q(s)}\, p(x_n \mid
    s)`, the predictive density of sequences given what was learned, by Jensen's inequality.

    Arguments:
        model: a :class:`~pyro_rvae.SequenceVAE`.
        data: a data set; ``data.test`` of the loaders knows its training split.
        num_particles: K, at least 1.
        batch_size: most sequences at once.
        seed: of the draws.
        train: training split for the floors (default: ``data.reference``; without one there are none).
        filters: bounds by particle filters to add, such as ``[rv.FIVO(16), rv.FIVO(128, bootstrap=True)]``, for models
            that :class:`~pyro_rvae.FIVO` takes. All particles of a sequence are filtered together.
        max_bytes: memory that the activations of one chunk should take, roughly.

    Raises:
        TypeError: ``data`` is no data set.
        ValueError: a size below 1; a filter of a model that has none, or of a guide that draws a point; a data set of
            another width, kind of time, precision, or kind of values than the likelihood's; model and guide with
            different latents.

    >>> print(rv.evaluate(model, data.test))  # doctest: +SKIP
    """
    check_data(model, data, "evaluate")
    for name, value in {
        "num_particles": num_particles,
        "batch_size": batch_size,
        "max_bytes": max_bytes,
    }.items():
        check_count(name, value)
    check_filters(filters)
    found = _Found.of(data, num_particles)
    with evaluating(model), forked(like_of(model).device):
        repeat = repeatable(model, data)
        for chunk in chunks(model, data, num_particles, groups(data, batch_size), max_bytes):
            found.add(chunk, draw(model, chunk, seed, repeat=repeat))
    if filters and found.point:
        raise ValueError(f"the guide of {type(model).__name__} draws a point, so there are no weights to filter by: "
                         "leave filters out.")
    train = getattr(data, "reference", None) if train is None else train
    return Evaluation(
        found.log_weights,
        reconstructions=found.sums[0] / num_particles,
        kls=found.sums[1] / num_particles,
        lengths=lengths_of(data),
        floors=floors(train, data) if train is not None else {},
        shared_kl=float(np.mean(found.shared)),
        name=type(model).__name__,
        unit="item" if model.static else "frame",
        transformed=data.transform is not None,
        point=found.point,
        by_step=found.by_step(num_particles) if found.stepped else None,
        elements=elements_of(data),
        likelihoods={name: costs / num_particles for name, costs in found.likelihoods.items()},
        includes=included(found.likelihoods, data),
        filtered={objective.label: filtered_bounds(model, data, objective, batch_size=batch_size, seed=seed,
                                                   max_bytes=max_bytes) for objective in filters},
    )


@dataclass
class _Found:
    """Sums over the particles, in double precision, of what :func:`evaluate` reports."""

    log_weights: Array  # (N, K)
    sums: Array  # (2, N), of -log p(x | z) and of log q - log p(z)
    steps: Array  # (2, N, T), the part of each that belongs to a frame; NaN in the padding
    once: Array  # (N,), the rest of both
    shared: list[float]
    point: bool = False
    stepped: bool = False
    likelihoods: dict[str, Array] = field(default_factory=dict)  # (N,) of each observed site, its part of sums[0]

    @classmethod
    def of(cls, data: Any, num_particles: int) -> _Found:
        lengths = lengths_of(data)
        inside = np.arange(lengths.max() if hasattr(data, "lengths") else 0) < lengths[:, None]
        steps = np.where(inside, 0.0, np.nan)
        return cls(np.empty((len(data), num_particles)), np.zeros((2, len(data))), np.stack([steps, steps]),
                   np.zeros(len(data)), [])

    def add(self, chunk: Chunk, draws: Draws) -> None:
        rows, columns = np.array(chunk.numbers), np.array(chunk.particles)
        self.log_weights[rows[:, None], columns] = draws.log_weights.double().cpu().numpy().T
        observed, latent, drawn = draws.observed, draws.latent, draws.drawn
        for i, (plus, minus) in enumerate(((None, observed), (drawn, latent))):
            total, steps, once = -minus.total, -minus.steps, -minus.once
            if plus is not None:
                total, steps, once = total + plus.total, steps + plus.steps, once + plus.once
            self.sums[i, rows] += total.double().sum(0).cpu().numpy()
            self.steps[i, rows, : steps.shape[-1]] += steps.double().sum(0).cpu().numpy()
            self.once[rows] += once.double().sum(0).cpu().numpy()
        for name, density in draws.likelihoods.items():
            costs = self.likelihoods.setdefault(name, np.zeros(len(self.once)))
            costs[rows] -= density.double().sum(0).cpu().numpy()
        self.shared += draws.shared.tolist()
        self.point = self.point or draws.point
        self.stepped = self.stepped or observed.stepped or latent.stepped

    def by_step(self, num_particles: int) -> StepCosts:
        reconstruction, kl = self.steps / num_particles
        return StepCosts(reconstruction, kl, self.once / num_particles)


def elements_of(data: Any) -> NDArray[np.int64]:
    """Elements of x of each sequence that aren't missing, ``(N,)``."""
    values = data.values.flatten(1)
    present = (values >= 0 if values.dtype == torch.long else ~values.isnan()).sum(1)
    if hasattr(data, "lengths"):
        present = torch.stack([part.sum() for part in present.split(data.lengths.tolist())])
    result: NDArray[np.int64] = present.numpy()
    return result
