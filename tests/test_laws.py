"""The laws over the whole zoo: forms agree, padding never matters, and the contract of a model."""

from __future__ import annotations

import copy
from typing import Any

import pyro
import pyro.poutine as poutine
import pytest
import torch
from laws import (
    ELBOS,
    forms_agree,
    gradients_arrive,
    loss_and_gradients,
    padding_never_matters,
    same,
    same_all,
    still,
    train,
    weights,
)
from pyro.infer import SVI, Trace_ELBO
from zoo import MASK, PAPERS, SEQUENCES, ZOO, B, H, T, awake, make_data

import pyro_rvae as rv


def mask_of(name: str) -> torch.Tensor | None:
    return None if ZOO[name].static else MASK


# ------------------------------------------------------------------------------------------------------ forms agree
@pytest.mark.parametrize("elbo", ELBOS)
@pytest.mark.parametrize("masked", [False, True], ids=["full", "ragged"])
@pytest.mark.parametrize("name", ZOO)
def test_forms_agree(name: str, masked: bool, elbo: str) -> None:
    case = ZOO[name]
    forms_agree(case.make(), ELBOS[elbo](), case.x(), mask_of(name) if masked else None, **case.extra())


@pytest.mark.parametrize("shape", [(1, 1), (B, 1), (1, T), (2, 2)])
@pytest.mark.parametrize("name", ZOO)
def test_the_smallest_sizes(name: str, shape: tuple[int, int]) -> None:
    case = ZOO[name]
    forms_agree(case.make(), Trace_ELBO(), case.x(shape=shape), **case.extra(shape))


@pytest.mark.parametrize("name", PAPERS)
def test_one_latent_and_one_element(name: str) -> None:
    model = awake(PAPERS[name].build.func(1, 1, H))  # type: ignore[attr-defined]
    x = make_data(PAPERS[name].data, 0, (B, T))[..., :1]
    x[::2] = 1.0
    forms_agree(model, Trace_ELBO(), x, mask_of(name))
    gradients_arrive(model, x, mask_of(name))


# -------------------------------------------------------------------------------------------- padding never matters
PADDED = [name for name in SEQUENCES if name != "path-prior"]  # its path is drawn once a sequence, for all T


@pytest.mark.parametrize("explicit", [False, True], ids=["vectorised", "explicit"])
@pytest.mark.parametrize("name", PADDED)
def test_padding_never_matters(name: str, explicit: bool) -> None:
    case, model = ZOO[name], ZOO[name].make()
    model.num_sequences = B  # so that what is shared is counted once over the sequences
    padding_never_matters(model, case.x(), MASK, torch.nan, explicit=explicit, **case.extra())


@pytest.mark.parametrize("fill", [7.0, torch.inf, -torch.inf, torch.nan])
@pytest.mark.parametrize("name", ["VRNN", "DMM-skip", "categorical", "controls", "poisson"])
def test_any_garbage_may_stand_under_the_mask(name: str, fill: float) -> None:
    case = ZOO[name]
    padding_never_matters(case.make(), case.x(), MASK, fill, **case.extra())


@pytest.mark.parametrize("name", PADDED)
def test_more_padding_never_matters(name: str) -> None:
    """The same batch, padded by two frames more."""
    case, model = ZOO[name], ZOO[name].make()
    x, mask, known = case.x(), MASK, case.extra()
    longer = torch.nn.functional.pad(x, (0, 0, 0, 2), value=torch.nan if x.is_floating_point() else -1)
    if "controls" in known:
        known_longer = known | {"controls": torch.nn.functional.pad(known["controls"], (0, 0, 0, 2), value=torch.nan)}
    else:
        known_longer = known
    ours, _ = weights(model, x, mask, **known)
    theirs, _ = weights(model, longer, torch.nn.functional.pad(mask, (0, 2)), **known_longer)
    same(ours, theirs, "importance weights")


