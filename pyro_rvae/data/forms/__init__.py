"""How files become sequences, and sequences files: a small object for each sort of file."""

from __future__ import annotations

from .base import Form
from .describing import FORMS, form_from, form_of
from .dna import DNA, Protein
from .images import Images
from .pianoroll import PianoRoll
from .sound import Spectrum, Waveform
from .strokes import Strokes
from .table import Table
from .text import Text

__all__ = [
    "DNA", "FORMS", "Form", "Images", "PianoRoll", "Protein", "Spectrum", "Strokes", "Table", "Text", "Waveform",
    "form_from", "form_of",
]
