from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from pyro_rvae import plots


class Table(dict):
    """Columns of a history."""

    def __len__(self):
        return len(self["epoch"])


def history(epochs=30, *, valid=True, weight=1.0):
    epoch = np.arange(1, epochs + 1)
    reconstruction, kl = 6 + 4 * np.exp(-epoch / 5), 1 - np.exp(-epoch / 3)
    missing = np.zeros(epochs) if valid else np.full(epochs, np.nan)
    return Table(
        epoch=epoch,
        elbo=reconstruction + kl,
        reconstruction=reconstruction,
        kl=kl,
        valid_elbo=reconstruction + kl + 0.3 + missing,
        valid_reconstruction=reconstruction + 0.3 + missing,
        valid_kl=kl + missing,
        kl_weight=np.minimum(1.0, weight * epoch),
    )


def check(scalars=2, vectors=1, *, replicates=8):
    rng = np.random.default_rng(0)
    names = [f"number {i}" for i in range(scalars)]
    shapes = dict.fromkeys(names, ()) | {f"vector {i}": (4,) for i in range(vectors)}
    return SimpleNamespace(
        scalars=names,
        name="VRNN",
        features=("a", "b", "c", "d"),
        observed={n: rng.random((5, *s)) for n, s in shapes.items()},
        replicated={n: rng.random((replicates, 5, *s)) for n, s in shapes.items()},
        replicates=Replicates(replicates),
        p_value=lambda name: (0.01 if name == "number 0" else 0.4, 0.05),
    )


class Replicates:
    drawn_by = "free_running"

    def __init__(self, number):
        self.number = number

    def __len__(self):
        return self.number


def texts(figure):
    from matplotlib.text import Text

    return [text.get_text() for text in figure.findobj(Text)]


def save(figure, path):
    plots.save(figure, path)
    return path.stat().st_size


def test_history_says_what_came_of_it(tmp_path):
    figure = plots.history_plot(history(weight=0.1), floors={"independent": 11.0, "markov": 9.0})
    said = texts(figure)
    assert "Validation bound 7.31 nats per frame after 30 epochs, 1.69 below the Markov floor" in said
    assert "independent floor 11.00" in said and "KL weight (grey)" in said
    low, high = figure.axes[0].get_ylim()
    assert low < 7.1 and high > 11.0
    curve = figure.axes[0].lines[0].get_ydata()
    assert np.allclose(curve, history()["elbo"])
    assert save(figure, tmp_path / "training.png") > 10_000


def test_history_without_validation_and_of_one_epoch(tmp_path):
    figure = plots.history_plot(history(1, valid=False), unit="item")
    said = texts(figure)
    assert any(text.startswith("Training bound") and text.endswith("item after 1 epoch") for text in said)
    assert "KL weight (grey)" not in said and "validation" not in said
    assert save(figure, tmp_path / "one.png") > 5_000


def test_an_empty_history_is_refused():
    with pytest.raises(ValueError, match="the history is empty: train at least one epoch"):
        plots.history_plot(history(0))


def test_piano_rolls(tmp_path):
    piece = np.zeros((16, 88))
    piece[:8, 60 - 21] = piece[4:12, 64 - 21] = piece[12:, 84 - 21] = 1
    figure = plots.piano_rolls([piece, piece[:5], np.zeros((3, 88))], titles=["a", "b", "c"], title="Three")
    first = figure.axes[0]
    assert len(figure.axes) == 3 and {"a", "b", "c", "Three"} <= set(texts(figure))
    assert "C4" in [label.get_text() for label in first.get_yticklabels()]
    boxes = {
        collection.get_facecolor().tobytes(): len(collection.get_paths())
        for collection in first.collections
        if type(collection).__name__ == "PolyCollection" and len(collection.get_paths())
    }
    assert sorted(boxes.values()) == [1, 2]  # C4 lies under E4 for half of its time and stays a lower voice
    assert save(figure, tmp_path / "rolls.png") > 5_000


@pytest.mark.parametrize("wrong", [[], [np.zeros(3)]])
def test_rolls_of_another_shape_are_refused(wrong):
    with pytest.raises(ValueError, match=r"at least one roll of shape \(T, keys\), got"):
        plots.piano_rolls(wrong)


@pytest.mark.parametrize(("scalars", "vectors"), [(2, 1), (0, 2), (3, 0), (7, 5)])
def test_predictive_plot(scalars, vectors, tmp_path):
    figure = plots.predictive_plot(check(scalars, vectors))
    said = texts(figure)
    assert "VRNN: does it look like the data? 8 free-running replicates" in said
    assert len(figure.axes) == scalars + vectors and ("c" in said) == (vectors > 0)
    assert ("a" in said) == (vectors > 0)
    if scalars:
        assert any(text.startswith("number 0 (p = 0.01)") for text in said)
        assert any(text.endswith("too little") for text in said)
    assert save(figure, tmp_path / "check.png") > 5_000


def test_figures_are_1200_pixels_wide_and_written_whole(tmp_path):
    from matplotlib.image import imread

    figure = plots.predictive_plot(check())
    save(figure, tmp_path / "check.png")
    assert imread(tmp_path / "check.png").shape[1] == 1200
    with pytest.raises(ValueError, match="folder .* must exist"):
        plots.save(figure, tmp_path / "nowhere" / "check.png")


def test_no_pyplot_state():
    code = (
        "import sys, numpy as np\n"
        "from pyro_rvae import plots\n"
        "before = 'matplotlib.pyplot' in sys.modules\n"
        "plots.piano_rolls([np.ones((4, 88))])\n"
        "assert before or 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
