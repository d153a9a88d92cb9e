"""Small pictures of what is too large to show or cannot be seen: thumbnails, spectrograms, point clouds."""

import io
from functools import cache

import numpy as np
from numpy.typing import NDArray

from pipeline.decode.clouds.points import decode_points
from pipeline.decode.images import decode_image
from pipeline.decode.isolated import Isolated, Limits
from pipeline.modalities import AUDIO, IMAGE, POINT

Array = NDArray[np.float64]

SIDE = 128
MELS, FRAMES, WINDOW = 40, 72, 512
DECIBELS = 60.0
POINT_SIDE = 64
# Dark violet to pale yellow: darkness is silence, and the order survives a grey copy.
COLOURS = np.array([[13, 8, 40], [74, 20, 110], [160, 44, 96], [226, 96, 52], [249, 172, 44], [252, 248, 180]], float)


def shrink_picture(content: bytes, side: int = SIDE) -> bytes:
    """A JPEG thumbnail of at most `side` pixels a side."""
    from PIL import ImageOps

    # Turned upright, as browsers do with the pictures that the page holds as they are.
    small = ImageOps.exif_transpose(decode_image(content, mode="")).convert("RGB")
    small.thumbnail((side, side))
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=80)
    return stream.getvalue()


def spectrogram_png(content: bytes) -> bytes:
    """Log-mel spectrogram of an encoded sound as a small PNG, low tones at the bottom."""
    from pipeline.decode.audio import decode_audio

    sound = decode_audio(content)
    return _png(_colour(log_mel(sound.wave, sound.rate)[::-1]))


def log_mel(samples: NDArray[np.float32], rate: int) -> Array:
    """Loudness [40, 72] from 0 (60 dB below the loudest place) to 1, over tone and time."""
    padded = np.pad(samples.astype(float), WINDOW // 2)
    starts = np.linspace(0, max(len(padded) - WINDOW, 0), FRAMES).astype(int)
    windows = np.stack([np.resize(padded[start : start + WINDOW], WINDOW) for start in starts])
    power = np.abs(np.fft.rfft(windows * np.hanning(WINDOW), axis=1)) ** 2
    bands = _mel_bands(rate) @ power.T
    decibels = 10 * np.log10(np.maximum(bands, 1e-12))
    shown: Array = np.clip(1 + (decibels - decibels.max()) / DECIBELS, 0, 1)
    return shown


@cache
def _mel_bands(rate: int) -> Array:
    """Triangular filters [40, bins], equally wide on the mel scale."""
    frequencies = np.linspace(0, rate / 2, WINDOW // 2 + 1)
    mel = 2595 * np.log10(1 + frequencies / 700)
    centres = np.linspace(0, mel[-1], MELS + 2)[1:-1]
    # At least as wide as the spacing of the FFT, or low filters would fall between two bins.
    width = np.maximum(centres[1] - centres[0], np.interp(centres, mel[1:], np.diff(mel)))
    bands: Array = np.clip(1 - np.abs(mel[None, :] - centres[:, None]) / width[:, None], 0, None)
    return bands


def point_png(content: bytes) -> bytes:
    """A point cloud [P, 3 or more] seen from the front; nearer points cover farther ones, colours if it has them."""
    points = decode_points(content)
    place = points[:, :3] - (points[:, :3].max(axis=0) + points[:, :3].min(axis=0)) / 2
    place = place / max(np.abs(place).max(), 1e-9)
    colours = np.clip(points[:, 3:6], 0, 1) * 255 if points.shape[1] >= 6 else np.full((len(points), 3), 200.0)
    canvas = np.full((POINT_SIDE, POINT_SIDE, 3), 24, np.uint8)
    across = ((0.5 + 0.45 * place[:, 0]) * (POINT_SIDE - 2)).astype(int)
    down = ((0.5 - 0.45 * place[:, 1]) * (POINT_SIDE - 2)).astype(int)
    for index in np.argsort(place[:, 2], kind="stable"):
        canvas[down[index] : down[index] + 2, across[index] : across[index] + 2] = colours[index]
    return _png(canvas)


def _colour(values: Array) -> NDArray[np.uint8]:
    levels = np.linspace(0, 1, len(COLOURS))
    return np.stack([np.interp(values, levels, COLOURS[:, channel]) for channel in range(3)], axis=-1).astype(np.uint8)


def _png(pixels: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    # A palette of 64 keeps a spectrogram near one kilobyte.
    Image.fromarray(pixels).quantize(64, dither=Image.Dither.NONE).save(stream, "PNG", optimize=True)
    return stream.getvalue()


class Painter:
    """Draws samples in a process of its own: they were decoded before, but perhaps on another machine.

    Args:
        limits: Of each drawing.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self._apart: Isolated[tuple[str, bytes], bytes] = Isolated(_drawn, 1, limits)

    def __call__(self, modality: str, content: bytes) -> bytes:
        """A small picture of a sample.

        Raises:
            SampleError: It cannot be decoded.
        """
        return self._apart.one((modality, content))


def _drawn(job: tuple[str, bytes]) -> bytes:
    modality, content = job
    return {IMAGE: shrink_picture, AUDIO: spectrogram_png, POINT: point_png}[modality](content)
