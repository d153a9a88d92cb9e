"""WebDataset shards: reproducible tars, checked on reading.

The format is WebDataset's: members `key.extension`, those of one sample side by side. The files are written and read
with the standard library, because importing `webdataset` imports torch (2 s, more than most corpora take here) and its
reader neither notices scattered members nor damaged bytes. The tests read every shard with `webdataset` as well.
"""

import io
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pipeline.errors import CorruptError
from pipeline.files.reading import open_patiently, written_by_us
from pipeline.hashing import HashedFile
from pipeline.store.headers import Header, plain_headers
from pipeline.store.manifest import Manifest, Part, load_complete_manifest
from pipeline.store.parts.file import checked_part

SHARDS = "shards"
BUFFER_BYTES = 1 << 20
_AGAIN = "Remove it and run `mcr shard` again."


@dataclass(frozen=True)
class ShardSample:
    """One sample of a shard: its key and the bytes of its members by extension."""

    key: str
    members: dict[str, bytes]


class Extent(NamedTuple):
    """Where a member lies in a tar, in bytes."""

    start: int
    size: int


class ListedSample(NamedTuple):
    """One sample of a shard that has not been read: its key, and where its members lie, by extension."""

    key: str
    members: dict[str, Extent]


def write_shard(path: Path, samples: Iterable[ShardSample]) -> str:
    """Write `samples` as a tar; equal samples in equal order give equal bytes.

    Returns:
        Its SHA-256.
    """
    with HashedFile(path) as hashed:
        with (
            io.BufferedWriter(hashed, BUFFER_BYTES) as file,
            tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as archive,
        ):
            for sample in samples:
                for extension, content in sorted(sample.members.items()):
                    info = tarfile.TarInfo(f"{sample.key}.{extension}")  # no owner, no time
                    info.size = len(content)
                    info.mode = 0o444
                    archive.addfile(info, io.BytesIO(content))
        return hashed.sha256


def list_shard(path: Path) -> Iterator[ListedSample]:
    """Yield where the samples of a tar lie in it, in their order; only its headers are read.

    Raises:
        CorruptError: The tar is damaged, has a member that is not a regular file, or scatters the members of a sample.
    """
    seen: set[str] = set()
    key, members = "", dict[str, Extent]()
    with written_by_us(path, _AGAIN), open_patiently(path) as file:
        for header in _headers(path, file):
            name, _, extension = header.name.partition(".")
            if not extension:
                raise _no_sample(path, header.name)
            if name != key:
                if key:
                    yield ListedSample(key, members)
                if name in seen:
                    raise CorruptError(f"{path} has the members of {name!r} in two places.", _AGAIN)
                seen.add(name)
                key, members = name, {}
            members[extension] = Extent(header.start, header.size)
    if key:
        yield ListedSample(key, members)


def _headers(path: Path, file: BinaryIO) -> Iterator[Header]:
    yield from plain_headers(file)
    with tarfile.open(fileobj=file, mode="r:") as archive:
        for info in archive:
            if not info.isreg() or info.sparse is not None:
                raise _no_sample(path, info.name)
            yield Header(info.name, info.offset_data, info.size)
            archive.members = []  # type: ignore[attr-defined]  # it would keep every header that it has seen


def _no_sample(path: Path, name: str) -> CorruptError:
    return CorruptError(f"{path} has a member {name!r} that is not a sample.", _AGAIN)


def read_shard(path: Path) -> Iterator[ShardSample]:
    """Yield the samples of a tar in their order; nothing is ever extracted to disk.

    Raises:
        CorruptError: See `list_shard`.
    """
    with written_by_us(path, _AGAIN), open_patiently(path) as file:
        for sample in list_shard(path):
            yield ShardSample(sample.key, {name: _read(file, extent) for name, extent in sample.members.items()})


def read_extents(path: Path, extents: Iterable[Extent]) -> list[bytes]:
    """The members at `extents` of a tar.

    Raises:
        CorruptError: It ends before them.
    """
    with written_by_us(path, _AGAIN), open_patiently(path) as file:
        return [_read(file, extent) for extent in extents]


def _read(file: BinaryIO, extent: Extent) -> bytes:
    file.seek(extent.start)
    content = file.read(extent.size)
    if len(content) < extent.size:
        raise EOFError("unexpected end of data")
    return content


def shard_keys(path: Path) -> list[str]:
    """Keys of the samples in a tar, in their order; only its headers are read.

    Raises:
        CorruptError, EOFError, tarfile.TarError: The tar is damaged, or has a member that is not a regular file.
        OSError: It cannot be read.
    """
    with open_patiently(path) as file:
        return list(dict.fromkeys(header.name.partition(".")[0] for header in _headers(path, file)))


def open_shards(folder: Path) -> Manifest:
    """Manifest of a finished folder of shards.

    Raises:
        UserError: There is none, or it is unfinished.
    """
    return load_complete_manifest(folder, SHARDS)


def verify_shard(folder: Path, part: Part) -> Path:
    """Path of the shard `part`, after its hash was compared with the manifest.

    Raises:
        CorruptError: The shard is missing or damaged.
    """
    return checked_part(folder, part, "Run `mcr shard` again; it writes only what is missing or damaged.")
