from __future__ import annotations

import pytest
import torch

from pyro_rvae.data import Batch, SequenceDataset
from pyro_rvae.data.batching import epoch_order


def skewed(n: int = 203) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(n, generator=generator).exp() * 30).long() + 1


def padding_factor(lengths: torch.Tensor, order: list[torch.Tensor]) -> float:
    processed = sum(int(lengths[numbers].max()) * len(numbers) for numbers in order)
    return processed / int(lengths.sum())


def together(order: list[torch.Tensor]) -> list[int]:
    return sorted(torch.cat(order).tolist())


def test_each_sequence_once_an_epoch_and_sizes_as_asked() -> None:
    order = epoch_order(skewed(), 20)
    assert together(order) == list(range(203))
    assert sorted(map(len, order)) == [3] + [20] * 10


def test_buckets_hold_less_padding_than_random_batches() -> None:
    lengths = skewed()
    for seed in range(5):
        random = padding_factor(lengths, epoch_order(lengths, 20, seed=seed, pool=1))
        bucketed = padding_factor(lengths, epoch_order(lengths, 20, seed=seed))
        assert bucketed < 0.75 * random
    assert padding_factor(lengths, epoch_order(lengths, 20, pool=11)) < bucketed


def test_order_is_a_function_of_seed_and_epoch_only() -> None:
    lengths = skewed()
    state = torch.random.get_rng_state()
    orders = {}
    for seed, epoch in [(0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (2, 0)]:
        torch.rand(1)
        orders[seed, epoch] = torch.cat(epoch_order(lengths, 20, seed=seed, epoch=epoch)).tolist()
        assert orders[seed, epoch] == torch.cat(epoch_order(lengths, 20, seed=seed, epoch=epoch)).tolist()
    assert len({tuple(order) for order in orders.values()}) == len(orders)
    torch.random.set_rng_state(state)
    epoch_order(lengths, 20, seed=5)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_long_batches_do_not_come_in_order() -> None:
    lengths = skewed()
    longest = [int(lengths[numbers].max()) for numbers in epoch_order(lengths, 20, pool=11)]
    assert longest != sorted(longest)


def test_without_shuffling_the_data_set_order_stands() -> None:
    order = epoch_order(skewed(), 20, shuffle=False)
    assert torch.cat(order).tolist() == list(range(203))


@pytest.mark.parametrize(
    ("n", "batch_size", "world"), [(203, 20, 4), (41, 20, 2), (20, 20, 3), (7, 3, 3), (3, 9, 3)]
)
@pytest.mark.parametrize("shuffle", [True, False])
def test_shards_are_disjoint_equal_in_number_and_join_to_the_batch(n, batch_size, world, shuffle) -> None:
    lengths = skewed(n)
    parts = [epoch_order(lengths, batch_size, shuffle=shuffle, shard=(rank, world)) for rank in range(world)]
    assert len({len(part) for part in parts}) == 1
    assert all(len(numbers) for part in parts for numbers in part)
    assert together([numbers for part in parts for numbers in part]) == list(range(n))
    if n % batch_size == 0 or n % batch_size >= world:  # no short batch joins another
        whole = epoch_order(lengths, batch_size, shuffle=shuffle)
        joined = [together(list(pieces)) for pieces in zip(*parts, strict=True)]
        assert joined == [sorted(numbers.tolist()) for numbers in whole]
    for pieces in zip(*parts, strict=True):
        assert max(map(len, pieces)) - min(map(len, pieces)) <= 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"batch_size": 0}, "batch_size must be an integer of at least 1, got 0"),
        ({"batch_size": 2.5}, "batch_size must be an integer"),
        ({"batch_size": 2, "pool": 0}, "pool must be an integer of at least 1"),
        ({"batch_size": 2, "shard": (2, 2)}, "0 <= rank < world"),
        ({"batch_size": 2, "shard": (0, 3)}, "3 processes cannot share batches of 2 sequences"),
        ({"batch_size": 9, "shard": (0, 6)}, "6 processes cannot share batches of 5 sequences"),
    ],
)
def test_refuses_sizes_that_cannot_be(given, message) -> None:
    with pytest.raises(ValueError, match=message):
        epoch_order(skewed(5), **given)


def test_batches_have_a_length_and_can_be_iterated_again() -> None:
    data = SequenceDataset(torch.randn(40, 2), [4] * 10, labels=torch.arange(10))
    batches = data.batches(4, seed=1)
    first, second = ([batch.index.tolist() for batch in batches] for _ in range(2))
    assert first == second and len(batches) == 3 == len(first)
    assert batches[1].index.tolist() == first[1] and repr(batches) == "Batches(3 batches, 10 sequences)"
    assert [batch.index.tolist() for batch in data.batches(4, seed=1, epoch=1)] != first


def test_a_batch_unpacks_as_a_call_of_a_model() -> None:
    data = SequenceDataset(torch.randn(5, 2), [3, 2], controls=torch.randn(5, 1), labels=[0, 1])
    batch = data.padded()
    x, mask = batch
    assert x is batch.x and mask is batch.mask and len(batch) == 2
    assert set(batch.known) == {"controls", "labels"}
    assert Batch(x, mask).known == {} and Batch(x, mask).num_frames == 5 and Batch(x).num_frames == 2
    assert repr(batch) == "Batch(x=(2, 3, 2), controls=(2, 3, 1), labels=(2,), frames=5)"


def test_a_batch_moves_as_a_whole() -> None:
    data = SequenceDataset(torch.randn(5, 2), [3, 2], labels=[0, 1])
    moved = data.padded().to("meta")
    assert {t.device.type for t in (moved.x, moved.mask, moved.labels, moved.index)} == {"meta"}
    assert moved.controls is None and moved.num_frames == 5  # counted before: nothing is read back
    assert next(iter(data.batches(2, device="meta"))).x.device.type == "meta"
