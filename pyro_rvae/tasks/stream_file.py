"""A stream in a file: its tensors as safetensors, its settings beside them. Never pickle."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..core.resampling import Resampling, multinomial, systematic
from ..core.stream_engine import Engine
from ..core.stream_probe import like_of
from ..data.atomic import atomic
from .store import weights_sha256

__all__ = ["read_stream", "write_stream"]

SCHEMES: dict[str, Resampling] = {"systematic": systematic, "multinomial": multinomial}
VERSION = 2  # of the file's form; 1 told models apart by one sum of their weights
SETTINGS = ("num_series", "num_particles", "seed", "bootstrap", "threshold", "expected", "control_dim")


def write_stream(engine: Engine, path: str | Path) -> Path:
    """The state of a stream, in one file that is written whole or not at all."""
    named = {**{f"state{name}": value for name, value in engine.state.items()},
             **{f"shared/{name}": value for name, value in engine.shared.items()}, "log_weights": engine.log_weights}
    if engine.labels is not None:
        named["labels"] = engine.labels
    first: dict[int, str] = {}
    same = {name: first.setdefault(id(value), name) for name, value in named.items()}
    tensors = {name: named[name].detach().cpu().contiguous().clone() for name in set(same.values())}
    scheme = next((name for name, function in SCHEMES.items() if function is engine.resampling), None)
    about = {"version": VERSION, "model": type(engine.model).__name__, "weights": weights_sha256(engine.model),
             "resampling": scheme, "ages": engine.ages, "count": engine.count, "same": same,
             "settings": {name: getattr(engine, name) for name in SETTINGS}}
    with atomic(path) as file:
        file.write(safetensors.torch.save(tensors, metadata={"pyro_rvae.Stream": json.dumps(about)}))
    return Path(path)


def read_stream(path: str | Path, model: Any,
                resampling: Resampling | None) -> tuple[dict[str, Any], Callable[[Engine], None]]:
    """The arguments of the stream in a file, and what brings an engine made with them to where that stream stood."""
    about, tensors = _read(Path(path))
    _check_model(path, about, model)
    scheme = resampling or SCHEMES.get(about["resampling"])
    if scheme is None:
        raise ValueError(f"{path}: the stream resampled by a function of your own, which no file holds: pass "
                         "resampling=....")
    device = like_of(model).device
    unique = {name: value.to(device) for name, value in tensors.items()}
    named: dict[str, Tensor] = {name: unique[first] for name, first in about["same"].items()}
    settings = {**about["settings"], "resampling": scheme, "labels": named.get("labels")}

    def resume(engine: Engine) -> None:
        state = {name: named.get(f"state{name}") for name in engine.state}
        for name, value in state.items():
            wanted = engine.state[name]
            if value is None or value.shape != wanted.shape or value.dtype != wanted.dtype:
                got = "nothing" if value is None else f"{tuple(value.shape)} of {value.dtype}"
                raise ValueError(f"{path}: {name} must be {tuple(wanted.shape)} of {wanted.dtype} for this model, the "
                                 f"file has {got}: it is the stream of another model.")
        engine.state = state  # type: ignore[assignment]
        engine.shared = {name: named[f"shared/{name}"] for name in engine.shared}
        engine.log_weights, engine.ages, engine.count = named["log_weights"], about["ages"], about["count"]

    return settings, resume


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not path.is_file():
        raise ValueError(f"there is no file {path}: Stream.save writes one.")
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get("pyro_rvae.Stream", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{path} is no whole file of Stream.save: {error}") from error
    if about is None:
        raise ValueError(f"{path} holds tensors, and no stream: Stream.save writes one (a model's weights are read by "
                         "from_pretrained).")
    version = about.get("version", 1)
    if version != VERSION:
        said = "an earlier version of pyro_rvae, which could not tell for sure which weights it belongs to: start a " \
            "new stream" if version < VERSION else "a newer version of pyro_rvae: load it with that one"
        raise ValueError(f"{path} was written by {said} (form {version}, this version reads {VERSION}).")
    return about, tensors


def _check_model(path: str | Path, about: dict[str, Any], model: Any) -> None:
    name = type(model).__name__
    if about["model"] != name:
        raise ValueError(f"{path} is the stream of a {about['model']}, got a {name}: load it with the model that it "
                         "was made with.")
    if about["weights"] != weights_sha256(model):
        raise ValueError(f"{path} is the stream of a {name} with other weights, or another transform of its data: what "
                         "it keeps means nothing to this one. Start a new stream, or load the model that it was made "
                         "with.")
