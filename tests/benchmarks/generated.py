"""What small models make: names, digits, strokes, spoken digits, DNA and chorales, as files and as one picture.

    PYRO_RVAE_DATA=folder python tests/benchmarks/generated.py [--part names ...] [--minutes 2] [--out FOLDER]

Each part trains one model on the training side of a real set (what the validation side prefers is kept), draws from it
by ``rv.generate``, and writes what it drew in the form of its data: FOLDER/names.txt, digits.png, strokes.svg,
spoken.wav, dna.fasta, chorales.mid. Weights stay in FOLDER, and a part whose weights are there is not trained again, so
that the picture, FOLDER/generated.png, can be drawn anew. ``--minutes`` is the processor time of one core that a part
trains for (default: its own number); the epochs follow from the measured time of a step. Nothing reads a test side.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from generated_figure import figure
from pyro.infer import TraceMeanField_ELBO
from torch import Tensor

import pyro_rvae as rv
from pyro_rvae.infer import cosine, linear, warmup
from pyro_rvae.plots import save

PLACES = 60  # letters of a piece of DNA
PILOT = 8  # batches whose time is measured


@dataclass(frozen=True)
class Part:
    """A set, a model of it, and what is drawn."""

    data: Callable[[], Any]
    model: Callable[[Any], rv.SequenceVAE]
    draw: Callable[[rv.SequenceVAE, Any, int], dict[str, Any]]  # sequences, and labels where there are any
    ending: str
    minutes: float
    batch_size: int = 50
    lr: float = 3e-3
    kl_steps: int = 300
    options: dict[str, Any] = field(default_factory=dict)  # of writing


# ------------------------------------------------------------------------------------------------- the sets
def omniglot() -> rv.data.Splits[Any]:
    """Drawings of up to 50 moves."""
    data = rv.data.omniglot_strokes()
    return rv.data.Splits(*(side.subset(side.lengths <= 50) for side in data)).linked()


def junctions() -> rv.data.Splits[Any]:
    """Splice junctions, and at each letter its place, as a control of 60 zeros and a one."""
    sides = []
    for side in rv.data.splice_junctions():
        places = torch.eye(PLACES).repeat(len(side), 1)
        sides.append(rv.data.SequenceDataset(side.values, side.lengths, labels=side.labels, controls=places,
                                             ids=side.ids, kind=side.kind, classes=side.classes))
        sides[-1].form = side.form
    return rv.data.Splits(*sides).linked()


# ------------------------------------------------------------------------------------------------- the models
def by_label(train: Any, **parts: Any) -> rv.SequenceVAE:
    return rv.VRAE.for_data(train, context=rv.Context.for_data(train), **parts)


def digit_model(train: Any) -> rv.SequenceVAE:
    """Pixels of a row one after the other, given what the rows before and the latents say."""
    return by_label(train, z_dim=24, h_dim=200, likelihood=partial(rv.AutoregressiveBernoulli, hidden=100))


def spoken_model(train: Any) -> rv.SequenceVAE:
    """The whole clip out of one latent and the label: the decoder doesn't read the frames before."""
    return by_label(train, z_dim=16, h_dim=160, feedback=partial(rv.FrameDropout, p=1))


def chorale_model(train: Any) -> rv.SequenceVAE:
    """The main job's, and chords whose notes know of each other."""
    return rv.DMM.for_data(train, z_dim=32, h_dim=200, dropout=0.1, skip_edges=True,
                           encoder=partial(rv.Backward, append=True),
                           likelihood=partial(rv.AutoregressiveBernoulli, hidden=300))


# ------------------------------------------------------------------------------------------------- what is drawn
def draw_names(model: rv.SequenceVAE, data: Any, seed: int) -> dict[str, Any]:
    return {"sequences": rv.generate(model, 400, 20, seed=seed, end=data.train.form.end)}


def draw_by_label(model: rv.SequenceVAE, data: Any, seed: int, *, each: int, classes: int, length: int,
                  temperature: Any = 1.0) -> dict[str, Any]:
    labels = torch.arange(classes).repeat_interleave(each)
    made = rv.generate(model, len(labels), length, labels=labels, seed=seed, temperature=temperature)
    return {"sequences": list(made), "labels": labels}


def draw_dna(model: rv.SequenceVAE, data: Any, seed: int) -> dict[str, Any]:
    labels = torch.arange(3).repeat_interleave(500)
    controls = torch.eye(PLACES).expand(len(labels), -1, -1)
    return {"sequences": list(rv.generate(model, len(labels), PLACES, labels=labels, controls=controls, seed=seed)),
            "labels": labels}


def draw_strokes(model: rv.SequenceVAE, data: Any, seed: int) -> dict[str, Any]:
    """Of training lengths; what was begun behind the last lift of the pen is left out."""
    made = rv.generate(model, 96, "training", seed=seed, temperature={"x": 0.5})
    lifted = [(x, (x[4:, 2] > 0.5).nonzero()) for x in made]
    return {"sequences": [x[: int(last[-1]) + 5] if len(last) else x for x, last in lifted]}


