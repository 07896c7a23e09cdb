"""Save a model and load it again: safetensors for the numbers, YAML for what the model is. Never pickle."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import yaml
from safetensors import SafetensorError
from torch import Tensor, nn

from ..core import SequenceVAE
from ..core.contexts import forked
from ..data import Affine
from ..data.atomic import atomic, write_together
from ..infer.checkpoint import is_pickle
from .config import CARD, CONFIG, WEIGHTS, about, check_belongs, describe_model, read_config, restore
from .modelcard import is_ours, model_card
from .naming import Unnameable, describe, import_name, resolve

__all__ = ["from_pretrained", "load_weights", "save_pretrained", "save_weights", "weights_sha256", "write_card"]


def save_pretrained(model: SequenceVAE, directory: str | Path, *, metrics: Any = None, **settings: Any) -> Path:
    """Writes ``model.safetensors`` (weights, and the transform of its data), ``config.yaml`` (class, constructor
    arguments, parts by dotted path, what the data were) and a model card ``README.md``.

    All three are written before the first takes its place, and the config, which holds the weights' SHA-256, takes its
    place last: whatever stops a save, a folder loads as one save wrote it, or says that it doesn't. A ``README.md``
    that is the user's own (without the card's last line) stays.

    A model with a part that cannot be found by name again (a lambda, a local class, an object of which the arguments
    are not known, a part replaced after the model was built) has its weights and its card saved, with a warning; the
    card says how to load them with :func:`load_weights`.

    :param directory: made if it isn't there.
    :param metrics: figures for the card: what ``rv.evaluate`` returned, or a mapping. Default: those of a
        ``metrics.json`` in the folder.
    :param settings: what else the YAML shall hold (how the model was trained, say); see :func:`describe`.
    :returns: the directory.
    :raises TypeError: if it is no model. :raises ValueError: if ``settings`` hold what YAML can't, or ``directory`` is
        a file.

    >>> save_pretrained(model, "runs/mine")  # doctest: +SKIP
    >>> model = from_pretrained("runs/mine")  # doctest: +SKIP
    """
    directory = Path(directory)
    _check_place(model, directory)
    try:
        config = describe_model(model)
        _check_rebuilt(model, config)
    except ValueError as error:
        name, reason = type(model).__name__, getattr(error, "reason", error)
        config = about(model) | {"unnamed": f"of this {name} the weights alone are saved, since {reason}, which no "
                                  "name leads to: build the model by your own code, and load them with "
                                  "rv.tasks.load_weights(model, folder)."}
        warnings.warn(f"{directory}: {config['unnamed']}", UserWarning, stacklevel=2)
    config |= {key: describe(value, key) for key, value in settings.items()}
    directory.mkdir(parents=True, exist_ok=True)
    weights = _bytes_of(model)
    config["weights_sha256"] = _digest(weights)
    files = {CONFIG: yaml.safe_dump(config, sort_keys=False, allow_unicode=True).encode(), WEIGHTS: weights}
    if is_ours(directory / CARD):
        files[CARD] = model_card(model, config, _metrics(directory, metrics)).encode()
    write_together(directory, files)
    return directory


def _check_place(model: Any, directory: Path) -> None:
    """Refuse what is no model, and a place that is no folder."""
    if not isinstance(model, SequenceVAE):
        what = f"the class {model.__name__}: make one first" if isinstance(model, type) else type(model).__name__
        raise TypeError(f"save_pretrained expected a SequenceVAE, got {what}.")
    blocked = next((place for place in (directory, *directory.parents) if place.exists()), directory)
    if blocked.is_file():
        raise ValueError(f"save_pretrained writes a folder, and {blocked} is a file: give another name.")


def from_pretrained(directory: str | Path, allow: Sequence[str] = (), *,
                    cls: type[SequenceVAE] = SequenceVAE) -> SequenceVAE:
    """The model of :func:`save_pretrained`, on the CPU, in evaluation mode (``model.train()`` to train on).

    :param allow: packages that its parts may be imported from, beside ``pyro_rvae``, ``torch.nn``, the distributions of
        torch and Pyro, and Pyro's autoguides and kernels: importing a module runs its code.
    :param cls: what the model must be.
    :raises ValueError: if a file is absent, truncated, or no such file; if a name is not allowed or not found; if
        the model is no ``cls``; if the two files don't belong together, or a newer version wrote them. The message
        names the field of the config, or the entry of the weights.
    """
    if isinstance(allow, str):
        raise TypeError(f"allow must be a sequence of package names, got the string {allow!r}: write ({allow!r},)")
    directory = Path(directory)
    config = read_config(directory)
    path = directory / CONFIG
    if "model" not in config:
        raise ValueError(f"{path}: {config['unnamed']}")
    weights = _read(directory / WEIGHTS)
    with forked():  # the new model's random start is not wanted
        model = _build(config, allow, path, cls)
    floating = {tensor.dtype for tensor in weights.values() if tensor.is_floating_point()}
    if len(floating) == 1:
        model.to(floating.pop())
    _assign(model, weights, directory / WEIGHTS)
    check_belongs(config, directory)
    restore(model, config, path)
    return model.eval()


def write_card(model: SequenceVAE, directory: str | Path) -> None:
    """Writes the model card of a saved model again, with the figures that its folder has by now."""
    directory = Path(directory)
    if is_ours(directory / CARD):
        with atomic(directory / CARD) as file:
            file.write(model_card(model, read_config(directory), _metrics(directory, None)).encode())


def save_weights(model: nn.Module, path: str | Path) -> None:
    """Writes a model's ``state_dict`` as safetensors, on the CPU, whole or not at all."""
    with atomic(path) as file:
        file.write(_bytes_of(model))


