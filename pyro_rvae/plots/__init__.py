"""What a person looks at.

Each function returns :class:`Panels`, a tuple of matplotlib axes that a notebook shows, and touches no pyplot state;
a plot of one panel draws into ``axes=`` of your own. Titles say the finding in words. :func:`save` writes a plot;
figures are 1200 pixels wide at 100 dots an inch.
"""

from .between import between_plot, swap_plot
from .bounds import bounds_plot, steps_plot
from .calibration import coverage_plot, crps_plot, khat_plot, pit_plot, sbc_plot
from .collapse import collapse_plot
from .forecast import forecast_plot
from .impute import imputation_plot
from .latents import latent_map
from .monitor import monitor_plot
from .music import piano_rolls
from .predictive import predictive_plot
from .score import score_histogram, score_plot
from .sequences import reconstruction_plot, sequences_plot
from .style import DATA, GREY, INK, MODEL, PALE, PAPER, Panels, save
from .training import history_plot

__all__ = [
    "DATA",
    "GREY",
    "INK",
    "MODEL",
    "PALE",
    "PAPER",
    "Panels",
    "between_plot",
    "bounds_plot",
    "collapse_plot",
    "coverage_plot",
    "crps_plot",
    "forecast_plot",
    "history_plot",
    "khat_plot",
    "imputation_plot",
    "latent_map",
    "monitor_plot",
    "piano_rolls",
    "pit_plot",
    "predictive_plot",
    "reconstruction_plot",
    "save",
    "sbc_plot",
    "score_histogram",
    "score_plot",
    "sequences_plot",
    "steps_plot",
    "swap_plot",
]
