"""The members of single samples, read from the middle of a shard: its table of contents is made once."""

import tarfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from pipeline.errors import McrError
from pipeline.explore.index import state_of
from pipeline.files.reading import open_patiently, written_by_us
from pipeline.modalities import TEXT, modality_of
from pipeline.store.manifest import MANIFEST_NAME, Part, load_manifest
from pipeline.store.parts.file import part_file
from pipeline.store.shards import verify_shard

SHARDS_HELD = 256
LARGEST_CAPTION = 300  # characters

Table = dict[str, dict[str, tuple[str, int, int]]]
"""By key and modality: name, place and size of a member of a shard."""


@dataclass(frozen=True)
class Member:
    """A member of a sample: its name in the shard, and its bytes."""

    name: str
    content: bytes

    @property
    def extension(self) -> str:
        """What follows the key."""
        return self.name.partition(".")[2]


class Samples:
    """Reads samples of the corpora below the folder `shards`.

    Every shard is compared with its manifest before it is read: once in a process, and again when it was written anew.
    """

    def __init__(self, shards: Path) -> None:
        self._shards = shards
        self._contents: OrderedDict[Path, tuple[tuple[int, ...], Table]] = OrderedDict()
        self._listed: dict[str, tuple[tuple[int, ...], dict[str, Part]]] = {}
        self._lock = Lock()

    def path(self, corpus: str, shard: str) -> Path:
        """Where a shard lies on this machine; one that lies at an address is fetched.

        Raises:
            McrError: It cannot be.
        """
        part = self._parts(corpus).get(shard)
        return part_file(self._shards / corpus, part) if part else self._shards / corpus / shard

    def _parts(self, corpus: str) -> dict[str, Part]:
        folder = self._shards / corpus
        state = state_of(folder / MANIFEST_NAME)
        if self._listed.get(corpus, ((), {}))[0] != state or not state:
            parts = {part.file_name: part for part in load_manifest(folder).parts} if folder.is_dir() else {}
            self._listed[corpus] = state, parts
        return self._listed[corpus][1]

    def member(self, corpus: str, shard: str, key: str, modality: str) -> Member | None:
        """The first member of `modality` of a sample; None where the shard or the sample is not there.

        Raises:
            CorruptError: The shard is damaged.
        """
        place = self._table(corpus, shard).get(key, {}).get(modality)
        if place is None:
            return None
        name, offset, size = place
        path = self.path(corpus, shard)
        with written_by_us(path, "Run `mcr shard` again."), open_patiently(path) as file:
            file.seek(offset)
            return Member(name, file.read(size))

    def caption(self, corpus: str, shard: str, key: str) -> str:
        """What the text of a sample says; empty where it has none, or cannot be read."""
        try:
            found = self.member(corpus, shard, key, TEXT)
        except McrError:
            return ""
        return " ".join(found.content.decode(errors="replace").split())[:LARGEST_CAPTION] if found else ""

    def _table(self, corpus: str, shard: str) -> Table:
        path = self.path(corpus, shard)
        state = state_of(path)
        with self._lock:
            if path not in self._contents or self._contents[path][0] != state:
                self._contents[path] = state, self._read_table(corpus, shard)
                if len(self._contents) > SHARDS_HELD:
                    self._contents.popitem(last=False)
            self._contents.move_to_end(path)
            return self._contents[path][1]

    def _read_table(self, corpus: str, shard: str) -> Table:
        parts = self._parts(corpus)
        if shard not in parts:  # of an imported store there are no shards
            return {}
        found: Table = {}
        path = verify_shard(self._shards / corpus, parts[shard])
        with (
            written_by_us(path, "Run `mcr shard` again."),
            open_patiently(path) as opened,
            tarfile.open(fileobj=opened, mode="r:") as archive,
        ):
            for info in archive:
                key, _, extension = info.name.partition(".")
                found.setdefault(key, {}).setdefault(
                    modality_of(extension.lower()), (info.name, info.offset_data, info.size)
                )
        return found
