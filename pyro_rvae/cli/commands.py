"""What the commands do."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from .. import data as library
from ..core import SequenceVAE
from ..tasks.inputs import as_data
from .choose import NAMED, raw_data, trained_on
from .parser import UsageError
from .report import judge
from .rundir import RunDirectory, write_json
from .sampling import sample
from .settings import Evaluate, Report, Train
from .subject import Subject
from .training import train
from .writing import writable

__all__ = ["evaluate", "report", "sample", "train"]


def evaluate(settings: Evaluate) -> int:
    """``pyro-rvae evaluate``: print the figures, and write them if asked."""
    run = RunDirectory.open(settings.run)
    model = run.model(settings.trust)
    _check_ending(settings.out, ".json")
    trained = run.settings()
    splits, data = _data(settings, trained, model)
    figures, table = judge(model, data, splits.train, num_particles=settings.num_particles, seed=settings.seed)
    print(table)
    if settings.out is not None:
        write_json(Path(settings.out), {"run": settings.run, "data": settings.data or trained.data,
                                        "split": settings.split} | figures)
    return 0


def _data(settings: Evaluate | Report, trained: Train, model: SequenceVAE) -> tuple[Any, Any]:
    """The splits that a run was trained on, and the data to judge it on."""
    splits: Any = trained_on(trained, model)
    if settings.data is None:
        if settings.split == "all":
            raise UsageError("--split all is for other data than the run's own: give a file with --data")
        return splits, getattr(splits, settings.split)
    if settings.split == "all":
        if settings.data in NAMED:
            raise UsageError("--split all is for a file of your own: a set by name has its sides")
        return splits, as_data(model, library.read(settings.data, library.form_of(model)), settings.data)
    other: Any = raw_data(settings.data, trained.kind, trained.classes, trained.split_seed, static=model.static,
                          form=trained.form)
    return splits, _in_units_of(model, getattr(other, settings.split), splits.train)


def _in_units_of(model: SequenceVAE, data: Any, train: Any) -> Any:
    """Other data of the same kind, in the units that the model was trained in."""
    if data.x_dim != train.x_dim or data.kind != train.kind or data.classes != train.classes:
        raise UsageError(f"the run was trained on {train.kind} data with x_dim={train.x_dim}; --data is {data.kind} "
                         f"with x_dim={data.x_dim}")
    if model.transform is None or data.transform is not None:
        return data
    return data.transformed(model.transform)


def report(settings: Report) -> int:
    """``pyro-rvae report``: one page about a run; the exit code is 1 if a section failed (the page says why)."""
    from .reporting import write_report  # it takes what draws pictures with it

    run = RunDirectory.open(settings.run)
    if not (run.path / "history.csv").is_file():
        raise UsageError(f"{settings.run} has no history.csv: its training was never finished, or was another "
                         f"program's; finish it first, pyro-rvae train --resume {settings.run}")
    _check_ending(settings.out, ".html")
    path = run.path / "report.html" if settings.out is None else Path(settings.out)
    writable(path)
    model, trained = run.model(settings.trust), run.settings()
    splits, data = _data(settings, trained, model)
    failures = write_report(Subject(run, model, trained, settings, splits.train, splits.valid, data), path)
    for message in failures:
        print(f"pyro-rvae report: {message}", file=sys.stderr)
    print(path)
    return 1 if failures else 0


def _check_ending(out: str | None, *endings: str) -> None:
    if out is not None and Path(out).suffix not in endings:
        raise UsageError(f"--out must end in {' or '.join(endings)}, got {out!r}")
    if out is not None:
        writable(Path(out))
