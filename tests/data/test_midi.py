"""Piano rolls to MIDI and back."""

from __future__ import annotations

from pathlib import Path

import mido
import pytest
import torch

from pyro_rvae.data.midi import read_midi, write_midi


def roll(length: int = 12, seed: int = 0) -> torch.Tensor:
    return (torch.rand(length, 88, generator=torch.Generator().manual_seed(seed)) < 0.3).to(torch.get_default_dtype())


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "a.mid"
    x = roll()
    x[-3:] = 0  # silence at the end counts
    write_midi(path, x)
    assert torch.equal(read_midi(path), x)


def test_several_follow_each_other_with_a_rest(tmp_path: Path) -> None:
    a, b = roll(5), roll(7, 1)
    write_midi(tmp_path / "a.mid", [a, b], rest=2)
    assert torch.equal(read_midi(tmp_path / "a.mid"), torch.cat([a, torch.zeros(2, 88), b]))
    both = torch.stack([a, a])
    write_midi(tmp_path / "b.mid", both, rest=0)
    assert torch.equal(read_midi(tmp_path / "b.mid"), torch.cat([a, a]))


def test_frames_that_follow_each_other_are_one_note(tmp_path: Path) -> None:
    x = torch.zeros(5, 88)
    x[1:4, 39] = 1  # middle C, three quarters
    write_midi(tmp_path / "a.mid", x, tempo=60, program=52)
    file = mido.MidiFile(tmp_path / "a.mid")
    notes = [m for m in file.tracks[0] if m.type.startswith("note")]
    assert [(m.type, m.note, m.time) for m in notes] == [("note_on", 60, 480), ("note_off", 60, 1440)]
    assert file.length == pytest.approx(5.0), "five quarters at 60 a minute"
    assert [m.program for m in file.tracks[0] if m.type == "program_change"] == [52]


def test_other_instruments(tmp_path: Path) -> None:
    x = roll()[:, :12]
    write_midi(tmp_path / "a.mid", x, lowest=60)
    assert torch.equal(read_midi(tmp_path / "a.mid", keys=12, lowest=60), x)
    with pytest.raises(ValueError, match="outside the 5 keys from 60"):
        read_midi(tmp_path / "a.mid", keys=5, lowest=60)


@pytest.mark.parametrize(("change", "what"), [
    ({"rolls": torch.zeros(3)}, r"needs piano rolls \(T, keys\)"), ({"rolls": []}, "at least one"),
    ({"rolls": torch.zeros(0, 88)}, "needs piano rolls"), ({"rolls": torch.zeros(3, 120)}, "go to 140"),
    ({"tempo": 0}, "tempo must be"), ({"program": 128}, "program must be"), ({"rest": -1}, "rest must be"),
])
def test_refusals(tmp_path: Path, change: dict, what: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(ValueError, match=what):
        write_midi(tmp_path / "a.mid", **({"rolls": roll()} | change))
    assert not (tmp_path / "a.mid").exists()


def test_no_midi(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no file"):
        read_midi(tmp_path / "a.mid")
    for content in (b"", b"MThd", b"RIFFxxxx", b"MThd\x00\x00\x00\x06\x00\x01\x00\x01\x01\xe0MTrk\x00\x00\x00\x09"):
        (tmp_path / "a.mid").write_bytes(content)
        with pytest.raises(ValueError, match="cannot be read as a Standard MIDI File"):
            read_midi(tmp_path / "a.mid")
