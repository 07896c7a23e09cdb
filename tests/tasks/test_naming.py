"""Parts by name: there and back, and what has no name."""

from __future__ import annotations

import copy
import functools
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import pyro_rvae as rv
from pyro_rvae.tasks.naming import describe, import_name, name_of, resolve


@pytest.mark.parametrize("value", [None, True, 3, 0.5, "word", [1, [2]], {"a": 1, "b": [None]}])
def test_plain_values_stand_for_themselves(value: Any) -> None:
    assert describe(value) == value
    assert resolve(describe(value)) == value


@pytest.mark.parametrize("value", [rv.LSTM, nn.ReLU, rv.GaussianChain, rv.linear_scan, nn.init.zeros_])
def test_classes_and_functions_are_themselves(value: Any) -> None:
    assert resolve(describe(value)) is value


def test_public_names_are_short() -> None:
    assert name_of(rv.LSTM) == "pyro_rvae.LSTM"
    assert name_of(nn.Linear) == "torch.nn.Linear"
    assert describe(rv.DMM) == {"name": "pyro_rvae.DMM"}


def test_partial() -> None:
    part = functools.partial(rv.GaussianChain, hidden=(8, 4), dropout=0.1)
    described = describe({"posterior": part})
    assert json.loads(json.dumps(described)) == described
    again = resolve(described)["posterior"]
    assert again.func is rv.GaussianChain
    assert again.keywords == {"hidden": [8, 4], "dropout": 0.1}
    nested = resolve(describe(functools.partial(rv.Backward, cell=functools.partial(rv.LSTM, layers=2))))
    assert nested(3, 4).cells[0].rnn.num_layers == 2
    assert resolve(describe(functools.partial(rv.MLP, 3)))(4).out_dim == 4


@pytest.mark.parametrize("family", [rv.Bernoulli(3), rv.Categorical(2, classes=5), rv.Poisson(2),
                                    rv.StudentT(2, df=4.0), rv.Normal(2), rv.Normal(2, scale=0.5),
                                    rv.Normal(dim=2, scale=0.5, learned=True),
                                    rv.AutoregressiveBernoulli(5, hidden=11, dropout=0.25),
                                    copy.deepcopy(rv.Normal(2, scale=0.5))])
def test_family_objects(family: rv.Family) -> None:
    again = resolve(describe(family))
    assert type(again) is type(family)
    assert repr(again) == repr(family)
    described = describe(family)
    assert json.loads(json.dumps(described)) == described == describe(again)
    assert [(name, value.shape) for name, value in again.state_dict().items()] \
        == [(name, value.shape) for name, value in family.state_dict().items()]


def test_a_model_writes_down_its_defaults() -> None:
    described = describe(rv.RVAE(3, h_dim=4))
    assert described["init_args"]["z_dim"] == 16
    assert described["init_args"]["recurrence"] == {"name": "pyro_rvae.LSTM"}


class Local:
    """Of this test's module: its dotted path leads to it only if the module can be imported."""


@pytest.mark.parametrize(("value", "what"), [
    (lambda x: x, "model is <lambda>|no dotted path leads to"),
    (torch.zeros(2), "a Tensor whose constructor's arguments are not known"),
    (nn.Linear(2, 3), "a Linear whose constructor's arguments"),
    ({1: 2}, "a mapping with the keys"),
    ({"name": 2}, "a mapping with the keys"),
])
def test_what_has_no_name(value: Any, what: str) -> None:
    with pytest.raises(ValueError, match=what) as error:
        describe(value)
    assert "save_weights" in str(error.value)


def test_the_error_says_which_part() -> None:
    with pytest.raises(ValueError, match=r"DMM.posterior.hidden\[1\] is .*lambda"):
        describe({"hidden": [1, lambda: 2]}, "DMM.posterior")


def test_a_class_of_a_script_has_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Local, "__module__", "__main__")
    with pytest.raises(ValueError, match="written in the script itself"):
        name_of(Local)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    folder = tmp_path / "mypkg_naming"
    folder.mkdir()
    (folder / "__init__.py").write_text("import os\nclass Prior:\n    pass\nnumber = 3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder.name


def test_only_trusted_packages_are_imported(package: str) -> None:
    with pytest.raises(ValueError, match=rf"outside pyro_rvae, torch.nn.*--trust {package}"):
        import_name(f"{package}.Prior")
    assert package not in sys.modules, "an untrusted module must not be imported at all"
    assert import_name(f"{package}.Prior", (package,)).__name__ == "Prior"
    assert import_name(f"{package}.Prior", None).__name__ == "Prior"
    with pytest.raises(ValueError, match="defined in '(posix|nt)' and not in the package that is trusted"):
        import_name("os.system", ("os",))


@pytest.mark.parametrize("path", ["os.system", "builtins.eval", "pyro_rvae.data.files.Path",
                                  "torch.nn.modules.module.functools.reduce", "pyro_rvae.data.atomic.atomic",
                                  "torch.hub.load", "functools.reduce"])
def test_what_a_file_may_not_name(path: str) -> None:
    with pytest.raises(ValueError, match="outside"):
        resolve({"class_path": path, "init_args": {}})


@pytest.mark.parametrize(("path", "what"), [
    ("pyro_rvae.Nope", "has no 'Nope'"), ("Nope", "pyro_rvae has no 'Nope'"), ("no_such_package.X", "no module"),
    ("a b", "must be a dotted path"), (3, "must be a dotted path"), ("pyro_rvae.data", "where a class or function"),
])
def test_names_that_lead_nowhere(path: Any, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        import_name(path, None)


def test_wrong_arguments_name_the_part() -> None:
    with pytest.raises(ValueError, match=r"model.prior cannot be built as pyro_rvae.LSTM with \['width'\]"):
        resolve({"prior": {"class_path": "pyro_rvae.LSTM", "init_args": {"width": 3}}})
