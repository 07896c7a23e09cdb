"""The cost of held-out data, in the course of training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core import SequenceVAE
from ..core.contexts import evaluating, seeded
from ..data import SequenceDataset, StaticDataset
from .batches import checked, moved, wide_zeros
from .objectives import measure

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["validate"]

SEED = 20_240_229  # the same noise at each validation, whatever the seed of the training


def validate(fabric: Fabric, model: SequenceVAE, data: SequenceDataset | StaticDataset, batch_size: int, *,
             analytic: bool, trust: bool) -> tuple[float, float, float]:
    """``(elbo, reconstruction, kl)``: costs in nats per frame, pooled over all frames; one draw for each sequence.

    The model is in eval mode meanwhile. The noise is the same at each call, so that costs of two epochs differ by
    their weights only, and the stream of random numbers of the training is not moved.

    Arguments:
        analytic: as in :func:`~pyro_rvae.infer.measure`.
        trust: whether an earlier call has checked the data.
    """
    sums = wide_zeros(2, fabric.device)
    shard = (fabric.global_rank, fabric.world_size) if fabric.world_size > 1 else None
    # Sorted by length within pools, always in the same way; larger batches, since no gradients are kept.
    batches = data.batches(4 * batch_size, seed=0, epoch=0, shard=shard)
    noise = seeded(SEED, fabric.device, fabric.global_rank)
    with noise, evaluating(model), fabric.autocast(), checked(data, trust):
        for batch in batches:
            terms = measure(model, moved(batch, model, fabric.device), analytic=analytic)
            sums[0].add_(terms.reconstruction.sum())
            sums[1].add_(terms.kl.sum())
    if shard is not None:
        sums = fabric.all_reduce(sums, reduce_op="sum")
    reconstruction, kl = (sums / data.num_frames).tolist()
    return reconstruction + kl, reconstruction, kl

