"""What the plots are drawn from: small made-up results, each with the attributes of the real one."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def texts():
    """All that is written in a figure."""
    from matplotlib.text import Text

    return lambda panels: [text.get_text() for text in panels.figure.findobj(Text)]


@pytest.fixture
def size(tmp_path):
    """Bytes of the picture."""
    from pyro_rvae import plots

    def saved(panels):
        plots.save(panels, tmp_path / "plot.png")
        return (tmp_path / "plot.png").stat().st_size

    return saved


@pytest.fixture
def rng():
    return np.random.default_rng(0)
