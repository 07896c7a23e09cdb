"""Laws of many runs and many steps of a program as one law with leading dims of particles, sequences and time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from ..core.noise import rsample_from

__all__ = ["Layout", "Lifted", "merged"]

Table = list[list[Any]]  # of each run, of each step
FAMILIES: dict[type, tuple[str, ...]] = {  # what they are made of: their densities depend on nothing else
    dist.Normal: ("loc", "scale"),
    dist.Laplace: ("loc", "scale"),
    dist.Cauchy: ("loc", "scale"),
    dist.StudentT: ("df", "loc", "scale"),
    dist.Gamma: ("concentration", "rate"),
    dist.Beta: ("concentration1", "concentration0"),
    dist.Exponential: ("rate",),
    dist.Poisson: ("rate",),
    dist.Dirichlet: ("concentration",),
    dist.MultivariateNormal: ("loc", "scale_tril"),
    dist.Bernoulli: ("logits",),
    dist.Categorical: ("logits",),
    dist.OneHotCategorical: ("logits",),
}


@dataclass(frozen=True)
class Layout:
    """Where the sites of a program stand, and where ours do.

    The program's: a batch shape with the plate of ``rows * sequences`` somewhere in it. Ours:
    ``(particles, sequences[, time], *inner, ...)``, where ``inner`` are the program's other plates. Without
    particles around it, the first is left out.

    :param batch_shape: of the program's site. :param plate: position of its plate; None of what is shared.
    :param framed: positions of its other plates. :param rows: particles in one run.
    :param sequences: in the batch. :param timed: whether there is one site a step. :param lead: particles
        around. :param scalar: a step holds a single number, which becomes a vector of one.
    """

    batch_shape: torch.Size
    plate: int | None
    framed: frozenset[int]
    rows: int
    sequences: int
    timed: bool
    lead: bool
    scalar: bool

    @property
    def others(self) -> tuple[int, ...]:
        return tuple(n for d, n in enumerate(self.batch_shape) if d != self.plate)

    @property
    def inner(self) -> tuple[int, ...]:
        """Sizes of the program's other plates."""
        kept = (d for d, n in enumerate(self.batch_shape) if d != self.plate and (n > 1 or d in self.framed))
        found = tuple(self.batch_shape[d] for d in kept)
        return found or (1,) * (self.scalar and self.timed)

    def join(self, pieces: list[list[Tensor]]) -> Tensor:
        """Values ``(*batch_shape, ...)`` of each run and step as one tensor."""
        found = torch.cat([self._steps([self._ours(p) for p in steps]) for steps in pieces])
        if self.lead:
            return found
        return found[0] if self.plate is not None else found[0, 0]

    def _steps(self, pieces: list[Tensor]) -> Tensor:
        return torch.stack(pieces, 2) if self.timed else pieces[0]

    def _ours(self, piece: Tensor) -> Tensor:
        rest = piece.shape[len(self.batch_shape) :]
        if self.plate is not None:
            piece = piece.movedim(self.plate, 0)
        return piece.reshape(self.rows, self.sequences if self.plate is not None else 1, *self.inner, *rest)

    def piece(self, value: Tensor, particles: range, step: int, tail: int) -> Tensor:
        """The part of a whole value ``(particles, sequences[, time], ...)`` that a run's site takes at a step.

        ``tail``: dims of the value behind those of the batch.
        """
        value = self.whole(value, particles.stop, tail)[particles.start : particles.stop]
        if self.timed:
            value = value.select(2, step)
        rest = value.shape[value.dim() - tail :]
        if self.plate is None:  # one for all rows of the run
            return value[:1].reshape(self.batch_shape + rest)
        return value.reshape(self.rows * self.sequences, *self.others, *rest).movedim(0, self.plate)

    def whole(self, value: Tensor, least: int, tail: int) -> Tensor:
        """A value with all its leading dims, where it was given without, or with 1 for all particles."""
        dims = 2 + self.timed + len(self.inner) + tail
        value = value.reshape((1,) * (dims - value.dim()) + value.shape)
        return value if len(value) >= least else value.expand(least, *value.shape[1:])


