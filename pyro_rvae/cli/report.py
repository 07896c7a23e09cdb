"""What a run shows: figures in numbers, samples, pictures."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..criticism import CollapseReport, Evaluation, collapse_report, evaluate
from ..criticism.tables import bounds_table, count
from ..criticism.verdict import active

__all__ = ["judge", "table"]

WANTED = {"below_markov": 0.5, "kl": 0.1, "shuffling_cost": 0.1}  # nats per frame: what tells that latents are used


def judge(model: Any, data: Any, train: Any, *, num_particles: int, seed: int) -> tuple[dict[str, Any], str]:
    """The figures of a model on a data set, for JSON and as a table."""
    bounds = evaluate(model, data, num_particles=num_particles, seed=seed, train=train)
    use = collapse_report(model, data, seed=seed)
    below = {} if bounds.includes else {name: cost - bounds.elbo for name, cost in bounds.floors.items()}  # of x alone
    found = {"below_markov": below.get("markov", below.get("independent", np.nan)), "kl": bounds.kl,
             "shuffling_cost": use.shuffling_cost}
    names = ["elbo", f"iwae_{num_particles}"]
    figures = {
        "elbo": bounds.elbo, f"iwae_{num_particles}": bounds.iwae, "reconstruction": bounds.reconstruction,
        "kl": bounds.kl, "is_bound": not bounds.point, "errors": bounds.errors, "num_particles": num_particles,
        "num_sequences": len(bounds.lengths), "num_frames": bounds.num_frames, "unit": f"nats per {bounds.unit}",
        "intervals_95": dict(zip(names, map(bounds.interval, bounds.printed.values()), strict=False)),
        "mean_over_sequences": dict(zip(names, bounds.mean_over_sequences.values(), strict=False)),
        "bits_per_dim": dict(zip(names, bounds.bits_per_dim.values(), strict=False)),
        "includes": bounds.includes,
        "reconstructions": {name: float(cost.sum() / bounds.num_frames) for name, cost in bounds.likelihoods.items()},
        "floors": bounds.floors, "below_floors": below,
        "latents": use.to_dict(),
        "latents_used": {name: {"found": value, "wanted": WANTED[name], "reached": bool(value > WANTED[name])}
                         for name, value in found.items()},
    }
    return figures, table(bounds, use)


def table(bounds: Evaluation, use: CollapseReport) -> str:
    """The table of the evaluation, and below it what the latents are worth."""
    _, units, meaning = active(use)
    return bounds_table(bounds, [_shuffled(use, count(use.num_particles, "draw")),
                                 ("active latent units", units, meaning)])


def _shuffled(use: CollapseReport, draws: str) -> tuple[str, str, str]:
    one, label = "sequence" if use.unit == "frame" else "item", f"shuffled latents cost ({draws})"
    if not np.isfinite(use.shuffling_cost):  # there is no other to take latents from
        return label, "-", f"not measurable with one {one}"
    used = "will not do: they are used" if use.shuffling_cost > WANTED["shuffling_cost"] else \
        "do as well: they are hardly used"
    return label, f"{use.shuffling_cost:+.3f}", f"another {one}'s latents {used}"
