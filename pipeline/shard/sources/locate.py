"""Where `source` of a corpus leads: a folder, a file, or what a pattern matches; here or behind an address."""

import glob
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from pipeline.errors import UserError
from pipeline.shard.sources.absent import advice
from pipeline.shard.sources.places import Folder, LocalFolder, RemoteFolder
from pipeline.shard.sources.walk import MISSING, NOWHERE, READ_ALREADY, Walk

MAGIC = re.compile(r"[*?\[{]")
REMOTE_MAGIC = re.compile(r"[*\[{]")  # an address may have a question mark
WILD = re.compile(r"[*?\[]")


@dataclass
class Place:
    """What a source names.

    Attributes:
        folder: What its paths are relative to.
        file: The one file that it is; empty if it is a folder or a pattern.
        folders: Folders in `folder` that are read with everything below them, each ending in a slash; "" is itself.
        matched: Files, and what is known of them, of a pattern.
    """

    folder: Folder
    file: str = ""
    folders: list[str] = field(default_factory=list)
    matched: Walk = field(default_factory=Walk)

    def walk(self) -> Walk:
        """Every file of the source."""
        if self.file:
            return Walk([self.file])
        found = self.folder.walk(self.folders) if self.folders else Walk()
        known = set(found.names)
        found.names += [name for name in self.matched.names if name not in known]
        found.broken |= self.matched.broken
        found.unread.update(self.matched.unread)
        found.sort()
        return found


def locate(source: str) -> Place:
    """Where `source` is.

    A pattern has ``*``, ``**``, ``?``, ``[a-c]`` or ``{0000..0010}``; what braces list and is not there is a reject.

    Raises:
        UserError: There is no such file or folder.
    """
    if "://" in source and not source.startswith("file://"):
        place = _locate_remote(source)
    else:
        place = _locate_local(source.removeprefix("file://"))
    if not (place and (place.file or place.folders or place.matched.names)):
        raise UserError(f"The source {source} does not exist.", advice(source.removeprefix("file://")))
    return place


def _locate_local(source: str) -> Place | None:
    if os.path.isdir(source):
        return Place(LocalFolder(source), folders=[""])
    if os.path.lexists(source):
        if not os.path.isfile(source):
            what = "no regular file" if os.path.exists(source) else NOWHERE
            raise UserError(f"The source {source} is {what}.", "Put the data there or correct `source` in params.yaml.")
        return Place(LocalFolder(os.path.dirname(source)), os.path.basename(source))
    root, pattern = _split(source, MAGIC)
    if not pattern:
        return None
    place = Place(LocalFolder(root))
    found = place.matched
    names: dict[str, None] = {}
    seen: set[tuple[str, str]] = set()
    folders: set[str] = set()
    for name in _matches(root, pattern):
        path = os.path.join(root, name)
        # A link to a folder above makes `**` match every file again and again.
        where = (os.path.realpath(os.path.dirname(path)), os.path.basename(path))
        if os.path.isdir(path):
            folders.add(name.rstrip("/") + "/")
        elif where not in seen:
            names[name] = None
            if not os.path.exists(path):
                found.broken[name] = NOWHERE if os.path.islink(path) else MISSING
        elif name not in names:
            found.unread[READ_ALREADY] += 1
        seen.add(where)
    place.folders = _topmost(folders)
    if any(found.broken.get(name) != MISSING for name in names):
        found.names = list(names)
    return place


def _matches(root: str, pattern: str) -> list[str]:
    """What `pattern` matches, and what its braces list, there or not; short paths first."""
    found = {
        name
        for one in _unbraced(pattern)
        for name in (glob.glob(one, root_dir=root or ".", recursive=True) if WILD.search(one) else [one])
    }
    return sorted(found - {""}, key=lambda name: (name.count("/"), name))


def _topmost(folders: Iterable[str]) -> list[str]:
    """Those of `folders` that are not below another."""
    found: list[str] = []
    for folder in sorted(folders):
        if not (found and folder.startswith(found[-1])):
            found.append(folder)
    return found


def _locate_remote(source: str) -> Place | None:
    import fsspec

    root, pattern = _split(source, REMOTE_MAGIC)
    try:
        filesystem, path = fsspec.core.url_to_fs(root if pattern else source)
    except (ImportError, ValueError) as error:
        raise UserError(
            f"{source} cannot be opened: {error}.", "Install the package for this kind of address."
        ) from error
    except Exception as error:  # some connect already here
        raise _unreachable(source, error) from error
    protocol = source.partition("://")[0]
    try:
        if pattern:
            return _matched_remotely(RemoteFolder(filesystem, path, protocol), pattern)
        if filesystem.isfile(path):
            parent, _, name = path.rpartition("/")
            return Place(RemoteFolder(filesystem, parent, protocol), name)
        if filesystem.isdir(path):
            return Place(RemoteFolder(filesystem, path, protocol), folders=[""])
    except Exception as error:  # each remote protocol raises errors of its own
        raise _unreachable(source, error) from error
    return None


def _unreachable(source: str, error: Exception) -> UserError:
    said = f"{error!r}"[:200]
    return UserError(f"{source} cannot be reached ({said}).", "Check the address, the network and the rights.")


def _matched_remotely(folder: RemoteFolder, pattern: str) -> Place:
    base = folder.path.rstrip("/")
    names: set[str] = set()
    folders: set[str] = set()
    missing: dict[str, str] = {}
    for one in _unbraced(pattern):
        found = folder.filesystem.glob(f"{base}/{one}", detail=True)
        for path, info in found.items():
            name = path[len(base) + 1 :]
            if info.get("type") == "directory":
                folders.add(name.rstrip("/") + "/")
            else:
                names.add(name)
        if not found and not WILD.search(one):
            missing[one] = MISSING
    if names:
        names |= missing.keys()
    return Place(folder, folders=_topmost(folders), matched=Walk(sorted(names), missing))


def _split(source: str, magic: re.Pattern[str]) -> tuple[str, str]:
    """The folder before the first part that is a pattern, and the pattern."""
    parts = source.split("/")
    first = next((number for number, part in enumerate(parts) if magic.search(part)), len(parts))
    root = "/".join(parts[:first])
    if not root and source.startswith("/"):
        root = "/"
    return root, "/".join(parts[first:])


def _unbraced(pattern: str) -> list[str]:
    if "{" not in pattern:
        return [pattern]
    from braceexpand import braceexpand

    try:
        return list(braceexpand(pattern))
    except ValueError as error:
        raise UserError(
            f"The pattern {pattern} has a brace that is not closed.", "Correct `source` in params.yaml."
        ) from error
