"""What the commands that use a trained run do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import data as library
from .. import plots, tasks
from ..core import SequenceVAE
from ..criticism.progress import progress
from ..criticism.tables import count
from ..tasks.inputs import as_data
from .choose import load_data
from .parser import UsageError
from .rundir import RunDirectory
from .settings import Train
from .uses import Backtest, Embed, Forecast, Impute, Interpolate, Models, Reconstruct, Score
from .writing import destination, write_arrays, write_result, write_rows, write_sequences

__all__ = ["use"]

SIDES = ("train", "valid", "test")
TABLES = (".csv", ".npz", ".json", ".png")


def use(settings: Any) -> int:
    """Run the command of these settings; the exit code."""
    if isinstance(settings, Models):
        print(tasks.capabilities_table())
        return 0
    run = _Run.open(settings)
    return int(COMMANDS[type(settings)](settings, run))


@dataclass(frozen=True)
class _Run:
    """A trained run, and the file that it is used on."""

    run: RunDirectory
    model: SequenceVAE
    trained: Train
    form: Any
    file: str

    @classmethod
    def open(cls, settings: Any) -> _Run:
        run = RunDirectory.open(settings.run)
        model = run.model(settings.trust)
        return cls(run, model, run.settings(), library.form_of(model), settings.file)

    @property
    def stem(self) -> str:
        return Path(self.file).stem

    def data(self, file: str | None = None) -> Any:
        """The user's file, or a side of the run's own data, in the model's units."""
        file = self.file if file is None else file
        if file in SIDES and not Path(file).exists():
            return self.side(file)
        return as_data(self.model, library.read(file, self.form), file)

    def side(self, name: str) -> Any:
        """A side of the data that the run was trained on."""
        return getattr(load_data(self.trained, static=self.model.static), name)

    def out(self, settings: Any, word: str, ending: str, endings: Iterable[str]) -> Path:
        """Where to write, asked before anything is computed."""
        return destination(self.run, settings.out, f"{word}-{self.stem}{ending}", endings)

    def endings(self) -> tuple[str, ...]:
        """Of files of sequences."""
        return tuple(dict.fromkeys((*self.form.writes, ".npz", ".csv", ".png")))

    def own_ending(self) -> str:
        """The usual one."""
        return str(self.form.writes[0])


def _said(path: Path, words: str) -> int:
    print(f"{words}: {path}")
    return 0


def _levels(words: str) -> tuple[float, ...]:
    try:
        found = tuple(sorted(float(word) for word in words.split(",")))
    except ValueError:
        found = ()
    if not found or not all(0 < level < 1 for level in found):
        raise UsageError("--levels must be numbers between 0 and 1 with commas between them, such as 0.5,0.8,0.95, "
                         f"got {words!r}")
    return found


def _quantiles(levels: tuple[float, ...]) -> tuple[float, ...]:
    """The ends of central intervals and the median, in order."""
    return tuple(sorted({0.5, *(round(0.5 - level / 2, 6) for level in levels),
                         *(round(0.5 + level / 2, 6) for level in levels)}))


def _number(name: str, i: int, data: Any) -> int:
    if not 0 <= i < len(data):
        raise UsageError(f"--{name} must be the number of a sequence, 0 to {len(data) - 1}, got {i}")
    return i


# ------------------------------------------------------------------------------------------------ the commands
def reconstruct(settings: Reconstruct, run: _Run) -> int:
    path = run.out(settings, "reconstructed", run.own_ending(), run.endings())
    data = run.data()
    with progress("reconstruct", shown=not settings.quiet):
        again = tasks.reconstruct(run.model, data, mean=settings.mean, seed=settings.seed)
    write_sequences(path, run.form, again, data.ids,
                    picture=lambda: plots.reconstruction_plot(run.model, data, seed=settings.seed))
    return _said(path, f"{count(len(again), 'sequence')}, encoded and decoded")


def interpolate(settings: Interpolate, run: _Run) -> int:
    path = run.out(settings, "interpolated", run.own_ending(), run.endings())
    data = run.data()
    first = data.subset([_number("first", settings.first, data)])
    if settings.dimension is not None:
        found: Any = tasks.traverse(run.model, first, settings.dimension, _between(settings), site=settings.site)
        what = f"along dimension {settings.dimension} of the latent of sequence {settings.first}"
    else:
        second = data.subset([_number("second", settings.second, data)])
        if settings.swap:
            return _swapped(settings, run, path, first, second)
        found = tasks.interpolate(run.model, first, second, settings.num, path=settings.path, seed=settings.seed)
        what = f"from sequence {settings.first} to {settings.second}"
    write_sequences(path, run.form, list(found.sequences), picture=lambda: plots.between_plot(found))
    return _said(path, f"{count(len(found), 'sequence')}, {what}")


