"""The streaming reading: each new frame runs both programs once more, from a state that is kept between calls.

A body keeps no Python variable from one step to the next, so it can be entered again: its loop over time yields the one
step whose frame has come, and all that it reads of the past stands in a tree of tensors.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ..nn.unfolding import Unstreamable, frame_by_frame
from .emit import check_law
from .noise import draw_from, noise_source, rsample_from
from .reordering import leaves
from .steps import Steps
from .verbs import OneStep, Via, reads_path, refuse_gaps, same, unsampled

__all__ = ["Moment", "Unstreamable"]


class Moment:
    """One frame of B series with K particles: what both programs share while they read it.

    Arguments:
        shape: ``(K, B)``.
        old: what :attr:`new` was at the frame before; ``None``: the series begin.
        t: the number of the frame, for noise that is given (``rv.given_noise``).
        forced: values of latents that are not to be drawn.

    Attributes:
        new: what the next frame needs to know: ``before`` (values by site), ``once`` (draws once a sequence), and of
            each program its recurrences (``carried``), laws over paths (``laws``) and, in the order of their calls,
            the parts that read whole sequences before the loop (``sequences``).
        drawn: values of the latents of this frame.
        factors: of the particles' weights, in logarithms.
        law: of x.
    """

    def __init__(self, shape: tuple[int, int], old: Any = None, *, t: int | None = None,
                 forced: dict[str, Tensor] | None = None) -> None:
        self.shape, self.old, self.t, self.forced = torch.Size(shape), old, t, forced or {}
        self.new: dict[str, Any] = {"before": {}, "once": {}}
        self.drawn: dict[str, Tensor] = {}
        self.factors: list[Tensor] = []
        self.law: Any = None
        self._shared: dict[Any, Any] = {}

    def read(self, model: Any, x: Tensor, *, bootstrap: bool = False, **known: Any) -> None:
        """The frame ``x (B, 1, x_dim)``: the guide draws, unless ``bootstrap``, and the model weighs."""
        if not bootstrap:
            with self._program(model, "guide"):
                steps = _steps(model, {}, **known)
                steps.values["x"] = x
                model.inference(steps, steps.seen("x", None))
        self._state(model, x, **known)

    def imagine(self, model: Any, **known: Any) -> Tensor:
        """A frame ``(K, B, x_dim)`` that the model draws, with its latents."""
        self._state(model, None, **known)
        return self.drawn["x"].expand(*self.shape, -1)

    def _state(self, model: Any, x: Tensor | None, **known: Any) -> None:
        with self._program(model, "model"):
            steps = _steps(model, {"x": x}, **known)
            model.generative(steps)
        if steps.controls_unread:
            raise ValueError(f"controls were given, and {type(model).__name__} reads none: leave them out.")

    @contextmanager
    def _program(self, model: Any, program: str) -> Iterator[None]:
        frame = Frame(self, program, type(model).__name__)
        with frame_by_frame(frame), _Once(frame):
            yield

    def once(self, key: Any, alive: Any, make: Any) -> Any:
        """What both programs compute from the same tensors is computed once. (``alive`` keeps their ids unique.)"""
        if key not in self._shared:
            self._shared[key] = alive, make()
        return self._shared[key][1]


def _steps(model: Any, data: dict[str, Tensor | None], controls: Tensor | None = None, labels: Tensor | None = None,
           shared: dict[str, Tensor] | None = None) -> Any:
    return model._steps(1, data, None, controls, labels, shared or {})


class Frame:
    """One program's part of a moment: what its loop, and the parts outside of the loop, ask for (``Unfolding``)."""

    def __init__(self, moment: Moment, program: str, owner: str) -> None:
        self.moment, self.program, self.owner = moment, program, owner
        self.batch_shape, self.fresh = moment.shape, moment.old is None
        self.old: dict[str, Any] = {} if self.fresh else moment.old[program]
        self.new: dict[str, Any] = {"carried": {}, "laws": {}, "sequences": {}}
        moment.new[program] = self.new
        self._looped = False

    def step(self, steps: Steps) -> StreamStep:
        if self._looped:
            raise self.refusal("a second loop over time reads what the first has left of all steps")
        self._looped = True
        return StreamStep(steps, self)

    def fold(self, part: Any, u: Tensor, init: Tensor | None = None) -> Tensor:
        place = str(len(self.new["sequences"]))
        state = part.begin(init) if self.fresh else self.old["sequences"][place]
        y, self.new["sequences"][place] = part.step(u.squeeze(-2), state)
        return y.unsqueeze(-2)  # type: ignore[no-any-return]

    def delayed(self, sequence: Tensor, init: Tensor) -> Tensor:
        place = str(len(self.new["sequences"]))
        now = self.new["sequences"][place] = sequence.squeeze(-2)
        before = init.expand_as(now) if self.fresh else self.old["sequences"][place]
        return before.unsqueeze(-2)  # type: ignore[no-any-return]

    def refusal(self, what: str) -> Unstreamable:
        return Unstreamable(f"the {self.program} of {self.owner} can't be streamed: {what}, and a stream knows no "
                            "frame but the one that has come.")


