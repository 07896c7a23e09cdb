"""Sound as WAV files: spectra, and samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..audio import from_bands, griffin_lim, mel_bands, read_wav, spectrum, write_wav
from ..checks import as_tensor
from ..datasets import SequenceDataset
from .base import Form
from .folders import files_of, whole_numbers, write_each

__all__ = ["Spectrum", "Waveform"]

Array = NDArray[Any]


class Spectrum(Form):
    r"""Sound as log-magnitude spectra, real ``x (T, bands)``: a WAV file each, or a folder of them.

    .. math::
        x_{tb} = \log\Big(\epsilon + \sum_f W_{bf} |S_{tf}|\Big)

    with S the short-time Fourier transform (Hann windows, zeros beyond both ends; a sine of amplitude 1 has magnitude
    1/2) and W triangular bands on the mel scale. Files are read as one channel at this rate (another one is resampled).

    Written back are the magnitudes of the bands, spread over the frequencies without a negative one, and phases found
    by Griffin & Lim's search: it sounds alike, the samples are others. Options of :meth:`write`: ``iterations`` of the
    search (default 60), ``seed`` of its start, ``gap`` (seconds of silence between the sequences of one file, default
    0.3).

    Source: Davis & Mermelstein (1980), "Comparison of parametric representations for monosyllabic word recognition";
    Griffin & Lim (1984), see :func:`~pyro_rvae.data.audio.griffin_lim`.

    Arguments:
        rate: samples a second.
        window: samples of a frame; hop: from one frame to the next.
        bands: on the mel scale; ``None``: all ``window // 2 + 1`` frequencies as they are.
        floor: :math:`\epsilon`; magnitudes far below it are alike (silence).

    Raises:
        ValueError: settings that are no positive numbers, a hop above half the window, or too many bands.
    """

    endings = (".wav",)
    writes = (".wav",)
    each = True
    kind = "real"

    def __init__(self, rate: int = 8000, window: int = 256, hop: int = 128, bands: int | None = 64,
                 floor: float = 1e-3) -> None:
        whole_numbers("Spectrum", rate=rate, window=window, hop=hop, bands=1 if bands is None else bands)
        if window % 2 or window < 4 or 2 * hop > window:
            raise ValueError(f"Spectrum: window must be an even number of at least 4 samples, and hop at most half of "
                             f"it (else no sound can be made of it); got window={window}, hop={hop}")
        if not 0 < floor < 1:
            raise ValueError(f"Spectrum: floor must be a small magnitude between 0 and 1, got {floor!r}")
        self.rate, self.window, self.hop, self.bands, self.floor = rate, window, hop, bands, floor
        self.weights = None if bands is None else mel_bands(rate, window, bands)
        self.x_dim = window // 2 + 1 if bands is None else bands

    def settings(self) -> dict[str, Any]:
        return {"rate": self.rate, "window": self.window, "hop": self.hop, "bands": self.bands, "floor": self.floor}

    def read(self, path: str | Path) -> SequenceDataset:
        files = files_of(path, self.endings)
        return self.encode([read_wav(file, self.rate) for file in files], ids=[file.stem for file in files])

    def encode(self, sounds: Sequence[Array], **given: Any) -> SequenceDataset:
        """Samples ``(n,)`` each, from -1 to 1 at this form's rate, as a data set; ``labels, ids`` as usual."""
        data = SequenceDataset.from_sequences([self._frames(x) for x in sounds], kind="real", **given)
        data.form = self
        return data

    def decode(self, frames: Any, *, iterations: int = 60, seed: int = 0) -> Array:
        """The samples ``((T - 1) hop,)`` of one sequence ``(T, bands)``.

        Raises:
            ValueError: frames that aren't finite.
        """
        x = np.asarray(frames, dtype=float)
        if not np.isfinite(x).all():
            raise ValueError("Spectrum makes sound of frames that are finite, got NaN or inf: impute what is missing")
        heard = np.maximum(np.exp(np.minimum(x, 3.0)) - self.floor, 0.0)  # beyond 3 (20 times the loudest) is no sound
        magnitude = heard if self.weights is None else from_bands(heard, self.weights)
        return griffin_lim(magnitude, self.window, self.hop, iterations=iterations, seed=seed)

    def _frames(self, sound: Array) -> Array:
        short = self.window - len(sound)
        magnitude = np.abs(spectrum(np.pad(sound, (0, max(0, short))), self.window, self.hop))
        return np.asarray(np.log(self.floor + (magnitude if self.weights is None else magnitude @ self.weights.T)))

    def _write(self, path: Path, sequences: list[Tensor], ids: Sequence[str], *args: Any, iterations: int = 60,
               seed: int = 0, gap: float = 0.3, **options: Any) -> None:
        whole_numbers("Spectrum.write", iterations=iterations)
        sounds = [self.decode(x, iterations=iterations, seed=seed) for x in sequences]
        _write(path, sounds, ids, self.rate, gap)


class Waveform(Form):
    r"""Sound as its samples, real ``x (T, frame)`` from -1 to 1: a WAV file each, or a folder of them.

    A step is ``frame`` samples (the VRNN's had 200); of the last one, what lies behind the end is missing (NaN). Files
    are read as one channel at this rate (another one is resampled), and written with 16 bits. Option of :meth:`write`:
    ``gap`` (seconds of silence between the sequences of one file, default 0.3).

    Source: Chung et al. (2015), arXiv:1506.02216, section 5. We differ in the last frame, which is theirs dropped.

    Arguments:
        rate: samples a second.
        frame: samples of a step.

    Raises:
        ValueError: settings that are no positive integers.
    """

    endings = (".wav",)
    writes = (".wav",)
    each = True
    kind = "real"

    def __init__(self, rate: int = 8000, frame: int = 200) -> None:
        whole_numbers("Waveform", rate=rate, frame=frame)
        self.rate, self.frame = rate, frame
        self.x_dim = frame

    def settings(self) -> dict[str, Any]:
        return {"rate": self.rate, "frame": self.frame}

    def read(self, path: str | Path) -> SequenceDataset:
        files = files_of(path, self.endings)
        frames = [self._frames(read_wav(file, self.rate)) for file in files]
        data = SequenceDataset.from_sequences(frames, kind="real", ids=[file.stem for file in files])
        data.form = self
        return data

    def _frames(self, sound: Array) -> Tensor:
        padded = np.pad(sound, (0, -len(sound) % self.frame), constant_values=np.nan)
        return as_tensor(padded.reshape(-1, self.frame), "samples")

    def _write(self, path: Path, sequences: list[Tensor], ids: Sequence[str], *args: Any, gap: float = 0.3,
               **options: Any) -> None:
        _write(path, [_samples(x) for x in sequences], ids, self.rate, gap)


def _samples(frames: Tensor) -> Array:
    """Frames one behind the other, up to what is missing at the end."""
    x = frames.flatten()
    known = (~torch.isnan(x)).nonzero()
    return np.asarray(x[: int(known[-1]) + 1 if len(known) else 0].double())


def _write(path: Path, sounds: list[Array], ids: Sequence[str], rate: int, gap: float) -> None:
    """All sounds as one file, silence between, or each as a file in a new folder."""
    if gap < 0:
        raise ValueError(f"gap must be 0 or more seconds, got {gap}")
    if not path.suffix:
        write_each(path, sounds, ids, ".wav", lambda file, sound: write_wav(file, sound, rate))
        return
    silence = np.zeros(round(gap * rate))
    write_wav(path, np.concatenate([part for sound in sounds for part in (silence, sound)][1:]), rate)
