"""Forecasts of ETTh1, 24 and 96 hours ahead, all seven channels, beside the three naive ones.

    PYRO_RVAE_DATA=folder python tests/benchmarks/forecast.py [--split test] [--seed 0] [--epochs 40]

Hourly rows 8640 / 2880 / 2880 in this order (12, 4 and 4 months), in units of the training standard deviations, as in
the literature. From each midnight of the split the model and the naive forecasts see the 14 days before it. Forecasts
of 96 hours overlap, so their standard errors are somewhat too small.

A frame is a day: 24 hours of 7 channels, 168 numbers, told the day of the week; 96 hours are 4 steps, in which a drawn
path cannot drift far. The model is an SRNN with three parts of its own, each a module below:

    d_t = [x_{t-1}, running mean, x_{t-7}, calendar]
    z_t ~ N(A z_{t-1} + C calendar, s^2)
    x_t ~ StudentT_5(sum_j (a_j + K_j) lag_j + W [z_t, calendar], r^2)

a_j and r by hour and channel, K_j from hour to hour, the same for all channels. z_t is what the hours and channels of a
day have in common; what is left is independent from hour to hour, so that a path is rougher than the data where a
channel is smooth (OT). The guide is the library's: in training it reads the days that follow too, in a forecast the
past only. All settings and the number of epochs were chosen on the validation split (--split valid, the default).
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from typing import Any

import numpy as np
import pyro.distributions as dist
import torch
from pyro.infer import TraceMeanField_ELBO
from torch import Tensor, nn
from torch.nn.functional import softplus

import pyro_rvae as rv
from pyro_rvae.data import Affine, SequenceDataset
from pyro_rvae.infer import cosine, warmup
from pyro_rvae.tasks import Backtest, backtest, forecast

DAY, WIDTH, CONTEXT = 24, 24 * 7, 14  # hours; numbers a frame; days that are seen
CALENDAR = slice(2, 4)  # of the controls of ETTh1: the day of the week, at midnight


# ------------------------------------------------------------------------------------------------ frames are days
def days(data: SequenceDataset) -> SequenceDataset:
    """Whole days from the beginning of each series as frames of 168 numbers, hour by hour."""
    sequences, controls, units = [], [], data.transform
    inputs = torch.split(data.controls, data.lengths.tolist())
    for x, known in zip(data, inputs, strict=True):
        hours = len(x) // DAY * DAY
        sequences.append(x[:hours].reshape(-1, WIDTH))
        controls.append(known[:hours:DAY, CALENDAR])
    return SequenceDataset.from_sequences(sequences, controls=controls, kind="real",
                                          transform=Affine(units.loc.repeat(DAY), units.scale.repeat(DAY)))


def by_days(model: Any, past: SequenceDataset, horizon: int, num: int, *, controls: Tensor, seed: int) -> np.ndarray:
    """A forecaster of hours, as ``backtest`` takes it: draws ``(R, N, H, 7)``."""
    ahead = controls[:, ::DAY, CALENDAR]
    found = forecast(model, days(past), horizon // DAY, num, controls=ahead, seed=seed, batch_size=100)
    return found.draws.reshape(num, len(past), horizon, -1)


# ------------------------------------------------------------------------------------------------ the model's parts
class Recent(rv.Causal):
    """d_t = [x_{t-1}, running mean, x_{t-7} (the first day until there is one), calendar]."""

    def __init__(self, in_dim: int, h_dim: int, rate: float = 0.2) -> None:
        super().__init__()
        self.in_dim, self.out_dim, self.state_dim, self.rate = in_dim, 2 * WIDTH + in_dim, 1, rate

    def begin(self, init: Tensor | None) -> None:
        return None

    def step(self, u: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        x, calendar = u[..., :WIDTH], u[..., WIDTH:]
        mean, week = (x, ()) if state is None else state
        mean, week = mean + self.rate * (x - mean), (*week, x)[-7:]
        lags = torch.broadcast_tensors(x, mean, week[0])
        return torch.cat([*lags, calendar.expand(*lags[0].shape[:-1], -1)], -1), (mean, week)


def split(d: Tensor) -> tuple[Tensor, Tensor]:
    """Lags ``(..., 3, 168)`` and calendar."""
    return d[..., : 3 * WIDTH].unflatten(-1, (3, WIDTH)), d[..., 3 * WIDTH :]


class Weather(nn.Module):
    """z_t ~ N(A z_{t-1} + C calendar, s^2)."""

    def __init__(self, in_dim: int, dim: int) -> None:
        super().__init__()
        self.before, self.calendar = nn.Linear(dim, dim), nn.Linear(in_dim - dim - 3 * WIDTH, dim)
        self.raw = nn.Parameter(torch.zeros(dim))

    def forward(self, z: Tensor, d: Tensor) -> Any:
        _, calendar = split(d)
        return dist.Normal(self.before(z) + self.calendar(calendar), softplus(self.raw) + 0.05).to_event(1)


class Day(nn.Module):
    """x_t ~ StudentT_5(sum_j (a_j + K_j) lag_j + W [z_t, calendar], r^2)."""

    def __init__(self, in_dim: int, dim: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([0.3, 0.4, 0.3])[:, None].repeat(1, dim))
        self.hours = nn.Parameter(torch.zeros(3, DAY, DAY))
        self.net, self.raw = nn.Linear(in_dim - 3 * dim, dim), nn.Parameter(torch.full((dim,), -0.7))
        nn.init.normal_(self.net.weight, std=0.05)

    def forward(self, z: Tensor, d: Tensor) -> Any:
        lags, calendar = split(d)
        common = self.net(torch.cat([z, calendar.expand(*z.shape[:-1], -1)], -1))
        hours = torch.einsum("jhg,...jgc->...hc", self.hours, lags.unflatten(-1, (DAY, -1))).flatten(-2)
        return dist.StudentT(5.0, (self.weights * lags).sum(-2) + hours + common, softplus(self.raw) + 0.01).to_event(1)


def train(data: Any, options: argparse.Namespace) -> Any:
    """Windows of 14 days and the 4 to come, one from each day."""
    torch.manual_seed(options.seed)
    pieces = rv.data.windows(days(data.train), CONTEXT + 4, 1)
    model = rv.SRNN.for_data(pieces, z_dim=options.z_dim, h_dim=64, recurrence=Recent, transition=Weather,
                             likelihood=Day, posterior=rv.Normal)
    rv.fit(model, pieces, elbo=TraceMeanField_ELBO(), epochs=options.epochs, batch_size=32, lr=options.lr, ema=0.99,
           schedule=warmup(cosine(), 0.05), weight_decay=options.weight_decay, seed=options.seed, progress=False,
           device="cpu")
    return model


# ------------------------------------------------------------------------------------------------ the table
def rows(found: Backtest, horizon: int) -> str:
    """Rows of the table, a method each."""
    lines = []
    for method in found.methods:
        (crps, error), mase, rmse = (found.figure(metric, method) for metric in ("crps", "mase", "rmse"))
        inside = [f"{found.figure('coverage', method, level=level)[0]:.3f}" for level in (0.8, 0.95)]
        name = "SRNN of days" if method == found.name else method
        lines.append(f"| {horizon} | {name} | {crps:.4f} ± {error:.4f} | {mase[0]:.3f} | {rmse[0]:.4f} | "
                     + " | ".join(inside) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=["valid", "test"], default="valid")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--z-dim", type=int, default=16)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--weight-decay", type=float, default=1e-2)
    parser.add_argument("--draws", type=int, default=100)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = rv.data.etth1(CONTEXT * DAY).standardize()
    start = time.perf_counter()
    model = train(data, options)
    seconds = time.perf_counter() - start
    print(f"ETTh1, {options.split}, standardised units; {options.draws} draws, {options.epochs} epochs, seed "
          f"{options.seed}, one thread, {seconds:.0f} s of training\n", flush=True)
    print("| hours | forecast | CRPS | MASE | RMSE | in 80% | in 95% |\n|---|---|---|---|---|---|---|")
    skills = []
    for horizon in (24, 96):
        found = backtest(partial(by_days, model), getattr(data, options.split), horizon, context=CONTEXT * DAY,
                         stride=DAY, num=options.draws, seasonality=DAY, train=data.train, seed=options.seed)
        print(rows(found, horizon), flush=True)
        skill, best = found.skill(), found.skill().against
        by = (100 * (1 - found.by_feature("crps") / found.by_feature("crps", best))).tolist()
        skills.append(f"{horizon} hours: CRPS {100 * skill.value:.1f}% ± {100 * skill.error:.1f}% below {best}; by "
                      "channel " + ", ".join(f"{n} {value:.0f}%" for n, value in zip(found.features, by, strict=True)))
    print("\n" + "\n".join(skills) + f"\n{time.perf_counter() - start:.0f} s in all")


if __name__ == "__main__":
    main()
