"""Encode one sequence, decode another."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import zoo

import pyro_rvae as rv
from pyro_rvae.tasks import embed, generate, paired, translate


def pairs(number: int, seed: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Waves of two numbers each, and the same backwards, upside down and ten times as large."""
    a = torch.randn(number, 2, generator=torch.Generator().manual_seed(seed))
    t = torch.linspace(0, 1, 6)
    x = (a[:, :1] * torch.sin(3 * t) + a[:, 1:] * torch.cos(3 * t)).unsqueeze(-1)
    return list(x), list(-10 * x.flip(1))


@pytest.fixture(scope="module")
def trained() -> Any:
    torch.manual_seed(0)
    normal = partial(rv.Normal, scale=0.1)
    x, y = pairs(80, 1)
    source = rv.data.SequenceDataset.from_sequences(x)
    alone = partial(rv.FrameDropout, p=1.0)  # to the encoder's decoder, z says all
    encoder = rv.VRAE.for_data(source, z_dim=2, h_dim=12, likelihood=normal, feedback=alone)
    rv.fit(encoder, source, epochs=40, lr=1e-2, progress=False)
    target = rv.data.SequenceDataset.from_sequences(y)
    target = paired(target.transformed(rv.data.Affine.standardize(target.values)), embed(encoder, source))
    context = rv.Context.for_data(target)
    decoder = rv.DeterministicRNN.for_data(target, h_dim=12, likelihood=normal, context=context)
    rv.fit(decoder, target, epochs=40, lr=1e-2, progress=False)
    return encoder, decoder, target


def test_it_translates_what_it_never_saw(trained: Any) -> None:
    encoder, decoder, _ = trained
    x, y = pairs(40, 2)
    mean = translate(encoder, decoder, x, mean=True)
    drawn = translate(encoder, decoder, x, seed=1)
    spread = torch.stack(y).var()
    for made in (mean, drawn):
        assert (torch.stack(made) - torch.stack(y)).square().mean() < 0.4 * spread
    others = torch.stack(made).roll(1, 0)
    assert (others - torch.stack(y)).square().mean() > 1.2 * spread, "of another source it is no translation"


def test_draws_lengths_and_batches(trained: Any) -> None:
    encoder, decoder, _ = trained
    x = [sequence[:length] for sequence, length in zip(pairs(3, 3)[0], (6, 2, 4), strict=True)]
    made = translate(encoder, decoder, x, mean=True)
    assert [y.shape for y in made] == [(6, 1), (2, 1), (4, 1)]
    again = translate(encoder, decoder, x, mean=True, batch_size=1)
    assert all(torch.allclose(a, b) for a, b in zip(made, again, strict=True))
    longer = translate(encoder, decoder, x, 7, mean=True)
    assert torch.allclose(longer[0][:6], made[0]) and [len(y) for y in longer] == [7, 7, 7]
    state = torch.get_rng_state()
    one, two = (translate(encoder, decoder, x, seed=seed) for seed in (0, 0))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    labels = torch.from_numpy(embed(encoder, x).values)
    plain = generate(decoder, 3, 6, labels=labels, seed=0, batch_size=20)
    assert torch.equal(plain[1, :2], one[1]), "it is generation, given the vectors"
    assert torch.equal(torch.get_rng_state(), state)


def test_items_and_codes() -> None:
    case = zoo.ZOO["word-dropout"]
    source = rv.data.StaticDataset(torch.randn(4, 3), kind="real")
    encoder = rv.VAE.for_data(source, z_dim=2, h_dim=4)
    codes = case.x()[..., :1][zoo.MASK]
    target = paired(rv.data.SequenceDataset(codes, zoo.LENGTHS, kind="categories", classes=4), embed(encoder, source))
    assert target.labels.dtype == torch.get_default_dtype() and target.labels.shape == (4, 2)
    decoder = rv.VRAE.for_data(target, z_dim=2, h_dim=4, context=rv.Context.for_data(target))
    made = translate(encoder, decoder, source, 9, end=0)
    assert len(made) == 4 and all(len(y) <= 9 and not (y[:-1] == 0).any() for y in made)
    back = paired(source, embed(encoder, source))
    decoder = rv.VAE.for_data(back, z_dim=2, h_dim=4, context=rv.Context.for_data(back))
    assert torch.stack(translate(encoder, decoder, source)).shape == (4, 3)
    assert source.labels is None, "the target is left as it was"


def test_what_is_refused(trained: Any) -> None:
    encoder, decoder, target = trained
    x, _ = pairs(4, 4)
    with pytest.raises(ValueError, match="the decoder VRAE reads no vector of a source: train it on"):
        translate(encoder, encoder, x)
    with pytest.raises(ValueError, match="vectors have 4 numbers, and the decoder DeterministicRNN reads vectors of 2"):
        translate(rv.VRAE(1, z_dim=4, h_dim=3, likelihood=rv.Normal), decoder, x)
    with pytest.raises(ValueError, match="leave one of the two out"):
        translate(encoder, decoder, x, mean=True, end=0)
    with pytest.raises(ValueError, match="got 4 sources of 80 targets"):
        paired(target, embed(encoder, x))
    with pytest.raises(ValueError, match="without num_draws, got by='sequence', num_draws=3"):
        paired(target, embed(encoder, x, num_draws=3))
    with pytest.raises(TypeError, match="got list and Embedding"):
        paired(x, embed(encoder, x))
    with pytest.raises(TypeError, match="got SequenceDataset and ndarray"):
        paired(target, np.zeros((80, 2)))


@pytest.mark.parametrize("length", [2.5, 0, True, "a"])
def test_lengths(trained: Any, length: Any) -> None:
    encoder, decoder, _ = trained
    with pytest.raises(ValueError, match="translate: length must be an integer of at least 1"):
        translate(encoder, decoder, pairs(2, 3)[0], length)


def test_a_static_decoder_has_no_length(trained: Any) -> None:
    decoder = rv.VAE.for_data(rv.data.StaticDataset(torch.randn(4, 2)), z_dim=2)
    with pytest.raises(ValueError, match="translate: VAE is static, its items have no length"):
        translate(trained[0], decoder, pairs(2, 3)[0], 4)
