"""Samples of a run: what they are like, and the file they are written to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import data as library
from .. import plots
from ..core import SequenceVAE
from ..criticism.progress import progress
from ..criticism.tables import count
from ..data import SequenceDataset, StaticDataset
from ..data.forms import PianoRoll, Table
from ..tasks import generate
from ..tasks.asked import until
from ..tasks.generate import drawn_like
from ..tasks.inputs import as_data
from .choose import load_data
from .parser import UsageError
from .rundir import RunDirectory
from .settings import Sample, Train
from .telling import check_memory
from .writing import destination, in_one, write_sequences

__all__ = ["draw_samples", "sample", "sample_length", "samples_ending", "without_end",
           "write_samples"]

LONGEST_TEXT = 200  # characters of a sample that does not end by itself


def sample_length(train: Any) -> int | None:
    """Frames of a sample, unless told: the median length of the training data, at most 64; texts may be longer."""
    if not isinstance(train, SequenceDataset):
        return None
    if getattr(train.form, "end", None) is not None:
        return min(LONGEST_TEXT, int(train.lengths.max()))
    return min(64, int(train.lengths.median()))


def draw_samples(model: SequenceVAE, test: Any, num: int, length: int | None, seed: int) -> list[Tensor]:
    """Samples in raw units; where the data have labels or controls that the model reads, with those of test sequences.

    Controls are known no longer than these sequences are, so that a sample may be shorter than ``length``. Texts are
    cut behind their end symbol.
    """
    end = _end(model)
    if test is None or (test.labels is None and (test.controls is None or not _reads_controls(model))):
        known: dict[str, Any] = {} if model.static else {"length": length}
        return list(generate(model, num, seed=seed, end=end, **known))
    numbers = [i % len(test) for i in range(num)]
    batch, lengths = _of_length(test.padded(numbers), length, _reads_controls(model))
    made = drawn_like(model, batch, seed)
    samples = list(made) if lengths is None else [x[:n] for x, n in zip(made, lengths, strict=True)]
    return samples if end is None else [until(x, end) for x in samples]


def _of_length(batch: Any, length: int | None, controls: bool) -> tuple[Any, list[int] | None]:
    """A batch whose frames are as many as are wanted, and the frames of each sample."""
    if batch.mask is None or length is None:
        return batch, None
    if not controls:
        mask = torch.ones(len(batch), length, dtype=torch.bool)
        return replace(batch, mask=mask, controls=None, frames=None), None
    frames = min(length, batch.mask.shape[1])
    cut = replace(batch, x=batch.x[:, :frames], mask=batch.mask[:, :frames], controls=batch.controls[:, :frames],
                  frames=None)
    return cut, cut.mask.sum(1).tolist()


def _reads_controls(model: SequenceVAE) -> bool:
    """Whether the model is given controls (a context of a user's own is taken to read all)."""
    return model.context is not None and bool(getattr(model.context, "control_dim", 1))


def _usual_length(model: SequenceVAE) -> int | None:
    """The median length of the training data, for a model that was saved without a run."""
    lengths = None if model.data_card is None else model.data_card.lengths
    if not lengths:
        return None
    each = sorted(length for length, number in lengths.items() for _ in range(number))
    return min(64, each[len(each) // 2])


def _end(model: SequenceVAE) -> Any:
    """The code that ends a sequence, where there is one."""
    return None if model.data_card is None else getattr(library.form_of(model), "end", None)


def samples_ending(form: Any) -> str:
    """The ending of a file of samples: that of the kind of file the run was trained on; numbers are ``.npz``."""
    return ".npz" if isinstance(form, Table) else str(form.writes[0])


def write_samples(path: Path, form: Any, samples: Any, ids: Any = None, beside: Any = None, **options: Any) -> None:
    """Samples as a file that ``--data`` reads, or as a picture (beside the data of a test split)."""
    given = {name: value for name, value in options.items() if isinstance(form, PianoRoll) and path.suffix == ".mid"}
    write_sequences(path, form, samples, ids, picture=lambda: plots.sequences_plot(
        _shown(form, samples) if beside is None else beside, samples), **given)


def _shown(form: Any, samples: Any) -> Any:
    """A data set of the samples themselves, for a picture that has nothing beside them."""
    if form.static:
        return StaticDataset(torch.stack(list(samples)), kind=form.kind, classes=form.classes)
    return SequenceDataset.from_sequences([torch.as_tensor(x) for x in samples], kind=form.kind, classes=form.classes)


def sample(settings: Sample) -> int:
    """``pyro-rvae sample``: write new sequences, and say where."""
    run = RunDirectory.open(settings.run)
    model = run.model(settings.trust)
    trained, form = run.settings(), library.form_of(model)
    endings = dict.fromkeys((*form.writes, ".npz", *([] if model.static else [".csv"]), ".png"))
    path = destination(run, settings.out, f"samples-{settings.seed}{samples_ending(form)}", endings, folder=form.each)
    test = _test_split(trained, model)
    with progress("sample", shown=not settings.quiet):
        samples, ids = _samples(settings, model, trained, form, test)
    write_samples(path, form, samples, ids, test, tempo=settings.tempo, program=settings.program)
    lengths = sorted({len(x) for x in samples})
    frames = f"{lengths[0]} to {lengths[-1]}" if len(lengths) > 1 else str(lengths[0])
    print(f"{count(len(samples), 'sample')} of {frames} {'elements' if model.static else 'frames'}"
          f"{in_one(path, form, len(samples))}: {path}")
    return 0


def _samples(settings: Sample, model: SequenceVAE, trained: Train, form: Any,
             test: Any) -> tuple[list[Tensor], list[str] | None]:
    """Samples, and names for them where they go on with something."""
    length = settings.length or trained.length or _usual_length(model)
    check_memory(settings.num, length if isinstance(length, int) else 1, form.x_dim or 1)
    if model.static and settings.length is not None:
        raise UsageError("--length: items of a static model have no length; leave it out")
    asked = settings.label is not None or settings.prefix is not None or settings.temperature != 1.0 \
        or settings.length == "training"
    if not asked:
        _check_length(settings, model, test)
        frames = None if model.static or isinstance(length, str) else length
        made = draw_samples(model, test, settings.num, frames, settings.seed)
        return made, None
    given: dict[str, Any] = {} if model.static else {"length": length, "end": _end(model)}
    ids = None
    if _reads_controls(model):
        given["controls"] = _known_inputs(settings, length, test)
    if settings.prefix is not None:
        begun = as_data(model, without_end(library.read(settings.prefix, form), form), "--prefix")
        numbers = [i % len(begun) for i in range(settings.num)]
        given["prefix"], ids = begun.subset(numbers), _ids(begun, numbers)
    made = list(generate(model, settings.num, labels=settings.label, temperature=settings.temperature,
                         seed=settings.seed, **given))
    return made, ids


def _known_inputs(settings: Sample, length: Any, test: Any) -> Tensor:
    """The controls of test sequences in turn, of as many frames as all of them have."""
    if settings.prefix is not None or settings.length == "training":
        raise UsageError("the model reads controls, and those of test sequences are all that there are: leave --prefix "
                         "and --length training out (in Python: rv.generate(model, num, controls=...))")
    if test is None or test.controls is None:
        raise UsageError("the model reads controls, and the data that the run was trained on are not there: in Python, "
                         "rv.generate(model, num, controls=...)")
    long = [i for i in range(len(test)) if int(test.lengths[i]) >= length]
    if not long:
        raise UsageError(f"--length {length}: the controls of the test sequences are known for at most "
                         f"{int(test.lengths.max())} frames: ask for no more than these")
    batch: Any = test.padded([long[i % len(long)] for i in range(settings.num)])
    return batch.controls[:, :length]  # type: ignore[no-any-return]


def _ids(begun: Any, numbers: list[int]) -> list[str]:
    """Of samples that go on with sequences in turn: the ids of these, counted where one stands several times."""
    names = [str(n + 1) for n in range(len(begun))] if begun.ids is None else list(begun.ids)
    if len(numbers) <= len(begun):
        return [names[n] for n in numbers]
    return [f"{names[n]} ({i // len(begun) + 1})" for i, n in enumerate(numbers)]


def _check_length(settings: Sample, model: SequenceVAE, test: Any) -> None:
    """Refuse more frames than the controls of the test sequences are known for."""
    if test is None or test.controls is None or not isinstance(settings.length, int) or not _reads_controls(model):
        return
    longest = int(test.lengths.max())
    if settings.length > longest:
        raise UsageError(f"--length {settings.length}: the model reads controls, which are known for at most {longest} "
                         "frames of the test sequences: ask for no more than these")


def without_end(data: Any, form: Any) -> Any:
    """Texts that go on: without the end symbol that closes a line."""
    end = getattr(form, "end", None)
    if end is None or not hasattr(data, "lengths"):
        return data
    cut = [x[:-1] if len(x) > 1 and bool((x[-1] == end).all()) else x for x in data]
    open_ended = SequenceDataset.from_sequences(cut, kind=data.kind, classes=data.classes, ids=data.ids,
                                                labels=data.labels)
    open_ended.form, open_ended.reference = data.form, data.reference
    return open_ended


def _test_split(trained: Train, model: SequenceVAE) -> Any:
    """The data that the run was tested on, for their labels and controls; None if they are not there any more."""
    try:
        return load_data(trained, static=model.static).test
    except (ValueError, OSError):
        return None
