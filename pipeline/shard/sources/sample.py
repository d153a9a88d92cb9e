"""What every kind of source yields: a key and where the bytes of its members are, not the bytes themselves."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.errors import SampleError
from pipeline.hashing import sha256_bytes
from pipeline.keys import KEY
from pipeline.modalities import TEXT
from pipeline.shard.sources.options import SourceOptions

# Keys up to the last one of these are the item: `evaluate` finds the captions of an item by it.
ITEM_SEPARATOR = "-"


class Container(Protocol):
    """Holds members and reads one of them by its place: a folder, a tar, a list of captions."""

    def read(self, place: object, limit: int) -> bytes:
        """The first `limit` bytes of the member at `place`.

        Raises:
            OSError: It cannot be read.
        """
        ...

    def origin(self, place: object) -> str:
        """Where the member comes from, for messages."""
        ...


@dataclass(frozen=True, slots=True)
class RawMember:
    """One raw file, or one caption, of a sample.

    Attributes:
        extension: Its extension in the source, lower case.
        container: What holds it.
        place: Where it is in there; small, because there is one for every file of a corpus.
    """

    extension: str
    container: Container
    place: object

    def read(self, limit: int) -> bytes:
        """The first `limit` bytes.

        Raises:
            OSError: They cannot be read.
            SampleError: The container of a plug-in gives something else.
        """
        content: object = self.container.read(self.place, limit)
        if not isinstance(content, bytes):
            raise SampleError("read", f"{type(self.container).__name__} gives a {type(content).__name__}, not bytes")
        return content

    @property
    def origin(self) -> str:
        """Where it comes from, for messages."""
        return self.container.origin(self.place)


@dataclass(frozen=True, slots=True)
class RawSample:
    """A key and its members by modality, as the source gives them: not checked yet.

    Attributes:
        key: Its permanent name.
        members: By modality.
        fault: Why the source itself says that the sample cannot be used; empty where it does not.
        wanted: Modalities that it is to have; empty: all those of the corpus. A sample of an item with several partners
            has a part of them.
    """

    key: str
    members: dict[str, RawMember] = field(default_factory=dict)
    fault: str = ""
    wanted: tuple[str, ...] = ()

    @property
    def origin(self) -> str:
        """Where it comes from, for messages."""
        return next((member.origin for member in self.members.values()), "a damaged place")


def samples_of(
    key: str, members: dict[str, RawMember], texts: list[RawMember], options: SourceOptions
) -> Iterator[RawSample]:
    """What one place of a source holds: one sample, or with ``captions: all`` its files and each caption as partners.

    Args:
        key: Its key.
        members: By modality; of the captions, the first.
        texts: All captions.
        options: Whether all captions are taken.
    """
    if options.captions != "all":
        yield RawSample(key, members)
        return
    files = {modality: member for modality, member in members.items() if modality != TEXT}
    wanted = tuple(modality for modality in options.modalities if modality != TEXT)
    if wanted:
        yield RawSample(key, files, wanted=wanted)
    if TEXT in options.modalities:
        for number, text in enumerate(texts):
            yield RawSample(f"{key}{ITEM_SEPARATOR}{number}", {TEXT: text}, wanted=(TEXT,))
        if not texts:
            yield RawSample(no_key(key), fault="the sample has no text")


def numbered_key(prefix: str, number: int) -> str:
    """Key of row `number` of a source that gives no keys, from 0; `prefix` names its file where there are several."""
    return f"{prefix}-{number:08d}" if prefix else f"{number:08d}"


def row_name(prefix: str, number: int) -> str:
    """What a row is called, from 0, that is too damaged to have a key; a dot keeps it apart from every key."""
    return f"{prefix or 'row'}.{number + 1}"


def no_key(name: str) -> str:
    """What a file or folder is called that is not a sample; a dot keeps it apart from every key."""
    return f"{name}." if KEY.fullmatch(name) else name


def shown_key(key: str) -> str:
    """`key` as it can be written down: what is not a valid key may hold anything, and any amount of it."""
    if KEY.fullmatch(key):
        return key
    written = key.encode("ascii", "backslashreplace").decode()
    return written if len(written) <= 200 else f"{written[:180]}...{sha256_bytes(written.encode())[:12]}"
