"""How near a learned model and the chain guide come to an exact answer: the DMM paper's synthetic9.

    python tests/benchmarks/synthetic9.py [--transition linear gated] [--seeds 0 1] [--choose]

The set is drawn from a linear-Gaussian model (``rv.data.synthetic9``), so the log-density of a sequence is known from
the Kalman filter, here ``dist.GaussianHMM``. Nothing of that model is given: a DMM with one latent learns everything
from the standardised training split, guide and generative part at once, from a random start,

- ``linear``: z_t ~ N(a z_{t-1} + b, s^2), x_t ~ N(c z_t + d, r^2), every number learned: it has the truth in it but
  for the variance of z_1;
- ``gated``: the DMM's own gated transition and a likelihood with a hidden layer, which know nothing of lines.

The guide is the default one of a DMM, a Gaussian chain whose coefficients an LSTM reads from the future. Settings were
chosen on the validation split, and within a run it chooses the weights; the test split is read once, at the end.
Nats per frame in the units of the raw data: the log of the scale is added to the cost of standardised frames.
In brackets: above the exact cost. On these 25,000 frames IWAE may end a hair below it: no model is better on average
over data sets, but a learned one may fit one of them better than the truth does.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from typing import Any

import pyro.distributions as dist
import torch
from pyro.infer import TraceMeanField_ELBO
from torch import nn

import pyro_rvae as rv
from pyro_rvae.distributions import Conditional
from pyro_rvae.infer import cosine, warmup


def exact(data: rv.data.SequenceDataset) -> float:
    """Minus the log-density under the law that the set was drawn from, nats a frame; raw units, equal lengths."""
    x = data.padded().x.double()
    step = torch.arange(x.shape[1], device=x.device) > 0
    first, later = torch.zeros(1, dtype=x.dtype), torch.full((1,), 10.0, dtype=x.dtype).sqrt()
    scale = torch.where(step[:, None], later, torch.ones_like(later))
    law = dist.GaussianHMM(
        dist.Normal(first, 1.0).to_event(1),  # nothing comes of it: the matrix of the first step is 0
        step[:, None, None].to(x), dist.Normal(0.05 * step[:, None].to(x), scale).to_event(1),
        torch.full((1, 1), 0.5, dtype=x.dtype), dist.Normal(first, 20.0**0.5).to_event(1), duration=x.shape[1])
    return -law.log_prob(x).sum().item() / data.num_frames


def build(data: rv.data.SequenceDataset, transition: str) -> rv.DMM:
    linear: dict[str, Any] = {"transition": _line(), "likelihood": _line()}
    gated: dict[str, Any] = {"likelihood": partial(rv.Normal, scale=0.5, learned=True)}
    return rv.DMM.for_data(  # type: ignore[no-any-return]
        data, z_dim=1, h_dim=32, encoder=rv.Backward(data.x_dim, 32, append=True),
        **(linear if transition == "linear" else gated))


def _line() -> Conditional:
    """N(a y + b, s^2), all learned."""
    return Conditional(nn.Linear(1, 1), rv.Normal(1, scale=0.5, learned=True))


def train(data: rv.data.Splits[Any], options: argparse.Namespace, transition: str, seed: int) -> tuple[rv.DMM, Any]:
    torch.manual_seed(seed)
    model = build(data.train, transition)
    history = rv.fit(model, data.train, data.valid, elbo=TraceMeanField_ELBO(), epochs=options.epochs,
                     batch_size=options.batch_size, lr=options.lr, schedule=warmup(cosine(), 0.03), ema=0.99,
                     valid_every=5, seed=seed, progress=False, device="cpu")
    return model, history


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transition", choices=["linear", "gated"], nargs="+", default=["linear"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=50)
    parser.add_argument("--lr", type=float, default=1e-2)
    parser.add_argument("--particles", type=int, default=200)
    parser.add_argument("--choose", action="store_true", help="validation only: the test split is not read")
    options = parser.parse_args()
    torch.set_num_threads(1)
    raw = rv.data.synthetic9()
    data, side = raw.standardize(), "valid" if options.choose else "test"
    bound, units = exact(getattr(raw, side)), float(data.train.transform.scale.log().sum())
    print(f"exact, {side}: {bound:.6f}", flush=True)
    for transition in options.transition:
        for seed in options.seeds:
            start = time.perf_counter()
            model, history = train(data, options, transition, seed)
            minutes = (time.perf_counter() - start) / 60
            found = rv.evaluate(model, getattr(data, side), num_particles=options.particles)
            elbo, iwae = found.elbo + units, found.iwae + units
            print(f"| {transition} | seed {seed} | {side} ELBO {elbo:.4f} ({elbo - bound:+.4f}) | "
                  f"IWAE-{options.particles} {iwae:.4f} ({iwae - bound:+.4f}) | epoch {history.best.epoch} | "
                  f"{minutes:.1f} minutes |", flush=True)


if __name__ == "__main__":
    main()
