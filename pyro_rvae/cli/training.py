"""``pyro-rvae train``: the main job."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pyro.infer
import torch
from tqdm import tqdm

from ..core import SequenceVAE, explicit
from ..criticism import CollapseMonitor, predictive_check, to_arviz, to_netcdf
from ..data import Splits, form_of
from ..infer import FIVO, IWAE, Callback, History, PathDerivative, constant, cosine, fit, linear
from ..infer.checkpoint import has_checkpoint
from ..tasks import save_pretrained
from ..tasks.store import write_card
from .choose import build_model, load_data, model_of
from .pictures import draw_pictures
from .report import judge
from .rundir import RunDirectory, packages
from .sampling import draw_samples, sample_length, samples_ending, write_samples
from .settings import LR, Train

__all__ = ["train"]

DRAWS = 10  # of the latents, in the ArviZ file


def train(settings: Train) -> int:
    """Run the job; the exit code: 0, or 130 if it was interrupted (what was reached is saved)."""
    threads = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    try:
        return _train(settings)
    finally:
        torch.set_num_threads(threads)


def _train(settings: Train) -> int:
    start = time.monotonic()
    settings, run, splits, model = _begin(settings)
    try:
        history = _fit(settings, run, splits, model)
    except (ValueError, TypeError, RuntimeError):
        run.abandon()
        raise
    history.to_csv(run.path / "history.csv")
    save_pretrained(model, run.path, **run.describe(settings))
    if _interrupted(settings, history):
        print(f"interrupted after {len(history)} of {settings.epochs} epochs; go on with: pyro-rvae train --resume "
              f"{run.path}", file=sys.stderr)
        return 130
    figures, table = judge(model, splits.test, splits.train, num_particles=settings.num_particles, seed=settings.seed)
    figures["predictive_check"] = _show(settings, run, splits, model, history)
    run.write_json("metrics.json", {"model": type(model).__name__, "data": settings.data, "split": "test"} | figures
                   | {"training": _training(settings, model, history), "seconds": time.monotonic() - start})
    write_card(model, run.path)
    if not settings.quiet:
        print(f"{table}\n\n{run.path}, after {time.monotonic() - start:.0f} s\n{run.listing()}")
    return 0


def _begin(settings: Train) -> tuple[Train, RunDirectory, Splits[Any], SequenceVAE]:
    """A new run, or one to resume, with its data and its model as it stood before the first step."""
    if settings.resume is None:
        splits = load_data(settings, static=model_of(settings.model or {})[0].static)
        model = build_model(settings.model or {}, splits.train, settings.seed)
        settings = replace(settings, kind=splits.train.kind, classes=splits.train.classes,
                           length=settings.length or sample_length(splits.train))
        return settings, RunDirectory.create(settings, model), splits, model
    run = RunDirectory.open(settings.resume)
    settings = run.settings(resume=settings.resume, quiet=settings.quiet, trust=settings.trust)
    allow = packages(settings.trust)
    splits = load_data(settings, static=model_of(settings.model, allow)[0].static)
    model = build_model(settings.model, splits.train, settings.seed, allow)
    return settings, run, splits, model


def _fit(settings: Train, run: RunDirectory, splits: Splits[Any], model: SequenceVAE) -> History:
    steps = settings.kl_steps
    enumerated = settings.elbo == "TraceEnum_ELBO"  # sums regimes out, one site a step
    with explicit() if enumerated else nullcontext():
        return fit(
            model, splits.train, splits.valid, elbo=_objective(settings), epochs=settings.epochs,
            encoder_updates=settings.encoder_updates, accumulate=settings.accumulate,
            batch_size=settings.batch_size, lr=settings.lr or LR, weight_decay=settings.weight_decay,
            schedule=cosine() if settings.schedule == "cosine" else constant(), clip=settings.clip,
            kl_weight=linear(settings.kl_start, 1.0, steps) if steps else None, patience=settings.patience,
            ema=settings.ema, seed=settings.seed, device=settings.device, precision=settings.precision,
            checkpoint=run.checkpoint, resume=has_checkpoint(run.checkpoint), progress=not settings.quiet,
            callbacks=[*_monitors(settings, run, splits.valid), *[_Begun(settings.data)] * (not settings.quiet)],
        )  # fmt: skip


class _Begun(Callback):
    """Says what is trained after the first step: then nothing has kept it from beginning."""

    def __init__(self, data: str) -> None:
        self.data, self.said = data, False

    def on_step(self, state: Any) -> None:
        if self.said:
            return
        self.said, model = True, state.model
        tqdm.write(f"{type(model).__name__}, {sum(p.numel() for p in model.parameters()):,} weights, on {self.data}: "
                   f"{state.data.num_frames:,} frames to train on", file=sys.stdout)
        sys.stdout.flush()


def _objective(settings: Train) -> Any:
    """What is minimised: one of ours with its particles, or one of Pyro's."""
    if settings.elbo in ("IWAE", "FIVO"):
        return {"IWAE": IWAE, "FIVO": FIVO}[settings.elbo](settings.elbo_particles)
    if settings.elbo == "PathDerivative":
        return PathDerivative()
    if settings.elbo == "TraceEnum_ELBO":
        return pyro.infer.TraceEnum_ELBO(max_plate_nesting=1)
    return getattr(pyro.infer, settings.elbo)()


def _monitors(settings: Train, run: RunDirectory, valid: Any) -> list[CollapseMonitor]:
    """Who watches whether the latent lives: about twenty looks in all."""
    if len(valid) < 2:
        return []  # there is nobody to swap latents with
    return [CollapseMonitor(valid, every=max(1, settings.epochs // 20), path=run.path / "collapse.csv")]


def _interrupted(settings: Train, history: History) -> bool:
    """Whether the fit ended neither with its last epoch nor by its patience."""
    waited = len(history) - history.best.epoch if len(history) else 0
    return len(history) < settings.epochs and not (settings.patience is not None and waited >= settings.patience)


def _training(settings: Train, model: SequenceVAE, history: History) -> dict[str, Any]:
    """What metrics.json says of the training."""
    return {"epochs": len(history), "best_epoch": history.best.epoch, "valid_elbo": history.best.valid_elbo,
            "weights": sum(p.numel() for p in model.parameters()), "seed": settings.seed,
            "device": str(next(model.parameters()).device), "threads": torch.get_num_threads(),
            "seconds": float(history["seconds"].sum())}


def _show(settings: Train, run: RunDirectory, splits: Splits[Any], model: SequenceVAE,
          history: History) -> dict[str, Any]:
    """Samples, replications and pictures; what metrics.json says of the replications."""
    test = splits.test
    samples = draw_samples(model, test, settings.num, settings.length, settings.seed)
    form = form_of(model)
    write_samples(run.path / f"samples{samples_ending(form)}", form, samples)
    check = predictive_check(model, test, num=settings.replicates, seed=settings.seed)
    draws = min(DRAWS, settings.replicates)
    to_netcdf(to_arviz(model, test, draws, replicates=check.replicates, seed=settings.seed),
              run.path / "posterior_predictive.nc")
    draw_pictures(run.path, splits, [x.numpy() for x in samples], check, history)
    return check.to_dict()
