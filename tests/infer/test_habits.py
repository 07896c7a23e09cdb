"""Gradient accumulation, more updates of the guide, the log of every objective, memory, particles."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from torch import Tensor, nn
from zoo import MASK, ZOO, H

import pyro_rvae as rv
from pyro_rvae.data import Batch, SequenceDataset
from pyro_rvae.infer import Aggressive, Callback, constant, fit, measure
from pyro_rvae.infer.aggressive import own_parameters

quiet = partial(fit, progress=False)


def vrnn(**parts: Any) -> rv.VRNN:
    torch.manual_seed(0)
    return rv.VRNN(5, 2, 4, **parts)


def vrae() -> rv.VRAE:
    torch.manual_seed(0)
    return rv.VRAE(5, 2, 4)


def flat(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


# ------------------------------------------------------------------------------------------- accumulation
class Gradients(Callback):
    """What the optimizer was given at each step, by the change of weights under SGD with lr 1."""

    def __init__(self) -> None:
        self.weights: list[Tensor] = []

    def on_fit_start(self, state: Any) -> None:
        self.weights.append(flat(state.model))

    on_step = on_fit_start


@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_the_gradient_is_that_of_the_joined_batch(data: SequenceDataset, weight: float) -> None:
    """Ragged batches of 3, 3 and 2 sequences in one step: on the same noise, each frame counts alike."""
    model, seen = vrnn(), Gradients()
    batches = data.batches(3, seed=4)
    torch.manual_seed(4)
    total = torch.zeros(())
    for batch in batches:  # the noise of the run
        with rv.annealed(weight):
            total = total + Trace_ELBO().differentiable_loss(model.model, model.guide, *batch)
    (total / data.num_frames).backward()
    expected = torch.cat([p.grad.flatten() for p in model.parameters()])
    row = quiet(model.requires_grad_(), data, epochs=1, batch_size=3, accumulate=3, seed=4, clip=None,
                kl_weight=constant(weight), optimizer=partial(torch.optim.SGD, lr=1.0), callbacks=[seen]).rows[0]
    assert row.step == 1 and len(seen.weights) == 2
    torch.testing.assert_close(seen.weights[0] - seen.weights[1], expected, rtol=1e-10, atol=1e-13)
    assert row.grad_norm == pytest.approx(expected.norm().item())


def test_the_log_of_accumulated_batches_pools_by_frames(data: SequenceDataset) -> None:
    model = vrnn()
    row = quiet(model, data, epochs=1, batch_size=3, accumulate=2, seed=1, lr=1e-300, kl_weight=constant(0.2)).rows[0]
    torch.manual_seed(1)
    terms = [measure(model, batch) for batch in data.batches(3, seed=1)]
    assert row.elbo == pytest.approx(sum(float(t.elbo.sum()) for t in terms) / data.num_frames, rel=1e-10)
    assert row.kl == pytest.approx(sum(float(t.kl.sum()) for t in terms) / data.num_frames, rel=1e-10)


def test_steps_of_an_epoch_and_the_schedule(data: SequenceDataset) -> None:
    """Three batches by twos are two steps, the last of one batch; progress ends at 1 all the same."""
    seen: list[float] = []
    history = quiet(vrnn(), data, epochs=2, batch_size=3, accumulate=2, schedule=lambda p: seen.append(p) or 1.0)
    assert history["step"].tolist() == [2, 4] and seen == [0.0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize(("given", "last"), [({"accumulate": 2}, 3), ({"encoder_updates": 2}, 4),
                                             ({"encoder_updates": Aggressive(1, lambda model: 1.0)}, 8)], ids=str)
def test_resumed_at_any_step_it_is_the_run(data: SequenceDataset, tmp_path: Path, given: dict[str, Any],
                                           last: int) -> None:
    """Stopped after step ``last`` of 8 (or 12), within an epoch, and resumed: bit for bit.

    The last of the three has ended its first phase by then, after two epochs.
    """
    class Stop(Callback):
        def on_step(self, state: Any) -> None:
            state.stop = state.step == last

    settings = {"epochs": 4, "batch_size": 3, "lr": 0.05, **given}
    whole, parts = vrae(), vrae()
    history = quiet(whole, data, **settings)
    quiet(parts, data, **settings, checkpoint=tmp_path, callbacks=[Stop()])
    assert not torch.equal(flat(whole), flat(parts))
    resumed = quiet(parts, data, **settings, checkpoint=tmp_path, resume=True)
    assert torch.equal(flat(whole), flat(parts))
    for a, b in zip(history, resumed, strict=True):
        assert repr(a[:-2]) == repr(b[:-2])
    other = {"accumulate": 3} if "accumulate" in given else {"encoder_updates": 5}
    name = next(iter(other))
    with pytest.raises(ValueError, match=f"is of another run: {name} was"):
        quiet(vrae(), data, **{**settings, **other}, checkpoint=tmp_path, resume=True)


# ------------------------------------------------------------------------------------------- the guide's turn
def test_whose_a_parameter_is() -> None:
    """Of a VRNN the recurrence and the features that both read are the model's; of a VRAE nothing is shared."""
    for model, own in ((vrnn(), ("posterior.",)), (vrae(), ("posterior.", "encoder.")),
                       (rv.DMM(5, 2, 4), ("posterior.", "encoder."))):
        found = own_parameters(model, Batch((torch.rand(3, 4, 5) < 0.5).double()))
        names = {name for name, p in model.named_parameters() if id(p) in found}
        assert names == {name for name, _ in model.named_parameters() if name.startswith((*own, "q0"))}
    vamp = rv.VRAE(5, 2, 4, prior=partial(rv.VampPrior, components=2, length=2))
    assert own_parameters(vamp, Batch((torch.rand(3, 4, 5) < 0.5).double())) == set()


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_the_guide_moves_twice_then_the_model(data: SequenceDataset, weight_decay: float) -> None:
    model, moved = vrae(), []

    class Watch(Callback):
        def on_fit_start(self, state: Any) -> None:
            self.before = {n: p.detach().clone() for n, p in state.model.named_parameters()}

        def on_step(self, state: Any) -> None:
            now = {n: n for n, p in state.model.named_parameters() if not torch.equal(p, self.before[n])}
            moved.append({n.startswith(("encoder", "posterior")) for n in now})
            self.on_fit_start(state)

    history = quiet(model, data, epochs=2, batch_size=3, encoder_updates=2, weight_decay=weight_decay,
                    callbacks=[Watch()])
    assert moved == [{True}, {True}, {False}] * 2
    assert np.isfinite(history["elbo"]).all()


