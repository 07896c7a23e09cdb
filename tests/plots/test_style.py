"""What every plot returns, and how it is written."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from pyro_rvae import plots


def rolls():
    return plots.piano_rolls([np.ones((4, 88))], title="One chord")


def test_panels_are_the_axes_of_a_figure():
    panels = rolls()
    assert isinstance(panels, tuple) and len(panels) == 1
    assert panels[0].figure is panels.figure
    assert panels._repr_png_().startswith(b"\x89PNG"), "a notebook shows it"
    assert repr(panels) == "Panels(1 axes: One chord)"


def test_figures_are_1200_pixels_wide_and_written_whole(tmp_path):
    from matplotlib.image import imread

    panels = rolls()
    plots.save(panels, tmp_path / "rolls.png")
    assert imread(tmp_path / "rolls.png").shape[1] == 1200
    plots.save(panels.figure, tmp_path / "rolls.svg")
    assert (tmp_path / "rolls.svg").read_text().startswith("<?xml")
    with pytest.raises(ValueError, match="folder .* must exist"):
        plots.save(panels, tmp_path / "nowhere" / "rolls.png")


def test_the_users_own_axes():
    from matplotlib.figure import Figure

    own = Figure().add_subplot()
    panels = plots.pit_plot(np.linspace(0.01, 0.99, 99), axes=own)
    assert panels == (own,) and own.get_title(loc="left").startswith("PIT of 99 numbers")
    assert own.figure.get_suptitle() == ""


def test_no_pyplot_state():
    code = (
        "import sys, numpy as np\n"
        "from pyro_rvae import plots\n"
        "before = 'matplotlib.pyplot' in sys.modules\n"
        "plots.piano_rolls([np.ones((4, 88))])\n"
        "assert before or 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
