"""Along one dimension of one latent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..core.checks import check_count, check_seed
from ..core.contexts import evaluating, forked
from ..core.handlers import vectorised
from ..core.noise import mean_path
from ..criticism.chunks import like_of
from ..criticism.tables import count, table
from .between import Latent
from .points import (
    APART,
    Array,
    Point,
    apart,
    decoded_points,
    encoded,
    id_of,
    known_of,
    length_of,
    names_of,
    need_continuous,
    single,
    what,
)

__all__ = ["Traversal", "traverse"]


@dataclass(frozen=True, repr=False, eq=False)
class Traversal:
    """Sequences along one dimension of one latent.

    Attributes:
        sequences: one a value, ``(T, x_dim)`` (``event_shape`` of static data), in raw units.
        values: ``(num,)``, what the dimension was set to (or shifted by).
        site, dimension: which. kind: how often the site is drawn, in words.
        shifted: whether ``values`` were added to the posterior mean.
        posterior: what the posterior mean of that dimension is: a number, or ``(steps,)``.
        drawn, names, model, static: as of :class:`Interpolation`. id: of the sequence.
    """

    sequences: list[Array]
    values: NDArray[np.float64]
    site: str
    dimension: int
    kind: str
    shifted: bool
    posterior: Array
    drawn: bool
    names: tuple[str, ...] | None
    id: str
    model: str
    static: bool = False

    def __len__(self) -> int:
        return len(self.sequences)

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {"values": self.values.tolist(), "sequences": [x.tolist() for x in self.sequences], "site": self.site,
                "dimension": self.dimension, "shifted": self.shifted, "posterior": self.posterior.tolist(),
                "drawn": self.drawn, "names": self.names and list(self.names), "id": self.id, "model": self.model}

    def __repr__(self) -> str:
        rows = [["shift" if self.shifted else "value", "from the one before"]]
        before = [self.sequences[0], *self.sequences]
        rows += [[f"{value:+.2f}", f"{apart(x, other):.3g}"]
                 for value, x, other in zip(self.values, self.sequences, before, strict=False)]
        rows[1][1] = "-"
        return (f"Traversal: {count(len(self), 'sequence')} of {self.model} along {self.site}[{self.dimension}] "
                f"({self.kind}; the posterior mean of {self.id!r} is {self.posterior.mean():+.2f}), all else at its "
                f"posterior mean; {what(self.drawn)}.\n{table(rows)}\n{APART}")


def traverse(model: Any, sequence: Any, dimension: int = 0, values: Sequence[float] | None = None, *,
             site: str | None = None, shift: bool = False, mean: bool = True, labels: Any = None, controls: Any = None,
             seed: int = 0, batch_size: int = 20) -> Traversal:
    r"""Sequences along one dimension of one latent; everything else stays at the posterior mean of a sequence.

    Of a latent of each step the dimension is set (or shifted) at every step.

    Arguments:
        model: a trained :class:`~pyro_rvae.SequenceVAE`, or a pair.
        sequence: as for :func:`interpolate`.
        dimension: of the latent, from 0.
        values: what the dimension is set to, in the latent's own units; default: -3, -2, ..., 3 (standard deviations,
            where the prior is standard normal).
        site: name of a continuous latent; default: the first that is drawn once a sequence, else the first.
        shift: whether ``values`` are added to the posterior mean instead.
        mean, labels, controls, seed, batch_size: as for :func:`interpolate`.

    Raises:
        ValueError: no such site, no such dimension, values that are not finite numbers, or no continuous latent.

    >>> traverse(model, data.test.subset([0]), 3)  # doctest: +SKIP
    """
    seed = check_seed("traverse", seed)
    steps = np.asarray(np.linspace(-3.0, 3.0, 7) if values is None else values, dtype=float)
    if steps.ndim != 1 or not len(steps) or not np.isfinite(steps).all():
        raise ValueError(f"traverse: values must be a list of finite numbers, got {values!r}.")
    check_count("traverse: batch_size", batch_size)
    data = single(model, sequence, "traverse", "sequence", labels=labels, controls=controls)
    with evaluating(model), vectorised(), forked(like_of(model).device):
        with mean_path(like_of(model).device):
            found = encoded(model, data, "traverse")
        site = _site(model, found, site)
        own = {name: latent.value[0] for name, latent in found.items() if not latent.shared}
        check_count("traverse: dimension", dimension, 0)
        if dimension >= (width := own[site].shape[-1] if own[site].dim() else 1):
            raise ValueError(f"traverse: {site!r} has {count(width, 'dimension')}, 0 to {width - 1}, got {dimension}.")
        points = [Point(own | {site: _set(own[site], dimension, value, shift)}, length_of(data), known_of(data))
                  for value in steps.tolist()]
        shared = {name: latent.value for name, latent in found.items() if latent.shared}
        made = decoded_points(model, points, shared, data, mean=mean, seed=seed, batch_size=batch_size)
    posterior = own[site][..., dimension] if own[site].dim() else own[site]
    return Traversal([x.numpy() for x in made], steps, site, dimension, found[site].kind, shift,
                     posterior.cpu().numpy(), not mean, names_of(model, data), id_of(data, "sequence"),
                     type(model).__name__, bool(model.static))


def _set(value: Tensor, dimension: int, to: float, shift: bool) -> Tensor:
    """One dimension of a latent, set at every step or shifted."""
    new = value.clone() if value.dim() else value.clone().unsqueeze(0)
    new[..., dimension] = new[..., dimension] + to if shift else to
    return new if value.dim() else new[0]


def _site(model: Any, found: dict[str, Latent], site: str | None) -> str:
    """A continuous latent."""
    need_continuous(model, found, "traverse")
    real = [name for name, latent in found.items() if not latent.shared and not latent.discrete]
    if site is None:
        return next((name for name in real if found[name].every is None), real[0])
    if site not in real:
        raise ValueError(f"traverse: site must be a continuous latent of {type(model).__name__} ({', '.join(real)}), "
                         f"got {site!r}.")
    return site
