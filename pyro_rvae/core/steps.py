"""Time, as the loop variable of a body: ``for t in steps``, in its two readings.

Five verbs: ``t.sample``, ``t.prev``, ``t.carry``, ``t.at``, ``t.hold``. In the explicit reading each is about one
step; in the vectorised reading each is about all steps at once, after a tight loop has drawn what can't be drawn
in parallel. A body never knows which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..distributions import Conditional, observe_elements
from ..nn import concat
from .handlers import Site, is_explicit, noise_source, peek, rsample_from, trust

__all__ = ["Step", "Steps", "shift"]

Via = Callable[[Tensor], Tensor]


def _same(x: Tensor) -> Tensor:
    return x


def shift(sequence: Tensor, init: Tensor) -> Tensor:
    """The sequence one step later: ``init (..., d)`` first, the last value dropped."""
    first = init.unsqueeze(-2).expand(*sequence.shape[:-2], 1, sequence.shape[-1])
    return torch.cat([first, sequence[..., :-1, :]], -2)


def check_law(fn: Any, name: str) -> None:
    if getattr(fn, "event_dim", None) != 1:
        got = f"event_dim {fn.event_dim}" if hasattr(fn, "event_dim") else type(fn).__name__
        raise ValueError(f"site {name!r}: a conditional must return a distribution over the vector of one frame, "
                         f"with event_dim 1 (often `.to_event(1)` is missing); got {got}.")


class Steps:
    """All that a body knows of a batch, and the loop over its time.

    Attributes:
        length: number of steps T of this clock.
        mask: ``(B, T)``, True where a sequence has a frame; ``None`` if all have T.
        controls: ``(B, T, control_dim)`` or ``None``; read with ``t.at(steps.controls)``.
        labels: ``(B, ...)`` or ``None``; known once a sequence.
        shared: what :meth:`SequenceVAE.shared` drew, by name.
    """

    def __init__(self, length: int, data: dict[str, Tensor | None] | None = None, mask: Tensor | None = None, *,
                 controls: Tensor | None = None, labels: Tensor | None = None,
                 shared: dict[str, Tensor] | None = None, read: dict[str, Via] | None = None,
                 like: Tensor | None = None, stride: int = 1, frames: Steps | None = None) -> None:
        self.length, self.mask, self.controls, self.labels = length, mask, controls, labels
        self.shared = shared or {}
        self.data = {name: value for name, value in (data or {}).items() if value is not None}
        self.read = read or {}
        self.like = torch.empty(0) if like is None else like  # dtype and device of what is drawn
        self.values: dict[str, Tensor] = {}  # whole sequences known so far in this call, by site
        self.batch_shape = peek("_steps").batch_shape
        self.stride, self._frames = stride, frames
        self._seen: dict[str, Tensor] = {}
        self._clocks: dict[int, Steps] = {}
        self._open = False

    # -------------------------------------------------------------------------------------------- for the body
    def __iter__(self) -> Iterator[Any]:
        self._open = True  # stays so if a body leaves its loop early, which `finish` reports
        yield from self._explicit() if is_explicit() else self._vectorised()
        self._open = False

    def path(self, name: str) -> Tensor:
        """The whole path ``(..., B, T, d)`` of a site sampled in an earlier loop of this body.

        On a slower clock, each value is held for its k frames, so a path always has one value a frame.
        """
        if name not in self.values:
            raise ValueError(f"path({name!r}): no earlier loop of this body has sampled {name!r} "
                             f"(sampled: {sorted(self.values) or 'nothing'}).")
        value = self.values[name]
        if self._frames is None:
            return value
        return value.repeat_interleave(self.stride, -2)[..., : self._frames.length, :]

    def observe(self, name: str, conditional: Any, *inputs: Tensor) -> Tensor:
        """The data of a static model: site ``name``, once a sequence, observed if given and drawn if not."""
        fn = conditional(*inputs)
        value = self.data.get(name)
        present = None
        if value is not None:
            value, present = self.gaps(value)
            self.check_support(fn, name, value, present)
        return pyro.sample(name, self.law(fn, name, value is not None, present, None), obs=value)  # type: ignore[no-any-return]

    def every(self, k: int) -> Steps:
        """A slower clock: its step j stands at frame ``j k`` and covers frames ``j k .. j k + k - 1``.

        The last block may be shorter. ``t.at(sequence)`` reads the sequence's value at frame ``j k``; a site
        drawn on the clock is read back, one value a frame, with ``steps.every(k).path(name)``.
        """
        if not 1 <= k <= self.length or not isinstance(k, int):
            raise ValueError(f"every(k): k must be an integer from 1 to the number of steps, {self.length}; got {k}.")
        if k not in self._clocks:
            mask = None if self.mask is None else self.mask[..., ::k]
            self._clocks[k] = Steps(-(-self.length // k), {}, mask, controls=self.controls, labels=self.labels,
                                    shared=self.shared, like=self.like, stride=k * self.stride,
                                    frames=self._frames or self)
        return self._clocks[k]

    def finish(self) -> None:
        """Called by the base class after the body."""
        for clock in (self, *self._clocks.values()):
            if clock._open:
                raise RuntimeError("the body left `for t in steps` before its end (break or return inside the loop): "
                                   "a loop over time always runs through; a mask ends sequences early.")

    # -------------------------------------------------------------------------------------------- the readings
    def _explicit(self) -> Iterator[ExplicitStep]:
        step = ExplicitStep(self)
        for step.t in pyro.markov(range(self.length)):
            yield step
        for name, drawn in step.drawn.items():
            self.values[name] = torch.stack(torch.broadcast_tensors(*drawn), -2)

    def _vectorised(self) -> Iterator[Any]:
        with torch.no_grad():
            probe = Probe(self)
            yield probe
        if not probe.sites:
            return
        rollout = None
        if probe.sequential:
            rollout = Rollout(self, probe)
            for rollout.t in range(self.length):
                yield rollout
            rollout.collect()
            if rollout.emit():
                return
        yield AllSteps(self, probe, rollout)

    # -------------------------------------------------------------------------------------------- for the steps
    def frame(self, sequence: Tensor) -> Tensor:
        """A sequence as this clock sees it: one value a step."""
        return sequence if self.stride == 1 else sequence[..., :: self.stride, :]

    def known(self, name: str) -> Tensor | None:
        """A path of an earlier loop, or data that the steps were given."""
        return self.values.get(name)

    def reader(self, name: str) -> Via:
        return self.read.get(name, _same)

    def seen(self, name: str, site: Site | None) -> Tensor:
        """A known sequence as networks see it. The reader fills its gaps, so it is given the raw data."""
        if name not in self._seen:
            raw = self.data.get(name, self.values.get(name))
            if site is not None and site.value is not None:
                raw = site.value
            if raw is None:
                raise _unsampled(name)
            self._seen[name] = self.reader(name)(raw)
        return self._seen[name]

    def law(self, fn: Any, name: str, observed: bool, present: Tensor | None, mask: Tensor | None) -> Any:
        """A site's distribution with its missing elements skipped and its padding masked."""
        if observed and present is not None:
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

    def check_support(self, fn: Any, name: str, value: Tensor, present: Tensor | None) -> None:
        if trust() is not None or value.device.type == "meta":
            return
        support = getattr(fn, "support", None)
        element = getattr(support, "base_constraint", None)
        good = (element or support).check(value) if support is not None else None
        if good is None or bool(good.all()):
            return
        if present is not None and good.shape == present.shape and bool((good | ~present).all()):
            return
        where = (~good).nonzero()[0].tolist()
        culprit = value[tuple(where)]
        shown = culprit.item() if culprit.numel() == 1 else culprit.tolist()
        base = getattr(fn, "base_dist", fn)
        raise ValueError(f"{name} holds {shown} at {tuple(where)} (sequence, step, element), outside the support of "
                         f"its likelihood {type(base).__name__} ({element or support}). Transform the data, or pass "
                         f"another likelihood.")


