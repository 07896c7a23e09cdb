"""What a trained model is for: generate, reconstruct, save and share."""

from __future__ import annotations

from .generate import generate, reconstruct
from .midi import read_midi, write_midi
from .store import from_pretrained, load_weights, save_pretrained, save_weights

__all__ = [
    "from_pretrained",
    "generate",
    "load_weights",
    "read_midi",
    "reconstruct",
    "save_pretrained",
    "save_weights",
    "write_midi",
]
