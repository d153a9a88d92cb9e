"""The spectrogram by FFT against NumPy's in float64, and against the convolution that it replaces."""

import numpy as np
import pytest
import torch

from pipeline.spaces.laion_clap.spectrogram import PowerSpectrogram, by_fft

torchlibrosa = pytest.importorskip("torchlibrosa", reason="the extra `clap` is not installed")
FFT, HOP, RATE = 1024, 480, 48_000
TIME = np.arange(RATE) / RATE
WAVES = {
    "noise": np.random.default_rng(0).uniform(-1, 1, RATE),
    "tone": 0.5 * np.sin(2 * np.pi * 440 * TIME),
    "chirp, then silence": np.sin(2 * np.pi * 9000 * TIME**2) * (TIME < 0.6),
    "hum": 1e-4 * np.sin(2 * np.pi * 50 * TIME),
    "silence": np.zeros(RATE),
    "shortest": np.random.default_rng(1).uniform(-1, 1, FFT // 2 + 1),
}


@pytest.fixture(scope="module")
def convolution() -> torch.nn.Module:
    extractor = torchlibrosa.Spectrogram(
        n_fft=FFT, hop_length=HOP, win_length=FFT, window="hann", freeze_parameters=True
    )
    assert isinstance(extractor, torch.nn.Module)
    return extractor


def defined(wave: np.ndarray) -> np.ndarray:
    """[1, 1, frames, 513] by NumPy in float64."""
    padded = np.pad(wave, FFT // 2, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FFT) / FFT)
    frames = np.lib.stride_tricks.sliding_window_view(padded, FFT)[::HOP]
    found: np.ndarray = np.abs(np.fft.rfft(frames * window, axis=1)) ** 2
    return found[None, None]


@pytest.mark.parametrize("name", WAVES)
def test_it_is_the_power_of_a_windowed_fourier_transform(convolution: torch.nn.Module, name: str) -> None:
    wave = torch.from_numpy(WAVES[name]).float()[None]
    expected = defined(wave[0].double().numpy())
    ours, theirs = by_fft(convolution)(wave).double().numpy(), convolution(wave).double().numpy()
    assert ours.shape == theirs.shape == expected.shape
    largest = max(float(expected.max()), 1e-30)
    error = np.abs(ours - expected).max() / largest
    assert error < 1e-6
    assert error <= np.abs(theirs - expected).max() / largest, "no further from float64 than the convolution"


def test_filters_that_are_no_fourier_transform_are_used_as_they_are(convolution: torch.nn.Module) -> None:
    other = torchlibrosa.Spectrogram(n_fft=FFT, hop_length=HOP, win_length=FFT, window="hann", freeze_parameters=True)
    other.load_state_dict(convolution.state_dict())
    assert isinstance(by_fft(other), PowerSpectrogram)
    other.stft.conv_imag.weight[7, 0, 300] += 1e-3
    assert by_fft(other) is other


def test_the_window_is_that_of_the_filters() -> None:
    blackman = torchlibrosa.Spectrogram(
        n_fft=FFT, hop_length=HOP, win_length=FFT, window="blackman", freeze_parameters=True
    )
    wave = torch.from_numpy(WAVES["noise"]).float()[None]
    theirs = blackman(wave)
    assert (by_fft(blackman)(wave) - theirs).abs().max() < 1e-5 * theirs.max()
