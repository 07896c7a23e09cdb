"""A run that diverges says where, and keeps what was good."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import pyro_rvae as rv
from pyro_rvae.data import Batch, Batches, SequenceDataset
from pyro_rvae.infer import Callback, Checkpoint, TrainingDiverged, fit, linear, load_checkpoint
from pyro_rvae.infer import trainer as trainer_module
from pyro_rvae.infer.guard import Guard
from pyro_rvae.nn import concat

quiet = partial(fit, progress=False)


@pytest.fixture(params=["eager", "lagging"])
def guarded(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The guard of a CPU, and that of a GPU."""
    if request.param == "lagging":
        monkeypatch.setattr(trainer_module, "Guard", lambda model, device: Guard(model, torch.device("cuda")))
    return str(request.param)


def vrnn(x_dim: int = 5, **parts: Any) -> rv.VRNN:
    torch.manual_seed(0)
    return rv.VRNN(x_dim, 2, 4, **parts)


def finite(model: nn.Module) -> bool:
    return all(bool(p.isfinite().all()) for p in model.parameters())


def with_a_huge_value(real: SequenceDataset) -> SequenceDataset:
    """Sequence 4 has 1e200 at its third step: its square is beyond float64."""
    values = real.values.clone()
    values[real.starts[4] + 2, 1] = 1e200
    return SequenceDataset(values, real.lengths)


def test_names_the_step_the_site_and_the_sequences(real: SequenceDataset, guarded: str) -> None:
    data, model = with_a_huge_value(real), vrnn(3, likelihood=rv.Normal)
    batches = data.batches(2).order
    step = next(i for i, numbers in enumerate(batches, 1) if 4 in numbers)
    with pytest.raises(TrainingDiverged, match=f"training diverged at step {step} .epoch 1.*not finite; the first site "
                       r"that is not finite is '[xz]_2' \(its log-density, in the model\). The batch holds the "
                       "sequences .*4.*last good weights again. Try a smaller lr") as caught:
        quiet(model, data, epochs=3, batch_size=2)
    assert isinstance(caught.value, FloatingPointError)
    assert caught.value.step == step and caught.value.site in ("x_2", "z_2")
    assert caught.value.sequences == batches[step - 1].tolist()
    assert finite(model) and all(p.grad is None for p in model.parameters())


class SpoilAt(Callback):
    """Sets a weight to NaN after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, state: Any) -> None:
        if state.step == self.step:
            state.model.prior.net[0].bias.data[0] = math.nan


def test_no_nan_in_a_checkpoint(data: SequenceDataset, tmp_path: Path, guarded: str) -> None:
    model = vrnn()
    with pytest.raises(TrainingDiverged, match="holds the last good checkpoint"):
        quiet(model, data, epochs=9, batch_size=2, ema=0.9, checkpoint=Checkpoint(tmp_path, every=3),
              callbacks=[SpoilAt(9)])  # a callback comes before the saving of the same step
    saved = load_checkpoint(tmp_path)
    assert saved.state["step"] == 6
    assert all(bool(v.isfinite().all()) for v in saved.tensors.values() if v.is_floating_point())
    for name, value in model.state_dict().items():
        assert torch.equal(value, saved.tensors[f"model/{name}"])


def test_the_best_weights_are_given_back(data: SequenceDataset, guarded: str) -> None:
    best: dict[str, Tensor] = {}

    class Keep(Callback):
        def on_epoch_end(self, state: Any, row: Any) -> None:
            if state.best_epoch == row.epoch:
                best.update({k: v.clone() for k, v in state.model.state_dict().items()})

    model = vrnn()
    with pytest.raises(TrainingDiverged):
        quiet(model, data, data, epochs=9, batch_size=4, callbacks=[Keep(), SpoilAt(5)])
    assert best and all(torch.equal(best[k], v) for k, v in model.state_dict().items())


class BadGradient(rv.VRNN):
    """Its loss is finite, but the gradient of one weight is not: the derivative of a root at 0."""

    def __init__(self) -> None:
        super().__init__(5, 2, 4)
        self.root = nn.Parameter(torch.zeros(5))
        inner = self.likelihood

        def likelihood(*inputs: Tensor) -> Any:
            return rv.Bernoulli(5)(inner.net(concat(inputs)) + self.root.abs().sqrt() * 0.0)

        del self.likelihood
        self.likelihood = likelihood


def test_a_gradient_that_is_not_finite(data: SequenceDataset) -> None:
    model = BadGradient()
    with pytest.raises(TrainingDiverged, match="at step 1 .*every site is finite, but the gradient of the parameter "
                       "root is not"):
        quiet(model, data, epochs=1)
    assert finite(model)


def test_a_weight_that_is_not_finite_is_named(data: SequenceDataset) -> None:
    model = vrnn()
    with pytest.raises(TrainingDiverged, match=r"at step 2 .*the parameter prior.net.0.bias is not finite"):
        quiet(model, data, epochs=2, batch_size=4, callbacks=[SpoilAt(1)])
    assert finite(model)


def test_a_lagging_guard_does_not_look_at_each_step() -> None:
    model = vrnn()
    guard, one, bad = Guard(model, torch.device("cuda")), torch.tensor(1.0), torch.tensor(math.inf)
    assert all(guard.watch(i, bad if i == 4 else one, one) is None for i in range(15))
    assert guard.watch(15, one, one) == 4
    assert guard.look() is None
    assert Guard(model, torch.device("cpu")).watch(0, one, bad) == 0


class Reads(TorchDispatchMode):
    """Counts the numbers that are read back from tensors, but for those of batches that the host puts together."""

    def __init__(self) -> None:
        super().__init__()
        self.count, self.paused = 0, False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default and not self.paused:
            self.count += 1
        return func(*args, **(kwargs or {}))


def test_a_step_reads_nothing_back(data: SequenceDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first epoch (which checks the data) a step has nothing for the host to wait for."""
    monkeypatch.setattr(trainer_module, "Guard", lambda model, device: Guard(model, torch.device("cuda")))
    seen: list[int] = []
    collate = Batches.__getitem__

    def collate_uncounted(batches: Batches, i: int) -> Batch:
        reads.paused = True
        batch = collate(batches, i)
        reads.paused = False
        return batch

    monkeypatch.setattr(Batches, "__getitem__", collate_uncounted)

    class Watch(Callback):
        def on_step(self, state: Any) -> None:
            if state.epoch == 1:
                seen.append(reads.count)

    with Reads() as reads:
        quiet(vrnn(), data, epochs=2, batch_size=1, ema=0.9, kl_weight=linear(0.1, 1.0, 10), callbacks=[Watch()])
    assert len(seen) == 8 and seen[0] > 0
    assert len(set(seen)) == 1
