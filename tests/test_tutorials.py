"""Every tutorial runs from top to bottom, in a small setting, and is committed with its pictures."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

TUTORIALS = sorted((Path(__file__).parent.parent / "tutorials").glob("*.ipynb"))
SMALL = {r"^epochs = \d+": "epochs = 1", r"^particles = \d+": "particles = 2", r"^replicates = \d+": "replicates = 2",
         r"^simulations = \d+": "simulations = 20", r"^training_names = \d+": "training_names = 300",
         r"^dna_pieces = \d+": "dna_pieces = 60"}


def test_there_are_tutorials() -> None:
    assert {path.stem for path in TUTORIALS} >= {"01_first_model", "02_your_own_prior", "03_is_it_any_good",
                                                   "04_forecast_and_impute", "05_anomalies", "06_text_and_dna",
                                                   "07_music"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("path", TUTORIALS, ids=lambda p: p.stem)
def test_runs_from_top_to_bottom(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # no test downloads: a tutorial says what it does without
    monkeypatch.setenv("no_proxy", "")
    notebook = nbformat.read(path, as_version=4)
    sources = "\n".join(c.source for c in notebook.cells)
    for pattern, small in SMALL.items():
        if not re.search(pattern, sources, flags=re.M):  # a renamed setting would run at full size
            assert pattern.split()[0].removeprefix("^") not in sources, f"{path.name} has no line {pattern}"
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.source = re.sub(pattern, small, cell.source, flags=re.M)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda p: p.stem)
def test_is_committed_with_its_pictures_and_without_errors(path: Path) -> None:
    cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    outputs = [o for c in cells for o in c.outputs]
    assert sum("image/png" in o.get("data", {}) for o in outputs) >= 3
    assert not any(o.output_type == "error" or o.get("name") == "stderr" for o in outputs)
    assert [c.execution_count for c in cells] == list(range(1, len(cells) + 1)), "run the notebook from top to bottom"
