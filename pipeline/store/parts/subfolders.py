"""The subfolders of a folder of parts, see `path_in_folder`. What links lead to is not looked at, let alone removed."""

from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

from pipeline.errors import UserError
from pipeline.files.atomic import sync_directory
from pipeline.files.os_errors import explained
from pipeline.store.parts.names import folder_of, subfolder_of


def subfolders_of(folder: Path, places: Iterable[str]) -> set[str]:
    """Names of the subfolders of `folder` that `places`, paths in it and addresses, are in, and that are there."""
    return {name for name in _subfolders(places) if _is_folder(folder / name)}


def make_subfolders(folder: Path, places: Iterable[str]) -> None:
    """Make the subfolders that `places` are in, durably: parts that are committed there must not go with them.

    Raises:
        UserError: Something else lies there.
        McrError: The operating system refused it; it says what.
    """
    made = False
    for subfolder in sorted(_subfolders(places)):
        path = folder / subfolder
        if _is_folder(path):
            continue
        if path.exists() or path.is_symlink():
            raise UserError(f"{path} is in the way: parts go to a folder of that name.", "Move it away.")
        try:
            path.mkdir()
        except OSError as error:
            raise explained(error, path) or error from error
        made = True
    if made:
        sync_directory(folder)


def files_in(folder: Path, subfolders: Iterable[str]) -> set[str]:
    """Paths of the files that lie in `folder` and in these of its subfolders."""
    places = [(folder, ""), *((folder / name, f"{name}/") for name in subfolders)]
    return {start + path.name for place, start in places for path in place.iterdir() if path.is_file()}


def sync_folders(folder: Path, subfolders: Iterable[str]) -> None:
    """Make the names in `folder` and in these of its subfolders durable."""
    for name in sorted(subfolders):
        sync_directory(folder / name)
    sync_directory(folder)


def remove_empty(folder: Path, subfolders: Iterable[str]) -> None:
    """Remove these subfolders where nothing is left in them."""
    for name in subfolders:
        with suppress(OSError):  # Something of somebody else is in it.
            (folder / name).rmdir()


def unlisted_parts(folder: Path, pattern: str, listed: Collection[str]) -> list[str]:
    """Paths of files in `folder` whose names fit `pattern` and that lie where parts lie, but are not `listed`."""
    found = [path for place in (pattern, f"*/{pattern}") for path in folder.glob(place) if folder_of(path) == folder]
    return sorted({path.relative_to(folder).as_posix() for path in found} - set(listed))


def _subfolders(places: Iterable[str]) -> set[str]:
    return {subfolder for place in places if (subfolder := subfolder_of(place))}


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()