class Step:
    """The five verbs. ``steps`` is the loop they belong to; ``t`` the number of the step, where there is one."""

    steps: Steps

    def hold(self, value: Tensor) -> Tensor:
        """What is known once a sequence, ``(..., d)``, as a value at every step."""
        raise NotImplementedError

    def at(self, sequence: Tensor, via: Via = _same) -> Tensor:
        """The value of ``sequence (..., T, d)`` at this step, through ``via`` (a pointwise map)."""
        raise NotImplementedError

    def prev(self, name: str, init: Tensor, via: Via = _same) -> Tensor:
        """The value of site ``name`` at the step before, ``init (d,)`` at the start, through ``via``."""
        raise NotImplementedError

    def carry(self, name: str, causal: Any, *inputs: Tensor, init: Tensor | None = None) -> Tensor:
        """A recurrence: the output of a causal part that has read ``inputs`` up to this step.

        ``init (..., causal.state_dim)`` is its state before the first step (zero if not given).
        """
        raise NotImplementedError

    def sample(self, name: str, conditional: Any, *inputs: Tensor) -> Tensor:
        """Draw, or observe, site ``name`` from ``conditional(*inputs)``."""
        raise NotImplementedError


class ExplicitStep(Step):
    """Step t as one Pyro site a random variable."""

    def __init__(self, steps: Steps) -> None:
        self.steps, self.t = steps, 0
        self.drawn: dict[str, list[Tensor]] = {}
        self.state: dict[str, Any] = {}
        self._gaps: dict[str, tuple[Tensor, Tensor | None]] = {}

    def hold(self, value: Tensor) -> Tensor:
        return value

    def at(self, sequence: Tensor, via: Via = _same) -> Tensor:
        return via(sequence[..., self.t * self.steps.stride, :])

    def prev(self, name: str, init: Tensor, via: Via = _same) -> Tensor:
        if self.t == 0:
            return via(init.expand(*self.steps.batch_shape, *init.shape[-1:]))
        known = self.steps.known(name)
        if known is None and name not in self.drawn:
            raise _unsampled(name)
        value = known[..., self.t - 1, :] if known is not None else self.drawn[name][self.t - 1]
        return via(self.steps.reader(name)(value))

    def carry(self, name: str, causal: Any, *inputs: Tensor, init: Tensor | None = None) -> Tensor:
        u = concat(inputs)
        if self.t == 0:
            self.state[name] = causal.begin(init) if init is not None else None
        y, self.state[name] = causal.step(u, self.state[name])
        return y

    def sample(self, name: str, conditional: Any, *inputs: Tensor) -> Tensor:
        fn = conditional(*inputs)
        check_law(fn, name)
        obs, present = self._observation(name)
        if obs is not None:
            self.steps.check_support(fn, name, obs, present)
        mask = None if self.steps.mask is None else self.steps.mask[..., self.t]
        fn = self.steps.law(fn, name, obs is not None, present, mask)
        value = pyro.sample(f"{name}_{self.t}", fn, obs=obs)
        self.drawn.setdefault(name, []).append(value)
        return value

    def _observation(self, name: str) -> tuple[Tensor | None, Tensor | None]:
        if name not in self.steps.data or self.t >= self.steps.data[name].shape[-2]:
            return None, None
        if name not in self._gaps:
            self._gaps[name] = self.steps.gaps(self.steps.data[name])
        value, present = self._gaps[name]
        return value[..., self.t, :], None if present is None else present[..., self.t, :]


