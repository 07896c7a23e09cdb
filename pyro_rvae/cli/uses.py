"""The settings of the commands that use a trained run: their fields, defaults and help."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["USES", "USE_EXAMPLES", "Backtest", "Embed", "Forecast", "Impute", "Interpolate", "Models", "Reconstruct",
           "Score"]


@dataclass(frozen=True)
class Reconstruct:
    """Encode sequences and decode them again.

    Args:
        run: The run directory.
        file: Your data (.npz, .csv, .mid, .txt, .fasta, .wav: what the run was trained on), or train, valid, test: a
            side of the run's own data.
        mean: Decode the mean of the guide and of the likelihood, instead of a draw.
        out: Where to: .npz, .csv, .png, or the kind of file that the run was trained on.
            Default: reconstructed-FILE in the run directory.
        seed: Of the draws.
        trust: Packages whose code the run may import, with commas between them.
        quiet: No progress bar.
    """

    run: str
    file: str
    mean: bool = False
    out: str | None = None
    seed: int = 0
    trust: str = ""
    quiet: bool = False


@dataclass(frozen=True)
class Interpolate:
    """Go from one sequence to another, or along one latent.

    Args:
        run: The run directory.
        file: Your data, or train, valid, test: a side of the run's own data.
        first: Number of the sequence to start from (0 is the first of the file).
        second: Number of the sequence to end at.
        num: Sequences on the way, both ends counted.
        path: How: on a great circle, or on a straight line.
        dimension: Go along this dimension of the latent of the first sequence instead, from --low to --high.
        low: The latent's value to start from.
        high: The latent's value to end at.
        site: Of which latent, where the model has several.
        swap: Exchange instead what the two have once a sequence (their static parts): four sequences come out.
        out: Where to: .npz, .csv, .png, or the kind of file that the run was trained on.
            Default: interpolated-FILE in the run directory.
        seed: Of the draws.
        trust: Packages whose code the run may import, with commas between them.
    """

    run: str
    file: str
    first: int = 0
    second: int = 1
    num: int = 8
    path: Literal["spherical", "linear"] = "spherical"
    dimension: int | None = None
    low: float = -3.0
    high: float = 3.0
    site: str | None = None
    swap: bool = False
    out: str | None = None
    seed: int = 0
    trust: str = ""


@dataclass(frozen=True)
class Forecast:
    """Forecast what follows each sequence: mean, median and intervals.

    Args:
        run: The run directory.
        file: The pasts, or train, valid, test: a side of the run's own data.
        horizon: Frames to forecast.
        num: Draws of the future.
        levels: Central intervals, with commas between them.
        controls: A file with the known inputs of the future, where the model reads controls: one sequence for each
            past, in its order (.csv in long form with columns control:NAME, or .npz with values and lengths).
        out: Where to: .csv (mean, median, ends of the intervals), .npz (all draws), .json, or .png.
            Default: forecast-FILE.csv in the run directory.
        seed: Of the draws.
        trust: Packages whose code the run may import, with commas between them.
        quiet: No progress bar.
    """

    run: str
    file: str
    horizon: int = 24
    num: int = 100
    levels: str = "0.5,0.8,0.95"
    controls: str | None = None
    out: str | None = None
    seed: int = 0
    trust: str = ""
    quiet: bool = False


@dataclass(frozen=True)
class Backtest:
    """Forecast again and again from a rolling origin, beside naive, seasonal-naive and drift forecasts.

    Args:
        run: The run directory.
        file: The series, or train, valid, test: a side of the run's own data.
        horizon: Frames to forecast from each origin.
        stride: Frames from one origin to the next. Default: the horizon.
        context: Most frames that the model sees before an origin. Default: all.
        windows: The last origins only, so many of each series. Default: all.
        seasonality: Frames of a season, of the seasonal-naive forecast and of MASE.
        num: Draws of each forecast.
        out: A file to write the numbers to (.json).
        seed: Of the draws.
        trust: Packages whose code the run may import, with commas between them.
        quiet: No progress bar.
    """

    run: str
    file: str
    horizon: int = 24
    stride: int | None = None
    context: int | None = None
    windows: int | None = None
    seasonality: int = 1
    num: int = 100
    out: str | None = None
    seed: int = 0
    trust: str = ""
    quiet: bool = False


@dataclass(frozen=True)
class Impute:
    """Fill missing elements and gaps, and say how sure that is.

    Args:
        run: The run directory.
        file: The data with gaps (an empty cell of a CSV, NaN), or train, valid, test: a side of the run's own data.
        how: What stands in the gaps of a filled file.
        num: Draws of what is missing.
        levels: Central intervals, with commas between them.
        rows: Write one row for each missing element (median and intervals) instead of the filled data.
        out: Where to: .csv or .npz (the data without gaps), .json, or .png.
            Default: imputed-FILE.csv in the run directory.
        seed: Of the draws.
        trust: Packages whose code the run may import, with commas between them.
        quiet: No progress bar.
    """

    run: str
    file: str
    how: Literal["median", "mean"] = "median"
    num: int = 100
    levels: str = "0.5,0.8,0.95"
    rows: bool = False
    out: str | None = None
    seed: int = 0
    trust: str = ""
    quiet: bool = False


@dataclass(frozen=True)
class Score:
    """Say how strange each step and each sequence is, and which are above a threshold.

    Args:
        run: The run directory.
        file: The data to score, or train, valid, test: a side of the run's own data.
        quantile: The threshold is this quantile of the scores of the run's validation data: about 1 - quantile of
            what is normal lies above it.
        num_particles: Draws of each score.
        out: Where to: .csv (a row a step), .npz, .json, or .png. Default: scores-FILE.csv in the run directory.
        seed: Of the draws.
        trust: Packages whose code the run may import, with commas between them.
        quiet: No progress bar.
    """

    run: str
    file: str
    quantile: float = 0.99
    num_particles: int = 100
    out: str | None = None
    seed: int = 0
    trust: str = ""
    quiet: bool = False


@dataclass(frozen=True)
class Embed:
    """Write what the guide makes of each sequence, or of each step, as a table of numbers.

    Args:
        run: The run directory.
        file: Your data, or train, valid, test: a side of the run's own data.
        by: One row a sequence, or one a step.
        site: Of which latent. Default: all.
        out: Where to: .csv or .npz. Default: embedded-FILE.csv in the run directory.
        seed: Of the draws.
        trust: Packages whose code the run may import, with commas between them.
        quiet: No progress bar.
    """

    run: str
    file: str
    by: Literal["sequence", "step"] = "sequence"
    site: str | None = None
    out: str | None = None
    seed: int = 0
    trust: str = ""
    quiet: bool = False


@dataclass(frozen=True)
class Models:
    """List the models, and what each can be used for."""


USES: dict[str, type] = {
    "reconstruct": Reconstruct, "interpolate": Interpolate, "forecast": Forecast, "backtest": Backtest,
    "impute": Impute, "score": Score, "embed": Embed, "models": Models,
}

USE_EXAMPLES = {
    "reconstruct": """examples:
  pyro-rvae reconstruct runs/mine mine.npz
  pyro-rvae reconstruct runs/mine test --mean --out again.png""",
    "interpolate": """examples:
  pyro-rvae interpolate runs/mine mine.npz --first 0 --second 5 --num 8 --out between.mid
  pyro-rvae interpolate runs/mine test --dimension 3 --out along.png
  pyro-rvae interpolate runs/mine test --swap --out swapped.npz""",
    "forecast": """examples:
  pyro-rvae forecast runs/mine past.csv --horizon 24
  pyro-rvae forecast runs/mine past.csv --horizon 96 --controls future.csv --num 500 --out forecast.png""",
    "backtest": """examples:
  pyro-rvae backtest runs/mine test --horizon 24 --seasonality 24
  pyro-rvae backtest runs/mine series.csv --horizon 96 --stride 24 --context 336 --out backtest.json""",
    "impute": """examples:
  pyro-rvae impute runs/mine gaps.csv --out filled.csv
  pyro-rvae impute runs/mine gaps.csv --rows --levels 0.8 --out gaps.csv""",
    "score": """examples:
  pyro-rvae score runs/mine new.csv
  pyro-rvae score runs/mine new.csv --quantile 0.999 --out scores.png""",
    "embed": """examples:
  pyro-rvae embed runs/mine mine.csv --out embeddings.csv
  pyro-rvae embed runs/mine mine.csv --by step --out steps.npz""",
    "models": """examples:
  pyro-rvae models""",
}
