"""Encode and decode, against closed forms and over the zoo."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyro
import pytest
import torch
from lines import B, Line, again
from zoo import ZOO
from zoo_data import data_of

import pyro_rvae as rv
from pyro_rvae.data import SequenceDataset
from pyro_rvae.tasks import reconstruct

NO_LATENT = ("deterministic", "deterministic-gaps", "deterministic-context")
NO_MEAN = ("autoregressive", "nade", "nade-previous")  # of a frame whose elements depend on each other
WAYS: list[dict[str, Any]] = [{}, {"num": 2}, {"mean": True}, {"teacher_forced": True},
                              {"teacher_forced": True, "mean": True}]


def ragged(*lengths: int) -> list[torch.Tensor]:
    return [torch.randn(length, 2) for length in lengths]


@pytest.mark.parametrize("name", ZOO)
def test_over_the_zoo(name: str) -> None:
    case = ZOO[name]
    model, data = case.make(), data_of(case)
    for how in WAYS:
        if name in NO_MEAN and how.get("mean"):
            with pytest.raises(ValueError, match="mean.*closed form.*mean=False"):
                reconstruct(model, data, **how)
        elif name in NO_LATENT and not how.get("teacher_forced"):
            with pytest.raises(ValueError, match="DeterministicRNN draws no latent of a sequence, so nothing is enc"):
                reconstruct(model, data, **how)
        else:
            made = reconstruct(model, data, **how)
            lead = (2,) if "num" in how else ()
            assert [x.shape for x in made] == [(*lead, *data[i].shape) for i in range(len(data))]
            assert all(x.double().isfinite().all() and x.dtype == data.values.dtype for x in made)
            if how.get("mean"):  # nothing of it depends on the padding, or on the batch
                alone = reconstruct(model, data, batch_size=1, **how)
                assert all(torch.allclose(x, y) for x, y in zip(made, alone, strict=True))


@pytest.mark.parametrize("feedback", [0.0, 0.5])
@pytest.mark.parametrize("forced", [False, True])
def test_the_mean_is_that_of_the_equations(feedback: float, forced: bool) -> None:
    x = ragged(5, 2, 1)
    made = reconstruct(Line(feedback), x, mean=True, teacher_forced=forced)
    for mine, row in zip(made, x, strict=True):
        assert np.allclose(mine, again(row, feedback, forced=forced))


def test_draws_have_the_moments_of_the_equations() -> None:
    """x' = B v + z + e, of variance 0.04 B B' + 0.09 + 0.01, with one v for all frames of a draw."""
    (x,) = ragged(3)
    (made,) = reconstruct(Line(), [x], num=20_000)
    assert made.shape == (20_000, 3, 2)
    assert np.allclose(made.mean(0), again(x), atol=0.02)
    spread = 0.04 * B @ B.T + 0.10 * torch.eye(2)
    assert torch.allclose(torch.cov(made[:, 1].T), spread, atol=0.01)
    together = torch.cov(torch.cat([made[:, 0], made[:, 2]], 1).T)[:2, 2:]
    assert torch.allclose(together, 0.04 * B @ B.T, atol=0.01)


def test_draws_given_the_observed_past() -> None:
    (x,) = ragged(4)
    (made,) = reconstruct(Line(0.5), [x], num=5000, teacher_forced=True)
    assert np.allclose(made.mean(0), again(x, 0.5, forced=True), atol=0.05)
    assert not np.allclose(made.mean(0), again(x, 0.5), atol=0.05)
    spread = 0.04 * B @ B.T + 0.10 * torch.eye(2)  # of v, of z and of the frame
    assert torch.allclose(torch.cov(made[:, 2].T), spread, atol=0.02)


def test_raw_units_in_and_out() -> None:
    model = Line()
    model.transform = rv.data.Affine(torch.tensor([10.0, -5.0]), torch.tensor([2.0, 4.0]))
    x = [10 + row for row in ragged(4, 2)]
    scaled = [model.transform(row) for row in x]
    made = reconstruct(model, x, mean=True)
    for mine, row in zip(made, scaled, strict=True):
        assert np.allclose(mine, model.transform.inverse(torch.as_tensor(again(row))))
    data = SequenceDataset.from_sequences(x, kind="real").transformed(model.transform)
    assert all(torch.equal(a, b) for a, b in zip(made, reconstruct(model, data, mean=True), strict=True))


def test_labels_and_controls_are_told() -> None:
    (x,), controls = ragged(3), torch.randn(3, 2)
    (made,) = reconstruct(Line(), [x], mean=True, controls=[controls], labels=torch.tensor([7]))
    assert np.allclose(made, again(x) + controls.numpy() + 7)


def test_gaps_are_filled() -> None:
    (x,) = ragged(4)
    x[1, 0] = torch.nan
    (made,) = reconstruct(Line(), [x], mean=True)
    assert np.allclose(made, again(x.nan_to_num(0.0)))


def test_codes_are_the_most_probable() -> None:
    model, data = ZOO["categorical"].make(), data_of(ZOO["categorical"])
    made = reconstruct(model, data, mean=True, teacher_forced=True)
    model.likelihood.net[-1].bias.data[:4] += torch.tensor([0.0, 0.0, 50.0, 0.0])  # of the first channel
    sure = reconstruct(model, data, mean=True)
    assert all(x.dtype == torch.long for x in made)
    assert all((x[:, 0] == 2).all() for x in sure)
    assert all((x[:, 0] == 2).all() for x in reconstruct(model, data))


def test_it_leaves_no_trace() -> None:
    model, x = ZOO["DMM"].make(), torch.ones(2, 3, 5)
    model.train()
    model.encoder.eval()
    state = torch.get_rng_state()
    made = reconstruct(model, x, seed=1)
    assert torch.equal(state, torch.get_rng_state())
    assert model.training and model.likelihood.training and not model.encoder.training
    assert not list(pyro.get_param_store().keys()) and not any(x.requires_grad for x in made)
    assert all(torch.equal(a, b) for a, b in zip(made, reconstruct(model, x, seed=1), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(made, reconstruct(model, x, seed=2), strict=True))


def test_regimes() -> None:
    x = [(torch.rand(length, 5) < 0.5).double() for length in (6, 3)]
    for model in (rv.NeuralHMM(5, 3, 4), rv.SwitchingLDS(5, 2, 4)):
        for how in WAYS:
            assert [y.shape[-2:] for y in reconstruct(model, x, **how)] == [(6, 5), (3, 5)]


def test_a_pair_of_ones_own() -> None:
    line = Line()

    def model(x: Any = None, mask: Any = None, *, size: Any = None) -> None:
        line.model(x, mask, size=size)

    def guide(x: Any, mask: Any = None) -> None:
        line.guide(x, mask)

    x = ragged(4, 2)
    data = SequenceDataset.from_sequences(x, kind="real")
    made = reconstruct(rv.Pair(model, guide, modules=[line]), data, mean=True)
    for mine, row in zip(made, x, strict=True):
        assert np.allclose(mine, again(row))


@pytest.mark.parametrize(("given", "what"), [
    ({"num": 0}, "reconstruct: num must be an integer of at least 1, got 0"),
    ({"batch_size": 0}, "reconstruct: batch_size must be"),
    ({"num": 2, "mean": True}, "mean=True draws nothing, so it gives one reconstruction of each sequence"),
])
def test_arguments(given: dict[str, Any], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        reconstruct(Line(), ragged(3), **given)


def test_what_is_no_data() -> None:
    with pytest.raises(TypeError, match="reconstruct needs a data set"):
        reconstruct(Line(), "a.csv")
    with pytest.raises(TypeError, match="got the class DMM"):
        reconstruct(rv.DMM, ragged(3))
