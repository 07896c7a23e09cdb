"""How much memory a run has needed."""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path

import torch

__all__ = ["forget_peak", "peak_memory"]


def forget_peak(device: torch.device) -> None:
    """Begin to measure anew, where that can be done: on CUDA."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> float:
    """MiB: on CUDA the most that tensors held since :func:`forget_peak`; else the most that this process ever held.

    The process's is resident memory, with Python, torch and the data. NaN where the system does not tell (Windows).
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    status = Path("/proc/self/status")
    if status.is_file():  # Linux, whose getrusage would give a parent's peak to the processes that it starts
        found = re.search(r"^VmHWM:\s+(\d+) kB", status.read_text(), re.MULTILINE)
        if found:
            return int(found[1]) / 2**10
    try:
        import resource
    except ImportError:
        return math.nan
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)  # bytes there, KiB elsewhere