def draw_spoken(model: rv.SequenceVAE, data: Any, seed: int) -> dict[str, Any]:
    """Two of each digit, of that digit's median length."""
    sequences: list[Tensor] = []
    labels = torch.arange(10).repeat_interleave(2)
    for digit in range(10):
        length = int(data.train.lengths[data.train.labels == digit].median())
        sequences += rv.generate(model, 2, length, labels=digit, seed=seed + digit, temperature=0.4)
    return {"sequences": sequences, "labels": labels}


def draw_chorales(model: rv.SequenceVAE, data: Any, seed: int) -> dict[str, Any]:
    return {"sequences": list(rv.generate(model, 6, 64, seed=seed, temperature={"x": 0.8}))}


PARTS = {
    "names": Part(lambda: rv.data.names()[0], partial(rv.VRNN.for_data, z_dim=16, h_dim=128), draw_names, ".txt", 2.0,
                  batch_size=100),
    "dna": Part(junctions, partial(by_label, z_dim=8, h_dim=96), draw_dna, ".fasta", 2.0, lr=6e-3),
    "chorales": Part(rv.data.bach_chorales, chorale_model, draw_chorales, ".mid", 2.0, batch_size=20, lr=5e-3,
                     options={"tempo": 84}),
    "spoken": Part(lambda: rv.data.spoken_digits().standardize(), spoken_model, draw_spoken,
                   ".wav", 4.0, batch_size=20, options={"gap": 0.25}),
    "strokes": Part(omniglot, partial(rv.VRAE.for_data, z_dim=16, h_dim=256, likelihood=rv.PenStrokes), draw_strokes,
                    ".svg", 5.0, batch_size=100, options={"columns": 12}),
    "digits": Part(rv.data.mnist_digits, digit_model, partial(draw_by_label, each=6, classes=10, length=28), ".png",
                   5.0, options={"columns": 6, "size": 4}),
}


# ------------------------------------------------------------------------------------------------- training
def trained(name: str, part: Part, data: Any, options: argparse.Namespace) -> rv.SequenceVAE:
    """The model, with the weights of an earlier run where there are some."""
    torch.manual_seed(options.seed)
    model, weights = part.model(data.train), options.out / f"{name}.safetensors"
    if weights.is_file():
        rv.tasks.load_weights(model, weights)
        return model
    minutes = options.minutes or part.minutes
    steps = int(60 * minutes / seconds_a_step(model, part, data))
    every = -(-len(data.train) // part.batch_size)
    epochs = max(1, steps // every)
    print(f"{name}: {steps} steps of {part.batch_size} sequences", flush=True)
    train = data.train if steps >= every else data.train.subset(range(max(1, steps) * part.batch_size))
    start, spent = time.perf_counter(), time.process_time()
    history = run(model, part, train, data.valid, epochs, options.seed)
    made = {"model": type(model).__name__, "sequences": len(train), "epochs": epochs,
            "valid_elbo": history.best.valid_elbo, "core_minutes": (time.process_time() - spent) / 60,
            "minutes": (time.perf_counter() - start) / 60}
    print(name, json.dumps({key: round(v, 3) if isinstance(v, float) else v for key, v in made.items()}),
          flush=True)
    rv.tasks.save_weights(model, weights)
    return model


def run(model: rv.SequenceVAE, part: Part, train: Any, valid: Any, epochs: int, seed: int) -> Any:
    return rv.fit(model, train, valid, elbo=TraceMeanField_ELBO(), epochs=epochs, batch_size=part.batch_size,
                  lr=part.lr, schedule=warmup(cosine(), 0.02), kl_weight=linear(0.1, 1.0, part.kl_steps), seed=seed,
                  device="cpu", progress=False, valid_every=max(1, epochs // 20))


class Clock(rv.Callback):
    """The processor time at each step."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_step(self, state: Any) -> None:
        self.times.append(time.process_time())


def seconds_a_step(model: rv.SequenceVAE, part: Part, data: Any) -> float:
    """Processor time, of a copy that is thrown away."""
    clock, few = Clock(), data.train.subset(range(min(len(data.train), PILOT * part.batch_size)))
    rv.fit(copy.deepcopy(model), few, elbo=TraceMeanField_ELBO(), epochs=1, batch_size=part.batch_size, device="cpu",
           progress=False, callbacks=[clock])
    return statistics.median(b - a for a, b in pairwise(clock.times))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--minutes", type=float, help="processor time of each part's training, instead of its own")
    parser.add_argument("--out", type=Path, default=Path("generated"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    drawn: dict[str, Any] = {}
    for name in options.part:
        part = PARTS[name]
        data = part.data()
        model = trained(name, part, data, options)
        drawn[name] = part.draw(model, data, options.seed) | {"data": data}
        ids = [f"{label}" for label in drawn[name].get("labels", torch.tensor([])).tolist()] or None
        data.train.form.write(options.out / f"{name}{part.ending}", drawn[name]["sequences"], ids=ids, **part.options)
        print(f"wrote {options.out / name}{part.ending}", flush=True)
    if {*drawn} == {*PARTS}:
        save(figure(drawn), options.out / "generated.png")
        print(f"wrote {options.out / 'generated.png'}", flush=True)


if __name__ == "__main__":
    main()
