"""One step without Pyro: the probe, which asks what a loop must draw, and the rollout, which draws it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pyro.distributions as dist
import torch
from torch import Tensor

from ..distributions import Conditional
from .emit import check_law, emit_drawn
from .handlers import Site, peek
from .noise import noise_source, rsample_from
from .tempering import law_to_draw, temperature_of
from .verbs import OneStep, Via, reads_path, refuse_gaps, same, unsampled

if TYPE_CHECKING:
    from .steps import Steps

__all__ = ["Probe", "Rollout"]


class _Tight(OneStep):
    """What the probe and the rollout share: one step, without any Pyro site."""

    def __init__(self, steps: Steps, sites: dict[str, Site]) -> None:
        super().__init__(steps)
        self.sites = sites

    def known_until(self, name: str) -> int:
        """The number of steps whose value is fixed from outside."""
        if self.steps.known(name) is not None:
            return self.steps.length
        site = self.sites.get(name)
        return 0 if site is None or site.value is None else site.value.shape[-2]


class Probe(_Tight):
    """Step 0, once through the body without drawing: which sites are fixed, and does a draw need the one before?

    Where a site isn't fixed it hands on zeros; nothing it computes is used.
    """

    def __init__(self, steps: Steps) -> None:
        super().__init__(steps, {})
        self._asked: dict[int, tuple[str, Tensor]] = {}  # by identity: the values that prev handed out
        self.paths: dict[str, int] = {}  # sites whose path is drawn at once, and their widths
        self._waits = False

    @property
    def sequential(self) -> bool:
        """Whether some step needs a value that the draw of the step before gives."""
        for name, _ in self._asked.values():
            if name not in self.sites and self.steps.known(name) is None:
                raise unsampled(name)
        waits = self._waits or any(self.known_until(n) < self.steps.length for n, _ in self._asked.values())
        return waits or any(0 < self.known_until(name) < self.steps.length for name in self.sites)

    def at(self, sequence: Tensor, via: Via = same) -> Tensor:
        return via(sequence[..., 0, :])

    def prev(self, name: str, init: Tensor, via: Via = same) -> Tensor:
        value = via(init.expand(*self.steps.batch_shape, *init.shape[-1:]))
        self._asked[id(value)] = (name, value)
        return value

    def sample(self, name: str, conditional: Any, *inputs: Tensor) -> Tensor:
        if name in self.sites:
            raise ValueError(f"site {name!r} is sampled twice in one step; give the second another name.")
        self.sites[name] = site = peek(name, self.steps.data.get(name), exact=name in self.steps.exact)
        if site.value is not None:
            self._check_length(name, site.value)
            if reads_path(conditional) and site.observed:
                refuse_gaps(name, conditional, self.steps.gaps(site.value)[1])
            return site.value[..., 0, :]
        fn = self._first_law(name, conditional, inputs)
        check_law(fn, name)
        if fn.has_enumerate_support:
            peek(name, discrete=True)  # enumeration is refused, as it needs a site a step
        asked = self._asked.get(id(inputs[0])) if inputs else None
        if hasattr(conditional, "draw_path") and (reads_path(conditional) or asked is not None and asked[0] == name):
            if not reads_path(conditional):
                del self._asked[id(inputs[0])]  # drawn with its whole path at once: no step waits for it
            self.paths[name] = fn.event_shape[-1]
        elif reads_path(conditional):
            self._waits = True
        shape = torch.broadcast_shapes(fn.batch_shape, self.steps.batch_shape)
        like = self.steps.like
        return torch.zeros(*shape, *fn.event_shape, device=like.device, dtype=_dtype(fn, like))

    def _first_law(self, name: str, conditional: Any, inputs: tuple[Tensor, ...]) -> Any:
        try:
            return self.law(name, conditional, inputs, None)
        except TypeError as error:
            if inputs:
                raise
            raise TypeError(f"site {name!r}: this model gives the part no inputs, and {type(conditional).__name__} "
                            f"could not be called without ({error}). A part that needs the state fits a model that "
                            f"passes it (VRNN, DMM); a Family, or a callable that ignores its inputs, fits here."
                            ) from error

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
        self._unbound: dict[Any, tuple[Tensor, ...]] = {}

    @property
    def t(self) -> int:
        return self._t

    @t.setter
    def t(self, t: int) -> None:
        self._t, self._calls = t, 0

    def unbind(self, key: Any, make: Callable[[], Tensor]) -> tuple[Tensor, ...]:
        """A whole sequence as one tensor a step. Once: indexing a step at a time costs O(T^2) in the backward pass."""
        if key not in self._unbound:
            self._unbound[key] = make().unbind(-2)
        return self._unbound[key]

    def place(self) -> int:
        """Which call of the body this is. A body makes the same calls at each step, maybe with a new ``via`` each."""
        self._calls += 1
        return self._calls

    def at(self, sequence: Tensor, via: Via = same) -> Tensor:
        return self.unbind(self.place(), lambda: via(self.steps.frame(sequence)))[self.t]

    def prev(self, name: str, init: Tensor, via: Via = same) -> Tensor:
        place = self.place()
        if self.t == 0:
            return via(init.expand(*self.steps.batch_shape, *init.shape[-1:]))
        if self.t - 1 < self.known_until(name):
            return self.unbind(place, lambda: via(self.steps.seen(name, self.sites.get(name))))[self.t - 1]
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
            if reads_path(conditional):  # what follows is conditioned on all that is known
                self.recorded.setdefault(name, []).append(self.law(name, conditional, inputs, self.before(name)))
        else:
            value = self.draw(name, conditional, inputs)
        self.drawn.setdefault(name, []).append(value)
        return value

    def before(self, name: str) -> Tensor | None:
        return self.drawn[name][-1] if self.t else None

    def draw(self, name: str, conditional: Any, inputs: tuple[Tensor, ...]) -> Tensor:
        if isinstance(conditional, Conditional) and type(conditional).forward is Conditional.forward:
            raw, family = conditional.params(*inputs), conditional.family
            direct: Any = _direct_draw(family) if temperature_of(name) == 1.0 else None
            fn = family(raw) if direct is None else None
            if not hasattr(fn, "stacked"):
                self.family[name] = family
            self.recorded.setdefault(name, []).append(fn if hasattr(fn, "stacked") else raw)
            if fn is None:
                return direct(raw, self.noise(name, raw.shape[:-1], family.dim))  # type: ignore[attr-defined]
        else:
            fn = self.law(name, conditional, inputs, self.before(name))
            self.recorded.setdefault(name, []).append(fn)
        shape = torch.broadcast_shapes(fn.batch_shape, self.steps.batch_shape)
        fn, source = law_to_draw(name, fn), noise_source()
        if source is not None:
            return rsample_from(fn, source.normal(name, self.t, shape + fn.event_shape))
        return (fn if fn.batch_shape == shape else fn.expand(shape))()  # type: ignore[no-any-return]

    def noise(self, name: str, batch: torch.Size, dim: int) -> Tensor:
        """Standard noise of this step; that of all steps comes from one call."""
        def make() -> Tensor:
            shape = torch.broadcast_shapes(batch, self.steps.batch_shape) + (dim,)
            source, steps = noise_source(), self.steps
            if source is not None:
                return source.path(name, steps.length, shape).to(steps.like)
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
                law = _stack_laws(recorded, self.family.get(name), self.values[name])
                if law is not None:
                    self.laws[name] = law

    def emit(self) -> bool:
        """If the laws of all sites of the loop are known, state them to Pyro: the body needs no further pass."""
        if self.laws.keys() != self.sites.keys():
            return False
        for name in self.sites:
            emit_drawn(self.steps, name, self.laws[name], self.values[name])
        return True


def _direct_draw(family: Any) -> Any:
    """The family's draw from noise, unless a subclass has given it another distribution and kept the old draw."""
    order = type(family).__mro__
    draws, laws = (next((i for i, c in enumerate(order) if name in vars(c)), None) for name in ("rsample", "forward"))
    return family.rsample if draws is not None and laws is not None and draws <= laws else None


def _stack_laws(recorded: list[Any], family: Any, values: Tensor) -> Any:
    """The laws of the steps as one batched distribution; None where only the conditional itself can tell.

    Laws with ``stacked(laws, values)`` say it themselves: those that know the density of what they have drawn.
    """
    if family is not None:
        return family(torch.stack(torch.broadcast_tensors(*recorded), -2))
    if hasattr(recorded[0], "stacked"):
        return recorded[0].stacked(recorded, values)
    bases = [getattr(fn, "base_dist", None) for fn in recorded]
    if all(type(fn) is dist.Independent for fn in recorded) and all(type(b) is dist.Normal for b in bases):
        loc, scale = (torch.stack(torch.broadcast_tensors(*(getattr(b, p) for b in bases)), -2)
                      for p in ("loc", "scale"))
        return dist.Normal(loc, scale, validate_args=False).to_event(1)
    return None
