"""The settings of the commands that use a trained run: their fields, defaults and help."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["USES", "Backtest", "Embed", "Forecast", "Impute", "Interpolate", "Models", "Reconstruct",
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
        tempo: Quarter notes a minute, of MIDI.
        program: General MIDI instrument 0 to 127 (19 church organ, 0 piano, 52 choir).
        trust: Packages whose code the run may import, with commas between them.
        quiet: No progress bar.
    """

    run: str
    file: str
    mean: bool = False
    out: str | None = None
    seed: int = 0
    tempo: float = 80.0
    program: int = 19
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
        drawn: Decode draws of the likelihood instead of its means (an autoregressive frame has no mean).
        out: Where to: .npz, .csv, .png, or the kind of file that the run was trained on.
            Default: interpolated-FILE in the run directory.
        seed: Of the draws.
        tempo: Quarter notes a minute, of MIDI.
        program: General MIDI instrument 0 to 127 (19 church organ, 0 piano, 52 choir).
        trust: Packages whose code the run may import, with commas between them.
        quiet: No progress bar.
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
    drawn: bool = False
    out: str | None = None
    seed: int = 0
    tempo: float = 80.0
    program: int = 19
    trust: str = ""
    quiet: bool = False


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
        sequence: Which of them a picture shows (0 is the first).
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
    sequence: int = 0
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
        sequence: Which sequence a picture shows (0 is the first).
        out: Where to: .csv, .npz or the kind of file that the run was trained on (the data without gaps: what was
            observed, times, labels and controls stay as they are), .json, or .png.
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
    sequence: int = 0
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
        sequence: Which sequence a picture shows (0 is the first). Default: the one with the highest score.
        out: Where to: .csv (a row a step), .npz, .json, or .png. Default: scores-FILE.csv in the run directory.
        seed: Of the draws.
        trust: Packages whose code the run may import, with commas between them.
        quiet: No progress bar.
    """

    run: str
    file: str
    quantile: float = 0.99
    num_particles: int = 100
    sequence: int | None = None
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
