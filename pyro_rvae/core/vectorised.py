"""The vectorised reading: a probe, a rollout where a draw waits for the one before, and all steps at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..distributions import Conditional
from ..nn import concat
from .handlers import Site, noise_source, peek, rsample_from
from .verbs import Step, Via, check_law, same, shift, unsampled

if TYPE_CHECKING:
    from .steps import Steps

__all__ = ["AllSteps", "Probe", "Rollout"]


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
                raise unsampled(name)
        waits = any(self.known_until(name) < self.steps.length for name, _ in self._asked.values())
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
        self.sites[name] = site = peek(name, self.steps.data.get(name))
        if site.value is not None:
            self._check_length(name, site.value)
            return site.value[..., 0, :]
        fn = conditional(*inputs)
        check_law(fn, name)
        if fn.has_enumerate_support:
            peek(name, discrete=True)  # enumeration is refused, as it needs a site a step
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

    def at(self, sequence: Tensor, via: Via = same) -> Tensor:
        whole = self.unbind((id(sequence), via), lambda: via(self.steps.frame(sequence)), keep=sequence)
        return whole[self.t]

    def prev(self, name: str, init: Tensor, via: Via = same) -> Tensor:
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
            self.family[name] = family = conditional.family
            direct: Any = getattr(family, "rsample", None)
            if direct is not None:
                return direct(raw, self.noise(name, raw.shape[:-1], family.dim))  # type: ignore[attr-defined]
            fn = family(raw)
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
                law = _stack_laws(recorded, self.family.get(name))
                if law is not None:
                    self.laws[name] = law

    def emit(self) -> bool:
        """If the laws of all sites of the loop are known, state them to Pyro: the body needs no further pass."""
        if self.laws.keys() != self.sites.keys():
            return False
        for name in self.sites:
            emit_drawn(self.steps, name, self.laws[name], self.values[name])
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
        self._vias: list[Via] = []  # maps that the rollout has evaluated before

    def hold(self, value: Tensor) -> Tensor:
        return value.unsqueeze(-2)

    def at(self, sequence: Tensor, via: Via = same) -> Tensor:
        self._vias.append(via)
        return via(self.steps.frame(sequence))

    def prev(self, name: str, init: Tensor, via: Via = same) -> Tensor:
        if name in self.drawn:
            seen = self.steps.reader(name)(self.drawn[name])
        elif name in self.probe.paths and name not in self.steps.values:
            return _Pending(name, init)  # type: ignore[return-value]
        else:
            seen = self.steps.seen(name, self.probe.sites.get(name))
        self._vias.append(via)
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
                for part in (conditional, *self._vias):
                    _refuse_dropout(part, name)
                law = conditional(*inputs)
            return emit_drawn(self.steps, name, law, self.drawn[name])
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
            noise = source.path(name, steps.length, shape).to(steps.like)
        else:
            noise = torch.randn(*lead, steps.length, init.shape[-1], dtype=steps.like.dtype, device=steps.like.device)
        return conditional.draw_path(init, *inputs[1:], noise=noise)  # type: ignore[no-any-return]


class _Pending:
    """Stands for the previous value of a path that its own conditional will draw at once."""

    def __init__(self, name: str, init: Tensor) -> None:
        self.name, self.init = name, init

    def __getattr__(self, attribute: str) -> Any:
        raise RuntimeError(f"prev({self.name!r}) was given to two readers, but the path is drawn at once: give it "
                           f"straight to t.sample({self.name!r}, ...), and call t.prev again, after it, for others.")

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        pending = next(a for a in torch.utils._pytree.tree_leaves((args, kwargs)) if isinstance(a, _Pending))
        return pending.shape  # raises, and says why


def _refuse_dropout(conditional: Any, name: str) -> None:
    """A callable of unknown inside is evaluated in the loop and once more for all steps: it must give the same law."""
    parts = conditional.modules() if isinstance(conditional, nn.Module) else ()
    if any(isinstance(m, nn.modules.dropout._DropoutNd) and m.training and m.p for m in parts):
        raise RuntimeError(f"site {name!r}: the dropout inside {type(conditional).__name__} would differ between the "
                           "draw and its density. Build it as Conditional(net, family), or run within `explicit()`.")


def emit_drawn(steps: Steps, name: str, law: Any, value: Tensor) -> Tensor:
    """State a site that the rollout has drawn; its beginning may have been known, and then have gaps."""
    filled, present = steps.gaps(value) if name in steps.data else (value, None)
    return emit(steps, name, law, filled, observed=False, present=present, stated=value)


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
    if stated is not None and stated is not value:
        steps.raw[name] = stated
    return steps.values[name]
