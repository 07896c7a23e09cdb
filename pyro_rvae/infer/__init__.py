"""Training."""

from .callbacks import Callback, Checkpoint
from .checkpoint import load_checkpoint, save_checkpoint
from .fit import fit
from .guard import TrainingDiverged
from .history import History, Row
from .loss import Loss
from .objectives import Terms, measure
from .penalties import Contractive
from .schedules import constant, cosine, cyclical, linear, warmup

__all__ = [
    "Callback", "Checkpoint", "Contractive", "History", "Loss", "Row", "Terms", "TrainingDiverged", "constant",
    "cosine", "cyclical", "fit", "linear", "load_checkpoint", "measure", "save_checkpoint", "warmup",
]
