"""The three sides of a data set: fit on train, choose on valid, report on test."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar, cast

from torch import Tensor

from .checks import real_values
from .datasets import SequenceDataset
from .static import StaticDataset
from .transforms import Affine

__all__ = ["Splits"]

D = TypeVar("D", bound=SequenceDataset | StaticDataset)


class Splits(NamedTuple, Generic[D]):
    """``train, valid, test`` of one data set.

    >>> from pyro_rvae.data import SequenceDataset
    >>> one = SequenceDataset([[0.0], [0.5], [1.0]], [3])
    >>> Splits(one, one, one).standardize().train.transform.loc.item()
    0.5
    """

    train: D
    valid: D
    test: D

    def standardize(self) -> Splits[D]:
        """Mean 0 and deviation 1 on train; the same :class:`Affine`, attached, for all three.

        :raises ValueError: if the data are not real numbers, or are transformed already.
        """
        return self._in_units_of(Affine.standardize(_reals(self.train)))

    def normalize(self) -> Splits[D]:
        """[0, 1] on train (valid and test may reach beyond it); otherwise as :meth:`standardize`."""
        return self._in_units_of(Affine.normalize(_reals(self.train)))

    def _in_units_of(self, transform: Affine) -> Splits[D]:
        return Splits(*(cast(D, side.transformed(transform)) for side in self)).linked()

    def linked(self) -> Splits[D]:
        """The same sides, each told which one is the training split (``reference``): floors count it."""
        for side in self:
            side.reference = self.train
        return self

    def __repr__(self) -> str:
        lines = (f"  {name}={side!r}" for name, side in zip(self._fields, self, strict=True))
        return "Splits(\n" + ",\n".join(lines) + "\n)"


def _reals(data: SequenceDataset | StaticDataset) -> Tensor:
    return real_values(data.values, data.kind, data.transform)
