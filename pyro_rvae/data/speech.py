"""Spoken digits."""

from __future__ import annotations

import numpy as np

from .datasets import SequenceDataset
from .forms import Spectrum
from .local import check_copy, digest, local_copy
from .npz import read_npz
from .splits import Splits
from .standard import Origin

__all__ = ["spoken_digits"]

FSDD = Origin("fsdd/fsdd600.npz", (), "edee5afb3dd8b40f920602534ca403d48816540e92d988940cf213647a6ee0b7")
MADE = ("It is made of the Free Spoken Digit Dataset (github.com/Jakobovski/free-spoken-digit-dataset, CC BY-SA 4.0), "
        "takes 0 to 9 of each digit and speaker: audio (sum n,), 16 bits at 8 kHz, all clips one behind the other, "
        "lengths, digit, speaker, take, is_test (600,), and speaker_names.")
KINDS = {"audio": "<i2", "lengths": "<i8", "digit": "<i8", "speaker": "<i8", "take": "<i8", "is_test": "|b1"}
VALID_TAKE = 9


def spoken_digits(form: Spectrum | None = None) -> Splits[SequenceDataset]:
    """600 spoken digits of six speakers as spectra: 240 / 60 / 300, with labels 0 to 9.

    The test side is the set's own: takes 0 to 4 of each digit and speaker. Of the others, take 9 is for validation.
    ``ids`` are the names of the clips, ``digit_speaker_take``. The numbers are log-magnitudes on the mel scale, in the
    units of :class:`Spectrum`; ``.standardize()`` gives each band deviation 1.

    Source: Z. Jackson and others, Free Spoken Digit Dataset (github.com/Jakobovski/free-spoken-digit-dataset).

    The file is looked for as ``fsdd/fsdd600.npz`` in the folder that ``PYRO_RVAE_DATA`` names, then in the user's cache
    (see :func:`jsb_chorales`). It is not downloaded; its content must have the known SHA-256.

    :param form: of the spectra, at 8000 samples a second; None: ``Spectrum()``.
    :raises ValueError: if there is no such file, its content is another, or the form has another rate.
    """
    form = Spectrum() if form is None else form
    if form.rate != 8000:
        raise ValueError(f"spoken_digits are of 8000 samples a second, got a form with rate={form.rate}")
    path = local_copy(FSDD, MADE)
    held = read_npz(path)
    lacking = [name for name in (*KINDS, "speaker_names") if name not in held]
    arrays = {name: held[name].astype(kind) for name, kind in KINDS.items() if name in held}
    check_copy(f"without {', '.join(lacking)}" if lacking else digest(arrays.values()), FSDD, path, MADE)
    sounds = np.split(arrays["audio"] / 32768.0, arrays["lengths"].cumsum()[:-1])
    names = held["speaker_names"][arrays["speaker"]]
    ids = [f"{digit}_{name}_{take}" for digit, name, take in zip(arrays["digit"], names, arrays["take"], strict=True)]
    whole = form.encode(sounds, labels=arrays["digit"], ids=ids)
    side = np.where(arrays["is_test"], 2, np.where(arrays["take"] == VALID_TAKE, 1, 0))
    return Splits(*(whole.subset(side == number) for number in range(3))).linked()
