"""The particle reading: guide and model take each step together, with K weighted particles a sequence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

import pyro
import torch
from torch import Tensor

from .emit import check_law
from .filtered import Unfiltered
from .handlers import Site
from .noise import draw_from
from .reordering import holds, leaves, mapped, take
from .rollout import Probe, Rollout
from .verbs import Via, reads_path, refuse_gaps, same

if TYPE_CHECKING:
    from .steps import Steps

__all__ = ["Particles", "ParticleStep", "particles", "plates", "reading"]


class Particles(Protocol):
    """What a loop in the particle reading asks of the filter that runs it."""

    num_particles: int
    drawn: dict[str, Tensor]  # values of this step, drawn by whichever program came first
    lineage: Tensor | None  # (K, B): the slot, at the start of the loop, of each particle's ancestor; None: its own
    shared: dict[Any, Any]  # what one program has computed in this step, for the other
    sequences: dict[Any, tuple[Any, tuple[Tensor, ...]]]  # the same of the whole of x

    def in_step(self, steps: Steps, names: set[str]) -> bool:
        """Wait until it is known whether the loop of these sites is the one that is taken step by step."""

    def turn(self) -> None:
        """Wait for the next step."""

    def enter(self, step: ParticleStep) -> None:
        """Here is a loop whose state is to be resampled."""

    def weigh(self, log_density: Tensor, scale: Any) -> None:
        """A factor of this step's weights."""

    def score(self, log_density: Tensor) -> None:
        """The log-density of a draw whose gradient is not that of its value."""

    def traced(self, values: list[Tensor]) -> Tensor:
        """A path ``(K, B, T, d)``, each value taken along the ancestry of the particles at the end."""


_filter: ContextVar[Particles | None] = ContextVar("particles", default=None)


def particles() -> Particles | None:
    """The filter within which a program runs, if one does."""
    return _filter.get()


@contextmanager
def reading(run: Particles) -> Iterator[None]:
    """Within it programs are read by particles."""
    token = _filter.set(run)
    try:
        yield
    finally:
        _filter.reset(token)


@contextmanager
def plates(batch: int) -> Iterator[None]:
    """The plate of sequences, and in the particle reading that of particles."""
    run = particles()
    with pyro.plate("batch", batch, dim=-1):
        if run is None:
            yield
            return
        with pyro.plate("particles", run.num_particles, dim=-2):
            yield


