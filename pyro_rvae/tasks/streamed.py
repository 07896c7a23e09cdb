"""What one frame has told a stream."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.stream_engine import Seen
from ..criticism.tables import count, plain, table
from ..data.transforms import raw_units

__all__ = ["Streamed"]

Array = NDArray[Any]
SHOWN = 12


@dataclass(frozen=True, eq=False, repr=False)
class Streamed:
    r"""What the frame that has come told of each of B series, with K particles each.

    Attributes:
        series: ``(B,)``, their numbers.
        age: ``(B,)``, frames that each has seen, with this one.
        log_density: ``(B,)``, :math:`\log \hat p(x_t \mid x_{<t})` in nats, of the observed elements, of x in the
            model's units: minus the score by step of :func:`score`, so that its thresholds hold. NaN where the frame is
            wholly missing. With K particles ``exp`` of the sum over the frames is unbiased, so the sum is too low on
            average.
        log_density_raw: the same of x in raw units; what differs is the log of the transform's scales.
        effective_size: ``(B,)``, of the weights, from 1 to K.
        mean, deviation: by latent, ``(B, d)``: mean and standard deviation of :math:`p(z_t \mid x_{\le t})`.
        draws: by latent, ``(K, B, d)``, draws of it with weights.
        weights: ``(K, B)``, each column sums to one.
        expected: ``(B, x_dim)``, the mean of the frame given those before it, in raw units; ``None`` if it was not
            asked for, and for codes.
        name: of the model; names: of the features, if it was told them.
    """

    series: Array
    age: Array
    log_density: Array
    log_density_raw: Array
    effective_size: Array
    draws: dict[str, Array]
    weights: Array
    expected: Array | None = None
    name: str = "model"
    names: tuple[str, ...] | None = None
    mean: dict[str, Array] = field(init=False)
    deviation: dict[str, Array] = field(init=False)

    def __post_init__(self) -> None:
        weights = self.weights[..., None]
        mean = {name: (weights * z).sum(0) for name, z in self.draws.items()}
        spread = {name: np.sqrt((weights * (z - mean[name]) ** 2).sum(0)) for name, z in self.draws.items()}
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "deviation", spread)

    @classmethod
    def of(cls, model: Any, seen: Seen, series: list[int], ages: list[int], x: Tensor, particles: int) -> Streamed:
        """From what the engine has found, in the model's units."""
        missing = (x.isnan() if x.is_floating_point() else x < 0).all(-1)
        density = torch.where(missing, torch.nan, seen.increments)  # an estimate of 0, and of no density
        raw = density
        if model.transform is not None and x.is_floating_point():
            raw = density - (model.transform.scale.log() * ~x.isnan()).sum(-1)
        expected = None if seen.expected is None else _array(raw_units(model, seen.expected))
        return cls(np.array(series), np.array(ages), _array(density), _array(raw), _array(seen.effective_sizes),
                   {name: _array(z) for name, z in seen.drawn.items()}, _array(seen.log_weights.exp()), expected,
                   type(model).__name__, None if model.data_card is None else model.data_card.names)

    def to_dict(self) -> dict[str, Any]:
        """As strict JSON takes it (None for what is not finite); without the draws and their weights."""
        names = ("series", "age", "log_density", "log_density_raw", "effective_size", "mean", "deviation", "names",
                 "expected")
        found: dict[str, Any] = plain({name: getattr(self, name) for name in names})
        return found | {"model": self.name, "num_particles": len(self.weights)}

    def __repr__(self) -> str:
        rows = [["series", "frame", "log density (nats)", "effective size"]]
        each = zip(self.series, self.age, self.log_density, self.effective_size, strict=True)
        rows += [[str(s), str(age), f"{d:.3f}", f"{size:.1f}"] for s, age, d, size in list(each)[:SHOWN]]
        more = len(self.series) - SHOWN
        head = f"{self.name}: a frame of {len(self.series)} series, {count(len(self.weights))} each."
        return f"{head}\n{table(rows)}" + f"\n  ... and {more} more" * (more > 0)


def _array(value: Tensor) -> Array:
    return value.detach().cpu().numpy().copy()
