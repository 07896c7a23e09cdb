"""The names under which an instance's parameters stand in Pyro's parameter store."""

from __future__ import annotations

from contextlib import nullcontext
from itertools import count
from typing import Any
from weakref import WeakKeyDictionary

import pyro
from pyro.infer.autoguide import AutoGuide
from pyro.poutine.runtime import am_i_wrapped
from torch import nn

from .contexts import is_registered

__all__ = ["apart", "register"]

_names: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()
_entries: WeakKeyDictionary[nn.Module, set[str]] = WeakKeyDictionary()  # what an instance has put in Pyro's store
_numbers = count()


def register(module: nn.Module) -> None:
    """Put a module's parameters in Pyro's store, under a name that belongs to this instance alone.

    A copy is another instance, so it gets another name; a parameter that was replaced (``load_state_dict(assign=
    True)``) is registered again.
    """
    if not (is_registered() and am_i_wrapped()):
        return
    name = _names.get(module)
    if name is None:
        name = _names[module] = f"{type(module).__name__}#{next(_numbers)}"
    store, ours = pyro.get_param_store(), _entries.setdefault(module, set())
    for key, parameter in module.named_parameters():
        if parameter.requires_grad:
            full = f"{name}$$${key}"
            if full in store and store[full].unconstrained() is not parameter:  # type: ignore[attr-defined]
                if full not in ours:
                    raise RuntimeError(f"Pyro's store holds {full!r}, which this {type(module).__name__} did not put "
                                       "there (was the store loaded from a file?), and the model's own weights are "
                                       "others. Save and load weights with save_pretrained, or state_dict; then "
                                       "pyro.clear_param_store().")
                del store[full]
            ours.add(full)
            if pyro.param(full, parameter) is not parameter:
                raise RuntimeError(f"a handler (lift, substitute) replaced parameter {key!r}, which a network of "
                                   f"{type(module).__name__} holds: it would have no effect, in either form. A weight "
                                   f"with a prior is drawn in `shared`.")


def apart(program: Any) -> Any:
    """Where an AutoGuide keeps its parameters to itself.

    By its own names in Pyro's store ("AutoNormal.locs.w") two models would train one guide between them; they are
    parameters of the model, and registered under its name.
    """
    return pyro.get_param_store().scope() if isinstance(program, AutoGuide) else nullcontext()
