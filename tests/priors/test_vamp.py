"""The VampPrior in a VAE and a VRAE: where it starts, what it hands on, and what it refuses."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pyro.poutine as poutine
import pytest
import torch
from laws import train
from zoo import ZOO, B, H, T, X, Z

import pyro_rvae as rv

vamp = partial(rv.VampPrior, components=3)


def sequences(lengths: tuple[int, ...] = (5, 2, 7, 4), kind: str = "binary") -> rv.data.SequenceDataset:
    generator = torch.Generator().manual_seed(0)
    made = [torch.rand(n, X, generator=generator) for n in lengths]
    codes = kind == "categories"
    values = [(x * 4).long() if codes else (x < 0.5).double() if kind == "binary" else x for x in made]
    return rv.data.SequenceDataset.from_sequences(values, kind=kind, classes=4 if codes else None)


def test_pseudo_inputs_start_at_sequences_of_the_data() -> None:
    data = sequences()
    model = rv.VRAE.for_data(data, z_dim=Z, h_dim=H, prior=partial(vamp, length=4))
    long = [x[:4] for x in data if len(x) >= 4]  # all three that have four frames
    torch.testing.assert_close(model.prior.pseudo_inputs, torch.stack(long).clamp(0.05, 0.95))


def test_pseudo_inputs_of_a_vae_start_at_items() -> None:
    data = rv.data.StaticDataset((torch.rand(8, X) < 0.5).double(), kind="binary")
    model = rv.VAE.for_data(data, z_dim=Z, h_dim=H, prior=partial(rv.VampPrior, components=4))
    items = torch.stack([data[i] for i in (0, 2, 4, 6)])
    torch.testing.assert_close(model.prior.pseudo_inputs, items.clamp(0.05, 0.95))


def test_pseudo_inputs_of_real_data_start_at_them() -> None:
    data = sequences(kind="real")
    model = rv.VRAE.for_data(data, z_dim=Z, h_dim=H, prior=partial(rv.VampPrior, components=1, length=2))
    assert not model.prior.bounded
    torch.testing.assert_close(model.prior.pseudo_inputs[0], data[0][:2])


def test_pseudo_inputs_among_codes_stand_among_their_embeddings() -> None:
    data = sequences(kind="categories")
    model = rv.VRAE.for_data(data, z_dim=Z, h_dim=H, prior=partial(vamp, length=4))
    assert model.prior.width == model.reader.out_dim != X and not model.prior.bounded
    torch.testing.assert_close(model.prior.pseudo_inputs[0], model.reader(data[0][:4]))
    batch = data.padded()
    train(model, batch.x, batch.mask)


def test_more_components_than_sequences() -> None:
    model = rv.VRAE.for_data(sequences(), z_dim=Z, prior=partial(rv.VampPrior, components=9, length=4))
    assert model.prior.pseudo_inputs.shape == (9, 4, X)


def test_a_pseudo_input_longer_than_all_data_is_refused() -> None:
    with pytest.raises(ValueError, match="length=8, and the longest sequence has 7 frames"):
        rv.VRAE.for_data(sequences(), prior=partial(vamp, length=8))


@pytest.mark.parametrize("name", ["vamp-VAE", "vamp-VRAE"])
def test_a_copy_reads_its_own_posterior(name: str) -> None:
    """The prior of a copy moves with the copy's encoder, and the original's stays."""
    model, z = ZOO[name].make(), torch.randn(2, Z)
    twin = copy.deepcopy(model)
    before = model.prior(model.encoded).log_prob(z)
    with torch.no_grad():
        for parameter in twin.encoder.parameters():
            parameter += 0.5
    after = poutine.trace(twin.model).get_trace(size=(2, T)).nodes["z"]["fn"].log_prob(z)
    assert not torch.allclose(before, after)
    torch.testing.assert_close(model.prior(model.encoded).log_prob(z), before)
    assert {n for n, _ in model.prior.named_parameters()} <= {"raw", "logits"}  # the encoder is the model's alone


@pytest.mark.parametrize("name", ["vamp-VAE", "vamp-VRAE"])
def test_it_is_saved_with_its_model(name: str, tmp_path: Any) -> None:
    model, x = ZOO[name].make(), ZOO[name].x()
    rv.save_pretrained(model, tmp_path / "saved")
    again = rv.from_pretrained(tmp_path / "saved")
    with torch.no_grad(), rv.given_noise(0):
        first, second = (rv.Loss(m)(x) for m in (model.eval(), again.eval()))
    assert first == second


def test_generating_draws_from_the_components() -> None:
    """With components far apart every draw is near one of them."""
    model = ZOO["vamp-VRAE"].make()
    centres = model.encoded(model.prior.pseudo_inputs)
    z = poutine.trace(model.model).get_trace(size=(200, T)).nodes["z"]["value"]
    near = ((z.unsqueeze(-2) - centres.mean).abs() / centres.stddev).amax(-1).amin(-1)
    assert z.shape == (200, Z) and (near < 5.0).all()


# ------------------------------------------------------------------------------------------------------ refusals
@pytest.mark.parametrize(("build", "error", "match"), [
    (lambda: rv.VRAE(X, Z, H, prior=vamp), TypeError, r"VRAE's prior: VampPrior needs length="),
    (lambda: rv.VAE(X, Z, H, prior=partial(vamp, length=4)), TypeError, "VAE's prior: .*items have no time"),
    (lambda: rv.VAE(X, Z, H, prior=vamp, context=rv.Context(classes=2)), ValueError, "VAE's prior: .*context"),
    (lambda: rv.VRAE(X, Z, H, prior=partial(vamp, length=2), context=rv.Context(classes=2)), ValueError, "context"),
    (lambda: rv.VAE(X, Z, H, prior=partial(rv.VampPrior, components=0)), ValueError, "components must be .* got 0"),
    (lambda: rv.VRAE(X, Z, H, prior=partial(vamp, length=0)), ValueError, "length must be at least 1 frame, got 0"),
    (lambda: rv.VAE(X, Z, H, prior=rv.VampPrior(0, Z, width=X + 1)), ValueError, "6 wide, .* read 5 numbers"),
    (lambda: rv.VRNN(X, Z, H, prior=vamp), ValueError, r"VampPrior reads the model's own posterior.*suits a VAE or a"),
    (lambda: rv.DMM(X, Z, H, transition=vamp), ValueError, "suits a VAE or a VRAE"),
    (lambda: rv.RVAE(X, Z, H, prior=vamp), TypeError, "does not hand over: it suits a VAE or a VRAE"),
    (lambda: rv.MusicVAE(X, Z, H, every=2, prior=vamp), TypeError, "does not hand over"),
])
def test_where_it_does_not_fit(build: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        build()


def test_one_built_with_a_width_says_at_the_call_what_is_missing() -> None:
    model = rv.STORN(X, Z, H, prior=rv.VampPrior(0, Z, width=X))
    with pytest.raises(TypeError, match="VampPrior must be called with the model's posterior"):
        model.model(size=(B, T))
