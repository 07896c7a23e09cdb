"""What the commands that use a trained run do."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import data as library
from .. import plots, tasks
from ..criticism.progress import progress
from ..criticism.tables import count
from ..tasks.vectors import latent_widths
from .between import interpolate, reconstruct
from .keeping import write_filled
from .letters import in_letters
from .opened import Opened
from .parser import UsageError
from .sampling import without_end
from .telling import check_memory
from .uses import Backtest, Embed, Forecast, Impute, Interpolate, Models, Reconstruct, Score
from .writing import dated, said, write_arrays, write_picture, write_result, write_rows

__all__ = ["use"]

TABLES = (".csv", ".npz", ".json", ".png")


def use(settings: Any) -> int:
    """Run the command of these settings; the exit code."""
    if isinstance(settings, Models):
        print(tasks.capabilities_table())
        return 0
    run = Opened.open(settings)
    return int(COMMANDS[type(settings)](settings, run))


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


def _chosen(sequence: int, number: int) -> int:
    if not 0 <= sequence < number:
        raise UsageError(f"--sequence must be the number of a sequence, 0 to {number - 1}, got {sequence}")
    return sequence


def _rows(rows: Any, data: Any, run: Opened) -> Any:
    """Rows of a table as a reader wants them: dates and letters where the data have such."""
    return in_letters(dated(rows, data.form or run.form), run.form)


# ------------------------------------------------------------------------------------------------ the commands
def forecast(settings: Forecast, run: Opened) -> int:
    path = run.out(settings, "forecast", ".csv", TABLES)
    levels = _levels(settings.levels)
    past = without_end(run.data(), run.form)
    shown = _chosen(settings.sequence, len(past))
    check_memory(settings.num, len(past), settings.horizon, past.x_dim)
    with progress("forecast", shown=not settings.quiet):
        found = tasks.forecast(run.model, past, settings.horizon, settings.num, seed=settings.seed,
                               controls=_controls(settings.controls, past, run.form))
    if path.suffix.lower() == ".png":
        write_picture(path, plots.forecast_plot(found, sequence=shown))
    else:
        write_result(path, found, _rows(found.rows(_quantiles(levels)), past, run))
    irregular = past.times is not None and found.times is None
    return said(path, f"{count(settings.horizon, 'frame')} behind each of {count(len(past), 'sequence')}, "
                      f"{count(settings.num, 'draw')}"
                      f"{' (the times of the past are irregular, so they are not gone on with)' * irregular}")


def _controls(file: str | None, past: Any, form: Any) -> Any:
    """Known inputs of the future, one array a sequence: by name, and by sequence, where both files name them."""
    if file is None:
        return None
    found = library.read(file, library.form_from("Table"))
    values = found.values if found.controls is None else found.controls
    names = found.names if found.controls is None else getattr(found.form, "controls", None)
    known = getattr(form, "controls", None)
    if known is not None and names is not None:
        if sorted(known) != sorted(names):
            raise UsageError(f"--controls {file} has {', '.join(names)}, and the run was trained with "
                             f"{', '.join(known)}: give columns control:NAME of these names")
        values = values[:, [list(names).index(name) for name in known]]
    each = [x.numpy() for x in values.split(found.lengths.tolist())]
    if found.ids is None or past.ids is None or len(each) < 2:
        return each
    if sorted(found.ids) != sorted(past.ids):
        raise UsageError(f"--controls {file} holds the sequences {', '.join(found.ids[:5])}, and the past "
                         f"{', '.join(past.ids[:5])}: give those of the same sequences")
    return [each[found.ids.index(name)] for name in past.ids]


def backtest(settings: Backtest, run: Opened) -> int:
    path = None if settings.out is None else run.out(settings, "backtest", ".json", (".json",))
    series = run.data()
    with progress("backtest", shown=not settings.quiet):
        found = tasks.backtest(run.model, series, settings.horizon, stride=settings.stride, windows=settings.windows,
                               context=settings.context, num=settings.num, seasonality=settings.seasonality,
                               seed=settings.seed)
    print(found)
    short = int((series.lengths < settings.horizon + (settings.context or max(3, 2 * settings.seasonality))).sum())
    if short:
        print(f"{short} of {len(series)} series {'is' if short == 1 else 'are'} too short for a forecast, and left out")
    if path is not None:
        write_result(path, found, ())
    return 0


def impute(settings: Impute, run: Opened) -> int:
    tables = (".csv", ".json", ".png")
    endings = tables if settings.rows else tuple(dict.fromkeys((*run.endings(), *tables)))
    path = run.out(settings, "imputed", ".npz" if run.model.static else ".csv", endings)
    levels = _levels(settings.levels)
    raw, data = run.raw(), run.data()
    shown = _chosen(settings.sequence, len(data))
    check_memory(settings.num, data.values.numel())
    with progress("impute", shown=not settings.quiet):
        found = tasks.impute(run.model, data, settings.num, seed=settings.seed)
    if path.suffix.lower() == ".png" and ".png" not in run.form.writes:
        write_picture(path, plots.imputation_plot(found, sequence=shown))
    elif settings.rows or path.suffix.lower() == ".json":
        rows = [{"time" if name == "step" else name: value for name, value in row.items()}
                for row in found.rows(_quantiles(levels))]
        write_result(path, found, _rows(rows, data, run))
    else:
        write_filled(path, None if run.own else run.file, run.form, raw, found, settings.how)
    print(found)
    return said(path, "written")


def score(settings: Score, run: Opened) -> int:
    path = run.out(settings, "scores", ".csv", TABLES)
    if not 0 < settings.quantile < 1:
        raise UsageError(f"--quantile must lie between 0 and 1, got {settings.quantile}")
    data, valid = run.data(), run.side("valid")
    check_memory(settings.num_particles, len(data))
    _enough(settings.quantile, valid)
    chosen = None if settings.sequence is None else [_chosen(settings.sequence, len(data))]
    with progress("score", shown=not settings.quiet):
        normal = tasks.score(run.model, valid, settings.num_particles, seed=settings.seed)
        found = tasks.score(run.model, data, settings.num_particles, seed=settings.seed)
    by = "sequence" if found.by_step is None else "step"
    threshold = normal.threshold(settings.quantile, by=by)
    if path.suffix.lower() == ".png":
        write_picture(path, plots.score_plot(found, chosen, threshold=threshold))
    else:
        write_result(path, found, _rows(found.rows(threshold), data, run))
    print(found)
    return said(path, f"{count(int(found.flags(threshold, by=by).sum()), by)} above the threshold {threshold:.4g} (the "
                      f"{settings.quantile:g} quantile of {count(len(valid), 'validation sequence')})"
                      f"{_unscored(data)}")


def _enough(quantile: float, valid: Any) -> None:
    """Refuse a threshold that so few validation scores cannot give, before anything is scored."""
    most = int(valid.lengths.sum()) if hasattr(valid, "lengths") else len(valid)
    need = int(np.ceil(round(quantile / (1 - quantile), 6)))
    if most < need:
        raise UsageError(f"--quantile {quantile:g} needs at least {need} scores of validation data, and this run has "
                         f"{most}: ask for at most {int(1000 * most / (most + 1)) / 1000:g}")


def _unscored(data: Any) -> str:
    """What is said of steps that have no score of their own, since nothing was observed."""
    x = data.values.flatten(1)
    empty = int((x.isnan() if x.is_floating_point() else x < 0).all(-1).sum())
    return f"; {count(empty, 'step')} unscored, where everything is missing" if empty else ""


def embed(settings: Embed, run: Opened) -> int:
    path = run.out(settings, "embedded", ".csv", (".csv", ".npz"))
    known = {} if settings.site is None else latent_widths(run.model)
    if settings.site is not None and settings.site not in known:
        raise UsageError(f"--site must be a continuous latent of the guide ({', '.join(known)}), got {settings.site!r}")
    data = run.data()
    with progress("embed", shown=not settings.quiet):
        found = tasks.embed(run.model, data, by=settings.by, site=settings.site, seed=settings.seed)
    if path.suffix.lower() == ".csv":
        write_rows(path, found.rows())
    else:
        write_arrays(path, found)
    return said(path, f"{count(found.width, 'number')} a {settings.by} of {count(len(data), 'sequence')}")


COMMANDS: dict[type, Any] = {Reconstruct: reconstruct, Interpolate: interpolate, Forecast: forecast, Backtest: backtest,
                             Impute: impute, Score: score, Embed: embed}

