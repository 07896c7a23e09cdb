"""What a collapse report is made of, summed over the chunks of a data set."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import Tensor

from ..core.traces import in_batch, is_point, sites
from .by_dimension import Means, Table, joined, kl_terms, means
from .by_step import log_prob
from .chunks import Chunk, like_of
from .particles import Draws, paths, replay

__all__ = ["Tally"]


@dataclass
class Tally:
    """Sums over chunks; ``shuffled``: frames that were compared."""

    kl: float = 0.0
    likelihood: float = 0.0
    gap: float = 0.0
    shuffled: int = 0
    point: bool = False
    observed: dict[str, None] = field(default_factory=dict)  # names, in their order
    by_step: dict[str, Table] = field(default_factory=lambda: defaultdict(Table))
    by_dim: dict[str, Table] = field(default_factory=lambda: defaultdict(Table))
    means: dict[str, Means] = field(default_factory=lambda: defaultdict(Means))

    def add(self, chunk: Chunk, draws: Draws) -> None:
        """Add a chunk's KL, by step and dimension, and the means of the guide's laws."""
        self.kl += float((draws.posterior - draws.prior).double().sum())
        self.likelihood += float(draws.likelihood.double().sum())
        self.observed |= dict.fromkeys(draws.likelihoods)
        stated, drawn = sites(draws.model, observed=False), sites(draws.guide, observed=False)
        drawn = {name: site for name, site in drawn.items() if in_batch(site)}
        self.point = self.point or any(is_point(site) for site in drawn.values())
        for path, names in paths(drawn).items():
            terms = [kl_terms(drawn[name], stated[name], chunk.batch) for name in names if name in stated]
            elements = joined(by_dim for _, by_dim in terms)
            if terms:
                self.by_step[path].add(np.concatenate([by_step for by_step, _ in terms], 2))
            if elements is not None:
                self.by_dim[path].add(elements)
            centres = joined(means(drawn[name], chunk.batch) for name in names)
            if centres is not None:
                self.means[path].add(chunk.numbers[0], centres)

    def shuffle(self, model: Any, chunk: Chunk, guide: Any) -> None:
        """Add the difference of two scores, each of the frames that a sequence and its neighbour both have."""
        batch = chunk.batch
        if batch.mask is not None:
            batch = replace(batch, mask=batch.mask & batch.mask.roll(1, 0), frames=None)
        common = replace(chunk, batch=batch)
        right, wrong = (_likelihood(model, common, trace) for trace in (guide, _rolled(guide)))
        self.gap += float((right - wrong).sum())
        if chunk.particles.start == 0:
            self.shuffled += batch.num_frames


def _rolled(guide: Any) -> Any:
    """The guide's trace with each sequence's latents handed to the next sequence of the batch."""
    trace = guide.copy()
    for name, site in sites(guide, observed=False).items():
        if in_batch(site):
            trace.nodes[name] = {**site, "value": site["value"].roll(1, 1)}
    return trace


def _likelihood(model: Any, chunk: Chunk, guide: Any) -> Tensor:
    trace = replay(model, chunk, guide)
    observed = sites(trace, observed=True).values()
    terms = (log_prob(site) for site in observed if in_batch(site))
    return sum(terms, like_of(model).new_zeros(())).double()
