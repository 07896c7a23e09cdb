from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from pyro_rvae.data import Spectrum, Waveform

RATE = 8000


def chirp(n: int = 3000) -> np.ndarray:
    t = np.arange(n) / RATE
    return 0.4 * np.sin(2 * np.pi * (300 + 900 * t) * t) * np.hanning(n) + 0.1 * np.sin(2 * np.pi * 1500 * t)


def wav(path: Path, sound: np.ndarray, rate: int = RATE) -> Path:
    wavfile.write(path, rate, np.round(sound * 32767).astype(np.int16))
    return path


# ------------------------------------------------------------------------------------------------ spectra
def test_spectrum_of_a_sine(tmp_path: Path) -> None:
    """A sine of amplitude a in the middle of a band has magnitude a / 2 there (Hann: half of it in the neighbours)."""
    form = Spectrum(bands=None, floor=1e-6)
    sound = 0.8 * np.sin(2 * np.pi * 1000 * np.arange(4000) / RATE)  # 1000 Hz is frequency 32 of 0..128
    x = form.read(wav(tmp_path / "a.wav", sound))[0]
    assert x.shape == (33, 129) and int(x[16].argmax()) == 32
    np.testing.assert_allclose(x[8:24, 31:34].exp(), np.tile([0.2, 0.4, 0.2], (16, 1)), rtol=1e-3)
    assert x.min() >= np.log(1e-6)


def test_bands_gather_frequencies(tmp_path: Path) -> None:
    plain, mel = Spectrum(bands=None), Spectrum(bands=30)
    path = wav(tmp_path / "a.wav", chirp())
    magnitude = plain.read(path)[0].exp() - plain.floor
    assert mel.weights is not None
    np.testing.assert_allclose(mel.weights.sum(1), 1.0)
    wanted = magnitude @ torch.as_tensor(mel.weights).T + mel.floor
    np.testing.assert_allclose(mel.read(path)[0].exp(), wanted, rtol=1e-4)


@pytest.mark.parametrize("bands", [None, 64, 40])
def test_sound_made_of_a_spectrum_has_that_spectrum(tmp_path: Path, bands: int | None) -> None:
    form = Spectrum(bands=bands)
    path = wav(tmp_path / "a.wav", chirp())
    x = form.read(path)
    form.write(tmp_path / "b.wav", x)
    again = form.read(tmp_path / "b.wav")
    n = min(len(x[0]), len(again[0]))
    one, other = x[0][:n].exp(), again[0][:n].exp()
    assert float((one - other).norm() / one.norm()) < 0.08
    form.write(tmp_path / "c.wav", x, iterations=1)
    rough = form.read(tmp_path / "c.wav")[0][:n].exp()
    assert float((one - rough).norm()) > 2 * float((one - other).norm())


def test_the_same_seed_gives_the_same_file(tmp_path: Path) -> None:
    form = Spectrum(bands=20)
    x = form.read(wav(tmp_path / "a.wav", chirp(1000)))
    for name, seed in (("b", 0), ("c", 0), ("d", 1)):
        form.write(tmp_path / f"{name}.wav", x, seed=seed, iterations=3)
    b, c, d = ((tmp_path / f"{name}.wav").read_bytes() for name in "bcd")
    assert b == c != d


def test_several_with_silence_between(tmp_path: Path) -> None:
    form = Spectrum(bands=20)
    x = form.read(wav(tmp_path / "a.wav", chirp(1280)))[0]
    form.write(tmp_path / "b.wav", [x, x], gap=0.5, iterations=2)
    rate, sound = wavfile.read(tmp_path / "b.wav")
    one = (len(x) - 1) * form.hop
    assert rate == RATE and len(sound) == 2 * one + 4000 and not sound[one : one + 4000].any()


# ------------------------------------------------------------------------------------------------ samples
def test_waveform_round_trip(tmp_path: Path) -> None:
    form = Waveform(frame=64)
    sound = np.round(chirp(1000) * 32767) / 32767
    x = form.read(wav(tmp_path / "a.wav", sound))
    assert x.lengths.tolist() == [16] and x.missing and int(x.values.isnan().sum()) == 16 * 64 - 1000
    form.write(tmp_path / "b.wav", x)
    np.testing.assert_allclose(wavfile.read(tmp_path / "b.wav")[1] / 32767, sound, atol=1.01 / 32767)
    form.write(tmp_path / "c.wav", [torch.full((2, 64), 3.0)])  # beyond 1: made quieter, not clipped round
    assert wavfile.read(tmp_path / "c.wav")[1].tolist() == [32767] * 128


