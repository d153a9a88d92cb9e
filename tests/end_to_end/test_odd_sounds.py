"""Odd sounds from the raw folder to the store: the embedding is that of the library's own call on the right samples."""

import io
import struct
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import transformers

from pipeline.decode.audio import decode_audio
from pipeline.spaces import SpaceSpec
from tests.end_to_end.test_odd_files import embedded
from tests.spaces.transformers.make_models import make_clap

RATE = 48_000
TIME = np.arange(6 * RATE) / RATE
NOISE = np.random.default_rng(0).standard_normal(len(TIME)).astype(np.float32)
# By the bitrate of its first quarter second the whole would be two seconds long.
LOUD_FIRST = np.where(TIME < 0.25, 0.25 * NOISE, 0.001 * NOISE).astype(np.float32)
SWEEP = (0.5 * np.sin(2 * np.pi * (200 + 150 * TIME) * TIME)).astype(np.float32)


def saved(samples: np.ndarray, kind: str = "WAV", subtype: str | None = None, **options: Any) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE, format=kind, subtype=subtype, **options)
    return buffer.getvalue()


def untagged(content: bytes) -> bytes:
    """An MP3 whose first frame no longer says how many follow."""
    return content.replace(b"Xing", bytes(4), 1).replace(b"Info", bytes(4), 1)


def piped(content: bytes, size: int) -> bytes:
    """A WAV whose header was never completed."""
    return content[:40] + struct.pack("<I", size) + content[44:]


