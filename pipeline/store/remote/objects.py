"""The objects at an address: put, fetched, listed, removed, each as a whole."""

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline.errors import TryAgainError, UserError
from pipeline.files.address import local_path
from pipeline.files.atomic import atomic_path, sync_directory
from pipeline.store.manifest import Location
from pipeline.store.parts.names import folder_of
from pipeline.store.remote.answers import in_words


def put(path: Path, address: str) -> Location:
    """Copy the file `path` to `address`, where it appears whole or not at all; what lies there is replaced.

    Raises:
        UserError: The store does not permit it.
        TryAgainError: The store or the network failed; `address` holds what it held before.
    """
    size = path.stat().st_size
    if target := local_path(address):
        new = not target.parent.is_dir()
        with atomic_path(target) as temporary:
            shutil.copyfile(path, temporary)
        if new:
            sync_directory(target.parent.parent)
        return Location(address, size)
    filesystem, place = filesystem_of(address)
    with in_words(address):
        # One request, or parts of which nothing shows before the last one: not a file that is open for writing, which
        # some clients complete with half its content when an error closes it.
        filesystem.put_file(str(path), place)
        stored = _location(address, filesystem.info(place))
    if stored.size != size:
        raise TryAgainError(
            f"{address} holds {stored.size:,} bytes after {size:,} were uploaded.", "Run the same command again."
        )
    return stored


def fetch(address: str, path: Path) -> None:
    """Copy the object at `address` to the file `path`.

    Raises:
        FileNotFoundError: There is none.
        UserError: The store does not permit it.
        TryAgainError: The store or the network failed.
    """
    filesystem, place = filesystem_of(address)
    try:
        with in_words(address):
            filesystem.get_file(place, str(path))
    except Exception as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise FileNotFoundError(address) from None
        raise


def located(address: str) -> Location:
    """What the store says of the object at `address` without handing it out.

    Raises:
        UserError: The store does not permit it, or does not say how large it is.
        TryAgainError: The store or the network failed, or it is not there.
    """
    filesystem, place = filesystem_of(address)
    with in_words(address):
        info = filesystem.info(place)
    if not isinstance(info.get("size"), int):
        raise UserError(f"{address}: the server does not say how large it is.", "Fetch it, and name the local copy.")
    return _location(address, info)


def listed(address: str) -> dict[str, Location]:
    """Everything at or below `address`, by its name there; one request for every thousand objects.

    Raises:
        UserError: There is no such bucket, or it may not be listed.
        TryAgainError: The store or the network failed.
    """
    if folder := local_path(address):
        sizes = {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
        return {name: Location(f"{address}/{name}", size) for name, size in sizes.items()}
    filesystem, place = filesystem_of(address)
    with in_words(address):
        found = filesystem.find(place, detail=True)
    cut = len(place.rstrip("/")) + 1
    return {name[cut:]: _location(f"{address}/{name[cut:]}", info) for name, info in found.items() if len(name) > cut}


def remove(address: str) -> None:
    """Remove the object at `address`, if it is there, and its subfolder if that is empty now."""
    if path := local_path(address):
        path.unlink(missing_ok=True)
        if folder_of(path) != path.parent:
            with suppress(OSError):  # Something else is in it.
                path.parent.rmdir()
        return
    filesystem, place = filesystem_of(address)
    try:
        with in_words(address):
            filesystem.rm_file(place)
    except Exception as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise


def _location(address: str, info: dict[str, Any]) -> Location:
    etag = info.get("ETag") or info.get("etag") or ""
    return Location(address, info["size"], str(etag).strip('"'))


def filesystem_of(address: str) -> tuple[Any, str]:
    """fsspec's file system behind `address` with nothing remembered of earlier listings, and the path there.

    Raises:
        UserError: No package for the protocol is installed, or nobody knows it.
    """
    from fsspec.core import url_to_fs

    try:
        filesystem, path = url_to_fs(address, use_listings_cache=False)
    except ImportError as error:
        hint = "Run `pip install 'mcr-connect[s3]'`." if address.startswith(("s3://", "s3a://")) else "Install it."
        raise UserError(f"The package that opens {address} is not installed ({error}).", hint) from None
    except ValueError:
        raise UserError(
            f"The protocol of {address} is unknown.", "Write s3://, gs://, file:// or another one that fsspec knows."
        ) from None
    return filesystem, path
