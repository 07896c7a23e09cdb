"""Every Python block of the README runs, in order, as it stands (but for the number of epochs and particles)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

README = Path(__file__).parent.parent / "README.md"


def test_readme_blocks(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.S)
    assert len(blocks) >= 3
    small = {"range(20)": "range(1)", "num=20": "num=2", "num_draws=20": "num_draws=2",
             "rv.evaluate(model, data.test)": "rv.evaluate(model, data.test, num_particles=2)",
             "rv.collapse_report(model, data.test)": "rv.collapse_report(model, data.test, num_particles=2)",
             "two_sample(model, data.test)": "two_sample(model, data.test, num=10, permutations=9)"}
    code = "\n".join(blocks)
    for written, run in small.items():
        assert written in code
        code = code.replace(written, run)
    torch.set_default_dtype(torch.float32)  # as a user has it
    exec(compile(code, str(README), "exec"), {"__name__": "readme"})
    assert "ELBO" in capsys.readouterr().out


def test_readme_names_the_two_commands() -> None:
    text = README.read_text()
    assert "\npip install . && pyro-rvae train\n" in text
    assert '\npip install ".[test]" && pytest\n' in text
