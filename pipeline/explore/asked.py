"""A question as it arrived, and a connection that it can be asked of."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.connect.config import CONFIG_NAME
from pipeline.connect.connected_space import ConnectedSpace
from pipeline.errors import UserError
from pipeline.explore import answers
from pipeline.explore.index import Index
from pipeline.hashing import sha256_file
from pipeline.links import Link
from pipeline.modalities import TEXT


@dataclass(frozen=True)
class Asked:
    """A query as it arrived: words, the bytes of a file, or an item of a corpus."""

    modality: str
    payload: bytes = b""
    item: answers.Item | None = None


@dataclass
class Opened:
    """A connection that can be asked.

    Attributes:
        label: What its method is called.
        links: Its links.
        space: The connected space.
        index: Its galleries.
        temperature: Of the softmax that its pseudo-pairs are averaged by; 0 where they are made in another way.
        folder: Where it was loaded from.
        config: Hash of its configuration, which was written last, at that time.
    """

    label: str
    links: Sequence[Link]
    space: ConnectedSpace
    index: Index
    temperature: float
    folder: Path
    config: str

    @property
    def is_current(self) -> bool:
        """Whether the folder holds what was loaded, and not the result of another training."""
        path = self.folder / CONFIG_NAME
        return path.is_file() and sha256_file(path) == self.config


def words(text: str) -> Asked:
    """A query by words.

    Raises:
        UserError: There are none.
    """
    if not text.strip():
        raise UserError("Nothing is asked.", "Type a text, or choose a file.")
    return Asked(TEXT, text.encode())
