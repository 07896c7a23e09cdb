"""What a trained model is for: generate, reconstruct, save and share."""

from __future__ import annotations

from .generate import generate, reconstruct
from .labels import LabelPrediction, predict_labels
from .midi import read_midi, write_midi
from .store import from_pretrained, load_weights, save_pretrained, save_weights

__all__ = [
    "LabelPrediction", "from_pretrained", "generate", "load_weights", "predict_labels", "read_midi", "reconstruct",
    "save_pretrained", "save_weights", "write_midi",
]
