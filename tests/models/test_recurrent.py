"""The deterministic recurrent network: a likelihood without a bound, in every place where a bound is expected."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pyro.poutine as poutine
import pytest
import torch
from equations_recurrent import deterministic
from pyro.infer import RenyiELBO, Trace_ELBO, TraceMeanField_ELBO
from zoo import LENGTHS, MASK, ZOO, B, H, T, X

import pyro_rvae as rv
from pyro_rvae.data import SequenceDataset


def data_set() -> SequenceDataset:
    x = ZOO["deterministic"].x()
    return SequenceDataset(torch.cat([s[:n] for s, n in zip(x, LENGTHS.tolist(), strict=True)]), LENGTHS, kind="binary")


def exact(model: rv.DeterministicRNN, data: SequenceDataset) -> float:
    """-log p(x) in nats per frame by the equation."""
    with torch.no_grad():
        total = sum(deterministic(model, x, {})[0].item() for x in data.values.split(data.lengths.tolist()))
    return -total / data.num_frames


@pytest.mark.parametrize("elbo", [Trace_ELBO(), TraceMeanField_ELBO(), Trace_ELBO(num_particles=3),
                                  RenyiELBO(num_particles=2)], ids=lambda e: type(e).__name__)
def test_every_elbo_is_the_exact_log_likelihood(elbo: Any) -> None:
    model, data = ZOO["deterministic"].make(), data_set()
    loss = elbo.loss(model.model, model.guide, ZOO["deterministic"].x(), MASK)
    assert loss / data.num_frames == pytest.approx(exact(model, data), abs=1e-12)  # type: ignore[arg-type]


def test_evaluate_says_the_likelihood_whatever_the_particles() -> None:
    model, data = ZOO["deterministic"].make(), data_set()
    found = rv.evaluate(model, data, num_particles=7)
    cost = exact(model, data)  # type: ignore[arg-type]
    assert found.elbo == pytest.approx(cost, abs=1e-12) and found.iwae == pytest.approx(cost, abs=1e-12)
    assert found.reconstruction == pytest.approx(cost, abs=1e-12) and found.kl == 0.0
    assert found.errors["elbo"] == pytest.approx(0.0, abs=1e-12)


def test_there_is_no_latent_to_use() -> None:
    use = rv.collapse_report(ZOO["deterministic"].make(), data_set(), num_particles=2)
    assert use.kl == use.shuffling_cost == use.active_units == use.num_units == 0
    assert not use.kl_by_dim and not use.activity and "0 of 0" in repr(use)


def test_training_lowers_the_cost_and_keeps_the_best_weights() -> None:
    data = data_set()
    model = rv.DeterministicRNN.for_data(data, h_dim=H)
    before = exact(model, data)
    history = rv.fit(model, data, data, epochs=20, lr=3e-2, progress=False)
    assert exact(model, data) == pytest.approx(history.best.valid_elbo, abs=1e-10) and history.best.valid_elbo < before
    assert history.best.valid_kl == 0.0 and all(row.kl == 0.0 for row in history)


def test_what_it_has_read_changes_what_comes_next() -> None:
    """It generates, goes on from a prefix, and reads only the past."""
    model = ZOO["deterministic"].make()
    assert rv.generate(model, 2, 5, seed=0).shape == (2, 5, X)
    x = ZOO["deterministic"].x()
    trace = poutine.trace(model.model).get_trace(x[:, :4], size=(B, T))
    assert torch.equal(trace.nodes["x"]["value"][:, :4], x[:, :4])
    other = x.clone()
    other[:, 3] = 1 - other[:, 3]
    one, two = (poutine.trace(model.model).get_trace(v).nodes["x"]["fn"].base_dist.logits for v in (x, other))
    assert torch.equal(one[:, :4], two[:, :4]) and not torch.isclose(one[:, 4:], two[:, 4:]).all(-1).any()


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    model, data = rv.DeterministicRNN.for_data(data_set(), h_dim=H, recurrence=rv.GRU), data_set()
    rv.save_pretrained(model, tmp_path)
    other = rv.from_pretrained(tmp_path)
    assert isinstance(other, rv.DeterministicRNN) and isinstance(other.recurrence, rv.GRU)
    assert rv.evaluate(other, data).elbo == rv.evaluate(model, data).elbo


def test_checked_as_a_users_own_model() -> None:
    case = ZOO["deterministic-context"]
    rv.testing.check_model(case.make(), case.x(), MASK, **case.extra())


@pytest.mark.parametrize(("build", "error", "message"), [
    (partial(rv.DeterministicRNN, X, 0), ValueError, "h_dim must be an integer of at least 1"),
    (partial(rv.DeterministicRNN, X, z_dim=3), TypeError, "z_dim"),
    (partial(rv.DeterministicRNN, X, H, recurrence=rv.Bidirectional), TypeError, "recurrence"),
    (partial(rv.DeterministicRNN, X, H, context="controls"), TypeError, r"expected rv\.Context"),
])
def test_bad_parts_are_refused(build: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        build()


def test_another_width_of_frames_is_refused() -> None:
    with pytest.raises(ValueError, match=f"x_dim={X}"):
        ZOO["deterministic"].make().model(torch.zeros(B, T, X + 1))
