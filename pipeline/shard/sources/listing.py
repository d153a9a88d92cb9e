"""What a corpus reads, without reading it: every file with its size and when it changed."""

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from pipeline.shard.settings import CorpusSettings, source_options
from pipeline.shard.sources import Opened, open_places
from pipeline.shard.sources.options import SourceOptions
from pipeline.shard.sources.places import Folder, LocalFolder, RemoteFolder
from pipeline.shard.sources.unread import Unread

# What remote protocols call the state of a file, the most reliable first.
STAMPS = (
    "ETag",
    "etag",
    "Content-MD5",
    "mtime",
    "Last-Modified",
    "LastModified",
    "last_modified",
    "updated",
    "created",
)
# Size of a file that is not there.
ABSENT = -1


@dataclass(frozen=True, order=True)
class Entry:
    """A file that a corpus reads.

    Attributes:
        name: Its path as `source` and `files` lead to it, or its address.
        size: Bytes; `ABSENT` if it is not there.
        changed: Time of its last change in nanoseconds, or what its protocol has for that; empty if it has nothing.
    """

    name: str
    size: int
    changed: str


def listed_files(corpus: CorpusSettings) -> list[Entry]:
    """Every file that sharding `corpus` depends on, in the order of their names.

    These are the files of `source`, read or not, and those that the rows of a captions file or manifest name, there or
    not. Rows of manifests are read, contents of media are not.

    Raises:
        UserError: The source does not exist, is of a kind that is not understood, or a manifest cannot be read.
    """
    options = source_options(corpus)
    return sorted({entry for opened in open_places(corpus.places, options) for entry in _listed(opened, options)})


def _listed(opened: Opened, options: SourceOptions) -> Iterator[Entry]:
    folders = {opened.place.folder.root: opened.place.folder}
    names = {opened.place.folder.root: dict.fromkeys(opened.walk.names)}
    if opened.kind.names_files:
        for folder, name in _named(opened, options):
            folders.setdefault(folder.root, folder)
            names.setdefault(folder.root, {})[name] = None
    for root, folder in folders.items():
        yield from _entries(folder, names[root])


def _named(opened: Opened, options: SourceOptions) -> Iterator[tuple[Folder, str]]:
    """Files that the rows of a manifest name."""
    for sample in opened.samples(options, Unread()):
        for member in sample.members.values():
            if isinstance(member.container, LocalFolder | RemoteFolder):
                yield member.container, str(member.place)


def _entries(folder: Folder, names: Collection[str]) -> Iterator[Entry]:
    infos = folder.infos(names) if isinstance(folder, RemoteFolder) else {}
    for name in names:
        path = folder.origin(name)
        if isinstance(folder, RemoteFolder):
            info = infos.get(name, {})
            stamp = next((info[key] for key in STAMPS if info.get(key)), "")
            yield Entry(path, ABSENT if info.get("size") is None else int(info["size"]), str(stamp))
        else:
            yield _local_entry(path)


def _local_entry(path: str) -> Entry:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return Entry(path, ABSENT, "")
    return Entry(path, status.st_size, str(status.st_mtime_ns))
