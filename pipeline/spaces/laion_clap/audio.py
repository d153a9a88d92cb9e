"""What CLAP's audio tower is given: waves and spectrograms as the library makes them, minus its dice."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.decode.audio import MAX_FRAMES, Sound
from pipeline.errors import SampleError

# The same in every published model.
RATE = 48_000
WINDOW = 10 * RATE
FFT, HOP, BANDS, LOWEST, HIGHEST = 1024, 480, 64, 50.0, 14_000.0
CHUNK = WINDOW // HOP + 1
RESAMPLER = "HQ"

CROPS = {
    False: {
        "center": "the middle 10 s of a longer clip",
        "start": "the first 10 s of a longer clip",
    },
    True: {
        "center": "whole clip shrunk to 10 s + the middle one of the possible 10 s chunks of each third",
        "start": "whole clip shrunk to 10 s + the first one of the possible 10 s chunks of each third",
    },
}


def prepare_wave(sound: Sound) -> NDArray[np.float32]:
    """`sound` at 48 kHz, rounded as 16-bit samples are (towards zero, the library's way), [T].

    Raises:
        SampleError: It is too long after resampling.
    """
    wave = sound.wave
    if sound.rate != RATE:
        # As librosa counts, rounding error included: one frame more can mean one repetition less in `one_window`.
        frames = math.ceil(len(wave) * (RATE / sound.rate))
        if frames > MAX_FRAMES:  # a header may claim one sample per second
            raise SampleError("preprocess", f"audio of {frames} frames at {RATE} Hz, the limit is {MAX_FRAMES} frames")
        import soxr

        resampled = soxr.resample(wave, sound.rate, RATE, quality=RESAMPLER)[:frames]
        wave = np.pad(resampled, (0, frames - len(resampled)))
    integers = (np.clip(wave, -1, 1) * np.float32(32767)).astype(np.int16)
    return integers.astype(np.float32) / np.float32(32767)


def one_window(wave: NDArray[np.float32], crop: str) -> NDArray[np.float32]:
    """The 10 s of `wave` [T] that the tower hears: a longer wave is cut where `crop` says; a shorter one is repeated
    as a whole while it fits, and zeros follow."""
    excess = len(wave) - WINDOW
    if excess > 0:
        first = excess // 2 if crop == "center" else 0
        return wave[first : first + WINDOW]
    repeated = np.tile(wave, WINDOW // len(wave))
    return np.pad(repeated, (0, WINDOW - len(repeated)))


class FusionViews:
    """The four views of a clip that a fusion model takes: the whole clip shrunk to 10 s, and three chunks of 10 s.

    The library draws the three chunks at random, one from each third of the possible ones, so that a clip longer than
    10 s has another embedding at each call. Here the chunk is the middle one of its third (``center``), or the first.
    """

    def __init__(self, crop: str) -> None:
        from torchaudio import transforms

        self.crop = crop
        self.mel = transforms.MelSpectrogram(
            sample_rate=RATE, n_fft=FFT, hop_length=HOP, n_mels=BANDS, f_min=LOWEST, f_max=HIGHEST, power=2.0
        )
        self.decibel = transforms.AmplitudeToDB(top_db=None)

    @torch.no_grad()
    def __call__(self, wave: NDArray[np.float32]) -> Tensor:
        """The views [4, 1001, 64] of `wave` [T], flat, followed by 1 if the clip is longer than one chunk, else 0."""
        whole = wave if len(wave) > WINDOW else one_window(wave, self.crop)
        spectrogram = self.decibel(self.mel(torch.from_numpy(whole.copy()))).T
        # Less than one hop beyond 10 s makes no further frame: such a clip is not "longer".
        longer = len(spectrogram) > CHUNK
        views = self._chunks(spectrogram) if longer else [spectrogram] * 4
        return torch.cat([torch.stack(views).flatten(), torch.tensor([float(longer)])])

    def _chunks(self, spectrogram: Tensor) -> list[Tensor]:
        shrunk = torch.nn.functional.interpolate(
            spectrogram[None, None], (CHUNK, BANDS), mode="bilinear", align_corners=False, antialias=True
        )
        # A third is empty when fewer than three chunks are possible; then the first chunk stands in.
        thirds = [third if len(third) else [0] for third in np.array_split(np.arange(len(spectrogram) - CHUNK + 1), 3)]
        firsts = [int(third[len(third) // 2 if self.crop == "center" else 0]) for third in thirds]
        return [shrunk[0, 0], *(spectrogram[first : first + CHUNK] for first in firsts)]


def split_views(batch: Tensor) -> tuple[Tensor, Tensor]:
    """Views [B, 4, 1001, 64] and whether each clip is longer [B], from a stack of what `FusionViews` gives."""
    return batch[:, :-1].reshape(len(batch), 4, CHUNK, BANDS), batch[:, -1] > 0.5
