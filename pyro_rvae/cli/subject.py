"""What a report is about: a trained run, the data it is judged on, and what was found of them, each found once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core import SequenceVAE
from ..criticism import (
    CollapseReport,
    Evaluation,
    PredictiveCheck,
    PredictiveScores,
    Replicates,
    collapse_report,
    evaluate,
    from_prefix,
    one_step,
    predictive_check,
    predictive_scores,
)
from ..criticism.monitor import CollapseRow, read_rows
from ..criticism.tables import count
from ..infer import History
from .rundir import RunDirectory
from .sampling import draw_samples
from .settings import Report, Train

__all__ = ["NotApplicable", "Subject", "shortened"]

LONGEST = 256  # frames of a sequence in one-step forecasts, whose cost grows with the square of it


class NotApplicable(Exception):
    """A section says nothing of such a model or such data; the message says why, in one sentence."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A run and its data.

    Attributes:
        run: the run directory; model: in evaluation mode; trained: the settings of its training.
        settings: of the report.
        train, valid, data: the training and validation split, and what it is judged on.
    """

    run: RunDirectory
    model: SequenceVAE
    trained: Train
    settings: Report
    train: Any
    valid: Any
    data: Any

    @property
    def static(self) -> bool:
        """Whether the model has no time."""
        return bool(self.model.static)

    @property
    def what(self) -> str:
        """A sequence, or an item."""
        return "item" if self.static else "sequence"

    @property
    def unit(self) -> str:
        """What costs are divided by."""
        return "item" if self.static else "frame"

    @property
    def name(self) -> str:
        """The model's name."""
        return type(self.model).__name__

    @cached_property
    def few(self) -> Any:
        """Some of the data, and no more than the first frames of each: for what takes long."""
        some = self.data.subset(range(min(self.settings.sequences, len(self.data))))
        return some if self.static else shortened(some, LONGEST)

    @cached_property
    def few_words(self) -> str:
        """What ``few`` holds, in words."""
        number = len(self.few)
        words = f"the first {number} of {len(self.data):,} {self.what}s" if number < len(self.data) else \
            f"all {count(number, self.what)}"
        if not self.static and int(self.data.lengths[:number].max()) > LONGEST:
            words += f", their first {LONGEST} frames"
        return words

    # ---------------------------------------------------------------------------------------- what was found
    @cached_property
    def history(self) -> History:
        return History.from_csv(self.run.path / "history.csv")

    @cached_property
    def evaluation(self) -> Evaluation:
        return evaluate(self.model, self.data, num_particles=self.settings.num_particles, seed=self.settings.seed,
                        train=self.train)

    @cached_property
    def collapse(self) -> CollapseReport:
        return collapse_report(self.model, self.data, seed=self.settings.seed)

    @cached_property
    def samples(self) -> list[Tensor]:
        return draw_samples(self.model, self.data, self.settings.num, None if self.static else self.trained.length,
                            self.settings.seed)

    @cached_property
    def free_running(self) -> PredictiveCheck:
        return predictive_check(self.model, self.data, num=self.settings.replicates, seed=self.settings.seed)

    @cached_property
    def behind_half(self) -> PredictiveCheck:
        """Of ``few``: the first half of each sequence is given, and what follows is checked."""
        return predictive_check(self.model, self.few, num=self.settings.replicates, seed=self.settings.seed,
                                draw=partial(from_prefix, prefix=0.5))

    @cached_property
    def monitor(self) -> list[CollapseRow]:
        """What the training's monitor of the latents found, epoch by epoch; nothing if there was none."""
        path = self.run.path / "collapse.csv"
        return read_rows(path) if path.is_file() else []

    @cached_property
    def forecasts(self) -> Replicates:
        """One-step forecasts of ``few``."""
        return one_step(self.model, self.few, self.settings.draws, seed=self.settings.seed)

    @cached_property
    def scores(self) -> PredictiveScores:
        """Of the one-step forecasts; of static data of free draws."""
        made: Any = {} if self.static else {"draw": self.forecasts}
        return predictive_scores(self.model, self.few, num=self.settings.draws, seed=self.settings.seed,
                                 train=self.train, **made)

    @property
    def has_latents(self) -> bool:
        """Whether the model draws a latent for each sequence."""
        return bool(self.collapse.kl_by_step)

    @property
    def point(self) -> bool:
        """Whether the guide draws a point."""
        return bool(self.evaluation.point)


def shortened(data: Any, frames: int) -> Any:
    """The same sequences, each without what follows its first ``frames``."""
    if int(data.lengths.max()) <= frames:
        return data
    lengths = data.lengths.clamp(max=frames)
    rows = torch.from_numpy(np.concatenate([np.arange(start, start + length) for start, length in
                                            zip(data.starts.tolist(), lengths.tolist(), strict=True)]))
    cut = type(data)(data.values[rows], lengths, labels=data.labels,
                     controls=None if data.controls is None else data.controls[rows], names=data.names, ids=data.ids,
                     kind=data.kind, classes=data.classes, transform=data.transform)
    cut.reference = data.reference
    return cut
