"""One tar that becomes a shard where it lies: seen to be whole, listed and hashed."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import CorruptError, SampleError
from pipeline.files.address import local_path
from pipeline.files.atomic import discard, temporary_file
from pipeline.files.reading import open_patiently
from pipeline.hashing import sha256_bytes, sha256_file, sha256_json, sha256_keys
from pipeline.keys import KEY
from pipeline.modalities import modality_of
from pipeline.shard.limits import MAX_BYTES, MAX_DECLARED_BYTES
from pipeline.shard.samples import Checked
from pipeline.shard.sources.readers.tar import TarDamage, scan_tar
from pipeline.store import Part
from pipeline.store.manifest import Location
from pipeline.store.remote.cache import offer
from pipeline.store.remote.objects import fetch, located
from pipeline.store.shards import list_shard, read_extents

INSTEAD = "Remove `adopt` from the corpus: `mcr shard` then copies what can be used."


def read_tar(name: str, address: str, folder: Path, wanted: Sequence[str]) -> tuple[Part, list[Checked]]:
    """The tar at `address` as the part `name`, and what its samples hold.

    Raises:
        CorruptError: It is no tar that could be a shard.
        SampleError: A sample in it has no valid key, or a file that is too large.
    """
    if local := local_path(address):
        part = _as_part(name, local, Location(address, local.stat().st_size))
        return part, _hashed(local, wanted)
    location = located(address)
    with temporary_file(folder / name) as temporary:
        fetch(address, temporary)
    try:
        part = _as_part(name, temporary, location)
        checked = _hashed(temporary, wanted)
        offer(temporary, part)
    finally:
        discard(temporary)
    return part, checked


def _as_part(name: str, path: Path, location: Location) -> Part:
    _refuse_damaged(path)
    keys = [sample.key for sample in list_shard(path)]
    if not keys:
        raise CorruptError(f"{location.address} holds no sample.", INSTEAD)
    if wrong := next((key for key in keys if not KEY.fullmatch(key)), ""):
        raise SampleError("key", f"{wrong!r} is no key (1 to 200 characters of A-Z, a-z, 0-9, _ and -)")
    digest = sha256_file(path)
    return Part(name, len(keys), digest, sha256_keys(keys), sha256_json(location.address), location=location)


def _refuse_damaged(path: Path) -> None:
    """See that the tar has its end, which says that nothing is missing; readers of ours have its hash instead.

    Raises:
        CorruptError: It has not, or is no tar.
    """
    try:
        with open_patiently(path) as file:
            for member in scan_tar(file):
                if member.fault:
                    raise CorruptError(f"{member.name[:80]!r}: {member.fault}.", INSTEAD)
    except TarDamage as error:
        raise CorruptError(f"it is no tar, or damaged or cut off ({error}).", INSTEAD) from error


def _hashed(path: Path, wanted: Sequence[str]) -> list[Checked]:
    """Hashes of the wanted files of each sample, the first of each modality."""
    found = []
    for sample in list_shard(path):
        first = {modality_of(extension): extension for extension in reversed(sample.members)}
        extensions = [first[modality] for modality in wanted if modality in first]
        for extension in extensions:
            if sample.members[extension].size > MAX_BYTES.get(modality_of(extension), MAX_DECLARED_BYTES):
                raise SampleError("read", f"the .{extension} of {sample.key} is too large")
        contents = read_extents(path, [sample.members[extension] for extension in extensions])
        members = [[modality_of(end), sha256_bytes(content)] for end, content in zip(extensions, contents, strict=True)]
        found.append(Checked(sample.key, members, []))
    return found
