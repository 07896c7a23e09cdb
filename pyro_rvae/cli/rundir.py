"""The run directory: one folder that holds what came of a run."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ..core import SequenceVAE
from ..data.atomic import atomic
from ..tasks.config import CARD, CONFIG, describe_model, read_config
from ..tasks.modelcard import is_ours
from ..tasks.store import from_pretrained
from .parser import UsageError
from .settings import Train

__all__ = ["FILES", "RunDirectory", "packages"]

# What a run leaves, with a word for the table at its end; the MIDI file is for music, the .npz for other data.
FILES = {
    "model.safetensors": "weights", "config.yaml": "every setting", "README.md": "the model card",
    "history.csv": "training, epoch by epoch",
    "collapse.csv": "the latents' use in training",
    "metrics.json": "the figures above", "samples.mid": "samples to listen to", "samples.npz": "samples",
    "samples.png": "samples beside data", "training.png": "the ELBO, epoch by epoch",
    "posterior_predictive.png": "replications beside the data", "posterior_predictive.nc": "the same for ArviZ",
    "report.html": "all of it on one page",
}
CHECKPOINT = "checkpoint"  # a folder, to resume from
WHERE = ("out", "overwrite", "resume", "trust", "quiet")  # settings that are not of the experiment


class RunDirectory:
    """A folder with :data:`FILES`, and a checkpoint to resume from."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, settings: Train, model: SequenceVAE) -> RunDirectory:
        """A new folder with its ``config.yaml``.

        :raises UsageError: if it exists and holds something, unless ``--overwrite``.
        """
        name = f"{type(model).__name__}-{time.strftime('%Y%m%d-%H%M%S')}"
        run = cls(Path(settings.out) if settings.out is not None else Path("runs") / name)
        if run.path.is_file():
            raise UsageError(f"--out must be a folder, and {run.path} is a file")
        if run.path.is_dir() and any(run.path.iterdir()):
            if not settings.overwrite:
                raise UsageError(
                    f"the run directory {run.path} exists and is not empty: choose another --out, go on with the run "
                    f"there (--resume {run.path}), or lose it (--overwrite)"
                )
            run.clear()
        run.path.mkdir(parents=True, exist_ok=True)
        config = describe_model(model) | run.describe(settings)
        with atomic(run.path / CONFIG) as file:
            file.write(yaml.safe_dump(config, sort_keys=False, allow_unicode=True).encode())
        return run

    @classmethod
    def open(cls, path: str) -> RunDirectory:
        """A run directory that exists.

        :raises ValueError: if it is none.
        """
        run = cls(Path(path))
        read_config(run.path)
        return run

    def clear(self) -> None:
        """Remove what a run leaves, and nothing else."""
        for name in FILES:
            if name != CARD or is_ours(self.path / CARD):  # a README of the user's own stays
                (self.path / name).unlink(missing_ok=True)
        if self.checkpoint.is_dir():
            shutil.rmtree(self.checkpoint)

    def abandon(self) -> None:
        """Leave nothing of a run that could not begin (one with a checkpoint has begun)."""
        if not self.checkpoint.is_dir():
            self.clear()
            with contextlib.suppress(OSError):  # it holds something else
                self.path.rmdir()

    @staticmethod
    def describe(settings: Train) -> dict[str, Any]:
        """The settings as the YAML holds them (the model is described in full)."""
        return {name: value for name, value in dataclasses.asdict(settings).items() if name not in (*WHERE, "model")}

    def settings(self, **changed: Any) -> Train:
        """The settings that the run was started with."""
        config = read_config(self.path)
        known = {field.name for field in dataclasses.fields(Train)} & config.keys()
        if "data" not in known:  # written by save_pretrained
            changed = {"data": "", **changed}
        return Train(**({name: config[name] for name in known} | changed))

    def model(self, trust: str) -> SequenceVAE:
        """The trained model, in evaluation mode."""
        return from_pretrained(self.path, allow=packages(trust))

    @property
    def checkpoint(self) -> Path:
        return self.path / CHECKPOINT

    def write_json(self, name: str, values: dict[str, Any]) -> None:
        """JSON, whole or not at all; what is not finite becomes null."""
        write_json(self.path / name, values)

    def listing(self) -> str:
        """The files that are there, with a word on each."""
        there = [(name, word) for name, word in FILES.items() if (self.path / name).is_file()]
        return "\n".join(f"  {name:26}{word}" for name, word in there)


def packages(trust: str) -> Sequence[str]:
    """The packages that ``--trust`` names."""
    return tuple(name.strip() for name in trust.split(",") if name.strip())


def write_json(path: Path, values: dict[str, Any]) -> None:
    """JSON, whole or not at all; what is not finite becomes null."""
    text = json.dumps(_finite(values), indent=2, allow_nan=False) + "\n"
    with atomic(path) as file:
        file.write(text.encode())


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
