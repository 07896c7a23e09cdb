"""Sequences as vectors: what the guide says of their latents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..core.checks import check_count, check_seed
from ..criticism.chunks import lengths_of
from ..criticism.means import Latent, posterior_latents
from ..criticism.tables import count, plain, table
from .inputs import as_data

__all__ = ["Embedding", "column_names", "embed"]

Array = NDArray[np.float64]
BY = ("sequence", "step")
POOLS = ("mean", "last", "both")
SHOWN = 12  # columns of a printed embedding


@dataclass(frozen=True, repr=False, eq=False)
class Embedding:
    """Vectors of sequences, or of their steps.

    Attributes:
        values: by sequence ``(N, d)``, draws ``(R, N, d)``; by step a list of ``(T_i, d)``, draws ``(R, T_i, d)``.
        names: of the d columns: ``"v_0"`` of a latent that is drawn once, ``"z_3 mean"`` or ``"z_3 last"`` of one by
            step that was pooled, ``"z_3"`` of its steps.
        by: ``"sequence"`` or ``"step"``.
        lengths: ``(N,)``, frames of each sequence.
        num_draws: R; ``None``: the values are posterior means.
        num_particles: draws of the guide that a mean is taken over.
        ids: of the sequences, if the data set has any.
        model: its name.
    """

    values: Any
    names: tuple[str, ...]
    by: str
    lengths: NDArray[np.int64]
    num_draws: int | None
    num_particles: int
    ids: tuple[str, ...] | None
    model: str

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def width(self) -> int:
        """Numbers of a vector, d."""
        return len(self.names)

    def rows(self) -> Iterator[dict[str, Any]]:
        """A row for each vector, as :class:`csv.DictWriter` takes them: ``sequence`` (its id or number), ``step`` (by
        step) and ``draw`` (of draws) from 0, then the columns by name."""
        for n in range(len(self)):
            own = np.asarray(self.values[n] if self.by == "step" else self.values[..., n, :])
            for place in np.ndindex(own.shape[:-1]):
                row: dict[str, Any] = {"sequence": n if self.ids is None else self.ids[n]}
                row |= {"draw": place[0]} if self.num_draws is not None else {}
                row |= {"step": place[-1]} if self.by == "step" else {}
                yield row | dict(zip(self.names, own[place].tolist(), strict=True))

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        found = {"model": self.model, "by": self.by, "num_draws": self.num_draws, "num_particles": self.num_particles,
                 "names": list(self.names), "ids": None if self.ids is None else list(self.ids),
                 "lengths": self.lengths, "values": self.values}
        return plain(found)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        flat = np.concatenate([np.asarray(own).reshape(-1, self.width) for own in self.values])
        what = (f"means of {count(self.num_particles, 'draw')} of the guide" if self.num_draws is None
                else f"{count(self.num_draws, 'draw')} of the guide")
        rows = [["column", "mean", "deviation", "least", "most"]]
        for name, column in list(zip(self.names, flat.T, strict=True))[:SHOWN]:
            rows.append([name, *(f"{f(column):.3f}" for f in (np.mean, np.std, np.min, np.max))])
        rest = f"\n  and {count(self.width - SHOWN, 'column')} more" * (self.width > SHOWN)
        whose = count(len(self), "sequence", f"{len(self):,}")
        whose += f" by step, {count(int(self.lengths.sum()), 'step', f'{self.lengths.sum():,}')}" * (self.by == "step")
        return f"Embedding of {whose} by {self.model}: {count(self.width, 'number')} each, {what}.\n{table(rows)}{rest}"


def embed(
    model: Any,
    data: Any,
    *,
    by: Literal["sequence", "step"] = "sequence",
    site: str | None = None,
    pool: Literal["mean", "last", "both"] = "mean",
    num_draws: int | None = None,
    num_particles: int = 10,
    labels: Any = None,
    controls: Any = None,
    batch_size: int = 20,
    seed: int = 0,
    max_bytes: int = 2**28,
) -> Embedding:
    r"""Posterior means :math:`E_{q(z \mid x)}[z]`, or draws :math:`z \sim q(z \mid x)`, of each sequence or step.

    Only the guide runs. The mean is that of the laws the guide draws from (:func:`posterior_latents` of
    ``criticism/means.py`` has the formula): exact for one latent a sequence (``VRAE``, ``VAE``; the code itself, of an
    autoencoder) and wherever a law depends on no other draw, else an average over ``num_particles`` paths. The vectors
    depend on model, sequence and seed, not on the batches, where all latents are made from Gaussian noise.

    *By sequence*, a latent that is drawn once stands as it is, and one by step is pooled over its own steps: their
    mean, the last one, or both, one behind the other. The last step of a filtering guide has seen the whole sequence;
    of a smoothing guide every step has. *By step*, a latent of a slower clock, or drawn once, is held for the frames
    that it belongs to. Of a regime (a one-hot vector) the mean is the probabilities of the regimes.

    Arguments:
        model: a trained :class:`~pyro_rvae.SequenceVAE`.
        data: a data set, or raw numbers: a list of ``(T_i, x_dim)``, an array ``(N, T, x_dim)``; of a static model
            ``(N, *event_shape)``.
        by: ``"sequence"`` or ``"step"``.
        site: one latent of the guide. Default: all of them, side by side.
        pool: of latents by step, by sequence: ``"mean"``, ``"last"`` or ``"both"``.
        num_draws: R draws of the guide instead of the mean.
        num_particles: draws that a mean is taken over.
        labels, controls: that go with raw numbers, where the guide reads them.
        batch_size: most sequences at once. seed: of the draws.
        max_bytes: memory that the activations of one chunk should take, roughly.

    Raises:
        ValueError: no latent (a ``DeterministicRNN``), no ``site`` of that name, steps of a model that has none, or a
            data set that does not suit the model. TypeError: what is no model or no data.

    >>> vectors = embed(model, data.train).values  # doctest: +SKIP
    >>> LogisticRegression().fit(vectors, data.train.labels)  # doctest: +SKIP
    """
    for name, value, known in (("by", by, BY), ("pool", pool, POOLS)):
        if value not in known:
            raise ValueError(f"embed: {name} must be one of {', '.join(known)}, got {value!r}")
    for name, number in {"num_particles": num_particles, "batch_size": batch_size, "max_bytes": max_bytes,
                         "num_draws": 1 if num_draws is None else num_draws}.items():
        check_count(f"embed: {name}", number)
    seed = check_seed("embed", seed)
    data = as_data(model, data, "embed", labels=labels, controls=controls)
    found = posterior_latents(model, data, site, num_particles=num_draws or num_particles, batch_size=batch_size,
                              draws=num_draws is not None, seed=seed, max_bytes=max_bytes)
    lengths = lengths_of(data)
    if by == "step":
        if all(latent.every is None for latent in found.values()):
            raise ValueError(f"embed: {type(model).__name__} draws {' and '.join(found)} once a sequence, so its steps "
                             "have no vectors of their own: use by='sequence', or a model with a latent by step, such "
                             "as rv.DMM.")
        values: Any = [np.concatenate([_held(z, n, int(steps)) for z in found.values()], -1)
                       for n, steps in enumerate(lengths)]
    else:
        parts = [_pooled(latent, pool) for latent in found.values()]
        values = np.stack([np.concatenate(own, -1) for own in zip(*parts, strict=True)], -2)
    widths = {name: (latent.values[0].shape[-1], latent.every) for name, latent in found.items()}
    return Embedding(values, column_names(widths, by, pool), by, lengths, num_draws, num_particles,
                     None if data.ids is None else tuple(data.ids), type(model).__name__)


def _held(latent: Latent, n: int, steps: int) -> Array:
    """A latent of sequence n at each of its frames, ``([R,] T, d)``."""
    own = latent.values[n]
    at = np.zeros(steps, dtype=int) if latent.every is None else np.arange(steps) // latent.every
    return own[..., at, :]


def _pooled(latent: Latent, pool: str) -> list[Array]:
    """``([R,] d)`` of each sequence; twice as wide where both poolings are wanted."""
    if latent.every is None:
        return [own[..., 0, :] for own in latent.values]
    ways = {"mean": lambda own: own.mean(-2), "last": lambda own: own[..., -1, :]}
    chosen = [way for name, way in ways.items() if pool in (name, "both")]
    return [np.concatenate([way(own) for way in chosen], -1) for own in latent.values]


def column_names(widths: Mapping[str, tuple[int, int | None]], by: str, pool: str) -> tuple[str, ...]:
    """Names of the columns, of latents of a width and a clock (None: drawn once)."""
    names: list[str] = []
    for site, (width, every) in widths.items():
        pooled = by == "sequence" and every is not None
        ways = [f" {way}" for way in POOLS[:2] if pool in (way, "both")] if pooled else [""]
        names += [f"{site}_{i}{way}" for way in ways for i in range(width)]
    return tuple(names)
