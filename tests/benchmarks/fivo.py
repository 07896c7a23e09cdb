"""A VRNN on the standard JSB Chorales, trained by the ELBO, by IWAE and by FIVO with the same budget of steps.

    PYRO_RVAE_DATA=... python tests/benchmarks/fivo.py train [--objectives ELBO IWAE-16 FIVO-16] [--json out.jsonl]
    python tests/benchmarks/fivo.py table out.jsonl [more.jsonl]
    python tests/benchmarks/fivo.py step [--rounds 11]

``train``: each objective has the same model, batches, epochs and schedules; the weights kept are those with the best
validation figure of the objective itself (with 16 particles; of the ELBO with one), looked at every few epochs. The
test split is read once, at the end: minus ELBO, IWAE-128, FIVO-16 and FIVO-128, in nats per frame, pooled. ``step``:
the time of a training step by FIVO-16 beside that of the ELBO with one particle, on two threads.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pyro.infer import Trace_ELBO

import pyro_rvae as rv
from pyro_rvae.infer import cosine, linear, warmup

K, MANY = 16, 128
OBJECTIVES: dict[str, Callable[[], Any]] = {
    "ELBO": Trace_ELBO,
    f"IWAE-{K}": lambda: rv.IWAE(K),
    f"FIVO-{K}": lambda: rv.FIVO(K),
}


def filtered(model: Any, data: Any, particles: int) -> float:
    """Minus FIVO-N in nats per frame."""
    found = rv.evaluate(model, data, num_particles=1, filters=[rv.FIVO(particles)])
    return found.bound(f"FIVO-{particles}")


def figure(model: Any, data: Any, objective: str) -> float:
    """The objective's own cost of a data set."""
    if objective.startswith("FIVO"):
        return filtered(model, data, K)
    return rv.evaluate(model, data, num_particles=1 if objective == "ELBO" else K).iwae


class Best(rv.Callback):
    """Keeps the weights with the best cost of the objective on the validation split."""

    def __init__(self, valid: Any, objective: str, every: int) -> None:
        self.valid, self.objective, self.every = valid, objective, every
        self.cost, self.epoch, self.weights = math.inf, 0, None

    def on_epoch_end(self, state: Any, row: Any) -> None:
        if state.epoch % self.every:
            return
        cost = figure(state.model, self.valid, self.objective)
        if cost < self.cost:
            self.cost, self.epoch = cost, state.epoch
            self.weights = {name: w.detach().clone() for name, w in state.model.state_dict().items()}
        print(f"{self.objective}: epoch {state.epoch}, validation {cost:.3f}, best {self.cost:.3f}", flush=True)


def train(objective: str, options: argparse.Namespace) -> dict[str, Any]:
    data = rv.data.jsb_chorales()
    torch.manual_seed(options.seed)
    model = rv.VRNN.for_data(data.train, z_dim=16, h_dim=128)
    steps = options.epochs * -(-len(data.train) // 20)
    best, start = Best(data.valid, objective, options.every), time.perf_counter()
    rv.fit(model, data.train, elbo=OBJECTIVES[objective](), epochs=options.epochs, batch_size=20, lr=options.lr,
           clip=5.0, schedule=warmup(cosine(), 0.05), kl_weight=linear(0.0, 1.0, max(1, int(options.warm * steps))),
           seed=options.seed, device="cpu", progress=False, callbacks=[best])
    seconds = time.perf_counter() - start
    model.load_state_dict(best.weights)
    test = rv.evaluate(model, data.test, num_particles=MANY, filters=[rv.FIVO(16), rv.FIVO(MANY)])
    return {"objective": objective, "elbo": test.elbo, f"iwae_{MANY}": test.iwae,
            "fivo_16": test.bound("FIVO-16"), f"fivo_{MANY}": test.bound(f"FIVO-{MANY}"), "kl": test.kl,
            "valid": best.cost, "epoch": best.epoch, "epochs": options.epochs, "seed": options.seed, "lr": options.lr,
            "seconds": seconds, "threads": torch.get_num_threads(), "torch": torch.__version__,
            "machine": platform.processor() or platform.machine()}


def table(paths: list[str]) -> None:
    rows = [json.loads(line) for path in paths for line in Path(path).read_text().splitlines()]
    print("| trained by | test ELBO | IWAE-128 | FIVO-16 | FIVO-128 | KL | best epoch | minutes |")
    print("|---|" + "---|" * 7)
    for r in rows:
        print(f"| {r['objective']} | {r['elbo']:.3f} | {r['iwae_128']:.3f} | {r['fivo_16']:.3f} | "
              f"{r['fivo_128']:.3f} | {r['kl']:.3f} | {r['epoch']} of {r['epochs']} | {r['seconds'] / 60:.0f} |")


def step(rounds: int, threads: int) -> None:
    """Medians of a training step (B 20, T 100, x 88, z 16, h 128), and of the ratio within a round."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model, x = rv.VRNN(88, 16, 128), (torch.rand(20, 100, 88) < 0.05).float()
    losses = {name: rv.Loss(model, elbo) for name, elbo in (("ELBO", Trace_ELBO()), ("FIVO-16", rv.FIVO(16)))}
    times: dict[str, list[float]] = {name: [] for name in losses}
    for _ in range(rounds + 1):
        for name, loss in losses.items():
            start = time.perf_counter()
            model.zero_grad(set_to_none=True)
            loss(x).backward()
            times[name].append(time.perf_counter() - start)
    ratios = [b / a for a, b in zip(*(t[1:] for t in times.values()), strict=True)]
    print(*(f"{name}: {statistics.median(t[1:]) * 1e3:.0f} ms" for name, t in times.items()),
          f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})", f"{threads} threads",
          sep="; ")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "table", "step"])
    parser.add_argument("files", nargs="*")
    parser.add_argument("--objectives", nargs="+", default=list(OBJECTIVES), choices=list(OBJECTIVES))
    parser.add_argument("--json", default=None)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--every", type=int, default=5)
    parser.add_argument("--lr", type=float, default=6e-3)
    parser.add_argument("--warm", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    if options.what == "step":
        step(options.rounds, options.threads)
    elif options.what == "table":
        table(options.files)
    else:
        for objective in options.objectives:
            row = train(objective, options)
            print(json.dumps(row), flush=True)
            if options.json:
                with open(options.json, "a") as file:
                    file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
