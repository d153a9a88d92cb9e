"""The bytes of one file as picture, sound or text, with limits that are checked before anything large is decoded."""

import io
import warnings
from dataclasses import dataclass

import numpy as np
import soundfile
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from pipeline.errors import SampleError

MAX_PIXELS = 64_000_000
MAX_FRAMES = 48_000 * 60 * 10
MAX_TEXT_BYTES = 1_000_000


@dataclass(frozen=True)
class Sound:
    """A mono sound.

    Attributes:
        wave: Samples [T], float32, full scale is 1.
        rate: Samples in a second.
    """

    wave: NDArray[np.float32]
    rate: int


def decode_image(payload: bytes, max_pixels: int = MAX_PIXELS, mode: str = "RGB") -> Image.Image:
    """The first picture of an image file in the colours of `mode`; in those of the file where that is empty.

    Raises:
        SampleError: No image, a damaged one, or one of more than `max_pixels`.
    """
    try:
        with warnings.catch_warnings():
            # Our own limit is checked below, before the pixels are read.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(payload))
        width, height = image.size
        if width * height > max_pixels:
            raise SampleError("decode", f"image of {width} x {height} pixels, the limit is {max_pixels} pixels")
        if mode:
            return image.convert(mode)
        image.load()
        return image
    except UnidentifiedImageError:
        raise SampleError("decode", f"not an image that Pillow can read ({len(payload)} bytes)") from None
    except SampleError:
        raise
    except Exception as error:  # each of Pillow's format plug-ins raises errors of its own
        raise SampleError("decode", f"damaged image: {error}") from error


def decode_audio(payload: bytes, max_frames: int = MAX_FRAMES) -> Sound:
    """The sound of an audio file, channels averaged.

    Raises:
        SampleError: No audio, an empty, cut or damaged file, or one of more than `max_frames`.
    """
    try:
        with soundfile.SoundFile(io.BytesIO(payload)) as file:
            frames, rate = file.frames, file.samplerate
            if frames > max_frames:
                raise SampleError("decode", f"audio of {frames} frames, the limit is {max_frames} frames")
            samples = file.read(dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise SampleError("decode", f"not audio that libsndfile can read: {error.error_string}") from None
    except (RuntimeError, ValueError, TypeError) as error:
        raise SampleError("decode", f"damaged audio: {error}") from error
    if len(samples) < frames:
        raise SampleError("decode", f"audio ends after {len(samples)} of {frames} frames")
    if not len(samples):
        raise SampleError("decode", "audio without a single frame")
    wave = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1, dtype=np.float32)
    if not np.isfinite(wave).all():
        raise SampleError("decode", "audio with values that are not finite")
    return Sound(wave, rate)


def decode_text(payload: bytes, max_bytes: int = MAX_TEXT_BYTES) -> str:
    """The text of a UTF-8 file without the white space around it.

    Raises:
        SampleError: Not UTF-8, empty, or longer than `max_bytes`.
    """
    if len(payload) > max_bytes:
        raise SampleError("decode", f"text of {len(payload)} bytes, the limit is {max_bytes} bytes")
    try:
        text = payload.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise SampleError("decode", f"text is not UTF-8 at byte {error.start}") from None
    if not text:
        raise SampleError("decode", "text without a character")
    return text
