"""A kind of source is one record: how its files are read, and which of a folder's files are its own."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pipeline.shard.sources.options import SourceOptions
from pipeline.shard.sources.places import Folder
from pipeline.shard.sources.sample import RawSample
from pipeline.shard.sources.unread import Unread

Reader = Callable[[Folder, Sequence[str], SourceOptions, Unread], Iterator[RawSample]]


@dataclass(frozen=True)
class SourceKind:
    """A kind of source, ours or a plug-in.

    Attributes:
        read: Yields the samples in some files of a folder, in the order of the source, and tells `Unread` of what it
            passes over. It opens files through the folder, which may be behind an address.
        endings: Which files of a folder it is given, by their endings in small letters, without the dot; empty: all.
        names_files: Whether its samples lie in files that others of its files name. `mcr inputs` reads it then, to
            watch those files too.
        declares: Whether it reads modalities that the parameters declare.
    """

    read: Reader
    endings: tuple[str, ...] = ()
    names_files: bool = False
    declares: bool = True

    def is_given(self, name: str) -> bool:
        """Whether it is given the file `name` among others."""
        return not self.endings or name.lower().endswith(tuple(f".{ending}" for ending in self.endings))
