"""Files of a space's weights, found without the library that loads them where nothing about the space changed."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.files.atomic import write_text


@dataclass(frozen=True)
class WeightFile:
    """A file of weights as `contents` takes it."""

    name: str
    size: int
    changed: str


def files_of(
    description: dict[str, object], place: Path, code: Path, memory: Path, ask: Callable[[], Sequence[Path]]
) -> list[WeightFile]:
    """The files of a space, in the order of their names.

    To ask a family means to import its library, which takes seconds. It is asked again only if the description of the
    space, the names at its place or the code of the families changed, or if one of the files is gone.

    Args:
        description: What identifies the space.
        place: Its checkpoint, if that is a path.
        code: Folder of the families.
        memory: Where the answer is kept for the next time.
        ask: Asks the family.

    Raises:
        UserError: As `ask` does.
    """
    asked = json.loads(json.dumps([description, _names(place), _state(code)]))
    try:
        known = json.loads(memory.read_text())
        files = [Path(name) for name in known["files"]] if known["asked"] == asked else None
    except (OSError, ValueError, TypeError, KeyError):
        files = None
    if files is None or not all(file.is_file() for file in files):
        files = sorted(set(ask()))
        write_text(memory, json.dumps({"asked": asked, "files": [str(file) for file in files]}))
    return [file_at(file) for file in files]


def file_at(path: Path) -> WeightFile:
    """A file that is there, as `contents` takes it."""
    status = path.stat()
    return WeightFile(str(path), status.st_size, str(status.st_mtime_ns))


def _names(place: Path) -> list[str]:
    """Names at a place, as far as they can lead to another choice of files."""
    return sorted(os.listdir(place)) if place.is_dir() else [place.name] if place.exists() else []


def _state(code: Path) -> list[object]:
    files = sorted(code.rglob("*.py"))
    return [[str(path.relative_to(code)), path.stat().st_size, path.stat().st_mtime_ns] for path in files]
