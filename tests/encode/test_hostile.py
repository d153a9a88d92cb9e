"""200 good and 60 bad files through shard and encode: what only decoding finds out is rejected there, within memory.

The bad files that the shard stage sees through are described in tests/shard/test_hostile.py.
"""

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from pipeline.keys import key_of_path
from tests.makers.python_path import python_path
from tests.shard.makers import npy, picture, sound, tar
from tests.shard.test_hostile import BAD, GOOD

GIGABYTE = 1 << 30


def bilevel(side: int) -> bytes:
    """A PNG of a few kilobytes that takes 3 bytes a pixel as RGB."""
    buffer = io.BytesIO()
    Image.new("1", (side, side)).save(buffer, "PNG")
    return buffer.getvalue()


def huge_jpeg() -> bytes:
    """A JPEG of 6 x 4 pixels whose header says 60,000 x 60,000."""
    content = bytearray(picture(1, "JPEG"))
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 9] = (60_000).to_bytes(2, "big") * 2
    return bytes(content)


def noise(kind: str = "FLAC", value: float = 0.5, frames: int = 20_000, rate: int = 8000) -> bytes:
    buffer = io.BytesIO()
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, frames).astype(np.float32)
    wave[frames // 2] = value
    soundfile.write(buffer, wave, rate, format=kind, subtype="FLOAT" if kind == "WAV" else None)
    return buffer.getvalue()


def silence(minutes: int) -> bytes:
    """Some kilobytes of FLAC that are 5.8 MB a minute once decoded."""
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", 48_000, 1, format="FLAC") as file:
        for _ in range(minutes):
            file.write(np.zeros(48_000 * 60, np.int16))
    return buffer.getvalue()


def ply(body: bytes, vertices: int = 3, kind: str = "ascii") -> bytes:
    axes = "".join(f"property float {axis}\n" for axis in "xyz")
    return f"ply\nformat {kind} 1.0\nelement vertex {vertices}\n{axes}end_header\n".encode() + body


# What looks right to the shard stage, so that encode has to find out.
BROKEN = {
    "image": [
        ("png", bilevel(13_000)),  # more than our limit, less than what Pillow itself refuses
        ("jpg", huge_jpeg()),
        ("png", picture(1, side=(60, 40))[:3000]),
        ("jpg", picture(1, "JPEG", (60, 40))[:700]),
        ("webp", picture(1, "WEBP", (60, 40))[:800]),
        ("png", picture(1)[:33]),
        ("png", b"\x89PNG\r\n\x1a\n" + bytes(40)),
        ("jpg", b"\xff\xd8\xff\xe0" + bytes(40)),
        ("webp", b"RIFF\x20\0\0\0WEBPVP8 " + bytes(40)),
    ],
    "audio": [
        ("flac", silence(11)),
        ("wav", noise("WAV", np.nan)),
        ("wav", noise("WAV", np.inf)),
        ("flac", noise()[:9000]),
        ("flac", sound(1)[:60]),
        ("ogg", noise("OGG")[:40]),
        ("ogg", b"OggS" + bytes(60)),
        ("mp3", b"just words"),
        ("wav", noise("WAV", frames=2)[:44]),
    ],
    "text": [],
    "point": [
        ("npy", npy(np.full((5, 3), np.nan, np.float32))),
        ("npy", npy(np.full((5, 3), np.inf, np.float32))),
        ("npy", npy(np.full((5, 3), 1e300))),
        ("ply", ply(b"0 0 0\n1e400 0 0\n0 1 0\n")),
        ("ply", ply(b"0 0 0\n1 nan 0\n0 1 0\n")),
        ("ply", ply(b"0 0 0\n1 0\n")),
        ("ply", ply(bytes(20), kind="binary_little_endian")),
        ("ply", ply(b"", vertices=1_000_000_000)),
        ("ply", b"ply\nnothing clear\nend_header\n"),
    ],
}


def link(kind: bytes, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.type, info.linkname = kind, target
    return info


# Members of a tar that would be read or written outside it.
OUTSIDE = [
    ("../../canary.png", picture(2)),
    ("link0.png", link(tarfile.SYMTYPE, "../../canary.png")),
    ("link1.png", link(tarfile.LNKTYPE, "/etc/passwd")),
]


def write_corpora(raw: Path) -> None:
    """50 good and 15 bad samples of each modality in one folder; the pictures in a tar that points out of itself."""
    raw.mkdir(parents=True)
    for modality, broken in BROKEN.items():
        bad = broken + BAD[modality][: 15 - len(broken) - (len(OUTSIDE) if modality == "image" else 0)]
        good = [GOOD[modality](number) for number in range(50)]
        if modality == "image":
            good[7] = ("png", bilevel(7_900))  # large, and allowed: it counts as memory
        files = [(f"good{number:02d}.{extension}", content) for number, (extension, content) in enumerate(good)]
        files += [(f"bad{number:02d}.{extension}", content) for number, (extension, content) in enumerate(bad)]
        if modality == "image":
            tar(raw / "pictures.tar", [*files, *OUTSIDE])
            continue
        for name, content in files:
            (raw / name).write_bytes(content)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
def test_200_rows_60_rejects_no_crash_and_no_file_outside_the_output(tmp_path: Path) -> None:
    (tmp_path / "canary.png").write_bytes(b"untouched")
    write_corpora(tmp_path / "work" / "raw")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    done = subprocess.run(
        [sys.executable, "-m", "tests.encode.run_hostile", "raw", "out"],
        cwd=tmp_path / "work", env={"PYTHONPATH": python_path(), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    for modality, found in result["found"].items():
        assert sorted(found["rows"]) == [f"good{number:02d}" for number in range(50)]
        reasons = found["shard"] | found["encode"]
        assert len(reasons) == len(found["shard"]) + len(found["encode"]) == 15
        outside = {key for key in reasons if not key.startswith("bad")}
        assert reasons.keys() == outside | {f"bad{number:02d}" for number in range(15 - len(outside))}
        assert outside <= {"link0", "link1", key_of_path("../../canary.png")}
        assert found["encode"].keys() == {f"bad{number:02d}" for number in range(len(BROKEN[modality]))}
        assert all(0 < len(reason) <= 200 for reason in reasons.values())
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert {path: content for path, content in after.items() if tmp_path / "work" / "out" not in path.parents} == before
    assert result["after"] - result["before"] < GIGABYTE
    print(f"peak memory {result['before'] >> 20} MB before, {result['after'] >> 20} MB after")
