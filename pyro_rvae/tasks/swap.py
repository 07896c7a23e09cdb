"""Exchange latents between two sequences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..core.checks import check_count, check_seed
from ..core.contexts import evaluating, forked
from ..core.handlers import vectorised
from ..core.noise import mean_path
from ..criticism.chunks import like_of
from ..criticism.tables import table
from .between import Latent
from .points import (
    APART,
    Array,
    Point,
    apart,
    decoded_points,
    encoded,
    fitted,
    id_of,
    known_of,
    length_of,
    names_of,
    single,
    what,
)

__all__ = ["Swap", "swap"]


@dataclass(frozen=True, repr=False, eq=False)
class Swap:
    """Two sequences, encoded and decoded with their own latents and with some of the other's.

    Attributes:
        reconstructed: both with their own latents, ``(T_i, x_dim)`` each (``event_shape`` of items), in raw units.
        swapped: the first with ``sites`` of the second, and the second with those of the first; each as long as the
            one whose other latents it keeps.
        sites: what was exchanged. kept: what was not; both name how often the site is drawn, in words.
        drawn, names, model, static: as of :class:`~pyro_rvae.tasks.Interpolation`. ids: of the two sequences.
    """

    reconstructed: tuple[Array, Array]
    swapped: tuple[Array, Array]
    sites: dict[str, str]
    kept: dict[str, str]
    drawn: bool
    names: tuple[str, ...] | None
    ids: tuple[str, str]
    model: str
    static: bool = False

    @property
    def sequences(self) -> list[Array]:
        """All four: both reconstructed, then both swapped."""
        return [*self.reconstructed, *self.swapped]

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {"reconstructed": [x.tolist() for x in self.reconstructed], "sites": self.sites, "kept": self.kept,
                "swapped": [x.tolist() for x in self.swapped], "drawn": self.drawn,
                "names": self.names and list(self.names), "ids": list(self.ids), "model": self.model}

    def __repr__(self) -> str:
        taken, kept = (", ".join(f"{name} ({kind})" for name, kind in some.items()) for some in (self.sites, self.kept))
        first, second = self.ids
        rows = [["", f"from {first!r}", f"from {second!r}"]]
        for label, x in zip((first, second, f"{first} with {'/'.join(self.sites)} of {second}",
                             f"{second} with {'/'.join(self.sites)} of {first}"),
                            (*self.reconstructed, *self.swapped), strict=True):
            rows.append([label, *(f"{apart(x, other):.3g}" for other in self.reconstructed)])
        return (f"Swap: {taken} of {self.model} exchanged between {first!r} and {second!r}, {kept} kept; "
                f"{what(self.drawn)}.\n{table(rows)}\n{APART}")


def swap(model: Any, first: Any, second: Any, sites: Sequence[str] | None = None, *, mean: bool = True,
         labels: Any = None, controls: Any = None, seed: int = 0, batch_size: int = 20) -> Swap:
    r"""Both sequences with some latents of the other: the static part of one with the dynamic part of the other.

    .. math:: x' \sim p(x \mid v = \mu_v(x^B), z = \mu_z(x^A))

    and the reverse, with posterior means :math:`\mu` (each latent given those before it, so a guide's z may have seen
    its own v). As Li & Mandt (2018), arXiv:1803.02991, do with their static and dynamic parts; theirs are draws.

    A path that is taken is stretched or squeezed in time, linearly, to the length of the sequence that takes it. Labels
    and controls are those of the sequence whose other latents are kept.

    Arguments:
        model: a trained :class:`~pyro_rvae.SequenceVAE` with latents of two kinds, or a pair: a DSAE, a
            VariationalAttention; an HRAE, whose levels are sites.
        first, second: a sequence ``(T, x_dim)`` in raw units each, or a data set of one, ``data.test.subset([3])``.
        sites: what is exchanged, such as ``("z2", "z3")``; default: what is drawn once a sequence.
        mean: whether each x' is the mean of p(x | z) (see :func:`~pyro_rvae.tasks.reconstruct`), or drawn from it.
        labels, controls: of arrays; both sequences are told the same.
        seed: of the draws. batch_size: most sequences decoded at once.

    Raises:
        ValueError: latents of one kind alone, so that nothing is left to keep; no site of such a name.

    >>> swap(model, data.test.subset([0]), data.test.subset([1]))  # doctest: +SKIP
    """
    seed = check_seed("swap", seed)
    check_count("swap: batch_size", batch_size)
    known = {"labels": labels, "controls": controls}
    pair = [single(model, given, "swap", name, **known) for given, name in ((first, "first"), (second, "second"))]
    with evaluating(model), vectorised(), forked(like_of(model).device):
        with mean_path(like_of(model).device):
            found = [encoded(model, data, "swap") for data in pair]
        own = {name: latent for name, latent in found[0].items() if not latent.shared}
        taken = _chosen(model, own, sites)
        points = []
        for taking, i in ((False, 0), (False, 1), (True, 0), (True, 1)):
            both = {name: fitted(name, [side[name] for side in found], length_of(pair[i])) for name in own}
            values = {name: both[name][1 - i if taking and name in taken else i] for name in own}
            points.append(Point(values, length_of(pair[i]), known_of(pair[i])))
        shared = {name: latent.value for name, latent in found[0].items() if latent.shared}
        made = decoded_points(model, points, shared, pair[0], mean=mean, seed=seed, batch_size=batch_size)
    a, b, ab, ba = (x.numpy() for x in made)
    kinds = {name: latent.kind for name, latent in own.items()}
    return Swap((a, b), (ab, ba), {name: kinds[name] for name in taken},
                {name: kind for name, kind in kinds.items() if name not in taken}, not mean, names_of(model, pair[0]),
                (id_of(pair[0], "first"), id_of(pair[1], "second")), type(model).__name__, bool(model.static))


def _chosen(model: Any, own: dict[str, Latent], sites: Sequence[str] | None) -> tuple[str, ...]:
    """What is exchanged, if something is left to keep."""
    name, there = type(model).__name__, ", ".join(f"{site} ({latent.kind})" for site, latent in own.items())
    if isinstance(sites, str):
        raise TypeError(f"swap: sites must be a sequence of names, got the string {sites!r}: write ({sites!r},).")
    once = tuple(site for site, latent in own.items() if latent.every is None)
    chosen = once if sites is None else tuple(dict.fromkeys(sites))
    if unknown := [site for site in chosen if site not in own]:
        raise ValueError(f"swap: {name} has no latent {unknown[0]!r}; it has {there}.")
    if not chosen:
        several = "name the levels to exchange, sites=(...)" if len(own) > 1 else \
            "there is no static part; take a model with both, such as rv.DSAE"
        raise ValueError(f"swap: {name} draws no latent once a sequence, and no sites are named; it has {there}: "
                         f"{several}.")
    if len(chosen) == len(own):
        raise ValueError(f"swap: {there} would be all that {name} has, so the two sequences would only change places: "
                         "take a model with a static and a dynamic part, such as rv.DSAE"
                         f"{', or name fewer sites' if len(own) > 1 else ', or rv.tasks.interpolate'}.")
    return chosen
