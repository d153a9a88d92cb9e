"""Addresses of places that hold parts, such as ``s3://bucket/project``."""

import re
from pathlib import Path

_PROTOCOL = re.compile(r"[a-z][a-z0-9+.-]*")
_USER = re.compile(r"://[^/\s]*@")
_LOCAL = {"file", "local"}
_OF_BUCKETS = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss", "oci"}
_READ_ONLY = {"http", "https", "data", "zip", "tar", "git", "github", "reference"}


def checked_address(address: str) -> str:
    """`address` without a slash at its end.

    Raises:
        ValueError: It is none that parts can be kept at. The message does not repeat what may be a password.
    """
    protocol, divider, place = address.partition("://")
    if "::" in address:
        raise ValueError("chains several protocols; use the one that stores the files")
    if not divider or not _PROTOCOL.fullmatch(protocol):
        raise ValueError("is not an address; write s3://bucket/folder, gs://bucket/folder or file:///absolute/folder")
    if protocol in _READ_ONLY:
        raise ValueError(f"cannot be written to: {protocol} only reads")
    if "@" in place.split("/")[0]:
        raise ValueError(
            "contains a user or a password; put these into the environment, not into a file of the project"
        )
    if any(sign in place for sign in "?#*\\") or any(step in (".", "..") for step in place.split("/")):
        raise ValueError("must not contain ?, #, *, \\ or the steps . and ..")
    if not place.strip("/"):
        raise ValueError("names no bucket or folder")
    if protocol in _OF_BUCKETS and place.startswith("/"):
        raise ValueError(f"names no bucket; write {protocol}://bucket/folder, with two slashes")
    if protocol in _LOCAL and not place.startswith("/"):
        raise ValueError("needs an absolute path: file:///folder, with three slashes")
    return address.rstrip("/")


def without_password(text: str) -> str:
    """`text` with what stands before an @ in addresses left out: a user and a password, most likely."""
    return _USER.sub("://***@", text)


def local_path(address: str) -> Path | None:
    """The path behind a ``file://`` address; None of every other one."""
    protocol, _, place = address.partition("://")
    return Path(place) if protocol in _LOCAL else None
