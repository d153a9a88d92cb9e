"""The source kind `webdataset`: tars such as img2dataset writes; read in place, never extracted."""

import json
import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from pipeline.errors import SampleError
from pipeline.keys import key_of_name
from pipeline.modalities import ALIASES, RARE, SOURCE_MODALITY_OF, TEXT
from pipeline.shard.sources.options import TEXT_COLUMNS, SourceOptions
from pipeline.shard.sources.places import Folder
from pipeline.shard.sources.readers.tar import Member, TarDamage, scan_tar
from pipeline.shard.sources.readers.tars import Entry, Tars, grouped, is_known, no_tar
from pipeline.shard.sources.readers.texts import Texts, captions_in
from pipeline.shard.sources.sample import RawMember, RawSample, samples_of
from pipeline.shard.sources.unread import Unread

log = logging.getLogger(__name__)

MAX_JSON_BYTES = 4 << 20


def read_webdataset(
    folder: Folder, names: Sequence[str], options: SourceOptions, unread: Unread
) -> Iterator[RawSample]:
    """The samples of every tar, as far as it is whole; damage is one more sample with a fault.

    The captions of a sample are its ``.txt``, or each line of it, or, without one, a value of its ``.json``. Rows that
    were never fetched are not in the tars and are not invented; a row whose ``.json`` says that it failed has a fault.
    """
    tars, texts = Tars(folder, names), Texts()
    for number, name in enumerate(names):
        texts.begin(folder.origin(name))
        members: list[Member] = []
        damage = ""
        try:
            damage = no_tar(tars.file(number))
            members.extend(() if damage else scan_tar(tars.file(number)))
        except (TarDamage, OSError) as error:
            damage = str(error)
        entries = grouped(members, unread)
        reader = _SampleReader(tars, number, options, texts, unread)
        for row, (stem, entry) in enumerate(entries.items()):
            yield from reader.samples(stem, entry, row)
        if damage:
            log.warning("%s: %s", folder.origin(name), damage)
            # The dot in the name keeps it apart from every key.
            yield RawSample(name, fault=f"the tar is damaged after {len(entries)} samples: {damage}")


@dataclass(frozen=True)
class _SampleReader:
    """Makes samples of what one tar holds under a name."""

    tars: Tars
    number: int
    options: SourceOptions
    texts: Texts
    unread: Unread

    def samples(self, stem: str, entry: Entry, row: int) -> Iterator[RawSample]:
        """The sample called `stem`; with several captions, more than one; none of files that are none of ours."""
        key = key_of_name(stem)
        if not entry.fault and not any(map(is_known, entry.members)):
            self._pass_over(entry.members)
            return
        try:
            if entry.fault:
                raise SampleError("read", entry.fault)
            endings = self._endings(entry)
            members = {modality: self._member(ending, entry.members[ending]) for modality, ending in endings.items()}
            texts = self._texts(entry, members.get(TEXT), row)
            members |= {TEXT: texts[0]} if texts else {}
            self._require(members.keys(), entry)
        except SampleError as error:
            yield RawSample(key, fault=error.message)
        else:
            if all(modality in members for modality in self.options.modalities):  # else it is a reject as a whole
                self._pass_over(entry.members.keys() - {"json", *endings.values()})
            yield from samples_of(key, members, texts, self.options)

    def _pass_over(self, extensions: Iterable[str]) -> None:
        for extension in extensions:
            self.unread.file(f"x.{extension}")

    def _endings(self, entry: Entry) -> dict[str, str]:
        """By wanted modality the ending of the member that is read: of several, the usual one.

        Raises:
            SampleError: Two are usual.
        """
        found: dict[str, str] = {}
        for extension in sorted(entry.members, key=lambda one: one in RARE):
            modality = SOURCE_MODALITY_OF.get(extension, "")
            if modality in found and extension not in RARE:
                raise SampleError("read", f"the sample has two members of {modality}")
            if modality in self.options.modalities:
                found.setdefault(modality, extension)
        # In the order of the tar, in which the shard's hash of its source has them.
        return dict(sorted(found.items(), key=lambda item: list(entry.members).index(item[1])))

    def _member(self, extension: str, member: Member) -> RawMember:
        place = (self.number, member.offset, member.size)
        return RawMember(ALIASES.get(extension, extension), self.tars, place)

    def _texts(self, entry: Entry, text: RawMember | None, row: int) -> list[RawMember]:
        """The captions of a sample: its .txt, which is `text`, or a value of its .json."""
        described = entry.members.get("json")
        own = [text] if text else []
        if text and self.options.caption_lines and not self.options.text_column:
            own = self.texts.lines_of(text, row, self.options.captions, self.unread)
        if described is None:
            return own
        values = _json(self.tars, self.number, described)
        status = (values or {}).get("status", "success")
        if status != "success":
            raise SampleError("read", f"its row says {str(status)[:40]!r}")
        if TEXT not in self.options.modalities or (text and not self.options.text_column):
            return own
        if values is None:
            raise SampleError("read", "its .json cannot be read")
        columns = (self.options.text_column,) if self.options.text_column else TEXT_COLUMNS
        column = next((column for column in columns if column in values), "")
        captions = captions_in(values.get(column), f"{column!r} of its .json", self.options.captions, self.unread)
        return [self.texts.add(caption, row) for caption in captions] or own

    def _require(self, held: Collection[str], entry: Entry) -> None:
        """Name the dots of a name if they are why a modality is missing.

        Raises:
            SampleError: They are.
        """
        for extension in entry.members:
            modality = SOURCE_MODALITY_OF.get(extension.rpartition(".")[2], "") if "." in extension else ""
            if modality in self.options.modalities and modality not in held:
                raise SampleError(
                    "read",
                    f"the sample has no {modality}: a name ends at its first dot, which leaves .{extension[:40]}",
                )


def _json(tars: Tars, number: int, member: Member) -> dict[str, object] | None:
    """The object in a .json; None if there is none."""
    try:
        row = json.loads(tars.read((number, member.offset, member.size), MAX_JSON_BYTES))
    except (ValueError, OSError, RecursionError):
        return None
    return row if isinstance(row, dict) else None
