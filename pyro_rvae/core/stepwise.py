"""The explicit reading: one Pyro site a random variable and step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyro
from torch import Tensor

from .emit import check_law
from .verbs import OneStep, Via, refuse_gaps, same, unsampled

if TYPE_CHECKING:
    from .steps import Steps

__all__ = ["ExplicitStep"]


class ExplicitStep(OneStep):
    """Step t as one Pyro site a random variable."""

    def __init__(self, steps: Steps) -> None:
        super().__init__(steps)
        self.drawn: dict[str, list[Tensor]] = {}
        self.raw: dict[str, list[Tensor]] = {}  # as drawn, but with the gaps of data: they are the reader's to fill
        self.carried: dict[str, list[Tensor]] = {}
        self._gaps: dict[str, tuple[Tensor, Tensor | None]] = {}

    def at(self, sequence: Tensor, via: Via = same) -> Tensor:
        return via(sequence[..., self.t * self.steps.stride, :])

    def prev(self, name: str, init: Tensor, via: Via = same) -> Tensor:
        if self.t == 0:
            return via(init.expand(*self.steps.batch_shape, *init.shape[-1:]))
        known = self.steps.known(name)
        if known is None and name not in self.raw:
            raise unsampled(name)
        value = known[..., self.t - 1, :] if known is not None else self.raw[name][self.t - 1]
        return via(self.steps.reader(name)(value))

    def carry(self, name: str, causal: Any, *inputs: Tensor, init: Tensor | None = None) -> Tensor:
        read = inputs if init is None else (*inputs, init)
        if self.steps.summed_out and any(map(self.enumerated, read)):
            raise ValueError(f"carry({name!r}): a recurrent state may not read a site that is summed out (one of "
                             f"{list(self.steps.summed_out)}): it would depend on the whole past of that site, and the "
                             "sum would have K^T terms. Let the recurrence read x, or draw the site in the guide.")
        y = super().carry(name, causal, *inputs, init=init)
        self.carried.setdefault(name, []).append(y)
        return y

    def enumerated(self, value: Tensor) -> bool:
        """Whether a value has a dim for the values of a site that is summed out: such dims lie left of the plates."""
        return value.dim() - 1 > len(self.steps.batch_shape)

    def sample(self, name: str, conditional: Any, *inputs: Tensor) -> Tensor:
        fn = self.law(name, conditional, inputs, self.drawn[name][-1] if self.t else None)
        check_law(fn, name)
        obs, present = self._observation(name)
        refuse_gaps(name, conditional, present)
        mask = None if self.steps.mask is None else self.steps.mask[..., self.t]
        if obs is not None:
            self.steps.check_support(fn, name, obs, present, self.t, mask)
        infer: dict[str, Any] = {"exact": True} if name in self.steps.exact else {}
        if name in self.steps.summed_out and obs is None:
            if self.steps.inferring:
                raise ValueError(f"the guide draws {name!r}, which is summed out here: leave it to the model where "
                                 f"`{name!r} in steps.summed_out`.")
            # and no mask: a law sums to one in the padding, a masked one to K
            infer = {"enumerate": "parallel", "exact": True}
        else:
            fn = self.steps.law(fn, present, mask)
        infer |= {"every": self.steps.stride, "step": self.t}
        value = pyro.sample(f"{name}_{self.t}", fn, obs=obs, infer=infer)
        if not value.dim():  # one value only: Pyro has squeezed it
            value = value.expand(fn.event_shape)
        elif ("enumerate" in infer and self.steps.mask is not None and value.shape[-1] > 1
              and not self.enumerated(value)):
            raise ValueError(f"a handler fixes {name}_{self.t}, and {name!r} is summed out here, so it would count in "
                             f"padding: give what is known with `rv.given({name}=...)`, or use Trace_ELBO.")
        self.drawn.setdefault(name, []).append(value)
        raw = self.steps.data[name][..., self.t, :] if obs is not None and value is obs else value
        self.raw.setdefault(name, []).append(raw)
        return value

    def _observation(self, name: str) -> tuple[Tensor | None, Tensor | None]:
        if name not in self.steps.data or self.t >= self.steps.data[name].shape[-2]:
            return None, None
        if name not in self._gaps:
            self._gaps[name] = self.steps.gaps(self.steps.data[name])
        value, present = self._gaps[name]
        return value[..., self.t, :], None if present is None else present[..., self.t, :]
