"""What a list of files holds, by their hashes; a file is read again only if its size or time of change is another."""

import hashlib
import json
import os
import stat
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from pipeline.files.atomic import write_text
from pipeline.hashing import sha256_file
from pipeline.progress import Progress

# A file that changed as recently as this may change again without a later time of change.
SETTLED_SECONDS = 2.0
# Files that are hashed before the progress is told.
BLOCK = 512


class InputFile(Protocol):
    """A file that is an input: its path or address, its bytes (-1: not there), and when it changed."""

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def size(self) -> int: ...  # noqa: D102

    @property
    def changed(self) -> str: ...  # noqa: D102


def contents(files: Sequence[InputFile], memory: Path, progress: Progress, workers: int) -> dict[str, object]:
    """Describe `files` so that equal descriptions mean equal names and bytes.

    A file behind an address is not read: its size and what its protocol says of its state stand for its bytes.

    Args:
        files: What is described, in their order.
        memory: Where hashes are kept for the next time; it may be removed at any time.
        progress: Told how many files were hashed.
        workers: Files that are read at the same time.

    Returns:
        ``files``, ``bytes``, ``endings`` (files by the ending of their names), ``absent`` (named, and not there),
        ``sha256`` (of all names, sizes and hashes).
    """
    known = _remembered(memory)
    hashes = {
        file.name: digest
        for file in files
        if (digest := known.get((file.name, file.size, file.changed))) or (digest := _without_reading(file))
    }
    fresh = [file for file in files if file.name not in hashes]
    if fresh:
        progress.start("inputs", len(fresh), "files")
        with ThreadPoolExecutor(workers) as pool:
            for start in range(0, len(fresh), BLOCK):
                block = fresh[start : start + BLOCK]
                hashes |= zip([file.name for file in block], pool.map(_hash, block), strict=True)
                progress.advance(len(block))
    _remember(memory, files, hashes, known)
    total = hashlib.sha256()
    for file in files:
        total.update(json.dumps([file.name, file.size, hashes[file.name]]).encode() + b"\n")
    there = [file for file in files if file.size >= 0]
    endings = Counter(os.path.splitext(file.name)[1].lower() for file in there)
    return {
        "files": len(there),
        "bytes": sum(file.size for file in there),
        "endings": dict(endings.most_common(8)),
        "absent": len(files) - len(there),
        "sha256": total.hexdigest(),
    }


def _without_reading(file: InputFile) -> str:
    """What stands for the bytes of a file that is not there, or is behind an address; empty for one on this machine."""
    if file.size < 0:
        return "absent"
    return f"state {file.changed}" if "://" in file.name else ""


def _hash(file: InputFile) -> str:
    try:
        if not stat.S_ISREG(os.stat(file.name).st_mode):
            return "no regular file"  # to read a pipe would wait for ever
        return sha256_file(Path(file.name))
    except OSError as error:
        return f"unreadable: {error.strerror}"


Known = Mapping[tuple[str, int, str], str]


def _remembered(memory: Path) -> Known:
    try:
        with open(memory, encoding="ascii") as lines:
            rows = [json.loads(line) for line in lines]
        return {(str(name), int(size), str(changed)): str(digest) for name, size, changed, digest in rows}
    except (OSError, ValueError, TypeError):
        return {}  # none yet, or damaged: everything is hashed again


def _remember(memory: Path, files: Sequence[InputFile], hashes: Mapping[str, str], known: Known) -> None:
    settled = (time.time() - SETTLED_SECONDS) * 1e9
    kept = {
        (file.name, file.size, file.changed): hashes[file.name]
        for file in files
        if len(hashes[file.name]) == 64 and file.changed.isdigit() and int(file.changed) < settled
    }
    if kept != known:
        write_text(memory, "".join(f"{json.dumps([*file, digest])}\n" for file, digest in kept.items()))
