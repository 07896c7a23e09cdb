"""Every latent model of the family on the standard JSB Chorales, with the same small budget.

    PYRO_RVAE_DATA=... python tests/benchmarks/family.py [--models VRNN KVAE] [--seed 0] [--json out.jsonl] [--part 0 2]
    python tests/benchmarks/family.py --table out.jsonl [more.jsonl]

Each model has the same widths, epochs, batches and schedules; within a run the weights with the best validation cost
are kept. The test split is read once, at the end (``--split valid``: not at all, for whoever changes the budget).
Beside each model stands its deterministic twin: a DeterministicRNN whose width brings its number of parameters nearest
to the model's, trained and chosen in the same way, whose cost is the exact -log p(x). Nats per frame, pooled, lower is
better.

With ``--json`` each finished model is a line of the file, so that several processes (``--part i n``: every n-th model
from the i-th; or ``--models``) share the work, and a run that is started again does only what is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pyro.infer import Trace_ELBO

import pyro_rvae as rv
from pyro_rvae.infer import cosine, linear, warmup

Z, H = 16, 128
# From a few runs of VRNN, RVAE, STORN and DMM, seed 1, by the validation cost. The KL weight must rise from 0 for half
# of the training: from 0.1 the latents of VRNN and STORN stayed unused.
EPOCHS, BATCH, LR, WARM = 60, 20, 6e-3, 0.5
PARTICLES, DRAWS = 100, 10  # of the bounds; of the use of the latents


@dataclass(frozen=True)
class Row:
    """One model: its class (or named constructor), its parts, and what ``fit`` is given beside the common budget.

    ``bound`` is False for a deterministic autoencoder: its code has no density, so its cost is no bound on anything.
    """

    model: Any
    parts: dict[str, Any] = field(default_factory=dict)
    fit: dict[str, Any] = field(default_factory=dict)
    bound: bool = True

    def build(self, train: rv.data.SequenceDataset, *, z_dim: int = Z, h_dim: int = H) -> rv.SequenceVAE:
        parts = {"z_dim": z_dim, "h_dim": h_dim, **self.parts}  # None: the model has no such argument
        return self.model.for_data(  # type: ignore[no-any-return]
            train, **{name: part for name, part in parts.items() if part is not None})


def row(model: Any, fit: dict[str, Any] | None = None, **parts: Any) -> Row:
    return Row(model, parts, fit or {})


def code(model: Any, **parts: Any) -> Row:
    """A deterministic autoencoder: a point for a guide and a prior without weight."""
    return Row(model, {"prior": rv.Weightless, "posterior": rv.Delta, **parts}, bound=False)


# A new model is one line here.
combined = partial(rv.Combiner, hidden=H)
ROWS: dict[str, Row] = {
    "VRAE": row(rv.VRAE),
    "MusicVAE": row(rv.MusicVAE),
    "RVAE, causal": row(rv.RVAE),
    "RVAE, non-causal": row(rv.RVAE, recurrence=rv.Bidirectional),
    "RVAE, guide feeds z back": row(rv.RVAE, feedback=rv.LSTM, encoder=rv.Backward),
    "ARAE, variational": row(rv.ARAE),
    "Variational attention": row(rv.VariationalAttention),
    "HRAE, every 4 and 16": row(rv.HRAE, every=(4, 16)),
    "DSAE, full guide": row(rv.DSAE),
    "DSAE, factorised guide": row(rv.DSAE, full=False),
    "STORN": row(rv.STORN),
    "VRNN": row(rv.VRNN),
    "Z-forcing": row(rv.ZForcing),
    "SRNN, smoothing": row(rv.SRNN),
    "SRNN, filtering": row(rv.SRNN, smoothing=False),
    "DMM, chain guide": row(rv.DMM),
    "DMM, chain guide, skip edges": row(rv.DMM, skip_edges=True),
    "DMM, ST-L": row(rv.DMM, posterior=combined, encoder=rv.Forward),
    "DMM, ST-R (DKS)": row(rv.DMM, posterior=combined),
    "DMM, ST-LR": row(rv.DMM, posterior=combined, encoder=rv.Bidirectional),
    "DMM, MF-LR": row(rv.DMM, posterior=rv.MeanField, encoder=rv.Bidirectional),
    "KVAE": row(rv.KVAE),
    "Switching LDS, 4 regimes": row(rv.SwitchingLDS),
    "Neural HMM, 16 regimes": row(rv.NeuralHMM, z_dim=None, modes=16),
    "Neural HMM, 16 regimes, LSTM": row(rv.NeuralHMM, z_dim=None, modes=16, recurrence=rv.LSTM),
    "RAE": code(rv.RAE),
    "BRAE": code(rv.BRAE),
    "RAE, a code a step": code(rv.StepRAE),
    "ARAE": code(rv.ARAE),
    "HRAE": code(rv.HRAE, every=(4, 16)),
}


# ------------------------------------------------------------------------------------------------- training
def train(model: rv.SequenceVAE, data: Any, options: argparse.Namespace, **given: Any) -> tuple[rv.History, float]:
    """The common budget. The model ends with the weights of the best validation cost; seconds of it all."""
    steps = options.epochs * -(-len(data.train) // BATCH)
    budget: dict[str, Any] = {
        "elbo": Trace_ELBO(), "epochs": options.epochs, "batch_size": BATCH, "lr": LR, "clip": 5.0,
        "schedule": warmup(cosine(), 0.05), "kl_weight": linear(0.0, 1.0, max(1, int(WARM * steps))),
        "seed": options.seed, "device": "cpu", "progress": False}
    start = time.perf_counter()
    history = rv.fit(model, data.train, data.valid, **{**budget, **given})
    return history, time.perf_counter() - start


def size(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def twin_width(data: rv.data.SequenceDataset, parameters: int) -> int:
    """The width at which a DeterministicRNN's number of parameters is nearest, by bisection."""
    def count(h_dim: int) -> int:
        with torch.device("meta"):
            return size(rv.DeterministicRNN(data.x_dim, h_dim))

    low, high = 1, 2
    while count(high) < parameters:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) < parameters else (low, middle)
    return min((low, high), key=lambda h: abs(count(h) - parameters))


