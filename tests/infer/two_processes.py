"""Run by test_loss.py, twice, with the environment of torchrun: what two processes compute together."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as distributed
from torch.nn.parallel import DistributedDataParallel
from zoo import MASK, PAPERS, B

import pyro_rvae as rv
from pyro_rvae.data import SequenceDataset
from pyro_rvae.infer import Callback, fit

RANK, OUT = int(os.environ["RANK"]), Path(sys.argv[1])


def write(name: str, **found: Any) -> None:
    (OUT / f"{name}_{RANK}.json").write_text(json.dumps(found))


def gradients(name: str) -> None:
    """DDP on the half batches against one process on the whole; the noise goes with the sequence."""
    case = PAPERS[name]
    x, mask = case.x(), None if case.static else MASK
    mine = torch.arange(B)[RANK::2]
    loss = rv.Loss(case.make())
    module = DistributedDataParallel(loss)
    with rv.given_noise(0, mine):
        module(x[mine], None if mask is None else mask[mine]).backward()
    alone = case.make()
    with rv.given_noise(0, torch.arange(B)):
        frames = B if mask is None else int(mask.sum())
        value = rv.infer.elbo.differentiable_loss(rv.Loss(alone).elbo, alone.model, alone.guide, x, mask)
    own = torch.autograd.grad(value / frames, list(alone.parameters()))
    error = max((a.grad - b).abs().max().item() for a, b in zip(loss.parameters(), own, strict=True))
    naive = case.make()  # each process divides by its own frames
    with rv.given_noise(0, mine):
        part = rv.infer.elbo.differentiable_loss(rv.Loss(naive).elbo, naive.model, naive.guide, x[mine],
                                                 None if mask is None else mask[mine])
    local = torch.autograd.grad(part / (len(mine) if mask is None else mask[mine].sum()), list(naive.parameters()))
    for g in local:
        distributed.all_reduce(g)
    wrong = max((a / 2 - b).abs().max().item() for a, b in zip(local, own, strict=True))
    write(f"gradients_{name}", error=error, count=len(own), wrong=wrong)


class Stop(Callback):
    def on_step(self, state: Any) -> None:
        state.stop = state.step == 3


def training() -> None:
    lengths = torch.tensor([5, 2, 7, 3, 4, 6, 1, 5, 2])
    values = (torch.rand(int(lengths.sum()), 5, generator=torch.Generator().manual_seed(0)) < 0.3).double()
    data = SequenceDataset(values, lengths)
    settings: dict[str, Any] = {"valid": data, "epochs": 3, "batch_size": 4, "progress": False, "ema": 0.9, "lr": 0.05}
    torch.manual_seed(RANK)  # the processes begin with other weights: DDP makes them equal
    model = rv.VRNN(5, 2, 4, dropout=0.1)
    history = fit(model, data, **settings)
    folder = OUT / "checkpoint"
    torch.manual_seed(RANK)
    broken = rv.VRNN(5, 2, 4, dropout=0.1)
    fit(broken, data, **settings, checkpoint=folder, callbacks=[Stop()])
    fit(broken, data, **settings, checkpoint=folder, resume=True)
    torch.manual_seed(RANK)
    joined = rv.VRNN(5, 2, 4)
    settings |= {"epochs": 1, "batch_size": 2, "accumulate": 3, "ema": None, "valid": None}
    together = fit(joined, data, **settings, elbo=rv.IWAE(3, doubly_reparametrized=True))
    write("accumulated", weights=flat(joined), steps=together.rows[-1].step,
          finite=bool(torch.tensor(flat(joined)).isfinite().all()))
    write("fit", weights=flat(model), resumed=flat(broken), history=[list(row)[:-2] for row in history],
          steps=history.rows[-1].step, finite=bool(torch.tensor(flat(model)).isfinite().all()),
          learned=bool(history["elbo"][-1] < history["elbo"][0]))


def flat(model: torch.nn.Module) -> list[float]:
    return torch.cat([p.detach().flatten() for p in model.parameters()]).tolist()  # type: ignore[no-any-return]


if __name__ == "__main__":
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    training()  # fit joins the processes
    for each in ("VRNN", "DMM", "VAE"):
        gradients(each)
    distributed.barrier()
    distributed.destroy_process_group()
    sys.stderr.flush()
    os._exit(0)  # all is written; threads of gloo that outlive the interpreter abort the process now and then