# ------------------------------------------------------------------------------------------------------ contract
@pytest.mark.parametrize("name", ZOO)
def test_every_parameter_gets_a_gradient_and_moves_under_svi(name: str) -> None:
    case, model = ZOO[name], ZOO[name].make()
    gradients_arrive(model, case.x(), mask_of(name), **case.extra())
    before = copy.deepcopy(dict(model.named_parameters()))
    losses = train(model, case.x(), mask_of(name), **case.extra())
    assert not still(model, before) and all(loss == loss for loss in losses)


@pytest.mark.parametrize("name", ZOO)
def test_state_dict_round_trip(name: str) -> None:
    case, model, other = ZOO[name], ZOO[name].make(), ZOO[name].make(seed=1)
    x, known = case.x(), case.extra()
    expected, gradients = loss_and_gradients(model, Trace_ELBO(), x, **known)
    assert abs(expected - loss_and_gradients(other, Trace_ELBO(), x, **known)[0]) > 1e-3
    other.load_state_dict(model.state_dict())
    loss, theirs = loss_and_gradients(other, Trace_ELBO(), x, **known)
    assert loss == expected
    same_all(gradients, theirs, "gradients", 0.0)


@pytest.mark.parametrize("name", [*PAPERS, "shared"])
def test_a_state_dict_that_is_assigned_is_registered_again(name: str) -> None:
    case, model = ZOO[name], ZOO[name].make()
    svi = SVI(model.model, model.guide, pyro.optim.Adam({"lr": 1e-2}), Trace_ELBO())
    svi.step(case.x())
    model.load_state_dict(ZOO[name].make(seed=1).state_dict(), assign=True)
    for parameter in model.parameters():
        parameter.requires_grad_()
    before = copy.deepcopy(dict(model.named_parameters()))
    svi.step(case.x())
    assert not still(model, before)


@pytest.mark.parametrize("name", ZOO)
def test_a_deepcopy_is_independent(name: str) -> None:
    case, model = ZOO[name], ZOO[name].make()
    train(model, case.x(), **case.extra(), steps=1)
    twin, before = copy.deepcopy(model), copy.deepcopy(dict(model.named_parameters()))
    expected = loss_and_gradients(model, Trace_ELBO(), case.x(), **case.extra())[0]
    assert loss_and_gradients(twin, Trace_ELBO(), case.x(), **case.extra())[0] == expected
    train(twin, case.x(), **case.extra())
    assert not still(twin, before) and len(still(model, before)) == sum(p.requires_grad for p in model.parameters())


def test_two_models_of_one_class_never_meet() -> None:
    case = ZOO["VRNN"]
    first, second = case.make(), case.make(seed=1)
    start = [copy.deepcopy(dict(m.named_parameters())) for m in (first, second)]
    train(first, case.x())
    assert not still(first, start[0]) and len(still(second, start[1])) == len(start[1])
    train(second, case.x())
    assert not still(second, start[1])
    assert len(pyro.get_param_store()) == len(start[0]) + len(start[1])


@pytest.mark.parametrize("name", ZOO)
def test_float32_is_close_to_float64(name: str) -> None:
    case, model = ZOO[name], ZOO[name].make()
    x, known = case.x(), case.extra()
    expected = loss_and_gradients(model, Trace_ELBO(), x, mask_of(name), **known)[0]
    torch.set_default_dtype(torch.float32)
    known = {k: v.float() if v.is_floating_point() else v for k, v in known.items()}
    if name == "path-prior":
        pytest.skip("the test's own kernel is float64")
    x = x.float() if x.is_floating_point() else x
    loss, gradients = loss_and_gradients(model.float(), Trace_ELBO(), x, mask_of(name), **known)
    assert all(g.dtype == torch.float32 and g.isfinite().all() for g in gradients.values())
    assert abs(loss - expected) < 1e-4 * abs(expected)


