"""Tars, zips and checkpoints whose members lead elsewhere, and pickles that call."""

import io
import os
import pickle
import random
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import yaml

from tests.faults.hostile import Attack, command


class Executed:
    """Pickled, it is a command that runs when it is loaded."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (self.text,)


def change(project: Path, *steps: str, value: object) -> None:
    """Set one value of params.yaml."""
    path = project / "params.yaml"
    content = entry = yaml.safe_load(path.read_text())
    for step in steps[:-1]:
        entry = entry[step]
    entry[steps[-1]] = value
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def _member(name: str, content: bytes = b"a photo", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def _outside(project: Path) -> str:
    return str(project.with_name("outside") / "precious.txt")


TARS: dict[str, Callable[[Path, random.Random], list[tuple[tarfile.TarInfo, bytes]]]] = {
    "up": lambda _, draw: [_member("../" * draw.randrange(1, 9) + "outside/precious.txt")],
    "absolute": lambda project, _: [_member(_outside(project))],
    "link": lambda project, _: [
        _member("a.txt", b"", type=tarfile.SYMTYPE, linkname=_outside(project)), _member("a.txt"),
    ],
    "hard link": lambda project, _: [_member("a.txt", b"", type=tarfile.LNKTYPE, linkname=_outside(project))],
    "device": lambda _, draw: [_member("a.txt", b"", type=tarfile.CHRTYPE, devmajor=1, devminor=draw.choice([3, 5, 8]))],
    "pipe": lambda _, draw: [_member(f"a{draw.randrange(99)}.txt", b"", type=tarfile.FIFOTYPE)],
    "pax path": lambda project, _: [_member("a.txt", pax_headers={"path": _outside(project)})],
    "pax size": lambda _, draw: [_member("a.txt", pax_headers={"size": str(2**62 + draw.randrange(99))})],
    "long name": lambda _, draw: [_member("a" * draw.randrange(2000, 90_000) + ".txt")],
    "command": lambda project, _: [_member(f"$({command(project)}).txt"), _member(f"; {command(project)} #.txt")],
    "twice": lambda _, draw: [_member(f"a.{end}", draw.randbytes(9)) for end in ("txt", "json", "txt")],
    "control characters": lambda _, draw: [_member("".join(map(chr, draw.sample(range(1, 32), 8))) + ".txt")],
    "many empty": lambda _, draw: [_member(f"{number}.txt", b"") for number in range(draw.randrange(2000, 9000))],
    "json that nests": lambda _, draw: [_member("a.json", b"[" * draw.randrange(9_000, 900_000)), _member("a.txt")],
}  # fmt: skip


def _tar(
    make: Callable[[Path, random.Random], list[tuple[tarfile.TarInfo, bytes]]], project: Path, draw: random.Random
) -> None:
    path = project / "raw/hostile.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for info, content in make(project, draw):
            archive.addfile(info, io.BytesIO(content))
        for number in range(4):
            archive.addfile(*(lambda pair: (pair[0], io.BytesIO(pair[1])))(_member(f"good{number}.txt")))
    change(project, "corpora", "captions", "source", value="raw/hostile.tar")


def _declared(project: Path, draw: random.Random) -> None:
    """A header that says more than there is, or less than nothing."""
    size = draw.choice([b"77777777777\0", b"\x80" + b"\0" * 3 + struct.pack(">q", 2**62), b"\xff" * 12])
    info, content = _member("a.txt")
    block = bytearray(info.tobuf())
    block[124:136] = size
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    (project / "raw/hostile.tar").write_bytes(bytes(block) + content.ljust(512, b"\0") + bytes(1024))
    change(project, "corpora", "captions", "source", value="raw/hostile.tar")


def _zip(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _called(project: Path) -> bytes:
    return pickle.dumps({"state_dict": Executed(command(project))}, 2)


WEIGHTS: dict[str, tuple[str, Callable[[Path, random.Random], bytes]]] = {
    "pickle": ("weights.pt", lambda project, _: _called(project)),
    "pickle in a zip": ("weights.pt", lambda project, _: _zip({"archive/data.pkl": _called(project), "archive/version": b"3"})),
    "zip that inflates": ("weights.pt", lambda _, draw: _zip({"archive/data.pkl": bytes(draw.randrange(1 << 27, 1 << 28)), "archive/version": b"3"})),
    "zip that leads out": ("weights.pt", lambda project, _: _zip({f"../../{_outside(project)}": b"x", "archive/data.pkl": _called(project)})),
    "torchscript": ("weights.pt", lambda project, _: _zip({"archive/code/__torch__.py": f"import os; os.system('{command(project)}')".encode(), "archive/constants.pkl": _called(project), "archive/data.pkl": _called(project), "archive/version": b"3"})),
    "long header": ("weights.safetensors", lambda _, draw: struct.pack("<Q", 2 ** draw.randrange(27, 63)) + b"{}"),
    "overlapping tensors": ("weights.safetensors", lambda _, draw: (lambda text: struct.pack("<Q", len(text)) + text + bytes(8))(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[2],"data_offsets":[%d,8]}}' % draw.randrange(4))),
    "shape that overflows": ("weights.safetensors", lambda _, draw: (lambda text: struct.pack("<Q", len(text)) + text + bytes(4))(b'{"a":{"dtype":"F32","shape":[4294967296,4294967296,%d],"data_offsets":[0,4]}}' % draw.randrange(2, 99))),
}  # fmt: skip


def _weights(
    encoder: str, file: str, make: Callable[[Path, random.Random], bytes], project: Path, draw: random.Random
) -> None:
    folder = project / "data/spaces/hostile"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file).write_bytes(make(project, draw))
    for config in (project / "data/spaces/clip").glob("*.json"):
        (folder / config.name).write_bytes(config.read_bytes())
    place = "data/spaces/hostile" + ("" if encoder == "compact" else f"/{file}")
    settings = {"encoder": encoder, "checkpoint": place}
    if encoder == "open_clip":
        settings["model"] = "ViT-B-32"
    change(project, "spaces", "clip", value=settings)


def attacks() -> Iterator[Attack]:
    """Tars as a source of captions, and checkpoints of spaces."""
    for name, make in TARS.items():
        yield Attack(f"tar: {name}", "shard", partial(_tar, make), (("check",), ("shard", "captions")))
    yield Attack("tar: declared size", "shard", _declared, (("shard", "captions"),))
    for name, (file, content) in WEIGHTS.items():
        encoders = ("compact",) if file.endswith("safetensors") else ("open_clip", "laion_clap", "ulip2")
        for encoder in encoders:
            put = partial(_weights, encoder, file, content)
            yield Attack(f"{encoder}: {name}", "encode-clip", put, (("encode", "--space", "clip"),))
