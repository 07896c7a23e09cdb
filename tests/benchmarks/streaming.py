"""Streaming beside the batch filter: the same numbers, frame by frame, and the time that a frame takes.

    python tests/benchmarks/streaming.py [--steps 1000] [--seed 0] [--json out.jsonl]

The frames are those of the chorales that come with the library, one piece after another; the model is a VRNN (88
features, z 16, h 128), not trained, since neither figure depends on its weights. *Difference*: between the streamed and
the batch log densities ``log p(x_t | x_<t)``, the largest of all frames, on the same noise (draws and resampling), in
float64. *Time*: that of one core (the process's), in float32; a stream's median over its updates, and the whole of a
batch filter's run divided by its frames. A cell in which a step has more than 1000 particles in all is measured on 1/20
of the steps.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import pyro_rvae as rv
from pyro_rvae.core.filtering import particle_filter
from pyro_rvae.tasks import Stream

CELLS = [(1, 1), (1, 100), (100, 1), (100, 100)]


def frames(series: int, steps: int, dtype: torch.dtype) -> Tensor:
    """``(series, steps, 88)``: the chorales in a row; each series begins at a frame of its own."""
    values = rv.data.bach_chorales().train.values  # one after the other
    starts = torch.arange(series) * (len(values) // series)
    return values[(starts[:, None] + torch.arange(steps)) % len(values)].to(dtype)


def model_of(seed: int, dtype: torch.dtype) -> Any:
    torch.manual_seed(seed)
    return rv.VRNN(88, 16, 128).to(dtype).eval()


def difference(series: int, particles: int, steps: int, seed: int) -> float:
    """The largest difference of the log densities, on the same noise."""
    model, x = model_of(seed, torch.float64), frames(series, steps, torch.float64)
    with rv.given_noise(seed), torch.no_grad():
        stream = Stream(model, series, particles)
        found = torch.stack([torch.from_numpy(stream.update(frame).log_density) for frame in x.unbind(1)])
        batch = particle_filter(model, x, num_particles=particles)
    if particles > 1:
        assert batch.resampled.any(), "nothing was resampled: the comparison would say little"
    return float((found - batch.increments[:-1]).abs().max())


def times(series: int, particles: int, steps: int, seed: int) -> tuple[float, float]:
    """Milliseconds a frame: of a stream, and of the batch filter."""
    model, x = model_of(seed, torch.float32), frames(series, steps, torch.float32)
    stream, spent = Stream(model, series, particles, seed=seed), []
    for frame in x.unbind(1):
        start = time.process_time()
        stream.update(frame)
        spent.append(time.process_time() - start)
    start = time.process_time()
    with torch.no_grad():
        particle_filter(model, x, num_particles=particles)
    return 1000 * statistics.median(spent), 1000 * (time.process_time() - start) / steps


def row(series: int, particles: int, steps: int, seed: int) -> dict[str, Any]:
    steps = steps if series * particles <= 1000 else max(10, steps // 20)
    ours, batch = times(series, particles, steps, seed)
    return {"series": series, "particles": particles, "steps": steps, "stream_ms": ours, "batch_ms": batch,
            "difference": difference(series, particles, steps, seed)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"VRNN x 88, z 16, h 128; one thread; torch {torch.__version__}, {platform.machine()}; "
          f"seed {arguments.seed}\n")
    print("| series | particles | frames | stream, ms a frame | batch filter, ms a frame | largest difference, nats |")
    print("|---|---|---|---|---|---|")
    for series, particles in CELLS:
        found = row(series, particles, arguments.steps, arguments.seed)
        print(f"| {series} | {particles} | {found['steps']} | {found['stream_ms']:.2f} | {found['batch_ms']:.2f} | "
              f"{found['difference']:.1e} |", flush=True)
        if arguments.json:
            with arguments.json.open("a") as file:
                file.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
