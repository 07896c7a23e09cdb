"""Which likelihood takes which kind of data; and each likelihood in a model, under the laws."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import pyro.poutine as poutine
import pytest
import torch
from laws import forms_agree, gradients_arrive, padding_never_matters, still, train
from pyro.infer import Trace_ELBO
from torch import Tensor, nn
from zoo import MASK, B, H, T, Z, awake

import pyro_rvae as rv
from pyro_rvae.criticism import free_running, one_step
from pyro_rvae.distributions import (
    LIKELIHOODS,
    Family,
    check_fit,
    family_class,
    family_for,
    fit,
    kinds_of,
    likelihood_table,
    observe_elements,
    reader_with_flags,
)

DIM = 3
# What each likelihood is fitted to, and how it is built: {name: (part, kind of data)}
CASES: dict[str, tuple[Any, str]] = {
    "negative binomial": (rv.NegativeBinomial, "counts"),
    "negative binomial fixed": (partial(rv.NegativeBinomial, total_count=2.0), "counts"),
    "zero-inflated": (rv.ZeroInflated, "counts"),
    "zero-inflated negative binomial": (partial(rv.ZeroInflated, family=rv.NegativeBinomial), "counts"),
    "audio": (partial(rv.DiscretizedLogistics, levels=16, components=2), "counts"),
    "laplace": (rv.Laplace, "real"),
    "laplace fixed": (partial(rv.Laplace, scale=0.8), "real"),
    "beta": (rv.Beta, "unit"),
    "strokes": (partial(rv.PenStrokes, components=2), "strokes"),
    "full": (rv.FullNormal, "real"),
    "low rank": (partial(rv.LowRankNormal, rank=1), "real"),
}
KIND = {"unit": "real", "strokes": "real"}


def values(kind: str, *shape: int, gaps: bool = False) -> Tensor:
    g = torch.Generator().manual_seed(1)
    real = torch.randn(*shape, DIM, generator=g)
    x = {"real": real, "unit": real.sigmoid(), "counts": torch.poisson(real.exp(), generator=g).clamp_max(15.0),
         "strokes": torch.cat([real[..., :2], (real[..., 2:] > 0.5).double()], -1)}[kind]
    return x.masked_fill(torch.rand(x.shape, generator=g) < 0.25, torch.nan) if gaps else x


def data_set(kind: str, gaps: bool = False) -> Any:
    return rv.data.SequenceDataset(values(kind, 30, gaps=gaps), [12, 10, 8], kind=KIND.get(kind, kind))


# ------------------------------------------------------------------------------------------------------ the table
DATA = {"binary": (torch.rand(20, DIM, generator=torch.Generator().manual_seed(0)) < 0.5).double(),
        "counts": torch.arange(60.0).view(20, DIM) % 5, "real": values("strokes", 20).abs() / 10 + 1e-3,
        "categories": torch.arange(60).view(20, DIM) % 4}
DATA["real"][:, 2] = DATA["real"][:, 2].round()
EXTRA = {rv.Categorical: {"classes": 4}, rv.AutoregressiveBernoulli: {"hidden": 6}, rv.NADE: {"hidden": 6}}


def test_the_table() -> None:
    assert likelihood_table() in fit.__doc__
    assert likelihood_table().strip() in (Path(__file__).parents[2] / "README.md").read_text()
    families = {part for part in vars(rv).values() if isinstance(part, type) and issubclass(part, Family)}
    assert families - set(LIKELIHOODS) <= {rv.Family, rv.Delta, rv.OneHot, rv.InverseAutoregressive}  # of latents


@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize("family", LIKELIHOODS, ids=lambda f: f.__name__)
def test_the_table_is_what_for_data_does(family: Any, kind: str) -> None:
    data = rv.data.SequenceDataset(DATA[kind], [12, 8], kind=kind, classes=4 if kind == "categories" else None)
    part = partial(family, **EXTRA[family]) if family in EXTRA else family
    if kind not in kinds_of(family):
        fits = type(family_for(kind, 4)(DIM)).__name__
        message = rf"are of kind '{kind}', and the likelihood {family.__name__} is a law of .*What fits: .*rv.{fits}"
        for given in (part, part(DIM), rv.Conditional(nn.Linear(H, part(DIM).num_params), part(DIM))):
            with pytest.raises(ValueError, match=message):
                rv.RVAE.for_data(data, likelihood=given, z_dim=Z, h_dim=H)
        return
    model = rv.RVAE.for_data(data, likelihood=part, z_dim=Z, h_dim=H)
    if (family, kind) not in ((rv.Beta, "real"), (rv.ContinuousBernoulli, "real")):  # pen is 0 or 1
        assert torch.isfinite(rv.Loss(model)(*data.padded()))


def test_what_a_family_takes_by_its_kind() -> None:
    class Mine(Family):
        kind = "counts"

    class Other(Family):
        kind = "angles"

    assert kinds_of(Mine) == ("binary", "counts") and kinds_of(Other) == ("angles",)
    assert kinds_of(Mine(2, 2)) == kinds_of(Mine) and kinds_of(Family) == ("binary", "counts", "real")


def test_the_class_of_a_family_is_told_without_building_it() -> None:
    for part in (rv.Normal, rv.Normal(2), partial(partial(rv.Normal, scale=1.0)), rv.Conditional(nn.Linear(2, 2),
                                                                                                  rv.Normal(2))):
        assert family_class(part) is rv.Normal
    assert family_class(rv.ZeroInflated(2)) is rv.ZeroInflated
    for part in (lambda raw: raw, nn.Linear(2, 2), rv.ConvDecoder, rv.Conditional(nn.Linear(2, 2), lambda raw: raw)):
        assert family_class(part) is None
        check_fit(part, "real", "VRNN")


def test_a_family_inside_another_part_is_seen_too() -> None:
    data = rv.data.StaticDataset(torch.randn(6, 1, 8, 8).flatten(1))
    decoder = partial(rv.ConvDecoder, shape=(1, 8, 8), channels=(2, 3))
    encoder = partial(rv.ConvEncoder, shape=(1, 8, 8), channels=(2, 3))
    with pytest.raises(ValueError, match="VAE.for_data: .*kind 'real', and the likelihood Bernoulli"):
        rv.VAE.for_data(data, likelihood=decoder, encoder=encoder, z_dim=2, h_dim=4)


def test_the_reader_of_gaps_is_that_of_the_likelihood() -> None:
    data = data_set("counts", gaps=True)
    audio = partial(rv.DiscretizedLogistics, levels=16)
    model = rv.RVAE.for_data(data, likelihood=audio, z_dim=Z, h_dim=H)
    assert isinstance(model.reader, rv.distributions.LevelReader) and model.reader.out_dim == 2 * DIM
    for part in (audio, audio(DIM), rv.Conditional(nn.Linear(2, 90), audio(DIM))):
        assert isinstance(reader_with_flags(part, rv.Poisson, DIM), rv.distributions.LevelReader)
    assert type(reader_with_flags(nn.Linear(2, 2), rv.Poisson, DIM)) is rv.Reader


# ------------------------------------------------------------------------------------------------------ in a model
def build(name: str, gaps: bool = False) -> Any:
    part, _ = CASES[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        reader = reader_with_flags(part, rv.Normal, DIM) if gaps else None
        return awake(rv.VRNN(DIM, Z, H, likelihood=part, reader=reader))


@pytest.mark.parametrize("gaps", [False, True], ids=["full", "gaps"])
@pytest.mark.parametrize("name", CASES)
def test_forms_agree_and_padding_never_matters(name: str, gaps: bool) -> None:
    model, x = build(name, gaps), values(CASES[name][1], B, T, gaps=gaps)
    forms_agree(model, Trace_ELBO(), x, MASK)
    padding_never_matters(model, x, MASK)
    gradients_arrive(model, x, MASK)
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    train(model, x, MASK)
    assert not still(model, before)


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_created_on_the_default_device(name: str) -> None:
    model, x = build(name), values(CASES[name][1], B, T)
    loss = rv.Loss(model)
    torch.set_default_device("meta")
    try:
        value = loss(x, MASK)
        value.backward()
        drawn = poutine.trace(model.model).get_trace(size=(B, T))
    finally:
        torch.set_default_device(None)
    assert value.device.type == "cpu" and value.isfinite() and drawn.nodes["x"]["value"].device.type == "cpu"


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_read_on_the_host(name: str) -> None:
    """On the meta device no value exists; gaps are given, as a device does not tell whether there are any."""
    part, kind = CASES[name]
    family = part(DIM).to("meta")
    raw = torch.randn(B, T, family.num_params, device="meta", requires_grad=True)
    x = values(kind, B, T).to("meta")
    law = observe_elements(family(raw), torch.ones_like(x, dtype=torch.bool)).mask(torch.ones_like(x[..., 0]).bool())
    law.to_event(1).log_prob(x).sum().backward()
    assert raw.grad is not None and raw.grad.device.type == "meta"


@pytest.mark.parametrize("name", CASES)
def test_float32_is_close_to_float64(name: str) -> None:
    model, x = build(name), values(CASES[name][1], B, T)
    with rv.given_noise(0):
        expected = rv.Loss(model)(x, MASK).item()
    torch.set_default_dtype(torch.float32)
    with rv.given_noise(0):
        loss = rv.Loss(model.float())(x.float(), MASK)
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_for_data_save_evaluate_and_generate(name: str, tmp_path: Path) -> None:
    part, kind = CASES[name]
    data = data_set(kind, gaps=True)
    model = rv.VRNN.for_data(data, likelihood=part, z_dim=Z, h_dim=H)
    torch.testing.assert_close(model.likelihood.net[-1].bias, model.likelihood.family.bias(data.values))
    rv.save_pretrained(model, tmp_path)
    again = rv.from_pretrained(tmp_path)
    assert rv.evaluate(again, data, num_particles=2).elbo == rv.evaluate(model, data, num_particles=2).elbo
    drawn = rv.generate(again, 3, 5, seed=0)
    law = model.likelihood(torch.zeros(H + H))
    element = getattr(law.support, "base_constraint", law.support)
    assert drawn.shape == (3, 5, DIM) and element.check(drawn).all()
    assert law.mean.shape == (DIM,) and law.mean.isfinite().all()
    batch = data.padded()
    for mean in (False, True):
        made = rv.tasks.reconstruct(model, data, mean=mean)
        assert [x.shape for x in made] == [x.shape for x in data] and all(x.isfinite().all() for x in made)
    for draws in (one_step(model, data, 2), free_running(model, data, 2)):
        assert element.check(torch.as_tensor(draws.values)).all()
    known = batch.x
    size = (len(data), known.shape[1] + 3)
    whole = poutine.trace(model.model).get_trace(known.nan_to_num(0.5 if kind == "unit" else 0.0), size=size)
    assert whole.nodes["x"]["value"].shape == (*size, DIM)


# ------------------------------------------------------------------------------------------------------ extremes
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("size", [-1e4, -50.0, 50.0, 1e4])
@pytest.mark.parametrize("name", CASES)
def test_extreme_parameters_give_finite_densities_and_gradients(name: str, size: float, dtype: torch.dtype) -> None:
    part, kind = CASES[name]
    family = part(DIM).to(dtype)
    signs = torch.ones(3, family.num_params, dtype=dtype)
    signs[1, ::2], signs[2, 1::3] = -1.0, -1.0
    raw = (size * signs).requires_grad_()
    x = values(kind, 3).to(dtype)
    for law in (family(raw), observe_elements(family(raw), torch.tensor([True, True, False]))):
        density = law.log_prob(x)
        gradient, = torch.autograd.grad(density.sum(), raw)
        assert density.isfinite().all() and gradient.isfinite().all() and density.dtype == dtype
    assert not family(raw).sample().isnan().any()


def test_the_message_names_what_fits() -> None:
    counts = rv.data.SequenceDataset(values("real", 10), [10])
    message = re.escape("VRNN.for_data: the data are of kind 'real', and the likelihood Poisson is a law of binary and "
                        "counts data. What fits: rv.Normal, rv.FullNormal, rv.LowRankNormal, rv.Laplace, rv.StudentT, "
                        "rv.ContinuousBernoulli, rv.Beta, rv.PenStrokes; or build the data set with the kind=")
    with pytest.raises(ValueError, match=message):
        rv.VRNN.for_data(counts, likelihood=rv.Poisson)
