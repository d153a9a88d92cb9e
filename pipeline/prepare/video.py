"""One frame and a span of sound out of a video, by PyAV: FFmpeg's libraries, without a program of that name."""

import io
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from pipeline.errors import SampleError, UserError
from pipeline.files.foreign import HEAD_BYTES, foreign

MIDDLE = "middle"
JPEG_QUALITY = 95
# A frame that begins this little after the wanted moment is the one that is meant: time stamps are rounded.
ROUNDING = 1e-3


@dataclass(frozen=True)
class Cut:
    """What is taken out of a video.

    Attributes:
        start: Seconds from its beginning.
        seconds: How many from there; None: all that follow.
        frame: The picture, in seconds from `start`; None: the one in the middle of the span.
    """

    start: float = 0.0
    seconds: float | None = None
    frame: float | None = None


@dataclass(frozen=True)
class Taken:
    """What was taken.

    Attributes:
        picture: A JPEG file, upright; empty where none was wanted.
        sound: A WAV file of 16 bits, all channels at the video's own rate; empty where none was wanted.
        frame_at: When the picture begins to be shown, in seconds from the beginning of the video.
        span: Beginning and end of the sound, likewise.
        rate: Samples in a second.
    """

    picture: bytes = b""
    sound: bytes = b""
    frame_at: float | None = None
    span: tuple[float, float] | None = None
    rate: int | None = None


def pyav() -> Any:
    """The module ``av``.

    Raises:
        UserError: It is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise UserError(
            "Videos are read by PyAV, which is not installed.", "Install it: pip install 'mcr-connect[video]'."
        ) from error
    return av


def take(path: Path, cut: Cut, picture: bool = True, sound: bool = True) -> Taken:
    """What `cut` says of the video in `path`.

    Raises:
        UserError: PyAV is not installed.
        SampleError: The file is no video, is damaged, or has no frame or no sound where it is cut.
    """
    av = pyav()
    name = str(path.absolute())  # FFmpeg takes `12:30.mp4` for an address
    try:
        with av.open(name) as container:
            end = _end(av, container, cut)
            # Each stream by itself, from the beginning: a file whose index is wrong is cut in the right place.
            found = _picture(av, container, cut, end) if picture else (b"", None)
        with av.open(name) as container:
            heard = _sound(av, container, cut, end) if sound else (b"", None, None)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise SampleError("decode", reason(path, error)) from error
    return Taken(found[0], heard[0], found[1], heard[1], heard[2])


def reason(path: Path, error: Exception) -> str:
    """Why a video cannot be read, without its path: what is written about a set is not of one machine."""
    with suppress(OSError), path.open("rb") as file:
        if not (head := file.read(HEAD_BYTES)):
            return "the file is empty"
        if instead := foreign(head):
            return f"the file is {instead[0]}"
    return f"{type(error).__name__}: {getattr(error, 'strerror', None) or error}"


def _end(av: Any, container: Any, cut: Cut) -> float:
    """Where the span ends, by what the file says of its length."""
    length = float(container.duration or 0) / av.time_base
    if cut.seconds is not None:
        return min(cut.start + cut.seconds, length) if length else cut.start + cut.seconds
    if not length:
        raise SampleError("decode", "the video does not record its length: give the seconds")
    return length


def _frames(container: Any, stream: Any) -> Iterator[tuple[float, Any]]:
    """Frames of a stream, and when each begins in seconds from the beginning of the video."""
    first = (container.start_time or 0) / 1_000_000
    for frame in container.decode(stream):
        if frame.time is not None:
            yield frame.time - first, frame


def _picture(av: Any, container: Any, cut: Cut, end: float) -> tuple[bytes, float]:
    if not container.streams.video:
        raise SampleError("decode", "the file has no pictures")
    wanted = (cut.start + end) / 2 if cut.frame is None else cut.start + cut.frame
    shown: tuple[float, Any] | None = None
    for time, frame in _frames(container, container.streams.video[0]):
        if time > wanted + ROUNDING:
            break
        shown = time, frame
    else:
        # The last frame is shown to the end of the video, and not beyond.
        if shown is None or wanted > end + ROUNDING:
            raise SampleError("decode", f"the video has no frame at {wanted:.3f} s")
    if shown is None:
        raise SampleError("decode", f"the video has no frame at {wanted:.3f} s")
    return jpeg(shown[1]), shown[0]


def jpeg(frame: Any) -> bytes:
    """A frame as a JPEG file, upright: a telephone held upright films lying pictures, and writes down how far to turn them."""
    buffer = io.BytesIO()
    frame.to_image().rotate(frame.rotation, expand=True).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def _sound(av: Any, container: Any, cut: Cut, end: float) -> tuple[bytes, tuple[float, float], int]:
    if not container.streams.audio:
        raise SampleError("decode", "the file has no sound")
    stream = container.streams.audio[0]
    rate, pieces, begins = int(stream.rate), [], None
    for time, samples in sound_frames(av, container, stream):
        low, high = (round((edge - time) * rate) for edge in (cut.start, end))
        chosen = samples[max(low, 0) : max(high, 0)]
        if len(chosen):
            begins = max(time, cut.start) if begins is None else begins
            pieces.append(chosen)
        if time > end:
            break
    if begins is None:
        raise SampleError("decode", f"the video has no sound from {cut.start:.3f} to {end:.3f} s")
    wave = np.concatenate(pieces)
    return wav(wave, rate), (begins, begins + len(wave) / rate), rate


def sound_frames(av: Any, container: Any, stream: Any) -> Iterator[tuple[float, np.ndarray]]:
    """Beginning and samples [N, channels] of each frame of a sound: 16 bits, the channels and the rate of the file."""
    convert = av.AudioResampler(format="s16")
    for time, frame in _frames(container, stream):
        for part in convert.resample(frame):
            yield time, part.to_ndarray().reshape(-1, len(part.layout.channels))


def wav(wave: np.ndarray, rate: int) -> bytes:
    """Samples [N, channels] as a WAV file of 16 bits."""
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()
