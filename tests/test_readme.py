"""Every Python block of the README runs, in order, as it stands (but for the number of epochs and particles)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

README = Path(__file__).parent.parent / "README.md"


def test_readme_blocks(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.S)
    assert len(blocks) >= 3
    code = "\n".join(blocks).replace("range(3)", "range(1)").replace("data.test)", "data.test, num_particles=2)")
    torch.set_default_dtype(torch.float32)  # as a user has it
    exec(compile(code, str(README), "exec"), {"__name__": "readme"})
    assert "ELBO" in capsys.readouterr().out


def test_readme_names_the_two_commands() -> None:
    text = README.read_text()
    assert "\npip install . && pyro-rvae train\n" in text
    assert '\npip install ".[test]" && pytest\n' in text