def _unsampled(name: str) -> ValueError:
    return ValueError(f"prev({name!r}): no site of that name is sampled in this loop, or known in it; "
                      "check the name, or read a value of an earlier loop with steps.path.")


class _Tight(Step):
    """What the probe and the rollout share: one step, without any Pyro site."""

    def __init__(self, steps: Steps, sites: dict[str, Site]) -> None:
        self.steps, self.t, self.sites = steps, 0, sites
        self.state: dict[str, Any] = {}

    def hold(self, value: Tensor) -> Tensor:
        return value

    def known_until(self, name: str) -> int:
        """The number of steps whose value is fixed from outside."""
        if self.steps.known(name) is not None:
            return self.steps.length
        site = self.sites.get(name)
        return 0 if site is None or site.value is None else site.value.shape[-2]

    def carry(self, name: str, causal: Any, *inputs: Tensor, init: Tensor | None = None) -> Tensor:
        u = concat(inputs)
        if self.t == 0:
            self.state[name] = causal.begin(init) if init is not None else None
        y, self.state[name] = causal.step(u, self.state[name])
        return y


class Probe(_Tight):
    """Step 0, once through the body without drawing: which sites are fixed, and does a draw need the one before?

    Where a site isn't fixed it hands on zeros; nothing it computes is used.
    """

    def __init__(self, steps: Steps) -> None:
        super().__init__(steps, {})
        self._asked: dict[int, tuple[str, Tensor]] = {}  # by identity: the values that prev handed out
        self.paths: set[str] = set()

    @property
    def sequential(self) -> bool:
        """Whether some step needs a value that the draw of the step before gives."""
        for name, _ in self._asked.values():
            if name not in self.sites and self.steps.known(name) is None:
                raise _unsampled(name)
        return any(self.known_until(name) < self.steps.length for name, _ in self._asked.values())

    def at(self, sequence: Tensor, via: Via = _same) -> Tensor:
        return via(sequence[..., 0, :])

    def prev(self, name: str, init: Tensor, via: Via = _same) -> Tensor:
        value = via(init.expand(*self.steps.batch_shape, *init.shape[-1:]))
        self._asked[id(value)] = (name, value)
        return value

    def sample(self, name: str, conditional: Any, *inputs: Tensor) -> Tensor:
        if name in self.sites:
            raise ValueError(f"site {name!r} is sampled twice in one step; give the second another name.")
        self.sites[name] = site = peek(name, self.steps.data.get(name))
        if site.value is not None:
            self._check_length(name, site.value)
            return site.value[..., 0, :]
        fn = conditional(*inputs)
        check_law(fn, name)
        asked = self._asked.get(id(inputs[0])) if inputs else None
        if hasattr(conditional, "draw_path") and asked is not None and asked[0] == name:
            del self._asked[id(inputs[0])]  # drawn with its whole path at once: no step waits for it
            self.paths.add(name)
        shape = torch.broadcast_shapes(fn.batch_shape, self.steps.batch_shape)
        like = self.steps.like
        return torch.zeros(*shape, *fn.event_shape, device=like.device, dtype=_dtype(fn, like))

    def _check_length(self, name: str, value: Tensor) -> None:
        if value.shape[-2] < self.steps.length and name not in self.steps.data:
            raise RuntimeError(f"a handler fixes the first {value.shape[-2]} of {self.steps.length} steps of site "
                               f"{name!r}; the vectorised form takes a known beginning from the argument x with a "
                               f"longer size=(B, T), or from `with given({name}=...)`. Or use `explicit()`.")


