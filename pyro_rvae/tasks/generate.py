"""New data from a model."""

from __future__ import annotations

import warnings
from typing import overload

import pyro.poutine as poutine
import torch
from torch import Tensor

from ..core import SequenceVAE
from ..core.checks import check_count
from ..core.contexts import evaluating, seeded
from ..core.handlers import vectorised
from ..data.transforms import raw_units
from ..priors import Weightless

__all__ = ["generate", "reconstruct"]


@overload
def generate(model: SequenceVAE, num: int, length: int | None = None, *, seed: int | None = None,
             controls: Tensor | None = None, labels: Tensor | None = None, batch_size: int = 100,
             end: None = None) -> Tensor: ...


@overload
def generate(model: SequenceVAE, num: int, length: int | None = None, *, seed: int | None = None,
             controls: Tensor | None = None, labels: Tensor | None = None, batch_size: int = 100,
             end: int) -> list[Tensor]: ...


def generate(model: SequenceVAE, num: int, length: int | None = None, *, seed: int | None = None,
             controls: Tensor | None = None, labels: Tensor | None = None, batch_size: int = 100,
             end: int | None = None) -> Tensor | list[Tensor]:
    r"""Draws :math:`x_{1:T} \sim p(x, z)` by running the generative program freely.

    The model is in evaluation mode meanwhile, and no gradient is kept. What is drawn once a data set (``shared``) comes
    from its posterior.

    Arguments:
        num: sequences (items, of a static model).
        length: frames of each; ``None`` for a static model.
        seed: the draw is a function of it, and torch's own random state does not move. ``None``: that state is used.
        controls: ``(num, length, control_dim)``, known inputs.
        labels: ``(num, ...)``, known once a sequence.
        batch_size: how many are drawn at a time.
        end: code of the end symbol, of a model of one channel of codes (``vocabulary.end``): each sequence is cut
            behind its first one, and ``length`` is the most that is drawn.

    Returns ``(num, length, x_dim)``, static ``(num, *event_shape)``, in the units of the data (the model's transform
    is undone), on the CPU. With ``end`` a list of ``(T_i, 1)``: those that ended have ``end`` as their last code.

    >>> generate(model, 4, 64, seed=0).shape  # doctest: +SKIP
    torch.Size([4, 64, 88])
    """
    for name, value in {"num": num, "length": 1 if model.static and length is None else length,
                        "batch_size": batch_size}.items():
        check_count(f"generate: {name}", value)
    if model.static and length is not None:
        raise ValueError(f"generate: {type(model).__name__} is static, its items have no length: leave length out")
    for name, known in {"controls": controls, "labels": labels}.items():
        if known is not None and len(known) != num:
            raise ValueError(f"generate: {name} must have one row for each of {num} sequences, got {len(known)}")
    if end is not None:
        _check_end(model, end)
    _warn_of_noise(model)
    device = next(model.parameters()).device
    parts = []
    with evaluating(model), vectorised(), seeded(seed, device):
        for start in range(0, num, batch_size):
            rows = slice(start, min(start + batch_size, num))
            size = (rows.stop - start,) if length is None else (rows.stop - start, length)
            trace = poutine.trace(model.learned_model).get_trace(size=size, **_known(device, controls, labels, rows))
            parts.append(raw_units(model, trace.nodes["x"]["value"]).cpu())
    x = torch.cat(parts)
    return x if end is None else [_until(sequence, end) for sequence in x]


def _warn_of_noise(model: SequenceVAE) -> None:
    if any(isinstance(part, Weightless) for part in model.modules()):
        warnings.warn(f"{type(model).__name__} is a deterministic autoencoder: its prior has no weight (Weightless), "
                      "so what it generates comes from codes that nothing has fitted. Reconstruct, or fit a density to "
                      "its codes.", UserWarning, stacklevel=3)


def _check_end(model: SequenceVAE, end: int) -> None:
    """Refuse an end symbol that the model cannot draw."""
    classes, width = getattr(model.reader, "classes", None), getattr(model, "x_dim", None)
    if classes is None or width != 1 or model.static:
        raise ValueError(f"generate: end is the code of an end symbol, so it goes with sequences of one channel of "
                         f"codes (text, x (B, T, 1)), and {type(model).__name__} draws other data; leave it out.")
    if isinstance(end, bool) or not isinstance(end, int) or not 0 <= end < classes:
        raise ValueError(f"generate: end must be a code of the model, 0 to {classes - 1}, got {end!r}.")


def _until(codes: Tensor, end: int) -> Tensor:
    """Codes ``(T, 1)`` up to the first ``end``, and with it; all of them where there is none."""
    found = (codes == end).flatten().nonzero()
    return codes[: int(found[0]) + 1] if len(found) else codes


def reconstruct(model: SequenceVAE, x: Tensor, mask: Tensor | None = None, *, seed: int | None = None,
                controls: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
    r"""Encodes and decodes: :math:`z \sim q(z \mid x)`, then :math:`x' \sim p(x \mid z)`, of the shape of x.

    A model that feeds x back reads its own x' (given the latents, it runs freely).

    Arguments:
        x: ``(B, T, x_dim)`` in the model's units, as a batch of the data set holds it; with ``mask, controls, labels``.
        seed: as for :func:`generate`.

    Returns x' in the units of the data, on the CPU; what stands in the padding means nothing.
    """
    device = next(model.parameters()).device
    known = _known(device, controls, labels)
    x, mask = x.to(device), None if mask is None else mask.to(device)
    with evaluating(model), vectorised(), seeded(seed, device):
        posterior = poutine.trace(model.guide).get_trace(x, mask, **known)
        size = tuple(x.shape[:1] if model.static else x.shape[:2])
        program = poutine.trace(poutine.replay(model.model, posterior))
        trace = program.get_trace(None, mask, size=size, **known)
    return raw_units(model, trace.nodes["x"]["value"]).cpu()


def _known(device: torch.device, controls: Tensor | None, labels: Tensor | None,
           rows: slice = slice(None)) -> dict[str, Tensor]:
    """Those of controls and labels that were given, as a model takes them."""
    return {name: value[rows].to(device) for name, value in (("controls", controls), ("labels", labels))
            if value is not None}
