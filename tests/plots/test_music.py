"""Piano rolls."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from pyro_rvae import plots
from pyro_rvae.plots.music import compared_rolls
from pyro_rvae.plots.style import DATA, SOFT, WARN


def test_piano_rolls(texts, size):
    piece = np.zeros((16, 88))
    piece[:8, 60 - 21] = piece[4:12, 64 - 21] = piece[12:, 84 - 21] = 1
    panels = plots.piano_rolls([piece, piece[:5], np.zeros((3, 88))], titles=["a", "b", "c"], title="Three")
    first = panels[0]
    assert len(panels) == 3 and {"a", "b", "c", "Three"} <= set(texts(panels))
    assert "C4" in [label.get_text() for label in first.get_yticklabels()]
    boxes = {
        collection.get_facecolor().tobytes(): len(collection.get_paths())
        for collection in first.collections
        if type(collection).__name__ == "PolyCollection" and len(collection.get_paths())
    }
    assert sorted(boxes.values()) == [1, 2]  # C4 lies under E4 for half of its time and stays a lower voice
    assert size(panels) > 5_000


@pytest.mark.parametrize("wrong", [[], [np.zeros(3)]])
def test_rolls_of_another_shape_are_refused(wrong):
    with pytest.raises(ValueError, match=r"at least one roll of shape \(T, keys\), got"):
        plots.piano_rolls(wrong)


def test_compared_rolls_colour_what_is_right_missed_and_too_much():
    data, made = np.zeros((8, 88)), np.zeros((8, 88))
    data[:4, 40] = made[:2, 40] = made[5:, 50] = 1  # half of a note found, one too many
    panels = compared_rolls([(data, made)], ["a"])
    found = {}
    for boxes in panels[0].collections:
        if type(boxes).__name__ == "PolyCollection" and len(boxes.get_paths()):
            found[tuple(boxes.get_facecolor()[0])] = [path.vertices for path in boxes.get_paths()]
    wanted = {SOFT: (0, 2, 61), DATA: (2, 4, 61), WARN: (5, 8, 71)}
    for colour, (start, stop, key) in wanted.items():
        (corners,) = found[to_rgba(colour)]
        assert corners[:, 0].min() == pytest.approx(start, abs=0.1)
        assert corners[:, 0].max() == pytest.approx(stop, abs=0.1)
        assert corners[:, 1].mean() == pytest.approx(key, abs=0.5)