def _dtype(fn: Any, like: Tensor) -> torch.dtype:
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    return torch.long if isinstance(fn, torch.distributions.Categorical) else like.dtype


class Rollout(_Tight):
    """Step t of the tight loop: draws what is unknown, and evaluates no density."""

    def __init__(self, steps: Steps, probe: Probe) -> None:
        super().__init__(steps, probe.sites)
        self.drawn: dict[str, list[Tensor]] = {}
        self.recorded: dict[str, list[Any]] = {}  # raw parameters (with a family) or distributions, one a step
        self.family: dict[str, Any] = {}
        self.outputs: dict[str, list[Tensor]] = {}
        self.values: dict[str, Tensor] = {}
        self.laws: dict[str, Any] = {}
        self._unbound: dict[Any, tuple[Any, tuple[Tensor, ...]]] = {}

    def unbind(self, key: Any, make: Callable[[], Tensor], keep: Any = None) -> tuple[Tensor, ...]:
        """A whole sequence as one tensor a step. Once: indexing a step at a time costs O(T^2) in the backward pass."""
        if key not in self._unbound:
            self._unbound[key] = (keep, make().unbind(-2))
        return self._unbound[key][1]

    def at(self, sequence: Tensor, via: Via = _same) -> Tensor:
        whole = self.unbind((id(sequence), via), lambda: via(self.steps.frame(sequence)), keep=sequence)
        return whole[self.t]

    def prev(self, name: str, init: Tensor, via: Via = _same) -> Tensor:
        if self.t == 0:
            return via(init.expand(*self.steps.batch_shape, *init.shape[-1:]))
        if self.t - 1 < self.known_until(name):
            return self.unbind((name, via), lambda: via(self.steps.seen(name, self.sites.get(name))))[self.t - 1]
        return via(self.steps.reader(name)(self.drawn[name][self.t - 1]))

    def carry(self, name: str, causal: Any, *inputs: Tensor, init: Tensor | None = None) -> Tensor:
        y = super().carry(name, causal, *inputs, init=init)
        self.outputs.setdefault(name, []).append(y)
        return y

    def sample(self, name: str, conditional: Any, *inputs: Tensor) -> Tensor:
        known = self.known_until(name)
        if self.t < known:
            value = self.unbind(("value", name), lambda: self.sites[name].value)[self.t]  # type: ignore[arg-type,return-value]
            if known == self.steps.length:
                return value
        else:
            value = self.draw(name, conditional, inputs)
        self.drawn.setdefault(name, []).append(value)
        return value

    def draw(self, name: str, conditional: Any, inputs: tuple[Tensor, ...]) -> Tensor:
        if isinstance(conditional, Conditional):
            raw = conditional.params(*inputs)
            self.recorded.setdefault(name, []).append(raw)
            self.family[name] = conditional.family
            if hasattr(conditional.family, "rsample"):
                return conditional.family.rsample(raw, self.noise(name, raw.shape[:-1], conditional.family.dim))
            fn = conditional.family(raw)
        else:
            fn = conditional(*inputs)
            self.recorded.setdefault(name, []).append(fn)
        shape = torch.broadcast_shapes(fn.batch_shape, self.steps.batch_shape)
        source = noise_source()
        if source is not None:
            return rsample_from(fn, source.normal(name, self.t, shape + fn.event_shape))
        return (fn if fn.batch_shape == shape else fn.expand(shape))()  # type: ignore[no-any-return]

    def noise(self, name: str, batch: torch.Size, dim: int) -> Tensor:
        """Standard noise of this step; that of all steps comes from one call."""
        def make() -> Tensor:
            shape = torch.broadcast_shapes(batch, self.steps.batch_shape) + (dim,)
            source, steps = noise_source(), self.steps
            if source is not None:
                return source.path(name, steps.length, shape)
            like = steps.like
            noise = torch.randn(steps.length, *shape, dtype=like.dtype, device=like.device)
            return noise.movedim(0, -2)
        return self.unbind(("noise", name), make)[self.t]

    def collect(self) -> None:
        """Stack what the loop has drawn: values, and the laws they were drawn from."""
        for name, drawn in self.drawn.items():
            self.values[name] = torch.stack(torch.broadcast_tensors(*drawn), -2)
            recorded = self.recorded[name]
            if len(recorded) == self.steps.length:
                law = _stack_laws(recorded, self.family.get(name))
                if law is not None:
                    self.laws[name] = law

    def emit(self) -> bool:
        """If the laws of all sites of the loop are known, state them to Pyro: the body needs no further pass."""
        if self.laws.keys() != self.sites.keys():
            return False
        for name in self.sites:
            emit(self.steps, name, self.laws[name], self.values[name], observed=False)
        return True


