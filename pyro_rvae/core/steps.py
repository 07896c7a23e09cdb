"""Time, as the loop variable of a body: ``for t in steps``.

Five verbs: ``t.sample``, ``t.prev``, ``t.carry``, ``t.at``, ``t.hold``. In the explicit reading each is about one
step; in the vectorised reading each is about all steps at once, after a tight loop has drawn what can't be drawn
in parallel. A body never knows which.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyro
import torch
from torch import Tensor

from ..distributions import observe_elements
from ..nn.unfolding import refuse_frames, unfolding
from .checks import sites_to_sum
from .handlers import Site, auxiliary_weight, is_explicit, labels_are_read, peek, trust
from .particles import Particles, ParticleStep, particles
from .rollout import Probe, Rollout
from .stepwise import ExplicitStep
from .support import check_support
from .vectorised import AllSteps
from .verbs import Via, same, unsampled

__all__ = ["Steps"]


class Steps:
    """All that a body knows of a batch, and the loop over its time.

    Attributes:
        length: number of steps T of this clock.
        mask: ``(B, T)``, True where a sequence has a frame; ``None`` if all have T.
        controls: ``(B, T, control_dim)`` or ``None``; read with ``t.at(steps.controls)``.
        labels: ``(B, ...)`` or ``None``; known once a sequence.
        shared: what :meth:`SequenceVAE.shared` drew, by name.
        context: what the model's ``context`` makes of controls and labels: a tuple of one sequence ``(B, T, c)``, or
            an empty one, so that a body of either kind reads ``*map(t.at, steps.context)``.
        summed_out: names of discrete sites that a handler sums out (TraceEnum_ELBO, in the explicit form): a guide
            does not draw them.
    """

    def __init__(self, length: int, data: dict[str, Tensor | None] | None = None, mask: Tensor | None = None, *,
                 controls: Tensor | None = None, labels: Tensor | None = None,
                 shared: dict[str, Tensor] | None = None, read: dict[str, Via] | None = None,
                 like: Tensor | None = None, context: tuple[Tensor, ...] = (), summed_out: tuple[str, ...] = (),
                 exact: tuple[str, ...] = (),
                 training: bool = False, stride: int = 1, frames: Steps | None = None) -> None:
        self.length, self.mask, self._controls, self._labels = length, mask, controls, labels
        self.controls_unread = controls is not None and not context
        self.exact = exact
        self.shared, self.context, self.training = shared or {}, context, training
        self.summed_out = sites_to_sum(summed_out)
        self.data = {name: value for name, value in (data or {}).items() if value is not None}
        self.read = read or {}
        self.like = torch.empty(0) if like is None else like  # dtype and device of what is drawn
        self.values: dict[str, Tensor] = {}  # whole sequences known so far in this call, by site
        self.stream = unfolding()  # what reads this program one frame at a time, if that is how it is read
        self.batch_shape = peek("_steps").batch_shape if self.stream is None else self.stream.batch_shape
        self.stride, self._frames = stride, frames
        self.raw: dict[str, Tensor] = {}  # the same with the gaps of data, where they differ
        self.carried: dict[str, Tensor | list[Tensor]] = {}  # states of the recurrences of finished loops
        self._seen: dict[str, Tensor] = {}
        self._clocks: dict[int, Steps] = {}
        self._open = False

    # -------------------------------------------------------------------------------------------- for the body
    def __iter__(self) -> Iterator[Any]:
        self._open = True  # stays so if a body leaves its loop early, which `finish` reports
        run = particles()
        if self.stream is not None:
            yield self.stream.step(self)
        elif run is not None:
            yield from self._by_particles(run)
        else:
            yield from self._explicit() if is_explicit() else self._vectorised()
        self._open = False

    @property
    def inferring(self) -> bool:
        """Whether these are the steps of a guide: x is known in it, and is no data of a site."""
        return "x" in self.values and "x" not in self.data

    @property
    def controls(self) -> Tensor | None:
        """``(B, T, control_dim)`` or ``None``."""
        self.controls_unread = False
        return self._controls

    @property
    def labels(self) -> Tensor | None:
        """``(B, ...)`` or ``None``."""
        labels_are_read()
        return self._labels

    def path(self, name: str) -> Tensor:
        """The whole path ``(..., B, T, d)`` of a site sampled, or a state carried, in an earlier loop of this body.

        On a slower clock, each value is held for its k frames, so a path always has one value a frame.
        """
        refuse_frames(f"steps.path({name!r}) is a whole path")
        if name in self.summed_out:
            raise ValueError(f"path({name!r}): {name!r} is summed out, so it has no path; read it with t.prev, within "
                             "the loop that samples it.")
        clock = self._holder(name)
        if clock is None:
            raise ValueError(f"path({name!r}): no earlier loop of this body has sampled {name!r}, or carried it "
                             f"(there are: {sorted({*self.values, *self.carried}) or 'none'}).")
        return clock.spread(clock.values[name] if name in clock.values else clock._state(name))

    def _state(self, name: str) -> Tensor:
        """The path of a carried state: as one call has given it, or of its steps, which are stacked when asked for."""
        states = self.carried[name]
        if isinstance(states, list):
            states = self.carried[name] = torch.stack(torch.broadcast_tensors(*states), -2)
        return states

    def _holder(self, name: str) -> Steps | None:
        """The clock on which a site was sampled, or a state carried: this one, or a slower one."""
        if name in self.values or name in self.carried:
            return self
        return next((found for clock in self._clocks.values() if (found := clock._holder(name)) is not None), None)

    def spread(self, sequence: Tensor) -> Tensor:
        """A sequence with one value a step of this clock, as one with a value a frame: each is held for k frames."""
        if self._frames is None:
            return sequence
        return sequence.repeat_interleave(self.stride, -2)[..., : self._frames.length, :]

    def observed(self) -> Tensor:
        """Which frames of x hold anything, ``(B, T, 1)``: 0 where every element is missing, else 1.

        A frame that is still to be drawn counts as 1.
        """
        raw = self.raw.get("x", self.data.get("x", self.values.get("x")))
        if raw is None:
            return torch.ones(*self.batch_shape, self.length, 1, dtype=self.like.dtype, device=self.like.device)
        present = ~raw.isnan() if raw.is_floating_point() else raw >= 0
        there = present.any(-1, keepdim=True).to(self.like)
        return torch.nn.functional.pad(there, (0, 0, 0, self.length - there.shape[-2]), value=1.0)

    def start(self) -> Tensor:
        """Which step is the first, ``(T, 1)``: 1 there, and 0 after it."""
        first = self.like.new_zeros(self.length, 1)
        if self.stream is None or self.stream.fresh:
            first[0] = 1.0
        return first

    def auxiliary(self, name: str, log_factor: Tensor) -> None:
        """An auxiliary reward ``log_factor (B, T)``, in nats, added to the objective of a model in training mode.

        It is no part of a bound: a model in evaluation mode (so ``evaluate``, and validation in ``fit``) has none.
        Called in ``inference``, after the loop; what stands in the padding does not count. Particles that are drawn
        at once may stand in front, and the objective takes their mean; a Renyi bound takes it for a log weight.
        """
        if self._open:
            raise RuntimeError(f"auxiliary({name!r}) is called within `for t in steps`, where a body runs several "
                               "times; call it once, after the loop: steps.path gives what was drawn.")
        if log_factor.shape[-2:] != torch.Size([*self.batch_shape[-1:], self.length]):
            raise ValueError(f"auxiliary({name!r}): expected one number a step, (B, T) = "
                             f"{(*self.batch_shape[-1:], self.length)}, got {tuple(log_factor.shape)}.")
        if not self.training:
            return
        if self.mask is not None:
            log_factor = torch.where(self.mask, log_factor, 0.0)
        self.reward(name, log_factor.sum(-1))

    def reward(self, name: str, log_factor: Tensor) -> None:
        """The same for a reward ``(B,)``, one number a sequence; also in ``generative``."""
        if not self.training:
            return
        reward = auxiliary_weight() * log_factor
        with reward.device:  # else Pyro moves it to the default device
            # a guide's density counts with a minus
            pyro.factor(name, -reward if self.inferring else reward, has_rsample=True)

    def observe(self, name: str, conditional: Any, *inputs: Tensor) -> Tensor:
        """The data of a static model: site ``name``, once a sequence, observed if given and drawn if not."""
        fn = conditional(*inputs)
        value = self.data.get(name)
        present = None
        if value is not None:
            value, present = self.gaps(value)
            self.check_support(fn, name, value, present)
        new = pyro.sample(name, self.law(fn, present, None), obs=value)
        self.values[name] = new
        return new  # type: ignore[no-any-return]

    def every(self, k: int) -> Steps:
        """A slower clock: its step j stands at frame ``j k`` and covers frames ``j k .. j k + k - 1``.

        The last block may be shorter. ``t.at(sequence)`` reads the sequence's value at frame ``j k``; a site
        drawn on the clock is read back, one value a frame, with ``steps.every(k).path(name)``.
        """
        refuse_frames("steps.every(k), a slower clock, holds a latent for frames that are still to come")
        if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= self.length:
            raise ValueError(f"every(k): k must be an integer from 1 to the number of steps, {self.length}; got {k}. "
                             "Where a batch may be shorter than k, every(min(k, steps.length)) has one step.")
        if k not in self._clocks:
            mask = None if self.mask is None else self.mask[..., ::k]
            known: dict[str, Tensor | None] = {n: v for n, v in self.data.items() if n != "x"}  # from `given`
            self._clocks[k] = Steps(-(-self.length // k), known, mask, controls=self._controls, labels=self._labels,
                                    shared=self.shared, like=self.like, context=self.context,
                                    training=self.training, stride=k * self.stride, exact=self.exact,
                                    summed_out=self.summed_out,
                                    frames=self._frames or self)
        return self._clocks[k]

    def _all(self) -> list[Steps]:
        """This clock and those that are slower."""
        return [self, *(slow for clock in self._clocks.values() for slow in clock._all())]

    def finish(self) -> None:
        """Called by the base class after the body."""
        clocks = self._all()
        for clock in clocks:
            if clock._open:
                raise RuntimeError("the body left `for t in steps` before its end (break or return inside the loop): "
                                   "a loop over time always runs through; a mask ends sequences early.")
        self.controls_unread = all(clock.controls_unread for clock in clocks)
        drawn = set[str]().union(*(clock.values for clock in clocks))
        for name in self.data.keys() - drawn - set(self.summed_out):
            raise ValueError(f"values are given for {name!r}, and no loop of the model samples a site of that name "
                             f"(sampled: {sorted(drawn) or 'nothing'}). What is drawn once a sequence takes its value "
                             f"from poutine.condition.")

    # -------------------------------------------------------------------------------------------- the readings
    def _explicit(self) -> Iterator[ExplicitStep]:
        step = ExplicitStep(self)
        for step.t in pyro.markov(range(self.length)):
            yield step
        self.carried.update(step.carried)
        for name, drawn in step.drawn.items():
            if name in self.summed_out:
                continue
            self.values[name] = torch.stack(torch.broadcast_tensors(*drawn), -2)
            self.raw[name] = torch.stack(torch.broadcast_tensors(*step.raw[name]), -2)

    def _by_particles(self, run: Particles) -> Iterator[Any]:
        with torch.no_grad():
            probe = Probe(self)
            yield probe
        if not run.in_step(self, set(probe.sites)):
            yield from self._vectorised()  # asked anew: the guide has gone on since, and fixed the sites of this loop
            return
        step = ParticleStep(self, probe, run)
        for step.t in range(self.length):
            run.turn()
            yield step
        run.turn()
        step.collect()

    def _vectorised(self) -> Iterator[Any]:
        with torch.no_grad():
            probe = Probe(self)
            yield probe
        yield from self._at_once(probe)

    def _at_once(self, probe: Probe) -> Iterator[Any]:
        if not probe.sites:
            return
        rollout = None
        if probe.sequential:
            rollout = Rollout(self, probe)
            for rollout.t in range(self.length):
                yield rollout
            rollout.collect()
            self.carried.update(rollout.outputs)
            if rollout.emit():
                return
        yield AllSteps(self, probe, rollout)

    # -------------------------------------------------------------------------------------------- for the steps
    def frame(self, sequence: Tensor) -> Tensor:
        """A sequence as this clock sees it: one value a step."""
        return sequence if self.stride == 1 else sequence[..., :: self.stride, :]

    def known(self, name: str) -> Tensor | None:
        """A path of an earlier loop, or a sequence that a guide was given; with its gaps."""
        return self.raw.get(name, self.values.get(name))

    def reader(self, name: str) -> Via:
        return self.read.get(name, same)

    def seen(self, name: str, site: Site | None) -> Tensor:
        """A known sequence as networks see it. The reader fills its gaps, so it is given the raw data."""
        if name not in self._seen:
            raw = site.value if site is not None and site.value is not None else self.known(name)
            if raw is None:
                raise unsampled(name)
            self._seen[name] = self.reader(name)(raw)
        return self._seen[name]

    def law(self, fn: Any, present: Tensor | None, mask: Tensor | None) -> Any:
        """A site's distribution with its missing elements skipped and its padding masked."""
        if present is not None:
            fn = observe_elements(fn, present)
        return fn if mask is None else fn.mask(mask)

    def gaps(self, value: Tensor) -> tuple[Tensor, Tensor | None]:
        """Observed data with missing elements filled, and where they are present (None: everywhere)."""
        allowed = trust()
        if allowed is False:
            return value, None
        present = ~value.isnan() if value.is_floating_point() else value >= 0
        if allowed is None and value.device.type == "cpu" and bool(present.all()):
            return value, None
        return torch.where(present, value, torch.zeros_like(value)), present

    def check_support(self, fn: Any, name: str, value: Tensor, present: Tensor | None,
                      step: int | None = None, mask: Tensor | None = None) -> None:
        """Refuse observed values outside the support of their law, in no gap and under no padding."""
        check_support(fn, name, value, present, step, mask)