def test_it_ends_when_what_should_rise_does_not(data: SequenceDataset) -> None:
    values, modes, steps = iter([1.0, 2.0, 2.0, 9.0]), [], []

    def rising(model: rv.SequenceVAE) -> float:
        modes.append((model.training, torch.is_grad_enabled()))
        torch.rand(3)  # moves no stream of the training
        return next(values)

    class Watch(Callback):
        def on_step(self, state: Any) -> None:
            steps.append(state.turns.active)

    model = vrae()
    quiet(model, data, epochs=5, batch_size=8, encoder_updates=Aggressive(1, rising), callbacks=[Watch()])
    assert steps == [True, True, True, False, False] and modes == [(False, False)] * 3 and model.training


def test_refusals(data: SequenceDataset) -> None:
    for given, message in (
            ({"accumulate": 0}, "fit: accumulate must be an integer of at least 1, got 0"),
            ({"encoder_updates": 0}, r"fit: encoder_updates must be an integer of at least 1 \(steps of the guide for"),
            ({"encoder_updates": 1.5}, "fit: encoder_updates must be an integer .* got 1.5"),
            ({"kl_weight": Falling()}, r"kl_weight gave -0.25 for step 1; .* at least 0 \(it is Falling\)")):
        with pytest.raises(ValueError, match=message):
            quiet(vrnn(), data, batch_size=3, **given)
    with pytest.raises(ValueError, match="Aggressive: updates must be an integer of at least 1"):
        Aggressive(0)
    with pytest.raises(TypeError, match="Aggressive: rising must be a function of the model"):
        Aggressive(2, "mutual information")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="of DeterministicRNN no trained parameter belongs to the guide alone: leave"):
        quiet(rv.DeterministicRNN(5, H), data, encoder_updates=2)


class Falling:
    def __call__(self, step: int) -> float:
        return 0.25 - 0.5 * step


# ------------------------------------------------------------------------------------------- the log
OBJECTIVES = [rv.IWAE(4), rv.IWAE(4, doubly_reparametrized=True), rv.PathDerivative(2), rv.FreeBits(3.0),
              rv.FreeBits(3.0, steps=False, sequences=True), rv.TargetRate(4.0, weight=9.0)]


