"""Heartbeats: anomalies among ECG5000 found by a model that has seen normal beats only.

    PYRO_RVAE_DATA=... python tests/benchmarks/anomalies.py [--model VRAE] [--seeds 0 1 2] [--epochs 3] [--choose]

Trained on 200 normal beats. Settings, and which score, are chosen by the ROC AUC (scikit-learn's) among 46 others, 14
of them normal; the threshold is the score which a normal beat exceeds with probability of at most 10%, from these 14.
With ``--choose`` the 254 beats that remain are not read; without, they are scored once, by ``--score``.
"""

from __future__ import annotations

import argparse
import math
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
FAMILIES = {"normal": rv.Normal, "even": partial(rv.Normal, scale=0.3, learned=True), "student": rv.StudentT}
SCORES = ("whole", "reconstruction", "peak")


def train(options: argparse.Namespace, seed: int) -> tuple[Any, float]:
    data = rv.data.ecg5000()
    torch.manual_seed(seed)
    latent = {} if options.model == "RNN" else {"z_dim": options.z_dim}
    model = MODELS[options.model](data.train, h_dim=options.h_dim, likelihood=FAMILIES[options.likelihood], **latent)
    start = time.perf_counter()
    normal = data.valid.subset(data.valid.labels == 0)
    rv.fit(model, data.train, normal, elbo=None if options.model == "RNN" else TraceMeanField_ELBO(),
           epochs=options.epochs, batch_size=20, clip=5.0, lr=options.lr, schedule=warmup(cosine(), 0.03),
           kl_weight=linear(0.2, 1.0, 3 * options.epochs), valid_every=5, seed=seed, progress=False)
    return model, time.perf_counter() - start


def scored(model: Any, beats: Any, options: argparse.Namespace) -> dict[str, Any]:
    """Scores of the beats ``(N,)``: of whole beats, the highest of a step where it is cheap, what is not given back."""
    ask = partial(rv.tasks.score, model, beats, options.particles, expected=None, batch_size=50)
    found = {"whole": ask(method="whole").by_sequence, "reconstruction": ask(method="reconstruction").by_sequence}
    return found if options.model.startswith("VRAE") else {**found, "peak": ask().peak}


def from_the_mean(data: Any, *sides: str) -> list[str]:
    """ROC AUC without a model: the squared distance from the mean of the training beats."""
    mean, areas = data.train.padded().x.mean(0), []
    for beats in (getattr(data, side) for side in sides):
        areas.append(roc_auc_score(beats.labels > 0, (beats.padded().x - mean).square().sum((1, 2))))
    return [f"{area:.3f}" for area in areas]


def report(model: Any, data: Any, options: argparse.Namespace) -> list[list[str]]:
    """A row for each score on the validation beats; with the chosen one on the test beats if they may be read."""
    valid, sick = scored(model, data.valid, options), data.valid.labels.numpy() > 0
    if options.choose:
        return [[name, f"{roc_auc_score(sick, scores):.3f}"] for name, scores in valid.items()]
    normal = valid[options.score][~sick]
    limit = float(np.sort(normal)[math.ceil(0.9 * (len(normal) + 1)) - 1])  # as Scores.threshold has it
    found, abnormal = scored(model, data.test, options)[options.score], data.test.labels.numpy() > 0
    precision, recall, *_ = precision_recall_fscore_support(abnormal, found > limit, average="binary")
    alarms = f"{int((found > limit)[~abnormal].sum())} of {int((~abnormal).sum())}"
    return [[options.score, f"{roc_auc_score(sick, valid[options.score]):.3f}", f"{roc_auc_score(abnormal, found):.3f}",
             f"{limit:.0f}", f"{precision:.3f}", f"{recall:.3f}", alarms]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=[*MODELS], default="VRAE")
    parser.add_argument("--likelihood", choices=[*FAMILIES], default="normal")
    parser.add_argument("--z-dim", type=int, default=8)
    parser.add_argument("--h-dim", type=int, default=64)
    parser.add_argument("--score", choices=SCORES, default="whole")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--particles", type=int, default=100)
    parser.add_argument("--choose", action="store_true", help="validation only: the test beats are not read")
    options = parser.parse_args()
    if "PYRO_RVAE_DATA" not in os.environ:
        parser.error("set PYRO_RVAE_DATA to the folder with timeseries/ecg5000_train500.npz")
    torch.set_num_threads(1)
    data = rv.data.ecg5000()
    columns = ["valid ROC AUC"] if options.choose else \
        ["valid ROC AUC", "test ROC AUC", "threshold", "precision", "recall", "false alarms"]
    names = ["model", "seed", "score", *columns, "seconds of training"]
    print(f"| {' | '.join(names)} |\n{'|---' * len(names)}|", flush=True)
    beside = from_the_mean(data, *("valid", "test")[: 2 - options.choose])
    empty = [""] * (len(names) - 3 - len(beside))
    print(f"| {' | '.join(['mean beat', '', 'distance', *beside, *empty])} |", flush=True)
    for seed in options.seeds:
        model, seconds = train(options, seed)
        for row in report(model, data, options):
            print(f"| {' | '.join([options.model, str(seed), *row, f'{seconds:.0f}'])} |", flush=True)


if __name__ == "__main__":
    main()
