"""Samples as a browser shows them: pictures, sounds with a spectrogram, points; foreign bytes are decoded elsewhere."""

import io

import numpy as np

from pipeline.decode.clouds.points import decode_points
from pipeline.decode.isolated import Isolated, Limits
from pipeline.modalities import AUDIO, IMAGE, POINT
from pipeline.thumbnails import shrink_picture, spectrogram_png

SIDE = 320
MOST_POINTS = 4096
MOST_SECONDS = 60
WAV_RATES = (8000, 96000)  # what every browser plays

PICTURE, SPECTROGRAM, SOUND, POINTS = "picture", "spectrogram", "sound", "points"
KINDS = {
    PICTURE: (IMAGE, "image/jpeg"),
    SPECTROGRAM: (AUDIO, "image/png"),
    SOUND: (AUDIO, "audio/wav"),
    POINTS: (POINT, "application/octet-stream"),
}
"""By what is shown: of which modality it is made, and its media type."""


class Media:
    """Makes what is shown, in a process of its own.

    Args:
        limits: Of each call.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self._apart: Isolated[tuple[str, bytes], bytes] = Isolated(_shown, 1, limits)
        self._apart.start()

    def __call__(self, kind: str, content: bytes) -> bytes:
        """`content` as `kind`, one of `KINDS`; points are float32 [P, 6]: place within -1 and 1, colour from 0 to 1.

        Raises:
            SampleError: It cannot be decoded.
        """
        return self._apart.one((kind, content))

    def close(self) -> None:
        """End the process."""
        self._apart.close()


def _shown(job: tuple[str, bytes]) -> bytes:
    kind, content = job
    make = {PICTURE: _picture, SPECTROGRAM: spectrogram_png, SOUND: _wav, POINTS: _points}
    return make[kind](content)


def _picture(content: bytes) -> bytes:
    return shrink_picture(content, SIDE)


def _wav(content: bytes) -> bytes:
    import soundfile

    from pipeline.decode.audio import decode_audio

    sound = decode_audio(content)
    rate = min(max(sound.rate, WAV_RATES[0]), WAV_RATES[1])
    wave = sound.wave[: MOST_SECONDS * sound.rate]
    if rate != sound.rate:
        import soxr

        wave = soxr.resample(wave, sound.rate, rate)
    stream = io.BytesIO()
    soundfile.write(stream, np.clip(wave, -1, 1), rate, format="WAV", subtype="PCM_16")
    return stream.getvalue()


def _points(content: bytes) -> bytes:
    cloud = decode_points(content)
    chosen = cloud[np.linspace(0, len(cloud) - 1, min(MOST_POINTS, len(cloud))).astype(int)]
    place = chosen[:, :3] - (cloud[:, :3].max(0) + cloud[:, :3].min(0)) / 2
    place = place / max(float(np.abs(place).max()), 1e-9)
    colours = np.clip(chosen[:, 3:6], 0, 1) if chosen.shape[1] >= 6 else np.full((len(chosen), 3), 0.6)
    return np.hstack([place, colours]).astype("<f4").tobytes()
