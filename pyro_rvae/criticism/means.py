"""Posterior means of a latent, sequence by sequence."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.checks import check_count
from ..core.contexts import evaluating, forked
from ..core.traces import in_batch, sites
from .chunks import check_data, chunks, groups, lengths_of, like_of
from .particles import draw, repeatable

__all__ = ["posterior_means"]

Array = NDArray[np.float64]


def posterior_means(
    model: Any,
    data: Any,
    site: str | None = None,
    *,
    num_particles: int = 10,
    batch_size: int = 20,
    seed: int = 0,
    max_bytes: int = 2**28,
) -> tuple[str, list[Array]]:
    r"""The mean of draws of the guide, for :math:`E_{q(z \mid x_n)}[z]`.

    Arguments:
        model: a :class:`~pyro_rvae.SequenceVAE`.
        data: a data set.
        site: a continuous latent of the guide. Default: the first one.
        num_particles, batch_size, seed, max_bytes: as for :func:`~pyro_rvae.evaluate`.

    Returns the site's name, and ``(steps, d)`` for each sequence: its frames, fewer on a slower clock, 1 where the
    latent is drawn once.

    Raises:
        ValueError: no continuous latent, or no ``site`` of that name.
    """
    check_data(model, data, "posterior_means")
    check_count("num_particles", num_particles)
    lengths = lengths_of(data)
    sums: list[Array] = [np.zeros(0)] * len(data)
    with evaluating(model), forked(like_of(model).device):
        repeat = repeatable(model, data)
        for chunk in chunks(model, data, num_particles, groups(data, batch_size), max_bytes):
            site, found = _chosen(model, draw(model, chunk, seed, repeat=repeat).guide, site)
            value = found["value"].double().sum(0).cpu().numpy() / num_particles  # (B, [steps,] d)
            clock = found["infer"].get("every") or 1
            for n, z in zip(chunk.numbers, value, strict=True):
                z = z[: -(-int(lengths[n]) // clock)] if z.ndim == 2 else z.reshape(1, -1)
                sums[n] = z if not sums[n].size else sums[n] + z
    assert site is not None  # a data set is never empty
    return site, sums


def _chosen(model: Any, guide: Any, site: str | None) -> tuple[str, Any]:
    known = {
        name: found
        for name, found in sites(guide, observed=False).items()
        if in_batch(found) and found["value"].is_floating_point()
    }
    if not known:
        raise ValueError(f"{type(model).__name__} draws no continuous latent for each sequence: there is no map of it.")
    name = next(iter(known)) if site is None else site
    if name not in known:
        raise ValueError(f"site must be a continuous latent of the guide ({', '.join(known)}), got {name!r}.")
    return name, known[name]
