"""From one sequence to another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
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
    fitted,
    id_of,
    known_of,
    length_of,
    names_of,
    need_continuous,
    single,
    what,
)

__all__ = ["Interpolation", "interpolate", "slerp"]

@dataclass(frozen=True, repr=False, eq=False)
class Interpolation:
    """Sequences from a first to a second one.

    Attributes:
        sequences: the points' sequences, ``(T_i, x_dim)`` each (``event_shape`` of static data), in raw units.
        weights: ``(num,)``, that of the second end, 0 to 1.
        latents: by site, one array a point, ``(d,)`` or ``(steps, d)``.
        sites: by site, how often it is drawn, in words.
        path: ``"spherical"`` or ``"linear"``.
        drawn: whether the sequences are draws of p(x | z), or its means.
        names: of the features, or ``None``. ids: of the two ends. model: name of its class.
        static: whether the sequences are items, without time.
    """

    sequences: list[Array]
    weights: NDArray[np.float64]
    latents: dict[str, list[Array]]
    sites: dict[str, str]
    path: str
    drawn: bool
    names: tuple[str, ...] | None
    ids: tuple[str, str]
    model: str
    static: bool = False

    def __len__(self) -> int:
        return len(self.sequences)

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {"weights": self.weights.tolist(), "sequences": [x.tolist() for x in self.sequences],
                "latents": {name: [z.tolist() for z in path] for name, path in self.latents.items()},
                "path": self.path, "drawn": self.drawn, "names": self.names and list(self.names),
                "ids": list(self.ids), "model": self.model}

    def __repr__(self) -> str:
        first, last = self.sequences[0], self.sequences[-1]
        rows = [["weight", "frames", "from the first", "from the last"]]
        rows += [[f"{weight:.2f}", f"{len(x)}", f"{apart(x, first):.3g}", f"{apart(x, last):.3g}"]
                 for weight, x in zip(self.weights, self.sequences, strict=True)]
        rows = [[row[0], *row[2:]] for row in rows] if self.static else rows
        between = ", ".join(f"{name} ({kind})" for name, kind in self.sites.items())
        return (f"Interpolation: {count(len(self), 'sequence')} of {self.model} from {self.ids[0]!r} to "
                f"{self.ids[1]!r}, {self.path} in {between}; {what(self.drawn)}.\n{table(rows)}\n"
                f"{APART}")


def interpolate(model: Any, first: Any, second: Any, num: int = 8, *, path: str = "spherical", mean: bool = True,
                labels: Any = None, controls: Any = None, seed: int = 0, batch_size: int = 20) -> Interpolation:
    r"""Sequences between two: their latents' posterior means, points between these, and each point decoded.

    .. math:: x^{(i)} \sim p(x \mid z^{(i)}), \quad z^{(i)} = \mathrm{between}(\mu(x^A), \mu(x^B); w_i), \quad
        w_i = i / (\mathrm{num} - 1)

    with :math:`\mu(x)` the posterior mean, each latent given those before it. ``"spherical"`` keeps to the arc between
    two vectors (White 2016, arXiv:1609.04468, "Sampling Generative Networks", section 2.1), whose points are as long as
    draws of a standard normal are; for vectors that are parallel or opposite, or of one number, it is ``"linear"``.
    The weights' ends are the reconstructions of both (``reconstruct(..., mean=True)``).

    Between sequences of different lengths the length goes linearly from one to the other. Latents of each step (or of a
    slow clock) are taken along: both paths are resampled in time, linearly, to the length of the point, then
    interpolated step by step. Discrete latents beside continuous ones, and labels, are those of the nearer end. We
    differ from White in that this is done for each vector of a path, and in the change of length.

    Arguments:
        model: a trained :class:`~pyro_rvae.SequenceVAE`, or a pair.
        first, second: a sequence ``(T, x_dim)`` in raw units each (an item of static data), or a data set of one such
            as ``data.test.subset([3])``, with its labels and controls.
        num: points, both ends among them; at least 2.
        path: ``"spherical"`` or ``"linear"``.
        mean: whether each x' is the mean of p(x | z) (see :func:`~pyro_rvae.tasks.reconstruct`), or drawn from it.
        labels, controls: what all points are told: one label, ``(T, control_dim)`` of the longer end (controls are
            needed where those of the ends differ). Of arrays it is also what they are encoded with.
        seed: of the draws. batch_size: most points decoded at once.

    Raises:
        ValueError: no continuous latent to interpolate; ends of different controls, and none given; a ``path`` of
            another name; ``num`` below 2; more than one sequence.

    >>> interpolate(model, data.test.subset([0]), data.test.subset([1]))  # doctest: +SKIP
    """
    seed = check_seed("interpolate", seed)
    check_count("interpolate: num", num, 2, hint=" (the two ends)")
    check_count("interpolate: batch_size", batch_size)
    if path not in ("spherical", "linear"):
        raise ValueError(f"interpolate: path must be 'spherical' or 'linear', got {path!r}.")
    ends = _ends(model, (first, second), labels, controls)
    told, lengths = _told(ends, labels, controls), [length_of(data) for data in ends]
    weights = np.linspace(0.0, 1.0, num)
    with evaluating(model), vectorised(), forked(like_of(model).device):
        with mean_path(like_of(model).device):
            found = [encoded(model, data, "interpolate") for data in ends]
        need_continuous(model, found[0], "interpolate")
        points = [_point(found, lengths, float(w), path, told) for w in weights]
        shared = {name: latent.value for name, latent in found[0].items() if latent.shared}
        made = decoded_points(model, points, shared, ends[0], mean=mean, seed=seed, batch_size=batch_size)
    chosen = {name: latent.kind for name, latent in found[0].items() if not latent.shared}
    latents = {name: [point.values[name].cpu().numpy() for point in points] for name in chosen}
    return Interpolation([x.numpy() for x in made], weights, latents, chosen, path, not mean, names_of(model, ends[0]),
                         (id_of(ends[0], "first"), id_of(ends[1], "second")), type(model).__name__, bool(model.static))


# ------------------------------------------------------------------------------------------ points
def slerp(first: Tensor, second: Tensor, weight: float) -> Tensor:
    r"""Spherical interpolation of the vectors ``(..., d)``.

    .. math:: \frac{\sin((1 - w) \theta)}{\sin \theta} a + \frac{\sin(w \theta)}{\sin \theta} b, \quad
        \cos \theta = \frac{a \cdot b}{|a| |b|}

    and linear where :math:`\sin \theta` is all but 0 (White 2016, arXiv:1609.04468).
    """
    a, b = first.double(), second.double()
    norms = a.norm(dim=-1, keepdim=True) * b.norm(dim=-1, keepdim=True)
    cos = ((a * b).sum(-1, keepdim=True) / norms.clamp_min(1e-300)).clamp(-1.0, 1.0)
    angle = cos.arccos()
    sin = angle.sin()
    arc = (((1 - weight) * angle).sin() * a + (weight * angle).sin() * b) / sin.clamp_min(1e-300)
    straight = (1 - weight) * a + weight * b
    return torch.where((norms > 0) & (sin > 1e-4), arc, straight).to(first.dtype)


def _point(found: Sequence[dict[str, Latent]], lengths: Sequence[int | None], weight: float, path: str,
           told: Sequence[dict[str, Tensor]]) -> Point:
    nearer = 0 if weight <= 0.5 else 1
    length = None if lengths[0] is None else round((1 - weight) * lengths[0] + weight * lengths[1])  # type: ignore[operator]
    values = {}
    for name, latent in found[0].items():
        pair = [side[name] for side in found]
        if latent.shared:
            continue
        a, b = fitted(name, pair, length)
        if latent.discrete:
            values[name] = (a, b)[nearer]
        elif path == "spherical" and a.dim():
            values[name] = slerp(a, b, weight)
        else:
            values[name] = (1 - weight) * a + weight * b
    known = told[nearer]
    return Point(values, length, known | {name: known[name][:length] for name in known if name == "controls"})


# ------------------------------------------------------------------------------------------ arguments
def _ends(model: Any, given: Sequence[Any], labels: Any, controls: Any) -> list[Any]:
    """Both ends as data sets; an array's labels and controls are those that are given."""
    check_rows(controls, [len(end) for end in given if not hasattr(end, "padded") and not model.static])
    found = []
    for end, name in zip(given, ("first", "second"), strict=True):
        array = not hasattr(end, "padded")
        inputs = controls[: len(end)] if array and controls is not None and not model.static else None
        found.append(single(model, end, "interpolate", name, labels=labels if array else None, controls=inputs))
    return found


def _told(ends: Sequence[Any], labels: Any, controls: Any) -> list[dict[str, Tensor]]:
    """What points that are nearer to either end are told."""
    told = [known_of(data) for data in ends]
    if labels is not None:
        told = [known | {"labels": torch.as_tensor(labels)} for known in told]
    if controls is not None:
        check_rows(controls, [int(data.lengths[0]) for data in ends if hasattr(data, "lengths")])
        inputs = torch.as_tensor(controls)
        return [known | {"controls": inputs.to(ends[0].values.dtype)} for known in told]
    first, second = (known.get("controls", torch.zeros(0)) for known in told)
    if first.shape != second.shape or not torch.equal(first, second):
        raise ValueError("interpolate: the two ends have different controls, so those of the points between aren't "
                         "known: pass controls= (T, control_dim), one row for each frame of the longer end.")
    return told


def check_rows(controls: Any, lengths: Sequence[int]) -> None:
    """Refuse controls that are shorter than the longer end."""
    if controls is not None and lengths and len(controls) < max(lengths):
        raise ValueError(f"interpolate: controls must have a row for each of the {max(lengths)} frames of the longer "
                         f"end, got {len(controls)}.")
