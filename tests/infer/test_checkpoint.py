"""Checkpoints: exact, atomic, never a pickle; what a user sees when one can't be written or read."""

from __future__ import annotations

import errno
import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from pyro_rvae.infer import load_checkpoint, save_checkpoint
from pyro_rvae.infer.checkpoint import is_pickle
from pyro_rvae.infer.packing import join_tensors, split_tensors

TENSORS = {"a/b": torch.tensor([1 / 3, float("nan"), -0.0]), "half": torch.ones(2, 3, dtype=torch.bfloat16),
           "bytes": torch.arange(5, dtype=torch.uint8), "scalar": torch.tensor(2)}
STATE = {"step": 3, "best": 0.1 + 0.2, "none": None, "rows": [[1, -1e-300]]}


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_comes_back_bit_for_bit(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "new" / "run", TENSORS, STATE)
    tensors, state = load_checkpoint(tmp_path / "new" / "run")
    assert state == STATE and tensors.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        assert tensors[name].dtype == value.dtype and tensors[name].numpy(force=True).tobytes() \
            == value.numpy(force=True).tobytes() if value.dtype != torch.bfloat16 else torch.equal(tensors[name], value)


def test_tensors_that_share_memory_are_saved(tmp_path: Path) -> None:
    whole = torch.arange(6.0)
    save_checkpoint(tmp_path, {"a": whole, "b": whole, "c": whole[::2]}, {})
    assert load_checkpoint(tmp_path).tensors["c"].tolist() == [0.0, 2.0, 4.0]


def test_a_new_one_takes_the_place_of_the_old(tmp_path: Path) -> None:
    for step in range(3):
        save_checkpoint(tmp_path, {"w": torch.tensor(step)}, {"step": step})
        assert len(files(tmp_path)) == 2 and "state.json" in files(tmp_path)
    assert load_checkpoint(tmp_path).tensors["w"] == 2


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, TENSORS, {"step": 1})
    (tmp_path / "tensors-7.safetensors").write_bytes(b"half")
    (tmp_path / ".state.json.x.part").write_bytes(b"half")
    assert load_checkpoint(tmp_path).state == {"step": 1}
    save_checkpoint(tmp_path, TENSORS, {"step": 2})
    assert len(files(tmp_path)) == 2


@pytest.mark.parametrize("nth", [1, 2])
def test_a_full_disk_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nth: int) -> None:
    """The disk fills up while the tensors are written, or while the state is."""
    save_checkpoint(tmp_path, TENSORS, {"step": 1})
    before, calls, real = files(tmp_path), [0], os.fsync

    def full(handle: int) -> None:
        calls[0] += 1
        if calls[0] == nth:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="not be saved to .*No space left on device.*is intact; make room") as caught:
        save_checkpoint(tmp_path, TENSORS, {"step": 2})
    assert caught.value.errno == errno.ENOSPC
    assert files(tmp_path) == before and load_checkpoint(tmp_path).state == {"step": 1}


