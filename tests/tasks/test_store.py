"""A model saved and loaded: the same numbers, no pickle, and errors that say what is wrong."""

from __future__ import annotations

import functools
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import yaml
from torch import nn

import pyro_rvae as rv
from pyro_rvae.tasks import from_pretrained, generate, load_weights, save_pretrained, save_weights

BUILDERS = {
    "dmm": lambda: rv.DMM(5, 2, 6, posterior=functools.partial(rv.GaussianChain, hidden=(4,)), skip_edges=True),
    "dmm-combiner": lambda: rv.DMM(5, 2, 6, posterior=rv.Combiner, encoder=rv.Bidirectional),
    "vrnn": lambda: rv.VRNN(5, 2, 6, recurrence=rv.GRU, likelihood=functools.partial(rv.Normal, scale=0.5)),
    "rvae": lambda: rv.RVAE(5, 2, 6, likelihood=rv.Bernoulli(5)),
    "fixed scale": lambda: rv.RVAE(5, 2, 6, likelihood=rv.Normal(5, scale=0.5)),
    "learned scale": lambda: rv.DMM(5, 2, 6, likelihood=rv.Normal(5, scale=0.5, learned=True)),
    "autoregressive": lambda: rv.VRNN(5, 2, 6, likelihood=rv.AutoregressiveBernoulli(5, hidden=11)),
    "storn": lambda: rv.STORN(5, 2, 6, likelihood=functools.partial(rv.Categorical, classes=3)),
    "vrae": lambda: rv.VRAE(5, 2, 6, likelihood=rv.Poisson),
    "vae": lambda: rv.VAE(5, 2, 6, hidden=(7, 4)),
}


@pytest.mark.parametrize("name", BUILDERS)
def test_round_trip(name: str, tmp_path: Path) -> None:
    model = BUILDERS[name]()
    model.num_sequences = 9
    save_pretrained(model, tmp_path / "run")
    state = torch.get_rng_state()
    again = from_pretrained(tmp_path / "run")
    assert torch.equal(state, torch.get_rng_state()), "loading draws no number that the user would miss"
    assert type(again) is type(model)
    assert not again.training
    assert again.num_sequences == 9
    assert [*again.state_dict()] == [*model.state_dict()]
    for mine, theirs in zip(again.state_dict().values(), model.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)
    length = None if model.static else 3
    assert torch.equal(generate(again, 2, length, seed=1), generate(model, 2, length, seed=1))


def test_no_pickle_and_no_leftovers(tmp_path: Path) -> None:
    save_pretrained(rv.VRNN(3, 2, 4), tmp_path, note={"lr": 1e-3})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.yaml", "model.safetensors"]
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert config["model"]["class_path"] == "pyro_rvae.VRNN"
    assert config["note"] == {"lr": 1e-3}
    assert safetensors.torch.load_file(tmp_path / "model.safetensors").keys() == rv.VRNN(3, 2, 4).state_dict().keys()


def test_units_go_with_the_model(tmp_path: Path) -> None:
    data = rv.data.SequenceDataset(10 + 2 * torch.randn(40, 2), [10] * 4)
    data = data.transformed(rv.data.Affine.standardize(data.values))
    model = rv.RVAE.for_data(data, z_dim=2, h_dim=4)
    save_pretrained(model, tmp_path)
    again = from_pretrained(tmp_path)
    assert torch.equal(again.transform.loc, model.transform.loc)
    assert generate(again, 20, 10, seed=0).mean() > 5


def test_data_with_gaps(tmp_path: Path) -> None:
    values = torch.randn(40, 2)
    values[3, 0] = torch.nan
    model = rv.RVAE.for_data(rv.data.SequenceDataset(values, [10] * 4), z_dim=2, h_dim=4)
    save_pretrained(model, tmp_path)
    assert from_pretrained(tmp_path).reader.missing


def test_the_dtype_is_kept(tmp_path: Path) -> None:
    save_pretrained(rv.VRNN(3, 2, 4).float(), tmp_path)
    assert {p.dtype for p in from_pretrained(tmp_path).parameters()} == {torch.float32}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_from_a_gpu(tmp_path: Path) -> None:
    save_pretrained(rv.VRNN(3, 2, 4).cuda(), tmp_path)
    assert {p.device.type for p in from_pretrained(tmp_path).parameters()} == {"cpu"}


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A user's own model and prior, in a package of their own."""
    folder = tmp_path / "elsewhere" / "mypkg_store"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text('''
import pyro_rvae as rv
import torch
import pyro.distributions as dist


class MyPrior(torch.nn.Module):
    def __init__(self, in_dim, dim, spread=1.0):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.full((dim,), spread))

    def forward(self, *inputs):
        return dist.Normal(torch.zeros_like(self.scale), self.scale.exp()).to_event(1)


class MyModel(rv.RVAE):
    """z_t ~ p(z);  x_t ~ p(x_t | h_t)."""
''')
    monkeypatch.syspath_prepend(str(folder.parent))
    import mypkg_store  # type: ignore[import-not-found]

    return mypkg_store


