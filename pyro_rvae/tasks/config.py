"""The config of a saved model: what it says, and whether that fits what is there."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ..core import DataCard, SequenceVAE
from .naming import describe

__all__ = ["CARD", "CONFIG", "WEIGHTS", "about", "check_belongs", "describe_model", "read_config", "restore"]

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.yaml", "README.md"


def describe_model(model: SequenceVAE) -> dict[str, Any]:
    """What ``config.yaml`` holds of a model: version, class, constructor arguments, size of its data set."""
    if not isinstance(model, SequenceVAE):
        raise TypeError(f"expected a SequenceVAE, got {type(model).__name__}; rv.tasks.save_weights takes any "
                        "module")
    described = {"model": describe(model, type(model).__name__)}
    known = about(model)
    return {"pyro_rvae": known.pop("pyro_rvae")} | described | known


def about(model: SequenceVAE) -> dict[str, Any]:
    """What is known of a model whose parts have no names."""
    from .. import __version__  # here: it is the package, which imports this file

    return {"pyro_rvae": __version__, "num_sequences": model.num_sequences,
            "data_card": None if model.data_card is None else model.data_card.to_dict()}


def read_config(directory: str | Path) -> dict[str, Any]:
    """The ``config.yaml`` of a saved model as a mapping."""
    path = Path(directory) / CONFIG
    if not path.is_file():
        raise ValueError(f"{directory} must be a folder with {CONFIG} and {WEIGHTS}, as save_pretrained and "
                         f"`pyro-rvae train` write it; there is no {path}")
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no YAML that this library wrote: {' '.join(str(error).split())}") from error
    known = isinstance(config, dict) and (isinstance(config.get("model"), dict)
                                          or isinstance(config.get("unnamed"), str) and "model" not in config)
    if not known:
        raise ValueError(f"{path} must say what the model is (model: class_path, init_args), and doesn't")
    _check_version(config, path)
    return config  # type: ignore[no-any-return]


def _check_version(config: Mapping[str, Any], path: Path) -> None:
    """Refuse what a newer version has written, which may mean other things by the same words."""
    from .. import __version__  # here: it is the package, which imports this file

    written = config.get("pyro_rvae", __version__)
    try:
        newer = _minor(str(written)) > _minor(__version__)
    except ValueError:
        raise ValueError(f"{path}: pyro_rvae must be the version that wrote the file, such as {__version__}, got "
                         f"{written!r}") from None
    if newer:
        raise ValueError(f"{path}: pyro_rvae is {written}, so a newer version wrote the model than this one, "
                         f"{__version__}: install that version to load it")


def _minor(version: str) -> tuple[int, int]:
    major, minor, *_ = version.split(".")
    return int(major), int(minor)


def check_belongs(config: Mapping[str, Any], directory: Path) -> None:
    """Refuse weights that another save has written."""
    stated = config.get("weights_sha256")
    if stated is not None and stated != hashlib.sha256((directory / WEIGHTS).read_bytes()).hexdigest():
        raise ValueError(f"{directory / CONFIG}: weights_sha256 is not that of {WEIGHTS} beside it: a save was "
                         "interrupted, or one of the two is a copy from elsewhere; save the model again, or copy both "
                         "files (to load the weights as they are: rv.tasks.load_weights(model, file))")


def restore(model: SequenceVAE, config: Mapping[str, Any], path: Path) -> None:
    """What a model remembers of its data."""
    number, card = config.get("num_sequences"), config.get("data_card")
    if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
        raise ValueError(f"{path}: num_sequences must be an integer of at least 1, got {number!r}")
    try:
        model.data_card = None if card is None else DataCard.from_dict(card)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    width = getattr(model, "x_dim", None)
    if model.data_card is not None and width is not None and model.data_card.x_dim != width:
        raise ValueError(f"{path}: data_card.x_dim is {model.data_card.x_dim}, and the model was built for frames of "
                         f"x_dim={width}: was it edited by hand?")
    model.num_sequences = number
