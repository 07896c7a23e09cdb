"""Between two sequences, along one latent, and latents exchanged."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pyro_rvae import plots
from pyro_rvae.tasks import Interpolation, Swap, Traversal

LONG = ["a name that is as long as a name of a feature may be, in millivolts", "b", "c"]


def interpolation(rng: Any, features: int = 3, names: Any = LONG, static: bool = False) -> Interpolation:
    shapes = [(features,)] * 3 if static else [(9, features), (8, features), (7, features)]
    return Interpolation([rng.normal(size=shape) for shape in shapes], np.array([0.0, 0.5, 1.0]), {},
                         {"z": "once a sequence"}, "spherical", False, names, ("one", "two"), "VRAE", static)


def traversal(rng: Any) -> Traversal:
    return Traversal([rng.normal(size=(5, 2)) for _ in range(30)], np.linspace(-3, 3, 30), "z", 4, "once a sequence",
                     True, np.array(0.0), False, None, "one", "VRAE")


def exchanged(rng: Any, features: int) -> Swap:
    pairs = [(rng.random((9, features)), rng.random((4, features))) for _ in range(2)]
    return Swap(*pairs, {"v": "once a sequence"}, {"z": "every frame"}, False, None, ("one", "two"), "DSAE")


def test_a_line_for_every_point(rng: Any, texts: Any, size: Any) -> None:
    found = interpolation(rng)
    panels = plots.between_plot(found)
    assert len(panels) == 3
    for i, axes in enumerate(panels):
        assert [list(line.get_ydata()) for line in axes.lines] == [list(x[:, i]) for x in found.sequences]
    assert {"VRAE: from one to two, spherical in the latents", "b", "0.00", "0.50", "1.00"} <= set(texts(panels))
    assert panels[0].lines[0].get_color() != panels[0].lines[-1].get_color() and size(panels) > 5_000


def test_along_one_latent(rng: Any, texts: Any) -> None:
    panels = plots.between_plot(traversal(rng))
    said = texts(panels)
    assert "VRAE along z[4] (once a sequence), shifted by the values shown" in said and "-3" in said
    assert len(panels) == 2 and len(panels[0].lines) == 30


def test_many_features_are_pictures(rng: Any, texts: Any, size: Any) -> None:
    found = interpolation(rng, 88, None)
    for x in found.sequences:
        x[:] = 0
        x[:, 40:50] = 1
    panels = plots.between_plot(found)
    assert len(panels) == 3 and all(axes.get_ylim() == (37.5, 51.5) for axes in panels)
    assert all(axes.get_xlim() == (-0.5, 8.5) for axes in panels), "all on one scale of time"
    assert np.array_equal(panels[1].images[0].get_array(), found.sequences[1].T) and size(panels) > 5_000


def test_a_square_sequence_is_no_image(rng: Any) -> None:
    found = interpolation(rng, 88, None)
    found.sequences[0] = rng.random((88, 88))
    assert np.array_equal(plots.between_plot(found)[0].images[0].get_array(), found.sequences[0].T)


def test_images_and_items(rng: Any, texts: Any) -> None:
    images = interpolation(rng, 144, None, static=True)
    panels = plots.between_plot(images)
    assert np.array_equal(panels[2].images[0].get_array(), images.sequences[2].reshape(12, 12))
    items = interpolation(rng, 7, None, static=True)
    assert [len(line.get_ydata()) for line in plots.between_plot(items)[0].lines] == [7, 7, 7]
    assert "element" in texts(plots.between_plot(items))


@pytest.mark.parametrize("features", [1, 2, 20])
def test_exchanged(rng: Any, texts: Any, size: Any, features: int) -> None:
    found = exchanged(rng, features)
    panels = plots.swap_plot(found)
    said = texts(panels)
    assert len(panels) == 4 and {"one", "two", "one, with v of two", "two, with v of one"} <= set(said)
    assert "DSAE: v (once a sequence) exchanged, z (every frame) kept" in said
    shown = panels[3].images[0].get_array() if features > 6 else np.stack([x.get_ydata() for x in panels[3].lines])
    assert np.array_equal(shown, found.swapped[1].T) and size(panels) > 5_000
    assert texts(plots.between_plot(found)) == said


def test_results_of_other_functions() -> None:
    with pytest.raises(TypeError, match="between_plot needs what rv.tasks.interpolate or rv.tasks.traverse returned"):
        plots.between_plot(SimpleNamespace(sequences=[np.zeros((3, 2))], model="VRAE"))
    with pytest.raises(TypeError, match="swap_plot needs what rv.tasks.swap returned; got list"):
        plots.swap_plot([1])
