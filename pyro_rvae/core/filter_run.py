"""One run of a particle filter: two coroutines that take turns, weights, and who is resampled."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pyro.poutine as poutine
import torch
from pyro.distributions.util import scale_and_mask
from pyro.poutine import Trace
from torch import Tensor

from .coroutine import Coroutine, wait
from .filtered import Filtered, Unfiltered
from .particles import ParticleStep
from .reordering import take
from .resampling import Resampling, effective_size, evened, offspring, reweighed, uniforms
from .traces import check_latents, in_batch, sites

__all__ = ["FilterRun"]


class FilterRun:
    """The filter of one batch: what :class:`~pyro_rvae.core.particles.Particles` asks for, and who calls whom."""

    def __init__(self, num_particles: int, mask: Tensor | None, resampling: Resampling, threshold: float,
                 resampling_gradient: bool) -> None:
        self.num_particles, self.mask = num_particles, mask
        self.resampling, self.threshold, self.resampling_gradient = resampling, threshold, resampling_gradient
        self.drawn: dict[str, Tensor] = {}
        self.shared: dict[Any, Any] = {}
        self.sequences: dict[Any, tuple[Any, tuple[Tensor, ...]]] = {}
        self.lineage: Tensor | None = None
        self.steps: list[ParticleStep] = []
        self.names: set[str] = set()  # latents of the loop
        self.ancestors: list[Tensor | None] = []
        self.record = Record()
        self._pending: list[Tensor] = []
        self._shared_score: list[Tensor] = []
        self.auxiliary: Any = 0.0
        self._score: list[Tensor] = []

    # ------------------------------------------------------------------------------------------ asked by the loops
    def in_step(self, steps: Any, names: set[str]) -> bool:
        self.length, self.like = steps.length, steps.like
        return bool(wait(names))

    def turn(self) -> None:
        wait()

    def enter(self, step: ParticleStep) -> None:
        self.steps.append(step)

    def weigh(self, log_density: Tensor, scale: Any) -> None:
        self._pending.append(log_density if isinstance(scale, float) and scale == 1.0 else scale * log_density)

    def score(self, log_density: Tensor) -> None:
        self._score.append(log_density.sum(0) if log_density.dim() > 1 else log_density)

    def traced(self, values: list[Tensor]) -> Tensor:
        stacked, place = [], None
        for value, ancestors in zip(reversed(values), reversed([*self.ancestors[:len(values) - 1], None]), strict=True):
            if ancestors is not None:
                place = ancestors if place is None else take(ancestors, place)
            stacked.append(value if value.dim() < 3 or place is None else take(value, place))
        return torch.stack(torch.broadcast_tensors(*stacked[::-1]), -2)

    # ------------------------------------------------------------------------------------------ the run
    def __call__(self, model: Any, batch: tuple[Any, ...], known: dict[str, Any], bootstrap: bool) -> Filtered:
        self.name = type(model).__name__
        drawn, stated = poutine.trace(), poutine.trace()
        guide = None if bootstrap else Coroutine(_within(drawn, lambda: model.guide(*batch, **known)))
        if bootstrap:  # only what is drawn once a data set comes from its guide
            _within(drawn, lambda: model._shared(getattr(model, "shared_posterior", None), len(batch[0])))()
        # the trace is that of the guide once the guide has begun
        program = Coroutine(_within(stated, lambda: poutine.replay(model.model, trace=drawn.trace)(*batch, **known)))
        both = [coroutine for coroutine in (guide, program) if coroutine is not None]
        try:
            self._meet(guide, program, drawn)
            shared = self._count(drawn.trace, stated.trace)
            for t in range(self.length):
                for coroutine in both:
                    coroutine.resume()
                self._advance(t)
            for coroutine in both:
                if coroutine.resume() is not None:
                    raise Unfiltered(f"{self.name} loops over time again after the loop that samples x: particles that "
                                     "were resampled can't be drawn on. Use RenyiELBO, or one loop.")
        finally:
            for coroutine in both:
                coroutine.close()
        if guide is not None:
            self._check(drawn.trace, stated.trace)
        self._count(drawn.trace, stated.trace)
        return self._result(shared)

    def _meet(self, guide: Coroutine | None, program: Coroutine, drawn: Any) -> None:
        """Run both up to the loop that they take together; loops before it are read at once."""
        asked = None if guide is None else guide.resume()
        wanted = program.resume()
        while wanted is not None and "x" not in wanted:
            while guide is not None and asked is not None and asked & wanted:
                asked = guide.resume(False)
            wanted = program.resume(False)
        self.names = (wanted or set()) - {"x"}
        if not self.names:
            raise Unfiltered(f"{self.name} draws no latent in the loop that samples x, so there is nothing to resample "
                             "between its steps: use RenyiELBO(alpha=0, num_particles=K), the importance-weighted "
                             "bound.")
        if guide is not None:
            while asked is not None and not asked & self.names:
                asked = guide.resume(False)
            if asked != self.names:
                raise Unfiltered(f"the particle reading needs a guide that draws {sorted(self.names)}, the latents of "
                                 f"the loop that samples x, in one loop; that of {self.name} draws "
                                 f"{sorted(asked or ()) or 'none of them'} there.")
            guide.resume(True)
        program.resume(True)

    def _advance(self, t: int) -> None:
        """Weigh the particles of step t, and resample where that is due."""
        log_weights, size = self._weigh()
        self.drawn.clear()
        self.shared.clear()
        self.record.effective_sizes.append(size)
        self.record.step_weights.append(log_weights)
        if t + 1 == self.length:
            return
        due = size < self.threshold * self.num_particles
        if self.mask is not None:
            due = due & self.mask[..., t + 1]
        self.record.resampled.append(due)
        if self.num_particles == 1 or (due.device.type == "cpu" and not bool(due.any())):
            self.ancestors.append(None)
            self.record.chosen.append(torch.zeros_like(size))
            return
        self._resample(log_weights, due, t)

    def _weigh(self) -> tuple[Tensor, Tensor]:
        """Take in the factors of a step: normalised weights ``(K, B)``, and their effective size."""
        shape = (self.num_particles, self.batch)
        record = self.record
        before = record.log_weights
        if before is None:
            before = torch.full(shape, -math.log(self.num_particles), dtype=self.like.dtype, device=self.like.device)
        total = before + sum(self._pending) if self._pending else before
        record.log_weights, increment = reweighed(before, total.expand(shape))
        record.increments.append(increment)
        record.scores.append(sum(self._score, torch.zeros_like(increment)))
        self._pending, self._score = [], []
        return record.log_weights, effective_size(record.log_weights.detach())

    def _resample(self, log_weights: Tensor, due: Tensor, t: int) -> None:
        uniform = uniforms(t, (self.num_particles, self.batch), self.like)
        ancestors = offspring(self.resampling, log_weights, uniform, due)
        self.ancestors.append(ancestors)
        self.lineage = ancestors if self.lineage is None else take(self.lineage, ancestors)
        likely = log_weights.gather(0, ancestors).sum(0)
        self.record.chosen.append(torch.where(due, likely, 0.0))
        self.record.log_weights = evened(log_weights, due)
        known: dict[int, Tensor] = {}
        for step in self.steps:
            step.resample(ancestors, known)

    # ------------------------------------------------------------------------------------------ around the loop
    @property
    def batch(self) -> int:
        return int(self.steps[0].steps.batch_shape[-1])

    def _count(self, drawn: Trace, stated: Trace) -> Tensor:
        """Add the sites that stand outside of the loop to the weights; what is drawn once a data set is returned."""
        shared = torch.zeros((), dtype=self.like.dtype, device=self.like.device)
        for trace, sign in ((stated, 1.0), (drawn, -1.0)):
            for name, site in sites(trace).items():
                if (sign, name) in self.record.counted:
                    continue
                self.record.counted.add((sign, name))
                # not by compute_log_prob, which reads each density back to the host to look for NaN
                density = scale_and_mask(site["fn"].log_prob(site["value"]), site["scale"], site["mask"])
                scored = not site["is_observed"] and not site["fn"].has_rsample
                if sign > 0 and not site["is_observed"] and name not in drawn.nodes:  # drawn from this very law
                    if scored:
                        self.score(site["fn"].log_prob(site["value"]))
                elif sign < 0 and site["is_observed"]:
                    rewards = -density
                    self.auxiliary = self.auxiliary + (rewards.mean(0) if rewards.dim() > 1 else rewards).sum()
                elif in_batch(site):
                    self._pending.append(sign * density)
                    if scored and sign < 0:
                        self.score(site["fn"].log_prob(site["value"]))
                else:
                    shared = shared + sign * density.sum()
                    if scored and sign < 0:
                        self._shared_score.append(site["fn"].log_prob(site["value"]).sum())
        return shared

    def _check(self, drawn: Trace, stated: Trace) -> None:
        latents, guides = sites(stated, observed=False), sites(drawn, observed=False)
        check_latents(self.name, guides, latents)
        late = [name for name, site in latents.items() if site["value"] is not guides[name]["value"]]
        if late:
            raise Unfiltered(f"{self.name}: the model needs {late} before its guide has drawn it; in the particle "
                             "reading both go forward together, so the guide draws them before its loop over time.")

    def _result(self, shared: Tensor) -> Filtered:
        self._weigh()  # what stands after the loop
        record, step = self.record, self.steps[-1]
        increments = torch.stack(record.increments)
        later = increments.detach().flip(0).cumsum(0).flip(0)  # of this step and all later ones
        score = (torch.stack(record.scores) * later).sum(0)
        if self.resampling_gradient and record.chosen:
            score = score + (torch.stack(record.chosen) * later[1:-1]).sum(0)
        if self._shared_score:  # such a draw is answerable for all sequences
            reward = increments.detach().sum() + shared.detach()
            score = score + sum(self._shared_score, torch.zeros_like(reward)) * reward / self.batch
        shape = (self.num_particles, self.batch)
        histories = {name: [v.expand(*shape, -1) for v in step.history[name]] for name in sorted(self.names)}
        assert record.log_weights is not None
        return Filtered(
            increments, record.log_weights, torch.stack(record.effective_sizes),
            torch.stack(record.resampled) if record.resampled else increments.new_zeros(0, self.batch).bool(), score,
            {name: self.traced(values) for name, values in histories.items()},
            {name: torch.stack(values, -2) for name, values in histories.items()},
            torch.stack(record.step_weights), shared, increments.new_zeros(()) + self.auxiliary,
        )


@dataclass
class Record:
    """What the filter has found so far."""

    log_weights: Tensor | None = None
    increments: list[Tensor] = field(default_factory=list)
    scores: list[Tensor] = field(default_factory=list)
    chosen: list[Tensor] = field(default_factory=list)
    effective_sizes: list[Tensor] = field(default_factory=list)
    resampled: list[Tensor] = field(default_factory=list)
    step_weights: list[Tensor] = field(default_factory=list)
    counted: set[Any] = field(default_factory=set)


def _within(handler: Any, program: Callable[[], Any]) -> Callable[[], None]:
    def run() -> None:
        with handler:
            program()
    return run
