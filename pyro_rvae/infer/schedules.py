"""What changes in the course of training: learning rates by progress in [0, 1], KL weights by the step.

Each is a small frozen dataclass with ``__call__``, so it prints as it was written, pickles, and stands in a
configuration file. Any function of one number may stand in its place.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ..core.checks import check_count, check_weight

__all__ = ["Constant", "Cosine", "Cyclical", "HalfCosine", "Linear", "Logistic", "Warmup", "constant", "cosine",
           "cyclical", "half_cosine", "linear", "logistic", "warmup"]


def _not_negative(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise ValueError(f"{name} must be a finite number of at least 0, got {value!r}.")


def _steps(name: str, value: int) -> None:
    check_count(name, value, hint=" (it counts optimizer steps)")


@dataclass(frozen=True)
class Constant:
    """The same ``value`` always: a multiplier of the learning rate, or a KL weight.

    >>> Constant(0.5)(1000)
    0.5
    """

    value: float = 1.0

    def __post_init__(self) -> None:
        _not_negative("constant: value", self.value)

    def __call__(self, at: float) -> float:
        return self.value


@dataclass(frozen=True)
class Cosine:
    r"""Multiplier of the learning rate, from 1 at the start to ``final`` at the end of training.

    .. math:: c(p) = f + (1 - f) \tfrac12 (1 + \cos \pi p), \qquad p \in [0, 1]

    Source: Loshchilov & Hutter (2017), "SGDR", arXiv:1608.03983, equation 5, without restarts.

    >>> Cosine()(0.5)
    0.5
    """

    final: float = 0.0

    def __post_init__(self) -> None:
        _not_negative("cosine: final", self.final)

    def __call__(self, progress: float) -> float:
        return self.final + (1.0 - self.final) * 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))


@dataclass(frozen=True)
class Warmup:
    """Another schedule whose first ``share`` of training rises to it linearly from near 0.

    >>> Warmup(Constant(), 0.1)(0.05)
    0.5
    """

    then: Callable[[float], float]
    share: float = 0.05

    def __post_init__(self) -> None:
        if not callable(self.then):
            raise TypeError(f"warmup: the schedule after it must be a function of progress, got {self.then!r}.")
        if not 0 < self.share < 1:
            raise ValueError(f"warmup: share must lie between 0 and 1 (a part of all training), got {self.share!r}.")

    def __call__(self, progress: float) -> float:
        # The very first step is not lost: a learning rate of 0 would waste it.
        return self.then(progress) * min(1.0, max(progress, 1e-3 * self.share) / self.share)


@dataclass(frozen=True)
class Linear:
    """KL weight that goes from ``start`` to ``end`` in ``steps`` optimizer steps, and stays there.

    Source: Bowman et al. (2016), "Generating Sentences from a Continuous Space", arXiv:1511.06349, section 3.1
    (theirs is a sigmoid).

    >>> Linear(0.0, 1.0, 100)(25)
    0.25
    """

    start: float
    end: float
    steps: int

    def __post_init__(self) -> None:
        _not_negative("linear: start", self.start)
        _not_negative("linear: end", self.end)
        _steps("linear: steps", self.steps)

    def __call__(self, step: float) -> float:
        share = min(step / self.steps, 1.0)
        return (1.0 - share) * self.start + share * self.end


@dataclass(frozen=True)
class HalfCosine:
    r"""KL weight that goes from ``start`` to ``end`` along half a cosine, slowly at both ends, and stays there.

    .. math:: w(s) = b + (a - b) \tfrac12 (1 + \cos(\pi \min(s / S, 1)))

    The learning rate's is :class:`Cosine`. Source: Fu et al. (2019), arXiv:1903.10145, whose rising function
    may be any monotone one (ours is linear in :class:`Cyclical`).

    >>> HalfCosine(0.0, 1.0, 100)(50)
    0.5
    """

    start: float
    end: float
    steps: int

    def __post_init__(self) -> None:
        _not_negative("half_cosine: start", self.start)
        _not_negative("half_cosine: end", self.end)
        _steps("half_cosine: steps", self.steps)

    def __call__(self, step: float) -> float:
        share = 0.5 * (1.0 + math.cos(math.pi * min(step / self.steps, 1.0)))
        return share * self.start + (1.0 - share) * self.end


@dataclass(frozen=True)
class Logistic:
    r"""KL weight that rises to ``end`` along a sigmoid: almost nothing at first, half of it at step ``middle``.

    .. math:: w(s) = \frac{b}{1 + \exp(-4 r (s - m) / m)}

    With ``steepness`` r = 1 the weight starts at 0.018 b; a larger r keeps it lower for longer. Source: Bowman et al.
    (2016), "Generating Sentences from a Continuous Space", arXiv:1511.06349, section 3.1 and figure 2 (no numbers).

    >>> Logistic(100)(100)
    0.5
    """

    middle: int
    steepness: float = 1.0
    end: float = 1.0

    def __post_init__(self) -> None:
        _steps("logistic: middle", self.middle)
        check_weight("logistic: steepness", self.steepness, zero=False)
        _not_negative("logistic: end", self.end)

    def __call__(self, step: float) -> float:
        power = 4.0 * self.steepness * (step - self.middle) / self.middle
        return 0.5 * self.end * (1.0 + math.tanh(0.5 * power))  # the sigmoid, without overflow


@dataclass(frozen=True)
class Cyclical:
    """KL weight that rises from ``start`` to ``end`` again and again, then stays at ``end``.

    Each of ``cycles`` cycles takes ``period`` steps: it rises linearly in the first ``ratio`` of them, and holds.

    Source: Fu et al. (2019), "Cyclical Annealing Schedule", arXiv:1903.10145, equation 6.

    >>> Cyclical(100)(25), Cyclical(100)(75), Cyclical(100)(100)
    (0.5, 1.0, 0.0)
    """

    period: int
    cycles: int = 4
    ratio: float = 0.5
    start: float = 0.0
    end: float = 1.0

    def __post_init__(self) -> None:
        _steps("cyclical: period", self.period)
        _steps("cyclical: cycles", self.cycles)
        _not_negative("cyclical: start", self.start)
        _not_negative("cyclical: end", self.end)
        if not 0 < self.ratio <= 1:
            raise ValueError(f"cyclical: ratio must lie in (0, 1] (the rising part of a cycle), got {self.ratio!r}.")

    def __call__(self, step: float) -> float:
        if step >= self.period * self.cycles:
            return self.end
        share = min((step % self.period) / self.period / self.ratio, 1.0)
        return (1.0 - share) * self.start + share * self.end


def constant(value: float = 1.0) -> Constant:
    """A learning rate or KL weight that stays: :class:`Constant`."""
    return Constant(value)


def cosine(final: float = 0.0) -> Cosine:
    """A learning rate that falls along a cosine: :class:`Cosine`."""
    return Cosine(final)


def warmup(then: Callable[[float], float], share: float = 0.05) -> Warmup:
    """A learning rate that rises first: :class:`Warmup`."""
    return Warmup(then, share)


def linear(start: float, end: float, steps: int) -> Linear:
    """A KL weight that goes from one number to another: :class:`Linear`."""
    return Linear(start, end, steps)


def half_cosine(start: float, end: float, steps: int) -> HalfCosine:
    """A KL weight that goes from one number to another along half a cosine: :class:`HalfCosine`."""
    return HalfCosine(start, end, steps)


def logistic(middle: int, steepness: float = 1.0, end: float = 1.0) -> Logistic:
    """A KL weight that rises along a sigmoid: :class:`Logistic`."""
    return Logistic(middle, steepness, end)


def cyclical(period: int, cycles: int = 4, ratio: float = 0.5, start: float = 0.0, end: float = 1.0) -> Cyclical:
    """A KL weight that rises again and again: :class:`Cyclical`."""
    return Cyclical(period, cycles, ratio, start, end)
