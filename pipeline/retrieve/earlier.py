"""What finished pairs of an earlier run still tell: a run with nothing to do needs no pass over the samples."""

import json
from collections.abc import Mapping
from pathlib import Path

from pipeline.errors import McrError
from pipeline.hashing import sha256_file
from pipeline.store import PAIRS, PartFolder, Store
from pipeline.store.manifest import Manifest


class Earlier:
    """The finished pairs in a folder before this run; there may be none.

    Args:
        folder: Of the pairs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._manifest: Manifest | None
        try:
            self._manifest = Store.open(folder, PAIRS).manifest
        except McrError:
            self._manifest = None

    def solved(self, made_from: Mapping[str, object]) -> dict[str, float]:
        """What was solved for, if it was from the same: solving takes all samples, and gives the same numbers. Else empty."""
        known = dict(self._manifest.fingerprint) if self._manifest else {}
        solved = known.pop("solved", {})
        # Through JSON, as a manifest is.
        return solved if isinstance(solved, dict) and known == json.loads(json.dumps(made_from)) else {}

    def table(self, name: str, pairs: PartFolder) -> bytes | None:
        """The table `name` beside the pairs, if it is intact and `pairs`, the same folder now, has the very same parts."""
        manifest = self._manifest
        if not manifest or manifest.fingerprint != pairs.manifest.fingerprint or name not in manifest.files:
            return None
        before = {part.file_name: part.sha256 for part in manifest.parts}
        if before != {name: part.sha256 for name, part in pairs.parts.items()}:
            return None
        path = self._folder / name
        intact = path.is_file() and sha256_file(path) == manifest.files[name]
        return path.read_bytes() if intact else None
