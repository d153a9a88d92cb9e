"""Pictures, sounds and clouds that ask for memory, time or another program."""

import gzip
import io
import pickle
import random
import struct
import wave
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from tests.faults.hostile import Attack, command
from tests.faults.hostile.archives import Executed

Make = Callable[[Path, random.Random], bytes]


def png_of(width: int, height: int, idat: bytes = b"") -> bytes:
    """A PNG that claims a size, whatever its pixels are."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", idat) + chunk(b"IEND", b"")


def saved(kind: str, side: int, **options: object) -> bytes:
    """A grey picture."""
    buffer = io.BytesIO()
    Image.new("RGB", (side, side)).save(buffer, kind, **options)
    return buffer.getvalue()


def _zeros(draw: random.Random) -> bytes:
    return zlib.compress(bytes(draw.randrange(1 << 24, 1 << 26)), 9)


def _frames(kind: str, draw: random.Random) -> bytes:
    frames = [Image.new("P", (64, 64), number % 250) for number in range(draw.randrange(200, 600))]
    buffer = io.BytesIO()
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:])
    return buffer.getvalue()


PICTURES: dict[str, tuple[str, Make]] = {
    "png of many pixels": ("png", lambda _, draw: png_of(draw.randrange(9_000, 60_000), draw.randrange(9_000, 60_000))),
    "png that inflates": ("png", lambda _, draw: png_of(13_300, 13_300, _zeros(draw))),
    "png of a row": ("png", lambda _, draw: png_of(2**31 - 1 - draw.randrange(9), 1, _zeros(draw))),
    "png with a text that inflates": (
        "png",
        lambda _, draw: png_of(4, 4)[:33]
        + (lambda body: struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body)))(
            b"c\0\0" + _zeros(draw)
        )
        + png_of(4, 4)[33:],
    ),
    "gif of many frames": ("gif", lambda _, draw: _frames("GIF", draw)),
    "gif of a large screen": ("gif", lambda _, draw: b"GIF89a" + struct.pack("<HH", 65535, 65000 + draw.randrange(500)) + b"\xf7\0\0"),
    "tiff of many pages": ("tiff", lambda _, draw: _frames("TIFF", draw)),
    "eps": ("png", lambda project, _: f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%{command(project)}) (w) file\n".encode()),
    "pdf": ("jpg", lambda project, _: f"%PDF-1.4\n1 0 obj<</OpenAction<</S/Launch/F({command(project)})>>>>endobj".encode()),
    "svg": ("png", lambda _, draw: b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>' * draw.randrange(1, 9)),
    "fits": ("png", lambda _, draw: f"SIMPLE  =                    T{' ' * 50}BITPIX  = 8 NAXIS = 2 NAXIS1 = {draw.randrange(2**30)}".encode()),
    "jpeg of many pixels": ("jpg", lambda _, draw: (lambda body: body[: body.index(b"\xff\xc0") + 5] + struct.pack(">HH", 65000, 65000 - draw.randrange(99)) + body[body.index(b"\xff\xc0") + 9 :])(saved("JPEG", 16))),
    "webp of many pixels": ("webp", lambda _, draw: b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8 " + struct.pack("<I", 18) + b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", 16383, 16383 - draw.randrange(9)) + bytes(8)),
    "bmp of many pixels": ("bmp", lambda _, draw: b"BM" + bytes(12) + struct.pack("<IiiHHIIiiII", 40, 2**30 + draw.randrange(99), 2**30, 1, 24, 0, 0, 0, 0, 0, 0)),
}  # fmt: skip


def _wav(frames: int, channels: int, rate: int, size: int) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((channels, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(size))
    body = bytearray(buffer.getvalue())
    body[24:28] = struct.pack("<I", rate)
    body[40:44] = struct.pack("<I", min(frames * channels * 2, 2**32 - 1))
    return bytes(body)


def _flac(frames: int, channels: int, rate: int) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros((frames, channels), np.int16), rate, format="FLAC")
    return buffer.getvalue()


SOUNDS: dict[str, tuple[str, Make]] = {
    "flac of silence": ("flac", lambda _, draw: _flac(draw.randrange(30_000_000, 40_000_000), 1, 48_000)),
    "flac of eight channels": ("flac", lambda _, draw: _flac(draw.randrange(4_000_000, 6_000_000), 8, 48_000)),
    "wav of many frames": ("wav", lambda _, draw: _wav(2**30 + draw.randrange(99), 1, 8000, 64)),
    "wav of many channels": ("wav", lambda _, draw: _wav(4, draw.randrange(200, 1000), 8000, 8000)),
    "wav at a hertz": ("wav", lambda _, draw: _wav(32, 1, draw.randrange(1, 100), 64)),
    "wav at a gigahertz": ("wav", lambda _, draw: _wav(32, 1, 2**31 - 1 - draw.randrange(99), 64)),
    "mp3 of nothing": ("mp3", lambda _, draw: b"\xff\xfb\x90\x00" * draw.randrange(100_000, 400_000)),
    "mp3 behind a long tag": ("mp3", lambda _, draw: b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + bytes(draw.randrange(1 << 22))),
    "ogg that is cut": ("ogg", lambda _, draw: b"OggS" + draw.randbytes(draw.randrange(20, 4000))),
    "aiff of many frames": ("aiff", lambda _, draw: b"FORM\x7f\xff\xff\xffAIFFCOMM\0\0\0\x12\0\x01" + struct.pack(">I", 2**31 - draw.randrange(1, 99)) + bytes(12)),
}  # fmt: skip


def _npy(header: str, body: bytes = b"") -> bytes:
    text = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text + body


def _npz(project: Path, draw: random.Random, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(draw.choice(["points.npy", "../../points.npy", "/points.npy"]), content)
    return buffer.getvalue()


def _shape(draw: random.Random) -> str:
    return f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({2**40 + draw.randrange(99)}, 3), }}"


_OBJECTS = "{'descr': '|O', 'fortran_order': False, 'shape': (1, 3), }"
CLOUDS: dict[str, tuple[str, Make]] = {
    "npy of many points": ("npy", lambda _, draw: _npy(_shape(draw))),
    "npy with a pickle": ("npy", lambda project, _: _npy(_OBJECTS, pickle.dumps(Executed(command(project))))),
    "npy whose header is code": ("npy", lambda project, _: _npy(f"__import__('os').system('{command(project)}')")),
    "npy whose header nests": ("npy", lambda _, draw: _npy("(" * draw.randrange(60, 110))),
    "npz that inflates": ("npz", lambda project, draw: _npz(project, draw, _npy(_shape(draw).replace(str(2**40), "9")) + bytes(draw.randrange(1 << 27, 1 << 28)))),
    "npz with a pickle": ("npz", lambda project, draw: _npz(project, draw, _npy(_OBJECTS, pickle.dumps(Executed(command(project)))))),
    "ply of many points": ("ply", lambda _, draw: f"ply\nformat binary_little_endian 1.0\nelement vertex {10**9 + draw.randrange(99)}\nproperty float x\nproperty float y\nproperty float z\nend_header\n".encode()),
    "ply of long lists": ("ply", lambda _, draw: f"ply\nformat ascii 1.0\nelement vertex 3\nproperty list uint float x\nend_header\n{2**31} {'1 ' * draw.randrange(100)}\n".encode()),
    "ply in text without an end": ("ply", lambda _, draw: b"ply\nformat ascii 1.0\nelement vertex 9999999\nproperty float x\nproperty float y\nproperty float z\nend_header\n" + b"1e309 nan -1\n" * draw.randrange(100_000, 300_000)),
    "ply whose header never ends": ("ply", lambda _, draw: b"ply\nformat ascii 1.0\n" + b"comment x\n" * draw.randrange(100_000, 900_000)),
    "pcd that inflates": ("pcd", lambda _, draw: f"VERSION .7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nWIDTH {2**30}\nHEIGHT 1\nPOINTS {2**30}\nDATA binary_compressed\n".encode() + struct.pack("<II", 9, 2**32 - 1 - draw.randrange(9)) + bytes(9)),
    "obj of a long line": ("obj", lambda _, draw: b"v " + b"1 " * draw.randrange(1_000_000, 9_000_000)),
    "off of many faces": ("off", lambda _, draw: f"OFF\n{2**31 + draw.randrange(9)} {2**31} 0\n0 0 0\n".encode()),
    "gzip in the place of numbers": ("npy", lambda _, draw: gzip.compress(bytes(draw.randrange(1 << 24, 1 << 26)))),
}  # fmt: skip


def _put(corpus: str, extension: str, make: Make, project: Path, draw: random.Random) -> None:
    (project / "raw" / corpus / f"hostile.{extension}").write_bytes(make(project, draw))


def attacks() -> Iterator[Attack]:
    """Each of them among good samples, sharded, then encoded."""
    for corpus, space, kinds in (("photos", "clip", PICTURES), ("sounds", "clap", SOUNDS), ("shapes", "ulip", CLOUDS)):
        for name, (extension, make) in kinds.items():
            commands = (("shard", corpus), ("encode", "--space", space))
            yield Attack(f"{corpus}: {name}", f"encode-{space}", partial(_put, corpus, extension, make), commands)
