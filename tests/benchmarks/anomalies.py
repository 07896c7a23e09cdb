"""Heartbeats: anomalies among ECG5000 found by a model that has seen normal beats only.

    PYRO_RVAE_DATA=... python tests/benchmarks/anomalies.py [--model VRAE] [--seeds 0 1 2] [--epochs 200] [--choose]

Trained on 200 normal beats. On 46 other normal beats the weights with the best validation ELBO are kept and the
threshold is set (which a normal beat exceeds with probability of at most 10%). Settings, and which score, were chosen
by how well it tells those 46 from distorted copies of them: played backwards, warped in time, with a bump, with noise,
each made mean 0 and deviation 1 again, as all beats are. No true anomaly is seen before the end: with ``--choose`` the
table has the ROC AUC against the distortions and the other 254 beats, 46 normal and 208 not, are not read; without,
they are scored by ``--method`` of ``rv.tasks.score``. ROC AUC is scikit-learn's.
"""

from __future__ import annotations

import argparse
import os
import time
from functools import partial
from typing import Any

import numpy as np
import torch
from pyro.infer import TraceMeanField_ELBO
from sklearn.metrics import precision_recall_fscore_support, roc_auc_score

import pyro_rvae as rv
from pyro_rvae.infer import cosine, linear, warmup

BLIND = partial(rv.FrameDropout, p=1.0)  # the decoder does not read the frame before: z alone has to say it all
MODELS: dict[str, Any] = {
    "VRAE": partial(rv.VRAE.for_data, feedback=BLIND),
    "VRAE-fed": rv.VRAE.for_data,
    "DMM": rv.DMM.for_data,
    "SRNN": rv.SRNN.for_data,
    "VRNN": rv.VRNN.for_data,
    "RNN": rv.DeterministicRNN.for_data,
}
FAMILIES = {"normal": rv.Normal, "student": rv.StudentT}
METHODS = ("whole", "reconstruction")


def train(options: argparse.Namespace, seed: int) -> tuple[Any, float]:
    data = rv.data.ecg5000()
    torch.manual_seed(seed)
    latent = {} if options.model == "RNN" else {"z_dim": options.z_dim}
    model = MODELS[options.model](data.train, h_dim=options.h_dim, likelihood=FAMILIES[options.likelihood], **latent)
    start = time.perf_counter()
    rv.fit(model, data.train, data.valid, elbo=None if options.model == "RNN" else TraceMeanField_ELBO(),
           epochs=options.epochs, batch_size=20, clip=5.0, lr=options.lr, schedule=warmup(cosine(), 0.03),
           kl_weight=linear(0.2, 1.0, 3 * options.epochs), valid_every=5, seed=seed, progress=False)
    return model, time.perf_counter() - start


def scored(model: Any, beats: Any, options: argparse.Namespace, method: str) -> Any:
    return rv.tasks.score(model, beats, options.particles, method=method, expected=None, batch_size=50)


def distorted(beats: Any) -> dict[str, Any]:
    """Copies of normal beats that are not."""
    x, rng = beats.padded().x[..., 0].double().numpy(), np.random.default_rng(0)
    steps, size = np.arange(x.shape[1]), (len(x), 1)
    knee, bend = rng.uniform(0.3, 0.7, size) * len(steps), rng.choice([-0.2, 0.2], size) * len(steps)
    when = [np.interp(steps, [0, k, len(steps) - 1], [0, k + b, len(steps) - 1])
            for k, b in zip(knee[:, 0], bend[:, 0], strict=True)]
    bump = np.exp(-0.5 * ((steps - rng.uniform(20, 120, size)) / 8) ** 2) * rng.choice([-1.5, 1.5], size)
    warped = np.stack([np.interp(w, steps, row) for w, row in zip(when, x, strict=True)])
    made = {"backwards": x[:, ::-1], "warped": warped, "bump": x + bump,
            "noise": x + 0.3 * rng.standard_normal(x.shape)}
    units = {name: (y - y.mean(1, keepdims=True)) / y.std(1, keepdims=True) for name, y in made.items()}
    return {name: rv.data.SequenceDataset(torch.tensor(y.reshape(-1, 1), dtype=beats.values.dtype), beats.lengths,
                                          names=beats.names, kind="real") for name, y in units.items()}


def chosen(model: Any, valid: Any, options: argparse.Namespace) -> list[list[str]]:
    """A row for each method: ROC AUC of the validation beats beside their distorted copies."""
    copies, rows = distorted(valid), []
    for method in METHODS if options.model != "RNN" else METHODS[:1]:
        normal = scored(model, valid, options, method).by_sequence
        areas = [_area(normal, scored(model, copy, options, method).by_sequence) for copy in copies.values()]
        rows.append([method, *(f"{area:.3f}" for area in (*areas, np.mean(areas)))])
    return rows


def _area(normal: Any, others: Any) -> float:
    return float(roc_auc_score(np.repeat([0, 1], [len(normal), len(others)]), np.concatenate([normal, others])))


def tested(model: Any, data: Any, options: argparse.Namespace) -> list[str]:
    limit = scored(model, data.valid, options, options.method).threshold(0.9, "sequence")
    found, abnormal = scored(model, data.test, options, options.method), data.test.labels.numpy() > 0
    flags = found.flags(limit, "sequence")
    precision, recall, *_ = precision_recall_fscore_support(abnormal, flags, average="binary")
    return [options.method, f"{roc_auc_score(abnormal, found.by_sequence):.3f}", f"{limit:.0f}", f"{precision:.3f}",
            f"{recall:.3f}", f"{int(flags[~abnormal].sum())} of {int((~abnormal).sum())}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=[*MODELS], default="VRAE")
    parser.add_argument("--likelihood", choices=[*FAMILIES], default="normal")
    parser.add_argument("--z-dim", type=int, default=8)
    parser.add_argument("--h-dim", type=int, default=64)
    parser.add_argument("--method", choices=METHODS, default="whole")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--particles", type=int, default=300)
    parser.add_argument("--choose", action="store_true", help="validation only: the test beats are not read")
    options = parser.parse_args()
    if "PYRO_RVAE_DATA" not in os.environ:
        parser.error("set PYRO_RVAE_DATA to the folder with timeseries/ecg5000_train500.npz")
    torch.set_num_threads(1)
    data = rv.data.ecg5000()
    columns = ["backwards", "warped", "bump", "noise", "mean"] if options.choose else \
        ["test ROC AUC", "threshold", "precision", "recall", "false alarms"]
    names = ["model", "seed", "score", *columns, "seconds of training"]
    print(f"| {' | '.join(names)} |\n{'|---' * len(names)}|", flush=True)
    for seed in options.seeds:
        model, seconds = train(options, seed)
        for row in chosen(model, data.valid, options) if options.choose else [tested(model, data, options)]:
            print(f"| {' | '.join([options.model, str(seed), *row, f'{seconds:.0f}'])} |", flush=True)


if __name__ == "__main__":
    main()
