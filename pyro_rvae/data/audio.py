"""Sound: WAV files, spectra on the mel scale, and sound from the magnitudes of a spectrum."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .atomic import atomic

__all__ = ["from_bands", "griffin_lim", "mel_bands", "read_wav", "spectrum", "write_wav"]

Array = NDArray[Any]


# ------------------------------------------------------------------------------------------------ files
def read_wav(path: str | Path, rate: int) -> Array:
    """The samples ``(n,)`` of a WAV file, from -1 to 1, at ``rate`` a second.

    8, 16, 24 or 32 bits, or floats; channels are averaged, another rate is changed by ``scipy.signal.resample_poly``
    (a polyphase filter, which keeps out what the new rate cannot hold).

    Raises:
        ValueError: no WAV file that SciPy reads, one cut short or without samples, or numbers that aren't finite.
    """
    from scipy.io import wavfile  # SciPy's audio takes half a second to import, and few need it

    path = Path(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # chunks of text beside the sound
            warnings.filterwarnings("error", "Reached EOF", wavfile.WavFileWarning)
            found, samples = wavfile.read(path)
    except (ValueError, EOFError, OSError, TypeError, ZeroDivisionError, wavfile.WavFileWarning) as error:
        raise ValueError(f"{path} cannot be read as WAV ({error or type(error).__name__}): is it whole? convert other "
                         "sound files to WAV, PCM or float") from error
    except Exception as error:  # struct.error and others of a broken header
        raise ValueError(f"{path} cannot be read as WAV ({error}): its header is broken") from error
    if not samples.size:
        raise ValueError(f"{path} holds no samples: leave it out")
    sound = _from_levels(samples)
    sound = sound.mean(1) if sound.ndim == 2 else sound
    if not np.isfinite(sound).all():
        raise ValueError(f"{path} holds samples that aren't finite: export it again")
    return sound if found == rate else _resampled(sound, found, rate)


def _resampled(sound: Array, old: int, new: int) -> Array:
    from scipy import signal

    common = math.gcd(old, new)
    return np.asarray(signal.resample_poly(sound, new // common, old // common))


def _from_levels(samples: Array) -> Array:
    """Levels of integers as numbers from -1 to 1 (24 bits come in the upper part of 32)."""
    if samples.dtype == np.uint8:
        return (samples.astype(float) - 128.0) / 128.0
    if samples.dtype.kind == "i":
        return samples.astype(float) / -float(np.iinfo(samples.dtype).min)
    return samples.astype(float)


def write_wav(path: str | Path, sound: Array, rate: int) -> None:
    """Writes samples ``(n,)`` from -1 to 1 as a WAV file of 16 bits, mono; whole or not at all.

    What goes beyond 1 is not clipped: the whole is made quieter.

    Raises:
        ValueError: no samples, or some that aren't finite.
    """
    from scipy.io import wavfile

    sound = np.asarray(sound, dtype=float)
    if sound.ndim != 1 or not len(sound) or not np.isfinite(sound).all():
        raise ValueError(f"write_wav takes finite samples (n,), got shape {sound.shape}: one channel, no NaN")
    levels = np.round(sound / max(1.0, float(np.abs(sound).max())) * 32767.0).astype(np.int16)
    with atomic(path) as file:
        wavfile.write(file, rate, levels)


# ------------------------------------------------------------------------------------------------ spectra
def spectrum(sound: Array, window: int, hop: int) -> Array:
    r"""The short-time Fourier transform ``(T, window // 2 + 1)``, complex: ``T = ceil(n / hop) + 1`` frames.

    Hann windows of ``window`` samples, one every ``hop``, zeros beyond both ends; scaled so that a sine of amplitude 1
    has magnitude 1/2.
    """
    from scipy import signal

    _, _, found = signal.stft(sound, nperseg=window, noverlap=window - hop, window="hann")
    return np.asarray(found.T)


def _sound(found: Array, window: int, hop: int) -> Array:
    """The samples whose transform is nearest to a given one (``(T - 1) hop`` of them)."""
    from scipy import signal

    _, sound = signal.istft(found.T, nperseg=window, noverlap=window - hop, window="hann")
    return np.asarray(sound)


def griffin_lim(magnitude: Array, window: int, hop: int, *, iterations: int = 60, seed: int = 0,
                momentum: float = 0.99) -> Array:
    r"""Samples whose spectrum has nearly these magnitudes ``(T, window // 2 + 1)``: a search for the phases.

    From random phases, again and again: the sound nearest to the spectrum, and of its transform the phases,

    .. math::
        c_{n+1} = P(t_n), \qquad t_{n+1} = c_{n+1} + \alpha (c_{n+1} - c_n),

    where P keeps the phases of :math:`t_n`, puts in the magnitudes, and goes to samples and back.

    Source: Griffin & Lim (1984), "Signal estimation from modified short-time Fourier transform"; the momentum is that
    of Perraudin, Balazs & Søndergaard (2013), "A fast Griffin-Lim algorithm". The transforms are SciPy's.

    Arguments:
        iterations: how often.
        momentum: :math:`\alpha`; 0 is the algorithm of 1984.

    Returns samples ``((T - 1) hop,)``.
    """
    phases = np.random.default_rng(seed).uniform(0.0, 2.0 * np.pi, magnitude.shape)
    ahead = magnitude * np.exp(1j * phases)
    last = np.zeros_like(ahead)
    for _ in range(iterations):
        found = spectrum(_sound(_with_phases(magnitude, ahead), window, hop), window, hop)
        ahead, last = found + momentum * (found - last), found
    return _sound(_with_phases(magnitude, ahead), window, hop)


def _with_phases(magnitude: Array, of: Array) -> Array:
    return magnitude * of / np.maximum(np.abs(of), 1e-12)


def mel_bands(rate: int, window: int, bands: int) -> Array:
    r"""Weights ``(bands, window // 2 + 1)`` that gather frequencies into bands of equal width on the mel scale.

    Triangles from one band's middle to the next, each of sum 1, between 0 Hz and half the rate; with
    :math:`m = 2595 \log_{10}(1 + f / 700)` mel.

    Source of the scale: O'Shaughnessy (1987), "Speech Communication". We differ from most in the sum: a band is the
    mean magnitude of its frequencies.

    Raises:
        ValueError: a band so narrow that no frequency lies in it.
    """
    frequencies = np.linspace(0.0, rate / 2, window // 2 + 1)
    top = 2595.0 * math.log10(1.0 + rate / 2 / 700.0)
    edges = 700.0 * (10.0 ** (np.linspace(0.0, top, bands + 2) / 2595.0) - 1.0)
    rise = (frequencies - edges[:-2, None]) / np.diff(edges)[:-1, None]
    fall = (edges[2:, None] - frequencies) / np.diff(edges)[1:, None]
    weights = np.maximum(0.0, np.minimum(rise, fall))
    if not (weights.sum(1) > 0).all():
        raise ValueError(f"{bands} bands are more than windows of {window} samples can tell apart at {rate} a second: "
                         "give fewer bands, or a longer window")
    return np.asarray(weights / weights.sum(1, keepdims=True))


def from_bands(gathered: Array, weights: Array, *, updates: int = 50) -> Array:
    r"""Magnitudes ``(T, F)``, none negative, that bands ``(T, bands)`` were gathered from, as nearly as may be.

    Spread evenly at first, :math:`m = W^\top y / W^\top 1`, then the least squares of :math:`y \approx W m` by
    multiplication, :math:`m \leftarrow m \cdot W^\top y / W^\top W m`, which keeps the start's smoothness.

    Source of the updates: Lee & Seung (2001), "Algorithms for Non-negative Matrix Factorization" (NeurIPS 13).
    """
    spread = gathered @ weights
    found = spread / np.maximum(weights.sum(0), 1e-12)
    for _ in range(updates):
        found = found * spread / np.maximum(found @ weights.T @ weights, 1e-12)
    return found
