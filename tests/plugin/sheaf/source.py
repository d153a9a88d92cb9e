"""A made-up kind of source, as somebody else's package would bring it: many members in one file, each after a line about it.

The line has the key of its sample, its modality, its ending, and its bytes in number; members of a sample follow each other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.shard.sources.kind import SourceKind
from pipeline.shard.sources.options import SourceOptions
from pipeline.shard.sources.places import Folder
from pipeline.shard.sources.sample import RawMember, RawSample, no_key
from pipeline.shard.sources.unread import Unread


@dataclass(frozen=True)
class Sheaf:
    """One file; see `Container`."""

    folder: Folder
    name: str

    def read(self, place: object, limit: int) -> bytes:
        """The first `limit` bytes of the member whose start and length `place` is."""
        start, length = place if isinstance(place, tuple) else (0, 0)
        with self.folder.open(self.name) as file:
            file.seek(start)
            return file.read(min(length, limit))

    def origin(self, place: object) -> str:
        """For messages."""
        return self.folder.origin(self.name)


def read_sheaves(folder: Folder, names: Sequence[str], options: SourceOptions, unread: Unread) -> Iterator[RawSample]:
    """The samples of all files."""
    declared = {name for name, _ in options.declared}
    for name in names:
        sheaf = Sheaf(folder, name)
        found: dict[str, dict[str, RawMember]] = {}
        fault = ""
        with folder.open(name) as file:
            while line := file.readline():
                try:
                    key, modality, ending, length = line.decode().split()
                    start = file.tell()
                    file.seek(int(length), 1)
                except ValueError:
                    fault = f"line {line[:20]!r} does not say what follows it"
                    break
                if modality not in options.modalities:
                    unread.file(f"{key}.{ending}")
                    continue
                # In a shard the name of a declared modality comes before the ending.
                extension = f"{modality}.{ending}" if modality in declared else ending
                found.setdefault(key, {})[modality] = RawMember(extension, sheaf, (start, int(length)))
        for key, members in found.items():
            yield RawSample(key, members)
        if fault:
            yield RawSample(no_key(name), fault=fault)


SHEAF = SourceKind(read_sheaves, endings=("sheaf",))
