"""What the commands do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..core import SequenceVAE
from ..tasks import generate
from .choose import load_data, raw_data
from .parser import UsageError
from .report import is_music, judge, sample_length, write_samples
from .rundir import RunDirectory, write_json
from .settings import Evaluate, Sample
from .training import train

__all__ = ["evaluate", "sample", "train"]


def evaluate(settings: Evaluate) -> int:
    """``pyro-rvae evaluate``: print the figures, and write them if asked."""
    run = RunDirectory.open(settings.run)
    model = run.model(settings.trust)
    _check_ending(settings.out, ".json")
    trained = run.settings()
    splits: Any = load_data(trained)
    data = getattr(splits, settings.split)
    if settings.data is not None:
        other = raw_data(settings.data, trained.kind, trained.classes, trained.split_seed)
        data = _in_units_of(model, getattr(other, settings.split), splits.train)
    figures, table = judge(model, data, splits.train, num_particles=settings.num_particles, seed=settings.seed)
    print(table)
    if settings.out is not None:
        write_json(Path(settings.out), {"run": settings.run, "data": settings.data or trained.data,
                                        "split": settings.split} | figures)
    return 0


def _in_units_of(model: SequenceVAE, data: Any, train: Any) -> Any:
    """Other data of the same kind, in the units that the model was trained in."""
    if data.x_dim != train.x_dim or data.kind != train.kind or data.classes != train.classes:
        raise UsageError(f"the run was trained on {train.kind} data with x_dim={train.x_dim}; --data is {data.kind} "
                         f"with x_dim={data.x_dim}")
    if model.transform is None or data.transform is not None:
        return data
    return data.transformed(model.transform)


def sample(settings: Sample) -> int:
    """``pyro-rvae sample``: write new sequences, and say where."""
    run = RunDirectory.open(settings.run)
    model = run.model(settings.trust)
    trained = run.settings()
    train_split = load_data(trained).train
    music = is_music(train_split)
    _check_ending(settings.out, ".mid", ".npz")
    default = run.path / f"samples-{settings.seed}{'.mid' if music else '.npz'}"
    path = default if settings.out is None else Path(settings.out)
    if path.suffix == ".mid" and not music:
        raise UsageError(f"MIDI is for piano rolls (88 binary keys), and this run's data are {train_split.kind} with "
                         f"x_dim={train_split.x_dim}: give --out FILE.npz")
    length = settings.length or trained.length or sample_length(train_split)
    samples = generate(model, settings.num, None if model.static else length, seed=settings.seed)
    write_samples(path, samples, train_split.kind, **({"tempo": settings.tempo, "program": settings.program}
                                                      if path.suffix == ".mid" else {}))
    print(f"{len(samples)} samples of {tuple(samples.shape[1:])}: {path}")
    return 0


def _check_ending(out: str | None, *endings: str) -> None:
    if out is not None and Path(out).suffix not in endings:
        raise UsageError(f"--out must end in {' or '.join(endings)}, got {out!r}")