def test_own_classes_need_trust(mine: Any, tmp_path: Path) -> None:
    model = mine.MyModel(3, 2, 4, prior=functools.partial(mine.MyPrior, spread=0.5))
    save_pretrained(model, tmp_path / "run")
    with pytest.raises(ValueError, match=r"mypkg_store.MyModel.*allow=\('mypkg_store',\), or --trust mypkg_store"):
        from_pretrained(tmp_path / "run")
    again = from_pretrained(tmp_path / "run", allow=("mypkg_store",))
    assert torch.equal(again.prior.scale, model.prior.scale)
    with pytest.raises(TypeError, match="write \\('mypkg_store',\\)"):
        from_pretrained(tmp_path / "run", allow="mypkg_store")


def test_a_part_without_a_name(tmp_path: Path) -> None:
    model = rv.RVAE(3, 2, 4, likelihood=rv.Conditional(nn.Linear(4, 3), rv.Bernoulli(3)))
    with pytest.raises(ValueError, match=r"RVAE.likelihood(\.net)? is .*rv\.tasks\.save_weights\(model, path\)"):
        save_pretrained(model, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    save_weights(model, tmp_path / "weights.safetensors")
    again = rv.RVAE(3, 2, 4, likelihood=rv.Conditional(nn.Linear(4, 3), rv.Bernoulli(3)))
    load_weights(again, tmp_path / "weights.safetensors")
    assert torch.equal(again.likelihood.net.weight, model.likelihood.net.weight)


def test_a_part_replaced_later(tmp_path: Path) -> None:
    model = rv.RVAE(3, 2, 4)
    model.recurrence = rv.GRU(2, 4)
    what = "RVAE.recurrence is GRU, where its constructor built LSTM.*rv.tasks.save_weights"
    with pytest.raises(ValueError, match=what):
        save_pretrained(model, tmp_path)


def test_not_a_model(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="expected a SequenceVAE, got Linear"):
        save_pretrained(nn.Linear(2, 2), tmp_path)  # type: ignore[arg-type]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save_pretrained(rv.VRNN(3, 2, 4), tmp_path / "run")


def test_truncated(saved: Path) -> None:
    weights = saved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ValueError, match="model.safetensors is truncated or no safetensors file.*copy it again"):
        from_pretrained(saved)


@pytest.mark.parametrize("content", [b"", b"hello", b"{}" * 40])
def test_foreign(saved: Path, content: bytes) -> None:
    (saved / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="truncated or no safetensors file"):
        from_pretrained(saved)


class Trap:
    """What must never be unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("sprung",)


@pytest.mark.parametrize("how", ["torch", "torch-old", "pickle"])
def test_a_pickle_is_never_read(saved: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(saved)
    weights = saved / "model.safetensors"
    if how == "pickle":
        weights.write_bytes(pickle.dumps({"a": Trap()}))
    else:
        torch.save({"a": Trap()}, weights, _use_new_zipfile_serialization=how == "torch")
    with pytest.raises(ValueError, match="is a pickle.*never is: write the weights again"):
        from_pretrained(saved)
    assert not (saved / "sprung").exists()


@pytest.mark.parametrize(("change", "what"), [
    ({"h_dim": 5}, r"'x0' has shape|has shape \(.*VRNN needs"),
    ({"recurrence": {"name": "pyro_rvae.GRU"}}, r"'recurrence.rnn.weight_ih_l0' has shape"),
    ({"prior": {"name": "pyro_rvae.StandardNormal"}}, r"holds 'prior.net.*which VRNN doesn't have"),
])
def test_weights_of_another_model(saved: Path, change: dict[str, Any], what: str) -> None:
    path = saved / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["model"]["init_args"] |= change
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(ValueError, match=what):
        from_pretrained(saved)


def test_a_missing_entry_is_named(saved: Path) -> None:
    weights = safetensors.torch.load_file(saved / "model.safetensors")
    del weights["z0"]
    safetensors.torch.save_file(weights, saved / "model.safetensors")
    with pytest.raises(ValueError, match=r"has no 'z0' \(2,\), which VRNN needs.*\(1 entries are missing, 0 unknown\)"):
        from_pretrained(saved)


@pytest.mark.parametrize(("config", "what"), [
    ("model: [", "is no YAML"), ("a: 1", "must say what the model is"), ("- 1", "must say what the model is"),
    ("model: {class_path: pyro_rvae.LSTM}", "must be a subclass of pyro_rvae.SequenceVAE"),
    ("model: {class_path: pyro_rvae.Nope}", "has no 'Nope'"), ("model: {init_args: {}}", "must be a dotted path"),
    ("model: !!python/object/apply:os.mkdir [sprung]", "is no YAML"),
])
def test_a_broken_config(saved: Path, config: str, what: str) -> None:
    (saved / "config.yaml").write_text(config)
    with pytest.raises(ValueError, match=what):
        from_pretrained(saved)


def test_missing_files(saved: Path) -> None:
    with pytest.raises(ValueError, match="must be a folder with config.yaml and model.safetensors"):
        from_pretrained(saved / "nowhere")
    (saved / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="there is no file .*model.safetensors"):
        from_pretrained(saved)


def test_a_failed_write_keeps_what_stood(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (saved / "model.safetensors").read_bytes()

    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_pretrained(rv.VRNN(3, 2, 4), saved)
    assert (saved / "model.safetensors").read_bytes() == before
    assert sorted(p.name for p in saved.iterdir()) == ["config.yaml", "model.safetensors"]