# ------------------------------------------------------------------------------------------------- one line of results
def settings(options: argparse.Namespace) -> dict[str, Any]:
    """What two lines must share to stand in one table."""
    return {"seed": options.seed, "epochs": options.epochs, "split": options.split, "batch_size": BATCH, "lr": LR}


def measure(name: str, data: Any, options: argparse.Namespace) -> dict[str, Any]:
    """Train a model, and only then read the test split."""
    torch.manual_seed(options.seed)
    given = ROWS[name]
    model = given.build(data.train)
    history, seconds = train(model, data, options, **given.fit)
    held_out = getattr(data, options.split)
    found = rv.evaluate(model, held_out, num_particles=PARTICLES)
    use = rv.collapse_report(model, held_out, num_particles=DRAWS)
    return {"kind": "model", "name": name, **settings(options), "bound": given.bound, "parameters": size(model),
            "best_epoch": history.best.epoch, "valid": history.best.valid_elbo, "elbo": found.elbo,
            "iwae": found.iwae, "particles": PARTICLES, "reconstruction": found.reconstruction, "kl": found.kl,
            "active": use.active_units, "units": use.num_units, "shuffling": use.shuffling_cost,
            "seconds": seconds, "floors": found.floors, "machine": machine()}


def measure_twin(h_dim: int, data: Any, options: argparse.Namespace) -> dict[str, Any]:
    torch.manual_seed(options.seed)
    model = rv.DeterministicRNN.for_data(data.train, h_dim=h_dim)
    history, seconds = train(model, data, options, kl_weight=None)
    cost = rv.evaluate(model, getattr(data, options.split), num_particles=1).elbo
    return {"kind": "twin", "h_dim": h_dim, **settings(options), "parameters": size(model),
            "valid": history.best.valid_elbo, "cost": cost, "seconds": seconds}


def machine() -> str:
    return (f"{platform.machine()}, {torch.get_num_threads()} thread(s), Python {platform.python_version()}, "
            f"torch {torch.__version__}")


# ------------------------------------------------------------------------------------------------- the file of lines
class Lines:
    """What has been measured: in memory, and where there is a path, a line each in a file that others write to."""

    def __init__(self, path: str | None) -> None:
        self.path, self.own = path, list[dict[str, Any]]()

    def all(self) -> list[dict[str, Any]]:
        return read([self.path]) if self.path and Path(self.path).exists() else self.own

    def add(self, line: dict[str, Any]) -> None:
        self.own.append(line)
        if self.path:  # one write to a file opened for appending: lines of several processes do not mix
            file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                os.write(file, (json.dumps(line) + "\n").encode())
            finally:
                os.close(file)

    def find(self, **wanted: Any) -> dict[str, Any] | None:
        return next((line for line in self.all() if wanted.items() <= line.items()), None)


