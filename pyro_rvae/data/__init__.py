"""Data sets, batches, units, the user's own files, the standard sets and the embedded chorales."""

from __future__ import annotations

from .batching import Batch, Batches
from .chorales import bach_chorales
from .datasets import SequenceDataset
from .digits import mnist_digits
from .drawings import omniglot_strokes, pen_digits
from .ecg import ecg5000
from .files import READS, load, read, save
from .forms import (
    DNA,
    Form,
    Images,
    PianoRoll,
    Protein,
    Spectrum,
    Strokes,
    Table,
    Text,
    Waveform,
    form_from,
    form_of,
)
from .hold_out import HeldOut, hold_out
from .physionet import physionet2012
from .series import etth1, windows
from .speech import spoken_digits
from .splice import splice_junctions
from .splits import Splits
from .standard import binarized_mnist, jsb_chorales, nottingham, piano_midi
from .static import StaticDataset
from .synthetic import synthetic9
from .text import Vocabulary
from .texts import names, tinyshakespeare
from .transforms import Affine
from .vowels import japanese_vowels

__all__ = [
    "Affine", "Batch", "Batches", "DNA", "Form", "HeldOut", "Images", "PianoRoll", "Protein", "READS",
    "SequenceDataset", "Spectrum", "Splits", "StaticDataset", "Strokes", "Table", "Text", "Vocabulary", "Waveform",
    "bach_chorales", "binarized_mnist", "ecg5000", "etth1", "form_from", "form_of", "hold_out",
    "japanese_vowels", "jsb_chorales", "load", "mnist_digits", "names", "nottingham", "omniglot_strokes",
    "pen_digits", "physionet2012", "piano_midi", "read", "save", "splice_junctions", "spoken_digits",
    "synthetic9", "tinyshakespeare", "windows",
]
