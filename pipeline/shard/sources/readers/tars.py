"""The members of the tars of a folder by the names of their samples; read in place, never extracted."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, cast

from pipeline.files.foreign import HEAD_BYTES, foreign
from pipeline.modalities import SOURCE_MODALITY_OF
from pipeline.shard.sources.places import Folder
from pipeline.shard.sources.readers.tar import Member
from pipeline.shard.sources.unread import Unread
from pipeline.shard.sources.walk import HIDDEN, hidden

OPEN_TARS = 2


class Tars:
    """Members of the tars of a folder by (tar, offset, size); a few tars are held open, since members are read in order."""

    def __init__(self, folder: Folder, names: Sequence[str]) -> None:
        self.folder = folder
        self.names = list(names)
        self._open: OrderedDict[int, BinaryIO] = OrderedDict()

    def __reduce__(self) -> tuple[object, ...]:
        return Tars, (self.folder, self.names)  # another process opens them for itself

    def file(self, number: int) -> BinaryIO:
        """Tar `number`, open."""
        if number in self._open:
            self._open.move_to_end(number)
        else:
            self._open[number] = self.folder.open(self.names[number])
            if len(self._open) > OPEN_TARS:
                self._open.popitem(last=False)[1].close()
        return self._open[number]

    def read(self, place: object, limit: int) -> bytes:
        """The first `limit` bytes of the member at `place`."""
        number, offset, size = cast(tuple[int, int, int], place)
        file = self.file(number)
        file.seek(offset)
        content = file.read(min(size, limit))
        if len(content) < min(size, limit):
            raise OSError(0, "the tar ends within the member")
        return content

    def origin(self, place: object) -> str:
        """Tar and offset of the member at `place`."""
        number, offset, _ = cast(tuple[int, int, int], place)
        return f"{self.folder.origin(self.names[number])} at byte {offset}"


@dataclass(slots=True)
class Entry:
    """What a tar holds under one name."""

    members: dict[str, Member] = field(default_factory=dict)
    fault: str = ""


def no_tar(file: BinaryIO) -> str:
    """What a file is that is called a tar and is none; empty for a tar."""
    file.seek(0)
    head = file.read(HEAD_BYTES)
    found = None if head[257:262] == b"ustar" else foreign(head)
    return f"it is {found[0]}" if found else "" if head else "the file is empty"


def grouped(members: Iterable[Member], unread: Unread) -> dict[str, Entry]:
    """The members of a tar by the name of their sample, in the order in which the names come.

    As WebDataset has it, a name ends at its first dot (``a.seg.png`` is the part ``seg.png`` of ``a``). Where that
    leaves a sample without any plain ending, the dots are part of its names: ``img.v1.jpg`` and ``img.v2.jpg`` are two.
    """
    first_dot: dict[str, list[str]] = {}
    usable: list[tuple[str, str, Member]] = []
    for member in members:
        if member.directory:
            continue
        path = member.name.removeprefix("./")
        stem, dot, extension = path.rpartition("/")[2].partition(".")
        if hidden(path) and ".." not in path.split("/"):
            unread.add(HIDDEN)
        elif not dot or not stem:
            unread.file(path)
        else:
            stem = path[: len(path) - len(extension) - 1]
            first_dot.setdefault(stem, []).append(extension.lower())
            usable.append((stem, extension, member))
    dotted = {stem for stem, extensions in first_dot.items() if all(map(_is_dotted, extensions))}
    entries: dict[str, Entry] = {}
    current = ""
    for stem, extension, member in usable:
        if stem in dotted:
            rest, _, extension = extension.rpartition(".")
            stem = f"{stem}.{rest}"
        scattered = stem != current and stem in entries
        entry = entries.setdefault(stem, Entry())
        current = stem
        _put(entry, stem, extension.lower(), member, scattered)
    return entries


def _is_dotted(extension: str) -> bool:
    """Whether what follows the first dot of a name is the rest of a name and a known ending."""
    return "." in extension and is_known(extension)


def _put(entry: Entry, stem: str, extension: str, member: Member, scattered: bool) -> None:
    if scattered:
        entry.fault = "the members of the sample are in two places of the tar"
    elif member.fault:
        entry.fault = member.fault
    elif extension in entry.members:
        entry.fault = f"the sample has two members .{extension}"
    elif stem.startswith("/") or ".." in stem.split("/"):
        entry.fault = "the member's name leads out of the tar"
    entry.members[extension] = member


def is_known(extension: str) -> bool:
    """Whether a member with this ending can be part of a sample."""
    return extension.rpartition(".")[2] in {*SOURCE_MODALITY_OF, "json"}
