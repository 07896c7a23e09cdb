"""How training went."""

from __future__ import annotations

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


def test_history_says_what_came_of_it(texts, size):
    panels = plots.history_plot(history(weight=0.1), floors={"independent": 11.0, "markov": 9.0})
    said = texts(panels)
    assert "Validation bound 7.31 nats per frame after 30 epochs, 1.69 below the Markov floor" in said
    assert "independent floor 11.00" in said and "KL weight (grey)" in said
    low, high = panels[0].get_ylim()
    assert low < 7.1 and high > 11.0
    curve = panels[0].lines[0].get_ydata()
    assert np.allclose(curve, history()["elbo"])
    assert size(panels) > 10_000


def test_history_without_validation_and_of_one_epoch(texts, size):
    panels = plots.history_plot(history(1, valid=False), unit="item")
    said = texts(panels)
    assert any(text.startswith("Training bound") and text.endswith("item after 1 epoch") for text in said)
    assert "KL weight (grey)" not in said and "validation" not in said
    assert size(panels) > 5_000


def test_an_empty_history_is_refused():
    with pytest.raises(ValueError, match="the history is empty: train at least one epoch"):
        plots.history_plot(history(0))
