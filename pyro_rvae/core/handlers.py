"""Contexts and handlers around a model. The only file that knows Pyro's message stack."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import torch
from pyro.poutine.enum_messenger import EnumMessenger
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import _PYRO_STACK
from torch import Tensor

from .traces import in_batch

__all__ = ["Anneal", "Noise", "Site", "annealed", "auxiliary_weight", "enumerating", "explicit", "given", "given_noise",
           "mean_path", "peek", "trusted", "vectorised", "weighted_auxiliaries"]

_explicit: ContextVar[bool] = ContextVar("explicit", default=False)
_trusted: ContextVar[bool | None] = ContextVar("trusted", default=None)
_known: ContextVar[dict[str, Tensor]] = ContextVar("known", default={})  # noqa: B039 (never mutated)
_noise: ContextVar[Noise | None] = ContextVar("noise", default=None)
_auxiliary: ContextVar[float | Tensor] = ContextVar("auxiliary", default=1.0)


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


# ------------------------------------------------------------------------------------------------ asking handlers
class _Unfixed(Exception):
    """Raised by whoever would have to sample: so nobody has fixed the value."""


class _Question(dist.TorchDistribution):
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

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> _Question:
        return self


@dataclass(frozen=True)
class Site:
    """What the handlers around us say of a site before it is drawn."""

    value: Tensor | None  # fixed from outside, or None
    observed: bool
    batch_shape: torch.Size


def peek(name: str, value: Tensor | None = None, *, discrete: bool = False) -> Site:
    """Ask the handlers about the site ``name``, whose data are ``value``, without sampling or recording it.

    This is the first half of ``pyro.poutine.runtime.apply_stack``: each handler may process the message, then
    nothing more happens.
    """
    msg: Any = {
        "type": "sample", "name": name, "fn": _Question(discrete), "is_observed": value is not None, "value": value,
        "args": (), "kwargs": {}, "infer": {}, "scale": 1.0, "mask": None, "cond_indep_stack": (), "done": False,
        "stop": False, "continuation": None,
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
    return Site(msg["value"], msg["is_observed"], shape)


# ------------------------------------------------------------------------------------------------ given noise
class Noise(Messenger):
    """Standard noise by site, sequence and step: every reading draws the same values (see ``given_noise``)."""

    def __init__(self, seed: int, sequences: Tensor | None) -> None:
        super().__init__()
        self.seed, self.sequences = seed, sequences

    def __enter__(self) -> Any:
        self._token = _noise.set(self)
        return super().__enter__()

    def __exit__(self, *args: Any) -> Any:
        _noise.reset(self._token)
        return super().__exit__(*args)

    def normal(self, name: str, step: int | None, shape: torch.Size, dim: int = -2) -> Tensor:
        """Noise ``shape = (..., B, *event)`` of one site at one step, ``dim`` that of the sequences.

        Each sequence has its own generator.
        """
        ids = range(shape[dim]) if self.sequences is None else self.sequences.tolist()
        rest = shape[:dim] + shape[dim:][1:]
        return torch.stack([self._draw(name, step, i, rest) for i in ids], dim)

    def _draw(self, name: str, step: int | None, sequence: int, shape: torch.Size) -> Tensor:
        key = (self.seed, *name.encode(), -1 if step is None else step, sequence)
        generator = torch.Generator("cpu").manual_seed(hash(key) % 2**62)
        return torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu")

    def path(self, name: str, length: int, shape: torch.Size) -> Tensor:
        """The noise of all steps, ``(..., B, T, d)``, for ``shape = (..., B, d)``."""
        return torch.stack([self.normal(name, t, shape) for t in range(length)], -2)

    def _pyro_sample(self, msg: Any) -> None:
        if msg["value"] is not None or type(msg["fn"]).__name__ == "_Subsample" or isinstance(msg["fn"], _Question):
            return
        name, _, step = msg["name"].rpartition("_")
        fn, is_step = msg["fn"], name and step.isdigit()
        if in_batch(msg):
            noise = self.normal(name if is_step else msg["name"], int(step) if is_step else None, fn.shape(),
                                -1 - fn.event_dim)
        else:  # drawn once a data set: it belongs to no sequence
            noise = self._draw(msg["name"], None, -1, fn.shape())
        msg["value"] = rsample_from(fn, noise)


def given_noise(seed: int = 0, sequences: Tensor | None = None) -> Noise:
    """Draw every reparametrised latent from noise that depends on (seed, site, sequence, step) only.

    It lets two readings, or two ways to pad, be compared number by number. ``sequences (B,)`` names the
    sequences of the batch; by default they are 0..B-1. For Gaussian draws and those transformed from them.

    >>> with given_noise(0): loss = pyro.infer.Trace_ELBO().loss(model.model, model.guide, x)  # doctest: +SKIP
    """
    return Noise(seed, sequences)


class MeanPath(Noise):
    """The noise that is zero everywhere (see ``mean_path``)."""

    def __init__(self, device: torch.device | None) -> None:
        super().__init__(0, None)
        self.device = device or torch.device("cpu")

    def normal(self, name: str, step: int | None, shape: torch.Size, dim: int = -2) -> Tensor:
        return torch.zeros(shape, device=self.device)

    def path(self, name: str, length: int, shape: torch.Size) -> Tensor:
        return torch.zeros(*shape[:-1], length, shape[-1], device=self.device)

    def _draw(self, name: str, step: int | None, sequence: int, shape: torch.Size) -> Tensor:
        return torch.zeros(shape, device=self.device)


def mean_path(device: torch.device | None = None) -> MeanPath:
    """Draw every latent from zero noise: a Gaussian at its mean, a discrete one at its mode, each given those before.

    So a guide's latents are a function of x (transformed Gaussians take what their mean is sent to). ``device``: where
    the zeros are made; default: the CPU.

    >>> with mean_path(): trace = poutine.trace(model.guide).get_trace(x)  # doctest: +SKIP
    """
    return MeanPath(device)


def noise_source() -> Noise | None:
    return _noise.get()


def rsample_from(fn: Any, noise: Tensor) -> Tensor:
    """The draw of ``fn`` that standard normal ``noise`` gives."""
    if isinstance(fn, (dist.Independent, dist.MaskedDistribution)):
        return rsample_from(fn.base_dist, noise)
    if isinstance(fn, dist.Normal):
        return fn.loc + fn.scale * noise.to(fn.loc)
    if hasattr(fn, "from_noise"):  # a law that says itself how it is drawn from as much noise as it has elements
        return fn.from_noise(noise)  # type: ignore[no-any-return]
    if isinstance(fn, dist.MultivariateNormal):
        return fn.loc + (fn.scale_tril @ noise.to(fn.loc).unsqueeze(-1)).squeeze(-1)
    if isinstance(fn, dist.Delta):
        return fn.v.expand(torch.broadcast_shapes(fn.v.shape, noise.shape))  # particles that it doesn't know of
    if isinstance(fn, torch.distributions.TransformedDistribution):
        value = rsample_from(fn.base_dist, noise)
        for transform in fn.transforms:
            value = transform(value)
        return value
    if isinstance(noise_source(), MeanPath) and not fn.has_rsample:
        return fn.mode
    raise TypeError(f"given_noise can't draw from {type(fn).__name__}: it isn't a transformed Gaussian. Compare "
                    "densities at equal values instead.")
