"""What the models' constructors share."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..distributions import Conditional, Family
from ..nn import Reader, build

__all__ = ["reader_for"]


def reader_for(reader: Any, likelihood: Any, x_dim: int) -> Any:
    """The part through which networks read x: as given, or as the likelihood's family suggests."""
    if reader is not None:
        return build(reader, x_dim)
    if isinstance(likelihood, Conditional) and isinstance(likelihood.family, Family):
        likelihood = likelihood.family
    source = likelihood
    while isinstance(source, partial):
        source = source.func
    if isinstance(likelihood, Family):
        return likelihood.reader()
    if isinstance(source, type) and issubclass(source, Family):
        return likelihood(x_dim).reader()
    return Reader(x_dim)
