"""Which likelihood takes which kind of data: ``Model.for_data(data, likelihood=...)`` refuses the others.

| likelihood | binary | counts | real | categories |
|---|---|---|---|---|
| `Bernoulli` | yes |  |  |  |
| `AutoregressiveBernoulli` | yes |  |  |  |
| `NADE` | yes |  |  |  |
| `Poisson` | yes | yes |  |  |
| `NegativeBinomial` | yes | yes |  |  |
| `ZeroInflated` | yes | yes |  |  |
| `DiscretizedLogistics` |  | yes |  |  |
| `Categorical` |  |  |  | yes |
| `Normal` | yes | yes | yes |  |
| `FullNormal` | yes | yes | yes |  |
| `LowRankNormal` | yes | yes | yes |  |
| `Laplace` | yes | yes | yes |  |
| `StudentT` | yes | yes | yes |  |
| `ContinuousBernoulli` |  |  | yes |  |
| `Beta` |  |  | yes |  |
| `PenStrokes` |  |  | yes |  |

Values on the whole line, and those of counts, include 0 and 1: a Normal of fixed scale on binary data is mean squared
error. (A density of discrete data is no probability: with a learned scale it has no bound, and it is compared with no
other family.) A law on an interval takes real data that lie in it, which is checked where they are scored: Beta 0 < x
< 1, ContinuousBernoulli 0 <= x <= 1, the pen of PenStrokes 0 or 1; DiscretizedLogistics the levels 0..L-1. Grey levels
under a Bernoulli are refused: its density is none of theirs, and ContinuousBernoulli is for them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from .audio import DiscretizedLogistics
from .autoregressive import AutoregressiveBernoulli
from .continuous_bernoulli import ContinuousBernoulli
from .counts import NegativeBinomial, ZeroInflated
from .families import Bernoulli, Categorical, Family, Normal, Poisson, StudentT
from .gaussians import FullNormal, LowRankNormal
from .nade import NADE
from .real import Beta, Laplace
from .strokes import PenStrokes

__all__ = ["LIKELIHOODS", "check_fit", "family_class", "kinds_of", "likelihood_table",
           "reader_with_flags"]

LIKELIHOODS: tuple[type[Family], ...] = (
    Bernoulli, AutoregressiveBernoulli, NADE, Poisson, NegativeBinomial, ZeroInflated, DiscretizedLogistics,
    Categorical, Normal, FullNormal, LowRankNormal, Laplace, StudentT, ContinuousBernoulli, Beta, PenStrokes,
)
KINDS = ("binary", "counts", "real", "categories")
# 0 and 1 are counts, and counts are real numbers; codes are no numbers.
WITHIN = {"binary": ("binary",), "counts": ("binary", "counts"), "real": ("binary", "counts", "real"),
          "categories": ("categories",)}


def kinds_of(family: Family | type[Family]) -> tuple[str, ...]:
    """The kinds of data that a family is a likelihood of: its ``kinds``, or else its ``kind`` and what lies within.

    A law on the whole line takes any numbers (a Normal of fixed scale on binary data is mean squared error), one of
    counts takes 0 and 1 too. A law on an interval says ``kinds``, as its values are not all numbers of a kind: they
    are checked when they are scored.
    """
    return getattr(family, "kinds", None) or WITHIN.get(family.kind, (family.kind,))


def family_class(part: Any) -> type[Family] | None:
    """The class of family that a model's ``likelihood`` argument will have, where it can be told without building."""
    part = getattr(part, "family", part) if not isinstance(part, Family) else part  # that of a Conditional
    while isinstance(part, partial):
        part = part.func
    cls = part if isinstance(part, type) else type(part)
    return cls if issubclass(cls, Family) else None


def check_fit(part: Any, kind: str, model: str) -> None:
    """Refuse a likelihood that is no law of such data.

    Arguments:
        part: the ``likelihood`` argument of a model, or what it made of it. What is no Family is taken as it is.
        kind: that of the data set.
        model: for the message.

    Raises:
        ValueError: the family is for other kinds of data; the message says what fits.
    """
    family = family_class(part)
    if family is None or kind in kinds_of(family):
        return
    fitting = ", ".join(f"rv.{other.__name__}" for other in LIKELIHOODS if kind in kinds_of(other))
    raise ValueError(f"{model}.for_data: the data are of kind {kind!r}, and the likelihood {family.__name__} is a law "
                     f"of {' and '.join(kinds_of(family))} data. What fits: {fitting}; or build the data set with "
                     "the kind= that its values are.")


def reader_with_flags(part: Any, otherwise: Callable[[int], Family], dim: int) -> nn.Module:
    """The reader of data with missing elements: that of the likelihood's family, or, where none is told, another's.

    Arguments:
        part: as of :func:`check_fit`.
        otherwise: a family, as a function of ``dim``.
        dim: width of a frame.
    """
    part = getattr(part, "family", part) if not isinstance(part, Family) else part
    if not isinstance(part, Family):
        part = (part if family_class(part) is not None else otherwise)(dim)
    return part.reader(missing=True)  # type: ignore[no-any-return]


def likelihood_table() -> str:
    """Which likelihood takes which kind of data, as Markdown."""
    rows = [f"| `{family.__name__}` | " + " | ".join("yes" if kind in kinds_of(family) else "" for kind in KINDS) + " |"
            for family in LIKELIHOODS]
    return "\n".join([f"| likelihood | {' | '.join(KINDS)} |", "|---|" + "---|" * len(KINDS), *rows])