def merged(laws: Table, layout: Layout) -> Any:
    """Laws of each run and step as one, with the batch shape of ``layout`` (and what ``to_event`` has taken).

    Where the family is known it is of that family, so that means and KL divergences can be told; else it is
    :class:`Lifted`.
    """
    flat = [law for steps in laws for law in steps]
    kind = type(flat[0])
    if any(type(law) is not kind for law in flat):
        return Lifted(laws, layout)

    def each(read: Callable[[Any], Any]) -> list[list[Any]]:
        return [[read(law) for law in steps] for steps in laws]

    if kind is dist.Independent and len({law.reinterpreted_batch_ndims for law in flat}) == 1:
        return merged(each(lambda law: law.base_dist), layout).to_event(flat[0].reinterpreted_batch_ndims)
    if kind is dist.MaskedDistribution:
        mask = layout.join(each(lambda law: _mask(law)))
        return merged(each(lambda law: law.base_dist), layout).mask(mask)
    if kind is dist.Delta and len({law.event_dim for law in flat}) == 1:
        parts = [layout.join(each(lambda law: law.v.expand(law.shape()))),
                 layout.join(each(lambda law: law.log_density.expand(law.batch_shape)))]
        return dist.Delta(parts[0], parts[1], event_dim=flat[0].event_dim)
    if kind not in FAMILIES:
        return Lifted(laws, layout)
    names = _names(flat)
    return kind(**{name: layout.join(each(partial(_parameter, name=name))) for name in names})


def _mask(law: Any) -> Tensor:
    mask = law._mask if isinstance(law._mask, Tensor) else torch.tensor(law._mask, device=_device(law))
    return mask.expand(law.batch_shape)


def _device(law: Any) -> torch.device:
    while hasattr(law, "base_dist"):
        law = law.base_dist
    return next((v.device for v in vars(law).values() if isinstance(v, Tensor)), torch.device("cpu"))


def _names(laws: list[Any]) -> tuple[str, ...]:
    """The names of the parameters; of those that take probabilities or logits, as they were given."""
    names = FAMILIES[type(laws[0])]
    given = names == ("logits",) and all(getattr(law, "_param", None) is vars(law).get("probs", law) for law in laws)
    return ("probs",) if given else names


def _parameter(law: Any, name: str) -> Tensor:
    value: Tensor = getattr(law, name)
    dim = law.arg_constraints[name].event_dim
    return value.expand(law.batch_shape + value.shape[value.dim() - dim :])


class Lifted(dist.TorchDistribution):
    """The law of independent parts: those of each run and step, whatever they are."""

    arg_constraints: dict[str, Any] = {}

    def __init__(self, laws: Table, layout: Layout) -> None:
        self.laws, self.layout = laws, layout
        first = laws[0][0]
        shape = layout.join([[_shaped(law) for law in steps] for steps in laws]).shape
        super().__init__(shape, first.event_shape, validate_args=False)

    @property
    def support(self) -> Any:
        return self.laws[0][0].support

    @property
    def has_rsample(self) -> bool:
        return all(law.has_rsample for steps in self.laws for law in steps)

    @property
    def mean(self) -> Tensor:
        return self._join(lambda law: law.mean.expand(law.shape()))

    def log_prob(self, value: Tensor) -> Tensor:
        return self._map(value.expand(self.shape()), len(self.event_shape), lambda law, part: law.log_prob(part))

    def from_noise(self, noise: Tensor) -> Tensor:
        """The draw that standard normal noise gives, where each part can tell it."""
        return self._map(noise.expand(self.shape()), len(self.event_shape), rsample_from)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        with torch.no_grad():
            return self.rsample(sample_shape, "sample")

    def rsample(self, sample_shape: torch.Size = torch.Size(), verb: str = "rsample") -> Tensor:
        if not sample_shape:
            return self._join(lambda law: getattr(law, verb)())
        many = [self.rsample(torch.Size(), verb) for _ in range(sample_shape.numel())]
        return torch.stack(many).reshape(sample_shape + self.shape())

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> Any:
        if torch.Size(batch_shape) == self.batch_shape:
            return self
        return dist.torch_distribution.ExpandedDistribution(self, batch_shape)

    def _join(self, read: Callable[[Any], Tensor]) -> Tensor:
        return self.layout.join([[read(law) for law in steps] for steps in self.laws])

    def _map(self, value: Tensor, event: int, read: Callable[[Any, Tensor], Tensor]) -> Tensor:
        extra = len(self.laws[0][0].batch_shape) - len(self.layout.batch_shape)  # dims that to_event has taken
        rows, layout = self.layout.rows, self.layout
        return layout.join([
            [read(law, layout.piece(value, range(run * rows, (run + 1) * rows), step, event + extra))
             for step, law in enumerate(steps)]
            for run, steps in enumerate(self.laws)
        ])


def _shaped(law: Any) -> Tensor:
    return torch.zeros(law.batch_shape, device="cpu")
