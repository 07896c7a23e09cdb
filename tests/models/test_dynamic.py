"""What SRNN, DSAE and Z-forcing do beside a bound: data sets, generation, forecasts, files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyro.poutine as poutine
import pytest
import torch
from laws import form, loss_and_gradients, same
from pyro.infer import Trace_ELBO
from torch import Tensor
from zoo import MASK, ZOO, B, H, T, X, Z, awake, make_data

import pyro_rvae as rv
from pyro_rvae.data import SequenceDataset

MODELS = [rv.SRNN, rv.DSAE, rv.ZForcing]
CASES = ["SRNN", "SRNN-filter", "DSAE", "DSAE-factorised", "ZForcing"]


def name(model: Any) -> str:
    return str(model.__name__)


@pytest.mark.parametrize("kind", ["binary", "real", "counts", "codes"])
@pytest.mark.parametrize("model", MODELS, ids=name)
def test_for_data(model: Any, kind: str) -> None:
    values = make_data(kind, 0, (B, T)).flatten(0, 1).clone()
    values[3, 1] = -1 if kind == "codes" else torch.nan
    kinds = {"codes": {"kind": "categories", "classes": 4}}.get(kind, {"kind": kind})
    data = SequenceDataset(values, [T] * B, **kinds)
    built = model.for_data(data, z_dim=Z, h_dim=H)
    assert built.num_sequences == B and built.reader.out_dim > X
    assert torch.isfinite(rv.Loss(built, Trace_ELBO())(*data.padded()))


REAL = {"SRNN": {}, "SRNN-filter": {"smoothing": False}, "DSAE": {}, "DSAE-factorised": {"full": False}, "ZForcing": {}}


@pytest.mark.parametrize("case", REAL)
def test_it_generates_and_forecasts_from_a_prefix(case: str) -> None:
    """The beginning as given, the rest drawn: the same in both forms on the same noise."""
    model = awake(getattr(rv, case.split("-")[0])(X, Z, H, likelihood=rv.Normal, **REAL[case]))
    x = make_data("real", 0, (B, T))
    latents = values(poutine.trace(model.guide).get_trace(x[:, :3]))
    once = {"v": latents.pop("v")} if "v" in latents else {}
    program, drawn = poutine.condition(model.model, once), {}
    for explicit in (False, True):
        with form(explicit), rv.given_noise(1), rv.given(**latents):
            trace = poutine.trace(program).get_trace(x[:, :3], size=(B, T))
        for site in ("z", "x"):
            drawn[site, explicit] = torch.stack([trace.nodes[f"{site}_{t}"]["value"] for t in range(T)], 1) \
                if explicit else trace.nodes[site]["value"]
    for site, known in (("z", latents["z"]), ("x", x[:, :3])):
        same(drawn[site, True], drawn[site, False], f"forecast of {site}")
        assert torch.equal(drawn[site, False][:, :3], known) and (drawn[site, False][:, 3:] != 0).all()
    assert values(poutine.trace(model.model).get_trace(size=(B, T))).keys() == {"z", *once}


def values(trace: Any) -> dict[str, Tensor]:
    """What a run has drawn."""
    return {n: s["value"] for n, s in trace.iter_stochastic_nodes() if n not in ("batch", "x")}


@pytest.mark.parametrize("case", [*CASES, "SRNN-chain", "ZForcing-plain"])
def test_save_and_load(case: str, tmp_path: Path) -> None:
    model, x = ZOO[case].make(), ZOO[case].x()
    rv.save_pretrained(model, tmp_path)
    again = rv.from_pretrained(tmp_path)
    loss, _ = loss_and_gradients(model.eval(), Trace_ELBO(), x, MASK)
    assert loss_and_gradients(again, Trace_ELBO(), x, MASK)[0] == loss


@pytest.mark.parametrize("width", [0, -1, 2.5, None])
@pytest.mark.parametrize("argument", ["x_dim", "z_dim", "h_dim"])
@pytest.mark.parametrize("model", MODELS, ids=name)
def test_widths_are_counts(model: Any, argument: str, width: Any) -> None:
    widths = {"x_dim": X, "z_dim": Z, "h_dim": H, argument: width}
    with pytest.raises(ValueError, match="must be an integer of at least 1"):
        model(**widths)


@pytest.mark.parametrize("model", MODELS, ids=name)
def test_parts_of_the_wrong_kind(model: Any) -> None:
    with pytest.raises(TypeError, match="^encoder: expected an Encoder .*got LSTM of pyro_rvae.nn"):
        model(X, Z, H, encoder=rv.LSTM)
    with pytest.raises(TypeError, match="^recurrence: expected a Causal part .*got Backward"):
        model(X, Z, H, recurrence=rv.Backward)


@pytest.mark.parametrize("case", CASES)
def test_training_raises_the_bound(case: str) -> None:
    """A few steps on one batch, with the auxiliary cost where there is one; the bound is that of evaluation mode."""
    model, x = ZOO[case].make(), ZOO[case].x()
    loss, optimiser = rv.Loss(model, Trace_ELBO()), torch.optim.Adam(model.parameters(), 1e-2)
    with rv.given_noise(9):
        start = float(rv.Loss(model.eval(), Trace_ELBO())(x, MASK).detach())
    model.train()
    for _ in range(40):
        optimiser.zero_grad()
        loss(x, MASK).backward()
        optimiser.step()
    with rv.given_noise(9):
        assert float(rv.Loss(model.eval(), Trace_ELBO())(x, MASK).detach()) < start - 0.3
