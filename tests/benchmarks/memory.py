"""What an importance-weighted bound with many particles takes in memory and time on the standard JSB Chorales.

    PYRO_RVAE_DATA=... python tests/benchmarks/memory.py [--particles 2000] [--megabytes 64 256] [--threads 1]

An untrained DMM (z 32, h 128, chain guide) on the 77 test sequences: training changes neither figure. ``--megabytes``
is ``max_bytes`` of ``rv.evaluate``, what the activations of one chunk may take, roughly. Each is measured in a process
of its own; "peak" is the most memory that was resident (``ru_maxrss``), "before" the same before ``evaluate`` was
called: the libraries, the data and the model, and one call with a single particle. By the same count all sequences and
particles at once would take "whole".
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import sys
import time

import torch

import pyro_rvae as rv
from pyro_rvae.criticism.chunks import chunks, groups

MEGABYTE = 2**20


def peak() -> float:
    """Megabytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MEGABYTE


def measure(particles: int, megabytes: int, threads: int) -> None:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    data = rv.data.jsb_chorales()
    model = rv.DMM.for_data(data.train, z_dim=32, h_dim=128)
    rv.evaluate(model, data.test, num_particles=1)
    before, start = peak(), time.perf_counter()
    found = rv.evaluate(model, data.test, num_particles=particles, max_bytes=megabytes * MEGABYTE)
    seconds = time.perf_counter() - start
    number = sum(1 for _ in chunks(model, data.test, particles, groups(data.test, 20), megabytes * MEGABYTE))
    width = data.test.x_dim + sum(p.shape[0] for p in model.parameters() if p.dim() > 1)
    whole = 4 * width * particles * len(data.test) * int(data.test.lengths.max()) / MEGABYTE
    print(f"| IWAE-{particles} {found.iwae:.4f} | max_bytes {megabytes} MB | {number} chunks "
          f"| before {before:.0f} MB | peak {peak():.0f} MB | whole {whole:,.0f} MB | {seconds:.0f} s |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--particles", type=int, default=2000)
    parser.add_argument("--megabytes", type=int, nargs="+", default=[256])
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    if "PYRO_RVAE_DATA" not in os.environ:
        parser.error("set PYRO_RVAE_DATA to the folder with polyphonic/jsb_chorales.npz")
    for megabytes in options.megabytes:
        process = multiprocessing.get_context("spawn").Process(
            target=measure, args=(options.particles, megabytes, options.threads))
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit(process.exitcode)


if __name__ == "__main__":
    main()
