"""Binarized MNIST row by row (28 steps of 28 pixels): a bound per image beside the published ones.

    PYRO_RVAE_DATA=... python tests/benchmarks/rows.py [--models ...] [--minutes 20 | --epochs N] [--json out.jsonl]
    python tests/benchmarks/rows.py --table out.jsonl [more.jsonl]

Larochelle's split, 50,000 / 10,000 / 10,000 images. ``--minutes`` times a few training steps first and chooses the
number of epochs from them, so that the learning rate's cosine always ends. Within a run the weights with the best
validation cost are kept; the test images are read once, at the end. The ELBO is of all 10,000 test images; IWAE-50, and
the ELBO beside it, of 1,000 drawn at random (the file is sorted by digit). Nats per image, lower is better.

"independent pixels": given the state, the 28 pixels of a row are independent. "autoregressive": a masked network
conditions each pixel on those left of it (``rv.AutoregressiveBernoulli``).
"""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial
from typing import Any

import pyro
import torch
from family import Lines, Row, machine, read, row, run_all, size

import pyro_rvae as rv
from pyro_rvae.infer import cosine, linear, warmup

Z, H, BATCH = 32, 200, 100
LR = 4e-3  # RVAE after 300 steps on 6,000 images, seed 1: 160.8 on 500 validation images, 182.2 with 2e-3
DRAWS, PARTICLES, SOME = 5, 50, 1000
PUBLISHED = "Published: variational Bi-LSTM <= 79.78 (Shabanian et al. 2017), Z-forcing <= 80.09 (Goyal et al. 2017)."

pixels = partial(rv.AutoregressiveBernoulli, hidden=280)
ROWS: dict[str, Row] = {
    "VRNN, independent pixels": row(rv.VRNN),
    "RVAE, independent pixels": row(rv.RVAE),
    "VRNN, autoregressive": row(rv.VRNN, likelihood=pixels),
    "RVAE, autoregressive": row(rv.RVAE, likelihood=pixels),
    "STORN, autoregressive": row(rv.STORN, likelihood=pixels),
    "DMM, skip edges, autoregressive": row(rv.DMM, likelihood=pixels, skip_edges=True),
    "no latent, independent pixels": row(rv.DeterministicRNN, z_dim=None),
    "no latent, autoregressive": row(rv.DeterministicRNN, z_dim=None, likelihood=pixels),
}


def load(options: argparse.Namespace) -> rv.data.Splits[rv.data.SequenceDataset]:
    """The standard split; with ``--images`` only that many of each side, to try the script."""
    data = rv.data.binarized_mnist(rows=True)
    if options.images is None:
        return data
    return rv.data.Splits(*(side.subset(range(options.images)) for side in (data.train, data.valid, data.test)))


def build(name: str, data: Any, options: argparse.Namespace) -> rv.SequenceVAE:
    torch.manual_seed(options.seed)
    return ROWS[name].build(data.train, h_dim=options.h, z_dim=options.z)


