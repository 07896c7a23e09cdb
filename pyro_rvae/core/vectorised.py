"""The vectorised reading: all steps at once, after a rollout where a draw waits for the one before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..nn import concat
from .emit import emit, emit_drawn
from .noise import noise_source, rsample_from
from .rollout import Probe, Rollout
from .tempering import law_to_draw, temperature_of
from .verbs import Step, Via, all_laws, same, shift

if TYPE_CHECKING:
    from .steps import Steps

__all__ = ["AllSteps"]


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
            return self.steps._state(name)
        y: Tensor = causal(concat(inputs), init)
        self.steps.carried[name] = y
        return y

    def sample(self, name: str, conditional: Any, *inputs: Tensor) -> Tensor:
        site = self.probe.sites[name]
        if name in self.drawn:
            law = self.rollout.laws.get(name) if self.rollout else None
            if law is None:
                for part in (conditional, *self._vias):
                    _refuse_dropout(part, name)
                law = all_laws(conditional, self.drawn[name], inputs)
            return emit_drawn(self.steps, name, law, self.drawn[name])
        if site.value is not None:
            value, present = self.steps.gaps(site.value) if site.observed else (site.value, None)
            return emit(self.steps, name, all_laws(conditional, value, inputs), value, observed=site.observed,
                        present=present, stated=site.value)
        if name in self.probe.paths:
            value, law = self._draw_path(name, conditional, inputs)
            return emit(self.steps, name, law, value, observed=False)
        law, source = conditional(*inputs), noise_source()
        if source is None:
            return emit(self.steps, name, law, None, observed=False)
        batch = torch.broadcast_shapes(law.batch_shape, (*self.steps.batch_shape, self.steps.length))
        noise = source.path(name, self.steps.length, batch[:-1] + law.event_shape)
        return emit(self.steps, name, law, rsample_from(law_to_draw(name, law), noise), observed=False)

    def _draw_path(self, name: str, conditional: Any, inputs: tuple[Any, ...]) -> tuple[Tensor, Any]:
        given = [i.init if isinstance(i, _Pending) else i for i in inputs]
        steps, source, dim = self.steps, noise_source(), self.probe.paths[name]
        lead = torch.broadcast_shapes(steps.batch_shape,
                                      *(i.shape[:-2] for i in inputs if not isinstance(i, _Pending)))
        if source is not None:
            noise = source.path(name, steps.length, torch.Size([*lead, dim])).to(steps.like)
        else:
            noise = torch.randn(*lead, steps.length, dim, dtype=steps.like.dtype, device=steps.like.device)
        if temperature_of(name) != 1.0:
            noise = temperature_of(name) * noise
        return conditional.draw_path(*given, noise=noise)  # type: ignore[no-any-return]


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
