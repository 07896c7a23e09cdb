"""What a model's arguments must be, and the messages that say so."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any

import torch
from pyro.infer.util import is_validation_enabled
from torch import Tensor

from .handlers import enumerating, is_explicit, trust

__all__ = ["check_arguments", "check_count", "check_known", "check_seed", "sites_to_sum"]


def check_count(name: str, value: Any, least: int = 1, *, hint: str = "") -> None:
    """Refuse what is no integer of at least ``least`` (NumPy's too); ``hint`` says what else the argument may be."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}{hint}, got {value!r}.")


def check_seed(caller: str, seed: Any) -> int:
    """The seed as Python's integer, from 0 to 2**63 - 1; all else is refused, in the name of ``caller``.

    Raises:
        TypeError: it is no integer (of Python or NumPy), such as None or 1.5.
        ValueError: it is below 0, or too large for a random generator.
    """
    if isinstance(seed, bool) or not isinstance(seed, Integral):
        raise TypeError(f"{caller}: seed must be an integer of at least 0, got {seed!r}: another seed gives other "
                        "draws, the same one the same.")
    number = int(seed)
    if not 0 <= number < 2**63:
        raise ValueError(f"{caller}: seed must be from 0 to 2**63 - 1, got {seed}.")
    return number


def check_weight(name: str, value: Any, *, zero: bool = True, hint: str = "") -> None:
    """Refuse what is no finite number of at least 0 (above 0, with ``zero=False``)."""
    number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if not number or value < 0 or (value == 0 and not zero):
        raise ValueError(f"{name} must be a finite number {'of at least' if zero else 'above'} 0, got {value!r}{hint}.")


def check_arguments(model: Any, x: Tensor | None, mask: Tensor | None, size: tuple[int, ...] | None,
                    controls: Tensor | None, labels: Tensor | None) -> tuple[Tensor | None, int, int]:
    """Batch size and length of a call; and x with its padding cleared, so that nothing there is ever read.

    Shapes and types are always checked; values are where Pyro's validation is on and the data aren't ``trusted``.
    """
    name = type(model).__name__
    if x is None and size is None:
        raise ValueError(f"{name}.model needs data x (B, T, x_dim), or size=(B, T) to generate.")
    if x is not None:
        _check_frames(model, name, x)
    batch, length = _sizes(model, name, x, size)
    _check_companions(model, name, batch, length, mask, controls, labels)
    if trust() is None and is_validation_enabled():
        _check_mask(name, mask)
        _check_values(model, name, x, mask)
        _check_controls(name, controls, mask)
        _check_labels(model, name, labels)
    if x is not None and mask is not None:
        inside = mask[:, : x.shape[1]].unsqueeze(-1)
        x = torch.where(inside, x, torch.zeros_like(x))
    return x, batch, length


def check_known(name: str, values: dict[str, Any], batch: int, length: int) -> None:
    """Beginnings of latent paths (``given``)."""
    for site, value in values.items():
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        fits = isinstance(value, Tensor) and value.dim() >= 3 and value.shape[-3] == batch
        if not fits or not 1 <= value.shape[-2] <= length:
            raise ValueError(f"{name}: given({site}=...) must be a tensor (B, T0, d) with B = {batch} and T0 from 1 to "
                             f"{length}, got {shape}.")


def sites_to_sum(names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of a model's ``summed_out`` sites that a handler sums out: all, or none where there is no such handler."""
    if not (names and enumerating()):
        return ()
    if not is_explicit():
        raise RuntimeError(f"{list(names)} can be summed out one step at a time only: call TraceEnum_ELBO (or fit with "
                           "it) within `with rv.explicit():`; or use Trace_ELBO, for which the guide draws them.")
    return names


def _check_frames(model: Any, name: str, x: Any) -> None:
    """Rank, width and type of the data."""
    x_dim = getattr(model, "x_dim", None)
    whole = not model.static or x_dim is not None  # a static model of vectors has no further dims
    rank = 2 if model.static else 3
    if not isinstance(x, Tensor) or x.dim() < rank or (whole and x.dim() > rank):
        shape = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        expected = "(B, T, x_dim)" if not model.static else "(B, x_dim)" if whole else "(B, *event_shape)"
        raise ValueError(f"{name}: expected x as a tensor {expected}, got {shape}.")
    if x_dim is not None and x.shape[-1] != x_dim:
        raise ValueError(f"{name} was built for frames of x_dim={x_dim}, got x {tuple(x.shape)}.")
    if 0 in x.shape[:rank]:
        raise ValueError(f"{name}: x is empty, {tuple(x.shape)}; at least one sequence of one frame is needed.")
    weights = next(model.parameters(), None)
    if x.is_floating_point() and weights is not None and x.dtype != weights.dtype:
        raise ValueError(f"{name}: x is {x.dtype} and the model's weights are {weights.dtype} (NumPy's default is "
                         f"float64); pass x.to({weights.dtype}), or convert the model.")
    codes = hasattr(model.reader, "classes")
    if codes and x.dtype != torch.long:
        raise ValueError(f"{name}: categories are integer codes, torch.long (-1 is missing), got x of {x.dtype}.")
    if not codes and x.dtype in (torch.bool, torch.uint8):
        raise ValueError(f"{name}: expected x of floating point, got {x.dtype}; pass x.to(torch.get_default_dtype()).")


def _sizes(model: Any, name: str, x: Tensor | None, size: Any) -> tuple[int, int]:
    """Sequences and steps of the call."""
    if size is None:
        assert x is not None
        return x.shape[0], x.shape[1]
    counts = (1, 2) if model.static else (2,)  # for static data a T says nothing
    if not isinstance(size, tuple | list) or len(size) not in counts or not all(n >= 1 for n in size):
        raise ValueError(f"{name}: size must be {'(B,)' if model.static else '(B, T)'}, positive integers; got {size}.")
    if x is not None and (x.shape[0] != size[0] or (not model.static and x.shape[1] > size[1])):
        raise ValueError(f"{name}: size={tuple(size)} must have x's batch size and at least its length; "
                         f"x is {tuple(x.shape)}.")
    return size[0], size[-1]


def _check_companions(model: Any, name: str, batch: int, length: int, mask: Any, controls: Any, labels: Any) -> None:
    for what, given in (("mask", mask), ("controls", controls), ("labels", labels)):
        if given is not None and not isinstance(given, Tensor):
            raise ValueError(f"{name}: {what} must be a tensor, got {type(given).__name__}.")
        if given is not None and model.static and what != "labels":
            raise ValueError(f"{name}: static data have no time, so {what} must be None; got {tuple(given.shape)}.")
    for what, given in (("mask", mask), ("controls", controls)):
        if given is not None and given.shape[:2] != (batch, length):
            raise ValueError(f"{name}: {what} must start with (B, T) = {(batch, length)}, got {tuple(given.shape)}.")
    if controls is not None and controls.dim() != 3:
        raise ValueError(f"{name}: controls must be (B, T, control_dim), got {tuple(controls.shape)}.")
    if labels is not None and (not labels.dim() or labels.shape[0] != batch):
        raise ValueError(f"{name}: labels must have one row a sequence, {batch}; got {tuple(labels.shape)}.")
    if mask is not None and mask.dtype != torch.bool:
        raise ValueError(f"{name}: mask must be boolean, True where a sequence has a frame; got {mask.dtype}.")


def _check_mask(name: str, mask: Tensor | None) -> None:
    if mask is None or mask.device.type == "meta":
        return
    wrong = (mask[:, 1:] & ~mask[:, :-1]).any(-1) | ~mask[:, 0]
    if bool(wrong.any()):
        raise ValueError(f"{name}: each row of mask must be True, then False (padding at the end, at least one "
                         f"frame); row {int(wrong.nonzero()[0])} is not. A gap inside a sequence is NaN in x.")


def _check_controls(name: str, controls: Tensor | None, mask: Tensor | None) -> None:
    if controls is None or controls.device.type == "meta":
        return
    wrong = ~controls.isfinite() if mask is None else ~controls.isfinite() & mask.unsqueeze(-1)
    if bool(wrong.any()):
        raise ValueError(f"{name}: controls must be finite, got {controls[wrong][0].item()} at "
                         f"{tuple(wrong.nonzero()[0].tolist())} (sequence, step, element); only x may have gaps.")


def _check_labels(model: Any, name: str, labels: Tensor | None) -> None:
    """Finite; NaN (unknown) is only for a head that learns labels, not for a model that is told them."""
    if labels is None or labels.device.type == "meta":
        return
    if not labels.is_floating_point():
        classes = getattr(model.context, "classes", None)
        if classes is None:
            return
        wrong = (labels < -1) | (labels >= classes)
        if bool(wrong.any()):
            raise ValueError(f"{name}: labels hold {int(labels[wrong][0])} at sequence {int(wrong.nonzero()[0][0])}; "
                             f"the model's context was built for codes 0..{classes - 1}, and -1 where one is unknown.")
        return
    wrong = ~labels.isfinite() if getattr(model.context, "reads_labels", False) else labels.isinf()
    if bool(wrong.any()):
        raise ValueError(f"{name}: labels must be finite, got {labels[wrong][0].item()} at "
                         f"{tuple(wrong.nonzero()[0].tolist())}; only a head of rv.Supervised takes NaN (unknown).")


def _check_values(model: Any, name: str, x: Tensor | None, mask: Tensor | None) -> None:
    """No infinities, and no code that its embedding doesn't have, where a sequence has a frame."""
    if x is None or x.device.type == "meta":
        return
    classes = getattr(model.reader, "classes", None)
    wrong = x.isinf() if classes is None else (x < -1) | (x >= classes)
    if mask is not None:
        wrong = wrong & mask[:, : x.shape[1]].unsqueeze(-1)
    if not bool(wrong.any()):
        return
    where = tuple(wrong.nonzero()[0].tolist())
    axes = "(sequence, element)" if model.static else "(sequence, step, element)"
    if classes is None:
        raise ValueError(f"{name}: x is infinite at {where} {axes}; a missing element is NaN.")
    raise ValueError(f"{name}: x holds {int(x[where])} at {where} {axes}; its codes are 0..{classes - 1}, "
                     "and -1 where one is missing.")
