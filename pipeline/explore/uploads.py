"""Files that were dropped on the page: admitted as the shard stage admits them, kept in memory, the last few."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock

from pipeline.errors import SampleError, UserError
from pipeline.hashing import sha256_bytes

HELD, HELD_BYTES = 32, 1 << 30

Admit = Callable[[str, str, bytes], tuple[str, bytes]]
"""From modality, ending and bytes of a file to those of a shard; a `SampleError` says why there are none."""


@dataclass(frozen=True)
class Upload:
    """A file that was admitted.

    Attributes:
        modality: What it is.
        content: Its bytes, as they would lie in a shard.
    """

    modality: str
    content: bytes


class Uploads:
    """What was uploaded, by hash.

    Args:
        admit: Checks and converts.
        endings: By modality: endings of the names of its files.
        largest: By modality: the most bytes of a file.
    """

    def __init__(self, admit: Admit, endings: Mapping[str, Sequence[str]], largest: Mapping[str, int]) -> None:
        self.endings = {modality: tuple(names) for modality, names in endings.items()}
        self.largest = dict(largest)
        self._admit = admit
        self._held: OrderedDict[str, Upload] = OrderedDict()
        self._lock = Lock()

    def modality_of(self, name: str) -> str:
        """What a file is by its name.

        Raises:
            UserError: Of nothing that is understood.
        """
        ending = name.rpartition(".")[2].lower() if "." in name else ""
        for modality, endings in self.endings.items():
            if ending in endings:
                return modality
        known = ", ".join(f".{ending}" for endings in self.endings.values() for ending in endings)
        raise UserError(f"{name or 'A file without a name'} is not a supported kind of file.", f"Known are {known}.")

    def add(self, name: str, content: bytes) -> tuple[str, str]:
        """Name and modality of the upload.

        Raises:
            UserError: It is not admitted.
        """
        modality = self.modality_of(name)
        try:
            _, admitted = self._admit(modality, name.rpartition(".")[2].lower(), content)
        except SampleError as error:
            raise UserError(f"{name} is not a usable {modality}: {error.message}.", "Choose another file.") from error
        digest = sha256_bytes(content)
        with self._lock:
            self._held[digest] = Upload(modality, admitted)
            self._held.move_to_end(digest)
            while len(self._held) > HELD or sum(len(one.content) for one in self._held.values()) > HELD_BYTES:
                self._held.popitem(last=False)
        return digest, modality

    def get(self, digest: str) -> Upload:
        """An upload.

        Raises:
            UserError: It is not held any more.
        """
        with self._lock:
            if digest not in self._held:
                raise UserError("That upload is no longer in memory.", "Choose it again.")
            self._held.move_to_end(digest)
            return self._held[digest]
