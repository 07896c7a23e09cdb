"""Given noise: every reparametrised draw from noise that a site, sequence and step tell."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import pyro.distributions as dist
import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from .handlers import Question
from .tempering import law_to_draw
from .traces import in_batch

__all__ = ["MeanPath", "Noise", "draw_from", "given_noise", "mean_path", "noise_source", "rsample_from",
           "without_noise"]

_noise: ContextVar[Noise | None] = ContextVar("noise", default=None)


class Noise(Messenger):
    """Standard noise by site, sequence and step: every reading draws the same values (see ``given_noise``)."""

    gives_noise = True

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
        if msg["value"] is not None or type(msg["fn"]).__name__ == "_Subsample" or isinstance(msg["fn"], Question):
            return
        name, _, step = msg["name"].rpartition("_")
        fn, is_step = msg["fn"], name and step.isdigit()
        if in_batch(msg):
            noise = self.normal(name if is_step else msg["name"], int(step) if is_step else None, fn.shape(),
                                -1 - fn.event_dim)
        else:  # drawn once a data set: it belongs to no sequence
            noise = self._draw(msg["name"], None, -1, fn.shape())
        msg["value"] = rsample_from(law_to_draw(name if is_step else msg["name"], fn), noise)


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
    """Draw everything from zero noise: a Gaussian at its mean, a discrete law at its mode, each given those before.

    So a guide's latents are a function of x (transformed Gaussians take what their mean is sent to, other continuous
    laws their mean). ``device``: where the zeros are made; default: the CPU.

    >>> with mean_path(): trace = poutine.trace(model.guide).get_trace(x)  # doctest: +SKIP
    """
    return MeanPath(device)


def noise_source() -> Noise | None:
    return _noise.get()


@contextmanager
def without_noise() -> Iterator[None]:
    """Within it no noise is given, whatever is around."""
    token = _noise.set(None)
    try:
        yield
    finally:
        _noise.reset(token)


def draw_from(law: Any, name: str, step: int | None, batch_shape: torch.Size) -> Tensor:
    """A draw for each sequence (and particle), from the noise that is given, if one is."""
    shape = torch.broadcast_shapes(law.batch_shape, batch_shape)
    source = noise_source()
    if source is not None:
        return rsample_from(law, source.normal(name, step, shape + law.event_shape))
    return (law if law.batch_shape == shape else law.expand(shape))()  # type: ignore[no-any-return]


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
    if isinstance(noise_source(), MeanPath):
        return _centre(fn)
    raise TypeError(f"given_noise can't draw from {type(fn).__name__}: it isn't a transformed Gaussian. Compare "
                    "densities at equal values instead.")


def _centre(fn: Any) -> Tensor:
    """Where zero noise stands for a law that no Gaussian is sent to."""
    try:
        if not fn.support.is_discrete:
            return fn.mean  # type: ignore[no-any-return]
        mode: Tensor = fn.mode
        return mode.nan_to_num(0.0)  # torch's Bernoulli has none at 1/2
    except NotImplementedError:
        pass
    try:
        return fn.mean.round()  # type: ignore[no-any-return]
    except NotImplementedError as error:
        raise ValueError(f"{type(fn).__name__} has neither a mean nor a most probable value in closed form (its "
                         "elements depend on each other): draw from it (mean=False), and average draws where a mean "
                         "is needed.") from error
