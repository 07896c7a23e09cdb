"""Penalties of a loss: functions ``(model, x, mask, **known) -> nats``, summed over the sequences of a batch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..core import SequenceVAE
from ..core.checks import check_weight
from ..core.contexts import unregistered
from ..core.noise import mean_path
from ..core.traces import guide_trace, in_batch, sites
from ..data import Batch

__all__ = ["Contractive"]

EXACT = 64  # code numbers a sequence up to which the rows of the Jacobian are taken one by one


@dataclass(frozen=True)
class Contractive:
    r"""``weight * sum over sequences of ||d c(x) / d x||_F^2``, with c(x) the code of a sequence.

    The code is what the guide draws for a sequence with every noise at zero (:func:`~pyro_rvae.core.mean_path`): of a
    Gaussian posterior its means, and where the guide feeds ``z_{t-1}`` back, the path of those means; of a
    deterministic autoencoder its codes. With codes :math:`c_1, \dots, c_S` at S steps, all derivatives count,

    .. math::
        \Omega(x) = w \sum_{s=1}^{S} \sum_{t=1}^{T} \Big\| \frac{\partial c_s}{\partial x_t} \Big\|_F^2

    so it is defined for each model that has latents; what is drawn once a data set, and discrete latents, are no
    part of the code. The derivative is by the frames as given: a missing element, a frame of the padding and a code of
    the padding contribute nothing. It is a part of an objective, not of a bound: ``Loss`` adds it in training mode
    alone. It costs one backward pass through the guide for each row (or probe), and one more for its gradient.

    Source: Rifai, Vincent, Muller, Glorot & Bengio (2011), "Contractive auto-encoders: explicit invariance during
    feature extraction", ICML, equations 5 to 7 (static codes; a sigmoid layer has a closed form). We differ in the
    codes of sequences, and in estimating a large Jacobian with random signs v (Hutchinson 1990, Communications in
    Statistics 19): :math:`E \| v^\top J \|^2 = \| J \|_F^2`.

    Arguments:
        weight: nats for a squared Frobenius norm of 1; at least 0.
        probes: how many random v a sequence. ``None``: the exact norm where a code has up to 64 numbers, else one v.

    Errors: TypeError for x of integer codes; ValueError for a model without continuous latents.

    >>> rv.fit(rv.AE.for_data(data), data, penalty=rv.Contractive(0.1))  # doctest: +SKIP
    """

    weight: float
    probes: int | None = None

    def __post_init__(self) -> None:
        check_weight("Contractive: weight", self.weight)
        if self.probes is not None and (not isinstance(self.probes, int) or self.probes < 1):
            raise ValueError(f"Contractive: probes must be an integer of at least 1, or None (exact for small codes), "
                             f"got {self.probes!r}.")

    def __call__(self, model: SequenceVAE, x: Tensor, mask: Tensor | None = None, **known: Any) -> Tensor:
        """The penalty of a batch in nats, a scalar that can be trained on."""
        training = torch.is_grad_enabled()
        with torch.enable_grad(), _twice_differentiable():
            frames, code = self.code(model, x, mask, **known)
            total = self._squares(frames, code, keep=training)
        return self.weight * total

    @staticmethod
    def code(model: SequenceVAE, x: Tensor, mask: Tensor | None = None, **known: Any) -> tuple[Tensor, Tensor]:
        """The frames as a leaf of the graph, shaped as x, and the codes ``(B, K)`` as a function of them."""
        if not x.is_floating_point():
            raise TypeError(f"Contractive: the penalty is a derivative by x, and x holds integer codes ({x.dtype}); "
                            "train on values of floating point, or without the penalty.")
        present = ~x.isnan()
        frames = torch.where(present, x, 0.0).detach().requires_grad_()
        given = torch.where(present, frames, torch.nan)  # the gaps are the reader's to fill
        with unregistered(), mean_path(x.device):
            trace = guide_trace(model, Batch(given, mask, **known))
        codes = [_within(site["fn"], site["value"]).flatten(1) for site in sites(trace, observed=False).values()
                 if in_batch(site) and not site["fn"].support.is_discrete]
        if not codes:
            raise ValueError(f"Contractive: {type(model).__name__} draws no continuous latent for a sequence, so it "
                             "has no code to contract.")
        return frames, torch.cat([value.expand(x.shape[0], -1) for value in codes], -1)

    def _squares(self, frames: Tensor, code: Tensor, *, keep: bool) -> Tensor:
        if not code.requires_grad:  # a guide that does not look at x
            return code.new_zeros(())
        batch, size = code.shape
        if self.probes is None and size <= EXACT:
            rows = torch.eye(size, dtype=code.dtype, device=code.device).unsqueeze(1).expand(-1, batch, -1)
        else:
            signs = torch.randint(0, 2, (self.probes or 1, batch, size), device=code.device)
            rows = (2.0 * signs - 1.0).to(code) / math.sqrt(self.probes or 1)
        return sum((squared_norm(frames, code, row, keep=keep) for row in rows), code.new_zeros(()))


def squared_norm(frames: Tensor, code: Tensor, direction: Tensor, *, keep: bool = True) -> Tensor:
    """``sum_b ||v_b^T dc_b / dx_b||^2`` for directions v ``(B, K)``: sequences do not depend on one another."""
    slope, = torch.autograd.grad(code, frames, direction, create_graph=keep, retain_graph=True, allow_unused=True)
    return code.new_zeros(()) if slope is None else slope.square().sum()


def _within(fn: Any, value: Tensor) -> Tensor:
    """A site's draws, 0 where its law is masked: in the padding."""
    while not isinstance(fn, dist.MaskedDistribution):
        if not isinstance(fn, dist.Independent):
            return value
        fn = fn.base_dist
    mask = torch.as_tensor(fn._mask, device=value.device)
    return torch.where(mask.reshape(*mask.shape, *[1] * (value.dim() - mask.dim())), value, 0.0)


@contextmanager
def _twice_differentiable() -> Iterator[None]:
    """Within it torch chooses kernels whose backward pass can be differentiated in its turn.

    The fused recurrences of cuDNN, and fused attention, have a first derivative only. (Those of oneDNN, on a CPU, have
    two.)
    """
    with torch.backends.cudnn.flags(enabled=False), sdpa_kernel(SDPBackend.MATH):
        yield
