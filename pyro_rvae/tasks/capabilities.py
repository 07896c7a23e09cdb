"""What each model can be used for: tried on a model, and the table of the library's own."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..core import SequenceVAE
from ..criticism.chunks import like_of
from ..criticism.tables import table
from ..data import SequenceDataset, StaticDataset
from .between import latents_of, reconstruct
from .embed import embed
from .forecast import forecast
from .generate import generate
from .impute import impute
from .inputs import kind_of
from .interpolate import interpolate
from .score import score
from .stream import Stream
from .swap import swap

__all__ = ["USES", "Capabilities", "capabilities", "capabilities_table"]

USES = ("generate", "forecast", "reconstruct", "interpolate", "swap", "impute", "score", "embed", "stream")
FRAMES = 8  # of the sequences that a model is tried on
LIBRARY = Path(__file__).parents[1]

# By spelling (after x_dim), in the order of USES; held by a test, which tries each.
MODELS: dict[str, str] = {
    "VAE()": "yes - yes yes - yes whole yes -",
    "ConvVAE()": "yes - yes yes - yes whole yes -",
    "AE()": "yes - yes yes - yes whole yes -",
    "RAE()": "yes yes yes yes - yes steps yes -",
    "BRAE()": "yes yes yes yes - yes steps yes -",
    "StepRAE()": "yes yes yes yes - yes steps yes prior",
    "ARAE()": "yes yes yes yes - yes steps yes -",
    "VariationalAttention()": "yes yes yes yes yes yes steps yes prior",
    "HRAE(every=(4,))": "yes yes yes yes level yes steps yes -",
    "MusicVAE(every=4)": "yes yes yes yes - yes steps yes -",
    "VRAE()": "yes yes yes yes - yes steps yes -",
    "TextVAE(likelihood=partial(rv.Categorical, classes=30))": "yes yes yes yes - yes steps yes -",
    "RVAE()": "yes yes yes yes - yes steps yes prior",
    "RVAE(recurrence=rv.Bidirectional)": "yes yes yes yes - yes steps yes -",
    "STORN()": "yes yes yes yes - yes steps yes yes",
    "VRNN()": "yes yes yes yes - yes steps yes yes",
    "SRNN()": "yes yes yes yes - yes steps yes prior",
    "SRNN(smoothing=False)": "yes yes yes yes - yes steps yes yes",
    "DMM()": "yes yes yes yes - yes steps yes prior",
    "DMM(posterior=rv.Combiner, encoder=rv.Forward)": "yes yes yes yes - yes steps yes yes",
    "ZForcing()": "yes yes yes yes - yes steps yes prior",
    "DSAE()": "yes yes yes yes yes yes steps yes prior",
    "KVAE()": "yes yes yes yes - yes steps yes yes",
    "NeuralHMM(modes=4)": "yes yes yes - - yes steps yes prior",
    "SwitchingLDS(modes=4)": "yes yes yes yes - yes steps yes prior",
    "DeterministicRNN()": "yes yes - - - yes steps - yes",
}


NOTES = ("swap: what is drawn once a sequence, or a level of a hierarchy (sites=); score: by step, or of the whole;",
         "stream: with the guide as it is, or proposed from the prior (bootstrap=True).",
         "A model of your own: rv.tasks.capabilities(model).")


@dataclass(frozen=True, repr=False)
class Capabilities:
    """What a model can be used for.

    Attributes:
        name: the model's.
        found: by use, a word where it can be: ``"yes"``, of scores ``"steps"`` or ``"whole"`` (one a sequence), of
            streams ``"yes"`` (the guide filters) or ``"prior"`` (with ``bootstrap=True``), of swaps ``"yes"`` or
            ``"level"`` (of a hierarchy, with ``sites=``); else an empty string.
        reasons: by use, what was said where it cannot be.
    """

    name: str
    found: Mapping[str, str]
    reasons: Mapping[str, str]

    def __getitem__(self, use: str) -> str:
        return self.found[use]

    @property
    def row(self) -> str:
        """The words in the order of :data:`USES`, a dash where there is none."""
        return " ".join(self.found[use] or "-" for use in USES)

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {"model": self.name, "uses": dict(self.found), "reasons": dict(self.reasons)}

    def __repr__(self) -> str:
        rows = [(use, self.found[use] or "no") for use in USES]
        return f"{self.name}:\n{table(rows, [self.reasons.get(use, '') for use in USES])}"


def capabilities(model: SequenceVAE, data: Any = None) -> Capabilities:
    """Tries each use on a model, with two short sequences; a refusal's own words say why not.

    It tells what is possible, also with a model of your own that was never trained; how good it is, is for
    :mod:`pyro_rvae.criticism` to say.

    Arguments:
        model: any :class:`~pyro_rvae.SequenceVAE`.
        data: at least two sequences (items) to try with; ``None``: what the model generates, with zeros as controls
            and labels where it reads them.

    Raises:
        TypeError: no model.

    >>> capabilities(model)["stream"]  # doctest: +SKIP
    'yes'
    """
    if not isinstance(model, SequenceVAE):
        raise TypeError(f"capabilities needs a SequenceVAE, got {type(model).__name__}.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is never looked at
        data = _made(model) if data is None else data
        found, reasons = {}, {}
        for use in USES:
            found[use], said = _tried(lambda use=use: TRIALS[use](model, data))  # type: ignore[misc]
            if said:
                reasons[use] = said
    return Capabilities(type(model).__name__, found, reasons)


def _tried(trial: Callable[[], str]) -> tuple[str, str]:
    """The word of a trial, or what a refusal of this library says."""
    try:
        return trial(), ""
    except (ValueError, TypeError, NotImplementedError) as error:
        last = error.__traceback__
        while last is not None and last.tb_next is not None:
            last = last.tb_next
        if last is None or not Path(last.tb_frame.f_code.co_filename).is_relative_to(LIBRARY):
            raise
        return "", str(error)


def _made(model: Any) -> Any:
    """Two sequences of the model's own."""
    known, like = _known(model), like_of(model)
    made = generate(model, 2, None if model.static else FRAMES, seed=0, **known)
    kind, classes = kind_of(model)
    given: dict[str, Any] = {"kind": kind, "classes": classes, "labels": known.get("labels")}
    if model.static:
        return StaticDataset(made, **given)
    controls = known["controls"].flatten(0, 1) if "controls" in known else None
    data = SequenceDataset(made.flatten(0, 1), [FRAMES] * 2, controls=controls, **given)
    if data.values.is_floating_point():
        data.values = data.values.to(like.dtype)
    return data if model.transform is None or data.kind != "real" else data.transformed(model.transform)


