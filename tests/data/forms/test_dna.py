from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pyro_rvae.data import DNA, load

FASTA = """
>one of two
ACGTacgu
NN-
>
RG
"""


def test_read(tmp_path: Path) -> None:
    (tmp_path / "a.fa").write_text(FASTA.replace("-", ""))
    data = DNA().read(tmp_path / "a.fa")
    assert data[0].flatten().tolist() == [0, 1, 2, 3, 0, 1, 2, 3, -1, -1] and data[1].flatten().tolist() == [-1, 2]
    assert data.ids == ("one of two", "2") and data.missing and data.classes == 4 and data.kind == "categories"


def test_round_trip(tmp_path: Path) -> None:
    form = DNA()
    x = [torch.randint(-1, 4, (n, 1), generator=torch.Generator().manual_seed(n)) for n in (1, 60, 61, 200)]
    form.write(tmp_path / "a.fasta", x, ids=["a", "b c", "d\ne", "f"])
    again = form.read(tmp_path / "a.fasta")
    assert all(torch.equal(a, b) for a, b in zip(again, x, strict=True)) and again.ids == ("a", "b c", "d e", "f")
    assert max(map(len, (tmp_path / "a.fasta").read_text().splitlines())) == 60
    assert form.decode([x[1]]) == [(tmp_path / "a.fasta").read_text().splitlines()[3]]
    assert torch.equal(form.encode(form.decode(x)).values, again.values)


def test_load(tmp_path: Path) -> None:
    (tmp_path / "a.fna").write_text("".join(f">{i}\n{'ACGT'[i % 4] * 3}\n" for i in range(10)))
    data = load(tmp_path / "a.fna")
    assert [len(side) for side in data] == [8, 1, 1] and data.test.form == DNA()


@pytest.mark.parametrize(("text", "what"), [
    ("ACGT\n", r"line 1 of a.fa comes before a line that starts with '>'"), ("\n\n", "has no record"),
    (FASTA, "line 4 of a.fa: '-' is no letter of DNA"), (">p\nMKVL\n", "is it a protein"),
    (">a\n>b\nAC\n", "the record 'a' of a.fa has no letters"),
])
def test_refusals(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "a.fa").write_text(text)
    with pytest.raises(ValueError, match=what):
        DNA().read(tmp_path / "a.fa")


def test_refusals_of_codes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the codes 0 to 3"):
        DNA().write(tmp_path / "a.fa", [torch.tensor([[4]])])
    (tmp_path / "a.fa").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="is no FASTA file, which is text"):
        DNA().read(tmp_path / "a.fa")
