"""What a trained model is for: generate, reconstruct, save and share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..data.midi import read_midi, write_midi
from ..nn.unfolding import Unstreamable
from .anomalies import Anomaly, Scores
from .backtest import backtest
from .backtested import Backtest
from .between import reconstruct
from .capabilities import Capabilities, capabilities, capabilities_table
from .embed import Embedding, embed
from .filling import fill
from .forecast import Forecast, forecast
from .generate import generate
from .imputation import Imputation
from .imputation_scores import ImputationScores, imputation_scores
from .impute import impute
from .interpolate import Interpolation, interpolate
from .labels import LabelPrediction, predict_labels
from .naive import drift, naive, seasonal_naive
from .score import score
from .store import from_pretrained, load_weights, save_pretrained, save_weights
from .stream import Stream
from .streamed import Streamed
from .swap import Swap, swap
from .translate import paired, translate
from .traverse import Traversal, traverse

__all__ = [
    "Anomaly", "Backtest", "Capabilities", "Embedding", "Forecast", "Imputation", "ImputationScores", "Interpolation",
    "LabelPrediction", "Scores", "Stream", "Streamed", "Swap", "Traversal", "Unstreamable", "backtest", "capabilities",
    "capabilities_table", "drift",
    "embed", "fill", "forecast", "from_pretrained", "generate", "imputation_scores", "impute", "interpolate",
    "load_weights", "naive", "paired", "predict_labels", "read_midi", "reconstruct", "save_pretrained",
    "save_weights", "score", "seasonal_naive", "swap", "translate", "traverse", "write_midi",
]


if TYPE_CHECKING:
    from .embedder import Embedder as Embedder


def __getattr__(name: str) -> Any:
    """``Embedder``, at its first use: it needs scikit-learn, which the package does without."""
    if name == "Embedder":
        from .embedder import Embedder

        return Embedder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), "Embedder"})