def _known(model: Any) -> dict[str, Any]:
    """Zeros, where a model reads controls and labels."""
    context: Any = getattr(model, "context", None)
    like = like_of(model)
    known: dict[str, Any] = {}
    if getattr(context, "control_dim", 0):
        known["controls"] = torch.zeros(2, FRAMES, context.control_dim, dtype=like.dtype)
    if getattr(context, "classes", None) is not None:
        known["labels"] = torch.zeros(2, dtype=torch.long)
    elif getattr(context, "label_dim", 0):
        known["labels"] = torch.zeros(2, context.label_dim, dtype=like.dtype)
    return known


# ------------------------------------------------------------------------------------------------ trials
def _generate(model: Any, data: Any) -> str:
    generate(model, 2, None if model.static else FRAMES, seed=0, **_known(model))
    return "yes"


def _forecast(model: Any, data: Any) -> str:
    ahead = None if data.controls is None else torch.zeros(2, 2, data.control_dim, dtype=data.controls.dtype)
    forecast(model, data, 2, 2, controls=ahead)
    return "yes"


def _reconstruct(model: Any, data: Any) -> str:
    reconstruct(model, data)
    return "yes"


def _interpolate(model: Any, data: Any) -> str:
    interpolate(model, data.subset([0]), data.subset([1]), 3)
    return "yes"


def _swap(model: Any, data: Any) -> str:
    first, second = data.subset([0]), data.subset([1])
    slow = [] if model.static else [name for name, latent in latents_of(model, first.padded()).items()
                                    if latent.every is not None and latent.every > 1]
    swap(model, first, second, sites=slow or None)
    return "level" if slow else "yes"


def _impute(model: Any, data: Any) -> str:
    impute(model, _with_a_gap(data), 2)
    return "yes"


def _with_a_gap(data: Any) -> Any:
    hidden = data.subset(range(len(data)))
    values = hidden.values.clone()
    values.view(len(values), -1)[1, 0] = torch.nan if values.is_floating_point() else -1
    hidden.values, hidden.missing = values, True
    return hidden


def _score(model: Any, data: Any) -> str:
    found = score(model, data, 2)
    return "whole" if model.static or found.by_step is None else "steps"


def _embed(model: Any, data: Any) -> str:
    embed(model, data)
    return "yes"


def _stream(model: Any, data: Any) -> str:
    labels = None if data.labels is None else data.labels
    try:
        Stream(model, 2, 2, labels=labels)
    except ValueError:
        Stream(model, 2, 2, labels=labels, bootstrap=True)
        return "prior"
    return "yes"


TRIALS: dict[str, Callable[[Any, Any], str]] = {
    "generate": _generate, "forecast": _forecast, "reconstruct": _reconstruct, "interpolate": _interpolate,
    "swap": _swap, "impute": _impute, "score": _score, "embed": _embed, "stream": _stream,
}


def capabilities_table() -> str:
    """Which model of the library can be used for what, as ``pyro-rvae models`` prints it."""
    rows = [(name, *(word.replace("-", "") for word in words.split())) for name, words in MODELS.items()]
    widths = [max(len(row[i]) for row in [("model", *USES), *rows]) for i in range(len(USES) + 1)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
             for row in [("model", *USES), *rows]]
    return "\n".join([*lines, "", *NOTES])
