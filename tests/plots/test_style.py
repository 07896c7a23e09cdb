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


@pytest.mark.parametrize(("name", "wanted"), [
    ("bounds_plot", "an Evaluation"), ("steps_plot", "an Evaluation"), ("collapse_plot", "a CollapseReport"),
    ("khat_plot", "an Evaluation, or what psis or loo returns"), ("predictive_plot", "a PredictiveCheck"),
    ("sbc_plot", "a Calibration"), ("coverage_plot", "PredictiveScores"), ("crps_plot", "PredictiveScores"),
    ("history_plot", "the History that fit returned"),
])  # fmt: skip
@pytest.mark.parametrize("wrong", [3, "text", [1, 2], np.zeros(3)])
def test_what_is_no_result_is_refused(name, wanted, wrong):
    with pytest.raises(TypeError, match=f"{name} needs {wanted}.*got {type(wrong).__name__}"):
        getattr(plots, name)(wrong)


def test_other_arguments_of_another_type():
    for wrong in ("text", object()):
        with pytest.raises(TypeError, match=f"pit_plot needs a Pit, .* or an array .* got {type(wrong).__name__}"):
            plots.pit_plot(wrong)
    with pytest.raises(ValueError, match=r"PIT values lie between 0 and 1, got -1 to 3: pass a Pit"):
        plots.pit_plot(np.array([-1.0, 3.0]))
    with pytest.raises(TypeError, match="sequences_plot needs one data set.* got int"):
        plots.sequences_plot(3, [np.zeros((2, 2))])
    with pytest.raises(TypeError, match="piano_rolls needs a list of rolls, .* got int"):
        plots.piano_rolls(3)
    with pytest.raises(TypeError, match="reconstruction_plot needs a SequenceVAE, got int"):
        plots.reconstruction_plot(3, 3)
