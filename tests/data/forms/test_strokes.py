from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import torch

from pyro_rvae.data import Strokes, load
from pyro_rvae.data.forms.strokes import lines_of_pen

# Two sides of a square, pen up, a dot.
CORNER = torch.tensor([[7.0, 7.0, 0.0], [10.0, 0.0, 0.0], [0.0, 10.0, 1.0], [-5.0, -5.0, 1.0]])


def test_lines() -> None:
    one, dot = lines_of_pen(CORNER.numpy())
    assert one.tolist() == [[7, 7], [17, 7], [17, 17]] and dot.tolist() == [[12, 12]] * 2
    up = lines_of_pen(CORNER.numpy(), up=True)[0]
    assert up.tolist() == [[7, -7], [17, -7], [17, -17]]


def test_round_trip(tmp_path: Path) -> None:
    form = Strokes()
    form.write(tmp_path / "a.npz", [CORNER, CORNER[1:]], ids=["p", "q"])
    data = form.read(tmp_path / "a.npz")
    assert torch.equal(data[0], CORNER) and torch.equal(data[1], CORNER[1:]) and data.ids == ("p", "q")
    assert data.names == ("dx", "dy", "pen")


def test_svg(tmp_path: Path) -> None:
    """Each drawing in its own cell, of one scale, lines as they were."""
    small = CORNER * torch.tensor([0.5, 0.5, 1.0])
    Strokes().write(tmp_path / "a.svg", [CORNER, small, CORNER], ids=["<1>", "2", "3"], columns=2)
    root = ElementTree.parse(tmp_path / "a.svg").getroot()
    paths = list(root.iter("{http://www.w3.org/2000/svg}path"))
    assert root.get("viewBox") == "0 0 200 200" and len(paths) == 3 and paths[0][0].text == "<1>"
    drawn = []
    for path in paths:
        lines = [re.findall(r"([-\d.]+) ([-\d.]+)", line) for line in path.get("d", "").split("M")[1:]]
        drawn.append([np.array(line, dtype=float) for line in lines])
    assert [len(line) for line in drawn[0]] == [3, 2]
    np.testing.assert_allclose(np.diff(drawn[0][0], axis=0), [[76, 0], [0, 76]])
    np.testing.assert_allclose(np.diff(drawn[1][0], axis=0), [[38, 0], [0, 38]])
    np.testing.assert_allclose(drawn[0][0].mean(0) + [0, 100], drawn[2][0].mean(0))
    assert all(100 < x < 200 for x in drawn[1][0][:, 0])


def test_load(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", values=np.tile(CORNER.numpy(), (6, 1)), lengths=np.full(6, 4), labels=np.arange(6),
             split=[0, 1, 2] * 2)
    data = load(tmp_path / "a.npz", form={"form": "Strokes", "up": True})
    assert data.valid.form == Strokes(up=True) and data.valid.labels.tolist() == [1, 4]


def test_refusals(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", values=np.zeros((3, 2)), lengths=[3])
    with pytest.raises(ValueError, match=r"values \(sum T, 3\), with dx, dy, pen, and lengths .*got .*\(3, 2\)"):
        Strokes().read(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", values=np.full((3, 3), 2.0), lengths=[3])
    with pytest.raises(ValueError, match="the pen .* must be 0 or 1, got"):
        Strokes().read(tmp_path / "a.npz")
    with pytest.raises(ValueError, match="a move is missing"):
        Strokes().write(tmp_path / "a.svg", [CORNER * torch.nan])
    with pytest.raises(ValueError, match="columns must be an integer"):
        Strokes().write(tmp_path / "a.svg", [CORNER], columns=0)
