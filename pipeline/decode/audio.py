"""The bytes of one file as a sound."""

from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import soundfile
from numpy.typing import NDArray

from pipeline.decode.lengths import LongerFile, Stream, bytes_left, mpeg_frames, promised_more
from pipeline.decode.signatures import named_format
from pipeline.errors import SampleError

MAX_FRAMES = 48_000 * 60 * 10
# Of all channels together; checked before anything is allocated.
MAX_VALUES = 4 * MAX_FRAMES
LOWEST_RATE, HIGHEST_RATE = 4_000, 384_000
# Twenty decibels above full scale is not a recording: such samples are integers that somebody stored as they were.
LOUDEST = 10.0
# An MPEG frame of 576 samples has at least 24 bytes.
_SAMPLES_PER_BYTE = 24


@dataclass(frozen=True)
class Sound:
    """A mono sound.

    Attributes:
        wave: Samples [T], float32, full scale is 1.
        rate: Samples in a second.
    """

    wave: NDArray[np.float32]
    rate: int


def decode_audio(payload: bytes, by_trial: bool = True) -> Sound:
    """The whole sound of an audio file, channels averaged.

    Args:
        payload: The file.
        by_trial: Whether to look for the first frame of an MP3 behind something else, which takes time.

    Raises:
        SampleError: No audio, an empty, cut or damaged file, a rate outside 4 to 384 kHz, samples that are not finite
            or far beyond full scale, or more than `MAX_FRAMES`.
    """
    try:
        samples, rate = _samples(payload, by_trial)
    except soundfile.LibsndfileError as error:
        message = f"not audio that libsndfile can read: {error.error_string.rstrip('.')}{named_format(payload)}"
        raise SampleError("decode", message) from None
    except (RuntimeError, ValueError, TypeError) as error:
        raise SampleError("decode", f"damaged audio: {error}") from error
    if not len(samples):
        raise SampleError("decode", "audio without a single frame")
    wave = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1, dtype=np.float32)
    if not np.isfinite(wave).all():
        raise SampleError("decode", "audio with values that are not finite")
    if (peak := float(np.abs(wave).max())) > LOUDEST:
        raise SampleError(
            "decode", f"audio of samples up to {peak:.6g} where 1 is full scale; divide integers by theirs"
        )
    return Sound(wave, rate)


def check_header(payload: bytes) -> int:
    """Refuse a file of which not even the header can be read.

    Returns:
        The frames that it has according to its header.

    Raises:
        SampleError: It is one.
    """
    try:
        with soundfile.SoundFile(Stream(payload)) as file:
            return int(file.frames)
    except (RuntimeError, ValueError, TypeError) as error:
        raise SampleError("read", "a sound whose header is damaged") from error


def _samples(payload: bytes, by_trial: bool) -> tuple[NDArray[np.float32], int]:
    """All samples [T, channels], and how many there are in a second."""
    file, stream = _opened(payload, by_trial)
    with file:
        guessed = file.format == "MP3"
        _check(file, file.frames if not guessed else 0)
        if more := promised_more(file.format, file.extra_info, payload):
            raise SampleError("decode", f"audio that is cut off: {more}")
        samples = file.read(min(file.frames, MAX_FRAMES + 1), dtype="float32", always_2d=True)
        if guessed and (len(samples) < file.frames or bytes_left(stream)):
            samples = _to_the_end(file, stream.getvalue(), samples)
        elif len(samples) < file.frames:
            raise SampleError("decode", f"audio ends after {len(samples)} of {file.frames} frames")
        _check(file, len(samples))
        return samples, file.samplerate


def _opened(payload: bytes, by_trial: bool) -> tuple[soundfile.SoundFile, Stream]:
    """The file, and the stream that it reads: an MP3 without what stands before its first frame."""
    stream = Stream(payload)
    try:
        return soundfile.SoundFile(stream), stream
    except soundfile.LibsndfileError as error:
        for rest in mpeg_frames(payload) if by_trial else ():
            stream = Stream(rest)
            with suppress(soundfile.LibsndfileError):
                return soundfile.SoundFile(stream), stream
        raise error


def _check(file: soundfile.SoundFile, frames: int) -> None:
    if not LOWEST_RATE <= file.samplerate <= HIGHEST_RATE:
        message = f"audio of {file.samplerate} samples a second, expected {LOWEST_RATE} to {HIGHEST_RATE}"
        raise SampleError("decode", message)
    if frames > MAX_FRAMES:
        raise SampleError("decode", f"audio of {frames} frames, the limit is {MAX_FRAMES} frames")
    if frames * file.channels > MAX_VALUES:
        message = f"audio of {frames} frames in {file.channels} channels, the limit is {MAX_VALUES} values"
        raise SampleError("decode", message)


def _to_the_end(file: soundfile.SoundFile, payload: bytes, samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """All samples of an MP3 of which not as many were read as it says, or after which there are bytes left.

    Unless an encoder wrote it down, the number of frames is a guess: the bytes by the bitrate of the first frame. In a
    file that claims to be longer another number is guessed, whereas one that was written down stays what it was.
    """
    longer = LongerFile(payload)
    with soundfile.SoundFile(longer) as again:
        if again.frames == file.frames:
            if len(samples) < min(file.frames, MAX_FRAMES + 1):
                raise SampleError("decode", f"audio ends after {len(samples)} of {file.frames} frames")
            return samples
        longer.end()
        # In one piece: after each piece the binding seeks, and an MP3 does not go on exactly where it was.
        buffer = np.empty((min(len(payload) * _SAMPLES_PER_BYTE, MAX_FRAMES + 1), again.channels), np.float32)
        return buffer[: again.buffer_read_into(buffer, "float32")].copy()
