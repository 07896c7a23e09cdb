"""The layers of the package, where loops over time may stand, and what importing it does."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pyro_rvae

ROOT = Path(pyro_rvae.__file__).parent
LAYERS = ["nn", "distributions", "priors", "core", "models", "infer", "criticism", "tasks", "cli"]
# What those beside the layers import.
ASIDE = {"data": {"nn"}, "plots": {"criticism", "data"}, "testing": {"core", "nn"}}
FILES = sorted(ROOT.rglob("*.py"))


def layer(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """The layers that a file imports at its top (an import inside a function is a door, and needs its reason)."""
    package = ("pyro_rvae", *path.relative_to(ROOT).parts[:-1])
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            names = [(*base, *node.module.split("."))] if node.module else [(*base, a.name) for a in node.names]
            found |= {n[1] for n in names if len(n) > 1}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("pyro_rvae"):
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {a.name for a in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("pyro_rvae.")}
    return found


@pytest.mark.parametrize("path", [p for p in FILES if p.parent != ROOT or layer(p) not in ("__init__", "__main__")],
                         ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    mine = layer(path)
    below = set(LAYERS[: LAYERS.index(mine)]) if mine in LAYERS else ASIDE[mine]
    above = set(LAYERS[LAYERS.index(mine):]) if mine in LAYERS else set(LAYERS) - below
    beside = set() if mine in ("infer", "criticism", "tasks", "cli") else {"data", "plots", "testing"} - below
    wrong = (imports(path) & (above | beside)) - {mine}
    assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"


def test_pyros_message_stack_is_known_to_two_files() -> None:
    users = [str(p.relative_to(ROOT)) for p in FILES if "_PYRO_STACK" in p.read_text()]
    assert users == ["core/coroutine.py", "core/handlers.py"]


@pytest.mark.parametrize("folder", ["nn", "distributions", "priors"])
def test_parts_know_nothing_of_pyros_handlers(folder: str) -> None:
    for path in (p for p in FILES if layer(p) == folder):
        assert not re.search(r"poutine|pyro\.(sample|plate|param|markov)\b", path.read_text()), path


# A loop with `range` outside the core walks over something else than time; each has its reason here.
OTHER_RANGES = {
    "distributions/autoregressive.py": "the elements of a frame, drawn one after the other",
    "nn/encoders.py": "the directions of an encoder",
}
TIME = re.compile(r"\b(T|length|lengths|steps|num_steps|frames|shape\[(1|-2)\])")


def ranges(path: Path) -> list[int]:
    """The lines of loops over ``range(...)`` whose body or bound speaks of time."""
    lines = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.For | ast.comprehension) and isinstance(node.iter, ast.Call):
            text = ast.unparse(node.iter)
            if text.startswith("range(") and TIME.search(text):
                lines.append(node.iter.lineno)
    return lines


@pytest.mark.parametrize("folder", ["nn", "distributions", "priors", "models"])
def test_range_over_time_stands_in_the_core_only(folder: str) -> None:
    for path in (p for p in FILES if layer(p) == folder):
        name = str(path.relative_to(ROOT))
        if name != "nn/causal.py":
            assert name in OTHER_RANGES or not re.search(r"in range\(|in pyro\.markov", path.read_text()), name
            assert not ranges(path), name


@pytest.mark.parametrize("folder", ["infer", "criticism", "tasks", "data", "cli", "plots", "testing"])
def test_no_loop_over_time_in_the_upper_layers(folder: str) -> None:
    for path in (p for p in FILES if layer(p) == folder):
        found = ranges(path)
        assert not found, f"{path.relative_to(ROOT)}: range over time at line {found}"


@pytest.mark.parametrize("folder", LAYERS)
def test_no_model_names_a_device(folder: str) -> None:
    """Nothing but the training loop chooses a device."""
    for path in (p for p in FILES if layer(p) in ("nn", "distributions", "priors", "models")):
        assert ".cuda(" not in path.read_text() and 'device="cuda' not in path.read_text(), path


SCRIPT = """
import random, sys, warnings, logging
import numpy, torch, pyro, torch.distributions
import matplotlib
backend = matplotlib.rcParams._get("backend") if hasattr(matplotlib.rcParams, "_get") else None
def state():
    return [torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled(), torch.get_rng_state().tolist(),
            torch.distributions.Distribution._validate_args, pyro.distributions.is_validation_enabled(),
            pyro.poutine.runtime._PYRO_STACK[:], list(pyro.get_param_store().keys()), random.getstate(),
            str(numpy.random.get_state()), numpy.geterr(), dict(numpy.get_printoptions()), list(warnings.filters),
            logging.root.level, len(logging.root.handlers), torch.are_deterministic_algorithms_enabled(),
            torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark]
before = state()
import pyro_rvae, pyro_rvae.testing
after = state()
for index, (a, b) in enumerate(zip(before, after)):
    assert a == b, (index, a, b)
if backend is not None:
    assert matplotlib.rcParams._get("backend") is backend
assert "matplotlib.pyplot" not in sys.modules and "music21" not in sys.modules
assert "sklearn" not in sys.modules  # of an optional extra
print("clean")
"""


def test_importing_has_no_side_effects() -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", SCRIPT], capture_output=True, text=True,
                          cwd=ROOT.parent, timeout=120)
    assert done.returncode == 0 and done.stdout.strip() == "clean", done.stderr