@pytest.mark.parametrize("elbo", OBJECTIVES, ids=repr)
def test_the_log_is_the_elbo_whatever_is_trained(data: SequenceDataset, elbo: Any) -> None:
    """Measured with one more draw after the loss: unannealed, without floor or target."""
    model, weight = vrnn(), 1.0 if isinstance(elbo, rv.TargetRate) else 0.3
    batch = data.padded(data.batches(8, seed=4).order[0])
    torch.manual_seed(4)
    loss = elbo.loss(model.model, model.guide, *batch)
    terms = measure(model, batch, analytic=elbo.analytic)
    row = quiet(model, data, data, epochs=1, batch_size=8, seed=4, elbo=elbo, kl_weight=constant(weight)).rows[0]
    found = [row.elbo, row.reconstruction, row.kl]
    np.testing.assert_allclose(found, [float(term.sum()) / data.num_frames for term in terms], rtol=1e-10)
    assert abs(row.elbo - loss / data.num_frames) > 1e-3 and row.kl_weight == weight


@pytest.mark.parametrize("elbo", [*OBJECTIVES, rv.FIVO(4)], ids=repr)
def test_every_objective_trains(data: SequenceDataset, elbo: Any) -> None:
    """Over ragged batches, with a validation that is of the ELBO."""
    model = vrnn()
    before = flat(model)
    history = quiet(model, data, data, epochs=3, batch_size=3, elbo=elbo, ema=0.9)
    assert np.isfinite(history["valid_elbo"]).all() and not torch.equal(before, flat(model))


def test_resume_knows_the_objective(data: SequenceDataset, tmp_path: Path) -> None:
    quiet(vrnn(), data, epochs=1, elbo=rv.IWAE(4), checkpoint=tmp_path)
    with pytest.raises(ValueError, match=r"is of another run: elbo was 'IWAE\(4\)' and is now 'IWAE\(8\)'"):
        quiet(vrnn(), data, epochs=2, elbo=rv.IWAE(8), checkpoint=tmp_path, resume=True)


@pytest.mark.parametrize("elbo", OBJECTIVES, ids=repr)
@pytest.mark.parametrize("name", ["VRNN", "DMM", "VRAE"])
def test_a_training_step_reads_nothing_from_the_device(name: str, elbo: Any) -> None:
    """There is nothing to read on the meta device, so a step that runs there never waits for a GPU."""
    case = ZOO[name]
    loss = rv.Loss(case.make().to("meta"), elbo)
    with pyro.validation_enabled(False), rv.trusted(missing=True):
        loss(case.x().to("meta"), MASK.to("meta")).backward()
    assert all(p.grad is not None for p in loss.parameters() if p.requires_grad)


# ------------------------------------------------------------------------------------------- memory, particles
def test_memory_is_reported(data: SequenceDataset) -> None:
    """On a CPU the peak of the process: some hundred MiB of Python and torch, and it never falls."""
    memory = quiet(vrnn(), data, epochs=3)["memory"]
    assert (memory > 50).all() and (memory < 1e5).all() and (np.diff(memory) >= 0).all()


def test_particles_that_pyro_would_get_wrong() -> None:
    model = ZOO["VRNN"].make()
    with pytest.raises(ValueError, match="Loss: num_particles of Trace_ELBO must be an integer of at least 1, got 0"):
        rv.Loss(model, Trace_ELBO(num_particles=0))
    for kind in (Trace_ELBO, TraceMeanField_ELBO):
        with pytest.raises(ValueError, match=f"{kind.__name__} with vectorize_particles=True needs max_plate_nesting=1"
                                             r".*\(none given.*num_particles=4, vectorize_particles=True, max_plate_n"):
            rv.Loss(model, kind(num_particles=4, vectorize_particles=True))
    with pytest.raises(ValueError, match=r"\(max_plate_nesting=0; Pyro would guess"):
        rv.Loss(model, Trace_ELBO(num_particles=4, vectorize_particles=True, max_plate_nesting=0))
    rv.Loss(model, Trace_ELBO(num_particles=4, vectorize_particles=True, max_plate_nesting=1))
    assert math.isfinite(rv.Loss(model, rv.IWAE(4))(ZOO["VRNN"].x()).item())
