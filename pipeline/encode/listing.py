"""Where the samples of a shard lie, after its hash was compared: all that is read of it before they are decoded.

Hashing and listing cost a small picture as much as all else that the model's process does for it. So beside a GPU a process of its own does
them, which decodes nothing: no decoder that runs wild vouches for a shard.
"""

import math
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.decode.isolated import Isolated, Limits
from pipeline.errors import SampleError, TryAgainError
from pipeline.hashing import sha256_file, sha256_once
from pipeline.modalities import modality_of
from pipeline.store.manifest import Part
from pipeline.store.parts.file import file_here
from pipeline.store.shards import list_shard, verify_shard


@dataclass(frozen=True)
class Listing:
    """The samples of one shard that have a file of one modality. A caption of an item with several is a sample of its own,
    without a picture.

    Attributes:
        path: Of the shard.
        keys: Of the N samples, in their order.
        extents: [N, 2], where their files begin in the shard and how long they are, in bytes.
    """

    path: Path
    keys: list[str]
    extents: NDArray[np.int64]

    def without(self, passed_over: Collection[str]) -> "Listing":
        """The samples whose keys are not in `passed_over`."""
        kept = [number for number, key in enumerate(self.keys) if key not in passed_over]
        return Listing(self.path, [self.keys[number] for number in kept], self.extents[kept])


Lister = Callable[[Part], Listing]
_Files = tuple[list[str], NDArray[np.int64]]  # keys and extents, as in a listing
_Job = tuple[Any, ...]  # what is called in the process, and its arguments


def lister_of(folder: Path, modality: str, apart: bool, stack: ExitStack) -> Lister:
    """What lists the files of `modality` in a shard of `folder`; it raises CorruptError where the shard is damaged.

    Args:
        folder: Of the shards.
        modality: Of the files.
        apart: Whether a process of its own reads the shards, except for those that are fetched from an address.
        stack: Ends that process when it is left.
    """
    if not apart:
        return partial(_listed, sha256_file, _files_of, folder, modality)
    # A large shard on a slow disk takes longer to hash than any file to decode, and one of many samples more memory to list. A
    # limit would be met again by every further try.
    process: Isolated[_Job, Any] = stack.enter_context(
        Isolated(lambda job: job[0](*job[1:]), 1, Limits(seconds=math.inf, memory=None))
    )
    process.start()
    hashed, files_of = (partial(_elsewhere, process, read) for read in (sha256_file, _files_of))
    return partial(_listed, hashed, files_of, folder, modality)


def _listed(
    hashed: Callable[[Path], str], files_of: Callable[[Path, str], _Files], folder: Path, modality: str, shard: Part
) -> Listing:
    local = file_here(folder, shard)
    if local and local.is_file():
        sha256_once(local, hashed)
    path = verify_shard(folder, shard)
    return Listing(path, *files_of(path, modality))


def _files_of(path: Path, modality: str) -> _Files:
    keys, extents = [], []
    for sample in list_shard(path):
        own = (extent for name, extent in sample.members.items() if modality_of(name) == modality)
        if extent := next(own, None):
            keys.append(sample.key)
            extents.append(extent)
    return keys, np.array(extents, np.int64).reshape(-1, 2)


def _elsewhere(process: "Isolated[_Job, Any]", read: Callable[..., Any], path: Path, *arguments: Any) -> Any:
    [found] = process([(read, path, *arguments)])
    if isinstance(found, SampleError):
        ended = found.message.replace("the decoder", "it", 1)
        raise TryAgainError(f"The process that reads {path} failed: {ended}.", "Run the same command again.")
    return found
