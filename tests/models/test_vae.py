"""Static models: autoencoders stacked and tied, images, grey levels; for_data, draws, files and refusals."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import equations_static as eq
import pyro.poutine as poutine
import pytest
import torch
from laws import per_sequence, same
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from torch import Tensor
from zoo import ZOO, B, H, X, Z, awake, make_data

import pyro_rvae as rv
from pyro_rvae.data import StaticDataset

IMAGE: dict[str, Any] = {"shape": (1, 4, 4), "channels": (4, 6)}
STATIC = ["AE", "AE-tied", "VAE-tied", "ConvVAE"]


@pytest.mark.parametrize("name", ["AE", "AE-tied"])
def test_an_autoencoders_cost_is_its_reconstruction(name: str) -> None:
    model, x = ZOO[name].make(), ZOO[name].x()
    q = poutine.trace(model.guide).get_trace(x)
    p = poutine.trace(poutine.replay(model.model, q)).get_trace(x)
    for i in range(B):
        z = q.nodes["z"]["value"][i]
        same(z, eq.encode(model, x[i]), "code")
        log_p, log_q = (eq.tied if "tied" in name else eq.autoencoder)(model, x[i], {"z": z})
        same(per_sequence(p)[i], log_p, "log joint")
        same(per_sequence(q)[i], log_q, "log guide")
    terms = rv.infer.measure(model, rv.data.Batch(x))
    assert not terms.kl.any() and torch.equal(terms.elbo, terms.reconstruction)
    assert Trace_ELBO().loss(model.model, model.guide, x) == TraceMeanField_ELBO().loss(model.model, model.guide, x)


def test_layers_are_as_deep_as_asked() -> None:
    model = rv.AE(X, Z, hidden=(9, 7, 4))
    widths = [m.out_features for m in model.modules() if isinstance(m, torch.nn.Linear)]
    assert sorted(widths) == sorted([9, 7, 4, Z, 4, 7, 9, X])
    with pytest.raises(ValueError, match="hidden must name the width of one hidden layer at least"):
        rv.AE(X, Z, hidden=())


# ------------------------------------------------------------------------------------------------------- tied
def decoded(model: Any, z: Tensor) -> Tensor:
    return model.likelihood.params(z)  # type: ignore[no-any-return]


def is_tied(model: Any) -> bool:
    """A change of any of the encoder's weights shows in the decoder."""
    z, weights, _ = torch.randn(Z), *eq.layers(model)
    before = decoded(model, z)
    changes = []
    for weight in weights:
        old = weight.data.clone()
        weight.data *= 1.5
        changes.append(not torch.equal(decoded(model, z), before))
        weight.data.copy_(old)
    same(decoded(model, z), eq.decode_tied(model, z), "decoder")
    return all(changes)


@pytest.mark.parametrize("name", ["AE-tied", "VAE-tied"])
def test_a_tie_holds_through_copies_files_and_assignment(name: str, tmp_path: Path) -> None:
    model = ZOO[name].make()
    assert is_tied(model)
    keys = list(model.state_dict())
    assert len(keys) == len({v.data_ptr() for v in model.state_dict().values()})
    assert not any(key.startswith("likelihood") and "weight" in key for key in keys)
    twin = copy.deepcopy(model)
    assert is_tied(twin)
    twin.encoder[0].weight.data += 1.0
    assert not torch.equal(twin.encoder[0].weight, model.encoder[0].weight)
    rv.save_pretrained(model, tmp_path)
    loaded = rv.from_pretrained(tmp_path)
    assert is_tied(loaded)
    same(decoded(loaded, torch.ones(Z)), decoded(model, torch.ones(Z)), "loaded")
    other = ZOO[name].make(seed=1)
    other.load_state_dict(model.state_dict(), assign=True)
    assert is_tied(other)
    assert is_tied(model.double().train())
    single = copy.deepcopy(model).float()
    assert decoded(single, torch.ones(Z, dtype=torch.float32)).dtype == torch.float32


def test_both_uses_of_a_weight_give_it_its_gradient() -> None:
    """Against finite differences of the loss by one weight."""
    model, x = ZOO["AE-tied"].make(), ZOO["AE-tied"].x()
    loss = rv.Loss(model)
    loss(x).backward()
    weight = model.encoder[0].weight
    slope = weight.grad[0, 0].item()
    with torch.no_grad():
        values = []
        for step in (1e-6, -2e-6):
            weight[0, 0] += step
            values.append(loss(x).item())
    assert slope == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-5)