def read(paths: list[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for path in paths for line in Path(path).read_text().splitlines() if line.strip()]


def run(name: str, data: Any, options: argparse.Namespace, lines: Lines) -> None:
    """One model and its twin, unless they are in the file."""
    line = lines.find(kind="model", name=name, **settings(options))
    if line is None:
        untwinned = measure(name, data, options)
        h_dim = twin_width(data.train, untwinned["parameters"])
        if lines.find(kind="twin", h_dim=h_dim, **settings(options)) is None:
            lines.add(measure_twin(h_dim, data, options))
        line = {**untwinned, "twin": h_dim}
        lines.add(line)
    print(table([line], lines.all()).splitlines()[-1], flush=True)


# ------------------------------------------------------------------------------------------------- the table
HEAD = ("| model | {split} ELBO | IWAE-{k} | network of equal size, exact | KL | active units | shuffled latents cost "
        "| parameters | best epoch | seconds |\n|---|---|---|---|---|---|---|---|---|---|")
CODES = ("| deterministic autoencoder | reconstruction (no bound) | network of equal size, exact | active units "
         "| shuffled codes cost | parameters | best epoch | seconds |\n|---|---|---|---|---|---|---|---|")


def table(models: list[dict[str, Any]], lines: list[dict[str, Any]]) -> str:
    """Markdown: the models whose cost is a bound, then the deterministic autoencoders."""
    twins = {_key(t, t["h_dim"]): t["cost"] for t in lines if t["kind"] == "twin"}
    order = list(ROWS)
    models = sorted(models, key=lambda m: (order.index(m["name"]) if m["name"] in ROWS else len(order), m["seed"]))
    parts = []
    for bound, head in ((True, HEAD), (False, CODES)):
        rows = [_cells(m, twins[_key(m, m["twin"])]) for m in models if m["bound"] is bound]
        if rows:
            parts.append("\n".join([head.format(k=models[0]["particles"], split=models[0]["split"]), *rows]))
    return "\n\n".join(parts)


def _key(line: dict[str, Any], h_dim: int) -> tuple[Any, ...]:
    return h_dim, *(line[name] for name in ("seed", "epochs", "split", "batch_size", "lr"))


def _cells(m: dict[str, Any], twin: float) -> str:
    costs = (f"{m['elbo']:.3f}", f"{m['iwae']:.3f}") if m["bound"] else (f"{m['reconstruction']:.3f}",)
    kl = (f"{m['kl']:.3f}",) if m["bound"] else ()
    return "| " + " | ".join([
        m["name"], *costs, f"{twin:.3f}", *kl, f"{m['active']} of {m['units']}", f"{m['shuffling']:+.3f}",
        f"{m['parameters']:,}", f"{m['best_epoch']} of {m['epochs']}", f"{m['seconds']:.0f}"]) + " |"


def report(lines: list[dict[str, Any]]) -> None:
    models = [line for line in lines if line["kind"] == "model"]
    if not models:
        raise SystemExit("no line of a finished model in these files")
    print(table(models, lines))
    floors = ", ".join(f"{name} {cost:.3f}" for name, cost in models[0]["floors"].items())
    m = models[0]
    print(f"\nFloors of the {m['split']} split, fitted on the training split: {floors}. Nats per frame, lower is "
          f"better. h {H}, z {Z}, batches of {m['batch_size']}, lr {m['lr']:g}, seed {m['seed']}; {m['machine']}.")
    print("Active units: variance of the posterior mean above 0.01. A deterministic autoencoder reads the frame that "
          "it is asked for: its reconstruction is no bound on -log p(x), and not comparable with the others.")


def run_all(names: list[str], one: Callable[[str], None], lines: Lines,
            finish: Callable[[list[dict[str, Any]]], None]) -> None:
    """``one`` for each name, then the table of all that there is; the exit status tells whether one failed."""
    failed = 0
    for name in names:
        try:
            one(name)
        except Exception:  # a row that fails must not cost the others
            failed += 1
            print(f"| {name} | failed, see above |", flush=True)
            traceback.print_exc(file=sys.stderr)
    if lines.all():
        print()
        finish(lines.all())
    if failed:
        raise SystemExit(f"{failed} of {len(names)} failed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", metavar="NAME", help=f"of: {'; '.join(ROWS)}")
    parser.add_argument("--part", nargs=2, type=int, metavar=("I", "N"), default=(0, 1))
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
    names = (options.models or list(ROWS))[options.part[0]::options.part[1]]
    if unknown := [name for name in names if name not in ROWS]:
        parser.error(f"no model of the name {', '.join(unknown)}; there are: {'; '.join(ROWS)}")
    torch.set_num_threads(options.threads)
    data, lines = rv.data.jsb_chorales(), Lines(options.json)
    run_all(names, lambda name: run(name, data, options, lines), lines, report)


if __name__ == "__main__":
    main()