def _stack_laws(recorded: list[Any], family: Any) -> Any:
    """The laws of the steps as one batched distribution; None where only the conditional itself can tell."""
    if family is not None:
        return family(torch.stack(torch.broadcast_tensors(*recorded), -2))
    bases = [getattr(fn, "base_dist", None) for fn in recorded]
    if all(type(fn) is dist.Independent for fn in recorded) and all(type(b) is dist.Normal for b in bases):
        loc, scale = (torch.stack(torch.broadcast_tensors(*(getattr(b, p) for b in bases)), -2)
                      for p in ("loc", "scale"))
        return dist.Normal(loc, scale, validate_args=False).to_event(1)
    return None


class AllSteps(Step):
    """All steps at once: each site is one batched Pyro statement with time in its event shape."""

    def __init__(self, steps: Steps, probe: Probe, rollout: Rollout | None) -> None:
        self.steps, self.probe, self.rollout = steps, probe, rollout
        self.drawn = rollout.values if rollout else {}

    def hold(self, value: Tensor) -> Tensor:
        return value.unsqueeze(-2)

    def at(self, sequence: Tensor, via: Via = _same) -> Tensor:
        return via(self.steps.frame(sequence))

    def prev(self, name: str, init: Tensor, via: Via = _same) -> Tensor:
        if name in self.drawn:
            seen = self.steps.reader(name)(self.drawn[name])
        elif name in self.probe.paths and name not in self.steps.values:
            return _Pending(name, init)  # type: ignore[return-value]
        else:
            seen = self.steps.seen(name, self.probe.sites.get(name))
        return via(shift(seen, init))

    def carry(self, name: str, causal: Any, *inputs: Tensor, init: Tensor | None = None) -> Tensor:
        if self.rollout is not None:
            return torch.stack(torch.broadcast_tensors(*self.rollout.outputs[name]), -2)
        return causal(concat(inputs), init)  # type: ignore[no-any-return]

    def sample(self, name: str, conditional: Any, *inputs: Tensor) -> Tensor:
        site = self.probe.sites[name]
        if name in self.drawn:
            law = self.rollout.laws.get(name) if self.rollout else None
            if law is None:
                _refuse_dropout(conditional, name)
                law = conditional(*inputs)
            return emit(self.steps, name, law, self.drawn[name], observed=False)
        if site.value is not None:
            value, present = self.steps.gaps(site.value) if site.observed else (site.value, None)
            return emit(self.steps, name, conditional(*inputs), value, observed=site.observed, present=present,
                        stated=site.value)
        if inputs and isinstance(inputs[0], _Pending):
            value, law = self._draw_path(name, conditional, inputs)
            return emit(self.steps, name, law, value, observed=False)
        law, source = conditional(*inputs), noise_source()
        if source is None:
            return emit(self.steps, name, law, None, observed=False)
        batch = torch.broadcast_shapes(law.batch_shape, (*self.steps.batch_shape, self.steps.length))
        noise = source.path(name, self.steps.length, batch[:-1] + law.event_shape)
        return emit(self.steps, name, law, rsample_from(law, noise), observed=False)

    def _draw_path(self, name: str, conditional: Any, inputs: tuple[Any, ...]) -> tuple[Tensor, Any]:
        init, steps = inputs[0].init, self.steps
        lead = torch.broadcast_shapes(steps.batch_shape, *(i.shape[:-2] for i in inputs[1:]))
        shape, source = torch.Size([*lead, init.shape[-1]]), noise_source()
        if source is not None:
            noise = source.path(name, steps.length, shape)
        else:
            noise = torch.randn(*lead, steps.length, init.shape[-1], dtype=steps.like.dtype, device=steps.like.device)
        return conditional.draw_path(init, *inputs[1:], noise=noise)  # type: ignore[no-any-return]


