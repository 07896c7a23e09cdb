"""Contexts and handlers around a model. With coroutine.py the only file that knows Pyro's message stack."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import torch
from pyro.poutine.enum_messenger import EnumMessenger
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import _DIM_ALLOCATOR, _PYRO_STACK
from torch import Tensor

__all__ = ["Anneal", "Site", "annealed", "auxiliary_weight", "enumerating", "explicit", "given", "peek", "secluded",
           "trusted", "vectorised", "watched_labels", "weighted_auxiliaries"]

_explicit: ContextVar[bool] = ContextVar("explicit", default=False)
_trusted: ContextVar[bool | None] = ContextVar("trusted", default=None)
_known: ContextVar[dict[str, Tensor]] = ContextVar("known", default={})  # noqa: B039 (never mutated)
_auxiliary: ContextVar[float | Tensor] = ContextVar("auxiliary", default=1.0)
_reads: ContextVar[Any] = ContextVar("reads", default=deque(maxlen=0))  # noqa: B039 (it keeps nothing)


@contextmanager
def _set(variable: ContextVar[Any], value: Any) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


@contextmanager
def explicit() -> Iterator[None]:
    """Within it every ``for t in steps`` is a plain ``pyro.markov`` loop, one Pyro site a step.

    The sites are named ``z_0, z_1, ...``. It is the oracle of the vectorised reading, and the form for
    enumeration, ``do``, ``reparam`` and any handler that works step by step. A body's equations are the same.
    """
    with _set(_explicit, True):
        yield


@contextmanager
def vectorised() -> Iterator[None]:
    """Within it the default reading, whatever is around: for a verb that reads whole paths from a trace."""
    with _set(_explicit, False):
        yield


def is_explicit() -> bool:
    return _explicit.get()


@contextmanager
def trusted(*, missing: bool) -> Iterator[None]:
    """The caller has checked the data: a call reads no tensor back to the host, so that it never waits for a GPU.

    Arguments:
        missing: whether x may hold missing elements (NaN, or -1 in codes).
    """
    with _set(_trusted, missing):
        yield


@contextmanager
def given(**values: Tensor) -> Iterator[None]:
    """The beginnings ``(B, T0, d)`` of latent paths, known from a guide: a longer ``size`` draws what follows.

    ``with given(z=z_past): model.model(x_past, size=(B, T0 + 24))`` forecasts 24 steps, in both readings. A model
    that takes whole paths takes them from any Pyro handler (``condition``, ``replay``).
    """
    with _set(_known, dict(values)):
        yield


def known_values() -> dict[str, Tensor]:
    return _known.get()


@contextmanager
def watched_labels() -> Iterator[list[bool]]:
    """Yields a list that is empty until a model reads its labels, by its context or as ``steps.labels``."""
    read: list[bool] = []
    with _set(_reads, read):
        yield read


def labels_are_read() -> None:
    """Said by whoever reads them."""
    _reads.get().append(True)


def trust() -> bool | None:
    """``None``: check everything. Else the data were checked, and this says whether x may have gaps."""
    return _trusted.get()


@contextmanager
def weighted_auxiliaries(weight: float | Tensor) -> Iterator[None]:
    """Multiply each auxiliary cost of a model (:meth:`Steps.auxiliary`), and each penalty of a loss, by ``weight``."""
    with _set(_auxiliary, weight):
        yield


def auxiliary_weight() -> float | Tensor:
    return _auxiliary.get()


def enumerating() -> bool:
    """Whether a handler around us sums discrete sites out (that of TraceEnum_ELBO, say)."""
    return any(isinstance(handler, EnumMessenger) for handler in _PYRO_STACK)


def noise_is_given() -> bool:
    """Whether a handler around us draws from noise of its own (:func:`~pyro_rvae.core.noise.given_noise`)."""
    return any(getattr(handler, "gives_noise", False) for handler in _PYRO_STACK)


class Anneal(Messenger):
    """Multiply the log-density of every latent site, in model and guide, by ``weight``: the KL weight, beta.

    ``weight`` is a number or a tensor (a tensor may change between calls without a host read). The scales of
    observed sites stay as they are, and so do those of sites that TraceEnum_ELBO sums out, which have no KL.
    Source: Bowman et al. (2016), arXiv:1511.06349; Higgins et al. (2017), beta-VAE.
    """

    def __init__(self, weight: float | Tensor) -> None:
        super().__init__()
        self.weight = weight

    def _pyro_sample(self, msg: Any) -> None:
        if not msg["is_observed"] and not msg["infer"].get("exact"):
            msg["scale"] = msg["scale"] * self.weight


def annealed(weight: float | Tensor) -> Anneal:
    """``with annealed(0.1): loss(batch)``: the ELBO with KL weight 0.1."""
    return Anneal(weight)


@contextmanager
def secluded() -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Within it a program runs on its own: no handler around sees it, and no plate around takes a dim from it.

    Yields a context within which the handlers around are back, so that they can be asked (see :func:`peek`).
    """
    handlers, dims = _PYRO_STACK[:], _DIM_ALLOCATOR._stack

    @contextmanager
    def outside() -> Iterator[None]:
        inner = _PYRO_STACK[:]
        _PYRO_STACK[:] = handlers
        try:
            yield
        finally:
            _PYRO_STACK[:] = inner

    _PYRO_STACK.clear()
    _DIM_ALLOCATOR._stack = []
    try:
        yield outside
    finally:
        _PYRO_STACK[:], _DIM_ALLOCATOR._stack = handlers, dims