def seconds_a_step(model: rv.SequenceVAE, data: Any, count: int = 6) -> float:
    """Of forward and backward pass, the median; the weights stay. (The optimizer's part is small.)"""
    x, loss, times = data.train.padded(range(BATCH)).x, rv.Loss(model), []
    with rv.trusted(missing=False), pyro.validation_enabled(False):
        for _ in range(count):
            start = time.perf_counter()
            loss(x).backward()
            times.append(time.perf_counter() - start)
    model.zero_grad(set_to_none=True)
    return sorted(times)[count // 2]


def epochs_for(name: str, data: Any, options: argparse.Namespace) -> int:
    """How many fit into the minutes: 500 steps an epoch, and a tenth of their time for its validation."""
    if options.epochs:
        return int(options.epochs)
    step = seconds_a_step(build(name, data, options), data)
    epochs = max(1, int(60 * options.minutes / (1.1 * step * len(data.train) / BATCH)))
    print(f"{name}: {1e3 * step:.0f} ms a step of {BATCH} images, so {epochs} epochs", file=sys.stderr, flush=True)
    return epochs


def train(model: rv.SequenceVAE, data: Any, epochs: int, options: argparse.Namespace) -> rv.History:
    steps = epochs * -(-len(data.train) // BATCH)
    return rv.fit(model, data.train, data.valid, epochs=epochs, batch_size=BATCH, lr=options.lr, clip=5.0,
                  schedule=warmup(cosine(), 0.02), kl_weight=linear(0.1, 1.0, max(1, steps // 5)), seed=options.seed,
                  device="cpu", progress=False)


def measure(name: str, data: Any, options: argparse.Namespace) -> dict[str, Any]:
    """Train a model, and only then read the images that are scored."""
    epochs = epochs_for(name, data, options)
    model = build(name, data, options)
    start = time.perf_counter()
    history = train(model, data, epochs, options)
    minutes = (time.perf_counter() - start) / 60
    held_out = getattr(data, options.split)
    order = torch.randperm(len(held_out), generator=torch.Generator().manual_seed(0))
    some = held_out.subset(order[:SOME].tolist())
    exact = isinstance(model, rv.DeterministicRNN)
    all_of_it, beginning = (
        rv.evaluate(model, images, num_particles=1 if exact else draws, batch_size=100)
        for images, draws in ((held_out, DRAWS), (some, PARTICLES)))
    return {"kind": "rows", "name": name, **settings(options), "epochs": epochs, "parameters": size(model),
            "best_epoch": history.best.epoch, "valid": 28 * history.best.valid_elbo, "elbo": 28 * all_of_it.elbo,
            "kl": 28 * all_of_it.kl, "some_elbo": 28 * beginning.elbo, "some_iwae": 28 * beginning.iwae,
            "exact": exact, "images": len(held_out), "minutes": minutes, "machine": machine()}


def settings(options: argparse.Namespace) -> dict[str, Any]:
    return {"seed": options.seed, "training": options.images or 50_000, "split": options.split, "h": options.h,
            "z": options.z, "lr": options.lr, "batch_size": BATCH,
            "budget": f"{options.epochs} epochs" if options.epochs else f"{options.minutes:g} min"}


# ------------------------------------------------------------------------------------------------- the table
HEAD = (f"| model | {{split}} ELBO | KL | ELBO of {SOME:,} at random | IWAE-{PARTICLES} of them "
        "| best validation cost | parameters | epochs | minutes |\n|---|---|---|---|---|---|---|---|---|")


def cells(m: dict[str, Any]) -> str:
    costs = ((f"{m['elbo']:.2f} (exact)", "no latent", f"{m['some_elbo']:.2f}", "-") if m["exact"] else
             (f"{m['elbo']:.2f}", f"{m['kl']:.2f}", f"{m['some_elbo']:.2f}", f"{m['some_iwae']:.2f}"))
    return "| " + " | ".join([m["name"], *costs, f"{m['valid']:.2f}", f"{m['parameters']:,}", f"{m['epochs']}",
                              f"{m['minutes']:.0f}"]) + " |"


def report(lines: list[dict[str, Any]]) -> None:
    found = [line for line in lines if line["kind"] == "rows"]
    if not found:
        raise SystemExit("no line of a finished model in these files")
    order = list(ROWS)
    found.sort(key=lambda m: order.index(m["name"]) if m["name"] in order else len(order))
    print("\n".join([HEAD.format(split=found[0]["split"]), *map(cells, found)]))
    m = found[0]
    print(f"\nNats per image of 784 pixels, lower is better; {m['images']:,} images. h {m['h']}, z {m['z']}, batches "
          f"of {m['batch_size']}, lr {m['lr']:g}, seed {m['seed']}; {m['machine']}.\n{PUBLISHED}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = "; ".join(ROWS)
    parser.add_argument("--models", nargs="+", metavar="NAME", default=list(ROWS)[:4], help=f"of: {names}")
    parser.add_argument("--minutes", type=float, default=20.0, help="of training, for each model")
    parser.add_argument("--epochs", type=int, help="instead of minutes")
    parser.add_argument("--h", type=int, default=H)
    parser.add_argument("--z", type=int, default=Z)
    parser.add_argument("--lr", type=float, default=LR)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", choices=("test", "valid"), default="test", help="what is scored at the end")
    parser.add_argument("--images", type=int, help="only so many of each side: to try the script")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--table", nargs="+", metavar="FILE", help="only print what these files hold")
    options = parser.parse_args()
    if options.table:
        report(read(options.table))
        return
    if unknown := [name for name in options.models if name not in ROWS]:
        parser.error(f"no model of the name {', '.join(unknown)}; there are: {names}")
    torch.set_num_threads(options.threads)
    data, lines = load(options), Lines(options.json)

    def one(name: str) -> None:
        line = lines.find(kind="rows", name=name, **settings(options))
        if line is None:
            line = measure(name, data, options)
            lines.add(line)
        print(cells(line), flush=True)

    run_all(options.models, one, lines, report)


if __name__ == "__main__":
    main()
