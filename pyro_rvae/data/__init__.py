"""Data sets, batches, units, the user's own files, the standard sets and the embedded chorales."""

from __future__ import annotations

from .batching import Batch, Batches
from .chorales import bach_chorales
from .datasets import SequenceDataset
from .files import load, save
from .splits import Splits
from .standard import binarized_mnist, jsb_chorales, nottingham, piano_midi
from .static import StaticDataset
from .synthetic import synthetic9
from .text import Vocabulary
from .texts import names, tinyshakespeare
from .transforms import Affine

__all__ = [
    "Affine", "Batch", "Batches", "SequenceDataset", "Splits", "StaticDataset", "Vocabulary", "bach_chorales",
    "binarized_mnist", "jsb_chorales", "load", "names", "nottingham", "piano_midi", "save", "synthetic9",
    "tinyshakespeare",
]
