"""What the models' constructors refuse, and what they take without a base class."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from pyro.infer import Trace_ELBO
from torch import Tensor, nn
from zoo import B, H, T, X, Z, make_data

import pyro_rvae as rv

SEQUENTIAL = [rv.VRNN, rv.RVAE, rv.STORN, rv.VRAE, rv.DMM]
MODELS = [*SEQUENTIAL, rv.VAE]
RECURRENT = [rv.VRNN, rv.RVAE, rv.STORN, rv.VRAE]
ENCODED = [rv.RVAE, rv.STORN, rv.VRAE, rv.DMM]


def name(model: Any) -> str:
    return str(model.__name__)


def works(model: Any) -> None:
    """A bound can be had of it."""
    x = make_data("static" if model.static else "binary", 0, (B, T))
    assert Trace_ELBO().loss(model.model, model.guide, x) > 0


# ------------------------------------------------------------------------------------------------------ widths
@pytest.mark.parametrize("width", [0, -1, 2.5, "3", None, True], ids=str)
@pytest.mark.parametrize("argument", ["x_dim", "z_dim", "h_dim"])
@pytest.mark.parametrize("model", MODELS, ids=name)
def test_widths_are_counts(model: Any, argument: str, width: Any) -> None:
    widths = {"x_dim": X, "z_dim": Z, "h_dim": H, argument: width}
    what = f"^{model.__name__}: {argument} must be an integer of at least 1, got {width!r}"
    with pytest.raises(ValueError, match=what):
        model(**widths)


def test_skip_features_have_a_width() -> None:
    with pytest.raises(ValueError, match="DMM: skip_dim must be an integer of at least 1, got 0"):
        rv.DMM(X, Z, H, skip_edges=True, skip_dim=0)


# ------------------------------------------------------------------------------------------------ the previous latent
@pytest.mark.parametrize(("build", "message"), [
    (lambda: rv.VRNN(X, Z, H, posterior=rv.GaussianChain), "GaussianChain .*; VRNN's posterior is given h_t and x_t"),
    (lambda: rv.VRNN(X, Z, H, posterior=partial(rv.Combiner, hidden=4)), "Combiner .*; VRNN's posterior is given h_t"),
    (lambda: rv.VRNN(X, Z, H, prior=rv.GatedNormal), "GatedNormal .*; VRNN's prior is given h_t"),
    (lambda: rv.VRNN(X, Z, H, prior=rv.GatedNormal(H, Z)), "GatedNormal .*; VRNN's prior is given h_t"),
    (lambda: rv.RVAE(X, Z, H, posterior=rv.GaussianChain), "GaussianChain .*; RVAE's posterior is given g_t"),
    (lambda: rv.RVAE(X, Z, H, prior=rv.GatedNormal), "GatedNormal .*; RVAE's prior is given nothing"),
    (lambda: rv.STORN(X, Z, H, posterior=rv.Combiner), "Combiner .*; STORN's posterior is given g_t"),
    (lambda: rv.VRAE(X, Z, H, posterior=rv.Combiner), "Combiner .*; VRAE's posterior is given the encoder's summary"),
    (lambda: rv.VAE(X, Z, H, posterior=rv.Combiner), "Combiner .*; VAE's posterior is given the encoder's features"),
])
def test_what_reads_the_previous_latent_is_for_a_dmm(build: Any, message: str) -> None:
    message = message.replace(".*", "reads the previous latent")
    with pytest.raises(ValueError, match=f"^{message}.*: use a Family, or a DMM"):
        build()


# ------------------------------------------------------------------------------------------------------ kinds of parts
@pytest.mark.parametrize("model", RECURRENT, ids=name)
def test_a_recurrence_is_a_causal_part_of_the_right_width(model: Any) -> None:
    with pytest.raises(TypeError, match="^recurrence: expected a Causal part .*got LSTM of torch.nn; pass rv.LSTM"):
        model(X, Z, H, recurrence=nn.LSTM)
    with pytest.raises(ValueError, match="^recurrence: this GRU was built to read vectors 99 wide"):
        model(X, Z, H, recurrence=rv.GRU(99, H))


@pytest.mark.parametrize("model", ENCODED, ids=name)
def test_an_encoder_is_one(model: Any) -> None:
    for part, came in ((rv.LSTM, "LSTM of pyro_rvae.nn"), (nn.Linear, "Linear of torch.nn")):
        with pytest.raises(TypeError, match=f"^encoder: expected an Encoder .*got {came}"):
            model(X, Z, H, encoder=part)


class Own(nn.Module):
    """A user's own encoder: a plain module with a width, and a summary for VRAE."""

    def __init__(self, in_dim: int, h_dim: int) -> None:
        super().__init__()
        self.net, self.out_dim = nn.Linear(in_dim, 7), 7

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.net(x).tanh()  # type: ignore[no-any-return]

    def summary(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self(x).mean(-2)  # type: ignore[no-any-return]


@pytest.mark.parametrize("model", [*ENCODED, rv.VAE], ids=name)
def test_an_encoder_of_ones_own_needs_no_base_class(model: Any) -> None:
    works(model(X, Z, H, encoder=Own))
    part = Own(X, H)
    built = model(X, Z, H, encoder=part)
    assert built.encoder is part
    works(built)


class Wide(rv.Causal):
    """A causal part of no state, whose output is wider than h_dim."""

    def __init__(self, in_dim: int, h_dim: int) -> None:
        super().__init__()
        self.net, self.out_dim = nn.Linear(in_dim, 2 * h_dim), 2 * h_dim

    def step(self, u: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        return self.net(u), u.new_zeros(1)


@pytest.mark.parametrize("model", [rv.VRNN, rv.RVAE, rv.STORN], ids=name)
def test_a_recurrence_may_be_wider_than_h_dim(model: Any) -> None:
    works(model(X, Z, H, recurrence=Wide))


def test_what_vrae_needs_beside() -> None:
    class Brief(nn.Module):
        out_dim = H

        def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
            return x

    with pytest.raises(TypeError, match=r"^encoder: VRAE reads summary\(x, mask\).*, and Brief has none; write it"):
        rv.VRAE(X, Z, H, encoder=Brief())
    with pytest.raises(TypeError, match="^recurrence: VRAE gives the first state, and Wide does not set state_dim"):
        rv.VRAE(X, Z, H, recurrence=Wide)


def test_the_encoder_of_items() -> None:
    built = rv.VAE(X, Z, H, encoder=rv.MLP)
    assert built.encoder.out_dim == H
    works(built)
    works(rv.VAE(X, Z, H, encoder=rv.Pointwise))
    for part in (rv.Forward, rv.LSTM):
        what = f"^encoder: an Encoder of items is needed.*got {part.__name__} .*, which reads sequences"
        with pytest.raises(TypeError, match=what):
            rv.VAE(X, Z, H, encoder=part)
    with pytest.raises(TypeError, match="^encoder: an Encoder of items is needed.*out_dim.*got Linear of torch.nn"):
        rv.VAE(X, Z, H, encoder=nn.Linear)


@pytest.mark.parametrize("model", MODELS, ids=name)
def test_a_reader_tells_its_width(model: Any) -> None:
    with pytest.raises(TypeError, match="^reader: expected a module .*with out_dim .*got Identity"):
        model(X, Z, H, reader=nn.Identity())
    with pytest.raises(TypeError, match=r"partial\(rv.Categorical, classes=K\)"):
        model(X, Z, H, likelihood=rv.Categorical)


def test_a_column_that_is_missing_throughout() -> None:
    x = torch.randn(B * T, X)
    x[:, 1] = torch.nan
    data = rv.data.SequenceDataset(x, [T] * B)
    for family in (rv.Normal, rv.StudentT):
        model = rv.RVAE.for_data(data, likelihood=family, z_dim=Z, h_dim=H)
        assert torch.isfinite(rv.Loss(model)(*data.padded()))
