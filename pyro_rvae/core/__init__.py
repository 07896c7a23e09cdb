"""The core: a model is one loop body; readings of the loop interpret it."""

from .card import DataCard
from .handlers import Anneal, annealed, explicit, given, trusted, weighted_auxiliaries
from .noise import given_noise, mean_path
from .sequence_vae import SequenceVAE
from .steps import Steps
from .verbs import Step, shift

__all__ = [
    "Anneal", "DataCard", "SequenceVAE", "Step", "Steps", "annealed", "explicit", "given", "given_noise", "mean_path",
    "shift", "trusted", "weighted_auxiliaries",
]
