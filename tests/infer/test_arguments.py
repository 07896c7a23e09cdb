"""What `fit` refuses, with the words that a user sees."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pyro
import pytest
import torch

import pyro_rvae as rv
from pyro_rvae.data import SequenceDataset, StaticDataset
from pyro_rvae.infer import Checkpoint, fit

quiet = partial(fit, progress=False)


@pytest.mark.parametrize(("given", "message"), [
    ({"epochs": 0}, "fit: epochs must be an integer of at least 1, got 0"),
    ({"epochs": 1.5}, "fit: epochs must be an integer of at least 1, got 1.5"),
    ({"batch_size": 0}, "fit: batch_size must be an integer of at least 1, got 0"),
    ({"valid_every": 0}, "fit: valid_every must be an integer"),
    ({"patience": 0}, "fit: patience must be an integer of at least 1 or None, got 0"),
    ({"patience": 3}, "fit: patience stops the training by the validation bound, so it needs valid="),
    ({"lr": 0.0}, "fit: lr must be a finite number above 0, got 0.0"),
    ({"lr": float("nan")}, "fit: lr must be a finite number above 0, got nan"),
    ({"weight_decay": -1.0}, "fit: weight_decay must be a finite number of at least 0, got -1.0"),
    ({"clip": 0.0}, "fit: clip must be a finite number above 0, got 0.0; clip=None does not clip"),
    ({"ema": 1.0}, "fit: ema must lie between 0 and 1 .* got 1.0"),
    ({"ema": 0.0}, "fit: ema must lie between 0 and 1"),
    ({"seed": -1}, "fit: seed must be an integer of at least 0, got -1"),
    ({"precision": "16"}, r"fit: precision must be one of \['32', 'bf16'\], got '16'"),
    ({"resume": True}, "fit: resume=True goes on from a checkpoint, so it needs checkpoint="),
    ({"kl_weight": lambda step: -0.5}, "fit: kl_weight gave -0.5 for step 0; it must give a finite number"),
])
def test_bad_values(data: SequenceDataset, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quiet(rv.VRNN(5, 2, 4), data, **given)


@pytest.mark.parametrize(("given", "message"), [
    ({"epoch": 3}, "unexpected keyword argument 'epoch'"),
    ({"schedule": 0.1}, r"fit: schedule must be a function of one number, got 0.1; .*rv.infer.constant\(0.1\)"),
    ({"kl_weight": 0.1}, "fit: kl_weight must be a function of one number"),
    ({"optimizer": pyro.optim.Adam({"lr": 0.1})}, "must be a function that takes parameters and returns a torch.optim"),
    ({"optimizer": lambda parameters: 3}, "must be a function that takes parameters .* goes with pyro.infer.SVI"),
    ({"elbo": pyro.infer.RenyiELBO()}, "RenyiELBO has none"),
    ({"valid": [[0.0, 1.0]]}, "fit: valid must be a SequenceDataset or a StaticDataset, got list; wrap"),
])
def test_bad_types(data: SequenceDataset, given: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        quiet(rv.VRNN(5, 2, 4), data, **given)


def test_data_that_do_not_suit_the_model(data: SequenceDataset, real: SequenceDataset) -> None:
    with pytest.raises(ValueError, match="built for frames of x_dim=4, and data has x_dim=5; build it with VRNN.for_"):
        quiet(rv.VRNN(4, 2, 4), data)
    with pytest.raises(ValueError, match="x_dim=5, and valid has x_dim=3"):
        quiet(rv.VRNN(5, 2, 4), data, real)
    with pytest.raises(ValueError, match="VAE is trained on a StaticDataset, and data holds sequences over time"):
        quiet(rv.VAE(5), data)
    with pytest.raises(ValueError, match="VRNN is trained on a SequenceDataset, and data holds static rows"):
        quiet(rv.VRNN(5, 2, 4), StaticDataset(torch.zeros(4, 5)))
    with pytest.raises(ValueError, match="outside the support of its likelihood Bernoulli"):
        quiet(rv.VRNN(3, 2, 4), real)
    with pytest.raises(ValueError, match="outside the support"):
        quiet(rv.VRNN(5, 2, 4), data, SequenceDataset(data.values + 0.5, data.lengths, kind="real"), epochs=1)


def test_nothing_to_train(data: SequenceDataset) -> None:
    with pytest.raises(ValueError, match="no parameter with requires_grad=True, so there is nothing to train"):
        quiet(rv.VRNN(5, 2, 4).requires_grad_(False), data)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu(data: SequenceDataset) -> None:
    with pytest.raises(ValueError, match="device='cuda', but torch finds no GPU here; give device='cpu' or 'auto'"):
        quiet(rv.VRNN(5, 2, 4), data, device="cuda")


# ------------------------------------------------------------------------------------------- checkpoint folders
def test_a_folder_of_another_run_is_not_overwritten(data: SequenceDataset, tmp_path: Path) -> None:
    quiet(rv.VRNN(5, 2, 4), data, epochs=1, checkpoint=tmp_path)
    with pytest.raises(ValueError, match="holds the checkpoint of another run, which would be lost. Give resume=True"):
        quiet(rv.VRNN(5, 2, 4), data, epochs=1, checkpoint=tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="checkpoint must be a folder, and .*file is a file; name another"):
        quiet(rv.VRNN(5, 2, 4), data, epochs=1, checkpoint=tmp_path / "file")


def test_resume_without_a_checkpoint(data: SequenceDataset, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a checkpoint folder at .*, but it holds no state.json"):
        quiet(rv.VRNN(5, 2, 4), data, checkpoint=tmp_path, resume=True)


@pytest.mark.parametrize(("given", "message"), [
    ({"batch_size": 4}, "is of another run: batch_size was 3 and is now 4"),
    ({"seed": 1}, "seed was 0 and is now 1"),
    ({"lr": 0.5}, r"lr was \[0.001\] and is now \[0.5\]"),
    ({"ema": 0.9}, "ema was None and is now 0.9"),
    ({"kl_weight": rv.infer.linear(0, 1, 5)}, "kl_weight was 'Constant.* and is now 'Linear"),
])
def test_resume_with_other_settings(data: SequenceDataset, tmp_path: Path, given: dict[str, Any], message: str) -> None:
    settings: dict[str, Any] = {"epochs": 1, "batch_size": 3, "checkpoint": tmp_path}
    quiet(rv.VRNN(5, 2, 4), data, **settings)
    with pytest.raises(ValueError, match=message):
        quiet(rv.VRNN(5, 2, 4), data, **{**settings, **given}, resume=True)


def test_resume_with_another_model_or_other_data(data: SequenceDataset, tmp_path: Path) -> None:
    quiet(rv.VRNN(5, 2, 4), data, epochs=1, checkpoint=tmp_path)
    with pytest.raises(ValueError, match="is of another model: .* Build the model as it was built for that run"):
        quiet(rv.VRNN(5, 3, 4), data, epochs=1, checkpoint=tmp_path, resume=True)
    with pytest.raises(ValueError, match="is of another run: data was"):
        quiet(rv.VRNN(5, 2, 4), data.subset([0, 1]), epochs=1, checkpoint=tmp_path, resume=True)


def test_checkpoint_cadence_is_checked() -> None:
    with pytest.raises(ValueError, match="Checkpoint: every must be an integer of at least 1"):
        Checkpoint("run", every=0)
    with pytest.raises(ValueError, match="Checkpoint: seconds must be at least 0"):
        Checkpoint("run", seconds=-1.0)
    assert repr(Checkpoint("run", every=5)) == "Checkpoint('run', every=5, seconds=10.0)"
