from __future__ import annotations

from pathlib import Path

import mido
import pytest
import torch

from pyro_rvae.data import PianoRoll


def roll(length: int, keys: int = 88) -> torch.Tensor:
    return (torch.rand(length, keys, generator=torch.Generator().manual_seed(length)) < 0.3).double()


@pytest.mark.parametrize("frame", [1.0, 0.25, 1 / 3, 2])
def test_round_trip(tmp_path: Path, frame: float) -> None:
    form = PianoRoll(frame=frame)
    form.write(tmp_path / "a.mid", [roll(9)], tempo=60)
    assert torch.equal(form.read(tmp_path / "a.mid")[0], roll(9))
    assert mido.MidiFile(tmp_path / "a.mid").length == pytest.approx(9 * frame)


def test_several_in_one_file_have_a_rest_between(tmp_path: Path) -> None:
    form = PianoRoll(frame=0.5)
    form.write(tmp_path / "a.mid", [roll(4), roll(6)], rest=2)
    assert torch.equal(form.read(tmp_path / "a.mid")[0], torch.cat([roll(4), torch.zeros(4, 88), roll(6)]))


def test_folder(tmp_path: Path) -> None:
    form = PianoRoll()
    form.write(tmp_path / "many", [roll(4), roll(6)], ids=["b", "a"])
    data = form.read(tmp_path / "many")
    assert data.ids == ("a", "b") and torch.equal(data[0], roll(6)) and data.names[39] == "midi60"
    (tmp_path / "many" / "._a.mid").write_bytes(b"rubbish of another system")
    assert len(form.read(tmp_path / "many")) == 2


def test_no_notes(tmp_path: Path) -> None:
    PianoRoll().write(tmp_path / "a.mid", [torch.zeros(4, 88)])
    with pytest.raises(ValueError, match="a.mid has no notes"):
        PianoRoll().read(tmp_path / "a.mid")


@pytest.mark.parametrize(("given", "what"), [
    ({"keys": 0}, "MIDI has the keys"), ({"lowest": 100}, "MIDI has the keys"), ({"keys": 1.5}, "MIDI has the keys"),
    ({"frame": 0}, "frame is the length"), ({"frame": 0.001}, "frame is the length"), ({"frame": 17}, "up to 16"),
])
def test_refusals(given: dict[str, float], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        PianoRoll(**given)  # type: ignore[arg-type]
