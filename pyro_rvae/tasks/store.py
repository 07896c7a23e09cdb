"""Save a model and load it again: safetensors for the numbers, YAML for what the model is. Never pickle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import yaml
from safetensors import SafetensorError
from torch import Tensor, nn

from ..core import DataCard, SequenceVAE
from ..core.contexts import forked
from ..data import Affine
from ..data.atomic import atomic
from ..infer.checkpoint import is_pickle
from .naming import describe, import_name, resolve

__all__ = ["describe_model", "from_pretrained", "load_weights", "read_config", "save_pretrained", "save_weights"]

WEIGHTS, CONFIG = "model.safetensors", "config.yaml"


def save_pretrained(model: SequenceVAE, directory: str | Path, **settings: Any) -> Path:
    """Writes ``model.safetensors`` (weights, and the transform of its data) and ``config.yaml`` (class, constructor
    arguments, parts by dotted path). Each file is written whole or not at all.

    :param directory: made if it isn't there.
    :param settings: what else the YAML shall hold (how the model was trained, say); see :func:`describe`.
    :returns: the directory.
    :raises ValueError: if a part cannot be found by name again (a lambda, a local class, an object of which the
        arguments are not known), or was replaced after the model was built. :func:`save_weights` still works.

    >>> save_pretrained(model, "runs/mine")  # doctest: +SKIP
    >>> model = from_pretrained("runs/mine")  # doctest: +SKIP
    """
    config = describe_model(model) | {key: describe(value, key) for key, value in settings.items()}
    _check_rebuilt(model, config)
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    save_weights(model, directory / WEIGHTS)
    with atomic(directory / CONFIG) as file:
        file.write(yaml.safe_dump(config, sort_keys=False, allow_unicode=True).encode())
    return directory


def from_pretrained(directory: str | Path, allow: Sequence[str] = ()) -> SequenceVAE:
    """The model of :func:`save_pretrained`, on the CPU, in evaluation mode (``model.train()`` to train on).

    :param allow: packages that its parts may be imported from, beside ``pyro_rvae``, ``torch.nn`` and
        ``pyro.distributions``: importing a module runs its code.
    :raises ValueError: if a file is absent, truncated, or no such file; if a name is not allowed or not found; if
        the weights are of another model (the message names the entry).
    """
    if isinstance(allow, str):
        raise TypeError(f"allow must be a sequence of package names, got the string {allow!r}: write ({allow!r},)")
    directory = Path(directory)
    config = read_config(directory)
    weights = _read(directory / WEIGHTS)
    with forked():  # the new model's random start is not wanted
        model = _build(config, allow, directory / CONFIG)
    floating = {tensor.dtype for tensor in weights.values() if tensor.is_floating_point()}
    if len(floating) == 1:
        model.to(floating.pop())
    _assign(model, weights, directory / WEIGHTS)
    model.num_sequences = config.get("num_sequences")
    card = config.get("data_card")
    model.data_card = None if card is None else DataCard.from_dict(card)
    return model.eval()


def save_weights(model: nn.Module, path: str | Path) -> None:
    """Writes a model's ``state_dict`` as safetensors, on the CPU, whole or not at all."""
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    with atomic(path) as file:
        file.write(safetensors.torch.save(state, metadata={"format": "pt"}))


def load_weights(model: SequenceVAE, path: str | Path) -> None:
    """Reads what :func:`save_weights` wrote into a model that was built by your code.

    :raises ValueError: if the file is absent, truncated or of another kind, or its entries are not the model's.
    """
    _assign(model, _read(Path(path)), Path(path))


def describe_model(model: SequenceVAE) -> dict[str, Any]:
    """What ``config.yaml`` holds of a model: version, class, constructor arguments, size of its data set."""
    if not isinstance(model, SequenceVAE):
        raise TypeError(f"expected a SequenceVAE, got {type(model).__name__}; rv.tasks.save_weights takes any "
                        "module")
    from .. import __version__  # here: it is the package, which imports this file

    return {"pyro_rvae": __version__, "model": describe(model, type(model).__name__),
            "num_sequences": model.num_sequences,
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
    if not isinstance(config, dict) or not isinstance(config.get("model"), dict):
        raise ValueError(f"{path} must say what the model is (model: class_path, init_args), and doesn't")
    return config


def _build(config: Mapping[str, Any], allow: Sequence[str] | None, path: Path) -> SequenceVAE:
    described = config["model"]
    cls = import_name(described.get("class_path"), allow, f"{path}: model")
    if not (isinstance(cls, type) and issubclass(cls, SequenceVAE)):
        raise ValueError(f"{path}: model must be a subclass of pyro_rvae.SequenceVAE, got {described['class_path']}")
    model: SequenceVAE = resolve(described, allow, cls.__name__)
    return model


def _check_rebuilt(model: SequenceVAE, config: dict[str, Any]) -> None:
    """The constructor, called as the YAML says, builds the modules that stand in the model now."""
    with forked():
        again = resolve(config["model"], None, type(model).__name__)
    now, then = ({name: type(part) for name, part in m.named_modules() if name.split(".")[0] != "transform"}
                 for m in (model, again))
    for name in sorted({*now, *then}):
        if now.get(name) is not then.get(name):
            kinds = [kind.__name__ if kind else "nothing" for kind in (now.get(name), then.get(name))]
            raise ValueError(
                f"{type(model).__name__}.{name} is {kinds[0]}, where its constructor built {kinds[1]}: a part that "
                "was replaced later cannot be saved by name. Give it to the constructor, or use "
                "rv.tasks.save_weights(model, path)."
            )


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ValueError(f"there is no file {path}: it holds the weights, as rv.tasks.save_weights and "
                         "rv.tasks.save_pretrained write them")
    if is_pickle(path):
        raise ValueError(
            f"{path} is a pickle (as torch.save writes it), which could run any code when it is read, so it never is: "
            "write the weights again with rv.tasks.save_weights, or safetensors.torch.save_file"
        )
    try:
        return safetensors.torch.load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is truncated or no safetensors file ({error}): copy it again") from error


def _assign(model: SequenceVAE, weights: dict[str, Tensor], path: Path) -> None:
    """Entry by entry, so that what doesn't fit is named."""
    if "transform.loc" in weights:
        loc = weights["transform.loc"]
        model.transform = Affine(torch.zeros_like(loc), torch.ones_like(loc))
    own = model.state_dict()
    for name, tensor in own.items():
        if name not in weights:
            raise ValueError(f"{path} has no {name!r} {tuple(tensor.shape)}, which {type(model).__name__} needs: "
                             f"these are the weights of another model{_mismatch(own, weights)}")
        if weights[name].shape != tensor.shape:
            raise ValueError(f"{path}: {name!r} has shape {tuple(weights[name].shape)}, {type(model).__name__} needs "
                             f"{tuple(tensor.shape)}: these are the weights of a model of other sizes")
    for name in weights:
        if name not in own:
            raise ValueError(f"{path} holds {name!r}, which {type(model).__name__} doesn't have: these are the weights "
                             f"of another model{_mismatch(own, weights)}")
    model.load_state_dict(weights)


def _mismatch(own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> str:
    return f" ({len(own.keys() - weights.keys())} entries are missing, {len(weights.keys() - own.keys())} unknown)"
