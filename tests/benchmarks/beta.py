"""What keeps the latent of a text VAE alive: KL weights, schedules, free bits, a target, more updates of the guide.

    PYRO_RVAE_DATA=... python tests/benchmarks/beta.py [--text names|shakespeare] [--ways ...] [--json out.jsonl]
    python tests/benchmarks/beta.py --table out.jsonl [more.jsonl]

One model (``rv.TextVAE``: one latent a sequence, a decoder that reads the characters before, word dropout 0.5 unless
``--word-dropout`` says otherwise), one budget, and each way of training it. Within a run the weights with the best
validation ELBO are kept, whatever was trained; the test split is read once, at the end (``--split valid``: not at all).
Schedules end before the training does; free bits and targets are in nats per sequence here. "characters alone" is the
decoder without a latent, whose cost is exact. Bounds in nats per character (the end symbol is one), lower is better; KL
and mutual information in nats per sequence, the latter of at most log(number of sequences compared).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from family import Lines, machine, read, run_all, size
from pyro.infer import TraceMeanField_ELBO

import pyro_rvae as rv
from pyro_rvae.infer import Aggressive, constant, cosine, cyclical, half_cosine, linear, logistic, warmup

Z, H, BATCH, LR, EPOCHS = 16, 128, 64, 2e-3, 20
NATS = 4.0  # of a sequence: what the floors and the target ask for
PARTICLES, DRAWS = 100, 10  # of the bounds; of the use of the latent

# name -> what fit is given, of the optimizer steps and of the mean length of a sequence
Way = Callable[[int, float], dict[str, Any]]
WAYS: dict[str, Way] = {
    "beta 1": lambda steps, length: {},
    "beta 1, analytic KL": lambda steps, length: {"elbo": TraceMeanField_ELBO()},
    "beta 1, path derivative": lambda steps, length: {"elbo": rv.PathDerivative()},
    "beta 0.2": lambda steps, length: {"kl_weight": constant(0.2)},
    "beta 4": lambda steps, length: {"kl_weight": constant(4.0)},
    "linear to 1": lambda steps, length: {"kl_weight": linear(0.0, 1.0, steps // 2)},
    "half a cosine to 1": lambda steps, length: {"kl_weight": half_cosine(0.0, 1.0, steps // 2)},
    "logistic to 1": lambda steps, length: {"kl_weight": logistic(steps // 4)},
    "cyclical, 4 cycles": lambda steps, length: {"kl_weight": cyclical(max(1, steps // 5))},
    "free bits, by dimension": lambda steps, length: {"elbo": rv.FreeBits(NATS / Z)},
    "free bits, all dimensions": lambda steps, length: {"elbo": rv.FreeBits(NATS, dimensions=False)},
    "free bits, each sequence": lambda steps, length: {"elbo": rv.FreeBits(NATS, dimensions=False, sequences=True)},
    "free bits, each sequence, by dimension": lambda steps, length: {"elbo": rv.FreeBits(NATS / Z, sequences=True)},
    "target rate": lambda steps, length: {"elbo": rv.TargetRate(NATS / length, weight=10.0)},
    "target rate that rises": lambda steps, length: {
        "elbo": rv.TargetRate(linear(0.0, NATS / length, steps // 2), weight=10.0)},
    "5 updates of the guide": lambda steps, length: {"encoder_updates": 5},
    "5 updates, until the information falls": lambda steps, length: {"encoder_updates": Aggressive(5)},
    "IWAE-16": lambda steps, length: {"elbo": rv.IWAE(16)},
    "IWAE-16, doubly reparametrised": lambda steps, length: {"elbo": rv.IWAE(16, doubly_reparametrized=True)},
    "characters alone": lambda steps, length: {},
}


def load(options: argparse.Namespace) -> rv.data.Splits[rv.data.SequenceDataset]:
    """The text; with ``--sequences`` only that many of each side, to try the script."""
    data, _ = rv.data.names() if options.text == "names" else rv.data.tinyshakespeare(options.length)
    if options.sequences is None:
        return data
    return rv.data.Splits(*(side.subset(range(min(options.sequences, len(side)))) for side in data))


def build(name: str, data: Any, options: argparse.Namespace) -> rv.SequenceVAE:
    torch.manual_seed(options.seed)
    if name == "characters alone":
        return rv.DeterministicRNN.for_data(data.train, h_dim=H)
    feedback = partial(rv.WordDropout, p=options.word_dropout)
    return rv.TextVAE.for_data(data.train, z_dim=Z, h_dim=H, feedback=feedback)  # type: ignore[no-any-return]


def information(model: rv.SequenceVAE, data: Any) -> float:
    """Mutual information of text and latent, nats per sequence, at most log 256."""
    return float(rv.criticism.mutual_information(model, data, sequences=256).value)


def train(model: rv.SequenceVAE, name: str, data: Any, options: argparse.Namespace) -> tuple[rv.History, float]:
    steps = options.epochs * -(-len(data.train) // BATCH)
    given = WAYS[name](steps, data.train.num_frames / len(data.train))
    if name.endswith("information falls"):
        given["encoder_updates"] = Aggressive(5, lambda model: information(model, data.valid))
    start = time.perf_counter()
    history = rv.fit(model, data.train, data.valid, **{
        "epochs": options.epochs, "batch_size": BATCH, "lr": LR, "schedule": warmup(cosine(), 0.02),
        "seed": options.seed, "device": "cpu", "progress": False, **given})
    return history, (time.perf_counter() - start) / 60


def measure(name: str, data: Any, options: argparse.Namespace) -> dict[str, Any]:
    """Train in one way, and only then read the split that is scored."""
    model = build(name, data, options)
    history, minutes = train(model, name, data, options)
    held_out = getattr(data, options.split)
    exact = name == "characters alone"
    found = rv.evaluate(model, held_out, num_particles=1 if exact else PARTICLES)
    line = {"kind": "way", "name": name, **settings(options), "elbo": found.elbo, "exact": exact, "minutes": minutes,
            "valid": history.best.valid_elbo, "best_epoch": history.best.epoch, "parameters": size(model),
            "memory": float(history["memory"].max()), "machine": machine(), "particles": PARTICLES}
    if exact:
        return line
    use = rv.collapse_report(model, held_out, num_particles=DRAWS)
    return {**line, "iwae": found.iwae, "kl": found.kl * held_out.num_frames / len(held_out),
            "active": use.active_units, "units": use.num_units, "shuffling": use.shuffling_cost,
            "information": information(model, held_out)}


def settings(options: argparse.Namespace) -> dict[str, Any]:
    return {"text": options.text, "length": options.length if options.text == "shakespeare" else None,
            "seed": options.seed, "epochs": options.epochs, "split": options.split, "sequences": options.sequences,
            "word_dropout": options.word_dropout, "z": Z, "h": H, "lr": LR, "batch_size": BATCH}


# ------------------------------------------------------------------------------------------------- the table
HEAD = ("| trained by | {split} ELBO | IWAE-{particles} | KL a sequence | mutual information | active units "
        "| shuffled latents cost | best epoch | minutes |\n|---|---|---|---|---|---|---|---|---|")


def cells(m: dict[str, Any]) -> str:
    latent = ["-"] * 5 if m["exact"] else [f"{m['iwae']:.4f}", f"{m['kl']:.2f}", f"{m['information']:.2f}",
                                           f"{m['active']} of {m['units']}", f"{m['shuffling']:+.4f}"]
    elbo = f"{m['elbo']:.4f}{' (exact)' * m['exact']}"
    return "| " + " | ".join([m["name"], elbo, *latent, f"{m['best_epoch']} of {m['epochs']}",
                              f"{m['minutes']:.1f}"]) + " |"


def report(lines: list[dict[str, Any]]) -> None:
    found = [line for line in lines if line["kind"] == "way"]
    if not found:
        raise SystemExit("no line of a finished run in these files")
    order = list(WAYS)
    for text in dict.fromkeys(line["text"] for line in found):
        rows = sorted((m for m in found if m["text"] == text), key=lambda m: order.index(m["name"]))
        m = rows[0]
        print("\n".join([f"{text}\n", HEAD.format(**m), *map(cells, rows)]))
        print(f"\nNats per character, lower is better; KL and information per sequence. z {m['z']}, h {m['h']}, "
              f"word dropout {m['word_dropout']:g}, batches of {m['batch_size']}, lr {m['lr']:g}, seed {m['seed']}; "
              f"floors and targets of {NATS:g} nats a sequence; {m['machine']}.\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", choices=("names", "shakespeare"), default="names")
    parser.add_argument("--ways", nargs="+", metavar="NAME", default=list(WAYS), help=f"of: {'; '.join(WAYS)}")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--length", type=int, default=64, help="characters in a piece of Shakespeare")
    parser.add_argument("--word-dropout", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", choices=("test", "valid"), default="test", help="what is scored at the end")
    parser.add_argument("--sequences", type=int, help="only so many of each side: to try the script")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--table", nargs="+", metavar="FILE", help="only print what these files hold")
    options = parser.parse_args()
    if options.table:
        report(read(options.table))
        return
    if unknown := [name for name in options.ways if name not in WAYS]:
        parser.error(f"no way of the name {', '.join(unknown)}; there are: {'; '.join(WAYS)}")
    torch.set_num_threads(options.threads)
    data, lines = load(options), Lines(options.json)

    def one(name: str) -> None:
        line = lines.find(kind="way", name=name, **settings(options))
        if line is None:
            line = measure(name, data, options)
            lines.add(line)
        print(cells(line), flush=True)

    run_all(options.ways, one, lines, report)


if __name__ == "__main__":
    main()
