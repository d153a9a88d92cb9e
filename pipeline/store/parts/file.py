"""The file of a part on this machine, wherever the part lies."""

from pathlib import Path

from pipeline.errors import CorruptError
from pipeline.files.address import local_path
from pipeline.store.integrity.check import check_file
from pipeline.store.integrity.unchanged import forget
from pipeline.store.manifest import Part
from pipeline.store.remote.cache import cached

AGAIN = "Remove it and run its stage again, which makes only what is missing."


def file_here(folder: Path, part: Part) -> Path | None:
    """Path of the file of `part` if it lies on this machine, or would: in `folder`, or behind ``file://``."""
    return local_path(part.location.address) if part.location else folder / part.name


def part_file(folder: Path, part: Part, again: str = AGAIN) -> Path:
    """Path of the file of `part`. One that lies at an address is fetched and its hash compared; a local one may be missing.

    Raises:
        CorruptError: What lies at the address is not what was recorded.
        UserError: The store does not permit reading it.
        TryAgainError: The network failed.
    """
    return file_here(folder, part) or cached(part, again)


def checked_part(folder: Path, part: Part, again: str = AGAIN) -> Path:
    """The same, after its hash was compared with the record: once per process.

    Raises:
        CorruptError: It is missing or damaged.
    """
    path = file_here(folder, part)
    if path is None:
        return cached(part, again)
    try:
        return check_file(path, part.sha256, again)
    except CorruptError:
        forget(folder)  # or the stage that would make it again took it for good
        raise


def judged_part(folder: Path, part: Part) -> str:
    """What is wrong with the file of `part`, in words; empty if it is sound. What lies at an address is fetched anew.

    Raises:
        UserError: The store does not permit reading it.
        TryAgainError: The network failed.
    """
    name = part.location.address if part.location else part.name
    try:
        if file_here(folder, part):
            checked_part(folder, part)
        else:
            cached(part, AGAIN, anew=True)
    except CorruptError as error:
        missing = error.message.endswith("missing.")
        return f"{name} is missing" if missing else f"{name} is damaged: its hash is not that of the manifest"
    return ""


def part_bytes(folder: Path, part: Part) -> int:
    """Size of the file of `part`; 0 if it is missing."""
    if part.location:
        return part.location.size
    path = folder / part.name
    return path.stat().st_size if path.is_file() else 0
