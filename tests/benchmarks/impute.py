"""Filling gaps in records of intensive care: a model beside the mean, the last value, and linear interpolation.

    PYRO_RVAE_DATA=... python tests/benchmarks/impute.py [--seed 0] [--split valid] [--model DMM --epochs 60 ...]

PhysioNet 2012, 800 / 100 / 100 stays, 36 variables on an hourly grid of 48 hours, 81% of the elements missing
(``rv.data.physionet2012``). 10% of the observed elements of a split are hidden, at random with a fixed seed, and
imputed from the rest; a model is trained on the 800 alone. Scores are in standard deviations of the training split:
pooled over the hidden elements (in which what is measured every hour counts most), and averaged over the variables. For
a filling the CRPS is the mean absolute error; a model's is over its draws.

Model, likelihood, widths, epochs and particles were chosen by the pooled CRPS on the validation split, and within a
run the weights of the best validation bound are kept. The test split is read once, at the end, and only without
``--split valid``.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from typing import Any

import torch
from pyro.infer import TraceMeanField_ELBO
from torch import Tensor

import pyro_rvae as rv
from pyro_rvae.infer import cosine, linear, warmup
from pyro_rvae.tasks import ImputationScores, fill, imputation_scores, impute

HIDDEN = 0.1
HIDING_SEED = 2012
class BetweenGaps(rv.Encoder):
    """A part of one's own: reads beside each frame the line between the values around, and how far they are.

    In training mode it is shown all but a share of the observed elements, drawn anew each time, while the bound counts
    all: a guide of less data is a guide too, and it learns to tell of what it does not see. It reads what
    ``rv.Reader(x_dim, missing=True)`` gives.
    """

    causal = False

    def __init__(self, in_dim: int, h_dim: int, *, hide: float = 0.2) -> None:
        super().__init__()
        self.hide = hide
        self.base = rv.Bidirectional(2 * in_dim, h_dim, append=True)
        self.in_dim, self.out_dim = in_dim, self.base.out_dim

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        value, there = x.chunk(2, -1)
        there = there if mask is None else there * mask.unsqueeze(-1)
        if self.training:
            there = there * (torch.rand_like(there) >= self.hide)
        before, since = self.nearest(value, there)
        after, until = (part.flip(-2) for part in self.nearest(value.flip(-2), there.flip(-2)))
        line = (before * since + after * until) / (since + until).clamp_min(1e-6)
        return self.base(torch.cat([value * there, there, line, (since + until) / 2], -1), mask)  # type: ignore[no-any-return]

    def nearest(self, value: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """The last value up to each step, and how near it is: 1 / (1 + hours), 0 where there is none."""
        step = torch.arange(value.shape[-2], device=value.device).unsqueeze(-1)
        at = torch.where(there > 0, step, -1).cummax(-2).values
        nearness = torch.where(at >= 0, 1.0 / (1.0 + step - at), torch.zeros_like(value))
        return value.take_along_dim(at.clamp_min(0), -2) * (at >= 0), nearness


MODELS: dict[str, dict[str, Any]] = {
    "DMM": {"encoder": rv.Bidirectional},
    "DMM-between": {"encoder": BetweenGaps},
    "DMM-skip": {"encoder": rv.Bidirectional, "skip_edges": True},
    "RVAE": {},
    "RVAE-between": {"encoder": BetweenGaps},
    "RVAE-noncausal-between": {"encoder": BetweenGaps, "recurrence": rv.Bidirectional},
    "RVAE-noncausal": {"recurrence": rv.Bidirectional},
    "VRAE": {"recurrence": rv.LSTM},
    "KVAE": {"encoder": rv.Bidirectional},
}


def build(data: rv.data.SequenceDataset, options: argparse.Namespace) -> Any:
    torch.manual_seed(options.seed)
    kind, parts = getattr(rv, options.model.partition("-")[0]), dict(MODELS[options.model])
    if parts.get("encoder") is BetweenGaps:
        parts["encoder"] = partial(BetweenGaps, hide=options.hide)
    return kind.for_data(data, z_dim=options.z_dim, h_dim=options.h_dim, likelihood=getattr(rv, options.likelihood),
                         dropout=options.dropout, **parts)


def train(data: rv.data.Splits[Any], valid: Any, options: argparse.Namespace) -> tuple[Any, Any]:
    model = build(data.train, options)
    weight = linear(0.05, 1.0, options.epochs * 10) if options.epochs > 1 else None
    history = rv.fit(model, data.train, valid, elbo=TraceMeanField_ELBO(), epochs=options.epochs, batch_size=20,
                     lr=options.lr, schedule=warmup(cosine(), 0.03), kl_weight=weight, ema=0.99, valid_every=2,
                     seed=options.seed, progress=False, device="cpu")
    return model, history


def row(name: str, found: ImputationScores) -> str:
    pooled, each = found.pooled, found.averaged
    coverage = "" if found.num == 1 else f"{pooled['coverage']:.0%}"
    return (f"| {name} | {pooled['rmse']:.3f} | {each['rmse']:.3f} | {pooled['crps']:.3f} "
            f"({found.standard_error():.3f}) | {each['crps']:.3f} | {coverage} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=list(MODELS), default="DMM-between")
    parser.add_argument("--likelihood", default="StudentT")
    parser.add_argument("--z-dim", type=int, default=32)
    parser.add_argument("--h-dim", type=int, default=128)
    parser.add_argument("--hide", type=float, default=0.3, help="share that a BetweenGaps is not shown in training")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--particles", type=int, nargs="+", default=[1])
    parser.add_argument("--num", type=int, default=100)
    parser.add_argument("--train", type=int, default=800, help="stays to train on, for a trial")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", choices=["valid", "test"], default="test")
    parser.add_argument("--details", action="store_true", help="the scores of each variable")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = rv.data.physionet2012().standardize()
    data = rv.data.Splits(data.train.subset(range(options.train)), data.valid, data.test).linked()
    seen, hidden = rv.data.hold_out(getattr(data, options.split), HIDDEN, HIDING_SEED)
    start = time.perf_counter()
    model, history = train(data, rv.data.hold_out(data.valid, HIDDEN, HIDING_SEED)[0], options)
    minutes = (time.perf_counter() - start) / 60
    print(f"{options.split}: {len(hidden)} elements of {len(seen)} stays hidden. {options.model}, "
          f"{options.likelihood}: best epoch {history.best.epoch} of {options.epochs}, {minutes:.1f} minutes of one "
          "thread.\n\n| | RMSE | RMSE, mean of variables | CRPS (standard error) | CRPS, mean of variables | in the "
          "80% interval |\n|---|---|---|---|---|---|")
    for how in ("mean", "last", "linear"):
        found = imputation_scores(fill(seen, how, train=data.train), hidden)
        print(row({"mean": "mean", "last": "last value", "linear": "linear interpolation"}[how], found))
    for k in options.particles:
        start = time.perf_counter()
        found = imputation_scores(impute(model, seen, options.num, num_particles=k, seed=options.seed), hidden)
        print(row(f"{options.model}, {options.num} draws" + f", each of {k} particles" * (k > 1), found)
              + f" <!-- {time.perf_counter() - start:.0f} s -->", flush=True)
        if options.details:
            print(found)


if __name__ == "__main__":
    main()
