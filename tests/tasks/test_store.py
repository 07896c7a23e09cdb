"""A model saved and loaded: the same numbers, no pickle, and errors that say what is wrong."""

from __future__ import annotations

import functools
import os
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import yaml
from torch import nn
from zoo import ZOO

import pyro_rvae as rv
from pyro_rvae.tasks import from_pretrained, generate, load_weights, save_pretrained, save_weights

FILES = ["README.md", "config.yaml", "model.safetensors"]


def blocks(folder: Path) -> list[str]:
    """The code of a model card."""
    return re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), flags=re.S)


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


@pytest.mark.parametrize("name", ZOO)
def test_the_zoo_comes_back(name: str, tmp_path: Path) -> None:
    """With its users' own parts, which are modules of these tests."""
    model = ZOO[name].make()
    if name == "student-prior":  # an object of a class that says nothing of its arguments
        with pytest.warns(UserWarning, match="the weights alone are saved, since STORN.prior is a StudentPrior"):
            model.save_pretrained(tmp_path)
        again = ZOO[name].make(seed=1)
        load_weights(again, tmp_path)
    else:
        model.save_pretrained(tmp_path)
        again = type(model).from_pretrained(tmp_path, allow=("small_models",))
    assert again.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(x, model.state_dict()[key]) for key, x in again.state_dict().items())
    assert type(again) is type(model) and repr(again) == repr(model)


def test_no_pickle_and_no_leftovers(tmp_path: Path) -> None:
    save_pretrained(rv.VRNN(3, 2, 4), tmp_path, note={"lr": 1e-3})
    assert sorted(p.name for p in tmp_path.iterdir()) == FILES
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


def own_part() -> rv.RVAE:
    return rv.RVAE(3, 2, 4, likelihood=rv.Conditional(nn.Linear(4, 3), rv.Bernoulli(3)))


def replaced_part() -> rv.RVAE:
    model = rv.RVAE(3, 2, 4)
    model.recurrence = rv.GRU(2, 4)
    return model


