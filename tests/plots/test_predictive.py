"""Statistics of the data beside those of what a model makes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from pyro_rvae import plots


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


@pytest.mark.parametrize(("scalars", "vectors"), [(2, 1), (0, 2), (3, 0), (7, 5)])
def test_predictive_plot(scalars, vectors, texts, size):
    panels = plots.predictive_plot(check(scalars, vectors))
    said = texts(panels)
    finding = f"{min(scalars, 1)} of {scalars} statistics of 8 free-running replicates differ from the data"
    assert f"VRNN: {finding if scalars else '8 free-running replicates beside the data'}" in said
    assert len(panels) == scalars + vectors and ("c" in said) == (vectors > 0)
    assert ("a" in said) == (vectors > 0)
    if scalars:
        assert any(text.startswith("number 0 (p = 0.01)") for text in said)
        assert any(text.endswith("too little") for text in said)
    assert size(panels) > 5_000


def test_matrices_and_long_vectors_are_points(texts, rng):
    """A point an element, the data's mean to the right and the model's upwards."""
    found = check(1, 0)
    found.observed["pairs"], found.replicated["pairs"] = rng.random((5, 9, 9)), rng.random((8, 5, 9, 9))
    panels = plots.predictive_plot(found)
    points = panels[1].lines[1]
    assert np.allclose(points.get_xdata(), found.observed["pairs"].mean(0).ravel())
    assert np.allclose(points.get_ydata(), found.replicated["pairs"].mean((0, 1)).ravel())
    assert "pairs: 81 elements" in texts(panels)


def test_lags_are_no_features(texts):
    """A vector that has as many elements as there are features need not be one a feature."""
    found = check(0, 1)
    found.observed["autocorrelations"] = found.observed.pop("vector 0")
    found.replicated["autocorrelations"] = found.replicated.pop("vector 0")
    said = texts(plots.predictive_plot(found))
    assert "lag 8" in said and "c" not in said
