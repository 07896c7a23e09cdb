"""Where the sequences lie in latent space."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..criticism.means import posterior_means
from .style import GREY, INK, LABELS, Array, Panels, finished, legend, one_panel, tidy

__all__ = ["latent_map"]

SHOWN = 5000  # points: more are thinned out, evenly
MANY = 10  # groups that colours can tell apart


def latent_map(
    model: Any,
    data: Any,
    *,
    site: str | None = None,
    colour: Any = None,
    draws: int = 10,
    batch_size: int = 20,
    seed: int = 0,
    max_bytes: int = 2**28,
    axes: Any = None,
) -> Panels:
    r"""Posterior means in two dimensions: a point a step, or a point a sequence where the latent is drawn once.

    The mean of ``draws`` draws of the guide stands for :math:`E_{q(z \mid x)}[z_t]`; the plane is that of the two
    largest principal components of these means.

    Arguments:
        model: a :class:`~pyro_rvae.SequenceVAE`.
        data: a data set.
        site: a continuous latent of the guide. Default: the first one.
        colour: ``(N,)``, a number or a name for each sequence; few different ones are groups. Default: the labels,
            if there is one a sequence; otherwise the time within the sequence, from its first step (0) to its last (1).
        draws: of the guide for each sequence.
        batch_size, seed, max_bytes: as for :func:`~pyro_rvae.evaluate`.
        axes: to draw into.

    Raises:
        ValueError: no continuous latent, no ``site`` of that name, or another number of colours than of sequences.
    """
    site, points = posterior_means(
        model, data, site, num_particles=draws, batch_size=batch_size, seed=seed, max_bytes=max_bytes
    )
    flat = np.concatenate(points)  # (frames or sequences, d)
    owner = np.repeat(np.arange(len(points)), [len(p) for p in points])
    plane, share = principal(flat)
    keep = np.linspace(0, len(flat) - 1, min(len(flat), SHOWN)).astype(int)
    ax = one_panel(axes, 7.4)
    if colour is None and data.labels is not None and data.labels.dim() == 1:
        colour = data.labels.numpy()
    if colour is None:
        _by_time(ax, plane, points, keep)
    else:
        _by_group(ax, plane, _colours(colour, len(points))[owner], keep)
    tidy(ax, "", grid="both")
    ax.set_xlabel(f"first principal component, {share[0]:.0%} of the variance", color=GREY)
    ax.set_ylabel(f"second, {share[1]:.0%}", color=GREY)
    ax.set_aspect("equal", adjustable="datalim")
    what = "steps" if len(flat) > len(points) else "items" if model.static else "sequences"
    words = f"{site} of {type(model).__name__}: two directions hold {share.sum():.0%} of the variance of its means of "
    return finished(ax, axes, words + f"{len(flat):,} {what}")


def principal(points: Array) -> tuple[Array, Array]:
    """Coordinates ``(n, 2)`` in the plane of largest variance, and the shares of the variance of its axes."""
    centred = points - points.mean(0)
    _, size, directions = np.linalg.svd(centred, full_matrices=False)
    share = np.zeros(2)
    share[: len(size)] = (size**2 / max(float((size**2).sum()), 1e-300))[:2]
    plane = np.zeros((len(points), 2))
    plane[:, : len(size)] = centred @ directions[:2].T
    return plane, share


def _colours(colour: Any, sequences: int) -> Array:
    found = np.asarray(colour)
    if found.shape != (sequences,):
        raise ValueError(f"colour must have one entry for each of {sequences} sequences, got shape {found.shape}.")
    return found


def _by_time(axes: Any, plane: Array, points: list[Array], keep: Array) -> None:
    time = np.concatenate([np.linspace(0, 1, len(p)) for p in points])
    shown = {"c": time[keep], "cmap": "viridis"} if len(plane) > len(points) else {"color": LABELS[0]}
    dots = axes.scatter(*plane[keep].T, s=14, alpha=0.6, linewidths=0, **shown)
    if len(plane) > len(points):
        bar = axes.figure.colorbar(dots, ax=axes, fraction=0.025, pad=0.01, ticks=[0, 1])
        bar.ax.set_yticklabels(["first step", "last step"], color=GREY, fontsize=9.5)
        bar.outline.set_visible(False)
        bar.solids.set_alpha(1)


def _by_group(axes: Any, plane: Array, value: Array, keep: Array) -> None:
    groups = np.unique(value[keep])
    if len(groups) > MANY and value.dtype.kind in "iuf":
        dots = axes.scatter(*plane[keep].T, s=14, alpha=0.7, linewidths=0, c=value[keep], cmap="viridis")
        axes.figure.colorbar(dots, ax=axes, fraction=0.025, pad=0.01).outline.set_visible(False)
        return
    for i, group in enumerate(groups):
        here = keep[value[keep] == group]
        axes.scatter(*plane[here].T, s=14, alpha=0.7, linewidths=0, color=LABELS[i % len(LABELS)], label=str(group))
    if len(groups) <= MANY:
        legend(axes, title="label", title_fontproperties={"size": 9.5}, markerscale=1.6, labelcolor=INK)
