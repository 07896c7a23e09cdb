"""Are these arguments that a model can be trained with? The errors that a user sees if not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyro.infer import TraceEnum_ELBO

from ..core import SequenceVAE
from ..core.checks import check_count, check_weight
from .aggressive import Aggressive
from .callbacks import Checkpoint
from .checkpoint import has_checkpoint

__all__ = ["Settings", "check_data", "check_folder", "check_numbers"]


@dataclass(frozen=True)
class Settings:
    """What ``fit`` was asked for, checked."""

    epochs: int
    batch_size: int
    schedule: Callable[[float], float]
    clip: float | None
    kl_weight: Callable[[int], float]
    patience: int | None
    ema: float | None
    seed: int
    valid_every: int
    precision: str
    accumulate: int = 1
    encoder_updates: Aggressive | None = None


def check_numbers(s: Settings, lr: float, weight_decay: float) -> None:
    """Counts, rates and functions."""
    for name in ("epochs", "batch_size", "valid_every", "accumulate"):
        check_count(f"fit: {name}", getattr(s, name))
    if s.patience is not None:
        check_count("fit: patience", s.patience, hint=" or None")
    check_weight("fit: lr", lr, zero=False)
    check_weight("fit: weight_decay", weight_decay)
    if s.clip is not None:
        check_weight("fit: clip", s.clip, zero=False, hint="; clip=None does not clip")
    if s.ema is not None and not (isinstance(s.ema, float) and 0 < s.ema < 1):
        raise ValueError(f"fit: ema must lie between 0 and 1 (a decay such as 0.999), or be None; got {s.ema!r}.")
    check_count("fit: seed", s.seed, 0)
    for name, part in (("schedule", s.schedule), ("kl_weight", s.kl_weight)):
        if not callable(part):
            raise TypeError(f"fit: {name} must be a function of one number, got {part!r}; for a fixed one give "
                            f"rv.infer.constant({part!r}).")


def check_elbo(model: SequenceVAE, elbo: Any, kl_weight: Any) -> None:
    """Refuse a KL weight within a sum over regimes: Pyro can't take it, and says so by its own names."""
    if isinstance(elbo, TraceEnum_ELBO) and kl_weight is not None and set(model.summed_out) - set(model.exact_sites):
        raise ValueError(f"fit: TraceEnum_ELBO sums {sorted(model.summed_out)} of {type(model).__name__} out given its "
                         "other latents, and a KL weight does not go into that sum: leave kl_weight out, or use "
                         "Trace_ELBO.")


def check_data(model: SequenceVAE, data: Any, valid: Any, patience: int | None) -> None:
    """Data sets that suit the model."""
    _suits(model, data, "data")
    if valid is not None:
        _suits(model, valid, "valid")
    elif patience is not None:
        raise ValueError("fit: patience stops the training by the validation bound, so it needs valid=...")


def _suits(model: SequenceVAE, data: Any, name: str) -> None:
    if not hasattr(data, "batches"):
        raise TypeError(f"fit: {name} must be a SequenceDataset or a StaticDataset, got {type(data).__name__}; wrap "
                        "sequences with SequenceDataset.from_sequences([...]).")
    if model.static == hasattr(data, "lengths"):
        kinds = ("StaticDataset", "sequences over time") if model.static else ("SequenceDataset", "static rows")
        raise ValueError(f"fit: {type(model).__name__} is trained on a {kinds[0]}, and {name} holds {kinds[1]}.")
    width = getattr(model, "x_dim", None)
    if width is not None and data.x_dim != width:
        raise ValueError(f"fit: the model was built for frames of x_dim={width}, and {name} has x_dim={data.x_dim}; "
                         f"build it with {type(model).__name__}.for_data(data).")
    if not model.static:
        model.check_length(int(data.lengths.max()))
    if data.labels is None and (getattr(model, "needs_labels", False) or getattr(model.context, "reads_labels", False)):
        raise ValueError(f"fit: {type(model).__name__} needs labels, and {name} has none (a head without labels learns "
                         "nothing): give the data set labels=..., with -1 (of codes) or NaN where one is unknown.")


def check_folder(checkpoint: Checkpoint | None, resume: bool) -> None:
    """A folder in which no other run is lost. (What is in it is checked when it is read.)"""
    if checkpoint is None:
        if resume:
            raise ValueError("fit: resume=True goes on from a checkpoint, so it needs checkpoint='folder'.")
        return
    folder = Path(checkpoint.folder)
    if not resume and has_checkpoint(folder):
        raise ValueError(f"fit: {folder} holds the checkpoint of another run, which would be lost. Give resume=True to "
                         "go on with it, or another folder.")
    if not resume and folder.is_file():
        raise ValueError(f"fit: checkpoint must be a folder, and {folder} is a file; name another.")