@pytest.mark.parametrize("parts, message", [
    ({"context": rv.Context(classes=3, dim=2)}, "needs no context, got one"),
    ({"posterior": rv.StudentT}, "needs a posterior rv.Delta or rv.Normal of one linear layer, got StudentT of 1"),
    ({"likelihood": rv.Normal}, r"needs a likelihood that is a Family of 5 raw parameters .*got Normal of 10"),
    ({"likelihood": rv.ConvDecoder}, "needs a likelihood that is a Family of 5 raw parameters"),
    ({"reader": rv.Reader(X, missing=True)}, "needs a reader 5 wide, got 10"),
])
def test_what_a_tied_model_needs(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rv.VAE(X, Z, H, tied=True, **parts)


def test_a_tied_model_needs_an_mlp() -> None:
    class Plain(torch.nn.Linear):
        out_dim = H

    with pytest.raises(ValueError, match=r"tied=True\) needs an rv.MLP as encoder, got Plain; with tied=False"):
        rv.VAE(X, Z, H, tied=True, encoder=Plain)


# ------------------------------------------------------------------------------------- data, draws and files
def data_for(name: str) -> StaticDataset:
    values = ZOO[name].x()
    return StaticDataset(values, kind="binary" if "unit" not in ZOO[name].data else "real")


@pytest.mark.parametrize("name", STATIC)
def test_for_data_generate_and_files(name: str, tmp_path: Path) -> None:
    case, data = ZOO[name], data_for(name)
    parts = dict(case.build.keywords)  # type: ignore[attr-defined]
    model = rv.VAE.for_data(data, z_dim=Z, h_dim=H, **parts)
    bias = model.likelihood.family.bias(data.values)
    last = getattr(model.likelihood.net, "output_bias", None)
    torch.testing.assert_close((last if last is not None else model.likelihood.net[-1].bias).data, bias)
    trace = poutine.trace(model.model).get_trace(size=(3,))
    assert trace.nodes["x"]["value"].shape == (3, data.x_dim)
    awake(model)
    rv.save_pretrained(model, tmp_path)
    again, x = rv.from_pretrained(tmp_path), data.values
    with rv.given_noise(0):
        loss = Trace_ELBO().loss(model.model, model.guide, x)
    with rv.given_noise(0):
        assert Trace_ELBO().loss(again.model, again.guide, x) == loss


def test_the_decoders_family_is_respected() -> None:
    data = StaticDataset(torch.rand(6, 16), kind="real")
    decoder = partial(rv.ConvDecoder, family=rv.ContinuousBernoulli, **IMAGE)
    model = rv.VAE.for_data(data, encoder=partial(rv.ConvEncoder, **IMAGE), likelihood=decoder)
    assert isinstance(model.likelihood.family, rv.ContinuousBernoulli)
    torch.testing.assert_close(model.likelihood.family(model.likelihood.net.output_bias).mean, data.values.mean(0))
    mean = model.likelihood(torch.zeros(2, 16)).mean
    assert mean.shape == (2, 16) and (mean > 0).all() and (mean < 1).all()


class Flagged(rv.Bernoulli):
    """A family whose data are read with flags."""

    def reader(self, *, missing: bool = False) -> torch.nn.Module:
        return rv.Reader(self.dim, missing=True)


@pytest.mark.parametrize("family", [Flagged, Flagged(16)])
def test_the_reader_is_that_of_the_decoders_family(family: Any) -> None:
    encoder = partial(rv.ConvEncoder, **IMAGE)
    model = rv.VAE(16, Z, H, encoder=encoder, likelihood=partial(rv.ConvDecoder, family=family, **IMAGE))
    assert model.reader.missing and model.encoder.image == (2, 4, 4)
    assert not rv.VAE(16, Z, H, encoder=encoder, likelihood=partial(rv.ConvDecoder, **IMAGE)).reader.missing


@pytest.mark.parametrize("family", [rv.Bernoulli, rv.ContinuousBernoulli, rv.Normal])
def test_conv_decoders_serve_sequences_labels_and_gaps(family: Any) -> None:
    decoder, encoder = partial(rv.ConvDecoder, family=family, **IMAGE), partial(rv.ConvEncoder, **IMAGE)
    video = rv.VRNN(16, Z, H, likelihood=decoder)
    x = make_data("binary", 0, (B, 3))[..., :1].expand(-1, -1, 16)
    assert Trace_ELBO().loss(video.model, video.guide, x) > -1e9
    labelled = rv.VAE(16, Z, H, encoder=encoder, likelihood=decoder, reader=rv.Reader(16, missing=True),
                      context=rv.Context(classes=3, dim=4))
    still = x[:, 0].clone()
    still[0, 3] = torch.nan
    loss = Trace_ELBO().loss_and_grads(labelled.model, labelled.guide, still, labels=torch.tensor([0, 1, 2, 0]))
    assert loss == loss and labelled.encoder.image == (2, 4, 4)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in labelled.parameters())


def test_images_must_fit() -> None:
    with pytest.raises(ValueError, match=r"ConvDecoder: an image of shape \(1, 28, 28\) is 784 numbers"):
        rv.VAE(16, Z, encoder=partial(rv.ConvEncoder, **IMAGE), likelihood=rv.ConvDecoder)
    with pytest.raises(ValueError, match=r"ConvEncoder: an image of shape \(1, 28, 28\) is 784 numbers"):
        rv.VAE(16, Z, encoder=rv.ConvEncoder, likelihood=partial(rv.ConvDecoder, **IMAGE))
    model = rv.VAE(16, Z, encoder=partial(rv.ConvEncoder, **IMAGE), likelihood=partial(rv.ConvDecoder, **IMAGE))
    with pytest.raises(ValueError, match=r"expected x as a tensor \(B, x_dim\)"):
        model.model(torch.zeros(2, 1, 4, 4))