MP3 = {
    "loud_first": saved(LOUD_FIRST, "MP3", bitrate_mode="VARIABLE"),
    "vbr": saved(SWEEP, "MP3", bitrate_mode="VARIABLE"),
    "cbr": saved(SWEEP, "MP3", bitrate_mode="CONSTANT"),
    "average": saved(LOUD_FIRST, "MP3", bitrate_mode="AVERAGE"),
}
WAV = saved(SWEEP)
# Name of the file: its bytes, and those of a file with the same sound that libsndfile is known to read whole.
SOUNDS: dict[str, tuple[bytes, bytes]] = {
    "loud_first_noxing.mp3": (untagged(MP3["loud_first"]), MP3["loud_first"]),
    "vbr_noxing.mp3": (untagged(MP3["vbr"]), MP3["vbr"]),
    "cbr_noinfo.mp3": (untagged(MP3["cbr"]), MP3["cbr"]),
    "average_noxing.mp3": (untagged(MP3["average"]), MP3["average"]),
    "junk_front.mp3": (bytes(100) + MP3["cbr"], MP3["cbr"]),
    "radio.mp3": (b"ICY 200 OK\r\n" * 90 + MP3["cbr"], MP3["cbr"]),
    "an_mp3.wav": (MP3["cbr"], MP3["cbr"]),
    "a_wav.mp3": (WAV, WAV),
    "pipe_ffff.wav": (piped(WAV, 0xFFFFFFFF), WAV),
    "pipe_7fff.wav": (piped(WAV, 0x7FFFF000), WAV),
    "pipe_8000.wav": (piped(WAV, 0x80000000), WAV),
    "deep.wav": (saved(SWEEP, subtype="PCM_24"), saved(SWEEP, subtype="PCM_24")),
    "telephone.wav": (saved(SWEEP, subtype="ULAW"), saved(SWEEP, subtype="ULAW")),
    "voice.opus": (saved(SWEEP, "OGG", "OPUS"), saved(SWEEP, "OGG", "OPUS")),
    "mac.aiff": (saved(SWEEP, "AIFF"), WAV),
    "mac.caf": (saved(SWEEP, "CAF"), WAV),
    "sun.au": (saved(SWEEP, "AU"), WAV),
    "large.w64": (saved(SWEEP, "W64"), WAV),
    "large-64.wav": (saved(SWEEP, "RF64"), WAV),
}
REFUSED = {
    "cut_half.wav": (WAV[: 4 * RATE], "cut off"),
    "cut.aiff": (saved(SWEEP, "AIFF")[: 4 * RATE], "cut off"),
    "cut.mp3": (MP3["cbr"][: len(MP3["cbr"]) // 2], "audio ends after"),
    "cut.flac": (saved(SWEEP, "FLAC")[:30_000], ""),
    "int_scale_float.wav": (saved(13_000 * SWEEP, subtype="FLOAT"), "full scale"),
    "int_scale_double.wav": (saved(32_768 * SWEEP, subtype="DOUBLE"), "full scale"),
    "bytes_as_float.caf": (saved(127 * SWEEP, "CAF", "FLOAT"), "full scale"),
    "nan.wav": (saved(SWEEP + np.float32("nan"), subtype="FLOAT"), "not finite"),
}


def key_of(file: str) -> str:
    return file.replace(".", "-")


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    for name, (content, _) in [*SOUNDS.items(), *REFUSED.items()]:
        (folder / f"{key_of(name)}.{name.rpartition('.')[2]}").write_bytes(content)
    return folder


def samples_of(name: str) -> np.ndarray:
    """What libsndfile reads of the known file; an MP3 without its length keeps the silence that the encoder put around."""
    content, known = SOUNDS[name]
    wave = soundfile.read(io.BytesIO(known), dtype="float32")[0]
    if "_no" not in name:
        return wave
    found = decode_audio(content).wave
    assert len(wave) <= len(found) < len(wave) + 4 * 1152
    offsets = [at for at in range(len(found) - len(wave) + 1) if abs(found[at : at + 1000] - wave[:1000]).max() < 1e-4]
    assert any(abs(found[at : at + len(wave)] - wave).max() < 1e-4 for at in offsets), name
    return found


def check(raw: Path, out: Path, spec: SpaceSpec, library: Callable[[np.ndarray], np.ndarray]) -> None:
    found, rejected = embedded(raw, out, "audio", spec)
    assert set(rejected) == {key_of(name) for name in REFUSED}
    assert all(reason in rejected[key_of(name)] for name, (_, reason) in REFUSED.items())
    for name in SOUNDS:
        np.testing.assert_allclose(found[key_of(name)], library(samples_of(name)), atol=2e-5, err_msg=name)
    part = library(samples_of("loud_first_noxing.mp3")[: 2 * RATE])
    assert abs(found["loud_first_noxing-mp3"] - part).max() > 1e-3, "the test tells a part from the whole"


def test_sounds_are_to_a_space_what_they_are_to_transformers(raw: Path, tmp_path: Path) -> None:
    folder = make_clap(tmp_path / "clap")
    model = transformers.ClapModel.from_pretrained(folder).eval()
    extract = transformers.ClapFeatureExtractor.from_pretrained(folder)

    @torch.no_grad()
    def library(wave: np.ndarray) -> np.ndarray:
        inputs = extract(wave, sampling_rate=RATE, return_tensors="pt")
        features = model.get_audio_features(input_features=inputs["input_features"].float())
        rows = features if isinstance(features, torch.Tensor) else features.pooler_output
        return torch.nn.functional.normalize(rows, dim=-1)[0].numpy()

    check(raw, tmp_path, SpaceSpec("transformers", str(folder)), library)


@pytest.mark.slow  # a model of the real size
@pytest.mark.skipif(find_spec("laion_clap") is None, reason="the extra `clap` is not installed")
def test_sounds_are_to_a_space_what_they_are_to_laion_clap(raw: Path, tmp_path: Path) -> None:
    from tests.spaces.laion_clap.make_tokenizers import offline_hub
    from tests.spaces.laion_clap.test_laion_clap import Pair, library_audio

    with offline_hub(tmp_path / "hub"):
        pair = Pair(tmp_path, fusion=False)
        check(raw, tmp_path, pair.spec, lambda wave: library_audio(pair, wave)[0])
