"""The training loop, and where it stands."""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from pyro.infer import TraceEnum_ELBO
from torch import Tensor
from torch.optim import Optimizer

from ..core import SequenceVAE
from ..core.contexts import forked, unregistered
from ..core.traces import check_latents, guide_trace, replayed, sites
from ..data import Batch, SequenceDataset, StaticDataset
from ..data.batching import Batches
from .accounting import Accounts, Means
from .aggressive import Turns
from .arguments import Settings
from .batches import checked, frames_of, moved
from .callbacks import Callback, Checkpoint
from .elbo import is_analytic
from .fivo import ParticlesDied
from .guard import Guard, TrainingDiverged, culprit
from .history import History, Row
from .interrupt import Interrupts, farewell
from .loss import Loss
from .memory import forget_peak, peak_memory
from .progress import Progress
from .snapshot import describe, restore, snapshot
from .validation import validate
from .weights import Average, copy_of, exchanged

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Trainer"]


class Trainer:
    """A training run: what callbacks see as ``state``.

    Attributes:
        model, optimizer, device, history: what is trained, with what, where, and what came of it so far.
        epoch: epochs done. batch: batches done of the epoch that runs. step: optimizer steps done.
        stop: set it to True to end the fit after this step.
        best_epoch, best_bound: epoch of the lowest validation cost, and that cost (0 and infinity before the first).
    """

    def __init__(self, fabric: Fabric, loss: Loss, make_optimizer: Callable[[Any], Optimizer],
                 data: SequenceDataset | StaticDataset, valid: SequenceDataset | StaticDataset | None,
                 settings: Settings, callbacks: Sequence[Callback] = (), checkpoint: Checkpoint | None = None) -> None:
        self.fabric, self.settings, self.data, self.valid = fabric, settings, data, valid
        self.checkpoint = checkpoint
        self.callbacks = [*callbacks, *([checkpoint] if checkpoint else [])]
        self.module, self.elbo = fabric.setup_module(loss), loss.elbo
        self.model: SequenceVAE = loss.model
        self.device, self.rank, self.world = fabric.device, fabric.global_rank, fabric.world_size
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = make_optimizer(self.parameters)
        self._optimizer = fabric.setup_optimizers(self.optimizer)
        self.rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        self.average = None if settings.ema is None else Average(self.model, settings.ema)
        self.accounts = Accounts(loss, self.device, self.world)
        self.guard = Guard(self.model, self.device)
        self.analytic = is_analytic(loss.elbo)
        self.turns = Turns(self, settings.encoder_updates)
        self.history = History()
        self.epoch = self.batch = self.step = 0
        self.seconds = 0.0  # of the epoch that runs
        self.best_epoch, self.best_bound = 0, math.inf
        self.best: dict[str, Tensor] | None = None
        self.saved_in: str | None = None  # the folder of the newest checkpoint of this call
        self.stop = False
        self._whole = True  # False while a step or the end of an epoch is half done
        self.identity: dict[str, Any] | None = None  # what a checkpoint knows the run by; see `snapshot`
        self._size = len(self._batches(0))  # batches of one epoch
        self._steps = -(-self._size // settings.accumulate)
        self._before: Tensor | None = None  # the CPU generator's state before the step that runs

    # ------------------------------------------------------------------------------------------ the run
    def run(self, *, progress: bool) -> None:
        """Train to the end, to ``stop``, or to Ctrl-C; then give the model its final weights."""
        bar = Progress(self._steps * self.settings.epochs, self.step, shown=progress and self.rank == 0,
                       read=self.accounts.means)
        with Interrupts(active=self.world == 1) as interrupts:
            try:
                self._run(bar, interrupts)
            except KeyboardInterrupt:
                if self.world > 1:  # the other processes stand elsewhere: nothing can be saved together
                    raise
                interrupts.seen = True
            finally:
                bar.close()
            self._end(bar, interrupted=interrupts.seen)

    def _run(self, bar: Progress, interrupts: Interrupts) -> None:
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)  # what a user's own backward pass has left
        forget_peak(self.device)
        self._check_latents()
        self.turns.find(self._longest())
        for callback in self.callbacks:
            callback.on_fit_start(self)
        while not (self._finished() or interrupts.seen):
            self._train(bar, interrupts)
            if self.batch == self._size and not interrupts.seen:
                self._end_epoch(bar)

    def _check_latents(self) -> None:
        """Refuse a guide that lacks a latent: Pyro would only warn, and train the wrong bound."""
        if isinstance(self.elbo, TraceEnum_ELBO):
            return  # sums out what the guide does not draw
        batch = moved(self.data.padded([0]), self.model, self.device)
        with torch.no_grad(), unregistered(), forked(self.device):
            drawn = guide_trace(self.model, batch)
            latents = sites(replayed(self.model, batch, drawn), observed=False)
        check_latents(type(self.model).__name__, sites(drawn, observed=False), latents)

    def _longest(self) -> Batch:
        """The longest sequence, in which every part of a model has its use."""
        lengths = getattr(self.data, "lengths", None)
        return moved(self.data.padded([0 if lengths is None else int(lengths.argmax())]), self.model, self.device)

    def _finished(self) -> bool:
        patience = self.settings.patience
        late = patience is not None and self.best_epoch > 0 and self.epoch - self.best_epoch >= patience
        return self.stop or late or self.epoch >= self.settings.epochs

    def _train(self, bar: Progress, interrupts: Interrupts) -> None:
        """The rest of an epoch."""
        batches = self._batches(self.epoch)
        frames = frames_of(self.data, batches.order, self.fabric)
        start = time.monotonic() - self.seconds
        together = self.settings.accumulate
        while self.batch < len(batches) and not (self.stop or interrupts.seen):
            self._whole = False
            end = min(self.batch + together, len(batches))
            self._step([batches[i] for i in range(self.batch, end)], frames[self.batch:end])
            self.seconds = time.monotonic() - start
            self._whole = True
            bar.advance(self.epoch, self.settings.epochs)
            for callback in self.callbacks:
                callback.on_step(self)

    def _step(self, batches: list[Batch], frames: list[int]) -> None:
        """One optimizer step. Nothing in it reads a tensor back from the device, but a look of the guard."""
        weight = self._kl_weight(self.step)
        self._set_rates()
        if hasattr(self.elbo, "step"):
            self.elbo.step = self.step
        for number, (batch, count) in enumerate(zip(batches, frames, strict=True)):
            last = number == len(batches) - 1
            self._add_gradient(moved(batch, self.model, self.device), number, weight, count, count / sum(frames), last)
        self._optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.batch += len(batches)
        if self.average is not None:
            self.average.update(self.step)

    def _add_gradient(self, batch: Batch, number: int, weight: float, frames: int, share: float, last: bool) -> None:
        """Add a batch's part of the step's gradient: its ``share`` of the step's frames, so that all count alike."""
        self._before = torch.get_rng_state() if self.guard.eager else None
        with checked(self.data, trust=self.epoch > 0):
            with self.fabric.no_backward_sync(self.module, enabled=self.world > 1 and not last):
                found = self._loss(batch, weight)
                if found is not None:
                    self.fabric.backward(found * share)
            loss = torch.zeros((), device=self.device) if found is None else found.detach()
            norm = loss.new_zeros(())
            if last:
                self.turns.drop(self.step)
                norm = self._clip()
                self.accounts.count(norm)
            bad = self.guard.watch((self.epoch, self.batch + number, self.step + 1), loss, norm)
            if bad is not None:
                self._diverged(bad)
            if found is not None:
                self.accounts.add(loss, weight, batch, frames, share)

    def _loss(self, batch: Batch, weight: float) -> Tensor | None:
        """The loss of a batch; None for one of which a sequence lost all its particles: it is skipped, and said so."""
        try:
            return self.accounts.loss(self.module, batch, weight)
        except ParticlesDied as error:
            if self.world > 1:  # the other processes wait for this one's gradient
                raise
            number = error.sequence if batch.index is None else int(batch.index[error.sequence])
            warnings.warn(f"fit: step {self.step + 1} skips a batch, since sequence {number} of the training data lost "
                          f"all its particles. {error}", RuntimeWarning, stacklevel=2)
            return None

    def _kl_weight(self, step: int) -> float:
        weight = float(self.settings.kl_weight(step))
        if not 0 <= weight < math.inf:
            raise ValueError(f"fit: kl_weight gave {weight} for step {step}; it must give a finite number of at "
                             f"least 0 (it is {describe(self.settings.kl_weight)}).")
        return weight

    def _set_rates(self) -> None:
        factor = float(self.settings.schedule(self.step / max(1, self._steps * self.settings.epochs)))
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor

    def _clip(self) -> Tensor:
        """The gradient's global norm; where it exceeds ``clip``, the gradient is scaled down to it."""
        clip = math.inf if self.settings.clip is None else self.settings.clip
        return torch.nn.utils.clip_grad_norm_(self.parameters, clip)

    # ------------------------------------------------------------------------------------------ between epochs
    def _end_epoch(self, bar: Progress) -> None:
        start = time.monotonic() - self.seconds
        means, valid = self._means(), self._validate()
        self._look()
        self._whole = False
        self.seconds = time.monotonic() - start
        weight, rate = self._kl_weight(self.step - 1), float(self.optimizer.param_groups[0]["lr"])
        row = Row(self.epoch + 1, self.step, *means[:3], *valid, weight, rate, means.grad_norm,
                  peak_memory(self.device), self.seconds)
        forget_peak(self.device)
        if valid[0] < self.best_bound:
            self.best_epoch, self.best_bound = row.epoch, valid[0]
            with exchanged(self.average):
                self.best = copy_of(self.model)
        self.history.rows.append(row)
        self.turns.end_epoch()
        self.epoch, self.batch, self.seconds = self.epoch + 1, 0, 0.0
        self.accounts.clear()
        self._whole = True
        if not math.isnan(valid[0]):
            bar.validated(valid[0])
        for callback in self.callbacks:
            callback.on_epoch_end(self, row)

    def _validate(self) -> tuple[float, float, float]:
        due = (self.epoch + 1) % self.settings.valid_every == 0 or self.epoch + 1 == self.settings.epochs
        if self.valid is None or not due:
            return math.nan, math.nan, math.nan
        with exchanged(self.average):
            return validate(self.fabric, self.model, self.valid, self.settings.batch_size, analytic=self.analytic,
                            trust=self.best is not None)

    def _means(self) -> Means:
        if self.world == 1:
            return self.accounts.means()
        return self.accounts.means(self.fabric.all_reduce(self.accounts.sums.clone(), reduce_op="mean"))

    def _end(self, bar: Progress, *, interrupted: bool) -> None:
        """Save the training's own weights, then give the model those that the user gets."""
        whole = self._whole
        if whole:
            self._look()
            if self.checkpoint is not None:
                self.save(self.checkpoint.folder)
        if interrupted:
            bar.message(farewell(self.epoch, self.step, self.checkpoint is not None, self.saved_in, whole))
        self._load_final()
        for callback in self.callbacks:
            callback.on_fit_end(self)

    def _load_final(self) -> None:
        if self.best is not None:
            self.model.load_state_dict(self.best)
        elif self.average is not None:
            self.average.give()

    # ------------------------------------------------------------------------------------------ for callbacks
    def save(self, folder: str | os.PathLike[str]) -> None:
        """Save the whole run to ``folder``, atomically; weights are looked at first, so that they are finite."""
        self._look()
        snapshot(self, folder)
        self.saved_in = os.fspath(folder)

    def agree(self, answer: bool) -> bool:
        """The first process's answer, in all processes."""
        if self.world == 1:
            return answer
        said = torch.tensor(float(answer and self.rank == 0), device=self.device)
        return bool(self.fabric.all_reduce(said, reduce_op="sum") > 0)

    # ------------------------------------------------------------------------------------------ inside
    def _batches(self, epoch: int) -> Batches:
        shard = (self.rank, self.world) if self.world > 1 else None
        return self.data.batches(self.settings.batch_size, seed=self.settings.seed, epoch=epoch, shard=shard)

    def _look(self) -> None:
        bad = self.guard.look()
        if bad is not None:
            self._diverged(bad)

    def _diverged(self, where: tuple[int, int, int]) -> NoReturn:
        """Say what went wrong at ``(epoch, batch, step)``, with the model back at good weights."""
        epoch, i, step = where
        batch = moved(self._batches(epoch)[i], self.model, self.device)
        if not self.guard.eager:
            self.guard.restore()  # the weights that failed have been overwritten since
        site, what = culprit(self.model, self.accounts.elbo, batch, self._before)
        self.optimizer.zero_grad(set_to_none=True)
        self.guard.restore()
        if self.best is not None:
            self.model.load_state_dict(self.best)
        elif self.saved_in is not None:
            restore(self, self.saved_in, weights_only=True)
        raise TrainingDiverged.at(step, epoch, site, what, batch, self.saved_in)