@pytest.mark.parametrize(("levels", "dtype"), [(128, np.uint8), (2**15, np.int16), (2**31, np.int32), (1, np.float32)])
def test_levels_of_each_type(tmp_path: Path, levels: int, dtype: type) -> None:
    half = np.array([0.5, -0.5, 0.0, 0.25])
    stored = half * levels + (128 if dtype is np.uint8 else 0)
    wavfile.write(tmp_path / "a.wav", RATE, stored.astype(dtype))
    assert Waveform(frame=4).read(tmp_path / "a.wav")[0].tolist() == [half.tolist()]


def test_24_bits(tmp_path: Path) -> None:
    import wave

    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(3)
        file.setframerate(RATE)
        file.writeframes(b"".join(int(x * 2**23).to_bytes(3, "little", signed=True) for x in (0.5, -0.5, 0.25, -1)))
    assert Waveform(frame=4).read(tmp_path / "a.wav")[0].tolist() == [[0.5, -0.5, 0.25, -1.0]]


def test_stereo_is_averaged_and_another_rate_resampled(tmp_path: Path) -> None:
    t = np.arange(16000) / 16000
    low, high = 0.5 * np.sin(2 * np.pi * 440 * t), 0.5 * np.sin(2 * np.pi * 6000 * t)
    wavfile.write(tmp_path / "a.wav", 16000, np.stack([low + high, low - high], 1).astype(np.float32))
    wavfile.write(tmp_path / "b.wav", 16000, (low + high).astype(np.float32))
    wanted = 0.5 * np.sin(2 * np.pi * 440 * np.arange(8000) / RATE)
    for name in ("a", "b"):  # 6000 Hz is beyond what 8000 samples a second hold: it must not come back as 2000 Hz
        sound = Waveform(frame=8000).read(tmp_path / f"{name}.wav")[0].flatten()
        np.testing.assert_allclose(sound[200:-200], wanted[200:-200], atol=5e-3)


# ------------------------------------------------------------------------------------------------ refusals
def test_broken_files(tmp_path: Path) -> None:
    path = wav(tmp_path / "a.wav", chirp())
    whole = path.read_bytes()
    for content, what in ((b"", "is empty"), (b"RIFFrubbish", "cannot be read as WAV"), (whole[:30], "cannot be read"),
                          (whole[:2000], "cannot be read as WAV .*Reached EOF"), (b"ID3" + whole, "cannot be read")):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=what):
            Spectrum().read(path)
    wavfile.write(path, RATE, np.array([], dtype=np.int16))
    with pytest.raises(ValueError, match="holds no samples|cannot be read"):
        Waveform().read(path)
    wavfile.write(path, RATE, np.array([0.5, np.nan], dtype=np.float32))
    with pytest.raises(ValueError, match="aren't finite"):
        Waveform().read(path)


@pytest.mark.parametrize(("given", "what"), [
    ({"rate": 0}, "rate must be an integer"), ({"window": 255}, "even number"), ({"hop": 200}, "at most half"),
    ({"bands": 120}, "120 bands are more than windows of 256"), ({"floor": 2.0}, "floor must be"),
    ({"bands": -1}, "bands must be an integer"),
])
def test_refusals_of_settings(given: dict[str, float], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        Spectrum(**given)  # type: ignore[arg-type]


def test_refusals_of_write(tmp_path: Path) -> None:
    form = Spectrum(bands=20)
    x = torch.full((3, 20), torch.nan)
    with pytest.raises(ValueError, match="NaN or inf: impute"):
        form.write(tmp_path / "a.wav", [x])
    with pytest.raises(ValueError, match="iterations must be an integer"):
        form.write(tmp_path / "a.wav", [torch.zeros(3, 20)], iterations=0)
    with pytest.raises(ValueError, match="gap must be 0 or more"):
        form.write(tmp_path / "a.wav", [torch.zeros(3, 20)], gap=-1, iterations=1)
    with pytest.raises(ValueError, match=r"finite samples \(n,\), got shape \(0,\)"):
        Waveform(frame=20).write(tmp_path / "a.wav", [x])
    assert not [*tmp_path.iterdir()]