@pytest.mark.parametrize("name", [*PAPERS, "normal-learned", "DMM-skip", "categorical", "autoregressive"])
def test_a_float64_model_where_the_default_is_float32(name: str) -> None:
    case, model = ZOO[name], ZOO[name].make()
    x = case.x()
    expected = loss_and_gradients(model, Trace_ELBO(), x)[0]
    torch.set_default_dtype(torch.float32)
    loss, gradients = loss_and_gradients(model, Trace_ELBO(), x)
    assert all(g.dtype == torch.float64 for g in gradients.values()) and abs(loss - expected) < 1e-10 * abs(loss)
    drawn = poutine.trace(model.model).get_trace(size=(B, T))
    assert all(site["value"].dtype == torch.float64 for n, site in drawn.iter_stochastic_nodes()
               if n not in ("batch", "x"))


# ------------------------------------------------------------------------------------------------------ devices
LIBRARY = [n for n in ZOO if n not in ("student-prior", "path-prior", "shared", "gaps-full")]  # their own tensors


@pytest.mark.parametrize("name", LIBRARY)
def test_nothing_is_created_on_the_default_device(name: str) -> None:
    """Under another default device everything still lies where the model and the data are."""
    case, model = ZOO[name], ZOO[name].make()
    x, known, loss = case.x(), case.extra(), rv.Loss(model, Trace_ELBO())
    mask = mask_of(name)
    torch.set_default_device("meta")
    try:
        for explicit in (False, True):
            with rv.explicit() if explicit else rv.annealed(1.0):
                value = loss(x, mask, **known)
            value.backward()
            assert value.device.type == "cpu" and value.isfinite()
        drawn = poutine.trace(model.model).get_trace(size=(B, T), **known)
        assert drawn.nodes["x"]["value"].device.type == "cpu"
    finally:
        torch.set_default_device(None)


def step_without_pyro_elbo(model: rv.SequenceVAE, optimizer: Any, x: torch.Tensor, mask: Any, known: Any) -> None:
    """One training step; Pyro's ELBO classes read the loss on the host, so the traces are summed here."""
    optimizer.zero_grad()
    q = poutine.trace(model.guide).get_trace(x, mask, **known)
    p = poutine.trace(poutine.replay(model.model, q)).get_trace(x, mask, **known)
    frames = (mask.sum() if mask is not None else torch.tensor(x.shape[0], device=x.device))
    ((q.log_prob_sum() - p.log_prob_sum()) / frames).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
    optimizer.step()


@pytest.mark.parametrize("name", [n for n in LIBRARY if "gaps" not in n])
def test_a_training_step_reads_nothing_on_the_host(name: str) -> None:
    """A step that runs on the meta device, where no value exists, waits for no device."""
    case, model = ZOO[name], ZOO[name].make().to("meta")
    known = {k: v.to("meta") for k, v in case.extra().items()}
    mask = None if case.static else MASK.to("meta")
    optimizer = torch.optim.Adam(model.parameters())
    pyro.enable_validation(False)
    with rv.trusted(missing=False):
        step_without_pyro_elbo(model, optimizer, case.x().to("meta"), mask, known)
    trained = [p for p in model.parameters() if p.requires_grad]
    assert all(p.grad is not None and p.grad.device.type == "meta" for p in trained)


# ------------------------------------------------------------------------------------------------------ Loss
@pytest.mark.parametrize("name", ["VRNN", "VAE", "DMM"])
def test_loss_is_the_negative_elbo_by_frames(name: str) -> None:
    case, model = ZOO[name], ZOO[name].make()
    total, gradients = loss_and_gradients(model, Trace_ELBO(), case.x(), mask_of(name))
    frames = B if case.static else int(MASK.sum())
    model.zero_grad()
    with rv.given_noise(0):
        loss = rv.Loss(model, Trace_ELBO())(case.x(), mask_of(name))
    loss.backward()
    assert abs(loss.item() - total / frames) < 1e-12
    for key, parameter in model.named_parameters():
        same(parameter.grad, gradients[key] / frames, key)
    assert len(list(rv.Loss(model, Trace_ELBO()).parameters())) == len(list(model.parameters()))
