"""Ctrl-C saves and returns; going on afterwards gives the run that was never interrupted."""

from __future__ import annotations

import errno
import os
import signal
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import pyro_rvae as rv
from pyro_rvae.data import SequenceDataset
from pyro_rvae.infer import Callback, Checkpoint, fit, load_checkpoint

SETTINGS: dict[str, Any] = {"epochs": 4, "batch_size": 3, "progress": False, "ema": 0.9, "lr": 0.02}


class Press(Callback):
    """Ctrl-C after a step: the signal itself, or the exception it becomes under another handler."""

    def __init__(self, step: int, how: str) -> None:
        self.step, self.how = step, how

    def on_step(self, state: Any) -> None:
        if state.step == self.step:
            if self.how == "exception":
                raise KeyboardInterrupt
            os.kill(os.getpid(), signal.SIGINT)


def vrnn() -> rv.VRNN:
    torch.manual_seed(0)
    return rv.VRNN(5, 2, 4, dropout=0.1)


@pytest.mark.parametrize("how", ["signal", "exception"])
@pytest.mark.parametrize("step", [5, 6])  # within an epoch, and after its last step
def test_saves_and_returns(data: SequenceDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str,
                           step: int) -> None:
    whole, broken = vrnn(), vrnn()
    unbroken = fit(whole, data, data, **SETTINGS)
    history = fit(broken, data, data, **SETTINGS, checkpoint=tmp_path, callbacks=[Press(step, how)])
    said = capsys.readouterr().err
    assert f"interrupted in epoch 2, after step {step}; {tmp_path} holds this step: go on with fit(" in said
    assert len(history) == 1 and load_checkpoint(tmp_path).state["step"] == step
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    resumed = fit(broken, data, data, **SETTINGS, checkpoint=tmp_path, resume=True)
    assert [row[:-1] for row in resumed] == [row[:-1] for row in unbroken]
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), broken.parameters(), strict=True))


def test_without_a_folder_it_says_so(data: SequenceDataset, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(fit(vrnn(), data, **SETTINGS, callbacks=[Press(4, "signal")])) == 1
    assert "nothing was saved, since fit was given no checkpoint folder" in capsys.readouterr().err


def test_pressed_twice_within_a_step_nothing_half_done_is_saved(data: SequenceDataset, tmp_path: Path,
                                                                capsys: pytest.CaptureFixture[str]) -> None:
    class Twice(torch.optim.Adam):
        steps = 0

        def step(self, closure: Any = None) -> Any:
            Twice.steps += 1
            if Twice.steps == 5:
                os.kill(os.getpid(), signal.SIGINT)
                os.kill(os.getpid(), signal.SIGINT)
            return super().step(closure)

    fit(vrnn(), data, **SETTINGS, optimizer=Twice, checkpoint=Checkpoint(tmp_path, every=3))
    assert f"after step 4; {tmp_path} holds an earlier step" in capsys.readouterr().err
    assert load_checkpoint(tmp_path).state["step"] == 3


def test_a_handler_of_the_users_is_left_alone(data: SequenceDataset) -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    try:
        history = fit(vrnn(), data, **SETTINGS, callbacks=[Press(4, "signal")])
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [signal.SIGINT] and len(history) == 4


def test_fits_in_another_thread(data: SequenceDataset) -> None:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(len(fit(vrnn(), data, **SETTINGS))))
    thread.start()
    thread.join()
    assert found == [4]


def test_a_finished_run_resumed_is_finished(data: SequenceDataset, tmp_path: Path) -> None:
    model, again, settings = vrnn(), vrnn(), {**SETTINGS, "lr": 0.5, "ema": None}
    history = fit(model, data, data.subset([1, 4]), **settings, checkpoint=tmp_path)
    resumed = fit(again, data, data.subset([1, 4]), **settings, checkpoint=tmp_path, resume=True)
    assert history.best.epoch < 4  # so the best weights are not those of the end
    assert repr(resumed) == repr(history)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD", "RMSprop", "Adagrad", "NAdam", "Adamax"])
def test_optimizers_resume_exactly(data: SequenceDataset, tmp_path: Path, name: str) -> None:
    make = partial(getattr(torch.optim, name), lr=0.01)
    whole, broken = vrnn(), vrnn()
    fit(whole, data, **SETTINGS, optimizer=make)
    fit(broken, data, **SETTINGS, optimizer=make, checkpoint=tmp_path, callbacks=[Press(5, "exception")])
    fit(broken, data, **SETTINGS, optimizer=make, checkpoint=tmp_path, resume=True)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), broken.parameters(), strict=True))


def test_a_full_disk_stops_the_fit_and_keeps_the_checkpoint_before(data: SequenceDataset, tmp_path: Path,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    class Fill(Callback):
        def on_step(self, state: Any) -> None:
            if state.step == 5:
                monkeypatch.setattr(os, "fsync", full)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    whole, broken = vrnn(), vrnn()
    unbroken = fit(whole, data, data, **SETTINGS)
    with pytest.raises(OSError, match=f"could not be saved to {tmp_path}: No space left on device.*resume=True"):
        fit(broken, data, data, **SETTINGS, checkpoint=Checkpoint(tmp_path, every=2), callbacks=[Fill()])
    monkeypatch.undo()
    assert load_checkpoint(tmp_path).state["step"] == 4 and len(list(tmp_path.iterdir())) == 2
    resumed = fit(broken, data, data, **SETTINGS, checkpoint=Checkpoint(tmp_path, every=2), resume=True)
    assert [row[:-1] for row in resumed] == [row[:-1] for row in unbroken]


def test_a_pickle_is_no_run_to_resume(data: SequenceDataset, tmp_path: Path) -> None:
    torch.save(vrnn().state_dict(), tmp_path / "state.json")
    with pytest.raises(ValueError, match="expected the JSON of a checkpoint at .*, got a pickle"):
        fit(vrnn(), data, **SETTINGS, checkpoint=tmp_path, resume=True)


def test_cadence(data: SequenceDataset, tmp_path: Path) -> None:
    """By default at ends of epochs, not oftener than each 10 seconds, and at the end; else every n steps."""
    saved: list[int] = []

    class Watch(Callback):
        def on_step(self, state: Any) -> None:
            folder = tmp_path / "often"
            saved.append(load_checkpoint(folder).state["step"] if folder.exists() else 0)

        def on_epoch_end(self, state: Any, row: Any) -> None:
            assert not (tmp_path / "seldom").exists()

    fit(vrnn(), data, **SETTINGS, checkpoint=tmp_path / "seldom", callbacks=[Checkpoint(tmp_path / "often", every=5),
                                                                             Watch()])
    assert saved == [0] * 4 + [5] * 5 + [10] * 3
    assert load_checkpoint(tmp_path / "seldom").state["step"] == 12
    eager = Checkpoint(tmp_path / "epochs", seconds=0.0)
    fit(vrnn(), data, **SETTINGS, callbacks=[eager])
    assert load_checkpoint(tmp_path / "epochs").state["epoch"] == 4
