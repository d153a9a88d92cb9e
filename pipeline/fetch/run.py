"""Everything that a recipe names, one file after the other; what is there already is only looked at."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.errors import UserError
from pipeline.fetch.download import download
from pipeline.fetch.record import Fetched, Record
from pipeline.fetch.settings import FetchedFile, FetchedRepository


@dataclass(frozen=True)
class Wanted:
    """One file that a recipe names.

    Attributes:
        entry: Its repository.
        path: Where it is in it.
        expected: What is known of it.
    """

    entry: FetchedRepository
    path: str
    expected: FetchedFile

    @property
    def target(self) -> Path:
        """Where it belongs on this machine."""
        return Path(self.entry.to, PurePosixPath(self.path).name)


def wanted_files(entries: Sequence[FetchedRepository]) -> list[Wanted]:
    """The files of `entries` in their order."""
    return [Wanted(entry, path, file) for entry in entries for path, file in entry.files.items()]


def fetch(
    files: Sequence[Wanted],
    record: Record,
    endpoint: str | None = None,
    start: Callable[[Wanted], None] = lambda _: None,
) -> Iterator[tuple[Wanted, Fetched | None, str]]:
    """Fetch those of `files` that are not there.

    Args:
        files: What is wanted.
        record: What was fetched before; each file is added.
        endpoint: Address of the hub; None for the usual one, or that of HF_ENDPOINT.
        start: Told of each file that has to be fetched.

    Yields:
        Each file, what it is (None where an optional one does not exist), and ``fetched``, ``there`` or ``absent``.

    Raises:
        UserError: See `download`; or a file of that name is there and is another one.
        TryAgainError: See `download`.
    """
    for file in files:
        if file.target.exists():
            yield file, _present(file, record), "there"
            continue
        if file.target.is_symlink():
            raise UserError(
                f"{file.target} is a link to {file.target.readlink()}, which is not there.",
                "Mount the disk that it leads to, or remove the link.",
            )
        start(file)
        entry = file.entry
        commit = record.commit_of(entry.recorded_as, entry.revision)
        fetched = download(entry, file.path, file.expected, file.target, commit, endpoint)
        if fetched:
            record.add(file.target, fetched)
        yield file, fetched, "fetched" if fetched else "absent"


def _present(file: Wanted, record: Record) -> Fetched:
    """A file that is there: the expected one as far as anything is known of it."""
    sha256, stat = record.sha256(file.target), file.target.stat()
    before = record.files.get(file.target.as_posix())
    expected = file.expected.sha256 or (before.sha256 if before else "")
    if expected and sha256 != expected:
        raise UserError(
            f"{file.target} has sha256 {sha256}, and {expected} is expected.",
            "Remove it, or move it away, to fetch it again; if it is yours and right, correct `sha256` in params.yaml.",
        )
    if file.expected.bytes is not None and stat.st_size != file.expected.bytes:
        raise UserError(
            f"{file.target} has {stat.st_size:,} bytes, and {file.expected.bytes:,} are expected.",
            "Remove it, or move it away, to fetch it again; if it is yours and right, correct `bytes` in params.yaml.",
        )
    return before or Fetched(
        repository="",
        revision="",
        commit="",
        licence="",
        sha256=sha256,
        bytes=stat.st_size,
        modified=stat.st_mtime_ns,
    )
