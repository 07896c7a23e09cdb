"""Criticism: how good is the model, is its latent used, and does it look like the data?"""

from . import statistics
from .arviz import from_netcdf, to_arviz, to_netcdf, without_padding
from .bounds import Evaluation, evaluate
from .by_step import StepCosts
from .calibration import Calibration
from .collapse import CollapseReport, collapse_report
from .floors import floors
from .forecasts import from_prefix, one_step
from .held_out import loo_pit, prequential_pit
from .importance import SmoothedWeights, good_k, pareto_k, psis
from .information import Information, mutual_information
from .leave_one_out import LeaveOneOut, loo
from .matched import opening
from .monitor import CollapseMonitor, CollapseRow, CollapseWarning
from .pair import Pair
from .pit import Pit
from .predictive import PredictiveCheck, predictive_check
from .replicates import Replicates, free_running, reconstructed
from .score_draws import climatology, predictive_scores
from .scores import ByStep, PredictiveScores
from .simulation import sbc
from .two_sample import TwoSample, two_sample

__all__ = [
    "ByStep",
    "Calibration",
    "CollapseMonitor",
    "CollapseReport",
    "CollapseRow",
    "CollapseWarning",
    "Evaluation",
    "Information",
    "LeaveOneOut",
    "Pair",
    "Pit",
    "PredictiveCheck",
    "PredictiveScores",
    "Replicates",
    "SmoothedWeights",
    "StepCosts",
    "TwoSample",
    "climatology",
    "collapse_report",
    "evaluate",
    "floors",
    "free_running",
    "from_netcdf",
    "from_prefix",
    "good_k",
    "loo",
    "loo_pit",
    "mutual_information",
    "one_step",
    "opening",
    "pareto_k",
    "predictive_check",
    "predictive_scores",
    "prequential_pit",
    "psis",
    "reconstructed",
    "sbc",
    "statistics",
    "to_arviz",
    "to_netcdf",
    "two_sample",
    "without_padding",
]