class _Pending:
    """Stands for the previous value of a path that its own conditional will draw at once."""

    def __init__(self, name: str, init: Tensor) -> None:
        self.name, self.init = name, init

    def _refuse(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(f"prev({self.name!r}) was given to two readers, but the path is drawn at once: give it "
                           f"straight to t.sample({self.name!r}, ...), and call t.prev again, after it, for others.")

    __torch_function__ = classmethod(lambda cls, *a, **k: _Pending("of a path", torch.empty(0))._refuse())
    __getattr__ = __add__ = __mul__ = __sub__ = __getitem__ = _refuse


def _refuse_dropout(conditional: Any, name: str) -> None:
    """A callable of unknown inside is evaluated in the loop and once more for all steps: it must give the same law."""
    if isinstance(conditional, nn.Module) and any(
            m.training and getattr(m, "p", 0) for m in conditional.modules() if isinstance(m, nn.modules.dropout._DropoutNd)):
        raise RuntimeError(f"site {name!r}: the dropout inside {type(conditional).__name__} would differ between the "
                           "draw and its density. Build it as Conditional(net, family), or run within `explicit()`.")


def emit(steps: Steps, name: str, law: Any, value: Tensor | None, *, observed: bool, present: Tensor | None = None,
         stated: Tensor | None = None) -> Tensor:
    """State one site of all steps to Pyro: time joins the event shape, padding and gaps are masked."""
    check_law(law, name)
    shape = torch.broadcast_shapes(law.batch_shape, (*steps.batch_shape, steps.length))
    law = law if law.batch_shape == shape else law.expand(shape)
    if observed and value is not None:
        steps.check_support(law, name, value, present)
    law = steps.law(law, name, observed, present, steps.mask).to_event(1)
    new = pyro.sample(name, law, obs=value, infer={"is_observed": observed})
    if value is not None and new is not value and new is not stated:
        raise RuntimeError(f"a handler replaced site {name!r} after its values were drawn; run the model within "
                           "`explicit()` to use that handler.")
    steps.values[name] = value if value is not None else new
    return steps.values[name]