def test_a_limit_of_the_file_size_leaves_the_one_before(tmp_path: Path) -> None:
    """The write itself fails, half way."""
    resource = pytest.importorskip("resource")
    save_checkpoint(tmp_path, TENSORS, {"step": 1})
    before, limits = files(tmp_path), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(OSError, match="could not be saved to .*File too large"):
            save_checkpoint(tmp_path, {"w": torch.zeros(100_000)}, {"step": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert files(tmp_path) == before and load_checkpoint(tmp_path).state == {"step": 1}


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="could not be saved to"):
        save_checkpoint(tmp_path / "file" / "run", TENSORS, STATE)


# ------------------------------------------------------------------------------------------- what is no checkpoint
class Trap:
    """Unpickling it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("writer", ["pickle", "torch", "torch-old"])
@pytest.mark.parametrize("place", ["folder", "state.json", "tensors-0.safetensors"])
def test_a_pickle_is_refused_and_never_run(tmp_path: Path, writer: str, place: str) -> None:
    folder = tmp_path / "run"
    save_checkpoint(folder, TENSORS, STATE)
    path = folder if place == "folder" else folder / place
    if place == "folder":
        path = tmp_path / "model.pt"
        folder = path
    trap = {"model": Trap(tmp_path / "sprung")}
    if writer == "pickle":
        path.write_bytes(pickle.dumps(trap))
    else:
        torch.save(trap, path, _use_new_zipfile_serialization=writer == "torch")
    if place == "tensors-0.safetensors":  # of the very size that is expected
        head = json.loads((folder / "state.json").read_text())
        (folder / "state.json").write_text(json.dumps({**head, "bytes": path.stat().st_size}))
    with pytest.raises(ValueError, match="expected .* got a pickle .*never does.*safetensors"):
        load_checkpoint(folder)
    assert not (tmp_path / "sprung").exists()


def test_no_checkpoint_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a checkpoint folder at .*, but there is no such folder. Name"):
        load_checkpoint(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="but it holds no state.json"):
        load_checkpoint(tmp_path)
    (tmp_path / "file").write_text("hello")
    with pytest.raises(ValueError, match="expected a checkpoint folder at .*file, got 5 bytes"):
        load_checkpoint(tmp_path / "file")


@pytest.mark.parametrize("cut", [0, 1, 50, -1])
def test_truncated(tmp_path: Path, cut: int) -> None:
    for name in ("state.json", "tensors-0.safetensors"):
        folder = tmp_path / name
        save_checkpoint(folder, TENSORS, STATE)
        (folder / name).write_bytes((folder / name).read_bytes()[:cut])
        with pytest.raises(ValueError, match=f"expected .* at .*{name}, got .* truncated.*Restore the file"):
            load_checkpoint(folder)


def test_foreign(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, TENSORS, STATE)
    path = tmp_path / "state.json"
    head = json.loads(path.read_text())

    def offer(**changed: Any) -> None:
        path.write_text(json.dumps({**head, **changed}))

    path.write_text('{"epochs": 3}')
    with pytest.raises(ValueError, match="is no checkpoint of this package: expected JSON with \"format\""):
        load_checkpoint(tmp_path)
    offer(version=99)
    with pytest.raises(ValueError, match="is a checkpoint of version 99, and this package reads version 1"):
        load_checkpoint(tmp_path)
    offer(tensors="../../elsewhere.safetensors")
    with pytest.raises(ValueError, match="expected the whole JSON of a checkpoint"):
        load_checkpoint(tmp_path)
    offer(tensors="tensors-5.safetensors")
    with pytest.raises(ValueError, match="is not whole: state.json names tensors-5.safetensors, which is missing"):
        load_checkpoint(tmp_path)
    offer()
    size = (tmp_path / "tensors-0.safetensors").stat().st_size
    (tmp_path / "tensors-0.safetensors").write_bytes(b"x" * size)
    with pytest.raises(ValueError, match="expected a safetensors file at .* can't be read as that"):
        load_checkpoint(tmp_path)


# ------------------------------------------------------------------------------------------- nests
def test_a_nest_is_taken_apart_and_put_together() -> None:
    nest = {"state": {0: {"step": torch.tensor(3.0), "m": torch.ones(2), "none": None}},
            "groups": [{"lr": 0.1, "betas": (0.9, 0.999), "params": [0, 1], "maximize": False}]}
    found: dict[str, torch.Tensor] = {}
    plain = json.loads(json.dumps(split_tensors(nest, "optimizer", found)))
    assert set(found) == {"optimizer/state/0/step", "optimizer/state/0/m"}
    again = join_tensors(plain, found)
    assert repr(again) == repr(nest) and list(again["state"]) == [0]


def test_a_nest_with_something_else_is_refused() -> None:
    with pytest.raises(TypeError, match="holds tensors, numbers, strings.*not the set at optimizer/a"):
        split_tensors({"a": {1, 2}}, "optimizer", {})


@pytest.mark.parametrize("width", [0x80, 0x4B50])
def test_a_header_as_long_as_a_pickles_mark(tmp_path: Path, width: int) -> None:
    """The first bytes of a safetensors file are the length of its header: it may look like a pickle's first byte."""
    header = b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'.ljust(width)
    path = tmp_path / "a.safetensors"
    path.write_bytes(width.to_bytes(8, "little") + header + b"\x07")
    assert path.read_bytes()[:1] in (b"\x80", b"P") and not is_pickle(path)
