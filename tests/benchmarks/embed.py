"""Logistic regression on embeddings, beside the same on the raw numbers: Japanese vowels and splice junctions.

    PYRO_RVAE_DATA=... python tests/benchmarks/embed.py [--sets vowels splice] [--choose] [--seeds 0 1 2] [--epochs N]

A model is trained on the sequences of the training side, without their labels; its posterior means (``rv.tasks.embed``)
are standardised and go to a logistic regression, which is given the training labels. Beside it the same regression on
the embeddings of the untrained model, and on the numbers themselves: vowels, their means over time and all frames
behind one another with zeros behind the end; splice junctions, a 0 or 1 for each letter at each place. With
``--choose`` every candidate is trained with seed 0 and the accuracy on validation is printed; the test side is not
read. Without, the chosen one of each set is trained with each seed; the strength of the regression's penalty is chosen
on validation, and the test side is read once.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import pyro_rvae as rv
from pyro_rvae.infer import cosine
from pyro_rvae.infer.schedules import Constant

PENALTIES = (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0)  # C
LONGEST = 29  # frames of an utterance


@dataclass(frozen=True)
class Candidate:
    """A model, its training, and how it is embedded."""

    build: Callable[[Any], rv.SequenceVAE]
    epochs: int
    lr: float = 3e-3
    batch_size: int = 20
    kl_weight: float = 1.0
    by: str = "sequence"
    pool: str = "mean"
    form: str = "sequences"  # of the data: "rows" (all letters at once), "places" (the place of a letter as control)


def made(cls: Any, **parts: Any) -> Callable[[Any], rv.SequenceVAE]:
    return lambda data: cls.for_data(data, **parts)


_vrae = {"z_dim": 32, "h_dim": 64, "encoder": rv.Bidirectional}
_blind = partial(rv.FrameDropout, p=1.0)
CANDIDATES: dict[str, dict[str, Candidate]] = {
    "vowels": {
        "VRAE": Candidate(made(rv.VRAE, **_vrae), 60),
        "VRAE, z alone": Candidate(made(rv.VRAE, **_vrae, feedback=_blind), 60, kl_weight=0.1),
        "RAE": Candidate(made(rv.RAE, **_vrae, feedback=_blind), 60),
        "DMM": Candidate(made(rv.DMM, z_dim=16, h_dim=64), 40, pool="both"),
        "STORN": Candidate(made(rv.STORN, z_dim=16, h_dim=64, encoder=rv.Bidirectional), 40, pool="both"),
        "STORN, wide": Candidate(made(rv.STORN, z_dim=32, h_dim=64, encoder=rv.Bidirectional), 80, pool="both"),
    },
    "splice": {
        "VRAE": Candidate(made(rv.VRAE, **_vrae, feedback=partial(rv.WordDropout, p=1.0)), 10, batch_size=50,
                          kl_weight=0.1),
        "VAE of rows": Candidate(made(rv.VAE, z_dim=32, h_dim=256), 30, 2e-3, 50, 0.1, form="rows"),
        "VAE of rows, long": Candidate(made(rv.VAE, z_dim=32, h_dim=256), 60, 2e-3, 50, 0.1, form="rows"),
        "NeuralHMM": Candidate(made(rv.NeuralHMM, modes=6, h_dim=32), 12, 1e-2, 50, form="places", by="step"),
    },
}
CHOSEN = {"vowels": "STORN", "splice": "VAE of rows, long"}


# ------------------------------------------------------------------------------------------ data
def sides(name: str, form: str) -> list[Any]:
    """Training, validation, test."""
    if name == "vowels":
        return list(rv.data.japanese_vowels().standardize())
    return [reshaped(side, form) for side in rv.data.splice_junctions()]


def reshaped(data: Any, form: str) -> Any:
    known = {"kind": "categories", "classes": 4, "labels": data.labels}
    length = int(data.lengths[0])
    if form == "rows":
        return rv.data.StaticDataset(data.values.reshape(-1, length), **known)
    places = torch.eye(length).repeat(len(data), 1) if form == "places" else None
    return rv.data.SequenceDataset(data.values, data.lengths, controls=places, **known)


def raw(name: str, data: Any) -> dict[str, np.ndarray]:
    """The numbers themselves, ``(N, d)``, in one or two ways."""
    if name == "splice":
        letters = data.values.reshape(len(data), -1)
        return {"letters, one-hot": torch.cat([letters == code for code in torch.arange(4)], 1).double().numpy()}
    padded = np.zeros((len(data), LONGEST, data.x_dim))
    for row, x in zip(padded, data, strict=True):
        row[: len(x)] = x
    return {"means over time": np.stack([x.mean(0).numpy() for x in data]), "all frames": padded.reshape(len(data), -1)}


# ------------------------------------------------------------------------------------------ one row of the table
def embedded(candidate: Candidate, found: list[Any], seed: int, epochs: int | None
             ) -> tuple[dict[str, list[np.ndarray]], float]:
    """The vectors of each side before and after training, and seconds of training."""
    torch.manual_seed(seed)
    model = candidate.build(found[0])
    start = vectors(model, candidate, found)
    begin = time.perf_counter()
    rv.fit(model, found[0], found[1], epochs=epochs or candidate.epochs, batch_size=candidate.batch_size,
           lr=candidate.lr, schedule=cosine(), kl_weight=Constant(candidate.kl_weight), seed=seed, progress=False)
    seconds = time.perf_counter() - begin
    return {"": vectors(model, candidate, found), ", untrained": start}, seconds


def vectors(model: rv.SequenceVAE, candidate: Candidate, found: list[Any]) -> list[np.ndarray]:
    """``(N, d)`` of each side; by step the vectors of all steps one behind the other."""
    results = [rv.tasks.embed(model, side, by=candidate.by, pool=candidate.pool) for side in found]  # type: ignore[arg-type]
    if candidate.by == "step":
        return [np.stack([own.reshape(-1) for own in result.values]) for result in results]
    return [result.values for result in results]


def regressed(x: list[np.ndarray], labels: list[Any]) -> tuple[float, float, float]:
    """C, and the accuracies on validation and on the last side."""
    best = (0.0, 0.0, None)
    for penalty in PENALTIES:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=penalty, max_iter=5000))
        accuracy = model.fit(x[0], labels[0]).score(x[1], labels[1])
        best = max(best, (accuracy, -penalty, model), key=lambda found: found[:2])  # a draw: the stronger penalty
    return -best[1], best[0], float(best[2].score(x[-1], labels[-1]))  # type: ignore[attr-defined]


def row(name: str, what: str, x: list[np.ndarray], labels: list[Any], rest: str) -> None:
    penalty, valid, last = regressed(x, labels)
    test = f"{last:.3f}" if len(x) == 3 else "-"
    print(f"| {name} | {what} | {x[0].shape[1]} | {penalty:g} | {valid:.3f} | {test} | {rest} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", choices=list(CANDIDATES), default=list(CANDIDATES))
    parser.add_argument("--choose", action="store_true", help="every candidate, on validation; test is not read")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, help="instead of a candidate's own")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| set | what the regression reads | width | C | valid | test | seed, epochs, seconds (1 thread) |")
    print("|---|---|---:|---:|---:|---:|---|")
    for name in options.sets:
        used = slice(0, 2 if options.choose else 3)
        found = sides(name, "sequences")[used]
        labels = [side.labels.numpy() for side in found]
        ways = [raw(name, side) for side in found]
        for what in ways[0]:
            row(name, f"raw: {what}", [way[what] for way in ways], labels, "")
        names = list(CANDIDATES[name]) if options.choose else [CHOSEN[name]]
        for what in names:
            candidate = CANDIDATES[name][what]
            for seed in options.seeds[: 1 if options.choose else None]:
                both, seconds = embedded(candidate, sides(name, candidate.form)[used], seed, options.epochs)
                for state, own in both.items():
                    trained = f", {options.epochs or candidate.epochs}, {seconds:.0f}" * (not state)
                    row(name, f"{what}, by {candidate.by}{state}", own, labels, f"{seed}{trained}")


if __name__ == "__main__":
    main()