class StreamStep(OneStep):
    """The one step of a frame."""

    def __init__(self, steps: Steps, frame: Frame) -> None:
        super().__init__(steps)
        self.frame, self.moment = frame, frame.moment
        self.t = 0 if frame.fresh else 1  # only whether it is the first matters
        self.state, self._states = frame.new["carried"], frame.new["laws"]
        self.state.update(frame.old.get("carried", {}))
        self._states.update(frame.old.get("laws", {}))

    def at(self, sequence: Tensor, via: Via = same) -> Tensor:
        return via(sequence[..., 0, :])

    def prev(self, name: str, init: Tensor, via: Via = same) -> Tensor:
        once, known = self.moment.once, name in self.steps.values or name in self.steps.data
        if self.frame.fresh:  # of a site that is known the start is the same for all particles, so it stays small
            shape = self.steps.batch_shape[-1:] if known and init.dim() == 1 else self.steps.batch_shape
            return once(("prev", name, id(init), id(via)), (init, via),  # type: ignore[no-any-return]
                        lambda: via(init.expand(*shape, init.shape[-1])))
        before = self.before(name)
        if before is None:
            raise unsampled(name)
        return once(("prev", name, id(via), id(before)), (via, before),  # type: ignore[no-any-return]
                    lambda: via(self.steps.reader(name)(before)))

    def before(self, name: str) -> Tensor | None:
        return None if self.frame.fresh else self.moment.old["before"].get(name)

    def carry(self, name: str, causal: Any, *inputs: Tensor, init: Tensor | None = None) -> Tensor:
        old = self.state.get(name)
        used = (causal, init if self.frame.fresh else None, *inputs, *leaves(old))

        def step() -> tuple[Tensor, Any]:
            y = super(StreamStep, self).carry(name, causal, *inputs, init=init)
            return y, self.state[name]

        y, self.state[name] = self.moment.once(("carry", *map(id, used)), used, step)
        return y

    def sample(self, name: str, conditional: Any, *inputs: Tensor) -> Tensor:
        before = self.before(name)
        if reads_path(conditional) and before is not None and before.dim() < 3:
            before = before.expand(*self.steps.batch_shape, -1)
        law = self.law(name, conditional, inputs, before)
        check_law(law, name)
        moment = self.moment
        if name == "x":
            moment.law = law
        if name in self.steps.data:
            return self._observed(name, conditional, law)
        if name not in moment.drawn:
            value = moment.forced[name] if name in moment.forced else draw_from(law, name, moment.t, moment.shape)
            moment.drawn[name] = moment.new["before"][name] = value
            if self.steps.inferring:
                moment.factors.append(-law.log_prob(value))
        else:
            moment.factors.append(law.log_prob(moment.drawn[name]))
        return moment.drawn[name]

    def _observed(self, name: str, conditional: Any, law: Any) -> Tensor:
        raw = self.steps.data[name].squeeze(-2)
        value, present = self.steps.gaps(raw)
        refuse_gaps(name, conditional, present)
        self.steps.check_support(law, name, value, present)
        self.moment.factors.append(self.steps.law(law, present, None).log_prob(value))
        self.moment.new["before"][name] = raw
        return value


class _Once(Messenger):
    """What the model draws once a sequence is drawn at its first frame, and kept; a guide would draw it of all x."""

    def __init__(self, frame: Frame) -> None:
        super().__init__()
        self.frame = frame

    def _pyro_sample(self, msg: Any) -> None:
        if type(msg["fn"]).__name__ == "_Subsample":
            return
        name, moment = msg["name"], self.frame.moment
        if self.frame.program == "guide":
            raise self.frame.refusal(f"it draws {name!r} once a sequence, of all its frames")
        if msg["is_observed"]:
            raise self.frame.refusal(f"it observes {name!r} once a sequence")
        if not self.frame.fresh:
            value = moment.old["once"][name]
        elif name in moment.forced:
            value = moment.forced[name]
        else:
            value = _drawn_once(msg["fn"], name, moment.shape)
        msg["value"] = moment.new["once"][name] = value


def _drawn_once(fn: Any, name: str, batch_shape: torch.Size) -> Tensor:
    fn = fn.expand(torch.broadcast_shapes(fn.batch_shape, batch_shape))
    source = noise_source()
    if source is None:
        return fn()  # type: ignore[no-any-return]
    return rsample_from(fn, source.normal(name, None, fn.shape(), -1 - fn.event_dim))
