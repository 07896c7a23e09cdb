"""New data from a model."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, Literal, overload

import torch
from torch import Tensor

from ..core import SequenceVAE
from ..core.checks import check_count, check_seed
from ..core.contexts import evaluating, seeded
from ..core.handlers import vectorised, watched_labels
from ..core.tempering import Temperature, check_sites, check_temperature, tempered_draws
from ..core.traces import sites, traced
from ..criticism.chunks import like_of
from ..criticism.progress import advance, expect
from ..criticism.replicates import site_of_x
from ..data.transforms import raw_units
from ..priors import Weightless
from .asked import Known, check_end, drawn_lengths, until
from .continued import Beginnings, continued
from .inputs import check_precision

__all__ = ["drawn_like", "generate"]


@overload
def generate(model: SequenceVAE, num: int, length: int | None = None, *, seed: int | None = None,
             controls: Any = None, labels: Any = None, batch_size: int = 100, end: None = None, prefix: Any = None,
             temperature: Temperature = 1.0) -> Tensor: ...


@overload
def generate(model: SequenceVAE, num: int, length: Literal["training"], *, seed: int | None = None,
             controls: Any = None, labels: Any = None, batch_size: int = 100, end: int | None = None,
             prefix: Any = None, temperature: Temperature = 1.0) -> list[Tensor]: ...


@overload
def generate(model: SequenceVAE, num: int, length: int | None = None, *, seed: int | None = None,
             controls: Any = None, labels: Any = None, batch_size: int = 100, end: int, prefix: Any = None,
             temperature: Temperature = 1.0) -> list[Tensor]: ...


def generate(model: SequenceVAE, num: int, length: int | Literal["training"] | None = None, *,
             seed: int | None = None, controls: Any = None, labels: Any = None, batch_size: int = 100,
             end: int | None = None, prefix: Any = None, temperature: Temperature = 1.0) -> Tensor | list[Tensor]:
    r"""Draws :math:`x_{1:T} \sim p(x, z)` by running the generative program freely.

    The model is in evaluation mode meanwhile, and no gradient is kept. What is drawn once a data set (``shared``) comes
    from its posterior. With a ``prefix`` of p frames, latents of the past come from the guide, which reads these frames
    and nothing else, and what follows from the model:

    .. math:: z_{\le p} \sim q(z_{\le p} \mid x_{\le p}), \qquad
        x_{>p}, z_{>p} \sim p(x_{>p}, z_{>p} \mid x_{\le p}, z_{\le p})

    so it works with smoothing guides, and with a latent drawn once a sequence (which is drawn from q of the prefix).

    Arguments:
        num: sequences (items, of a static model).
        length: frames of each, the prefix among them. ``"training"``: each sequence has a length drawn from those of
            the training data (``model.data_card``; with a prefix, from those that are longer). ``None``: for a static
            model, or where ``controls`` fix it.
        seed: the draw is a function of it and of batch_size, and torch's own random state does not move. ``None``: that
            state is used. Lengths do not depend on batch_size.
        controls: ``(num, length, control_dim)``, known inputs.
        labels: ``(num, ...)``, known once a sequence, or one number for all of them; -1 is an unknown code.
        batch_size: how many are drawn at a time.
        end: code of the end symbol, of a model of one channel of codes (``vocabulary.end``): each sequence is cut
            behind the first one that is drawn, and ``length`` is the most that is drawn.
        prefix: how the sequences begin, in raw units: one array ``(p, x_dim)`` for all (``(p,)`` of one feature, like
            text), or one for each (a list of arrays, whose lengths may differ, or a data set). Missing elements (NaN,
            -1 in codes) stay missing.
        temperature: a positive number, that of x: below 1 frames are likelier ones, above 1 more varied
            (:func:`~pyro_rvae.distributions.tempered` says what it does to each law). A mapping from names of sites,
            ``{"x": 0.7, "z": 0.8}``, is for latents too. Latents of the prefix are drawn from the guide as it is.

    Returns ``(num, length, x_dim)``, static ``(num, *event_shape)``, in the units of the data (the model's transform
    is undone), on the CPU. With ``end``, or ``length="training"``, a list of ``(T_i, x_dim)``; sequences that ended
    have ``end`` as their last code.

    Raises:
        ValueError: a length where none is possible, or none where one is needed; ``"training"`` of a model that
            remembers no lengths; labels that were never seen in training, or that the model does not read; a prefix
            of other features, not shorter than ``length``, of a static model, or whose gaps the likelihood cannot
            have; a temperature that is not positive, of a site that is not there, or of a law that has none.
        TypeError: a prefix that is no sequence of numbers.

    Sources: temperature of the frames alone as in MusicVAE (Roberts et al. 2018, arXiv:1803.05428) and language models,
    of latents as in Glow (Kingma & Dhariwal 2018, arXiv:1807.03039).

    >>> generate(model, 4, 64, seed=0, temperature=0.8).shape  # doctest: +SKIP
    torch.Size([4, 64, 88])
    """
    check_count("generate: num", num)
    check_count("generate: batch_size", batch_size)
    num, seed = int(num), None if seed is None else check_seed("generate", seed)
    check_precision(model, "generate")
    if check_temperature(temperature) and not isinstance(model, SequenceVAE):
        raise ValueError(f"generate: a temperature is for the models of this library, and {type(model).__name__} runs "
                         "programs of its own: leave it at 1.")
    known = Known.of(model, num, controls, labels)
    if end is not None:
        check_end(model, end)
    _warn_of_noise(model)
    begun = None if prefix is None else Beginnings.of(model, prefix, num, known)
    with seeded(seed, like_of(model).device), vectorised():
        lengths = drawn_lengths(model, num, length, known, None if begun is None else begun.lengths)
        if begun is not None:
            made = continued(model, begun, lengths, known, batch_size, temperature)
        else:
            made = _free_run(model, num, lengths, known, batch_size, temperature, strict=True)
    if end is not None:
        behind = [0] * num if begun is None else begun.lengths.tolist()
        return [until(x, end, start) for x, start in zip(made, behind, strict=True)]
    return made if length == "training" else torch.stack(made)


def _free_run(model: Any, num: int, lengths: Tensor | None, known: Known, batch_size: int = 100,
             temperature: Temperature = 1.0, *, strict: bool = False) -> list[Tensor]:
    """Sequences (items) from nothing, in raw units on the CPU, each of its length ``(num,)``.

    With ``strict``, labels that the model does not read are refused.
    """
    device = like_of(model).device
    made: list[Tensor] = [torch.empty(0, device="cpu")] * num
    expect(num)
    with evaluating(model), vectorised():
        for rows in _together(num, lengths, batch_size):
            own = None if lengths is None else lengths[rows]
            size, mask = ((len(rows),), None) if own is None else _padded(own, device)
            with watched_labels() as read, tempered_draws(temperature):
                program = getattr(model, "learned_model", model.model)
                trace = traced(program, None, mask, size=size, **known.of_rows(rows, device))
            check_sites(temperature, sites(trace), type(model).__name__)
            if strict and not read:
                known.refuse_labels(model)
            x = raw_units(model, site_of_x(trace)["value"]).cpu()
            for row, n in enumerate(rows.tolist()):
                made[n] = x[row] if own is None else x[row, : int(own[row])]
            advance(len(rows))
    return made


def _padded(lengths: Tensor, device: torch.device) -> tuple[tuple[int, ...], Tensor | None]:
    """The size of a batch of these lengths, and its mask, if they differ."""
    longest = int(lengths.max())
    if bool((lengths == longest).all()):
        return (len(lengths), longest), None
    return (len(lengths), longest), torch.arange(longest, device=device) < lengths.to(device)[:, None]


def drawn_like(model: Any, batch: Any, seed: int | None = None) -> Tensor:
    """As many sequences as a batch has, of its longest length, with its controls and those labels that are read."""
    predicts = getattr(model, "needs_labels", False)
    num, known = len(batch), Known(batch.controls, None if predicts else batch.labels)
    lengths = None if batch.mask is None else torch.full((num,), batch.mask.shape[1], device="cpu")
    with seeded(seed, like_of(model).device):
        return torch.stack(_free_run(model, num, lengths, known))


def _together(num: int, lengths: Tensor | None, batch_size: int) -> Iterator[Tensor]:
    """The numbers of the sequences that are drawn together, those of like lengths."""
    order = torch.arange(num, device="cpu") if lengths is None else lengths.argsort(stable=True)
    yield from torch.split(order, batch_size)


def _warn_of_noise(model: SequenceVAE) -> None:
    if any(isinstance(part, Weightless) for part in model.modules()):
        warnings.warn(f"{type(model).__name__} is a deterministic autoencoder: its prior has no weight (Weightless), "
                      "so what it generates comes from codes that nothing has fitted. Reconstruct, or fit a density to "
                      "its codes.", UserWarning, stacklevel=3)
