"""Labels from the latents: what a supervised model says of sequences whose labels are unknown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import pyro.distributions as dist
import torch
from torch import Tensor

from ..core.checks import check_count, check_seed
from ..core.contexts import evaluating, forked
from ..criticism.chunks import check_data, chunks, groups, like_of
from ..criticism.particles import draw, repeatable
from ..models import Supervised

__all__ = ["LabelPrediction", "predict_labels"]


class LabelPrediction(NamedTuple):
    """Mean and standard deviation of each label ``(N, label_dim)``, in the units of the labels."""

    mean: Tensor
    scale: Tensor


def predict_labels(model: Supervised, data: Any, *, num_draws: int = 100, batch_size: int = 20, seed: int = 0,
                   max_bytes: int = 2**28) -> Tensor | LabelPrediction:
    r"""The law of each sequence's label given x, :math:`E_{q(z \mid x)}\, p(y \mid z)`, by draws of the guide.

    Labels that the data set holds are not read, and it need not have any. Nothing else is touched: the model is in
    evaluation mode inside, and torch's random state stays. A prediction depends on model, sequence, ``num_draws`` and
    ``seed``; not on the batches, where all latents are made from Gaussian noise.

    Arguments:
        model: a trained :class:`~pyro_rvae.Supervised`.
        data: a data set, in the units of the training data.
        num_draws: of the guide for each sequence.
        batch_size: most sequences at once. seed: of the draws.
        max_bytes: memory that the activations of one chunk should take, roughly.

    Returns, of a Categorical head, probabilities ``(N, K)`` (``(N, label_dim, K)`` for several labels); of another
    head :class:`LabelPrediction`, mean and scale of the mixture of the draws' laws, each ``(N, label_dim)``.

    Raises:
        TypeError: the model is not supervised, or ``data`` is no data set.
        ValueError: the data set does not suit the model.

    >>> classes = predict_labels(model, data.test).argmax(-1)  # doctest: +SKIP
    """
    if not isinstance(model, Supervised):
        raise TypeError(f"predict_labels needs a model with a head, rv.Supervised(base, head), got "
                        f"{type(model).__name__}.")
    seed = check_seed("predict_labels", seed)
    check_data(model, data, "predict_labels")
    for name, value in {"num_draws": num_draws, "batch_size": batch_size, "max_bytes": max_bytes}.items():
        check_count(f"predict_labels: {name}", value)
    sums: list[Tensor] = []
    with evaluating(model), forked(like_of(model).device):
        repeat = repeatable(model, data)
        for chunk in chunks(model, data, num_draws, groups(data, batch_size), max_bytes):
            blind = replace(chunk, batch=replace(chunk.batch, labels=model.unknown(len(chunk.numbers))))
            law = draw(model, blind, seed, repeat=repeat).model.nodes["y"]["infer"]["law"]
            terms = _terms(law, (len(chunk.particles), len(chunk.numbers)))
            sums = sums or [term.new_zeros(len(data), *term.shape[1:]) for term in terms]
            for total, term in zip(sums, terms, strict=True):
                total[chunk.numbers] += term
    return _result([total / num_draws for total in sums])


def _terms(law: Any, batch: tuple[int, int]) -> list[Tensor]:
    """Sums over a chunk's draws, in double precision on the CPU: of probabilities, or of first and second moments."""
    law = law.expand(torch.Size(batch))
    if isinstance(law, dist.Independent) and isinstance(law.base_dist, dist.Categorical):
        return [law.base_dist.probs.double().sum(0).cpu()]
    mean, variance = law.mean.double(), law.variance.double()
    return [mean.sum(0).cpu(), (variance + mean.square()).sum(0).cpu()]


def _result(means: list[Tensor]) -> Tensor | LabelPrediction:
    dtype = torch.get_default_dtype()
    if len(means) == 1:
        return (means[0].squeeze(1) if means[0].shape[1] == 1 else means[0]).to(dtype)
    mean, second = means
    return LabelPrediction(mean.to(dtype), (second - mean.square()).clamp_min(0.0).sqrt().to(dtype))
