"""Run by test_resume.py: one training killed again and again, and one that is not. Prints what differs.

Each life is a process forked from this one, which has only imported things: that costs milliseconds, not seconds.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning_fabric.strategies  # noqa: F401  (once here, not in each life)
import safetensors.torch
import torch

import pyro_rvae as rv
from pyro_rvae.data import SequenceDataset
from pyro_rvae.infer import Callback, Checkpoint, cosine, fit, linear

EPOCHS, STEPS = 5, 8  # of an epoch


def datasets() -> tuple[SequenceDataset, SequenceDataset]:
    lengths = torch.randint(1, 8, (STEPS * 3,), generator=torch.Generator().manual_seed(0))
    values = (torch.rand(int(lengths.sum()), 4, generator=torch.Generator().manual_seed(1)) < 0.3).double()
    data = SequenceDataset(values, lengths)
    return data, data.subset(range(5))


def train(folder: Path, callback: Callback, resume: bool) -> None:
    """The run: dropout, annealing, a schedule, an average, validation, early stopping that never comes."""
    torch.manual_seed(0)
    data, valid = datasets()
    model = rv.VRNN(4, 2, 4, dropout=0.2)
    history = fit(model, data, valid, epochs=EPOCHS, batch_size=3, lr=0.01, schedule=cosine(), ema=0.9, patience=50,
                  kl_weight=linear(0.1, 1.0, 20), checkpoint=Checkpoint(folder, every=3), resume=resume,
                  callbacks=[callback], progress=False)
    history.to_csv(folder / "history.csv")
    safetensors.torch.save_file(model.state_dict(), folder / "model.safetensors")


class KillAt(Callback):
    """SIGKILL after an optimizer step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, state: Any) -> None:
        if state.step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


class KillWithin(Callback):
    """SIGKILL at the n-th fsync, rename or removal after a step: in the midst of saving."""

    def __init__(self, step: int, call: str, nth: int) -> None:
        self.step, self.call, self.nth = step, call, nth

    def on_step(self, state: Any) -> None:
        if state.step != self.step:
            return
        real, count = getattr(os, self.call), 0

        def deadly(*args: Any) -> Any:
            nonlocal count
            count += 1
            if count == self.nth:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args)

        setattr(os, self.call, deadly)


def life(what: Callable[[], None]) -> int:
    """A forked process: its exit status as os.waitpid gives it."""
    pid = os.fork()
    if pid == 0:
        try:
            what()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return os.waitpid(pid, 0)[1]


def killed_lives(folder: Path, killers: list[Callback]) -> None:
    for killer in killers:
        status = life(lambda killer=killer: train(folder, killer, resume=(folder / "state.json").exists()))
        if not (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL):
            raise SystemExit(f"{killer.__dict__} should have been killed, and ended with {status}")
    if life(lambda: train(folder, Callback(), resume=True)):
        raise SystemExit("the last life failed")


def compare(one: Path, other: Path) -> list[str]:
    """What differs: nothing but memory and seconds may."""
    rows = [[line.rsplit(",", 2)[0] for line in (f / "history.csv").read_text().splitlines()] for f in (one, other)]
    states = [json.loads((f / "state.json").read_text()) for f in (one, other)]
    bodies = [(f / s["tensors"]).read_bytes() for f, s in zip((one, other), states, strict=True)]
    models = [(f / "model.safetensors").read_bytes() for f in (one, other)]
    for state in states:
        del state["tensors"], state["state"]["seconds"]
        state["state"]["history"] = [row[:-2] for row in state["state"]["history"]]
    found = {"rows": rows, "state": states, "tensors": bodies, "model": models}
    return [name for name, (a, b) in found.items() if a != b] + ["no rows"] * (len(rows[0]) != EPOCHS + 1)


def main(out: Path) -> None:
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    whole = out / "whole"
    if life(lambda: train(whole, Callback(), resume=False)):
        raise SystemExit("the unbroken run failed")
    at_random = sorted(random.Random(0).sample(range(4, EPOCHS * STEPS), 10))
    killed_lives(out / "steps", [KillAt(step) for step in at_random])
    within = [("fsync", 1), ("replace", 1), ("fsync", 2), ("replace", 2), ("fsync", 3), ("remove", 1)]
    killed_lives(out / "saves", [KillWithin(3 * (i + 2), *where) for i, where in enumerate(within)])
    print(json.dumps({"killed at": at_random, "steps": compare(whole, out / "steps"),
                      "saves": compare(whole, out / "saves"), "left": sorted(map(str, os.listdir(out / "saves")))}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
