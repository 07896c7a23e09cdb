"""The pictures of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..criticism import PredictiveCheck, floors
from ..data import Splits
from ..infer import History
from ..plots import history_plot, predictive_plot, save, sequences_plot

__all__ = ["draw_pictures"]

Array = NDArray[np.float64]


def draw_pictures(folder: Path, splits: Splits[Any], samples: list[Any], check: PredictiveCheck,
                  history: History) -> None:
    """Writes ``training.png, samples.png, posterior_predictive.png``."""
    unit = "frame" if hasattr(splits.train, "lengths") else "item"
    save(history_plot(history, floors=floors(splits.train, splits.valid), unit=unit), folder / "training.png")
    save(predictive_plot(check), folder / "posterior_predictive.png")
    save(sequences_plot(splits.test, samples, name=check.name), folder / "samples.png")
