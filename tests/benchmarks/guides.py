"""The same DMM with each guide on the standard JSB Chorales: what a posterior is worth, and what it costs.

    PYRO_RVAE_DATA=... python tests/benchmarks/guides.py [--guides chain combiner] [--seed 0] [--json out.jsonl]
    python tests/benchmarks/guides.py --table out.jsonl [more.jsonl]

The generative model is one and the same (z 32, h 128, gated transition, independent keys), and so are the encoder (a
backward LSTM), epochs, batches, schedules and the objective. Each guide is trained at each learning rate of
``--rates``; of these, and within each run, the weights with the best validation cost are kept, and only they see the
test split.
Nats per frame, pooled, lower is better; "ms a step" is one training step (forward, backward, Adam) on one batch of 20
sequences, the median of 20 after the training is over; "minutes" is the training at all rates.

With ``--json`` each finished guide is a line of the file, so that several processes (``--part i n``: every n-th guide
from the i-th; or ``--guides``) share the work; a run that is started again does only what is missing.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from functools import partial
from typing import Any

import torch
from family import BATCH, EPOCHS, Lines, machine, read, run_all, size, train
from pyro.infer import Trace_ELBO

import pyro_rvae as rv

Z, H = 32, 128
RATES, PARTICLES = (2e-3, 6e-3), 100

_combiner = partial(rv.Combiner, hidden=H)
GUIDES: dict[str, Any] = {  # a new guide is one line here: what it is called, and the posterior of the DMM
    "mean field": partial(rv.MeanField, hidden=(H,)),
    "diagonal, reads z_{t-1}": rv.Normal,
    "low rank (4) plus diagonal": partial(rv.LowRankNormal, rank=4),
    "full covariance": rv.FullNormal,
    "residual to the prior": partial(rv.ResidualNormal, hidden=(H,)),
    "combiner": _combiner,
    "combiner, 1 IAF": partial(_combiner, family=rv.InverseAutoregressive),
    "combiner, 2 IAFs": partial(_combiner, family=partial(rv.InverseAutoregressive, flows=2)),
    "chain, diagonal": partial(rv.GaussianChain, hidden=(H,)),
    "chain, full matrices": partial(rv.FullGaussianChain, hidden=(H,)),
}


def build(name: str, data: rv.data.SequenceDataset) -> rv.DMM:
    return rv.DMM.for_data(data, z_dim=Z, h_dim=H, posterior=GUIDES[name])  # type: ignore[no-any-return]


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """What two lines must share to stand in one table."""
    return {"seed": options.seed, "epochs": options.epochs, "split": options.split, "rates": list(options.rates),
            "batch_size": BATCH}


def chosen(name: str, data: Any, options: argparse.Namespace) -> tuple[rv.DMM, Any, float, float]:
    """The model of the rate with the best validation cost, its history and rate, and the seconds of all rates."""
    best: tuple[Any, Any, float] | None = None
    total = 0.0
    for rate in options.rates:
        torch.manual_seed(options.seed)
        model = build(name, data.train)
        history, seconds = train(model, data, options, lr=rate)
        total += seconds
        print(f"  {name}, lr {rate:g}: validation {history.best.valid_elbo:.3f} at epoch {history.best.epoch}",
              file=sys.stderr, flush=True)
        if best is None or history.best.valid_elbo < best[1].best.valid_elbo:
            best = model, history, rate
    assert best is not None
    return *best, total


def step_time(model: rv.DMM, data: rv.data.SequenceDataset, repeats: int = 20) -> float:
    """Seconds of one training step, the median, on the same batch for all. The model must have been scored before."""
    x, mask, *_ = next(iter(data.batches(BATCH, seed=0)))
    loss, optimizer = rv.Loss(model, Trace_ELBO()), torch.optim.Adam(model.parameters(), 1e-5)
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        optimizer.zero_grad()
        loss(x, mask).backward()
        optimizer.step()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def measure(name: str, data: Any, options: argparse.Namespace) -> dict[str, Any]:
    """Train, choose on the validation split, and only then read the test split."""
    model, history, rate, seconds = chosen(name, data, options)
    found = rv.evaluate(model, getattr(data, options.split), num_particles=PARTICLES)
    guide = size(model.posterior) + size(model.encoder)
    return {"kind": "guide", "name": name, **settings(options), "rate": rate, "guide_parameters": guide,
            "parameters": size(model), "best_epoch": history.best.epoch, "valid": history.best.valid_elbo,
            "elbo": found.elbo, "iwae": found.iwae, "particles": PARTICLES, "kl": found.kl,
            "reconstruction": found.reconstruction, "step": step_time(model, data.train), "seconds": seconds,
            "machine": machine()}


HEAD = ("| guide | {split} ELBO | IWAE-{particles} | KL | reconstruction | validation ELBO | ms a step | minutes "
        "| parameters of the guide | lr | best epoch |\n|---|---|---|---|---|---|---|---|---|---|---|")


def table(guides: list[dict[str, Any]]) -> str:
    order = list(GUIDES)
    guides = sorted(guides, key=lambda g: (order.index(g["name"]) if g["name"] in order else len(order), g["seed"]))
    return "\n".join([HEAD.format(**guides[0]), *map(_cells, guides)])


def _cells(g: dict[str, Any]) -> str:
    return "| " + " | ".join([
        g["name"], *(f"{g[cost]:.3f}" for cost in ("elbo", "iwae", "kl", "reconstruction", "valid")),
        f"{1000 * g['step']:.0f}", f"{g['seconds'] / 60:.1f}", f"{g['guide_parameters']:,}", f"{g['rate']:g}",
        f"{g['best_epoch']} of {g['epochs']}"]) + " |"


def report(lines: list[dict[str, Any]]) -> None:
    if not lines:
        raise SystemExit("no line of a finished guide in these files")
    print(table(lines))
    g = lines[0]
    rates = ", ".join(f"{rate:g}" for rate in g["rates"])
    print(f"\nNats per frame, lower is better. z {Z}, h {H}, batches of {g['batch_size']}, {g['epochs']} epochs at "
          f"each learning rate of {rates}, seed {g['seed']}; {g['machine']}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--guides", nargs="+", metavar="NAME", help=f"of: {'; '.join(GUIDES)}")
    parser.add_argument("--part", nargs=2, type=int, metavar=("I", "N"), default=(0, 1))
    parser.add_argument("--rates", nargs="+", type=float, default=list(RATES), metavar="LR")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", choices=("test", "valid"), default="test", help="what is scored at the end")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--table", nargs="+", metavar="FILE", help="only print what these files hold")
    options = parser.parse_args()
    if options.table:
        report(read(options.table))
        return
    names = (options.guides or list(GUIDES))[options.part[0]::options.part[1]]
    if unknown := [name for name in names if name not in GUIDES]:
        parser.error(f"no guide of the name {', '.join(unknown)}; there are: {'; '.join(GUIDES)}")
    torch.set_num_threads(options.threads)
    data, lines = rv.data.jsb_chorales(), Lines(options.json)

    def one(name: str) -> None:
        if lines.find(kind="guide", name=name, **settings(options)) is None:
            lines.add(measure(name, data, options))
        print(table([lines.find(kind="guide", name=name, **settings(options)) or {}]).splitlines()[-1], flush=True)

    run_all(names, one, lines, report)


if __name__ == "__main__":
    main()
