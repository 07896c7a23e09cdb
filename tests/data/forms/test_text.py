from __future__ import annotations

from pathlib import Path

import pytest
import torch

import pyro_rvae as rv
from pyro_rvae.data import Text, Vocabulary, load

LINES = ["anna", "bob ", "éva"]


def test_round_trip_of_lines(tmp_path: Path) -> None:
    form = Text(Vocabulary.from_texts(LINES))
    (tmp_path / "a.txt").write_bytes("\ufeffanna\r\nbob \r\n\r\néva".encode())
    data = form.read(tmp_path / "a.txt")
    assert form.vocabulary.decode(data) == LINES and data.ids == ("1", "2", "4")
    assert data.lengths.tolist() == [5, 5, 4] and form.end == 0
    form.write(tmp_path / "b.txt", data)
    assert (tmp_path / "b.txt").read_text(encoding="utf-8") == "anna\nbob \néva\n"
    assert torch.equal(form.read(tmp_path / "b.txt").values, data.values)


def test_running_text_in_pieces(tmp_path: Path) -> None:
    text = "ab\n\nba\nab"
    form = Text(Vocabulary.from_texts([text]), length=4)
    (tmp_path / "a.txt").write_text(text)
    data = form.read(tmp_path / "a.txt")
    assert data.lengths.tolist() == [4, 4, 1] and form.end is None
    assert "".join(form.vocabulary.decode(data)) == text
    form.write(tmp_path / "b.txt", data.subset([0, 1]))
    assert (tmp_path / "b.txt").read_text() == "ab\n\n\n\nba\na\n"


def test_unknown_characters_are_counted(tmp_path: Path) -> None:
    form = Text(Vocabulary.from_texts(["ab"]))
    (tmp_path / "a.txt").write_text("abxx\nay\n")
    with pytest.warns(UserWarning, match=r"a.txt holds 3 characters that the vocabulary doesn't have, \['x', 'y'\]"):
        data = form.read(tmp_path / "a.txt")
    assert data[0].flatten().tolist() == [2, 3, 1, 1, 0]


def test_loaded_with_the_vocabulary_of_the_training_side(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n".join(chr(97 + i) * 3 for i in range(10)))
    data = load(tmp_path / "a.txt")
    form = data.train.form
    assert isinstance(form, Text) and [len(side) for side in data] == [8, 1, 1]
    seen = {text[0] for text in form.vocabulary.decode(data.train)}
    assert {*form.vocabulary.symbols} == seen and len(seen) == 8
    assert data.test[0].flatten().tolist() == [1, 1, 1, 0] and data.test.ids[0].isdigit()


def test_what_a_model_writes_ends(tmp_path: Path) -> None:
    form = Text(Vocabulary.from_texts(LINES))
    model = rv.VRNN.for_data(form.encode(LINES), z_dim=2, h_dim=3)
    form.write(tmp_path / "a.txt", rv.generate(model, 5, 12, seed=0, end=form.end))
    assert len((tmp_path / "a.txt").read_text(encoding="utf-8").split("\n")) == 6


def test_refusals(tmp_path: Path) -> None:
    words = Vocabulary.from_texts(["a b"], tokenizer=str.split)
    with pytest.raises(ValueError, match="a tokenizer is a function, which cannot be described"):
        Text(words)
    with pytest.raises(ValueError, match="vocabulary of characters"):
        Text(["ab", "c"])
    with pytest.raises(ValueError, match="length must be an integer of at least 1"):
        Text(["a"], length=0)
    for content, what in ((b"", "is empty"), (b"\n \n", "holds no line with a character"), (b"\xff\xfe", "UTF-8")):
        (tmp_path / "a.txt").write_bytes(content)
        with pytest.raises(ValueError, match=what):
            Text(["a"]).read(tmp_path / "a.txt")
    with pytest.raises(ValueError, match="is a folder"):
        Text(["a"]).read(tmp_path)