def _swapped(settings: Interpolate, run: _Run, path: Path, first: Any, second: Any) -> int:
    sites = None if settings.site is None else (settings.site,)
    found = tasks.swap(run.model, first, second, sites=sites, seed=settings.seed)
    write_sequences(path, run.form, [*found.reconstructed, *found.swapped], picture=lambda: plots.swap_plot(found))
    return _said(path, f"sequences {settings.first} and {settings.second}, and both with "
                       f"{' and '.join(found.sites)} of the other")


def _between(settings: Interpolate) -> list[float]:
    if not settings.low < settings.high:
        raise UsageError(f"--low must be below --high, got {settings.low} and {settings.high}")
    if settings.num < 2:
        raise UsageError(f"--num must be at least 2 along a dimension, got {settings.num}")
    step = (settings.high - settings.low) / (settings.num - 1)
    return [settings.low + i * step for i in range(settings.num)]


def forecast(settings: Forecast, run: _Run) -> int:
    path = run.out(settings, "forecast", ".csv", TABLES)
    levels = _levels(settings.levels)
    past = run.data()
    with progress("forecast", shown=not settings.quiet):
        found = tasks.forecast(run.model, past, settings.horizon, settings.num, controls=_controls(settings.controls),
                               seed=settings.seed)
    write_result(path, found, found.rows(_quantiles(levels)), lambda: plots.forecast_plot(found))
    return _said(path, f"{settings.horizon} frames behind each of {len(past)} sequences, {settings.num} draws")


def _controls(file: str | None) -> Any:
    """Known inputs of the future, one array a sequence."""
    if file is None:
        return None
    return [x.numpy() for x in library.read(file, library.form_from("Table"))]


def backtest(settings: Backtest, run: _Run) -> int:
    path = None if settings.out is None else run.out(settings, "backtest", ".json", (".json",))
    series = run.data()
    with progress("backtest", shown=not settings.quiet):
        found = tasks.backtest(run.model, series, settings.horizon, stride=settings.stride, windows=settings.windows,
                               context=settings.context, num=settings.num, seasonality=settings.seasonality,
                               seed=settings.seed)
    print(found)
    if path is not None:
        write_result(path, found, ())
    return 0


def impute(settings: Impute, run: _Run) -> int:
    endings = TABLES if settings.rows else tuple(dict.fromkeys((*run.endings(), *TABLES)))
    path = run.out(settings, "imputed", ".csv", endings)
    levels = _levels(settings.levels)
    data = run.data()
    with progress("impute", shown=not settings.quiet):
        found = tasks.impute(run.model, data, settings.num, seed=settings.seed)
    if settings.rows or path.suffix.lower() in (".json", ".png"):
        write_result(path, found, found.rows(_quantiles(levels)), lambda: plots.imputation_plot(found))
    else:
        write_sequences(path, run.form, found.filled(settings.how), data.ids)
    print(found)
    return _said(path, "written")


def score(settings: Score, run: _Run) -> int:
    path = run.out(settings, "scores", ".csv", TABLES)
    if not 0 < settings.quantile < 1:
        raise UsageError(f"--quantile must lie between 0 and 1, got {settings.quantile}")
    data, valid = run.data(), run.side("valid")
    with progress("score", shown=not settings.quiet):
        normal = tasks.score(run.model, valid, settings.num_particles, seed=settings.seed)
        found = tasks.score(run.model, data, settings.num_particles, seed=settings.seed)
    by = "sequence" if found.by_step is None else "step"
    threshold = normal.threshold(settings.quantile, by=by)
    write_result(path, found, found.rows(threshold), lambda: plots.score_plot(found, threshold=threshold))
    flags = found.flags(threshold, by=by)
    print(found)
    return _said(path, f"{int(flags.sum())} {by}s above the threshold {threshold:.4g} (the {settings.quantile:g} "
                       f"quantile of {len(valid)} validation sequences)")


def embed(settings: Embed, run: _Run) -> int:
    path = run.out(settings, "embedded", ".csv", (".csv", ".npz"))
    data = run.data()
    with progress("embed", shown=not settings.quiet):
        found = tasks.embed(run.model, data, by=settings.by, site=settings.site, seed=settings.seed)
    if path.suffix.lower() == ".csv":
        write_rows(path, found.rows())
    else:
        write_arrays(path, found)
    return _said(path, f"{found.width} numbers a {settings.by} of {len(data)} sequences")


COMMANDS: dict[type, Any] = {Reconstruct: reconstruct, Interpolate: interpolate, Forecast: forecast, Backtest: backtest,
                             Impute: impute, Score: score, Embed: embed}

