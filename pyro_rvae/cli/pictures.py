"""The pictures of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..criticism import PredictiveCheck, floors
from ..data import Splits
from ..data.transforms import raw_units
from ..infer import History
from ..plots import history_plot, piano_rolls, predictive_plot, save
from .report import is_music

__all__ = ["draw_pictures"]

Array = NDArray[Any]
SHOWN = 3  # samples in a picture, beside as many of the data
LINES = 12  # features that lines can tell apart; more are shown as a heat map


def draw_pictures(folder: Path, splits: Splits[Any], samples: Array, check: PredictiveCheck, history: History) -> None:
    """Writes ``training.png, samples.png, posterior_predictive.png``."""
    unit = "frame" if hasattr(splits.train, "lengths") else "item"
    save(history_plot(history, floors=floors(splits.train, splits.valid), unit=unit), folder / "training.png")
    save(predictive_plot(check), folder / "posterior_predictive.png")
    draw = _rolls if is_music(splits.train) else _beside
    save(draw(splits.test, list(samples[:SHOWN]), check.name), folder / "samples.png")


def _rolls(test: Any, samples: list[Array], name: str) -> Any:
    """Piano rolls: test data on the left, samples on the right."""
    rolls, titles = [], []
    for i, (piece, sample) in enumerate(zip(_data(test), samples, strict=False)):
        rolls += [piece[: len(sample)], sample]
        titles += [f"data: {test.ids[i] if test.ids is not None else i}", f"sample {i + 1}"]
    return piano_rolls(rolls, titles=titles, title=f"Data, and samples of {name}")


def _data(data: Any) -> list[Array]:
    """The first sequences ``(T, x_dim)`` (items ``(x_dim,)``) in raw units, NaN where missing."""
    number = min(SHOWN, len(data))
    return [raw_units(data, data[i]).numpy().astype(float) for i in range(number)]


def _beside(test: Any, samples: list[Array], name: str) -> Any:
    """Data in the first row, samples in the second, on one scale."""
    from matplotlib.figure import Figure

    data, features = _data(test), test.names
    columns = max(len(data), len(samples))
    figure = Figure(figsize=(12.0, 5.6), dpi=100, layout="constrained")
    figure.suptitle(f"Data (above), and samples of {name} (below)", x=0.01, ha="left", fontsize=14, fontweight="bold")
    axes = figure.subplots(2, columns, squeeze=False, sharey=True)
    low, high = _range([*data, *samples])
    for row, (pieces, colour) in zip(axes, ((data, "#e08a2c"), (samples, "#2f6fb7")), strict=True):
        for ax, piece in zip(row, pieces, strict=False):
            _one(ax, piece, low, high, colour)
        for ax in row[len(pieces):]:
            ax.set_visible(False)
    if features is not None and len(features) <= LINES and data[0].ndim == 2:
        axes[0][0].legend(features, frameon=False, fontsize=8)
    return figure


def _range(pieces: list[Array]) -> tuple[float, float]:
    values = np.concatenate([piece.ravel() for piece in pieces])
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _one(axes: Any, piece: Array, low: float, high: float, colour: str) -> None:
    """A sequence as lines or a heat map (time to the right); an item as a square image, if it can be one."""
    side = round(piece.size ** 0.5)
    if piece.ndim == 2 and piece.shape[1] <= LINES:
        axes.plot(piece, linewidth=1.2, color=colour if piece.shape[1] == 1 else None)
        axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    elif piece.ndim == 2:
        axes.imshow(piece.T, aspect="auto", origin="lower", vmin=low, vmax=high, interpolation="nearest")
    elif side > LINES and side * side == piece.size:
        axes.imshow(piece.reshape(side, side), vmin=low, vmax=high, cmap="gray_r")
        axes.set_axis_off()
    else:
        axes.plot(piece.ravel(), drawstyle="steps-mid", color=colour)
