"""One unit of work: the making of one part, by any process on any machine that sees the folder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from pipeline.files.atomic import discard, discard_temporaries, temporary_file
from pipeline.hashing import sha256_file, sha256_keys
from pipeline.progress import Progress
from pipeline.store.manifest import Failure, Part
from pipeline.store.remote.cache import offer
from pipeline.store.remote.objects import put


@dataclass(frozen=True)
class Source:
    """What a part is made from.

    Attributes:
        digest: Hash of it; a part whose source has another one is stale.
        found: What was learned on the way that the stage wants to know of every part, reused or made.
    """

    digest: str
    found: object = None


@dataclass(frozen=True)
class Made:
    """What is in a part that was written.

    Attributes:
        keys: Of its rows, in their order.
        rejected: Samples of the source that are not in it.
        source: What it was made from, where only the making tells.
        transparent: Pictures with an alpha channel or a transparent colour among the samples of the source.
        sha256: Hash of the file, where it was hashed while it was written.
    """

    keys: Sequence[str]
    rejected: Sequence[Failure] = ()
    source: Source | None = None
    transparent: int = 0
    sha256: str = ""


class Make(Protocol):
    """Writes one part. Pure: equal sources give equal bytes, wherever and after whatever it runs. Picklable, so that an
    engine can run it in other processes and on other machines."""

    def __call__(self, path: Path, progress: Progress) -> Made:
        """Write the part to the file `path`; tell `progress` of the samples done."""
        ...


@runtime_checkable
class Divisible(Protocol):
    """What makes a part out of samples, of which one may end the process that works on it."""

    def try_samples(self, begin: Callable[[str], None], start: str) -> None:
        """Do with one sample after the other what making the part does, and tell `begin` the key of each before.

        Args:
            begin: Told of each key.
            start: Key of the first sample that is tried; empty: the first of all.
        """
        ...

    def without(self, passed_over: Sequence[Failure]) -> Make:
        """What makes the part without these samples, and lists them as rejected."""
        ...


@dataclass(frozen=True)
class Work:
    """One part that is to be there in the end.

    Attributes:
        name: What it is called; for whoever makes it, its path in the folder.
        source: What it is to be made from. A function where that costs reading it: it is asked only if there is a part
            to reuse; otherwise `make` tells.
        make: Writes it.
        samples: How many samples the source holds, for the progress.
        outdated: Why a part that earlier decoders made is not what they would make now; empty if it is.
        address: Where whoever makes it puts it; empty: in the folder.
    """

    name: str
    source: Source | Callable[[], Source]
    make: Make
    samples: int = 0
    outdated: Callable[[Part], str] | None = None
    address: str = ""

    @property
    def divisible(self) -> "Divisible | None":
        """How to find out which of the part's samples ends processes; None where that cannot be tried."""
        return self.make if isinstance(self.make, Divisible) else None

    def without(self, passed_over: Sequence[Failure]) -> "Work":
        """The same part without samples, which are rejected as `passed_over` says."""
        assert self.divisible
        return replace(self, make=self.divisible.without(passed_over))


@dataclass(frozen=True)
class Record:
    """A part that is there under a temporary name, or at an address, waiting to be adopted.

    Attributes:
        part: What the manifest will say about it.
        temporary: Its path in the folder until then; empty of a part at an address.
        source: What it was made from.
    """

    part: Part
    temporary: str
    source: Source


def write_part(folder: Path, work: Work, progress: Progress, make: Make | None = None) -> Record:
    """Write one part, durably: under a temporary name in `folder`, and if it is to lie at an address, put it there.

    Args:
        folder: Where the parts go.
        work: Which part.
        progress: Told of the samples done.
        make: Does the same as `work.make` in another way, such as from samples that were read ahead.
    """
    with temporary_file(folder / work.name) as temporary:
        made = (make or work.make)(temporary, progress)
        digest = made.sha256 or sha256_file(temporary)
    source = made.source or (work.source if isinstance(work.source, Source) else work.source())
    part = Part(
        work.name,
        len(made.keys),
        digest,
        sha256_keys(made.keys),
        source.digest,
        tuple(made.rejected),
        transparent=made.transparent,
    )
    if not work.address:
        return Record(part, temporary.relative_to(folder).as_posix(), source)
    try:
        part = replace(part, location=put(temporary, work.address))
        offer(temporary, part)
    finally:
        discard(temporary)
    return Record(part, "", source)


def discard_unadopted(folder: Path, name: str) -> None:
    """Remove what a process that ended had written of the part at the path `name`."""
    discard_temporaries(folder / name)
