"""Encode one sequence, decode another."""

from __future__ import annotations

import copy
from typing import Any, Literal

import torch
from torch import Tensor

from ..core.checks import check_count, check_seed
from ..core.contexts import evaluating, forked, seed_generators
from ..core.handlers import vectorised
from ..criticism.chunks import like_of
from ..data.checks import check_labels
from ..data.transforms import raw_units
from .between import decoded
from .embed import Embedding, embed
from .generate import generate
from .inputs import as_data

__all__ = ["paired", "translate"]


def paired(target: Any, source: Embedding) -> Any:
    """The training data of a decoder: target sequences whose labels are the vectors of their sources.

    Arguments:
        target: a data set, its n-th sequence being what the n-th source is translated to. Labels that it has are
            replaced; it is left as it is.
        source: :func:`embed` of the sources, by sequence, means.

    Raises:
        ValueError: an embedding by step or of draws, or of another number of sequences. TypeError: no data set, or no
            embedding.

    >>> pairs = paired(target.train, embed(encoder, source.train))  # doctest: +SKIP
    >>> decoder = rv.VRAE.for_data(pairs, context=rv.Context.for_data(pairs))  # doctest: +SKIP
    """
    if not isinstance(source, Embedding) or not hasattr(target, "padded"):
        raise TypeError("paired needs a data set of target sequences and the Embedding of their sources, "
                        f"paired(target, embed(encoder, source)), got {type(target).__name__} and "
                        f"{type(source).__name__}.")
    if source.by != "sequence" or source.num_draws is not None:
        raise ValueError("paired: a label is one vector a sequence: embed the sources with by='sequence' and without "
                         f"num_draws, got by={source.by!r}, num_draws={source.num_draws}.")
    if len(source) != len(target):
        raise ValueError(f"paired: there must be one source for each target sequence, got {len(source)} sources of "
                         f"{len(target)} targets.")
    result = copy.copy(target)
    dtype = target.values.dtype if target.values.is_floating_point() else torch.get_default_dtype()
    result.labels = check_labels(torch.from_numpy(source.values).to(dtype), len(target))
    return result


def translate(
    encoder: Any,
    decoder: Any,
    data: Any,
    length: int | None = None,
    *,
    mean: bool = False,
    end: int | None = None,
    site: str | None = None,
    pool: Literal["mean", "last", "both"] = "mean",
    num_particles: int = 10,
    seed: int = 0,
    batch_size: int = 20,
    max_bytes: int = 2**28,
) -> list[Tensor]:
    r"""Translates sequences x: :math:`y \sim p(y \mid e(x))`, :math:`e(x) = E_{q(z \mid x)}[z]`.

    The encoder is any trained model with a latent. The decoder is any model that was trained on the targets given the
    vectors of their sources: data of :func:`paired`, and ``context=rv.Context.for_data(pairs)``. Where it is a
    ``DeterministicRNN`` the two are a sequence-to-sequence network whose encoder was trained without targets; where it
    has a latent of its own, that holds what the source leaves open, and each seed is another translation.

    Source: Sutskever, Vinyals & Le (2014), "Sequence to Sequence Learning with Neural Networks", arXiv:1409.3215, for
    the decoding of one sequence from a vector of another; Sohn, Lee & Yan (2015, NeurIPS) for the latent given it. We
    differ: the encoder is a variational one, trained by itself, so that it may learn from unpaired sources.

    Arguments:
        encoder: a trained model of the sources.
        decoder: a trained model of the targets, given vectors.
        data: the sources, a data set or raw numbers, as :func:`embed` takes them.
        length: frames of each translation, at least 1; ``None``: as many as its source has. A static decoder's have
            none.
        mean: whether what the decoder draws is at its mean instead, x fed back included.
        end: code of the end symbol, as for :func:`generate`: a translation is cut behind its first one.
        site, pool, num_particles, max_bytes: of :func:`embed`, as when the decoder was trained.
        seed: of the draws. batch_size: most sequences at once.

    Returns a tensor ``(T_i, y_dim)`` for each source (static: an item), in the units of the targets, on the CPU.

    Raises:
        ValueError: a decoder that reads no labels, or vectors of another width; a length that is no positive integer,
            or of a static decoder; ``end`` with ``mean``; and what :func:`embed` and :func:`generate` refuse.

    >>> translate(encoder, decoder, source.test, mean=True)  # doctest: +SKIP
    """
    if mean and end is not None:
        raise ValueError("translate: mean=True draws nothing, and an end symbol is drawn: leave one of the two out.")
    check_count("translate: batch_size", batch_size)
    seed = check_seed("translate", seed)
    if length is not None:
        check_count("translate: length", length, hint=" (None: as many frames as its source has)")
        if getattr(decoder, "static", False):
            raise ValueError(f"translate: {type(decoder).__name__} is static, its items have no length: leave it out.")
    data = as_data(encoder, data, "translate")
    source = embed(encoder, data, site=site, pool=pool, num_particles=num_particles, batch_size=batch_size, seed=seed,
                   max_bytes=max_bytes)
    _check_reads(decoder, source.width)
    like = like_of(decoder)
    labels = torch.from_numpy(source.values).to(like.dtype)
    lengths = None if decoder.static else source.lengths.tolist() if length is None else [int(length)] * len(source)
    if mean:
        y = _expected(decoder, labels.to(like.device), lengths, batch_size)
    else:
        made = generate(decoder, len(labels), None if lengths is None else max(lengths), labels=labels, seed=seed,
                        batch_size=batch_size, end=end)
        if end is not None:
            return [row[:most] for row, most in zip(made, lengths or [], strict=True)]
        y = list(made)
    return y if lengths is None else [row[:frames] for row, frames in zip(y, lengths, strict=True)]


def _check_reads(decoder: Any, width: int) -> None:
    """Refuse a decoder that is told nothing of the source."""
    reads = getattr(getattr(decoder, "context", None), "label_dim", 0)
    if reads != width:
        known = f"vectors of {reads}" if reads else "no vector of a source"
        raise ValueError(f"translate: the source's vectors have {width} numbers, and the decoder "
                         f"{type(decoder).__name__} reads {known}: train it on rv.tasks.paired(target, embed(encoder, "
                         f"source)) with context=rv.Context(label_dim={width}).")


def _expected(decoder: Any, labels: Tensor, lengths: list[int] | None, batch_size: int) -> list[Tensor]:
    device, made = like_of(decoder).device, []
    with evaluating(decoder), vectorised(), forked(device):
        for start in range(0, len(labels), batch_size):
            seed_generators(device, start)  # for what has no mean to take; nothing of this library's own
            some = labels[start : start + batch_size]
            size = (len(some),) if lengths is None else (len(some), max(lengths))
            made += list(raw_units(decoder, decoded(decoder, {}, None, size, {"labels": some}, True)).cpu())
    return made
