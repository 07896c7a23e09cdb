"""Samples of a run: what they are like, and the file they are written to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import data as library
from .. import plots
from ..core import SequenceVAE
from ..data import SequenceDataset
from ..data.forms import PianoRoll, Table
from ..tasks import generate
from ..tasks.generate import drawn_like
from ..tasks.inputs import as_data
from .choose import load_data
from .parser import UsageError
from .rundir import RunDirectory
from .settings import Sample, Train
from .writing import destination, write_sequences

__all__ = ["draw_samples", "sample", "sample_length", "samples_ending", "write_samples"]

LONGEST_TEXT = 200  # characters of a sample that does not end by itself


def sample_length(train: Any) -> int | None:
    """Frames of a sample, unless told: the median length of the training data, at most 64; texts may be longer."""
    if not isinstance(train, SequenceDataset):
        return None
    if getattr(train.form, "end", None) is not None:
        return min(LONGEST_TEXT, int(train.lengths.max()))
    return min(64, int(train.lengths.median()))


def draw_samples(model: SequenceVAE, test: Any, num: int, length: int | str | None, seed: int) -> list[Tensor]:
    """Samples in raw units; where the data have labels or controls that the model reads, with those of test sequences.

    Texts are cut behind their end symbol.
    """
    if test is not None and (test.labels is not None or test.controls is not None):
        return list(drawn_like(model, test.padded(range(min(num, len(test)))), seed))
    known: dict[str, Any] = {} if model.static else {"length": length}
    return list(generate(model, num, seed=seed, end=_end(model), **known))


def _end(model: SequenceVAE) -> Any:
    """The code that ends a sequence, where there is one."""
    return None if model.data_card is None else getattr(library.form_of(model), "end", None)


def samples_ending(form: Any) -> str:
    """The ending of a file of samples: that of the kind of file the run was trained on; numbers are ``.npz``."""
    return ".npz" if isinstance(form, Table) else str(form.writes[0])


def write_samples(path: Path, form: Any, samples: Any, **options: Any) -> None:
    """Samples as a file that ``--data`` reads, or as a picture."""
    given = {name: value for name, value in options.items() if isinstance(form, PianoRoll) and path.suffix == ".mid"}
    write_sequences(path, form, samples, picture=lambda: plots.sequences_plot(_shown(form, samples), samples), **given)


def _shown(form: Any, samples: Any) -> Any:
    """A data set of the samples themselves, for a picture that has nothing beside them."""
    return SequenceDataset.from_sequences([torch.as_tensor(x) for x in samples], kind=form.kind, classes=form.classes)


def sample(settings: Sample) -> int:
    """``pyro-rvae sample``: write new sequences, and say where."""
    run = RunDirectory.open(settings.run)
    model = run.model(settings.trust)
    trained, form = run.settings(), library.form_of(model)
    endings = dict.fromkeys((*form.writes, ".npz", *([] if model.static else [".csv"])))
    path = destination(run, settings.out, f"samples-{settings.seed}{samples_ending(form)}", endings)
    samples = _samples(settings, model, trained, form)
    write_samples(path, form, samples, tempo=settings.tempo, program=settings.program)
    lengths = sorted({len(x) for x in samples})
    frames = f"{lengths[0]} to {lengths[-1]}" if len(lengths) > 1 else str(lengths[0])
    print(f"{len(samples)} samples of {frames} {'elements' if model.static else 'frames'}: {path}")
    return 0


def _samples(settings: Sample, model: SequenceVAE, trained: Train, form: Any) -> list[Tensor]:
    length = settings.length or trained.length
    asked = settings.label is not None or settings.prefix is not None or settings.temperature != 1.0 \
        or settings.length == "training"
    if not asked:
        return draw_samples(model, _test_split(trained, model), settings.num, length, settings.seed)
    if model.static and settings.length is not None:
        raise UsageError("--length: items of a static model have no length; leave it out")
    given: dict[str, Any] = {} if model.static else {"length": length, "end": _end(model)}
    if settings.prefix is not None:
        begun = as_data(model, library.read(settings.prefix, form), "--prefix")
        given["prefix"] = begun.subset([i % len(begun) for i in range(settings.num)])
    return list(generate(model, settings.num, labels=settings.label, temperature=settings.temperature,
                         seed=settings.seed, **given))


def _test_split(trained: Train, model: SequenceVAE) -> Any:
    """The data that the run was tested on, for their labels and controls; None if they are not there any more."""
    try:
        return load_data(trained, static=model.static).test
    except (ValueError, OSError):
        return None
