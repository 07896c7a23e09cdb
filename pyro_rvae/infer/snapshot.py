"""A run as tensors and plain values, and back: what makes a resumed run the run itself."""

from __future__ import annotations

import dataclasses
import functools
import math
import os
import zlib
from typing import TYPE_CHECKING, Any

import torch
from pyro.infer import ELBO
from torch import Tensor

from .checkpoint import Saved, load_checkpoint, save_checkpoint
from .history import row_from
from .packing import join_tensors, pack, split_tensors, unpack
from .rng import get_states, set_states

if TYPE_CHECKING:
    from .trainer import Trainer

__all__ = ["restore", "snapshot"]


def snapshot(run: Trainer, folder: str | os.PathLike[str]) -> None:
    """Save where a run stands. All processes call it; the first one writes."""
    noise = _gathered(run, get_states(run.device))
    if run.rank > 0:
        run.fabric.barrier()
        return
    tensors = pack({k: v.detach() for k, v in run.model.state_dict().items()}, "model") | noise
    if run.average is not None:
        tensors |= pack(run.average.values, "average")
    if run.best is not None:
        tensors |= pack(run.best, "best")
    tensors["sums"] = run.accounts.sums
    optimizer = split_tensors(run.optimizer.state_dict(), "optimizer", tensors)
    save_checkpoint(folder, tensors, {**_position(run), "optimizer": optimizer})
    run.fabric.barrier()


def _position(run: Trainer) -> dict[str, Any]:
    return {
        "epoch": run.epoch, "batch": run.batch, "step": run.step, "seconds": run.seconds,
        "best_epoch": run.best_epoch, "best_bound": run.best_bound if run.best is not None else None,
        "aggressive": [run.turns.active, run.turns.last if math.isfinite(run.turns.last) else None],
        "frames": run.accounts.frames, "steps": run.accounts.steps, "settings": identity(run),
        "history": [[None if isinstance(v, float) and math.isnan(v) else v for v in row] for row in run.history],
    }


def restore(run: Trainer, folder: str | os.PathLike[str], *, weights_only: bool = False) -> None:
    """Put a run where the checkpoint in ``folder`` stands.

    Errors: ValueError if it is not of this model, these data and these settings.
    """
    saved = load_checkpoint(folder)
    _check_model(run, saved, folder)
    if not weights_only:
        _check_settings(identity(run), saved.state["settings"], folder)
    run.model.load_state_dict(unpack(saved.tensors, "model"))
    if run.average is not None:
        run.average.load(unpack(saved.tensors, "average"))
    if weights_only:
        return
    state, run.saved_in = saved.state, os.fspath(folder)
    run.epoch, run.batch, run.step, run.seconds = (state[k] for k in ("epoch", "batch", "step", "seconds"))
    run.accounts.sums.copy_(saved.tensors["sums"])
    run.accounts.frames, run.accounts.steps = state["frames"], state["steps"]
    run.turns.active, last = state["aggressive"]
    run.turns.last = -math.inf if last is None else last
    run.history.rows[:] = [row_from(row) for row in state["history"]]
    if state["best_bound"] is not None:
        run.best_epoch, run.best_bound = state["best_epoch"], state["best_bound"]
        run.best = {k: v.to(run.device) for k, v in unpack(saved.tensors, "best").items()}
    run.optimizer.load_state_dict(join_tensors(state["optimizer"], saved.tensors))
    noise = unpack(saved.tensors, f"noise/{run.rank}")
    set_states(run.device, noise)


def _gathered(run: Trainer, states: dict[str, Tensor]) -> dict[str, Tensor]:
    """The generators' states of all processes, by rank."""
    if run.world == 1:
        return pack(states, "noise/0")
    gathered = {key: run.fabric.all_gather(value.to(run.device)).cpu() for key, value in states.items()}
    return {f"noise/{rank}/{key}": value[rank] for key, value in gathered.items() for rank in range(run.world)}


def identity(run: Trainer) -> dict[str, Any]:
    """What must be the same for a resumed run to be the run (``epochs`` and ``patience`` may grow)."""
    if run.identity is None:
        run.identity = _identity(run)
    return run.identity


def _identity(run: Trainer) -> dict[str, Any]:
    s = run.settings
    return {
        "model": type(run.model).__name__, "processes": run.world, "data": _fingerprint(run.data),
        "valid": None if run.valid is None else _fingerprint(run.valid), "batch_size": s.batch_size, "seed": s.seed,
        "clip": s.clip, "ema": s.ema, "valid_every": s.valid_every, "schedule": describe(s.schedule),
        "kl_weight": describe(s.kl_weight), "optimizer": type(run.optimizer).__name__, "lr": run.rates,
        "accumulate": s.accumulate,
        "encoder_updates": None if s.encoder_updates is None else repr(s.encoder_updates),
        "elbo": describe(run.module.elbo), "precision": s.precision,
        "penalty": None if run.module.penalty is None else describe(run.module.penalty),
    }


def _fingerprint(data: Any) -> list[int]:
    """Numbers of sequences, frames and features, and a checksum of the values."""
    return [len(data), data.num_frames, data.x_dim, zlib.crc32(data.values.contiguous().view(torch.uint8).numpy())]


def describe(part: Any) -> str:
    """A function's name for comparison: the same in each process, whatever its address."""
    if isinstance(part, functools.partial):
        return f"partial({describe(part.func)}, {part.args}, {part.keywords})"
    if dataclasses.is_dataclass(part) or (isinstance(part, ELBO) and type(part).__repr__ is not object.__repr__):
        return repr(part)
    return getattr(part, "__qualname__", type(part).__qualname__)


def _check_model(run: Trainer, saved: Saved, folder: Any) -> None:
    own = {name: (tuple(v.shape), v.dtype) for name, v in run.model.state_dict().items()}
    other = {name: (tuple(v.shape), v.dtype) for name, v in unpack(saved.tensors, "model").items()}
    if own != other:
        name = next(n for n in [*own, *other] if own.get(n) != other.get(n))
        raise ValueError(f"the checkpoint in {folder} is of another model: {name} is {other.get(name, 'absent')} there "
                         f"and {own.get(name, 'absent')} here. Build the model as it was built for that run.")


def _check_settings(own: dict[str, Any], other: dict[str, Any], folder: Any) -> None:
    for name, value in own.items():
        if other.get(name) != value:
            raise ValueError(f"the checkpoint in {folder} is of another run: {name} was {other.get(name)!r} and is now "
                             f"{value!r}. Call fit as it was called then, or begin in another folder.")