# ------------------------------------------------------------------------------------------------ asking handlers
class _Unfixed(Exception):
    """Raised by whoever would have to sample: so nobody has fixed the value."""


class Question(dist.TorchDistribution):
    """Stands in for a site's distribution while we only ask; it can't be sampled."""

    arg_constraints: dict[str, Any] = {}
    support = dist.constraints.real
    has_rsample = True

    def __init__(self, discrete: bool = False) -> None:
        super().__init__(validate_args=False)
        self.has_enumerate_support = discrete  # so that a handler that sums it out asks for its values

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        raise _Unfixed

    def enumerate_support(self, expand: bool = True) -> Tensor:
        raise NotImplementedError("time is in the event shape, so there are too many values to enumerate")

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        raise _Unfixed

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> Question:
        return self


@dataclass(frozen=True)
class Site:
    """What the handlers around us say of a site before it is drawn."""

    value: Tensor | None  # fixed from outside, or None
    observed: bool
    batch_shape: torch.Size
    scale: float | Tensor = 1.0  # by which its log-density counts


def peek(name: str, value: Tensor | None = None, *, discrete: bool = False, exact: bool = False) -> Site:
    """Ask the handlers about the site ``name``, whose data are ``value``, without sampling or recording it.

    This is the first half of ``pyro.poutine.runtime.apply_stack``: each handler may process the message, then
    nothing more happens.
    """
    msg: Any = {
        "type": "sample", "name": name, "fn": Question(discrete), "is_observed": value is not None, "value": value,
        "args": (), "kwargs": {}, "infer": {"exact": exact}, "scale": 1.0, "mask": None, "cond_indep_stack": (),
        "done": False, "stop": False, "continuation": None,
    }
    for handler in reversed(_PYRO_STACK):
        try:
            handler._process_message(msg)
        except _Unfixed:
            continue
        except Exception as error:
            raise RuntimeError(f"{type(handler).__name__} can't work on site {name!r} of the vectorised form "
                               f"({error}); run the model within `explicit()` to use it.") from error
        if msg["stop"]:
            break
    sizes = {frame.dim: frame.size for frame in msg["cond_indep_stack"] if frame.vectorized}
    shape = torch.Size(sizes.get(d, 1) for d in range(min(sizes, default=0), 0))
    return Site(msg["value"], msg["is_observed"], shape, msg["scale"])
