"""Latents by step and by dimension: their KL, and the means of their posteriors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import kl_divergence

from .by_step import log_prob, log_prob_by_step
from .particles import elementwise

__all__ = ["Means", "Table", "has_steps", "joined", "kl_terms", "means"]

Array = NDArray[np.float64]


def has_steps(site: Any) -> bool:
    """Whether a site holds one value for each step of a clock, ``(k, B, S, d)``."""
    return "every" in site["infer"] and "step" not in site["infer"]


# ---------------------------------------------------------------------------------------- one site
def kl_terms(guide: Any, model: Any, batch: Any) -> tuple[Array, Array | None]:
    r"""The KL of a latent by step ``(k, B, S)``, and by step and dimension ``(k, B, S, d)``; NaN in the padding.

    Given the draw of the path up to the step before, the KL of a step is analytic where guide and prior are products
    over dimensions with a closed form. Else it is a draw of it, :math:`\log q(z_t \mid z_{<t}, x) - \log p(z_t \mid
    z_{<t})`, whose mean it is, and there are no dimensions (None). A latent that has no steps has S = 1.
    """
    elements = _closed_form(guide, model, batch)
    if elements is not None:
        empty = np.isnan(elements).all(-1)
        return np.where(empty, np.nan, np.nansum(elements, -1)), elements
    densities = [log_prob_by_step(site) for site in (guide, model)]
    if any(density is None for density in densities):
        densities = [log_prob(site).unsqueeze(-1) for site in (guide, model)]
    drawn, stated = densities
    inside = _inside(guide, batch).any(-1)
    if inside.shape[-1] != drawn.shape[-1]:  # type: ignore[union-attr]
        inside = inside.any(-1, keepdims=True)
    values: Array = (drawn - stated).double().cpu().numpy()  # type: ignore[operator]
    return np.where(inside, values, np.nan), None


def means(guide: Any, batch: Any) -> Array | None:
    """The mean of a latent's law given the path before, ``(k, B, S, d)``, NaN in the padding; None: it is discrete."""
    if not guide["value"].is_floating_point() or getattr(guide["fn"].support, "is_discrete", False):
        return None
    try:
        mean = guide["fn"].mean
    except NotImplementedError:  # a draw stands for it
        mean = guide["value"]
    return _arranged(mean, guide, batch)


def _closed_form(guide: Any, model: Any, batch: Any) -> Array | None:
    q, p = elementwise(guide)[0], elementwise(model)[0]
    if q is None or p is None:
        return None
    try:
        return _arranged(kl_divergence(q, p), guide, batch)
    except NotImplementedError:
        return None


def _arranged(values: Tensor, site: Any, batch: Any) -> Array:
    """Numbers of a site as ``(k, B, S, d)``, NaN where it is masked."""
    flat = _flat(values.expand(site["value"].shape).double(), site).cpu().numpy()
    return np.where(_inside(site, batch), flat, np.nan)


def _flat(values: Tensor, site: Any) -> Tensor:
    event = site["fn"].event_dim
    start = values.shape[: values.dim() - event]
    return values if has_steps(site) and event == 2 else values.reshape(*start, 1, -1)


def _inside(site: Any, batch: Any) -> NDArray[np.bool_]:
    """Where a site holds anything: True outside of the padding, ``(k, B, S, d)``."""
    shape, mask = site["value"].shape, elementwise(site)[1]
    inside = torch.ones(shape, dtype=torch.bool, device="cpu") if mask is None else mask.expand(shape).cpu()
    inside = _flat(inside, site)
    if isinstance(site["mask"], Tensor):
        inside = inside & site["mask"].cpu().reshape(*site["mask"].shape, 1, 1)
    if has_steps(site) and batch.mask is not None:
        inside = inside & batch.mask[:, :: site["infer"]["every"]].cpu().unsqueeze(-1)
    return inside.numpy()


# ---------------------------------------------------------------------------------------- over the data
class Table:
    """Sums over draws and sequences, in rows of steps: batches of other lengths add up."""

    def __init__(self) -> None:
        self.total: Array = np.zeros(0)
        self.counts: Array = np.zeros(0)

    def add(self, values: Array) -> None:
        """Add ``(k, B, S, ...)``, where NaN is nothing."""
        self.total = _longer(self.total, np.nansum(values, (0, 1)))
        self.counts = _longer(self.counts, (~np.isnan(values)).sum((0, 1)).astype(float))

    @property
    def mean(self) -> Array:
        """``(S, ...)``: over the sequences that have the step."""
        with np.errstate(invalid="ignore"):
            result: Array = self.total / self.counts
        return result


def _longer(a: Array, b: Array) -> Array:
    if not a.size:
        return b
    if len(a) < len(b):
        a, b = b, a
    total: Array = a.copy()
    total[: len(b)] += b
    return total


class Means:
    """First and second moments, over draws, of posterior means: enough for the variance over data."""

    def __init__(self) -> None:
        self.parts: dict[int, Array] = {}

    def add(self, group: int, values: Array) -> None:
        """Add draws ``(k, B, S, d)`` of one group of sequences."""
        moments = np.stack([values.sum(0), (values**2).sum(0)]).reshape(2, -1, values.shape[-1])
        self.parts[group] = self.parts[group] + moments if group in self.parts else moments

    def activity(self, k: int) -> Array:
        """``(d,)``: variance over data and steps of the mean over k draws, less what the draws add to it.

        NaN where there is one value, whose variance would be 0 by definition.
        """
        total, squares = np.concatenate(list(self.parts.values()), 1)  # (frames, d)
        mean, present = total / k, ~np.isnan(total)
        few = present.sum(0) < 2
        with np.errstate(invalid="ignore", divide="ignore"):
            between = _variance(mean)
            within = np.zeros_like(between) if k == 1 else _average((squares / k - mean**2).clip(0)) / (k - 1)
        result: Array = np.where(few, np.nan, (between - within).clip(0))
        return result


def _average(values: Array) -> Array:
    result: Array = np.nansum(values, 0) / (~np.isnan(values)).sum(0)
    return result


def _variance(values: Array) -> Array:
    n = (~np.isnan(values)).sum(0)
    result: Array = np.nansum((values - _average(values)) ** 2, 0) / (n - 1)
    return result


def joined(parts: Iterable[Array | None]) -> Array | None:
    """The steps of a path that several sites make up, one after the other; None if one of them is."""
    found = list(parts)
    return None if any(part is None for part in found) else np.concatenate(found, 2)  # type: ignore[arg-type]
