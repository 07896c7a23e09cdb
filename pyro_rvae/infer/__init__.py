"""Training."""

from ..core.filtering import Filtered, particle_filter
from ..core.resampling import multinomial, systematic
from .aggressive import Aggressive
from .callbacks import Callback, Checkpoint
from .checkpoint import load_checkpoint, save_checkpoint
from .fit import fit
from .fivo import FIVO, ParticlesDied
from .guard import TrainingDiverged
from .history import History, Row
from .iwae import IWAE, PathDerivative
from .loss import Loss
from .objectives import Terms, measure
from .penalties import Contractive
from .rates import FreeBits, TargetRate
from .schedules import constant, cosine, cyclical, half_cosine, linear, logistic, warmup

__all__ = [
    "FIVO", "IWAE", "Aggressive", "Callback", "Checkpoint", "Contractive", "Filtered", "FreeBits", "History", "Loss",
    "ParticlesDied", "PathDerivative", "Row", "TargetRate", "Terms", "TrainingDiverged", "constant", "cosine",
    "cyclical", "fit", "half_cosine", "linear", "load_checkpoint", "logistic", "measure", "multinomial",
    "particle_filter", "save_checkpoint", "systematic", "warmup",
]
