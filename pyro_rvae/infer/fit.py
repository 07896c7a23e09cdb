"""Training in one call."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import pyro
import torch
from pyro.infer import ELBO
from torch import Tensor, nn
from torch.optim import Optimizer

from ..core import SequenceVAE
from ..core.checks import check_count
from ..core.contexts import forked, keeping_modes, seed_generators
from ..data import SequenceDataset, StaticDataset
from .aggressive import Aggressive
from .arguments import Settings, check_data, check_elbo, check_folder, check_numbers
from .callbacks import Callback, Checkpoint
from .history import History
from .loss import Loss
from .schedules import Constant
from .snapshot import restore
from .trainer import Trainer

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["fit"]

Data = SequenceDataset | StaticDataset
PRECISIONS = ("32", "bf16")


def fit(model: SequenceVAE, data: Data, valid: Data | None = None, *, elbo: ELBO | None = None,
        penalty: Callable[..., Tensor] | None = None, epochs: int = 100, batch_size: int = 20, lr: float = 1e-3,
        weight_decay: float = 0.0, optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] | None = None,
        schedule: Callable[[float], float] | None = None, clip: float | None = 5.0,
        kl_weight: Callable[[int], float] | None = None, patience: int | None = None, ema: float | None = None,
        accumulate: int = 1, encoder_updates: int | Aggressive | None = None, seed: int = 0,
        device: str | torch.device = "auto", precision: str = "32",
        checkpoint: str | os.PathLike[str] | Checkpoint | None = None, resume: bool = False,
        callbacks: Sequence[Callback] = (), progress: bool = True, valid_every: int = 1) -> History:
    """Train a model in place, by SVI with a Pyro ELBO and a torch optimizer.

    When ``valid`` is given the model ends with the weights of the epoch of the lowest validation cost; else with its
    last weights (with ``ema``: their average). Random numbers come from ``seed`` alone, and the caller's random
    streams, Pyro's parameter store and validation settings, and the model's train or eval modes stand afterwards where
    they stood before. Under torchrun or SLURM each process trains on its part of each batch, and the gradients are
    those of the whole batch.

    Arguments:
        model: trained in place; left on the device it was trained on.
        data: a :class:`~pyro_rvae.data.SequenceDataset` (for a static model a StaticDataset).
        valid: data of the same kind, for the validation cost.
        elbo: default ``Trace_ELBO()``; ``TraceMeanField_ELBO()`` takes the KL analytically where it has a formula;
            ``rv.PathDerivative()``, ``rv.IWAE(16)``, ``rv.FIVO(16)``, ``rv.FreeBits(0.1)``, ``rv.TargetRate(0.5)``, or
            any other of Pyro's. Whatever it is, the history shows the ELBO.
        penalty: what else is minimised, a function ``(model, x, mask, **known)`` that gives nats summed over the batch,
            such as :class:`~pyro_rvae.infer.Contractive`; the history's costs do not contain it.
        epochs: passes over the data.
        batch_size: sequences in a batch, over all processes.
        lr, weight_decay: of the default optimizer, Adam (weight decay is its L2 term).
        optimizer: a function of parameters that gives a torch optimizer, such as ``partial(torch.optim.SGD, lr=0.1)``;
            ``lr`` and ``weight_decay`` are then its own affair.
        schedule: function of progress in [0, 1] that multiplies the learning rate (:func:`~pyro_rvae.infer.cosine`).
        clip: the gradient's global norm is clipped to it; ``None``: not clipped.
        kl_weight: function of the step (0 first) that gives the KL weight (:func:`~pyro_rvae.infer.linear`); default 1.
            The history always shows the cost with weight 1.
        patience: stop when the validation cost has not fallen for so many epochs.
        ema: decay of a moving average of the weights, used for validation and returned; ``None``: off.
        accumulate: batches whose gradients make one optimizer step: that of the joined batch, each frame counting
            alike, in the memory of one. (Objectives of the whole batch, FreeBits and TargetRate, are of each batch.)
        encoder_updates: steps of the guide alone for each step of the model alone, or an
            :class:`~pyro_rvae.infer.Aggressive` that says when this ends; ``None``: each step trains both.
        seed: of the order of batches and of all noise.
        device: "auto" (a GPU when there is one), "cpu", "cuda", "cuda:1", ...
        precision: "32" (the weights' own), or "bf16" (networks in bfloat16, weights and densities in float32).
        checkpoint: folder to save the run to (or a :class:`~pyro_rvae.infer.Checkpoint` that says how often).
        resume: go on from the checkpoint in that folder: the run continues as if it had never stopped.
        callbacks: see :class:`~pyro_rvae.infer.Callback`.
        progress: whether to show the bar.
        valid_every: epochs between two validations (the last epoch is always validated).

    Returns the :class:`~pyro_rvae.infer.History`, one row an epoch. Its ``elbo``, like that of the bar, is a cost:
    minus the ELBO, in nats per frame (of static data: per item), lower is better; ``elbo = reconstruction + kl``.
    After Ctrl-C it returns what there is, with a message; the run was saved if there is a folder.

    Errors: ValueError or TypeError for what can't be trained on; :class:`~pyro_rvae.infer.TrainingDiverged` when a
    loss or gradient is not finite (it names the step, the site and the sequences; the last good checkpoint stays).
    """
    checkpoint = checkpoint if checkpoint is None or isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint)
    loss = Loss(model, elbo, penalty)
    settings = Settings(epochs, batch_size, Constant() if schedule is None else schedule, clip,
                        Constant() if kl_weight is None else kl_weight, patience, ema, seed, valid_every, precision,
                        accumulate, _turns(encoder_updates))
    check_numbers(settings, lr, weight_decay)
    check_data(model, data, valid, patience)
    check_elbo(model, loss.elbo, kl_weight)
    check_folder(checkpoint, resume)
    make = _optimizer_maker(optimizer, lr, weight_decay)
    fabric = _fabric(device, precision)
    if model.num_sequences is None:
        model.num_sequences = len(data)  # N, for what a model draws once a data set
    with keeping_modes(model), forked(fabric.device), pyro.validation_enabled(False), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Encountered NaN")  # we stop with an error of our own
        run = Trainer(fabric, loss, make, data, valid, settings, callbacks, checkpoint)
        seed_generators(fabric.device, seed, fabric.global_rank)
        if resume and checkpoint is not None:
            restore(run, checkpoint.folder)
        run.run(progress=progress)
    return run.history


def _turns(encoder_updates: Any) -> Aggressive | None:
    if encoder_updates is None or isinstance(encoder_updates, Aggressive):
        return encoder_updates
    check_count("fit: encoder_updates", encoder_updates, hint=" (steps of the guide for one of the model), None, or "
                "rv.infer.Aggressive(...)")
    return Aggressive(encoder_updates)


def _optimizer_maker(optimizer: Any, lr: float, weight_decay: float) -> Callable[[list[nn.Parameter]], Optimizer]:
    def make(parameters: list[nn.Parameter]) -> Optimizer:
        if not parameters:
            raise ValueError("fit: the model has no parameter with requires_grad=True, so there is nothing to train.")
        if optimizer is None:
            return torch.optim.Adam(parameters, lr=lr, weight_decay=weight_decay, fused=True)  # one kernel, not ten
        result = optimizer(parameters) if callable(optimizer) else optimizer
        if not isinstance(result, Optimizer) or not callable(optimizer):
            raise TypeError("fit: optimizer must be a function that takes parameters and returns a "
                            "torch.optim.Optimizer, such as functools.partial(torch.optim.SGD, lr=0.1); got "
                            f"{type(optimizer).__name__}. (An optimizer of pyro.optim goes with pyro.infer.SVI.)")
        return result

    return make


def _fabric(device: str | torch.device, precision: str) -> Fabric:
    """Lightning Fabric for one device, or for all processes of torchrun or SLURM."""
    if precision not in PRECISIONS:
        raise ValueError(f"fit: precision must be one of {list(PRECISIONS)}, got {precision!r}.")
    from lightning_fabric import Fabric  # here: importing it takes a second
    from lightning_fabric.plugins import MixedPrecision, Precision
    from lightning_fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
    from lightning_fabric.strategies import DDPStrategy

    where = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    if where.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"fit: device={str(device)!r}, but torch finds no GPU here; give device='cpu' or 'auto'.")
    world = nodes = 1
    if TorchElasticEnvironment.detect():
        world = int(os.environ["WORLD_SIZE"])
        nodes = world // int(os.environ.get("LOCAL_WORLD_SIZE", world))
    elif SLURMEnvironment.detect():
        world, nodes = SLURMEnvironment().world_size(), int(os.environ.get("SLURM_NNODES", 1))
    kind = where.type

    class Networks(MixedPrecision):
        """bfloat16 in the networks alone: Fabric would round the data to it as well, and with them the densities."""

        def convert_input(self, data: Any) -> Any:
            return data

    plugin = Networks("bf16-mixed", device=kind) if precision == "bf16" else Precision()
    if world == 1:
        devices: Any = 1 if where.type == "cpu" or where.index is None else [where.index]
        return Fabric(accelerator=kind, devices=devices, plugins=plugin)
    fabric = Fabric(accelerator=kind, devices=world // nodes, num_nodes=nodes, plugins=plugin,
                    strategy=DDPStrategy(broadcast_buffers=False))
    fabric.launch()
    return fabric
