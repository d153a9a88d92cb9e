"""What was fetched from where: so that a second look costs no network, and a branch that moved is noticed."""

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from pipeline.errors import CorruptError
from pipeline.files.atomic import write_text
from pipeline.hashing import sha256_file
from pipeline.settings import first_problem


class Fetched(BaseModel):
    """One file on this machine.

    Attributes:
        repository: Where it is from, ``datasets/`` before the name of a data set.
        revision: What was asked for: a commit or a branch.
        commit: What that was then.
        licence: What the parameters said of it.
        sha256: Hash of its bytes.
        bytes: Its size.
        modified: When its bytes were hashed, as nanoseconds of its own clock: unchanged, they need no second look.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    repository: str
    revision: str
    commit: str
    licence: str
    sha256: str
    bytes: int
    modified: int


_FILES = TypeAdapter(dict[str, Fetched])


class Record:
    """The file that keeps one `Fetched` for each path."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.files = _FILES.validate_json(path.read_bytes()) if path.is_file() else {}
        except ValidationError as error:
            said = first_problem(error, "the whole of it")
            raise CorruptError(f"{path} is damaged: {said}.", "Remove it and run `mcr fetch` again.") from error

    def add(self, file: Path, fetched: Fetched) -> None:
        """Keep what `file` is."""
        self.files[file.as_posix()] = fetched
        entries = {name: entry.model_dump() for name, entry in sorted(self.files.items())}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_text(self.path, json.dumps(entries, indent=1) + "\n")

    def sha256(self, file: Path) -> str:
        """Hash of `file`; read only if it changed since it was recorded."""
        known, found = self.files.get(file.as_posix()), file.stat()
        if known and (known.bytes, known.modified) == (found.st_size, found.st_mtime_ns):
            return known.sha256
        return sha256_file(file)

    def commit_of(self, repository: str, revision: str) -> str:
        """What `revision` was when the first of the files of `repository` was fetched; empty if none was."""
        commits = (
            entry.commit
            for entry in self.files.values()
            if (entry.repository, entry.revision) == (repository, revision)
        )
        return next(commits, "")
