"""What all forms have in common."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import pyro_rvae as rv
from pyro_rvae.data import (
    DNA,
    Form,
    Images,
    PianoRoll,
    Protein,
    SequenceDataset,
    Spectrum,
    StaticDataset,
    Strokes,
    Table,
    Text,
    Vocabulary,
    Waveform,
    form_from,
    form_of,
    load,
    read,
)
from pyro_rvae.data.forms import FORMS

VOCABULARY = Vocabulary.from_texts(["anna", "ü\n:"])
ALL: list[Form] = [
    DNA(), Images(3, 4), Images(3, 4, rows=False, binary=False), PianoRoll(60, 12, 0.5), Protein(),
    Spectrum(bands=None),
    Spectrum(bands=20, floor=1e-4), Strokes(up=True), Table(), Table(["a", "b"], "categories", 3), Text(VOCABULARY),
    Table(kind="binary", static=True), Text(VOCABULARY, length=7), Waveform(4000, 10),
]


def drawn(form: Form) -> Any:
    """Two sequences that a form can hold without loss (of spectra: some)."""
    random = torch.Generator().manual_seed(1)
    width = form.x_dim or 2
    shapes = [(6, width), (4, width)] if not isinstance(form, Images) else [(3, 4), (3, 4)]
    shapes = [(width,)] * 2 if form.static else shapes
    if form.kind == "real":
        made = [torch.rand(shape, generator=random) for shape in shapes]
        return [torch.cat([x[:, :2], x[:, 2:].round()], 1) for x in made] if isinstance(form, Strokes) else made
    return [torch.randint(form.classes or 2, shape, generator=random) for shape in shapes]


@pytest.mark.parametrize("form", ALL, ids=repr)
def test_described_and_made_again(form: Form) -> None:
    described = form.describe()
    assert form_from(yaml.safe_load(yaml.safe_dump(described))) == form
    assert form_from(json.loads(json.dumps(described))) == form
    assert form_from(form) is form and form != DNA() or isinstance(form, DNA)
    assert hash(form_from(described)) == hash(form) and type(form).__name__ in repr(form)


def test_every_form_is_among_them() -> None:
    assert {type(form) for form in ALL} == {*FORMS}


@pytest.mark.parametrize("form", ALL, ids=repr)
def test_writing_is_whole_or_not_at_all(form: Form, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        form.write(tmp_path / f"a{form.writes[0 if not form.static else -1]}", drawn(form))
    if form.each:
        with pytest.raises(OSError, match="no space left"):
            form.write(tmp_path / "folder", drawn(form))
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("form", [form for form in ALL if form.each], ids=repr)
def test_a_folder_has_a_file_for_each(form: Form, tmp_path: Path) -> None:
    form.write(tmp_path / "new", drawn(form) * 6)
    assert [p.stem for p in sorted((tmp_path / "new").iterdir())] == [f"{i:02d}" for i in range(1, 13)]
    data = form.read(tmp_path / "new")
    assert len(data) == 12 and data.ids[0] == "01" and data.form is form
    form.write(tmp_path / "named", drawn(form), ids=["a/b ü", "a b ü"])
    assert form.read(tmp_path / "named").ids == ("a-b-ü", "a-b-ü-2")
    with pytest.raises(ValueError, match="new exists: files are written into a new folder"):
        form.write(tmp_path / "new", drawn(form))
    with pytest.raises(ValueError, match="the folder .* must exist"):
        form.write(tmp_path / "no" / "folder", drawn(form))


def test_refusals_of_write(tmp_path: Path) -> None:
    form = PianoRoll(60, 12)
    with pytest.raises(ValueError, match=r"written as .mid or .midi, or into a new folder .* got 'a.wav'"):
        form.write(tmp_path / "a.wav", drawn(form))
    with pytest.raises(ValueError, match=r"DNA is written as .fasta or .fa or .fna; got 'a'"):
        DNA().write(tmp_path / "a", drawn(DNA()))
    with pytest.raises(TypeError, match=r"PianoRoll.write has the options \['tempo', 'program', 'rest'\], got 'gap'"):
        form.write(tmp_path / "a.mid", drawn(form), gap=1)
    with pytest.raises(TypeError, match="DNA.write has no options, got 'tempo'"):
        DNA().write(tmp_path / "a.fa", drawn(DNA()), tempo=1)
    with pytest.raises(ValueError, match="at least one sequence, got none"):
        form.write(tmp_path / "a.mid", [])
    with pytest.raises(ValueError, match=r"takes \(T, 12\) of each sequence, got \(4, 3\) of number 2"):
        form.write(tmp_path / "a.mid", [torch.zeros(4, 12), torch.zeros(4, 3)])
    with pytest.raises(ValueError, match=r"takes \(12,\) of each sequence, got \(13,\)"):
        Images(3, 4, rows=False).write(tmp_path / "a.png", torch.zeros(2, 13))
    with pytest.raises(ValueError, match="ids must name each of 2 sequences, got 1"):
        form.write(tmp_path / "a.mid", drawn(form), ids=["a"])


def test_a_data_set_is_written_in_raw_units(tmp_path: Path) -> None:
    data = SequenceDataset([[1.0], [3.0], [5.0]], [1, 2], kind="real", ids=["p", "q"])
    units = rv.data.Affine(torch.tensor([2.0]), torch.tensor([4.0]))
    Table().write(tmp_path / "a.csv", data.transformed(units))
    again = Table().read(tmp_path / "a.csv")
    assert torch.equal(again.values, data.values) and again.ids == ("p", "q")


def test_the_form_goes_with_the_data() -> None:
    data = SequenceDataset([[1.0], [3.0], [5.0]], [1, 2], kind="real")
    static = StaticDataset([[1.0], [3.0]], kind="real")
    assert data.form is None and static.form is None
    data.form = static.form = form = Table()
    units = rv.data.Affine(torch.tensor([2.0]), torch.tensor([4.0]))
    assert all(d.form is form for d in (data.subset([1]), data.transformed(units), static.subset([1]),
                                        static.transformed(units)))
    assert rv.data.Splits(data, data, data).standardize().test.form is form


@pytest.mark.parametrize(("described", "what"), [
    ("Txt", "a form is one of DNA, .* got 'Txt'"), ({"rate": 3}, "with the key 'form'; got None"), (3, "got 3"),
    ({"form": "PianoRoll", "key": 3}, "PianoRoll cannot be made of .*unexpected keyword argument 'key'"),
    ("Text", "Text cannot be made of"), ({"form": "PianoRoll", "keys": 200}, "MIDI has the keys"),
])
def test_refusals_of_form_from(described: Any, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        form_from(described)


# ------------------------------------------------------------------------------------------------ models
def test_a_model_knows_its_form(tmp_path: Path) -> None:
    data = SequenceDataset(torch.randint(2, (30, 12)).float(), [10, 20], kind="binary")
    data.form = PianoRoll(60, 12)
    model = rv.VRNN.for_data(data, z_dim=2, h_dim=3)
    assert form_of(model) == data.form
    rv.tasks.save_pretrained(model, tmp_path / "m")
    again = rv.tasks.from_pretrained(tmp_path / "m")
    assert form_of(again) == data.form
    form_of(again).write(tmp_path / "a.mid", rv.tasks.generate(again, 2, 6, seed=0))
    heard = read(tmp_path / "a.mid", again)
    assert heard.form == data.form and heard.x_dim == 12


def test_the_form_that_fits_where_there_was_none() -> None:
    music = SequenceDataset(torch.zeros(4, 88), [4], kind="binary")
    assert form_of(rv.VRNN.for_data(music, z_dim=2, h_dim=3)) == PianoRoll(frame=1.0)
    items = StaticDataset(torch.zeros(4, 88), kind="binary")
    assert form_of(rv.VAE.for_data(items, z_dim=2)) == Table(kind="binary", static=True)
    real = SequenceDataset(torch.randn(4, 2), [4], names=["a", "b"])
    model = rv.VRNN.for_data(real, z_dim=2, h_dim=3)
    assert form_of(model) == Table(["a", "b"])
    model.data_card = None
    with pytest.raises(ValueError, match="doesn't know what its data were"):
        form_of(model)


# ------------------------------------------------------------------------------------------------ load and read
def test_folders_are_loaded_with_their_form(tmp_path: Path) -> None:
    form = PianoRoll()
    rolls = [torch.zeros(4, 88).index_fill(1, torch.tensor([i]), 1.0) for i in range(10)]
    form.write(tmp_path / "music", rolls)
    data = load(tmp_path / "music")
    assert [len(side) for side in data] == [8, 1, 1] and data.valid.form == form and data.train.names[0] == "midi21"
    assert {int(x.argmax()) % 88 for side in data for x in side} == {*range(10)}
    coarse = load(tmp_path / "music", form={"form": "PianoRoll", "frame": 1.0})
    assert coarse.train.lengths.unique().tolist() == [1]
    assert not torch.equal(load(tmp_path / "music", seed=1).test.values, data.test.values)
    (tmp_path / "music" / "a.wav").write_bytes(b"1")
    with pytest.raises(ValueError, match="must hold files of one sort .* got .mid and .wav"):
        load(tmp_path / "music")


def test_numbers_are_read_for_every_form(tmp_path: Path) -> None:
    x = torch.tensor([[0], [1], [1], [0], [0]])
    np.savez(tmp_path / "a.npz", values=x.numpy(), lengths=[2, 3])
    data = read(tmp_path / "a.npz", DNA())
    assert torch.equal(data.values, x) and data.form == DNA() and data.classes == 4
    Table(kind="categories", classes=4).write(tmp_path / "a.csv", [x])
    assert torch.equal(read(tmp_path / "a.csv", "DNA").values, x)
    with pytest.raises(ValueError, match="a.npz has x_dim=1, and PianoRoll is of data with x_dim=88"):
        read(tmp_path / "a.npz", PianoRoll())
    with pytest.raises(ValueError, match="static"):
        read(tmp_path / "a.npz", Table(kind="categories", classes=4, static=True))


def test_npz_keeps_the_form(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 4, (12, 1))
    np.savez(tmp_path / "a.npz", values=x, lengths=np.full(6, 2), split=[0, 1, 2, 0, 1, 2])
    data = load(tmp_path / "a.npz", form="DNA")
    assert data.train.form == DNA() and data.train.classes == 4
    rv.data.save(tmp_path / "b.npz", data)
    assert load(tmp_path / "b.npz").test.form == DNA()
    with pytest.raises(ValueError, match="DNA says what the values are .* leave kind and classes out"):
        load(tmp_path / "a.npz", form="DNA", kind="counts")
    np.savez(tmp_path / "c.npz", values=x, lengths=np.full(6, 2), kind="categories", classes=4, form="DN")
    with pytest.raises(ValueError, match="the array form must be a form's description"):
        load(tmp_path / "c.npz")


def test_refusals_of_load_and_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no file .*none.mid"):
        load(tmp_path / "none.mid")
    (tmp_path / "a.doc").write_text("a")
    for door in (load, lambda path: read(path, "DNA")):
        with pytest.raises(ValueError, match=r"read from .npz, .csv, .fa, .fasta, .*.wav, got 'a.doc'"):
            door(tmp_path / "a.doc")
    (tmp_path / "a.txt").write_text("a\n")
    with pytest.raises(ValueError, match="'a.txt' cannot be read as DNA, which is .fasta, .fa, .fna, .npz, .csv"):
        read(tmp_path / "a.txt", DNA())
    with pytest.raises(ValueError, match="classes is for .npz and .csv"):
        load(tmp_path / "a.txt", classes=3)
    with pytest.raises(ValueError, match="1 sequences cannot be split"):
        load(tmp_path / "a.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="must hold files of one sort .* got none"):
        load(tmp_path / "empty")
    (tmp_path / "empty" / "a.csv").write_text("sequence,time,x\n1,1,1\n")
    with pytest.raises(ValueError, match="is a folder, and a file .npz or .csv holds all sequences"):
        load(tmp_path / "empty")
    (tmp_path / "b.mid").write_bytes(b"")
    with pytest.raises(ValueError, match="b.mid is empty"):
        read(tmp_path / "b.mid", PianoRoll())
