"""Parts of a model by name: from objects to what YAML can hold, and back. Never pickle.

Numbers, strings, ``None``, lists and mappings stand for themselves. The rest is one of three mappings:

- ``{name: pyro_rvae.LSTM}``: the class or function itself;
- ``{partial: pyro_rvae.GatedNormal, init_args: {hidden: 200}}``: a ``functools.partial`` of it;
- ``{class_path: pyro_rvae.Reader, init_args: {x_dim: 88}}``: an object, built by calling it.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import types
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn

__all__ = ["TRUSTED", "Unnameable", "describe", "import_name", "init_arguments", "name_of", "packages_of", "resolve"]

TRUSTED = ("pyro_rvae", "torch.nn", "torch.distributions", "pyro.distributions", "pyro.infer.autoguide",
           "pyro.contrib.gp.kernels")
# Where a trusted name must be defined: a part is no file to write, nor a module that such a module imports.
DEFINED = (*(f"pyro_rvae.{layer}" for layer in ("nn", "distributions", "priors", "core", "models")), *TRUSTED[1:])
SHORT = ("pyro_rvae", "torch.nn", "pyro.distributions")  # where a class has a short public name
FORMS = ("name", "partial", "class_path")


def describe(value: Any, where: str = "model") -> Any:
    """What YAML can hold of a part.

    :param where: what it is to the model, for the error.
    :raises ValueError: if it (or something in it) cannot be found by name again: a lambda, a local class, a
        tensor, an object of which the constructor's arguments are not known.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, tuple, range)):
        return [describe(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        return _describe_mapping(value, where)
    if isinstance(value, functools.partial):
        described = {"partial": name_of(value.func, where)}
        if value.args:
            described["args"] = describe(value.args, where)
        return described | {"init_args": describe(value.keywords, where)}
    if isinstance(value, (type, types.FunctionType)):
        return {"name": name_of(value, where)}
    arguments = init_arguments(value)
    if arguments is None:
        raise _unnameable(where, f"a {type(value).__name__} whose constructor's arguments are not known")
    given = {key: describe(item, f"{where}.{key}") for key, item in arguments.items()}
    return {"class_path": name_of(type(value), where), "init_args": given | _defaults(type(value), given)}


def _defaults(cls: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """What else the constructor took: written down too, lest a later version has other defaults."""
    found = {}
    for name, parameter in _signature(cls).parameters.items():
        if name not in given and parameter.default is not parameter.empty:
            with contextlib.suppress(ValueError):  # a default that has no name is found where the class is
                found[name] = describe(parameter.default, name)
    return found


def _describe_mapping(value: Mapping[Any, Any], where: str) -> dict[str, Any]:
    if not all(isinstance(key, str) for key in value) or any(form in value for form in FORMS):
        raise _unnameable(where, f"a mapping with the keys {list(value)} (strings other than {FORMS} are possible)")
    return {key: describe(item, f"{where}.{key}") for key, item in value.items()}


def init_arguments(value: Any) -> dict[str, Any] | None:
    """The arguments an object was built with, by name; ``None`` if they are not known.

    They are what it recorded (``init_arguments``: a :class:`~pyro_rvae.SequenceVAE` and a :class:`~pyro_rvae.Family`
    do). Another part of this library may keep each of them under its own name instead.
    """
    try:
        signature = _signature(type(value))
    except (TypeError, ValueError):
        return None
    recorded = vars(value).get("init_arguments") if hasattr(value, "__dict__") else None
    if recorded is not None:
        return _by_name(signature, *recorded)
    if not isinstance(value, nn.Module) or not _within(type(value).__module__, ("pyro_rvae",)):
        return None
    found = {name: getattr(value, name, inspect.Parameter.empty) for name in signature.parameters}
    plain = all(item is None or isinstance(item, (bool, int, float, str)) for item in found.values())
    return found if plain else None


def _signature(cls: type) -> inspect.Signature:
    """Of the constructor, without self (a metaclass may hide it from ``inspect.signature(cls)``)."""
    whole = inspect.signature(cls.__init__)  # type: ignore[misc]
    return whole.replace(parameters=list(whole.parameters.values())[1:])


def _by_name(signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    bound = signature.bind(*args, **kwargs).arguments
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            bound.update(bound.pop(parameter.name, {}))
        elif parameter.kind is parameter.VAR_POSITIONAL and bound.pop(parameter.name, ()):
            raise ValueError(f"a constructor with *{parameter.name} cannot be saved by name: name its arguments")
    return dict(bound)


def name_of(target: Any, where: str = "model") -> str:
    """The dotted path of a class or function, the public one if it has one."""
    module, qualname = getattr(target, "__module__", None), getattr(target, "__qualname__", "")
    for public in SHORT:
        if getattr(importlib.import_module(public), qualname, None) is target:
            return f"{public}.{qualname}"
    if module == "__main__":
        raise _unnameable(where, f"{qualname}, which was written in the script itself (__main__)")
    path = f"{module}.{qualname}"
    try:
        if _find(path) is target:
            return path
    except ValueError:
        pass
    raise _unnameable(where, f"{qualname or type(target).__name__}, which no dotted path leads to")


class Unnameable(ValueError):
    """A part has no name; ``reason`` says which and why, without what to do."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def _unnameable(where: str, what: str) -> Unnameable:
    return Unnameable(
        f"{where} is {what}",
        f"{where} is {what}: it cannot be saved by name. Give a class or function of a module (or a "
        "functools.partial of it, with its arguments), numbers, strings, lists; or save the weights alone with "
        "rv.tasks.save_weights(model, path), and load them with rv.tasks.load_weights(the model built by your code, "
        "path)."
    )


def resolve(described: Any, allow: Sequence[str] | None = (), where: str = "model") -> Any:
    """The part that :func:`describe` described.

    :param allow: packages that may be imported beside ``pyro_rvae``, ``torch.nn`` and ``pyro.distributions``;
        ``None``: any (the names come from the user, not from a file).
    :raises ValueError: for a name that is not allowed, does not exist, or cannot be built with its arguments.
    """
    if isinstance(described, (list, tuple)):
        return [resolve(item, allow, f"{where}[{i}]") for i, item in enumerate(described)]
    if not isinstance(described, Mapping):
        return described
    form = next((form for form in FORMS if form in described), None)
    if form is None:
        return {key: resolve(item, allow, f"{where}.{key}") for key, item in described.items()}
    target = import_name(described[form], allow, where)
    if form == "name":
        return target
    given, positional = described.get("init_args") or {}, described.get("args") or []
    if not isinstance(given, Mapping) or not isinstance(positional, list | tuple):
        raise ValueError(f"{where}: init_args must be a mapping from argument to value (and args a list), got "
                         f"{given!r}")
    args = [resolve(item, allow, where) for item in positional]
    kwargs = {k: resolve(item, allow, f"{where}.{k}") for k, item in given.items()}
    if form == "partial":
        return functools.partial(target, *args, **kwargs)
    try:
        return target(*args, **kwargs)
    except TypeError as error:
        names = sorted(map(str, kwargs))
        raise ValueError(f"{where} cannot be built as {described[form]} with {names}: {error}") from error


def packages_of(described: Any) -> tuple[str, ...]:
    """The packages that would have to be allowed to :func:`resolve` what :func:`describe` described, sorted."""
    found: set[str] = set()
    if isinstance(described, list | tuple):
        found.update(*map(packages_of, described))
    elif isinstance(described, Mapping):
        found.update(*map(packages_of, described.values()))
        paths = (str(described[form]) for form in FORMS if form in described)
        found |= {path.partition(".")[0] for path in paths if "." in path and not _within(path, TRUSTED)}
    return tuple(sorted(found))


def import_name(path: Any, allow: Sequence[str] | None = (), where: str = "model") -> Any:
    """The class or function of that dotted path; a short name is one of ``pyro_rvae`` or ``torch.nn``."""
    if not isinstance(path, str) or not all(part.isidentifier() for part in path.split(".")):
        raise ValueError(f"{where} must be a dotted path such as 'mypkg.MyPrior', got {path!r}")
    if "." not in path:
        return _short(path, where)
    if allow is not None and not _within(path, (*TRUSTED, *allow)):
        raise _untrusted(path, where)
    target = _find(path, where)
    home = str(getattr(target, "__module__", None))
    if allow is not None and not _within(f"{home}.", (*DEFINED, *allow)):
        if not _within(path, allow):
            raise _untrusted(path, where)
        raise ValueError(f"{where} names {path}, which is defined in {home!r} and not in the package that is trusted: "
                         f"a part of a model is a class or function of its own package; trust {home!r} too only if "
                         "you know why a model needs it.")
    return target


def _short(name: str, where: str) -> Any:
    for public in SHORT:
        target = getattr(importlib.import_module(public), name, None)
        if isinstance(target, (type, types.FunctionType, functools.partial)):
            return target
    raise ValueError(f"{where}: pyro_rvae has no {name!r}; for your own write its dotted path, as mypkg.{name}")


def _within(path: str, packages: Sequence[str]) -> bool:
    return any(path.startswith(f"{package}.") for package in packages)


def _untrusted(path: str, where: str) -> ValueError:
    package = path.partition(".")[0]
    return ValueError(
        f"{where} names {path}, which is outside {', '.join(TRUSTED)}: importing it runs its code. If you trust "
        f"{package!r}, pass allow=({package!r},), or --trust {package} on the command line."
    )


def _find(path: str, where: str = "model") -> Any:
    """Import the longest prefix that is a module, then look the rest up."""
    parts = path.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:cut])
        try:
            target: Any = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is not None and not f"{name}.".startswith(f"{error.name}."):
                raise ValueError(f"{where}: importing {name} failed: {error}") from error
            continue
        try:
            target = functools.reduce(getattr, parts[cut:], target)
        except AttributeError:
            raise ValueError(f"{where}: the module {name} has no {'.'.join(parts[cut:])!r}; check the name") from None
        if not callable(target):
            raise ValueError(f"{where}: {path} is a {type(target).__name__}, where a class or function is wanted")
        return target
    raise ValueError(f"{where}: there is no module {parts[0]!r} to import {path} from; is it installed, or in this "
                     "folder?")
