"""The model card: what it says is so, and its code runs."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import pyro_rvae as rv
from pyro_rvae.tasks.modelcard import median_length
from pyro_rvae.tasks.naming import describe, packages_of
from pyro_rvae.tasks.store import write_card


def real(**given: Any) -> rv.data.SequenceDataset:
    data = rv.data.SequenceDataset(10 + 2 * torch.randn(60, 3), [10, 20, 30], names=["heart", "a|b", "c"], **given)
    return data.transformed(rv.data.Affine.standardize(data.values))


def card(folder: Path) -> tuple[dict[str, Any], str]:
    """Front matter and text."""
    whole = (folder / "README.md").read_text()
    _, front, text = whole.split("---\n", 2)
    return yaml.safe_load(front), text


def test_what_it_says(tmp_path: Path) -> None:
    data = real()
    model = rv.DMM.for_data(data, z_dim=2, h_dim=4, posterior=functools.partial(rv.GaussianChain, hidden=(4,)))
    found = rv.evaluate(model, data, num_particles=3)
    model.save_pretrained(tmp_path, metrics=found)
    front, text = card(tmp_path)
    assert front["library_name"] == "pyro_rvae" and "license" not in front
    assert {"pyro", "dmm", "time-series"} <= set(front["tags"])
    equation = (rv.DMM.__doc__ or "").partition("\n")[0]
    for said in (equation, f"{sum(p.numel() for p in model.parameters()):,} weights", "GaussianChain(hidden=4)",
                 "real, 3 features (heart, a|b, c)", "3 sequences to train on, of 10 to 30 frames (median 20)",
                 "take and give raw units", f"| ELBO | {found.elbo:.3f} |", f"| IWAE-3 | {found.iwae:.3f} |",
                 f"| KL | {found.kl:.3f} |", "3 particles", rv.__version__, "nats per frame"):
        assert said in text, said


def run(folder: Path, **known: Any) -> Any:
    code = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), flags=re.S)[-1]
    names: dict[str, Any] = dict(known)
    exec(code.replace("path/to/this/folder", str(folder)), names)
    return names["samples"]


def test_its_code_runs(tmp_path: Path) -> None:
    rv.VRNN.for_data(real(), z_dim=2, h_dim=4).save_pretrained(tmp_path)
    assert run(tmp_path).shape == (4, 20, 3)


def test_its_code_runs_with_labels_and_controls(tmp_path: Path) -> None:
    labels, controls = torch.tensor([0, 1, 1]), torch.randn(60, 2)
    data = real(labels=labels, controls=controls)
    rv.VRNN.for_data(data, z_dim=2, h_dim=4, context=rv.Context.for_data(data)).save_pretrained(tmp_path)
    text = card(tmp_path)[1]
    assert "with 2 known inputs a step" in text and "with labels, 2 values" in text
    assert run(tmp_path, labels=torch.zeros(4, dtype=torch.long), controls=torch.randn(4, 20, 2)).shape == (4, 20, 3)


def test_of_items(tmp_path: Path) -> None:
    data = rv.data.StaticDataset((torch.rand(5, 6) < 0.5).double())
    rv.VAE.for_data(data, z_dim=2, h_dim=4).save_pretrained(tmp_path)
    front, text = card(tmp_path)
    assert "sequences" not in front["tags"] and "- 5 items to train on\n" in text
    assert run(tmp_path).shape == (4, 6)


def test_of_a_model_that_has_seen_no_data(tmp_path: Path) -> None:
    rv.VRNN(3, 2, 4).save_pretrained(tmp_path)
    text = card(tmp_path)[1]
    assert "Training data" not in text and "Bounds" not in text
    assert run(tmp_path).shape == (4, 100, 3)


def test_figures_of_the_folder(tmp_path: Path) -> None:
    model = rv.VRNN.for_data(real(), z_dim=2, h_dim=4)
    figures = {"split": "test", "elbo": 3.25, "iwae_10": 3.125, "kl": 0.5, "num_particles": 10, "elbo_low": 1.0,
               "floors": {"markov": 4.0, "independent": None}, "unit": "nats per frame", "is_bound": True}
    model.save_pretrained(tmp_path)
    assert "Bounds" not in card(tmp_path)[1]
    (tmp_path / "metrics.json").write_text(json.dumps(figures))
    write_card(model, tmp_path)
    text = card(tmp_path)[1]
    for row in ("## Bounds on the test data", "nats per frame, 10 particles", "| ELBO | 3.250 |", "| IWAE-10 | 3.125 |",
                "| Markov floor | 4.000 |"):
        assert row in text
    assert "1.000" not in text and "independent" not in text.split("## Bounds")[1]
    (tmp_path / "metrics.json").write_text("[")
    model.save_pretrained(tmp_path)
    assert "Bounds" not in card(tmp_path)[1]


def test_packages_that_have_to_be_allowed(tmp_path: Path) -> None:
    part = {"partial": "mypkg.parts.Prior", "init_args": {"net": [{"name": "other.Net"}]}}
    assert packages_of({"model": {"class_path": "pyro_rvae.VRNN", "init_args": {"prior": part}}}) == ("mypkg", "other")
    assert packages_of(describe(rv.VRNN(3, 2, 4))) == ()


def test_a_readme_of_the_users_own_stays(tmp_path: Path) -> None:
    mine = tmp_path / "README.md"
    mine.write_text("# My project\n")
    model = rv.VRNN(3, 2, 4)
    model.save_pretrained(tmp_path)
    write_card(model, tmp_path)
    assert mine.read_text() == "# My project\n"
    mine.unlink()
    model.save_pretrained(tmp_path)
    taken_over = mine.read_text().replace("# VRNN", "# Mine").rpartition("<!--")[0]
    mine.write_text(taken_over)
    model.save_pretrained(tmp_path)
    assert mine.read_text() == taken_over
    mine.write_text(taken_over + "<!-- written by pyro_rvae, which writes it again; without this line it leaves the "
                    "file alone -->\n")
    model.save_pretrained(tmp_path)
    assert "# VRNN" in mine.read_text()


@pytest.mark.parametrize(("lengths", "median"), [({5: 1}, 5), ({1: 1, 9: 3}, 9), ({2: 2, 4: 1, 7: 1}, 2)])
def test_median_length(lengths: dict[int, int], median: int) -> None:
    assert median_length(lengths) == median


def test_figures_of_which_nothing_is_known(tmp_path: Path) -> None:
    """A card does not say on which data a bound was found, unless it was told."""
    model = rv.DMM.for_data(real(), z_dim=2, h_dim=4)
    model.save_pretrained(tmp_path, metrics={"elbo": 1.25})
    text = card(tmp_path)[1]
    assert "## Figures given with the model" in text and "| ELBO | 1.250 |" in text and "held-out" not in text
    model.save_pretrained(tmp_path, metrics={"elbo": 1.25, "split": "valid"})
    assert "## Bounds on the valid data" in card(tmp_path)[1]