class ParticleStep(Rollout):
    """Step t of one of the two programs, for all particles.

    A value that was made before the loop (an encoder's features, what is drawn once a sequence) keeps its order, and is
    read along the particles' lineage; what the loop itself carries is reordered by :meth:`resample`.
    """

    def __init__(self, steps: Steps, probe: Probe, run: Particles) -> None:
        super().__init__(steps, probe)
        self.run = run
        self._gaps: dict[str, tuple[Tensor, Tensor | None]] = {}
        self.history: dict[str, list[Tensor]] = {}
        run.enter(self)

    # ------------------------------------------------------------------------------------------ verbs
    def hold(self, value: Tensor) -> Tensor:
        return self.follow(value)

    def at(self, sequence: Tensor, via: Via = same) -> Tensor:
        return self.follow(super().at(sequence, via))

    def prev(self, name: str, init: Tensor, via: Via = same) -> Tensor:
        known, place = self.known_until(name), self.place()
        if self.t == 0:  # of a site that is known the start is the same for all particles, so it stays small
            shape = self.steps.batch_shape[-1:] if known and init.dim() == 1 else self.steps.batch_shape
            return self.once(("prev", name, id(init), id(via)), (init, via),
                             lambda: via(init.expand(*shape, init.shape[-1])))
        if self.t - 1 < known:
            if place not in self._unbound:  # by place: a body may make its ``via`` anew at each step
                self._unbound[place] = self.sequence(name, via)
            return self._unbound[place][self.t - 1]
        before = self.drawn[name][-1]
        return self.once(("prev", name, id(via), id(before)), (via, before),
                         lambda: via(self.steps.reader(name)(before)))

    def sequence(self, name: str, via: Via) -> tuple[Tensor, ...]:
        """A known sequence as networks see it, one tensor a step: the same in both programs."""
        key = name, id(via)
        if key not in self.run.sequences:
            seen = via(self.steps.seen(name, self.sites.get(name)))
            self.run.sequences[key] = via, seen.unbind(-2)
        return self.run.sequences[key][1]

    def carry(self, name: str, causal: Any, *inputs: Tensor, init: Tensor | None = None) -> Tensor:
        self.refuse_bound(causal, name)
        old = self.state.get(name)
        used = (causal, init, *inputs, *leaves(old))

        def step() -> tuple[Tensor, Any]:
            y = super(Rollout, self).carry(name, causal, *inputs, init=init)
            return y, self.state[name]

        y, self.state[name] = self.once(("carry", *map(id, used)), used, step)
        self.outputs.setdefault(name, []).append(y)
        return y

    def sample(self, name: str, conditional: Any, *inputs: Tensor) -> Tensor:
        site = self.sites[name]
        if site.value is not None and name not in self.steps.data:
            raise RuntimeError(f"a handler fixes site {name!r}, which the particle reading draws: take it off, or use "
                               "another bound.")
        law = self.law(name, conditional, inputs, self.drawn[name][-1] if self.t else None)
        check_law(law, name)
        present = None
        if self.t < self.known_until(name):
            if name not in self._gaps:
                self._gaps[name] = self.steps.gaps(site.value)  # type: ignore[arg-type]
            values, gaps = self._gaps[name]
            value, present = values[..., self.t, :], None if gaps is None else gaps[..., self.t, :]
            refuse_gaps(name, conditional, present)
            self.weigh(law, value, present, site, 1)
        elif name in self.run.drawn:
            value = self.run.drawn[name]
            self.weigh(law, value, None, site, 1)
        else:
            value = draw_from(law, name, self.t, self.steps.batch_shape)
            self.run.drawn[name] = value
            if self.steps.inferring:
                self.weigh(law, value, None, site, -1)
            if not law.has_rsample and torch.is_grad_enabled():
                self.run.score(self.masked(law, None).log_prob(value))
        self.drawn.setdefault(name, []).append(value)
        self.history.setdefault(name, []).append(value)
        return value

    # ------------------------------------------------------------------------------------------ densities
    def masked(self, law: Any, present: Tensor | None) -> Any:
        mask = None if self.steps.mask is None else self.steps.mask[..., self.t]
        return self.steps.law(law, present, mask)

    def weigh(self, law: Any, value: Tensor, present: Tensor | None, site: Site, sign: int) -> None:
        self.run.weigh(sign * self.masked(law, present).log_prob(value), site.scale)

    # ------------------------------------------------------------------------------------------ particles
    def once(self, key: Any, alive: Any, make: Any) -> Any:
        """What both programs compute from the same tensors is computed once. (``alive`` keeps their ids unique.)"""
        if key not in self.run.shared:
            self.run.shared[key] = alive, make()
        return self.run.shared[key][1]

    def follow(self, value: Tensor) -> Tensor:
        """A value from before the loop, for the particles as they stand now."""
        if value.dim() < 3 or self.run.lineage is None:
            return value
        return take(value.expand(*self.steps.batch_shape, -1), self.run.lineage)

    def refuse_bound(self, causal: Any, name: str) -> None:
        """A recurrence that holds values of the particles in itself can't be reordered."""
        if self.t == 0 and any(holds(part, self.steps.batch_shape) for part in (causal, *vars(causal).values())):
            raise Unfiltered(f"carry({name!r}): {type(causal).__name__} holds values that differ between particles, "
                             "made before the loop, so it can't follow them when they are resampled. Hand them to the "
                             "loop with t.at or t.hold; or use another bound, such as RenyiELBO.")

    def resample(self, ancestors: Tensor, known: dict[int, Tensor]) -> None:
        """Reorder what the next step reads. ``known``: what the other program's step has reordered already."""
        def moved(value: Tensor) -> Tensor:
            if value.dim() < 3 or value.shape[:2] != ancestors.shape:
                return value
            if id(value) not in known:
                known[id(value)] = take(value, ancestors)
            return known[id(value)]

        for drawn in self.drawn.values():
            drawn[-1] = moved(drawn[-1])
        self.state = {name: mapped(moved, state) for name, state in self.state.items()}
        self._states = {name: mapped(moved, state) for name, state in self._states.items()}

    def collect(self) -> None:
        """Leave the paths of the particles that are alive at the end where the body may ask for them."""
        for name, values in self.history.items():
            self.values[name] = self.steps.values[name] = self.run.traced(values)
            site = self.sites[name]
            if site.observed and site.value is not None:
                self.steps.raw[name] = site.value
        self.steps.carried.update({name: self.run.traced(states) for name, states in self.outputs.items()})

    def law(self, name: str, conditional: Any, inputs: tuple[Tensor, ...], before: Tensor | None) -> Any:
        if reads_path(conditional) and before is not None and before.dim() < 3:
            before = before.expand(*self.steps.batch_shape, -1)
        return super().law(name, conditional, inputs, before)
