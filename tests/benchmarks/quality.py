"""The standard JSB Chorales: a DMM with Bernoulli emission and the chain guide, with and without skip edges.

    PYRO_RVAE_DATA=... python tests/benchmarks/quality.py [--seeds 0 1 2] [--plain | --skip] [--threads 1]

Everything is chosen on the validation bound: the settings below by hand, and within a run the weights with the best
validation ELBO. The test split is read once, at the end. Published: ELBO 6.773 with skip edges (DMM-Aug, Krishnan
et al. 2017; importance sampling with 2000 draws 6.288), 6.87 without (Pyro's tutorial). Nats per frame, pooled.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from functools import partial
from typing import Any

import torch
from pyro.infer import TraceMeanField_ELBO

import pyro_rvae as rv
from pyro_rvae.infer import linear

WIDTHS: dict[str, Any] = {
    "z_dim": 64,
    "h_dim": 200,
    "layers": 2,
    "dropout": 0.3,
    "transition": partial(rv.GatedNormal, hidden=200, dropout=0.1),
}
TRAINING: dict[str, Any] = {"epochs": 250, "batch_size": 20, "lr": 4e-3, "clip": 5.0, "ema": 0.998}


def run(skip_edges: bool, seed: int, epochs: int) -> tuple[rv.Evaluation, float]:
    """Train one model, and evaluate it on the test split."""
    data = rv.data.jsb_chorales()
    torch.manual_seed(seed)
    encoder = rv.Bidirectional(data.train.x_dim, 300, dropout=0.3, append=True)
    model = rv.DMM.for_data(data.train, encoder=encoder, skip_edges=skip_edges, **WIDTHS)
    start = time.perf_counter()
    history = rv.fit(model, data.train, data.valid, elbo=TraceMeanField_ELBO(), kl_weight=linear(0.05, 1.0, 2000),
                     seed=seed, valid_every=5, **{**TRAINING, "epochs": epochs})
    minutes = (time.perf_counter() - start) / 60
    print(f"best validation ELBO {history.best}", flush=True)
    return rv.evaluate(model, data.test, num_particles=500, train=data.train), minutes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--plain", action="store_true", help="only without skip edges")
    parser.add_argument("--skip", action="store_true", help="only with skip edges")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=TRAINING["epochs"])
    options = parser.parse_args()
    if "PYRO_RVAE_DATA" not in os.environ:
        parser.error("set PYRO_RVAE_DATA to the folder with polyphonic/jsb_chorales.npz")
    torch.set_num_threads(options.threads)
    print("| DMM | seed | test ELBO | test IWAE-500 | KL | minutes |\n|---|---|---|---|---|---|", flush=True)
    for skip_edges in [s for s in (True, False) if not (s and options.plain) and not (not s and options.skip)]:
        bounds = []
        for seed in options.seeds:
            result, minutes = run(skip_edges, seed, options.epochs)
            bounds.append(result.elbo)
            print(f"| {'skip edges' if skip_edges else 'plain'} | {seed} | {result.elbo:.3f} | {result.iwae:.3f} "
                  f"| {result.kl:.2f} | {minutes:.0f} |", flush=True)
        if len(bounds) > 1:
            print(f"mean {statistics.mean(bounds):.3f}, standard deviation {statistics.stdev(bounds):.3f}")


if __name__ == "__main__":
    main()
