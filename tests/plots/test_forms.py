"""Samples drawn as what they are."""

from __future__ import annotations

import numpy as np
import torch

from pyro_rvae import plots
from pyro_rvae.data import DNA, SequenceDataset, Strokes, Text, Vocabulary


def test_strokes_as_drawings() -> None:
    drawing = np.array([[5.0, 5, 0], [10, 0, 0], [0, 10, 1], [-5, -5, 0], [1, 1, 1]])
    data = SequenceDataset(np.tile(drawing, (2, 1)), [5, 5], kind="real")
    data.form = Strokes()
    panels = plots.sequences_plot(data, [drawing, drawing, drawing])
    assert len(panels) == 6 and "Data (orange)" in panels.figure.get_suptitle()
    first = panels[0].lines
    assert len(first) == 3 and first[0].get_xydata().tolist() == [[5, 5], [15, 5], [15, 15]]
    assert panels[0].yaxis_inverted() and not panels[2].lines and panels[5].lines


def test_text_as_lines() -> None:
    form = Text(Vocabulary.from_texts(["anna $ ab\nb", "x" * 400]))
    data = form.encode(["anna $ ab\nb", "ab"])
    panels = plots.sequences_plot(data, form.encode(["x" * 400, "anna"]))
    words = [[text.get_text() for text in axes.texts] for axes in panels]
    assert words[0] == [r"anna \$ ab", "b", "ab"]
    assert len(words[1]) == 5 and words[1][3].endswith(" …") and words[1][4] == "anna"


def test_dna_as_letters() -> None:
    data = DNA().encode(["ACGTN", "AC"])
    panels = plots.sequences_plot(data, [torch.tensor([[3], [0]])])
    assert ["".join(text.get_text() for text in axes.texts) for axes in panels] == ["ACGTNAC", "TA"]


def test_without_a_form_as_before() -> None:
    data = SequenceDataset(torch.randn(10, 3), [5, 5])
    panels = plots.sequences_plot(data, [torch.randn(5, 3)], num=2)
    assert panels[0].get_title(loc="left") == "data: 1"