@pytest.mark.parametrize(("build", "why"), [
    (own_part, r"RVAE.likelihood(\.net)? is a \w+ whose constructor's arguments are not known"),
    (replaced_part, "RVAE.recurrence is GRU, where its constructor built LSTM"),
])
def test_a_part_without_a_name(build: Any, why: str, tmp_path: Path) -> None:
    """Its weights are saved; warning, card and the error of loading say the same, and what the card says works."""
    model = build()
    data = rv.data.SequenceDataset(torch.ones(6, 3), [4, 2])
    model.data_card, model.num_sequences = rv.core.DataCard.of(data), 2
    said = why + r", which no name leads to: build the model by your own code, and load them with rv.tasks.load_weights"
    with pytest.warns(UserWarning, match=said):
        save_pretrained(model, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == FILES
    with pytest.raises(ValueError, match=rf"{re.escape(str(tmp_path))}.*{said}"):
        from_pretrained(tmp_path)
    code = blocks(tmp_path)[-1].replace("...", "build()").replace("path/to/this/folder", str(tmp_path))
    found: dict[str, Any] = {"build": build}
    exec(code, found)
    assert re.search(said, (tmp_path / "README.md").read_text())
    assert all(torch.equal(x, model.state_dict()[name]) for name, x in found["model"].state_dict().items())
    assert found["model"].data_card == model.data_card and found["model"].num_sequences == 2
    with pytest.raises(ValueError, match="these are the weights of another model"):
        load_weights(rv.VRNN(3, 2, 4), tmp_path)
    save_weights(model, tmp_path / "mine.safetensors")
    for name in ("mine.safetensors", "model.safetensors"):
        again = build()
        load_weights(again, tmp_path / name)
        assert all(torch.equal(x, model.state_dict()[name]) for name, x in again.state_dict().items())
        assert again.data_card is None


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


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_failed_write_keeps_what_stood(saved: Path, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full at the first, second or third file: none of them has changed."""
    before, calls = {p.name: p.read_bytes() for p in saved.iterdir()}, []

    def full(*args: Any) -> None:
        calls.append(args)
        if len(calls) >= at:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_pretrained(rv.VRNN(3, 2, 4), saved)
    assert {p.name: p.read_bytes() for p in saved.iterdir()} == before


# ------------------------------------------------------------------------------------------ as methods
def test_methods_of_the_class(tmp_path: Path) -> None:
    model = rv.VRNN(3, 2, 4)
    assert model.save_pretrained(tmp_path, note=1) == tmp_path
    assert type(rv.VRNN.from_pretrained(tmp_path)) is rv.VRNN
    again = rv.SequenceVAE.from_pretrained(tmp_path)
    assert torch.equal(again.state_dict()["x0"], model.x0)
    with pytest.raises(ValueError, match="model is a VRNN, and no DMM: call VRNN.from_pretrained, or rv.from_pretra"):
        rv.DMM.from_pretrained(tmp_path)


def test_methods_pass_on_what_is_allowed(mine: Any, tmp_path: Path) -> None:
    mine.MyModel(3, 2, 4).save_pretrained(tmp_path / "run")
    with pytest.raises(ValueError, match=r"allow=\('mypkg_store',\)"):
        rv.RVAE.from_pretrained(tmp_path / "run")
    assert type(rv.RVAE.from_pretrained(tmp_path / "run", allow=("mypkg_store",))) is mine.MyModel


# ------------------------------------------------------------------------------------------ files that don't fit
def edit(folder: Path, change: Any) -> None:
    config = yaml.safe_load((folder / "config.yaml").read_text())
    change(config)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


@pytest.mark.parametrize(("field", "value", "what"), [
    ("x_dim", 4, r"'x0' has shape \(3,\), VRNN needs \(4,\)"),
    ("x_dim", "three", "config.yaml: model: .*x_dim"),
    ("width", 4, r"config.yaml: model: VRNN cannot be built .*\n?.*'width'"),
    ("prior", {"name": "pyro_rvae.Nope"}, "VRNN.prior: the module pyro_rvae has no 'Nope'"),
    ("prior", {"name": "nowhere.Part"}, "VRNN.prior names nowhere.Part, which is outside"),
    ("prior", {"partial": "pyro_rvae.Normal", "init_args": [1]}, "VRNN.prior: init_args must be a mapping"),
    ("likelihood", {"class_path": "pyro_rvae.Normal", "init_args": {"dims": 3}}, "VRNN.likelihood cannot be built"),
])
def test_an_argument_that_does_not_fit_is_named(saved: Path, field: str, value: Any, what: str) -> None:
    edit(saved, lambda config: config["model"]["init_args"].update({field: value}))
    with pytest.raises(ValueError, match=what):
        from_pretrained(saved)


CARD = {"kind": "binary", "x_dim": 3, "lengths": {4: 2}}


@pytest.mark.parametrize(("change", "what"), [
    ({"num_sequences": "many"}, "num_sequences must be an integer of at least 1, got 'many'"),
    ({"num_sequences": 0}, "num_sequences must be an integer"),
    ({"data_card": [1]}, "data_card must be a mapping with kind and x_dim"),
    ({"data_card": CARD | {"colour": 1}}, r"data_card must be .*got \['colour'\]"),
    ({"data_card": CARD | {"kind": "odd"}}, "data_card.kind must be binary, real, counts or categories, got 'odd'"),
    ({"data_card": CARD | {"x_dim": 4}}, "data_card.x_dim is 4, and the model was built for frames of x_dim=3"),
    ({"data_card": CARD | {"x_dim": "3"}}, "data_card.x_dim must be an integer of at least 1, got '3'"),
    ({"data_card": CARD | {"names": ["a"]}}, "data_card.names must be one for each of x_dim=3 features, got 1"),
    ({"data_card": CARD | {"names": "abc"}}, "data_card.names must be a list of words"),
    ({"data_card": CARD | {"lengths": {"4": 2}}}, "data_card.lengths must be a mapping from length to number"),
    ({"data_card": CARD | {"missing": "no"}}, "data_card.missing must be true or false"),
    ({"pyro_rvae": "99.0.0"}, "pyro_rvae is 99.0.0, so a newer version wrote the model than this one"),
    ({"pyro_rvae": "new"}, "pyro_rvae must be the version that wrote the file"),
    ({"weights_sha256": "0" * 64}, "weights_sha256 is not that of model.safetensors beside it: a save was interrupted"),
])
def test_a_field_that_does_not_fit_is_named(saved: Path, change: dict[str, Any], what: str) -> None:
    edit(saved, lambda config: config.update(change))
    with pytest.raises(ValueError, match=rf"config.yaml: {what}"):
        from_pretrained(saved)


def test_a_patch_release_and_a_config_of_before(saved: Path) -> None:
    major, minor, _ = rv.__version__.split(".")
    edit(saved, lambda config: (config.update(pyro_rvae=f"{major}.{minor}.99"), config.pop("weights_sha256")))
    assert type(from_pretrained(saved)) is rv.VRNN


def test_weights_of_a_twin_are_found_out(saved: Path, tmp_path: Path) -> None:
    """A model of the same sizes: nothing but the hash tells."""
    other = save_pretrained(rv.VRNN(3, 2, 4), tmp_path / "other")
    (saved / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    with pytest.raises(ValueError, match="weights_sha256 is not that of model.safetensors"):
        from_pretrained(saved)


@pytest.mark.parametrize("stopped", [1, 2, 3])
def test_a_save_that_is_stopped_between_two_files(saved: Path, stopped: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """After each rename the folder loads as it was, or says that it doesn't; never a mixture."""
    before, calls, replace = from_pretrained(saved).state_dict(), [], os.replace

    def dies(*args: Any) -> None:
        calls.append(args)
        if len(calls) == stopped:
            raise KeyboardInterrupt
        replace(*args)

    monkeypatch.setattr(os, "replace", dies)
    with pytest.raises(KeyboardInterrupt):
        save_pretrained(rv.VRNN(3, 2, 4), saved)
    monkeypatch.undo()
    assert sorted(p.name for p in saved.iterdir()) == FILES
    assert [Path(path).name for _, path in calls] == ["README.md", "model.safetensors", "config.yaml"][:stopped]
    try:
        after = from_pretrained(saved).state_dict()
    except ValueError as error:
        assert stopped > 1 and "weights_sha256" in str(error)
    else:
        assert all(torch.equal(after[name], before[name]) for name in before)
    save_pretrained(rv.VRNN(3, 2, 4), saved)
    from_pretrained(saved)


def test_settings_without_a_name_write_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="schedule is .*no dotted path"):
        save_pretrained(rv.VRNN(3, 2, 4), tmp_path / "run", schedule=lambda step: step)
    assert not (tmp_path / "run").exists()


def test_no_folder_and_no_model(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    model = rv.VRNN(2, z_dim=2, h_dim=2)
    for place in (tmp_path / "mine.txt", tmp_path / "mine.txt" / "below"):
        with pytest.raises(ValueError, match="save_pretrained writes a folder, and .*mine.txt is a file"):
            model.save_pretrained(place)
    with pytest.raises(TypeError, match="expected a SequenceVAE, got the class VRNN: make one first"):
        rv.tasks.save_pretrained(rv.VRNN, tmp_path / "new")
    assert not (tmp_path / "new").exists()
