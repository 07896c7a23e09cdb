"""A run that was killed and resumed is the run that was not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import pyro_rvae as rv


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    if not hasattr(os, "fork"):
        pytest.skip("needs a system with fork and SIGKILL")
    here = Path(__file__).parent
    path = os.pathsep.join([str(Path(rv.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    ended = subprocess.run([sys.executable, here / "killed.py", tmp_path_factory.mktemp("killed")], text=True,
                           capture_output=True, timeout=300, env={**os.environ, "PYTHONPATH": path})
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)  # type: ignore[no-any-return]


def test_killed_at_ten_random_steps(found: dict[str, Any]) -> None:
    """History byte for byte but for memory and seconds; weights, average, best, optimizer and noise bit for bit."""
    assert len(found["killed at"]) == 10 and any(step % 8 for step in found["killed at"])
    assert found["steps"] == []


def test_killed_in_the_midst_of_saving(found: dict[str, Any]) -> None:
    assert found["saves"] == []
    assert [name for name in found["left"] if name.endswith(".part")] == []
    assert len([name for name in found["left"] if name.startswith("tensors-")]) == 1
