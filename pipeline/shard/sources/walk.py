"""What is in a folder and below it, with nothing left out: files, what cannot be followed, what is not looked at."""

import heapq
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

HIDDEN = "hidden"
READ_ALREADY = "linked twice"
NOWHERE = "a link to nowhere"
MISSING = "there is no such file"
# What a Mac adds to its archives; every file in it is the shadow of another.
SHADOWS = "__MACOSX"


@dataclass
class Walk:
    """The files of a folder.

    Attributes:
        names: Paths relative to the folder, with slashes, in their order; links to nowhere and files that are none
            (pipes, devices) among them, since to read them says what they are.
        broken: By path, why a link to nowhere or a folder cannot be followed; folders end in a slash.
        unread: How many there are of what is not looked at by rule.
    """

    names: list[str] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)
    unread: Counter[str] = field(default_factory=Counter)

    def add(self, names: Iterable[str]) -> None:
        """Take files whose paths are known; those that are hidden, or in a hidden folder, are only counted."""
        for name in names:
            if hidden(name):
                self.unread[HIDDEN] += 1
            else:
                self.names.append(name)

    def sort(self) -> None:
        """Put the files in the order of their paths."""
        self.names.sort(key=lambda name: name.split("/"))


def hidden(path: str) -> bool:
    """Whether a part of a relative path begins with a dot, as files of the system do, or is a Mac's shadow folder."""
    return any(part.startswith(".") or part == SHADOWS for part in path.split("/"))


def walk_folder(root: str, starts: Iterable[str] = ("",)) -> Walk:
    """Every file below the folders `starts` of `root`.

    Links to folders are followed. Each folder is read once, so that links cannot lead in a circle: what is there by its
    own path first, then links in the order of their paths; what a further link leads to is counted, not read.

    Raises:
        OSError: `root` itself cannot be read.
    """
    found = Walk()
    seen: set[tuple[int, int]] = set()
    links = sorted(starts)
    while links:
        below = heapq.heappop(links)
        if not _new(os.path.join(root, below) or ".", seen):
            found.unread[READ_ALREADY] += 1
            continue
        for link in _walk(root, below, seen, found):
            heapq.heappush(links, link)
    found.sort()
    return found


def _new(path: str, seen: set[tuple[int, int]]) -> bool:
    status = os.stat(path)
    place = (status.st_dev, status.st_ino)
    fresh = place not in seen
    seen.add(place)
    return fresh


def _walk(root: str, start: str, seen: set[tuple[int, int]], found: Walk) -> list[str]:
    """Read the folder `start` and those in it; the links to folders on the way."""
    links: list[str] = []
    pending = [start]
    while pending:
        below = pending.pop()
        try:
            entries = list(os.scandir(os.path.join(root, below) or "."))
        except OSError as error:
            if not below:
                raise
            found.broken[below] = f"the folder cannot be read: {error.strerror}"
            continue
        for entry in entries:
            name = below + entry.name
            if entry.is_dir(follow_symlinks=False):
                _new(entry.path, seen)
                pending.append(f"{name}/")
            elif entry.is_symlink() and os.path.isdir(entry.path) and not hidden(name):
                links.append(f"{name}/")
            else:
                found.add([name])
                if not hidden(name) and not os.path.isfile(entry.path):
                    found.broken[name] = "not a regular file" if os.path.exists(entry.path) else NOWHERE
    return links
