"""The source kind `webdataset`: tars such as img2dataset writes; read in place, never extracted."""

import json
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, cast

from pipeline.modalities import SOURCE_MODALITY_OF, TEXT
from pipeline.shard.sources.options import TEXT_COLUMNS, SourceOptions
from pipeline.shard.sources.places import Folder
from pipeline.shard.sources.sample import RawMember, RawSample, key_of_path
from pipeline.shard.sources.tar import Member, TarDamage, scan_tar
from pipeline.shard.sources.texts import Texts
from pipeline.shard.sources.unread import Unread

MAX_JSON_BYTES = 4 << 20
OPEN_TARS = 2


class Tars:
    """Members of the tars of a folder by (tar, offset, size); a few tars are held open, since members are read in order."""

    def __init__(self, folder: Folder, names: Sequence[str]) -> None:
        self.folder = folder
        self.names = list(names)
        self._open: OrderedDict[int, BinaryIO] = OrderedDict()

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
class _Entry:
    """What a tar holds under one name."""

    members: dict[str, Member] = field(default_factory=dict)
    fault: str = ""


def read_webdataset(
    folder: Folder, names: Sequence[str], options: SourceOptions, unread: Unread
) -> Iterator[RawSample]:
    """The samples of every tar, as far as it is whole; damage is one more sample with a fault.

    The caption of a sample is its ``.txt`` or, without one, a value of its ``.json``. Rows that were never fetched are
    not in the tars and are not invented; a row whose ``.json`` says that it failed has a fault.
    """
    tars, texts = Tars(folder, names), Texts()
    for number, name in enumerate(names):
        texts.begin(folder.origin(name))
        entries: dict[str, _Entry] = {}
        damage = ""
        try:
            _collect(scan_tar(tars.file(number)), entries)
        except (TarDamage, OSError) as error:
            damage = f"the tar is damaged after {len(entries)} samples: {error}"
        for row, (stem, entry) in enumerate(entries.items()):
            yield _sample(tars, number, stem, entry, options, texts, row)
        if damage:
            yield RawSample(name, fault=damage)  # the dot in the name keeps it apart from every key


def _collect(members: Iterator[Member], entries: dict[str, _Entry]) -> None:
    """Group the members of a tar by the name of their sample."""
    current = ""
    for member in members:
        head, slash, tail = member.name.removeprefix("./").rpartition("/")
        stem, dot, extension = tail.partition(".")
        if not stem or not dot or member.directory:
            continue
        stem, extension = head + slash + stem, extension.lower()
        scattered = stem != current and stem in entries
        entry = entries.setdefault(stem, _Entry())
        current = stem
        if scattered:
            entry.fault = "the members of the sample are in two places of the tar"
        elif member.fault:
            entry.fault = member.fault
        elif extension in entry.members:
            entry.fault = f"the sample has two members .{extension}"
        elif stem.startswith("/") or ".." in stem.split("/"):
            entry.fault = "the member's name leads out of the tar"
        entry.members[extension] = member


def _sample(
    tars: Tars, number: int, stem: str, entry: _Entry, options: SourceOptions, texts: Texts, row: int
) -> RawSample:
    key = key_of_path(stem)
    if entry.fault:
        return RawSample(key, fault=entry.fault)
    members: dict[str, RawMember] = {}
    for extension, member in entry.members.items():
        modality = SOURCE_MODALITY_OF.get(extension, "")
        if modality in options.modalities:
            if modality in members:
                return RawSample(key, fault=f"the sample has two members of {modality}")
            members[modality] = RawMember(extension, tars, (number, member.offset, member.size))
    if described := entry.members.get("json"):
        row_values = _json(tars, number, described)
        status = row_values.get("status", "success")
        if status != "success":
            return RawSample(key, fault=f"its row says {str(status)[:40]!r}")
        columns = (options.text_column,) if options.text_column else TEXT_COLUMNS
        if TEXT in options.modalities and (TEXT not in members or options.text_column):
            text = next((row_values[column] for column in columns if column in row_values), None)
            if kept := texts.add(text, row):
                members[TEXT] = kept
    return RawSample(key, members)


def _json(tars: Tars, number: int, member: Member) -> dict[str, object]:
    try:
        row = json.loads(tars.read((number, member.offset, member.size), MAX_JSON_BYTES))
    except (ValueError, OSError, RecursionError):
        return {}
    return row if isinstance(row, dict) else {}
