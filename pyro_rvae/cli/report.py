"""What a run shows: figures in numbers, samples, pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..core import SequenceVAE
from ..criticism import CollapseReport, Evaluation, collapse_report, evaluate
from ..criticism.tables import FLOORS, beside
from ..data import SequenceDataset
from ..data.atomic import atomic
from ..plots.music import KEYS, is_music
from ..tasks import generate, write_midi

__all__ = ["KEYS", "draw_samples", "is_music", "judge", "table", "write_samples"]

WANTED = {"below_markov": 0.5, "kl": 0.1, "shuffling_cost": 0.1}  # nats per frame: what tells that latents are used


def judge(model: Any, data: Any, train: Any, *, num_particles: int, seed: int) -> tuple[dict[str, Any], str]:
    """The figures of a model on a data set, for JSON and as a table."""
    bounds = evaluate(model, data, num_particles=num_particles, seed=seed, train=train)
    use = collapse_report(model, data, seed=seed)
    found = {"below_markov": bounds.floors.get("markov", bounds.floors.get("independent", np.nan)) - bounds.elbo,
             "kl": bounds.kl, "shuffling_cost": use.shuffling_cost}
    figures = {
        "elbo": bounds.elbo, f"iwae_{num_particles}": bounds.iwae, "reconstruction": bounds.reconstruction,
        "kl": bounds.kl, "is_bound": not bounds.point, "errors": bounds.errors, "num_particles": num_particles,
        "num_sequences": len(bounds.lengths), "num_frames": bounds.num_frames, "unit": f"nats per {bounds.unit}",
        "floors": bounds.floors, "below_floors": {name: cost - bounds.elbo for name, cost in bounds.floors.items()},
        "latents": use.to_dict(),
        "latents_used": {name: {"found": value, "wanted": WANTED[name], "reached": bool(value > WANTED[name])}
                         for name, value in found.items()},
    }
    return figures, table(bounds, use)


def table(bounds: Evaluation, use: CollapseReport) -> str:
    """Bounds, floors and what the latents are worth, one a line."""
    k = bounds.num_particles
    stated = [*bounds.bounds.items()] if bounds.point else [("ELBO", bounds.elbo), (f"IWAE-{k}", bounds.iwae)]
    rows = [*stated, ("reconstruction", bounds.reconstruction), ("KL", bounds.kl)]
    lines = [f"  {label:26}{value:9.3f}" for label, value in rows]
    lines += [f"  {FLOORS[name] + ' floor':26}{cost:9.3f}"
              + f"  the ELBO is {beside(cost, bounds.elbo)} it" * (not bounds.point)
              for name, cost in bounds.floors.items()]
    lines.append(f"  {'shuffled latents cost':26}{_verdict(use.shuffling_cost, bounds.unit)}")
    lines.append(f"  {'active latent units':26}{f'{use.active_units} of {use.num_units}':>9}")
    what = ("sequence" if bounds.unit == "frame" else "item") + "s" * (len(bounds.lengths) != 1)
    units = " (of the transformed data)" if bounds.transformed else ""
    head = f"{len(bounds.lengths):,} {what}" + (f", {bounds.num_frames:,} frames" if bounds.unit == "frame" else "")
    return "\n".join([f"{bounds.name} on {head}; nats per {bounds.unit}{units}, lower is better", *lines])


def _verdict(cost: float, unit: str) -> str:
    one = "sequence" if unit == "frame" else "item"
    if not np.isfinite(cost):  # there is no other to take latents from
        return f"{'-':>9}  not measurable with one {one}"
    used = "will not do: they are used" if cost > WANTED["shuffling_cost"] else "do as well: they are hardly used"
    return f"{cost:+9.3f}  another {one}'s latents {used}"


def sample_length(train: Any) -> int | None:
    """Frames of a sample, unless told: the median length of the training data, at most 64."""
    return min(64, int(train.lengths.median())) if isinstance(train, SequenceDataset) else None


def draw_samples(model: SequenceVAE, test: Any, num: int, length: int | None, seed: int) -> Tensor:
    """Samples in the units of the data; where the data have labels or controls, with those of test sequences."""
    if test is None or (test.labels is None and test.controls is None):
        return generate(model, num, None if model.static else length, seed=seed)
    batch = test.padded(range(min(num, len(test))))
    longest = None if batch.mask is None else batch.mask.shape[1]
    return generate(model, len(batch), longest, seed=seed, **batch.known)


def write_samples(path: Path, samples: Tensor, kind: str | None, classes: int | None, **midi: Any) -> None:
    """Samples ``(N, T, x_dim)`` as MIDI, or as ``.npz`` that ``--data`` reads."""
    if path.suffix == ".mid":
        write_midi(path, samples, **midi)
        return
    arrays: dict[str, Any] = {"values": samples.numpy()}
    if samples.dim() == 3:
        arrays = {"values": samples.flatten(0, 1).numpy(), "lengths": np.full(len(samples), samples.shape[1])}
    arrays |= {name: np.array(value) for name, value in (("kind", kind), ("classes", classes)) if value is not None}
    with atomic(path) as file:
        np.savez_compressed(file, **arrays)
