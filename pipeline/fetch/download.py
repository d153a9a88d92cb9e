"""One file from the Hugging Face Hub: continued where it stopped, checked before it gets its name."""

import errno
import hashlib
import os
import re
import shutil
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.errors import TryAgainError, UserError
from pipeline.fetch.record import Fetched
from pipeline.fetch.settings import FetchedFile, FetchedRepository
from pipeline.hashing import sha256_bytes, sha256_file
from pipeline.spaces.weights.hub import hub_errors

PART = ".part"
OURS = re.compile(f"(?:[0-9a-f]{{12}}|unnamed){re.escape(PART)}")  # as a part is called after its file


def download(
    entry: FetchedRepository, path: str, expected: FetchedFile, target: Path, commit: str, endpoint: str | None
) -> Fetched | None:
    """Fetch the file `path` of `entry` to `target`.

    A part that an earlier call left behind is continued. Progress bars are those of huggingface_hub.

    Args:
        entry: The repository.
        path: Of the file in it.
        expected: What is known of the file.
        target: Where to put it.
        commit: What the revision must still be; empty if that is open.
        endpoint: Address of the hub; None for the usual one, or that of HF_ENDPOINT.

    Returns:
        What it is; None if the repository does not have a file that is optional.

    Raises:
        UserError: It may not be read, is not there, or is not what was expected.
        TryAgainError: The hub broke off, or the disk is full.
    """
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    what = f"{path} of {entry.repository}"
    with hub_errors(what, endpoint):
        url = huggingface_hub.hf_hub_url(
            entry.repository, path, repo_type=entry.kind, revision=entry.revision, endpoint=endpoint
        )
        try:
            found = huggingface_hub.get_hf_file_metadata(url)
        except EntryNotFoundError as error:
            if expected.optional and not isinstance(error, LocalEntryNotFoundError):
                return None
            raise
    _check_commit(entry, found.commit_hash or "", commit)
    etag = found.etag or ""
    _check_announced(what, expected, found.size, etag)
    part = target.with_name(f"{target.name}.{_called(etag)}{PART}")
    target.parent.mkdir(parents=True, exist_ok=True)
    location = str(found.location)
    with hub_errors(what, endpoint), _enough_space(what, target.parent, found.size, part):
        _continue(part, location, urlsplit(location).netloc == urlsplit(url).netloc, found.size, target.name)
    sha256 = sha256_file(part)
    _check_content(what, part, sha256, expected, etag)
    os.replace(part, target)
    for stale in target.parent.iterdir():
        if stale.name.startswith(f"{target.name}.") and OURS.fullmatch(stale.name.removeprefix(f"{target.name}.")):
            stale.unlink()
    stat = target.stat()
    return Fetched(
        repository=entry.recorded_as,
        revision=entry.revision,
        commit=found.commit_hash or "",
        licence=entry.licence,
        sha256=sha256,
        bytes=stat.st_size,
        modified=stat.st_mtime_ns,
    )


def _called(etag: str) -> str:
    """What tells the parts of two contents of one file apart."""
    if re.fullmatch("[0-9a-fA-F]{12,}", etag):
        return etag[:12].lower()
    return sha256_bytes(etag.encode())[:12] if etag else "unnamed"  # a mirror may write what it likes


def _continue(part: Path, location: str, ours: bool, size: int | None, name: str) -> None:
    """Append to `part` what it lacks; the token goes to the hub itself and to no other server."""
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils._headers import build_hf_headers

    have = part.stat().st_size if part.exists() else 0
    if size is not None and have > size:
        part.unlink()
        have = 0
    headers = build_hf_headers() if ours else {}
    headers["Accept-Encoding"] = "identity"  # a compressed answer can be neither continued nor measured
    with open(part, "ab") as file:
        http_get(location, file, resume_size=have, headers=headers, expected_size=size, displayed_filename=name)


class _enough_space:
    """Says which disk is full, and how much is needed."""

    def __init__(self, what: str, folder: Path, size: int | None, part: Path) -> None:
        self.what, self.folder, self.part = what, folder, part
        self.size = size or 0

    def __enter__(self) -> None:
        have = self.part.stat().st_size if self.part.exists() else 0
        if self.size - have > shutil.disk_usage(self.folder).free:
            raise self._full()

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise self._full() from error

    def _full(self) -> TryAgainError:
        free = shutil.disk_usage(self.folder).free
        return TryAgainError(
            f"{self.what} needs {self.size / 1e6:,.1f} MB, and {self.folder} has room for {free / 1e6:,.1f} MB.",
            "Free some space, or make that folder a link to another disk; the same command continues.",
        )


def _check_commit(entry: FetchedRepository, found: str, before: str) -> None:
    if re.fullmatch("[0-9a-f]{40}", entry.revision) and found not in ("", entry.revision):
        raise UserError(
            f"{entry.repository} was asked for the commit {entry.revision}, and the hub answers with {found}.",
            "Check the mirror (HF_ENDPOINT): it does not distinguish commits.",
        )
    if before and found and found != before:
        raise UserError(
            f"{entry.revision} of {entry.repository} has moved: it was {before} when its other files were fetched, and is "
            f"{found} now.",
            f"Write `revision: {before}` for the files that belong to those, or remove those to fetch all of them again.",
        )


def _check_announced(what: str, expected: FetchedFile, size: int | None, etag: str) -> None:
    """Before gigabytes are fetched: is it the expected file, as far as the hub says?"""
    if expected.bytes is not None and size is not None and size != expected.bytes:
        raise UserError(f"{what} has {size:,} bytes on the hub, and {expected.bytes:,} are expected.", _replaced_hint())
    if expected.sha256 and re.fullmatch("[0-9a-f]{64}", etag) and etag != expected.sha256:
        raise UserError(f"{what} has sha256 {etag} on the hub, and {expected.sha256} is expected.", _replaced_hint())


def _check_content(what: str, part: Path, sha256: str, expected: FetchedFile, etag: str) -> None:
    """The hub names a large file by its sha256, and a small one by its git blob."""
    wanted = expected.sha256 or (etag if re.fullmatch("[0-9a-f]{64}", etag) else "")
    if wanted and sha256 != wanted:
        part.unlink()
        raise UserError(f"{what} came with sha256 {sha256}, and {wanted} is expected.", _replaced_hint())
    if expected.bytes is not None and part.stat().st_size != expected.bytes:
        part.unlink()
        raise UserError(f"{what} came with another size than {expected.bytes:,} bytes.", _replaced_hint())
    if re.fullmatch("[0-9a-f]{40}", etag) and (blob := git_blob(part)) != etag:
        part.unlink()
        raise UserError(f"{what} came as the git blob {blob}, and {etag} is expected.", _replaced_hint())


def _replaced_hint() -> str:
    return "It was replaced on the hub, or a mirror gives another file: correct `revision` or `sha256`, or fetch elsewhere."


def git_blob(path: Path) -> str:
    """The name that git gives the content of `path`."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