def load_weights(model: SequenceVAE, path: str | Path) -> None:
    """Reads what :func:`save_weights` wrote into a model that was built by your code.

    :param path: the file; or the folder of :func:`save_pretrained`, from which the model also learns again what its
        data were.
    :raises ValueError: if the file is absent, truncated or of another kind, or its entries are not the model's.
    """
    path = Path(path)
    if not path.is_dir():
        _assign(model, _read(path), path)
        return
    config = read_config(path)
    _assign(model, _read(path / WEIGHTS), path / WEIGHTS)
    check_belongs(config, path)
    restore(model, config, path / CONFIG)


def weights_sha256(model: nn.Module) -> str:
    """The SHA-256 of a model's weights and buffers, its transform among them: of the file that ``save_weights`` writes.

    It is what the config of :func:`save_pretrained` holds.
    """
    return _digest(_bytes_of(model))


def _digest(weights: bytes) -> str:
    return hashlib.sha256(weights).hexdigest()


def _bytes_of(model: nn.Module) -> bytes:
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    return safetensors.torch.save(state, metadata={"format": "pt"})


def _metrics(directory: Path, metrics: Any) -> Mapping[str, Any]:
    """Figures for the card."""
    if metrics is not None:
        return metrics.to_dict() if hasattr(metrics, "to_dict") else metrics  # type: ignore[no-any-return]
    try:
        found = json.loads((directory / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _build(config: Mapping[str, Any], allow: Sequence[str] | None, path: Path,
           wanted: type[SequenceVAE]) -> SequenceVAE:
    described = config["model"]
    cls = import_name(described.get("class_path"), allow, f"{path}: model")
    if not (isinstance(cls, type) and issubclass(cls, SequenceVAE)):
        raise ValueError(f"{path}: model must be a subclass of pyro_rvae.SequenceVAE, got {described['class_path']}")
    if not issubclass(cls, wanted):
        raise ValueError(f"{path}: model is a {cls.__name__}, and no {wanted.__name__}: call {cls.__name__}"
                         ".from_pretrained, or rv.from_pretrained, which takes any model")
    try:
        model: SequenceVAE = resolve(described, allow, cls.__name__)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: model: {error}") from error
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
            reason = f"{type(model).__name__}.{name} is {kinds[0]}, where its constructor built {kinds[1]}"
            raise Unnameable(reason, f"{reason}: a part that was replaced later cannot be saved by name. Give it to "
                             "the constructor.")


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
