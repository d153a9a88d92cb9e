"""Small videos that say in their pictures and sounds where in time they are."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

av = pytest.importorskip("av")
RATE = 44_100


def video(
    path: Path, seconds: int, fps: int = 5, codecs: tuple[str, str] = ("mpeg4", "aac"), late: float = 0.0
) -> Path:
    """Frame n is grey of the value n; second s sounds at 200 (s + 1) Hz on the left and 3,000 Hz on the right."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        if codecs[0]:
            pictures = container.add_stream(codecs[0], rate=fps, options={"g": "12"})
            pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
            pictures.bit_rate = 2_000_000
        if codecs[1]:
            rate = 48_000 if codecs[1] == "libopus" else RATE
            sounds = container.add_stream(codecs[1], rate=rate, layout="stereo")
        for number in range(seconds * fps if codecs[0] else 0):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), number, np.uint8), format="rgb24")
            frame.pts = number + round(late * fps)
            container.mux(pictures.encode(frame))
        if codecs[0]:
            container.mux(pictures.encode())
        if codecs[1]:
            time = np.arange(seconds * rate) / rate
            left, right = np.sin(2 * np.pi * 200 * (np.floor(time) + 1) * time), np.sin(2 * np.pi * 3000 * time)
            samples = (np.stack([left, right]) * 0.4).astype(np.float32)
            for start in range(0, samples.shape[1], 1024):
                frame = av.AudioFrame.from_ndarray(
                    np.ascontiguousarray(samples[:, start : start + 1024]), "fltp", "stereo"
                )
                frame.rate, frame.pts = rate, start + round(late * rate)
                container.mux(sounds.encode(frame))
            container.mux(sounds.encode())
    return path


def grey(picture: bytes) -> float:
    return float(np.asarray(Image.open(io.BytesIO(picture))).mean())


def pitch(sound: bytes, second: float) -> float:
    """Frequency in the middle of a second, on the left."""
    wave, rate = soundfile.read(io.BytesIO(sound))
    piece = wave[int((second + 0.25) * rate) : int((second + 0.75) * rate), 0]
    return float(np.abs(np.fft.rfft(piece)).argmax() / len(piece) * rate)


def still(path: Path, picture: np.ndarray, pitch: float, seconds: int, fps: int = 1) -> None:
    """A video that shows one `picture` [H, W, 3] and sounds at one `pitch` in hertz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        shown = container.add_stream("mpeg4", rate=fps)
        shown.height, shown.width, shown.pix_fmt = *picture.shape[:2], "yuv420p"
        heard = container.add_stream("aac", rate=16_000, layout="mono")
        for number in range(seconds * fps):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number
            container.mux(shown.encode(frame))
        container.mux(shown.encode())
        wave = (0.5 * np.sin(2 * np.pi * pitch * np.arange(seconds * 16_000) / 16_000)).astype(np.float32)[None]
        for start in range(0, wave.shape[1], 1024):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave[:, start : start + 1024]), "fltp", "mono")
            frame.rate, frame.pts = 16_000, start
            container.mux(heard.encode(frame))
        container.mux(heard.encode())
