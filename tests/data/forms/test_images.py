from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pyro_rvae.data import Images, StaticDataset, load


def images(n: int = 3) -> torch.Tensor:
    return (torch.rand(n, 4, 5, generator=torch.Generator().manual_seed(0)) > 0.5).double()


def test_round_trip(tmp_path: Path) -> None:
    form = Images(4, 5)
    form.write(tmp_path / "one.png", images(1))
    assert torch.equal(form.read(tmp_path / "one.png")[0], images(1)[0])
    form.write(tmp_path / "all", images())
    assert torch.equal(form.read(tmp_path / "all").values, images().reshape(-1, 5))
    flat = Images(4, 5, rows=False, binary=False)
    grey = torch.arange(40).reshape(2, 20) / 51.0
    flat.write(tmp_path / "grey", grey.clip(0, 1))
    data = flat.read(tmp_path / "grey")
    assert isinstance(data, StaticDataset) and data.kind == "real"
    assert torch.equal(data.values, grey.clip(0, 1).to(data.values.dtype))


def test_grid(tmp_path: Path) -> None:
    Images(4, 5).write(tmp_path / "a.png", images(), columns=2, size=3)
    grid = np.asarray(Image.open(tmp_path / "a.png"))
    assert grid.shape == (3 * 9, 3 * 11)
    small = grid[::3, ::3]
    np.testing.assert_array_equal(small[:4, 6:], images()[1].numpy() * 255)
    np.testing.assert_array_equal(small[5:, :5], images()[2].numpy() * 255)
    assert (small[4] == 128).all() and (small[5:, 6:] == 128).all()


def test_colours_and_other_files(tmp_path: Path) -> None:
    red = np.zeros((4, 5, 3), dtype=np.uint8)
    red[..., 0] = 255
    Image.fromarray(red).save(tmp_path / "a.png")
    assert Images(4, 5, binary=False).read(tmp_path / "a.png").values.flatten()[0] == pytest.approx(0.299, abs=2e-3)
    with pytest.raises(ValueError, match="4 pixels high and 5 wide, and the images of this form 28 and 28"):
        Images(28, 28).read(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    with pytest.raises(ValueError, match="cannot be read as PNG"):
        Images(4, 5).read(tmp_path / "a.png")


def test_load_takes_the_size_of_the_first(tmp_path: Path) -> None:
    Images(4, 5).write(tmp_path / "all", images(5))
    data = load(tmp_path / "all")
    assert data.train.form == Images(4, 5) and data.train.lengths.unique().tolist() == [4]


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="height must be an integer"):
        Images(0, 5)
    with pytest.raises(ValueError, match=r"4 rows of 5 pixels, got \(3, 5\)"):
        Images(4, 5).write(tmp_path / "a.png", torch.zeros(2, 3, 5))
    with pytest.raises(ValueError, match="size must be an integer"):
        Images(4, 5).write(tmp_path / "a.png", images(), size=0)
