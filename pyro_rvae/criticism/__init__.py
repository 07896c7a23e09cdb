"""Criticism: how good is the model, is its latent used, and does it look like the data?"""

from . import statistics
from .arviz import from_netcdf, to_arviz, to_netcdf
from .bounds import Evaluation, evaluate
from .floors import floors
from .latents import LatentUse, latent_use
from .predictive import PredictiveCheck, predictive_check
from .replicates import Replicates, free_running, one_step

__all__ = [
    "Evaluation",
    "LatentUse",
    "PredictiveCheck",
    "Replicates",
    "evaluate",
    "floors",
    "free_running",
    "from_netcdf",
    "latent_use",
    "one_step",
    "predictive_check",
    "statistics",
    "to_arviz",
    "to_netcdf",
]
