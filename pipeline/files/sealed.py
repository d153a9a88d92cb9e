"""JSON files of ours that nothing else lists a hash of: manifests, configurations, records. They carry their own."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.files.atomic import write_text
from pipeline.files.reading import read_bytes

SEAL = "checksum"


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` to `path` atomically, with a hash of all of it as the first field."""
    # First, so that a file whose seal is gone, but for what follows it, is no JSON any more.
    sealed = {SEAL: _checksum(content), **content}
    write_text(path, json.dumps(sealed, indent=1) + "\n")


def read_sealed(path: Path) -> dict[str, Any]:
    """What `path` holds, without its seal; a file of an earlier version has none.

    Raises:
        ValueError: It is not a JSON object, or not the one that was sealed.
    """
    content = json.loads(read_bytes(path))
    if not isinstance(content, dict):
        raise ValueError("it is not a JSON object")
    seal = content.pop(SEAL, None)
    if seal is not None and seal != _checksum(content):
        raise ValueError("its content does not match its checksum")
    return content


def _checksum(content: Mapping[str, Any]) -> str:
    """Hash of the values in their order, however they are laid out."""
    return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()
